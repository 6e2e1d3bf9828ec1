# D9 (duplicates, nulls, freshness, row counts) and D18 (unique ids, ranges, ordering, balance, formats, distributions)
from __future__ import annotations

import math
import os
import re
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lading.errors import Failed, InvalidProject, StoreFull
from lading.ports import Check, CheckResult
from lading.transforms.checks import needs_order, parse_check

NOW = datetime(2024, 3, 17, 12, tzinfo=UTC)
ROWS = settings(max_examples=60, deadline=None)
DISK = settings(max_examples=12, deadline=None)  # each example asks DuckDB several times


@pytest.fixture
def spill(tmp_path: Path) -> Path:
    return tmp_path / "spill"


def parse(value: object, spill: Path = Path("never-written"), **more: Any) -> list[Check]:
    return parse_check(value, **{"now": NOW, "memory": 64 << 20, "spill": spill, **more})


def judge(declared: object, table: pa.Table, chunk: int = 1000, threads: int = 1, **more: Any) -> CheckResult:
    """The one check's verdict; afterwards nothing is left in the spill folder."""
    with tempfile.TemporaryDirectory() as folder:
        (check,) = parse(declared, Path(folder), **more)
        check.bind(table.schema)
        batches = table.to_batches(max_chunksize=chunk) or [pa.RecordBatch.from_pylist([], table.schema)]
        if threads == 1:
            for batch in batches:
                check.observe(batch)
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(check.observe, batches))
        result = check.result()
        check.close()
        assert not os.listdir(folder)  # noqa: PTH208
    assert isinstance(check, Check)
    assert result.ok == (result.violations == 0)
    assert result.detail or result.ok
    return result


def agree(declared: object, table: pa.Table, violations: int, ordered: bool = False, **more: Any) -> None:
    """The oracle's count, however the rows are cut and however many threads show them."""
    for chunk, threads in ((1000, 1), (1, 1), (3, 1 if ordered else 2)):
        assert judge(declared, table, chunk, threads, **more).violations == violations


small = st.none() | st.integers(-3, 3)
pairs = st.lists(st.tuples(small, st.none() | st.sampled_from(["a", "A", "b", ""])), max_size=25)


def typed(values: list[Any], type_: pa.DataType) -> pa.Array:
    """Whole numbers in any numeric type; Arrow refuses to cast them to short decimals."""
    return pa.array(
        [Decimal(v) if v is not None and pa.types.is_decimal(type_) else v for v in values], type_
    )


def two(rows: list[tuple[Any, Any]], b: pa.DataType | None = None) -> pa.Table:
    arrays = [pa.array([r[0] for r in rows], pa.int64()), pa.array([r[1] for r in rows], pa.string())]
    return pa.table({"a": arrays[0], "b": arrays[1].cast(b) if b else arrays[1]})


# --- unique --------------------------------------------------------------------------------------------------------


@DISK
@given(pairs)
def test_unique_counts_the_rows_that_repeat_a_key_and_null_repeats_nothing(
    rows: list[tuple[Any, Any]],
) -> None:
    whole = Counter(row for row in rows if None not in row)
    agree(
        {"unique": ["a", "b"]},
        two(rows, pa.dictionary(pa.int8(), pa.string())),
        sum(n - 1 for n in whole.values()),
    )
    one = Counter(a for a, _ in rows if a is not None)
    agree({"unique": ["a"]}, two(rows), sum(n - 1 for n in one.values()))


@DISK
@given(pairs)
def test_unique_is_judged_within_each_tenant(rows: list[tuple[Any, Any]]) -> None:
    whole = Counter(row for row in rows if None not in row)
    agree({"unique": ["a"]}, two(rows), sum(n - 1 for n in whole.values()), scope=("b",))


KEYS: list[tuple[pa.DataType, Any, Any]] = [
    (pa.timestamp("ns", "UTC"), 1, 2),
    (pa.timestamp("us"), 1, 2),
    (pa.decimal256(60, 3), Decimal("1.001"), Decimal("1.002")),
    (pa.decimal128(38, 3), Decimal("1.001"), Decimal("1.002")),
    (pa.date32(), date(2024, 1, 1), date(2024, 1, 2)),
    (pa.binary(2), b"\0\1", b"\0\2"),
    (pa.large_binary(), b"", b"\xff"),
    (pa.uuid(), b"0" * 16, b"1" * 16),
    (pa.uint64(), 2**64 - 1, 2**64 - 2),
    (pa.bool_(), True, False),
    (pa.time64("ns"), 1, 2),
    (pa.float32(), 1.5, -0.5),
    (pa.string_view(), "x", "x "),
]


@pytest.mark.parametrize(("type_", "one", "other"), KEYS, ids=str)
def test_unique_tells_values_of_every_type_apart(type_: pa.DataType, one: Any, other: Any) -> None:
    array = pa.array([None, one, other, None], type_)
    table = pa.table({'k"; --': array})
    assert judge({"unique": ['k"; --']}, table).violations == 0
    assert judge({"unique": ['k"; --']}, pa.concat_tables([table, table])).violations == 2


def test_a_key_that_the_source_proves_needs_no_look_and_no_disk() -> None:
    table = two([(1, "x"), (1, "x")])
    proven = frozenset({frozenset({"a"})})
    result = judge({"unique": ["a", "b"]}, table, proven=proven)
    assert result == CheckResult("unique(a, b)", True, "fail", 0, "proven by the source's constraint")
    assert judge({"unique": ["b"]}, table, proven=proven).violations == 1
    assert judge({"unique": ["b"]}, table, proven=frozenset({frozenset({"a", "b"})}), scope=("a",)).ok
    assert not judge({"unique": ["b"]}, table, proven=frozenset({frozenset[str]()})).ok


LARGE: list[tuple[object, int, int]] = [  # a check, its violations, MiB
    ({"unique": ["id"]}, 1, 8),
    ({"ordered": {"column": "n", "by": ["id"], "strict": True}}, 1, 32),
    ({"balance": {"column": "n", "by": ["id"]}}, 1, 8),
    ({"distribution": {"column": "id", "distinct": [600_000, 600_000]}}, 0, 8),
]


@pytest.mark.slow
@pytest.mark.parametrize(("declared", "violations", "mebibytes"), LARGE, ids=str)
def test_keys_that_do_not_fit_the_memory_are_judged_exactly(
    declared: object, violations: int, mebibytes: int, spill: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lading.transforms.spill.FLOOR", mebibytes << 20)
    (check,) = parse(declared, spill, memory=mebibytes << 20)
    check.bind(pa.schema([("id", pa.string()), ("n", pa.int64())]))
    for start in range(0, 600_000, 50_000):
        ids = pa.array(range(start, start + 50_000)).cast(pa.string())
        # 128 bytes each: 77 MB of keys
        padded = pc.utf8_lpad(ids, width=128, padding="0")
        check.observe(pa.record_batch({"id": padded, "n": pa.repeat(0, 50_000)}))
    check.observe(
        pa.record_batch({"id": ["3".rjust(128, "0")], "n": [0 if "ordered" in str(declared) else 1]})
    )
    result = check.result()
    assert result.violations == violations
    assert not list(spill.iterdir())


def test_what_is_set_aside_is_private_and_goes_when_the_check_is_closed(spill: Path) -> None:
    (check,) = parse({"unique": ["a"]}, spill)
    table = two([(1, "x")])
    check.bind(table.schema)
    check.observe(table.to_batches()[0])
    (folder,) = spill.iterdir()
    assert folder.stat().st_mode & 0o077 == 0
    check.close()
    check.close()
    assert not list(spill.iterdir())
    with pytest.raises(ValueError, match="has ended"):
        check.observe(table.to_batches()[0])
    with pytest.raises(ValueError, match="has ended"):
        check.result()
    assert not list(spill.iterdir())


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")  # noqa: PTH110
def test_a_full_disk_is_told_as_such(spill: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = pa.OSFile
    monkeypatch.setattr(pa, "OSFile", lambda path, mode: real("/dev/full", mode))
    (check,) = parse({"unique": ["a"]}, spill)
    batch = pa.record_batch({"a": list(range(100_000))})
    check.bind(batch.schema)
    with pytest.raises(StoreFull, match="no room"):
        check.observe(batch)
    check.close()
    assert not list(spill.iterdir())


# --- row by row ----------------------------------------------------------------------------------------------------


@ROWS
@given(pairs)
def test_not_null_counts_nulls_column_by_column(rows: list[tuple[Any, Any]]) -> None:
    table = two(rows, pa.dictionary(pa.int8(), pa.string()))
    first, second = parse({"not_null": ["a", "b"]})
    assert (first.bind(table.schema), second.bind(table.schema)) == (None, None)
    agree({"not_null": ["a"]}, table, sum(a is None for a, _ in rows))
    agree({"not_null": ["b"]}, table, sum(b is None for _, b in rows))


ends = st.none() | st.integers(-3, 3) | st.integers(-300, 300).map(lambda n: n / 100)
NUMBERS = [pa.int8(), pa.int64(), pa.float32(), pa.decimal128(10, 2), pa.decimal256(50, 1)]


@ROWS
@given(st.lists(small), ends, ends, st.sampled_from(NUMBERS))
def test_range_counts_values_outside_and_null_passes(
    values: list[int | None], low: Any, high: Any, type_: pa.DataType
) -> None:
    assume(low is not None or high is not None)
    if low is not None and high is not None:
        low, high = min(low, high), max(low, high)
        # what lies between 0.2 and 0.4 of an integer is refused, by a test of its own
        assume(math.ceil(low) <= math.floor(high))
    outside = sum(
        v is not None and ((low is not None and v < low) or (high is not None and v > high)) for v in values
    )
    agree({"range": {"v": [low, high]}}, pa.table({"v": typed(values, type_)}), outside)


def test_range_takes_dates_and_times_as_iso_text_or_yaml_dates() -> None:
    moments = [datetime(2013, 1, 1, tzinfo=UTC), datetime(2014, 1, 1, tzinfo=UTC), None]
    zoned = pa.table({"t": pa.array(moments, pa.timestamp("ns", "UTC"))})
    for end in (
        "2013-12-31T23:59:59Z",
        "2013-12-31T23:59:59",
        datetime(2013, 12, 31, 23),
        date(2013, 12, 31),
    ):
        assert judge({"range": {"t": ["2013-01-01", end]}}, zoned).violations == 1
    days = pa.table({"t": zoned["t"].cast(pa.timestamp("ns")).cast(pa.date32())})
    assert judge({"range": {"t": ["2013-01-01", None]}}, days).ok
    assert judge({"range": {"t": [None, date(2013, 1, 1)]}}, days).violations == 1


def test_nan_lies_in_no_range() -> None:
    assert judge({"range": {"v": [None, 1.0]}}, pa.table({"v": [math.nan, 1.0, None]})).violations == 1


@ROWS
@given(
    st.lists(st.none() | st.text("ab@\n", max_size=4)), st.sampled_from(["@", "^[^@]+@[^@]+$", "^$", "a|b"])
)
def test_regex_searches_as_re_does_and_null_passes(values: list[str | None], pattern: str) -> None:
    broken = sum(v is not None and not re.search(pattern.replace("$", r"\Z"), v) for v in values)
    for type_ in (pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())):
        agree({"regex": {"v": pattern}}, pa.table({"v": pa.array(values, pa.string()).cast(type_)}), broken)


@ROWS
@given(pairs, st.lists(st.integers(-3, 3), min_size=1))
def test_in_counts_values_that_are_not_listed_and_null_passes(
    rows: list[tuple[Any, Any]], known: list[int]
) -> None:
    agree({"in": {"a": known}}, two(rows), sum(a is not None and a not in known for a, _ in rows))
    unlisted = sum(b is not None and b not in ("a", "") for _, b in rows)
    for type_ in (None, pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())):
        agree({"in": {"b": ["a", ""]}}, two(rows, type_), unlisted)


def test_in_takes_what_the_column_holds() -> None:
    table = pa.table({"d": [date(2024, 1, 1)], "m": [Decimal("1.50")], "x": [True], "f": [0.1]})
    listed = {"d": ["2024-01-01"], "m": [1.5], "x": [True], "f": [0.1]}
    assert all(judge({"in": {column: values}}, table).ok for column, values in listed.items())


# --- order and sums ------------------------------------------------------------------------------------------------


def disordered(values: list[Any], keys: list[Any], strict: bool) -> int:
    last: dict[Any, Any] = {}
    broken = 0
    for value, key in zip(values, keys, strict=True):
        if value is None:
            continue
        if isinstance(value, float) and math.isnan(value):
            broken += 1
            continue
        if key in last and (value < last[key] or (strict and value == last[key])):
            broken += 1
        last[key] = value
    return broken


@DISK
@given(pairs, st.booleans())
def test_ordered_counts_steps_back_within_each_key_across_batches(
    rows: list[tuple[Any, Any]], strict: bool
) -> None:
    a, b = [r[0] for r in rows], [r[1] for r in rows]
    alone = {"ordered": {"column": "a", "strict": strict}}
    agree(alone, two(rows), disordered(a, [0] * len(a), strict), ordered=True)
    agree(
        {"ordered": {"column": "a", "by": ["b"], "strict": strict}},
        two(rows),
        disordered(a, b, strict),
        ordered=True,
    )
    agree(alone, two(rows), disordered(a, b, strict), ordered=True, scope=("b",))
    texts = {"ordered": {"column": "b", "by": ["a"]}}
    agree(texts, two(rows), disordered(b, a, False), ordered=True)


@DISK
@given(st.lists(st.sampled_from([None, math.nan, -1.5, 0.0, 2.0])))
def test_nan_is_out_of_order_by_itself(values: list[float | None]) -> None:
    table = pa.table({"v": pa.array(values, pa.float64())})
    agree({"ordered": {"column": "v"}}, table, disordered(values, [0] * len(values), False), ordered=True)


def test_nanoseconds_are_ordered_exactly() -> None:
    table = pa.table({"t": pa.array([2, 1, 1, 3], pa.timestamp("ns", "UTC"))})
    agree({"ordered": {"column": "t"}}, table, 1, ordered=True)
    agree({"ordered": {"column": "t", "strict": True}}, table, 2, ordered=True)


def test_only_ordered_needs_the_reading_in_one_part() -> None:
    assert needs_order(parse({"ordered": {"column": "a"}}))
    assert not needs_order([*parse({"unique": ["a"]}), *parse({"balance": {"column": "a"}})])


@DISK
@given(pairs, st.sampled_from([pa.int64(), pa.int16(), pa.decimal128(12, 2)]))
def test_balance_counts_keys_whose_amounts_do_not_add_up(
    rows: list[tuple[Any, Any]], type_: pa.DataType
) -> None:
    sums: dict[Any, int] = {}
    for a, b in rows:
        sums[b] = sums.get(b, 0) + (a or 0)
    total = sum(a or 0 for a, _ in rows)
    table = two(rows).set_column(0, "a", typed([a for a, _ in rows], type_))
    agree({"balance": {"column": "a", "by": ["b"]}}, table, sum(s != 0 for s in sums.values()))
    agree({"balance": {"column": "a"}}, table, int(total != 0))
    assert not rows or judge({"balance": {"column": "a", "equals": total}}, table).ok


def test_a_balance_that_overflows_fails_without_a_value_in_its_message() -> None:
    table = pa.table({"a": pa.array([Decimal("9" * 38)] * 2, pa.decimal128(38, 0))})
    with pytest.raises(Failed) as failure:
        judge({"balance": {"column": "a"}}, table)
    assert "999" not in str(failure.value)


# --- the whole -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rows", "ok"), [(0, False), (1, True), (5, True), (6, False)])
def test_row_count_has_two_ends(rows: int, ok: bool) -> None:
    table = pa.table({"a": list(range(rows))})
    assert judge({"row_count": {"min": 1, "max": 5}}, table, 2, 2).ok == ok
    assert judge({"row_count": {"max": 5}}, table).ok == (rows <= 5)


@ROWS
@given(st.lists(st.none() | st.integers(-50, 50)), st.sampled_from(["s", "ms", "us", "ns"]))
def test_freshness_looks_at_the_newest_value(hours: list[int | None], unit: str) -> None:
    moments = [None if h is None else (NOW - timedelta(hours=h)) for h in hours]
    fresh = any(h is not None and h <= 24 for h in hours)
    zoned = pa.array(moments, pa.timestamp(unit, "UTC"))
    for array in (zoned, zoned.cast(pa.timestamp(unit, "America/New_York")), zoned.cast(pa.timestamp(unit))):
        agree({"freshness": {"column": "t", "max_age": "24h"}}, pa.table({"t": array}), int(not fresh))


def test_freshness_reads_a_date_as_its_midnight() -> None:
    for type_ in (pa.date32(), pa.date64()):
        table = pa.table({"t": pa.array([date(2024, 3, 16)], type_)})
        assert judge({"freshness": {"column": "t", "max_age": "1d 12h"}}, table).ok
        assert not judge({"freshness": {"column": "t", "max_age": "35h"}}, table).ok


shares = st.tuples(st.sampled_from([0, 0.1, 0.25]), st.sampled_from([0.5, 0.75, 1, None]))


@ROWS
@given(pairs, shares, shares, shares, shares)
def test_distribution_judges_shares_exactly(
    rows: list[tuple[Any, Any]], a: Any, b: Any, others: Any, nulls: Any
) -> None:
    def outside(part: int, of: int, ends: tuple[Any, Any]) -> bool:
        share = Fraction(part, of)
        return share < Fraction(str(ends[0])) or (ends[1] is not None and share > Fraction(str(ends[1])))

    values = [v for _, v in rows if v is not None]
    missed = int(bool(rows) and outside(len(rows) - len(values), len(rows), nulls))
    if values:
        missed += outside(values.count("a"), len(values), a) + outside(values.count("b"), len(values), b)
        missed += outside(len(values) - values.count("a") - values.count("b"), len(values), others)
    declared = {
        "column": "b",
        "expect": {"a": list(a), "b": list(b)},
        "others": list(others),
        "nulls": list(nulls),
    }
    for type_ in (None, pa.dictionary(pa.int8(), pa.string()), pa.string_view()):
        agree({"distribution": declared}, two(rows, type_), missed)


# law 10: recipients read what a check says
def test_distribution_tells_neither_values_nor_how_many_have_them() -> None:
    table = pa.table({"v": ["flu"] * 7 + ["hiv"] * 3})
    declared = {"column": "v", "expect": {"flu": [0, 1], "hiv": [0, 0.01]}, "others": [0.5, 1]}
    said = judge({"distribution": declared}, table).detail
    assert said == "share 2 of `expect` is not within 0 to 0.01; share of other values is not within 0.5 to 1"


@DISK
@given(st.lists(small), st.integers(-2, 0), st.integers(0, 2), st.integers(0, 4))
def test_distribution_judges_mean_and_different_values(
    values: list[Any], low: int, high: int, most: int
) -> None:
    real = [v for v in values if v is not None]
    missed = int(bool(real) and not low <= Fraction(sum(real), len(real) or 1) <= high)
    missed += bool(values) and len(set(real)) > most
    declared = {"column": "v", "mean": [low, high], "distinct": [None, most]}
    for type_ in (pa.int8(), pa.int64(), pa.float32(), pa.decimal128(9, 3)):
        table = pa.table({"v": typed(values, type_)})
        agree({"distribution": declared}, table, missed)


def test_a_mean_of_large_integers_does_not_wrap_and_nan_has_none() -> None:
    large = pa.table({"v": [2**63 - 1] * 4})
    assert judge({"distribution": {"column": "v", "mean": [2**62, None]}}, large).ok
    for odd in (math.nan, math.inf, -math.inf):
        assert not judge(
            {"distribution": {"column": "v", "mean": [None, None]}}, pa.table({"v": [1.0, odd]})
        ).ok


# --- what is said, and what is refused -----------------------------------------------------------------------------

SECRET = "ann@example.com"
TELLING: list[object] = [
    {"unique": ["s"]},
    {"not_null": ["s"]},
    {"regex": {"s": "^x"}},
    {"in": {"s": ["x"]}},
    {"ordered": {"column": "s", "strict": True}},
    {"range": {"n": [0, 1]}},
    {"balance": {"column": "n"}},
    {"freshness": {"column": "t", "max_age": "1h"}},
    {"distribution": {"column": "s", "others": [0, 0], "distinct": [9, 9], "nulls": [0, 0]}},
    {"distribution": {"column": "n", "mean": [0, 1]}},
]


@pytest.mark.parametrize("declared", TELLING, ids=str)
def test_a_verdict_never_holds_a_value(declared: dict[str, object]) -> None:
    moment = datetime(1987, 6, 5, tzinfo=UTC)
    table = pa.table({"s": [SECRET, SECRET, None], "n": [424242] * 3, "t": [moment] * 3})
    result = judge({**declared, "on_violation": "warn"}, table)
    assert not result.ok
    assert result.on_violation == "warn"
    for value in (SECRET, "ann", "4242", "1272726", "1987"):
        assert value not in f"{result.name} {result.detail}"


def test_violations_fail_unless_told_to_warn() -> None:
    table = pa.table({"tail_number": pa.array([None], pa.string())})
    assert judge({"not_null": ["tail_number"]}, table) == CheckResult(
        "not_null(tail_number)", False, "fail", 1, "1 row is NULL"
    )
    assert judge({"not_null": ["tail_number"], "on_violation": "warn"}, table).on_violation == "warn"


WRONG: list[tuple[object, str]] = [
    ("unique", "mapping"),
    ({}, "one name"),
    ({"unique": ["a"], "not_null": ["a"]}, "one name"),
    ({"uniqe": ["a"]}, 'did you mean "unique"'),
    ({"unique": ["a"], "on_violaton": "warn"}, "did you mean|there is no check"),
    ({"unique": ["a"], "on_violation": "ignore"}, "fail or warn"),
    ({"unique": []}, "no column"),
    ({"unique": "a"}, "list of columns"),
    ({"range": {"a": [None, None]}}, "least, greatest"),
    ({"range": {"a": 5}}, "least, greatest"),
    ({"range": ["a"]}, "mapping of columns"),
    ({"range": {"c": [5, 1]}}, "between the two ends"),
    ({"range": {"c": ["soon", None]}}, "ISO 8601"),
    ({"range": {"c": ["2024-02-01", "2024-01-01"]}}, "between the two ends"),
    ({"range": {"c": [0, "2024-01-01"]}}, "two kinds"),
    ({"range": {"c": [True, None]}}, "no number"),
    ({"range": {"c": [[1], 2]}}, "no number"),
    ({"regex": {"a": "("}}, "RE2"),
    ({"regex": {"a": 5}}, "text"),
    ({"in": {"a": []}}, "list of values"),
    ({"in": {"a": [None]}}, "NULL"),
    ({"ordered": {"column": "a", "stict": True}}, 'did you mean "strict"'),
    ({"ordered": "a"}, "takes a mapping"),
    ({"row_count": {}}, "min or max"),
    ({"row_count": {"min": 5, "max": 1}}, "max is less"),
    ({"row_count": {"min": -1}}, "row_count.min must be at least 0"),
    ({"freshness": {"column": "t", "max_age": "1 fortnight"}}, "no duration"),
    ({"freshness": {"column": "t", "max_age": 24}}, "no duration"),
    ({"freshness": {"column": "t", "max_age": "0s"}}, "^freshness.max_age must be longer than 0s"),
    ({"freshness": {"column": "t"}}, "^freshness.max_age is missing$"),
    ({"row_count": {"min": "5"}}, "^row_count.min must be a whole number$"),
    ({"row_count": {"min": True}}, "^row_count.min must be a whole number$"),
    ({"unique": ["a", 5]}, "by their names"),
    ({"unique": ["a"], "on_violation": "wran"}, 'did you mean "warn"'),
    ({"distribution": {"column": "a", "expect": {"ok": [90, 100]}}}, "share lies between 0 and 1"),
    ({"distribution": {"column": "a", "nulls": [None, -0.1]}}, "share lies between 0 and 1"),
    ({"distribution": {"column": "a", "distinct": [None, -1]}}, "never less than 0"),
    ({"distribution": {"column": "a", "nulls": 5}}, "^distribution.nulls must be a list$"),
    ({"distribution": {"column": "a"}}, "needs one of"),
    ({"distribution": {"column": "a", "nulls": [1, 0]}}, "more than"),
    ({"distribution": {"column": "a", "means": [1, 0]}}, 'did you mean "mean"'),
]


@pytest.mark.parametrize(("value", "why"), WRONG, ids=str)
def test_a_mistaken_declaration_says_what_is_wrong(value: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse(value)


UNFIT: list[tuple[object, pa.DataType, str]] = [
    ({"unique": ["c"]}, pa.list_(pa.int8()), "compared"),
    ({"range": {"c": [0, 1]}}, pa.string(), "no range"),
    ({"range": {"c": [0.2, 0.4]}}, pa.int64(), "between the two ends"),
    ({"range": {"c": [0, 100000]}}, pa.int8(), "outside"),
    ({"range": {"c": ["2024-01-01T00:00:00Z", None]}}, pa.timestamp("us"), "time zone"),
    ({"range": {"c": ["2024-01-01T00:00:00", None]}}, pa.date32(), "takes a date"),
    ({"regex": {"c": "a"}}, pa.int64(), "no text"),
    ({"in": {"c": ["a"]}}, pa.int64(), "does not fit"),
    ({"in": {"c": [True]}}, pa.int64(), "does not fit"),
    ({"ordered": {"column": "c"}}, pa.bool_(), "no order"),
    ({"ordered": {"column": "d", "by": ["c"]}}, pa.float64(), "no key"),
    ({"balance": {"column": "c"}}, pa.float64(), "added exactly"),
    ({"freshness": {"column": "c", "max_age": "1h"}}, pa.string(), "tells no time"),
    ({"distribution": {"column": "c", "mean": [0, 1]}}, pa.string(), "no mean"),
    ({"distribution": {"column": "c", "expect": {"a": [0, 1]}}}, pa.int64(), "does not fit"),
]


@pytest.mark.parametrize(("declared", "type_", "why"), UNFIT, ids=str)
def test_a_check_that_does_not_fit_its_column_is_refused_at_bind(
    declared: object, type_: pa.DataType, why: str
) -> None:
    (check,) = parse(declared)
    with pytest.raises(InvalidProject, match=why):
        check.bind(pa.schema([("c", type_), ("d", pa.int64())]))


@pytest.mark.parametrize("declared", TELLING, ids=str)
def test_a_missing_column_is_refused_with_the_nearest(declared: object) -> None:
    (check,) = parse(declared)
    with pytest.raises(InvalidProject, match="there is no column"):
        check.bind(pa.schema([("other", pa.int64())]))
