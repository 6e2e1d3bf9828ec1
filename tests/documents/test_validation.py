from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from lading.documents import Duration, Findings, Name, Size, expand, nearest, parse, unknown, validate, worded
from lading.errors import InvalidProject


class Column(BaseModel):
    model_config = ConfigDict(extra="forbid")
    column: str


class Window(BaseModel):
    model_config = ConfigDict(extra="forbid")
    column: str
    every: Duration | None = None
    late: Literal["ignore"] | Column | None = None

    @model_validator(mode="after")
    def check(self) -> Window:
        if self.column == "wrong":
            raise Findings(
                [(("column",), "window.column is wrong"), (("every",), "window.every is wrong too")]
            )
        return self


class Export(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: Name
    format: str = "parquet"
    mode: Literal["append", "incremental"] = "append"
    window: Window | None = None
    keys: list[str] = Field(default_factory=list)
    windows: dict[str, Window] = Field(default_factory=dict)
    size: Size = 1
    count: int = Field(default=1, ge=1)
    password: Literal["a", "b"] | None = None


def problems(text: str, environ: dict[str, str] | None = None) -> list[str]:
    document = expand(parse(text.encode(), "exports/a.yaml"), environ or {})
    with pytest.raises(InvalidProject) as caught:
        validate(Export, document)
    return [str(problem).removeprefix("exports/a.yaml:") for problem in caught.value.problems]


# M10
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: a\nformt: x\n", ['2: unknown key "formt" – did you mean "format"?']),
        ("name: a\nwindow:\n  column: c\n  evry: 1h\n", ['4: unknown key "evry" – did you mean "every"?']),
        ("name: a\nwindows: {x: {column: c,\n clumn: 1}}\n", ['3: unknown key "clumn" – did you mean "column"?']),
        ("name: a\nwindow: {column: c, zzz: 1}\n", ['2: unknown key "zzz"; known here: column, every, late']),
        ("format: x\n", ["1: name is missing"]),
        ("name: a\nwindow:\n  every: 1h\n", ["2: window.column is missing"]),
        ("name: 1\n", ["1: name must be text (put it in quotes)"]),
        ("name: a\nkeys: x\n", ["2: keys must be a list"]),
        ("name: a\nkeys: [x, {}]\n", ["2: keys[1] must be text"]),
        ("name: a\nkeys:\n- x\n- 2\n", ["4: keys[1] must be text (put it in quotes)"]),
        ("name: a\nmode: appendd\n",
         ['2: mode must be one of append, incremental, not "appendd" – did you mean "append"?']),
        ("name: a\nmode: 1\n", ["2: mode must be one of append, incremental"]),
        ("name: a\npassword: hunter22\n", ["2: password must be one of a, b"]),
        ("name: a\nwindow: []\n", ["2: window must be a mapping of keys to values"]),
        (
            "name: a\nwindow: {column: c, late: ignored}\n",
            ['2: window.late must be "ignore" or a mapping of keys to values, not "ignored" – did you mean "ignore"?'],
        ),
        ("name: a\nwindow: {column: c,\n late: {clumn: x}}\n", [
            "3: window.late.column is missing", '3: unknown key "clumn" – did you mean "column"?']),
        ("name: a\nwindow: {column: c, every: soon}\n", [
            "2: window.every must be a duration, such as 60s, 15m, 24h, 7d or PT1H"]),
        ("name: a\nsize: 12 parsecs\n", ["2: size must be a size, such as 256MB or 64MiB"]),
        ("name: a\ncount: 0\n", ["2: count must be at least 1"]),
        ("name: a\ncount: x\n", ["2: count must be a whole number"]),
        ("name: A b\n", ['1: name: "A b" cannot be a name: use 1 to 63 lower-case letters, digits, "-" and "_", '
                         "and begin with a letter or digit"]),
        ("name: a\nwindow:\n  every: 1h\n  column: wrong\n", [
            "3: window.every is wrong too", "4: window.column is wrong"]),
        ("- a\n", ["1: the file must be a mapping of keys to values"]),
        ("", ["1: the file must be a mapping of keys to values"]),
        ("nme: a\nmode: x\n", [
            "1: name is missing", '1: unknown key "nme" – did you mean "name"?',
            "2: mode must be one of append, incremental, not \"x\""]),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line_and_what_would_be_right(text: str, expected: list[str]) -> None:
    assert problems(text) == expected


def test_a_section_is_validated_in_place() -> None:
    document = parse(b"a: 1\nformat:\n  column: x\n  evry: 1h\n", "x.yaml")
    with pytest.raises(InvalidProject) as caught:
        validate(Window, document, at=("format",))
    assert str(caught.value) == 'x.yaml:4: unknown key "evry" – did you mean "every"?'
    with pytest.raises(InvalidProject) as caught:
        validate(Window, document, at=("format",), data={"column": 1})
    assert str(caught.value) == "x.yaml:3: format.column must be text (put it in quotes)"


def test_keys_that_others_take_from_a_section_are_among_the_known() -> None:
    document = parse(b"column: x\nmax_filesize: 1MB\nzzz: 1\n", "x.yaml")
    with pytest.raises(InvalidProject) as caught:
        validate(Window, document, known=("max_file_size",))
    assert [str(problem) for problem in caught.value.problems] == [
        'x.yaml:2: unknown key "max_filesize" – did you mean "max_file_size"?',
        'x.yaml:3: unknown key "zzz"; known here: column, every, late, max_file_size',
    ]


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("lak", ["lake", "journal"], 'there is no store "lak" – did you mean "lake"?'),
        ("ID", ["id", "name"], 'there is no store "ID" – did you mean "id"?'),
        ("carier", ["CARRIER"], 'there is no store "carier" – did you mean "CARRIER"?'),
        ("zzz", ["lake", "journal"], 'there is no store "zzz"; there are journal, lake'),
        ("zzz", [], 'there is no store "zzz"'),
    ],
)
def test_an_unknown_name_is_told_with_the_nearest_or_with_those_there_are(
    name: str, known: list[str], expected: str
) -> None:
    assert unknown("store", name, known) == expected


class Limits(BaseModel):
    least: Annotated[int, Field(ge=1)] = 1
    more: Annotated[int, Field(gt=1)] = 2
    most: Annotated[int, Field(le=1)] = 1
    less: Annotated[int, Field(lt=1)] = 0
    some: Annotated[list[int], Field(min_length=1, max_length=2)] = [1]
    text: Annotated[str, Field(min_length=2, max_length=3)] = "ab"
    when: datetime = datetime(2024, 1, 1)
    even: Annotated[int, AfterValidator(lambda number: _even(number))] = 0


def _even(number: int) -> int:
    if number % 2:
        raise ValueError("is odd")
    return number


# M10
@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"least": 0}, "must be at least 1"),
        ({"more": 1}, "must be more than 1"),
        ({"most": 2}, "must be at most 1"),
        ({"less": 1}, "must be less than 1"),
        ({"some": []}, "must have at least 1 item"),
        ({"some": [1, 2, 3]}, "must have at most 2 items"),
        ({"text": "a"}, "must have at least 2 characters"),
        ({"text": "abcd"}, "must have at most 3 characters"),
        ({"when": "x"}, "must be a valid datetime or date, input is too short"),
        ({"even": 1}, "is odd"),
    ],
)
def test_limits_are_told_in_plain_words(given: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Limits.model_validate(given)
    (error,) = caught.value.errors()
    assert worded(error) == told


@given(st.lists(st.text(min_size=1), min_size=1))
def test_a_suggestion_is_always_one_of_the_known_names(known: list[str]) -> None:
    near = nearest(known[0], known)
    assert near.removeprefix(' – did you mean "').removesuffix('"?') in known


def test_a_valid_document_becomes_its_model() -> None:
    model = validate(Export, parse(b"name: a\nwindow: {column: c, every: 1h}\nsize: 256MB\n", "a"))
    assert model.size == 256_000_000


# M7
def test_variables_come_from_the_environment_after_parsing() -> None:
    document = parse(b"url: '${A}:${B}'\nlist: ['$${A}', $A, 5]\n", "a.yaml")
    data = expand(document, {"A": "x\nb: [1", "B": ": !!evil &x"}).data
    assert data == {"url": "x\nb: [1:: !!evil &x", "list": ["${A}", "$A", 5]}


# M7
def test_missing_variables_are_all_named_with_their_lines() -> None:
    with pytest.raises(InvalidProject) as caught:
        expand(parse(b"a: ${NOT_SET}\nb:\n- ${NOR_THIS}\n- ${bad-name}\n- ${open\n", "lading.yaml"), {})
    assert list(map(str, caught.value.problems)) == [
        "lading.yaml:1: the environment variable NOT_SET is not set",
        "lading.yaml:3: the environment variable NOR_THIS is not set",
        'lading.yaml:4: write a variable as ${NAME}, and a plain "${" as "$${"',
        'lading.yaml:5: write a variable as ${NAME}, and a plain "${" as "$${"',
    ]


# M7
def test_values_of_the_environment_are_never_repeated() -> None:
    assert problems("name: a\nmode: ${M}\n", {"M": "s3cret"}) == [
        '2: mode must be one of append, incremental, not "***"'
    ]
    assert problems("name: '${M}/x'\n", {"M": "s3cret"})[0].startswith('1: name: "***/x" cannot be a name')
    assert problems("name: a\nmode: ${M}\n", {"M": "ab"}) == [
        '2: mode must be one of append, incremental, not "***"'
    ]


@given(st.text())
def test_a_variable_is_inserted_as_it_is(value: str) -> None:
    assert expand(parse(b"a: x${V}y", "a"), {"V": value}).data == {"a": f"x{value}y"}
