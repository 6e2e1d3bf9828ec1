"""What a later version of a contract changes, and whom it breaks."""

# S7, X12
from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.contract import Contract, ContractField, QualityRule, Sla, read_contract
from lading.contract.compatibility import Change, compare, history, in_use, version_order
from lading.contract.types import AS_IS, AS_TEXT, fit
from lading.documents import parse
from lading.errors import InvalidProject

HEAD = """\
apiVersion: v3.1.0
kind: DataContract
id: x
name: flights
version: {version}
status: active
schema:
  - name: flights
    properties:
      - {{name: flight_id, logicalType: integer}}
      - name: distance
"""
BESIDE = "slaProperties:\n  - "


def contract(body: str, version: str = "1.0.0") -> Contract:
    """A contract of two fields; ``body`` goes on at the second one."""
    lines = "".join(
        f"        {line}\n" if not line.startswith("^") else f"{line[1:]}\n" for line in body.splitlines()
    )
    return read_contract(parse((HEAD.format(version=version) + lines).encode(), f"contracts/{version}.yaml"))


def changes(old: str, new: str) -> list[tuple[str, str, str]]:
    """(kind, effect on the consumer, effect on the producer) of every change."""
    return [(c.kind, c.consumer, c.producer) for c in compared(old, new)]


def compared(old: str, new: str) -> tuple[Change, ...]:
    return compare(contract(old), contract(new, "1.1.0")).changes


TIGHTER, LOOSER, OTHER = ("additive", "breaking"), ("breaking", "additive"), ("breaking", "breaking")
NUMBER = "logicalType: number"


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        # (what says less, what says more, what it is called)
        ("logicalType: number", "logicalType: integer", "logicalType"),
        ("description: any", "description: any\nlogicalType: date", "logicalType"),
        ("logicalType: integer\nphysicalType: bigint", "logicalType: integer\nphysicalType: integer", "physicalType"),
        ("logicalType: integer", "logicalType: integer\nphysicalType: bigint", "physicalType"),
        (f"{NUMBER}\nphysicalType: numeric(12,2)", f"{NUMBER}\nphysicalType: 'numeric(10,2)'", "physicalType"),
        (f"{NUMBER}\nphysicalType: numeric(60,3)", f"{NUMBER}\nphysicalType: 'numeric(50,3)'", "physicalType"),
        ("logicalType: string\nphysicalType: text", "logicalType: string\nphysicalType: varchar(2)", "physicalType"),
        ("logicalType: string", "logicalType: string\nphysicalType: inet", "physicalType"),
        ("logicalType: integer\nlogicalTypeOptions: {format: i64}",
         "logicalType: integer\nlogicalTypeOptions: {format: i32}", "format"),
        ("logicalType: timestamp", "logicalType: timestamp\nlogicalTypeOptions: {timezone: true}", "timezone"),
        ("logicalType: timestamp\nphysicalType: timestamptz", "logicalType: timestamp\nphysicalType: timestamptz(3)",
         "physicalType"),
        (NUMBER, f"{NUMBER}\nrequired: true", "required"),
        (NUMBER, f"{NUMBER}\nunique: true", "unique"),
        (NUMBER, f"{NUMBER}\nenum: [{{value: 1}}]", "enum"),
        (f"{NUMBER}\nenum: [{{value: 1}}, {{value: 2}}]", f"{NUMBER}\nenum: [{{value: 2}}]", "enum"),
        (NUMBER, f"{NUMBER}\nlogicalTypeOptions: {{minimum: 1}}", "minimum"),
        (f"{NUMBER}\nlogicalTypeOptions: {{minimum: 1}}", f"{NUMBER}\nlogicalTypeOptions: {{exclusiveMinimum: 1}}",
         "minimum"),
        (f"{NUMBER}\nlogicalTypeOptions: {{maximum: 9}}", f"{NUMBER}\nlogicalTypeOptions: {{maximum: 8.5}}", "maximum"),
        ("logicalType: date\nlogicalTypeOptions: {maximum: '2026-10-01'}",
         "logicalType: date\nlogicalTypeOptions: {maximum: '2026-09-30'}", "maximum"),
        ("logicalType: timestamp\nlogicalTypeOptions: {minimum: '2026-01-01T00:00:00+02:00'}",
         "logicalType: timestamp\nlogicalTypeOptions: {minimum: '2026-01-01T00:00:00Z'}", "minimum"),
        (f"{NUMBER}\nlogicalTypeOptions: {{multipleOf: 5}}", f"{NUMBER}\nlogicalTypeOptions: {{multipleOf: 10}}",
         "multipleOf"),
        ("logicalType: string", "logicalType: string\nlogicalTypeOptions: {pattern: '^a'}", "pattern"),
        ("logicalType: string\nlogicalTypeOptions: {maxLength: 9}",
         "logicalType: string\nlogicalTypeOptions: {maxLength: 8}", "maxLength"),
        ("logicalType: string", "logicalType: string\nlogicalTypeOptions: {minLength: 1}", "minLength"),
        ("logicalType: array", "logicalType: array\nlogicalTypeOptions: {uniqueItems: true}", "uniqueItems"),
        ("logicalType: array", "logicalType: array\nitems: {logicalType: string}", "items"),
        ("logicalType: array\nitems: {logicalType: number}", "logicalType: array\nitems: {logicalType: integer}",
         "logicalType"),
        (NUMBER, f"{NUMBER}\nquality: [{{metric: nullValues, mustBe: 0}}]", "quality"),
        (f"{NUMBER}\nquality: [{{metric: nullValues, mustBeLessThan: 5, unit: percent}}]",
         f"{NUMBER}\nquality: [{{metric: nullValues, mustBeLessThan: 4, unit: percent, name: fewer}}]", "quality"),
        (f"{NUMBER}\n^    quality: [{{metric: rowCount, mustBeBetween: [1, 100]}}]",
         f"{NUMBER}\n^    quality: [{{metric: rowCount, mustBeBetween: [2, 100]}}]", "quality"),
        (f"{NUMBER}\nquality: [{{metric: nullValues, mustBe: 0, severity: warning}}]",
         f"{NUMBER}\nquality: [{{metric: nullValues, mustBe: 0}}]", "quality"),
        (NUMBER, f"{NUMBER}\n^slaProperties: [{{property: freshness, value: 1, unit: h}}]", "slaProperties"),
        (f"{NUMBER}\n^slaProperties: [{{property: latency, value: 1, unit: h}}]",
         f"{NUMBER}\n^slaProperties: [{{property: latency, value: 59, unit: m}}]", "slaProperties"),
        (NUMBER, f"{NUMBER}\n^slaProperties: [{{property: retention, value: 3, unit: y}}]", "slaProperties"),
    ],
)  # fmt: skip
def test_what_is_promised_more_strictly_serves_readers_and_binds_who_fills_it(
    old: str, new: str, kind: str
) -> None:
    assert changes(old, new) == [(kind, *TIGHTER)]
    assert changes(new, old) == [(kind, *LOOSER)]


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("logicalType: integer", "logicalType: boolean", "logicalType"),
        ("logicalType: date", "logicalType: timestamp", "logicalType"),
        (f"{NUMBER}\nphysicalType: numeric(12,2)", f"{NUMBER}\nphysicalType: numeric(12,3)", "physicalType"),
        ("logicalType: object\nphysicalType: hstore", "logicalType: object\nphysicalType: jsonb", "physicalType"),
        (f"{NUMBER}\nenum: [{{value: 1}}]", f"{NUMBER}\nenum: [{{value: true}}]", "enum"),
        ("logicalType: string\nlogicalTypeOptions: {pattern: a}",
         "logicalType: string\nlogicalTypeOptions: {pattern: b}", "pattern"),
        ("logicalType: map\nmap: {key: {logicalType: string}, value: {logicalType: integer}}",
         "logicalType: map\nmap: {key: {logicalType: string}, value: {logicalType: string}}", "map"),
        ("logicalType: string\nlogicalTypeOptions: {format: email}",
         "logicalType: string\nlogicalTypeOptions: {format: uri}", "format"),
        (f"{NUMBER}\nlogicalTypeOptions: {{multipleOf: 4}}", f"{NUMBER}\nlogicalTypeOptions: {{multipleOf: 6}}",
         "multipleOf"),
        (f"{NUMBER}\nclassification: pii", f"{NUMBER}\nclassification: internal", "classification"),
        (f"{NUMBER}\nprimaryKey: true\n^      - {{name: b, primaryKey: true}}",
         f"{NUMBER}\nrequired: true\n^      - {{name: b, primaryKey: true}}", "primaryKey"),
        (f"{NUMBER}\n^slaProperties: [{{property: retention, value: 3, unit: y}}]",
         f"{NUMBER}\n^slaProperties: [{{property: retention, value: 1, unit: y}}]", "slaProperties"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_breaks_both(old: str, new: str, kind: str) -> None:
    assert (kind, *OTHER) in changes(old, new)
    assert (kind, *OTHER) in changes(new, old)


def test_an_integer_that_becomes_text_breaks_readers_and_no_source() -> None:
    assert changes("logicalType: integer", "logicalType: string") == [("logicalType", *LOOSER)]
    assert changes("logicalType: string", "logicalType: integer") == [("logicalType", *OTHER)]


@pytest.mark.parametrize(
    ("old", "new", "effects"),
    [
        ("public", "internal", OTHER),
        ("internal", "restricted", OTHER),
        ("restricted", "internal", ("additive", "additive")),
        ("restricted", "secret", ("none", "none")),
        ("Public", "public", None),
    ],
)
def test_a_field_that_is_classified_more_strictly_may_no_longer_come(
    old: str, new: str, effects: tuple[str, str] | None
) -> None:
    found = changes(f"classification: {old}", f"classification: {new}")
    assert found == ([("classification", *effects)] if effects else [])


def test_who_wrote_no_classification_said_restricted() -> None:
    assert changes(NUMBER, f"{NUMBER}\nclassification: restricted") == [("classification", "none", "none")]
    assert changes(NUMBER, f"{NUMBER}\nclassification: public") == [
        ("classification", "additive", "additive")
    ]


@pytest.mark.parametrize(
    ("added", "effects"),
    [
        ("{name: gate, logicalType: string}", ("additive", "additive")),
        ("{name: gate, enum: [{value: A}]}", ("additive", "additive")),
        ("{name: gate, required: true}", ("additive", "breaking")),
        ("{name: gate, unique: true}", ("additive", "breaking")),
        ("{name: gate, quality: [{metric: nullValues, mustBe: 0}]}", ("additive", "breaking")),
        (
            "{name: gate, quality: [{metric: nullValues, mustBe: 0, severity: warning}]}",
            ("additive", "additive"),
        ),
    ],
)
def test_a_new_field_is_additive_where_it_may_be_null(added: str, effects: tuple[str, str]) -> None:
    assert changes(NUMBER, f"{NUMBER}\n^      - {added}") == [("added", *effects)]
    assert changes(f"{NUMBER}\n^      - {added}", NUMBER) == [("removed", "breaking", "additive")]


def test_a_field_that_the_source_calls_as_before_was_renamed() -> None:
    old = contract("physicalName: miles")
    new = replace(old, version="1.1.0", fields=(old.fields[0], replace(old.fields[1], name="length")))
    (change,) = compare(old, new).changes
    assert (change.kind, change.consumer, change.producer) == ("renamed", "breaking", "none")
    assert str(change) == 'distance: was renamed: the column "miles" is called length'


def test_another_column_for_the_same_field_is_the_source_s_affair() -> None:
    assert changes(NUMBER, f"{NUMBER}\nphysicalName: miles") == [("physicalName", "none", "additive")]


# Readers of CSV may count columns.
def test_new_fields_come_last() -> None:
    old = contract(NUMBER)
    new = replace(old, version="1.1.0", fields=(ContractField("gate", line=7), *old.fields))
    assert [(c.kind, c.consumer, c.producer) for c in compare(old, new).changes] == [
        ("added", "additive", "additive"),
        ("order", "breaking", "none"),
    ]
    swapped = replace(old, version="1.1.0", fields=old.fields[::-1])
    assert [c.kind for c in compare(old, swapped).changes] == ["order"]


def test_what_is_no_promise_is_told_and_changes_no_verdict() -> None:
    old, new = contract("description: miles"), contract("description: in miles", "1.0.1")
    found = compare(old, replace(new, status="deprecated"))
    assert [c.kind for c in found.changes] == ["status", "description"]
    assert (found.verdict, found.consumer, found.producer) == ("unchanged", "unchanged", "unchanged")
    assert not found.problems()


def test_every_change_says_where_it_stands() -> None:
    old, new = "logicalType: integer\n^      - {name: gate}", "logicalType: integer\nrequired: true"
    told = {(c.kind, c.file, c.line, str(c)) for c in compared(old, new)}
    assert told == {
        ("required", "contracts/1.1.0.yaml", 11, "distance: required was false, and is true"),
        ("removed", "contracts/1.0.0.yaml", 13, "gate: was removed"),
    }
    nested = compared("logicalType: array\nitems: {logicalType: number}",
                      "logicalType: array\nitems: {logicalType: integer}")  # fmt: skip
    assert str(nested[0]) == "distance[]: logicalType was number, and is integer"


def test_a_breaking_change_needs_a_new_major() -> None:
    old = contract(NUMBER)
    (problem,) = compare(old, contract("logicalType: string", "1.1.0")).problems()[:1]
    assert str(problem) == (
        "contracts/1.1.0.yaml:11: distance: logicalType was number, and is string – for the consumer version "
        "1.1.0 breaks what version 1.0.0 promises (contracts/1.0.0.yaml), and a breaking change needs a new major: "
        "2.0.0"
    )
    assert compare(old, contract("logicalType: string", "2.0.0")).verdict == "breaking"
    assert not compare(old, contract("logicalType: string", "2.0.0")).problems()


def test_a_field_that_is_gone_is_a_problem_of_the_version_that_lacks_it() -> None:
    old = contract(f"{NUMBER}\n^      - {{name: gate}}")
    (problem,) = compare(old, contract(NUMBER, "1.1.0")).problems()
    assert (problem.file, problem.line) == ("contracts/1.1.0.yaml", 0)
    assert problem.reason.startswith(
        "gate: was removed (contracts/1.0.0.yaml:13) – for the consumer version 1.1.0 breaks what version 1.0.0 "
        "promises"
    )


# A field that goes and comes back: neither step binds the producer more than the one before it.
def test_each_version_is_held_against_all_earlier_ones() -> None:
    one = contract(f"{NUMBER}\n^      - {{name: gate, logicalType: string}}", "1.0.0")
    two = contract(NUMBER, "2.0.0")
    three = contract(f"{NUMBER}\n^      - {{name: gate, logicalType: integer}}", "2.1.0")
    found = history([one, two, three])
    assert [(c.old.version, c.new.version, c.producer) for c in found] == [
        ("1.0.0", "2.0.0", "additive"),
        ("1.0.0", "2.1.0", "breaking"),
        ("2.0.0", "2.1.0", "additive"),
    ]


def test_the_older_version_comes_first_and_datasets_are_not_mixed() -> None:
    with pytest.raises(InvalidProject, match=r"1\.0\.0, which comes before 1\.1\.0"):
        compare(contract(NUMBER, "1.1.0"), contract(NUMBER, "1.0.0"))
    with pytest.raises(InvalidProject, match="versions of one dataset"):
        history([contract(NUMBER), replace(contract(NUMBER), name="planes")])


def test_versions_sort_as_semantic_versioning_says() -> None:
    listed = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1",
              "1.0.0", "1.0.1", "1.2", "1.10.0", "2.0.0"]  # fmt: skip
    assert all(version_order(a) < version_order(b) for a, b in pairwise(listed))
    assert version_order("1") == version_order("v1.0.0") == version_order("1.0+build.7")


def test_a_draft_is_not_in_use_while_there_is_an_agreed_version() -> None:
    agreed, draft = contract(NUMBER, "1.9.0"), replace(contract(NUMBER, "1.10.0"), status="draft")
    assert in_use([agreed, draft]) is agreed
    assert in_use([draft]) is draft
    assert in_use([agreed, replace(draft, status="active")]).version == "1.10.0"


# --- properties ----------------------------------------------------------------------------------------------------

logical = st.sampled_from(
    [
        None,
        "string",
        "date",
        "timestamp",
        "time",
        "number",
        "integer",
        "boolean",
        "object",
        "array",
        "map",
        "vector",
    ]
)
physical = st.sampled_from(
    [None, "text", "varchar(5)", "varchar(9)", "bigint", "integer", "smallint", "numeric", "numeric(10,2)",
     "numeric(12,2)", "numeric(12,4)", "numeric(60,4)", "real", "double precision", "timestamptz", "timestamp(3)",
     "timestamp(1)", "jsonb", "inet", "date"]
)  # fmt: skip
options = st.fixed_dictionaries(
    {},
    optional={
        "minimum": st.integers(0, 2),
        "maximum": st.sampled_from([7, 8.5]),
        "exclusiveMaximum": st.integers(7, 9),
        "maxLength": st.integers(1, 3),
        "pattern": st.sampled_from(["a", "b"]),
        "multipleOf": st.sampled_from([2, 3, 6]),
        "format": st.sampled_from(["i32", "i64", "u8", "f32", "uuid", "email"]),
        "timezone": st.booleans(),
        "uniqueItems": st.booleans(),
    },
)
rules = st.lists(
    st.builds(
        QualityRule,
        type=st.just("library"),
        metric=st.sampled_from(["nullValues", "rowCount"]),
        operator=st.sampled_from(["mustBeLessThan", "mustBeGreaterOrEqualTo", "mustBe", "mustNotBe"]),
        operand=st.integers(0, 3),
        severity=st.sampled_from(["", "warning"]),
    ),
    max_size=3,
).map(tuple)


def a_field(name: str, depth: int = 1) -> st.SearchStrategy[ContractField]:
    inner = a_field("items", depth - 1) if depth else st.nothing()
    return st.builds(
        ContractField,
        name=st.just(name),
        logical_type=logical,
        physical_type=physical,
        options=options,
        required=st.booleans(),
        unique=st.booleans(),
        classification=st.sampled_from([None, "public", "internal", "restricted", "pii", "phi"]),
        values=st.sets(st.integers(0, 2)).map(tuple),
        quality=rules,
        items=st.none() | inner,
    )


fields = st.lists(st.sampled_from("abc"), unique=True, max_size=3).flatmap(
    lambda names: st.tuples(*(a_field(name) for name in names))
)
spans = st.sampled_from([None, timedelta(hours=1), timedelta(hours=2)])
contracts = st.builds(
    lambda fields, key, quality, freshness: replace(
        contract(NUMBER),
        fields=fields,
        primary_key=tuple(name for name in key if name in [f.name for f in fields]),
        quality=quality,
        sla=Sla(freshness=freshness),
    ),
    fields,
    st.sampled_from([(), ("a",), ("a", "b"), ("b", "a")]),
    rules,
    spans,
)


@given(contracts)
def test_a_contract_changes_nothing_of_itself(one: Contract) -> None:
    assert compare(one, one).changes == ()


def one_step(one: Contract) -> st.SearchStrategy[Contract]:
    """The contract with one field changed a little: chains of independent ones would hardly ever be additive."""
    grown = st.sampled_from("abcd").flatmap(a_field).map(
        lambda new: replace(one, fields=(*(f for f in one.fields if f.name != new.name), new))
    )  # fmt: skip
    ways = [grown, st.just(replace(one, fields=one.fields[:-1])), st.just(replace(one, quality=()))]
    for index, field in enumerate(one.fields):
        for attribute in (
            "required",
            "unique",
            "values",
            "quality",
            "options",
            "physical_type",
            "logical_type",
        ):
            ways.append(
                a_field(field.name).map(
                    lambda new, i=index, f=field, a=attribute: replace(  # type: ignore[misc]
                        one,
                        fields=(*one.fields[:i], replace(f, **{a: getattr(new, a)}), *one.fields[i + 1 :]),
                    )
                )
            )
    return st.one_of(ways)


steps = contracts.flatmap(lambda a: one_step(a).flatmap(lambda b: one_step(b).map(lambda c: (a, b, c))))


@pytest.mark.slow
@given(steps)
def test_two_steps_that_break_no_reader_break_none_together(
    chain: tuple[Contract, Contract, Contract],
) -> None:
    one, two, three = chain
    if "breaking" not in (compare(one, two).consumer, compare(two, three).consumer):
        assert compare(one, three).consumer != "breaking"
    if "breaking" not in (compare(one, two).verdict, compare(two, three).verdict):
        assert compare(one, three).verdict != "breaking"


@given(a_field("a", depth=0), a_field("a", depth=0))
def test_of_a_field_that_stays_there_and_back_bind_the_other_side(
    before: ContractField, after: ContractField
) -> None:
    bare = {"classification": None}
    one = replace(contract(NUMBER), fields=(replace(before, **bare),))
    two = replace(contract(NUMBER), fields=(replace(after, **bare),))
    there, back = compare(one, two), compare(two, one)
    # Whatever serves nobody on the way serves nobody on the way back, but for types, of which readers get text.
    kinds = {"logicalType", "physicalType", "format", "timezone"}
    sides = [
        sorted((c.kind, *effects) for c, effects in pairs if c.kind not in kinds)
        for pairs in (
            [(c, (c.consumer, c.producer)) for c in there.changes],
            [(c, (c.producer, c.consumer)) for c in back.changes],
        )
    ]
    if not any(len(c.breaks) == 2 and c.kind == "logicalType" for c in (*there.changes, *back.changes)):
        assert sides[0] == sides[1]


ARROW = st.sampled_from(
    [pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint32(), pa.float32(), pa.float64(), pa.decimal128(9, 2),
     pa.decimal128(11, 3), pa.decimal128(5, 0), pa.decimal256(55, 4), pa.string(), pa.date32(), pa.bool_(),
     pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.timestamp("ms"), pa.binary(), pa.list_(pa.int64()),
     pa.time64("us"), pa.map_(pa.string(), pa.int64())]
)  # fmt: skip


@given(a_field("a", depth=0), a_field("a", depth=0), ARROW)
def test_types_are_compared_as_they_are_delivered(
    before: ContractField, after: ContractField, kind: pa.DataType
) -> None:
    """No source that was taken is refused, and no reader gets a type that is new to it, unless it was said."""
    bare = {
        "options": {},
        "required": False,
        "unique": False,
        "values": (),
        "quality": (),
        "classification": None,
    }
    old = replace(
        before,
        **{**bare, "options": {k: v for k, v in before.options.items() if k in ("format", "timezone")}},
    )
    new = replace(
        after, **{**bare, "options": {k: v for k, v in after.options.items() if k in ("format", "timezone")}}
    )
    found = compare(*(replace(contract(NUMBER), fields=(field,)) for field in (old, new)))
    source = pa.field("a", kind)
    was, now = fit(old, source), fit(new, source)
    if was.verdict != "refused" and now.verdict == "refused":
        assert found.producer == "breaking"
    if now is AS_IS and was is AS_TEXT:
        assert found.consumer == "breaking"
    if now is AS_IS and was.verdict == "refused" and not pa.types.is_string(kind):
        assert found.consumer == "breaking"
