"""Files in a store, as a source."""

from __future__ import annotations

import gzip
import io
import json
import re
import uuid
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pc_csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lading.errors import DataRefused, InvalidProject, SchemaMismatch, SourceUnavailable, StoreUnavailable
from lading.ports import LOGICAL, NATIVE, REFUSED, Dataset, Newest, Query, Range, Reading, Source
from lading.sources.files import FilesOptions, FilesSource
from lading.sources.files_names import compiled, leads
from lading.sources.memory import MemorySource
from lading.stores.local import LocalStore
from lading.stores.memory import MemoryStore
from lading.stores.retry import RetryStore
from lading.testing.source import EPOCH, SourceSuite, collect, rows

TYPES = {"id": "int64", "tenant": "string", "at": "timestamptz", "amount": "decimal(12,2)", "note": "string"}


def parquet(table: pa.Table, **settings: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, **settings)
    return out.getvalue()


def files(_options: dict[str, Any] | None = None, **objects: bytes) -> FilesSource:
    """A source over a store in memory; ``a__csv`` is the object ``a.csv``."""
    store = MemoryStore()
    for name, data in objects.items():
        store.put(name.replace("__", "."), data)
    return FilesSource(FilesOptions(**(_options or {})), store)


def read(source: FilesSource, glob: str, *columns: str, **query: Any) -> pa.Table:
    dataset = Dataset(files=glob)
    names = columns or tuple(source.describe(dataset, query.get("types", "portable")).names)
    with source.open(Query(dataset, names, **query)) as reading:
        return collect(reading)


def halves(table: pa.Table) -> list[pa.Table]:
    middle = table.num_rows // 2
    return [table.slice(0, middle), table.slice(middle)]


# --- every source's promises, kept by each format -----------------------------------------------------------------


class Suite(SourceSuite):
    def missing(self) -> Dataset:
        return Dataset(files="nowhere/*.parquet")


class TestParquet(Suite):
    def make(self, rows: pa.Table, unique: tuple[str, ...] = ()) -> tuple[Source, Dataset]:
        store = MemoryStore()
        for number, half in enumerate(halves(rows)):
            store.put(f"data/{number}.parquet", parquet(half, row_group_size=60))
        return FilesSource(FilesOptions(part_size=2048), store), Dataset(files="data/*.parquet")


class TestParquetInAFolder(Suite):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def make(self, rows: pa.Table, unique: tuple[str, ...] = ()) -> tuple[Source, Dataset]:
        store = LocalStore(self.folder, durable=False)
        store.put("t.parquet", parquet(rows, row_group_size=100, compression="zstd"))
        return FilesSource(FilesOptions(), store), Dataset(files="t.parquet")


class TestCsv(Suite):
    def make(self, rows: pa.Table, unique: tuple[str, ...] = ()) -> tuple[Source, Dataset]:
        store = MemoryStore()
        for number, half in enumerate(halves(rows)):
            out = io.BytesIO()
            pc_csv.write_csv(half, out)
            store.put(f"data/{number}.csv.gz", gzip.compress(out.getvalue()))
        return FilesSource(FilesOptions(columns=TYPES), store), Dataset(files="data/*.csv.gz")


class TestJsonl(Suite):
    def make(self, rows: pa.Table, unique: tuple[str, ...] = ()) -> tuple[Source, Dataset]:
        store = MemoryStore()
        for number, half in enumerate(halves(rows)):
            lines = "".join(json.dumps(row, default=str) + "\n" for row in half.to_pylist())
            data = pa.Codec("zstd").compress(lines.encode()).to_pybytes()
            store.put(f"data/{number}.jsonl.zst", data)
        return FilesSource(FilesOptions(columns=TYPES), store), Dataset(files="data/*.jsonl.zst")


# --- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("glob", "prefix", "matches", "others"),
    [
        ("a.csv", "a.csv", ["a.csv"], ["a.csv.gz", "b/a.csv", "aXcsv"]),
        ("f/*.csv", "f/", ["f/a.csv", "f/.csv", "f/_x.csv"], ["f/g/a.csv", "f/a.csv.gz", "g/a.csv"]),
        ("**/*.csv", "", ["a.csv", "f/g/a.csv"], ["a.csvx"]),
        ("f/**", "f/", ["f/a", "f/g/a"], ["f", "g/f/a"]),
        ("y=201?/[ab].csv", "y=201", ["y=2013/a.csv"], ["y=2013/c.csv", "y=201//a.csv", "y=20133/a.csv"]),
        ("[!ab]+(1).csv", "", ["c+(1).csv"], ["a+(1).csv", "/+(1).csv", "cc(1).csv"]),
        ("a[*].csv", "a", ["a*.csv"], ["ab.csv"]),
        ("a[^-].csv", "a", ["a^.csv", "a-.csv"], ["ab.csv"]),
    ],
)
def test_globs_match_whole_names_within_folders(
    glob: str, prefix: str, matches: list[str], others: list[str]
) -> None:
    found, names = compiled(glob)
    assert found == prefix
    assert all(names.fullmatch(name) and name.startswith(prefix) for name in matches)
    assert not any(names.fullmatch(name) for name in others)


def test_no_match_says_what_there_is() -> None:
    source = files(flights__csv=b"a\n1\n")
    with pytest.raises(SchemaMismatch, match=r"No object in memory:// matches flight\.csv.*flights\.csv"):
        source.describe(Dataset(files="flight.csv"), "portable")
    with pytest.raises(SchemaMismatch, match="Nothing at all"):
        files().describe(Dataset(files="x.csv"), "portable")


@pytest.mark.parametrize(
    ("link", "target", "glob"),
    [
        ("2024", "elsewhere", "*/*.csv"),
        ("2024", "elsewhere", "**/*.csv"),
        ("2024", "elsewhere", "20[12]?/t.csv"),
        ("2024", "unmounted", "*/t.csv"),
        ("2023/u.csv", "unmounted/u.csv", "*/*.csv"),
        ("2023/u.csv", "unmounted/u.csv", "2023/u.csv"),
    ],
)
def test_a_link_behind_which_rows_may_be_missing_is_refused_by_name(
    link: str, target: str, glob: str, tmp_path: Path
) -> None:
    for name in ("root/2023/t.csv", "elsewhere/t.csv"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text("a\n1\n")
    store = RetryStore(LocalStore(tmp_path / "root", durable=False))
    source, query = FilesSource(FilesOptions(), store), Query(Dataset(files=glob), ("a",))
    (tmp_path / "root" / link).symlink_to(tmp_path / target)
    with pytest.raises(SchemaMismatch, match=rf"^{link} in file://.* not followed") as refused:
        source.describe(query.dataset, "portable")
    assert "Put the files themselves there" in str(refused.value.hint)
    with pytest.raises(SchemaMismatch, match=link), source.open(query):
        pass


def test_links_that_hide_no_row_are_no_hindrance(tmp_path: Path) -> None:
    for name, value in (("root/2023/t.csv", 1), ("elsewhere/t.csv", 2)):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(f"a\n{value}\n")
    root = tmp_path / "root"
    (root / "2024").symlink_to(tmp_path / "elsewhere")
    (root / "2023" / "README").symlink_to(tmp_path / "nowhere")
    (root / "2023" / "u.csv").symlink_to(tmp_path / "elsewhere" / "t.csv")
    source = FilesSource(FilesOptions(), LocalStore(root, durable=False))
    assert sorted(read(source, "2023/*.csv")["a"].to_pylist()) == ["1", "2"]
    assert read(source, "2024/*.csv")["a"].to_pylist() == ["2"]
    with pytest.raises(SchemaMismatch, match="No object"):
        read(source, "*.csv")


@given(
    st.lists(st.sampled_from(["*", "**", "?", "[ab]", "a", "a*", "*b"]), min_size=1, max_size=4),
    st.lists(st.text("ab", min_size=1, max_size=2), min_size=2, max_size=5),
    st.data(),
)
def test_no_folder_of_a_name_that_matches_is_taken_for_one_that_leads_nowhere(
    wild: list[str], parts: list[str], data: st.DataObject
) -> None:
    glob, cut = "/".join(wild), data.draw(st.integers(1, len(parts) - 1))
    if compiled(glob)[1].fullmatch("/".join(parts)):
        assert leads(glob, "/".join(parts[:cut]))


@pytest.mark.parametrize(
    "dataset", [Dataset(table="t"), Dataset(files="/x.csv"), Dataset(files="a/../x.csv")]
)
def test_other_datasets_are_refused(dataset: Dataset) -> None:
    with pytest.raises(InvalidProject):
        files().describe(dataset, "portable")


def test_formats_come_from_names_or_settings_and_are_never_mixed() -> None:
    data = b"a\n1\n"
    assert read(files(x__csv=data), "x.csv").to_pydict() == {"a": ["1"]}
    assert read(files({"format": "csv"}, x__gz=gzip.compress(data)), "x*").to_pydict() == {"a": ["1"]}
    with pytest.raises(SchemaMismatch, match="several formats: csv and jsonl"):
        read(files(x__csv=data, x__jsonl=b"{}"), "x*")
    with pytest.raises(SchemaMismatch, match="do not tell"):
        read(files(x__txt=data), "x*")
    with pytest.raises(DataRefused, match=r"x\.csv in memory:// cannot be read"):
        read(files({"format": "parquet"}, x__csv=data), "x*")


def test_the_source_counts_objects_and_bytes_and_has_no_clock() -> None:
    assert files(x__csv=b"123", y__csv=b"4").test() == "2 objects, 4 bytes in memory://"
    assert files().bound().at is None
    bound = files({"immutable": True}).bound()
    assert bound.at == bound.now


# --- one snapshot -------------------------------------------------------------------------------------------------


def test_equal_objects_have_equal_versions_and_changed_ones_do_not() -> None:
    def version(options: dict[str, Any] | None = None, **objects: bytes) -> str:
        with files(options, **objects).open(Query(Dataset(files="*.csv"), ("a",))) as reading:
            assert isinstance(reading, Reading)
            assert reading.replayable
            return reading.survey().version

    one = version(x__csv=b"a\n1\n")
    assert len(one) == 64
    assert one == version(x__csv=b"a\n1\n", y__txt=b"")
    assert one != version(x__csv=b"a\n2\n")
    assert one != version(y__csv=b"a\n1\n")
    assert one != version({"null_marker": "1"}, x__csv=b"a\n1\n")


@pytest.mark.parametrize("change", ["replaced", "deleted", "replaced while read"])
def test_a_file_that_changes_after_the_survey_ends_the_reading(change: str, tmp_path: Path) -> None:
    store = LocalStore(tmp_path, durable=False)
    store.put("x.parquet", parquet(rows(50_000), row_group_size=10_000))
    source = FilesSource(FilesOptions(), store)
    with source.open(Query(Dataset(files="x.parquet"), ("id",))) as reading:
        part = reading.survey().parts[0]
        batches = reading.read(part)
        if change == "replaced while read":
            next(batches)
        if change == "deleted":
            store.delete("x.parquet")
        else:
            store.put("x.parquet", parquet(rows(40_000)))
        with pytest.raises(SourceUnavailable, match=r"x\.parquet .* has (changed|gone)"):
            list(batches)


class _Failing:
    """No more than a `Download`, and the connection is lost after ``calls`` reads."""

    def __init__(self, data: bytes, calls: int) -> None:
        self._file, self._calls = io.BytesIO(data), calls

    def read(self, size: int = -1, /) -> bytes:
        self._calls -= 1
        if self._calls < 0:
            raise StoreUnavailable("the connection was lost")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def close(self) -> None:
        self._file.close()


@pytest.mark.parametrize(
    ("name", "calls"),
    [("x.parquet", 0), ("x.parquet", 1), ("x.csv", 0), ("x.csv", 1), ("x.jsonl", 1)],
)
def test_a_store_that_goes_away_makes_the_source_unavailable(name: str, calls: int) -> None:
    class Store(MemoryStore):
        calls = 10**6

        def read(self, name: str) -> Any:
            return _Failing(self.get(name), self.calls)

    store = Store()
    store.put(name, {"x.parquet": parquet(rows(3000)), "x.csv": b"a\n1\n", "x.jsonl": b'{"a":1}'}[name])
    source = FilesSource(FilesOptions(), store)
    assert read(source, name).num_rows
    store.calls = calls
    with pytest.raises(SourceUnavailable, match="connection was lost"):
        read(source, name)


# --- the same columns in all files --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"a": pa.array([1], pa.int32())}, r'"b".*2\.parquet has no column'),
        ({"a": pa.array([1]), "b": ["x"], "c": [1]}, r'has a column "c"'),
        ({"a": pa.array([1], pa.int32()), "b": ["x"]}, r'"a" is int32 in 2\.parquet and int64 in 1\.parquet'),
    ],
)
def test_files_whose_columns_differ_do_not_fit(other: dict[str, Any], says: str) -> None:
    source = files(
        **{"1__parquet": parquet(pa.table({"a": [1], "b": ["x"]}))},
        **{"2__parquet": parquet(pa.table(other))},
    )
    with pytest.raises(SchemaMismatch) as error:
        source.describe(Dataset(files="*.parquet"), "portable")
    assert all(word in str(error.value) for word in ("1.parquet", "2.parquet"))


def test_forms_of_one_type_and_other_orders_of_columns_fit() -> None:
    one = pa.table({"a": pa.array(["x"]).dictionary_encode(), "t": pa.array([1], pa.timestamp("ms"))})
    two = pa.table({"t": pa.array([2000], pa.timestamp("us")), "a": pa.array(["y"], pa.large_string())})
    got = read(files(**{"1__parquet": parquet(one), "2__parquet": parquet(two)}), "*.parquet")
    assert got.to_pydict() == {
        "a": ["x", "y"],
        "t": [datetime(1970, 1, 1, 0, 0, 0, 1000 * n) for n in (1, 2)],
    }
    assert got.schema.types == [pa.string(), pa.timestamp("us")]


def test_columns_equal_but_for_case_are_refused() -> None:
    for source in (files(x__csv=b"a,A\n1,2\n"), files(x__csv=b"a,a\n"), files(x__jsonl=b'{"a":1,"A":2}')):
        with pytest.raises(SchemaMismatch, match=r"x\..* two columns .* but for case"):
            source.describe(Dataset(files="x.*"), "portable")


def test_empty_files_are_fine_among_others() -> None:
    assert read(files(b__csv=b"x\n1\n", c__csv=b"x"), "*.csv").to_pydict() == {"x": ["1"]}
    bare = files({"columns": {"x": "string"}, "header": False}, a__csv=b"", b__csv=b"1\n")
    assert read(bare, "*.csv").to_pydict() == {"x": ["1"]}
    assert read(files(a__jsonl=b"", b__jsonl=b'{"x":1}\n\n'), "*.jsonl").to_pydict() == {"x": [1]}
    with pytest.raises(SchemaMismatch, match="has a row or names a column"):
        read(files(a__jsonl=b""), "*.jsonl")
    empty = read(files({"columns": {"x": "int64"}}, a__jsonl=b""), "*.jsonl")
    assert empty.schema.types == [pa.int64()]


# --- types --------------------------------------------------------------------------------------------------------

WHEN = datetime(2024, 3, 17, 1, 2, 3, 456789)
UUID = uuid.UUID("3f2504e0-4f89-11d3-9a0c-0305e82c3301")
BIG = Decimal("1234567890123456789012345678901234567890.1234567")
UUIDS = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([UUID.bytes, None], pa.binary(16)))


def array(*values: Any, type: Any) -> pa.Array:
    return pa.array([*values, None], type)


@pytest.mark.parametrize(
    ("column", "kind", "values", "logical"),
    [
        (array(2**63, type=pa.uint64()), pa.uint64(), [2**63], b""),
        (array(1.5, type=pa.float16()), pa.float32(), [1.5], b""),
        (array("x", type=pa.large_string()), pa.string(), ["x"], b""),
        (array("x", type=pa.string_view()), pa.string(), ["x"], b""),
        (array("x", type=pa.string()).dictionary_encode(), pa.string(), ["x"], b""),
        (array(b"\xff", type=pa.large_binary()), pa.binary(), [b"\xff"], b""),
        (array(Decimal("1.50"), type=pa.decimal256(10, 2)), pa.decimal128(10, 2), [Decimal("1.50")], b""),
        (array(BIG, type=pa.decimal256(60, 7)), pa.string(), [str(BIG)], b"decimal"),
        (array(Decimal(0), type=pa.decimal256(60, 7)), pa.string(), ["0.0000000"], b"decimal"),
        (array(WHEN, type=pa.timestamp("ns")), pa.timestamp("us"), [WHEN], b""),
        (
            array(WHEN.replace(microsecond=0), type=pa.timestamp("s")),
            pa.timestamp("us"),
            [WHEN.replace(microsecond=0)],
            b"",
        ),
        (
            array(WHEN, type=pa.timestamp("us", "America/New_York")),
            pa.timestamp("us", "UTC"),
            [WHEN.replace(tzinfo=UTC)],
            b"",
        ),
        (array(WHEN.time(), type=pa.time64("ns")), pa.time64("us"), [WHEN.time()], b""),
        (array(date(2024, 2, 29), type=pa.date64()), pa.date32(), [date(2024, 2, 29)], b""),
        (
            array(timedelta(seconds=-1, microseconds=500000), type=pa.duration("ms")),
            pa.string(),
            ["PT-0.500S"],
            b"interval",
        ),
        (UUIDS, pa.string(), [str(UUID)], b"uuid"),
        (
            pa.ExtensionArray.from_storage(pa.json_(), array('{"a": 1}', type=pa.string())),
            pa.string(),
            ['{"a": 1}'],
            b"json",
        ),
        (array([1, None], type=pa.list_(pa.int32(), 2)), pa.list_(pa.int32()), [[1, None]], b""),
        (array([WHEN], type=pa.large_list(pa.timestamp("ns"))), pa.list_(pa.timestamp("us")), [[WHEN]], b""),
        (
            pa.ListArray.from_arrays(pa.array([0, 2, 2], pa.int32()), UUIDS, mask=pa.array([False, True])),
            pa.list_(pa.string()),
            [[str(UUID), None]],
            b"",
        ),
        (
            array({"a": BIG, "b": "x"}, type=pa.struct({"a": pa.decimal256(60, 7), "b": pa.string()})),
            pa.struct({"a": pa.string(), "b": pa.string()}),
            [{"a": str(BIG), "b": "x"}],
            b"",
        ),
        (
            array([("k", WHEN)], type=pa.map_(pa.string(), pa.timestamp("ns"))),
            pa.map_(pa.string(), pa.timestamp("us")),
            [[("k", WHEN)]],
            b"",
        ),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else None,
)
def test_parquet_types_arrive_exact(column: pa.Array, kind: Any, values: list[Any], logical: bytes) -> None:
    table = pa.table({"n": pa.array(range(len(column))), "c": column})
    got = read(files(x__parquet=parquet(table)), "x.parquet", "c")
    field = got.schema.field("c")
    assert field.type == kind
    assert field.metadata.get(LOGICAL, b"") == logical
    assert NATIVE in field.metadata
    assert got.column("c").to_pylist() == [*values, None]
    sliced = read(files(x__parquet=parquet(pa.concat_tables([table] * 3))), "x.parquet", "c")
    assert sliced.column("c").to_pylist() == [*values, None] * 3


def test_exact_types_keep_what_arrow_holds() -> None:
    table = pa.table(
        {"d": array(BIG, type=pa.decimal256(60, 7)), "u": UUIDS, "s": array(5, type=pa.duration("ns"))}
    )
    got = read(files(x__parquet=parquet(table)), "x.parquet", types="exact")
    assert got.schema.types == [pa.decimal256(60, 7), pa.binary(16), pa.duration("ns")]
    assert got.schema.field("u").metadata[LOGICAL] == b"uuid"
    assert got.column("u").to_pylist() == [UUID.bytes, None]
    assert got.column("d").to_pylist() == [BIG, None]


@pytest.mark.parametrize(
    ("column", "says"),
    [
        (pa.array([1, 1000, 1001], pa.timestamp("ns")), r'"c" holds values with nanoseconds \(2 in all\)'),
        (pa.array([1, 1000, 1001], pa.time64("ns")), r'"c" holds values with nanoseconds \(2 in all\)'),
        (
            pa.array([[1], [1, 2]], pa.list_(pa.timestamp("ns"))),
            r'"c" holds values with nanoseconds \(3 in all\)',
        ),
        (
            pa.array([-(2**62), 0], pa.timestamp("us")),
            r'"c" holds values outside the years 1 to 9999 \(1 in all\)',
        ),
        (pa.array([3_000_000, 0], pa.date32()), r'"c" holds values outside the years 1 to 9999 \(1 in all\)'),
        (
            pa.ExtensionArray.from_storage(pa.json_(), pa.array(["{", "NaN", "1", None])),
            r'"c" holds values that are no .*\(2 in all\)',
        ),
    ],
)
def test_what_a_type_cannot_hold_refuses_with_column_and_count_over_the_part(
    column: pa.Array, says: str
) -> None:
    source = files(x__parquet=parquet(pa.table({"c": column}), row_group_size=1))
    with pytest.raises(DataRefused, match=rf"x\.parquet: column {says}"):
        read(source, "x.parquet")


def test_sparks_timestamps_are_read_in_all_years_and_nanoseconds_refuse() -> None:
    table = pa.table({"t": pa.array([0, 1_000, None], pa.timestamp("ns")), "l": [["x"], [], None]})
    spark = {"use_deprecated_int96_timestamps": True}
    got = read(files(x__parquet=parquet(table, **spark)), "x.parquet")
    assert got.column("t").to_pylist() == [datetime(1970, 1, 1), datetime(1970, 1, 1, 0, 0, 0, 1), None]
    table = pa.table({"t": pa.array([1, 1_000, 1_999], pa.timestamp("ns"))})
    with pytest.raises(DataRefused, match=r'"t" holds values with nanoseconds \(2 in all\)'):
        read(files(x__parquet=parquet(table, **spark)), "x.parquet")


def test_types_without_a_place_are_described_and_refuse_only_who_wants_them(tmp_path: Path) -> None:
    name = tmp_path / "x.parquet"
    duckdb.sql("select 1 as a, interval 1 day as i").write_parquet(str(name))
    source = FilesSource(FilesOptions(), LocalStore(tmp_path))
    schema = source.describe(Dataset(files="x.parquet"), "portable")
    assert schema.field("i").type == pa.null()
    assert b"interval" in schema.field("i").metadata[REFUSED]
    assert read(source, "x.parquet", "a").to_pydict() == {"a": [1]}
    with pytest.raises(SchemaMismatch, match=r'"i" of x\.parquet cannot be read: an interval'):
        read(source, "x.parquet", "i")
    assert (
        source.describe(Dataset(files="x.parquet"), "portable", frozenset({"i"})).field("i").type == pa.null()
    )
    nothing = files(x__parquet=parquet(pa.table({"n": pa.nulls(2)})))
    assert nothing.describe(Dataset(files="*"), "portable").field("n").type == pa.null()
    assert read(nothing, "*", "n", as_text=frozenset("n")).column("n").to_pylist() == [None, None]


def test_a_string_in_the_contract_gives_exact_text() -> None:
    table = pa.table(
        {
            "f": array(0.1, type=pa.float64()),
            "d": array(Decimal("0.0000001"), type=pa.decimal128(10, 7)),
            "t": array(1, type=pa.timestamp("ns", "UTC")),
            "b": array(True, type=pa.bool_()),
            "u": UUIDS,
            "x": array(b"\xc3\xa9", type=pa.binary()),
        }
    )
    got = read(files(x__parquet=parquet(table)), "x.parquet", as_text=frozenset(table.column_names))
    assert got.slice(0, 1).to_pylist() == [
        {
            "f": "0.1",
            "d": "0.0000001",
            "t": "1970-01-01T00:00:00.000000001Z",
            "b": "true",
            "u": str(UUID),
            "x": "é",
        }
    ]
    bad = files(x__parquet=parquet(pa.table({"x": [b"\xff", b"a", b"\xfe"]})))
    with pytest.raises(DataRefused, match=r'"x" holds values that are not UTF-8 \(2 in all\)'):
        read(bad, "*", as_text=frozenset("x"))
    with pytest.raises(SchemaMismatch, match="has no one text"):
        read(files(x__parquet=parquet(pa.table({"x": [[1]]}))), "*", "x", as_text=frozenset("x"))


# --- ranges and statistics ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", [pa.timestamp("ms"), pa.timestamp("us", "UTC"), pa.timestamp("ns"), pa.date32()]
)
def test_row_groups_that_cannot_match_are_not_read(kind: Any) -> None:
    days = [EPOCH.replace(tzinfo=None) + timedelta(days=n) for n in range(100)]
    table = pa.table({"d": pa.array(days, pa.timestamp("us")).cast(kind), "n": range(100)})
    source = files(x__parquet=parquet(table, row_group_size=10))
    window = Range("d", EPOCH + timedelta(days=30, hours=0), EPOCH + timedelta(days=40))
    with source.open(Query(Dataset(files="x.parquet"), ("n",), ranges=(window,))) as reading:
        assert reading.survey().rows == 10
        assert collect(reading).column("n").to_pylist() == list(range(30, 40))
    late = Range("d", EPOCH + timedelta(days=39, hours=1))
    assert read(source, "x.parquet", "n", ranges=(late,)).column("n").to_pylist() == list(range(40, 100))


def test_a_row_group_with_a_null_is_read_so_that_it_refuses() -> None:
    table = pa.table({"d": pa.array([EPOCH, None], pa.timestamp("us", "UTC"))})
    source = files(x__parquet=parquet(table))
    with pytest.raises(DataRefused, match=r'"d" holds NULLs \(1 in all\)'):
        read(source, "x.parquet", ranges=(Range("d", EPOCH + timedelta(days=9)),))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 50), max_size=40),
    st.integers(-1, 51),
    st.integers(-1, 51),
    st.integers(1, 7),
    st.sampled_from([True, False]),
)
def test_statistics_never_change_what_a_range_gives(
    days: list[int], start: int, end: int, group: int, statistics: bool
) -> None:
    table = pa.table({"d": pa.array([date(2024, 1, 1) + timedelta(n) for n in days], pa.date32())})
    source = files(x__parquet=parquet(table, row_group_size=group, write_statistics=statistics))
    window = Range("d", EPOCH + timedelta(start), EPOCH + timedelta(end))
    got = read(source, "*", ranges=(window,)).column("d").to_pylist()
    assert got == [date(2024, 1, 1) + timedelta(n) for n in days if start <= n < end]


# --- newest -------------------------------------------------------------------------------------------------------


def test_the_newest_of_each_tenant_are_found_over_all_files_and_the_others_counted() -> None:
    table = pa.table(
        {
            "k": [1, 2, 1, 1, None, None],
            "o": [1, 1, 3, 2, 1, 2],
            "by": ["a", "b", "a", "b", "a", "a"],
            "v": list("uvwxyz"),
        }
    )
    source = files(**{f"{n}__parquet": parquet(part) for n, part in enumerate(halves(table))})
    query = Query(Dataset(files="*.parquet"), ("v",), newest=Newest(("k",), "o", "by"))
    with source.open(query) as reading:
        assert len(reading.survey().parts) == 1
        assert collect(reading).column("v").to_pylist() == ["v", "w", "x", "y", "z"]
        assert reading.superseded() == {"a": 1}
        collect(reading)
        assert reading.superseded() == {"a": 1}
    ties = files(x__csv=b"k,o,v\n1,1,a\n1,1,b\n")
    with pytest.raises(SchemaMismatch, match=r'"o".*no type declared.*no exact order'):
        read(ties, "*", "v", newest=Newest(("k",), "o"))
    ties = files({"columns": {"o": "int8"}}, x__csv=b"k,o,v\n1,1,a\n1,1,b\n")
    assert read(ties, "*", "v", newest=Newest(("k",), "o")).to_pydict() == {"v": ["b"]}


def test_a_value_refused_while_keys_are_ranked_is_said_as_it_is() -> None:
    source = files({"columns": {"o": "int8"}}, x__csv=b"k,o\n1,1\n1,x\n2,300\n")
    with pytest.raises(DataRefused, match=r'x\.csv: column "o" holds values that are no int8 \(2 in all\)'):
        read(source, "*", "k", newest=Newest(("k",), "o"))


KEYS = st.none() | st.sampled_from([0.0, -0.0, 1.5, 2.0])


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(KEYS, st.none() | st.sampled_from("ab"), st.none() | st.integers(0, 3)), max_size=25)
)
def test_the_newest_are_those_of_the_source_in_memory(values: list[tuple[Any, Any, Any]]) -> None:
    schema = pa.schema({"n": pa.int64(), "k": pa.float64(), "by": pa.string(), "o": pa.int64()})
    table = pa.Table.from_pylist(
        [{"n": n, "k": k, "by": by, "o": o} for n, (k, by, o) in enumerate(values)], schema=schema
    )
    table = table.set_column(1, "k", pc.add(table.column("k"), 0.0))  # one zero: -0.0 is a key of its own
    rule = Newest(("k", "by"), "o", "by")
    found = []
    for source, dataset in (
        (MemorySource({"t": table}), Dataset(table="t")),
        (files(a__parquet=parquet(table, row_group_size=4)), Dataset(files="*")),
    ):
        with source.open(Query(dataset, ("n",), newest=rule)) as reading:
            found.append((sorted(collect(reading).column("n").to_pylist()), reading.superseded()))
    assert found[0] == found[1]


@pytest.mark.slow
def test_the_newest_of_more_keys_than_memory_holds_spill_to_disk() -> None:
    size = 3_000_000
    keys = pa.array([f"key-{n % (size // 2):040}" for n in range(size)])
    table = pa.table({"k": keys, "o": range(size)})
    source = files({"newest_memory": 64 << 20}, x__parquet=parquet(table, compression="zstd"))
    with source.open(Query(Dataset(files="*"), ("o",), newest=Newest(("k",), "o"))) as reading:
        kept = sum(batch.num_rows for batch in reading.read(reading.survey().parts[0]))
        assert (kept, reading.superseded()) == (size // 2, {"": size // 2})


# --- batches and parts --------------------------------------------------------------------------------------------


def test_parts_are_row_groups_together_and_never_span_files() -> None:
    store = MemoryStore()
    for name in "ab":
        store.put(f"{name}.parquet", parquet(rows(1000), row_group_size=100))
    source = FilesSource(FilesOptions(part_size=20_000), store)
    with source.open(Query(Dataset(files="*.parquet"), ("id",))) as reading:
        parts = reading.survey().parts
        assert 2 < len(parts) < 20
        assert all(len(part.spec["files"]) == 1 for part in parts)  # type: ignore[arg-type]
        assert json.loads(json.dumps(dict(parts[0].spec))) == parts[0].spec
        assert [sum(b.num_rows for b in reading.read(part)) for part in parts] == [
            part.rows for part in parts
        ]


def test_batches_stay_small_when_a_dictionary_makes_large_values_cheap() -> None:
    table = pa.table({"x": pa.array(["y" * 100_000] * 2000).dictionary_encode()})
    source = files(x__parquet=parquet(table))
    with source.open(Query(Dataset(files="*"), ("x",))) as reading:
        sizes = [batch.nbytes for batch in reading.read(reading.survey().parts[0])]
    assert max(sizes) <= 17 << 20
    assert sum(sizes) > 200_000_000


# --- CSV ----------------------------------------------------------------------------------------------------------


SHAPES: dict[str, Any] = {
    "text": lambda doc: doc,
    "list": lambda doc: [doc, doc],
    "struct": lambda doc: {"of": [{"text": doc}]},
    "map": lambda doc: [("k", doc)],
}
OF_TEXT: dict[str, Any] = {
    "text": pa.string(),
    "list": pa.list_(pa.string()),
    "struct": pa.struct([("of", pa.list_(pa.struct([("text", pa.string())])))]),
    "map": pa.map_(pa.string(), pa.string()),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("how", ["dictionary", "categories", "prefixes", "at the end"])
def test_memory_is_that_of_a_few_batches_however_small_the_file_makes_large_values(
    shape: str, how: str
) -> None:
    """Also where the first rows are short, and where a file keeps only what two texts differ in."""
    rows, most = 3_000, 1 << 20
    docs = ["long" * 5_000 + str(n) for n in range(26)]
    texts = [docs[n % 26] for n in range(rows)]
    if how == "at the end":
        texts[: rows // 2] = ["short"] * (rows // 2)
    column = pa.array([SHAPES[shape](text) for text in texts], OF_TEXT[shape])
    if how == "categories" and shape == "text":
        column = column.dictionary_encode()
    path = {
        "text": "t",
        "list": "t.list.element",
        "struct": "t.of.list.element.text",
        "map": "t.key_value.value",
    }
    settings: dict[str, Any] = {"store_schema": how == "categories"}
    if how == "prefixes":
        settings |= {"use_dictionary": False, "column_encoding": {path[shape]: "DELTA_BYTE_ARRAY"}}
    data = parquet(pa.table({"n": range(rows), "t": column}), **settings)
    del column
    assert len(data) < 4 * most
    held, seen, peak = pa.total_allocated_bytes(), 0, 0
    source, dataset = files(x__parquet=data), Dataset(files="x.parquet")
    with source.open(Query(dataset, ("n", "t"), batch_bytes=most)) as reading:
        for part in reading.survey().parts:
            for batch in reading.read(part):
                assert batch["n"][0].as_py() == seen
                assert batch.slice(0, 1).to_pylist()[0]["t"] == SHAPES[shape](texts[seen])
                assert batch.nbytes <= 2 * most
                seen += batch.num_rows
                peak = max(peak, pa.total_allocated_bytes() - held)
    assert seen == rows
    assert peak <= 12 * most


def test_small_steps_through_a_file_make_batches_of_ordinary_size() -> None:
    """One long value in a dictionary bounds the steps, not what is handed on."""
    table = pa.table({"n": range(60_000), "t": ["x" * 50_000, *["y"] * 59_999]})
    source, dataset = files(x__parquet=parquet(table)), Dataset(files="x.parquet")
    with source.open(Query(dataset, ("n", "t"), batch_bytes=1 << 20)) as reading:
        batches = [batch for part in reading.survey().parts for batch in reading.read(part)]
    assert pa.Table.from_batches(batches).to_pylist() == table.to_pylist()
    assert len(batches) <= 4


def test_rows_that_grow_within_a_row_group_are_read_in_ever_smaller_steps() -> None:
    texts = ["" if n < 20_000 else f"{n:06}" * 10_000 for n in range(20_200)]
    table = pa.table({"n": range(len(texts)), "t": texts})
    source, dataset = files(x__parquet=parquet(table, use_dictionary=False)), Dataset(files="x.parquet")
    with source.open(Query(dataset, ("n", "t"), batch_bytes=1 << 20)) as reading:
        batches = [batch for part in reading.survey().parts for batch in reading.read(part)]
    assert pa.concat_batches(batches).column("n").to_pylist() == list(range(len(texts)))
    assert pa.Table.from_batches(batches).equals(table)
    assert max(batch.nbytes for batch in batches) <= 2 << 20


def test_csv_columns_are_text_unless_declared() -> None:
    data = b'\xef\xbb\xbfid,n,t\r\n007,"1\r\n2",\r\n\r\n1e5,"",x y \r\n'
    got = read(files(x__csv=data), "*")
    assert got.to_pydict() == {"id": ["007", "1e5"], "n": ["1\r\n2", ""], "t": [None, "x y "]}
    with pytest.raises(SchemaMismatch, match='has no column "nope"'):
        read(files({"columns": {"nope": "int8"}}, x__csv=data), "*")
    with pytest.raises(SchemaMismatch, match=r'"id" of .* is string .*no type declared.*a window needs'):
        read(files(x__csv=data), "*", ranges=(Range("id", EPOCH),))


@pytest.mark.parametrize(
    ("kind", "good", "values", "bad"),
    [
        ("int8", ["-128", "007"], [-128, 7], ["128", "0x10", "1.0", "1e2", " 1", "+1", ""]),
        ("uint64", ["18446744073709551615"], [2**64 - 1], ["-1", "18446744073709551616"]),
        (
            "decimal(5,2)",
            ["1.5", "1e2", "-.5"],
            [Decimal("1.50"), Decimal("100.00"), Decimal("-0.50")],
            ["1.005", "1000", "NaN", ""],
        ),
        ("float64", ["0.1", "inf", "-1e300"], [0.1, float("inf"), -1e300], ["1e999", "0x1p3", "1,5"]),
        (
            "float64",
            ["9007199254740992", "9223372036854776000", "9007199254740993.0", "-100000000000000000000"],
            [float(2**53), float(2**63), float(2**53), -1e20],
            ["9007199254740993", "-9223372036854775807"],
        ),
        (
            "float32",
            ["16777216", "-16777218", "1e10", "0.1", "340282350000000000000000000000000000000"],
            [16777216.0, -16777218.0, 1e10, 0.10000000149011612, 3.4028234663852886e38],
            ["16777217", "-16777217", "33554433"],
        ),
        ("bool", ["true", "0"], [True, False], ["yes", "2", ""]),
        (
            "date",
            ["2024-02-29"],
            [date(2024, 2, 29)],
            ["2023-02-29", "29.02.2024", "0000-01-01", "2024-02-29 00:00:00"],
        ),
        (
            "time",
            ["01:02:03.5", "23:59"],
            [WHEN.time().replace(microsecond=500000), datetime(1, 1, 1, 23, 59).time()],
            ["24:00:00", "1:02"],
        ),
        (
            "timestamp",
            ["2024-03-17T01:02:03.456789", "2024-03-17"],
            [WHEN, datetime(2024, 3, 17)],
            ["2024-03-17T01:02:03Z", "2024-03-17T01:02:03.1234567"],
        ),
        (
            "timestamptz",
            ["2024-03-17 03:02:03.456789+02:00", "2024-03-17T01:02:03.456789Z"],
            [WHEN.replace(tzinfo=UTC)] * 2,
            ["2024-03-17T01:02:03"],
        ),
        ("uuid", [str(UUID).upper()], [str(UUID)], [UUID.hex, "x"]),
        ("json", ['{"a":1.00}'], ['{"a":1.00}'], ["{", "nan"]),
    ],
)
def test_declared_types_read_exactly_what_they_should_and_count_the_rest(
    kind: str, good: list[str], values: list[Any], bad: list[str]
) -> None:
    def lines(texts: list[str]) -> bytes:
        return "".join('"' + text.replace('"', '""') + '",1\n' for text in texts).encode()

    options = {"columns": {"c": kind}}
    assert read(files(options, x__csv=b"c,d\n" + lines(good) + b",2\n"), "*", "c").column(
        "c"
    ).to_pylist() == [*values, None]
    with pytest.raises(DataRefused) as error:
        read(files(options, x__csv=b"c,d\n" + lines(good + bad)), "*", "c")
    assert sum(map(int, re.findall(r" \((\d+) in all\)", str(error.value)))) == len(bad)
    assert not any(f" {text} " in str(error.value) for text in bad if text)
    if kind != "json":
        json_lines = "".join(json.dumps({"c": text}) + "\n" for text in good if kind != "bool").encode()
        if json_lines:
            assert read(files(options, x__jsonl=json_lines), "*").column("c").to_pylist() == values


def test_a_whole_number_that_a_float_cannot_hold_is_refused_by_column() -> None:
    lines = b'{"c":16777216}\n{"c":null}\n{"c":16777217}\n'
    with pytest.raises(
        DataRefused, match=r'column "c" holds whole numbers that float cannot hold \(1 in all\)'
    ):
        read(files({"columns": {"c": "float32"}}, x__jsonl=lines), "*")


def test_dialects_of_csv() -> None:
    options = {"delimiter": ";", "quote": "'", "escape": "\\", "null_marker": "NULL", "header": False}
    source = files(
        {**options, "columns": {"a": "string", "b": "int8"}},
        x__csv=b"'x\\'\n;\\\\';1\n;2\n\\\\N;NULL\nNULL;3\n",
    )
    assert read(source, "*").to_pydict() == {"a": ["x'\n;\\", "", "\\N", None], "b": [1, 2, None, 3]}
    assert read(files({"quote": ""}, x__csv=b'a,b\n5",6"x"\n'), "*").to_pydict() == {
        "a": ['5"'],
        "b": ['6"x"'],
    }
    for end in (b"\r", b"\r\n", b"\n"):
        for cut in (1, 2, 3, 100):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("lading.sources.files_records.records.__defaults__", (cut,))
                assert read(files(x__csv=end.join([b"a", b"1", b"2"])), "*").to_pydict() == {"a": ["1", "2"]}
    marks = ["\ufeff", "\ufeffx", "y", "\ufeff\ufeff"]
    for cut in (1, 2, 3, 100):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("lading.sources.files_records.records.__defaults__", (cut,))
            for begin in ("", "\ufeff"):
                text = f"{begin}a\n" + "\n".join(marks)
                assert read(files(x__csv=text.encode()), "*").to_pydict() == {"a": marks}
    for text in (b'a\n\n""\nx\n', b'a\n\n""\nx'):
        assert read(files(x__csv=text), "*").column("a").to_pylist() == [None, "", "x"]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r", b"\r\n"])
def test_an_empty_field_is_null_whatever_stands_before_it_and_however_the_file_ends(end: bytes) -> None:
    for text in (b'a,b\n1,2\n"x",', b'"a",b\n1,2\n"x",'):
        assert read(files(x__csv=text + end), "*").to_pydict() == {"a": ["1", "x"], "b": ["2", None]}
    escaped = files({"escape": "\\"}, x__csv=b"a,b\n1,2\nx\\\\,y\\\\" + end)
    assert read(escaped, "*").to_pydict() == {"a": ["1", "x\\"], "b": ["2", "y\\"]}
    line_end = files({"escape": "\\"}, x__csv=b"a,b\nx,y\\\n" + end)
    assert read(line_end, "*").to_pydict() == {"a": ["x"], "b": ["y\n"]}


def test_rows_behind_any_number_of_empty_lines_are_read() -> None:
    assert read(files(x__csv=b"\n" * 200_000 + b"a,b\n1,2\n"), "*").to_pydict() == {"a": ["1"], "b": ["2"]}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b'a,b\n1,"x\n2,3\n', "a quote that is not closed"),
        (b'a,b\n1,"x"y\n', "1 or more quotes in the middle"),
        (b'a,b\n1,x"y"\n', "1 or more quotes in the middle"),
        (b"a,b\n1,2\n3\n", "1 or more rows that do not have 2 fields; row 2 has 1"),
        (b"a,b\n1,2,3\n", "1 or more rows that do not have 2 fields; row 1 has 3"),
        (b"a,\n", "no name for column 2"),
        (b"a,\xff\n1,2\n", "a header that is not UTF-8"),
        (b"", "no row and not even a header"),
        (b"\n\r\n", "no row and not even a header"),
        (b"\xef\xbb\xbf", "no row and not even a header"),
    ],
)
def test_csv_that_is_none_is_refused(data: bytes, says: str) -> None:
    for source in (files(x__csv=data), files(x__csv__gz=gzip.compress(data))):
        with pytest.raises(
            (DataRefused, SchemaMismatch), match=rf"x\.csv.* has {says.split(' ', 1)[0]}"
        ) as error:
            read(source, "x.*")
        assert says in str(error.value)


def test_cut_off_and_damaged_files_are_refused() -> None:
    text = b"a,b\n" + b"".join(b"%d,%d\n" % (n, n * n) for n in range(10_000))
    for name, data in (
        ("x__csv__gz", gzip.compress(text)),
        ("x__csv__zst", pa.Codec("zstd").compress(text).to_pybytes()),
    ):
        assert read(files(**{name: data}), "*").num_rows == 10_000
        for kept in (data[:-20], b""):
            with pytest.raises(DataRefused, match="damaged, cut off"):
                read(files(**{name: kept}), "*")
            with pytest.raises(DataRefused, match="damaged, cut off"):
                bare = {"header": False, "columns": {"a": "int64", "b": "int64"}}
                read(files(bare, **{name: kept}), "*")
    with pytest.raises(DataRefused, match="escape character that escapes nothing"):
        read(files({"escape": "\\"}, x__csv=b"a,b\n1,2\\"), "*")
    whole = parquet(rows(1000), write_page_checksum=True)
    with pytest.raises(DataRefused, match="damaged, cut off"):
        read(files(x__parquet=whole[:-20]), "*")
    middle = len(whole) // 3
    broken = whole[:middle] + bytes(100) + whole[middle + 100 :]
    with pytest.raises(DataRefused):
        read(files(x__parquet=broken), "*")


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=6) | st.sampled_from(
    ['"', "\n", ",", "\\"]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(st.tuples(st.none() | TEXTS, st.none() | TEXTS), max_size=12), st.integers(1, 9), st.booleans()
)
@example([('"\n"', None)], 1, False)
def test_quoted_text_is_read_as_it_was_written_however_it_is_cut(
    values: list[tuple[str | None, str | None]], block: int, escaped: bool
) -> None:
    quote = {"escape": "\\"} if escaped else {}

    def field(value: str | None) -> str:
        if value is None:
            return ""
        inside = value.replace("\\", "\\\\").replace('"', '\\"') if escaped else value.replace('"', '""')
        return f'"{inside}"'

    data = "a,b\n" + "".join(f"{field(a)},{field(b)}\n" for a, b in values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lading.sources.files_records.records.__defaults__", (block,))
        got = read(files(quote, x__csv=data.encode()), "*")
    assert got.to_pylist() == [{"a": a, "b": b} for a, b in values]


@pytest.mark.parametrize(
    "options",
    [
        {"columns": {"a": "varchar"}},
        {"columns": {"a": "decimal(80,2)"}},
        {"columns": {"a": "int8", "A": "int8"}},
        {"header": False},
        {"delimiter": ";;"},
        {"delimiter": '"'},
        {"escape": '"'},
        {"escape": "\\", "null_marker": "\\N"},
        {"colums": {}},
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FilesOptions(**options)


# --- JSON lines ---------------------------------------------------------------------------------------------------


def test_json_types_come_from_all_lines_of_the_first_file_and_stay_exact() -> None:
    lines = [
        '{"i":9007199254740993,"d":0.1,"s":"\\u00e9","b":true,"j":{"x":[1.10,1e400,"\\n"]},"n":null}',
        '{"d":12345678901234567890123, "i":-1,"j":[]}',
    ]
    source = files(**{"1__jsonl": "\n".join(lines).encode(), "2__jsonl": b'{"i":3}\n'})
    schema = source.describe(Dataset(files="*.jsonl"), "portable")
    assert schema.field("n").type == pa.null()
    got = read(source, "*.jsonl", "i", "d", "s", "b", "j")
    assert got.schema.types == [pa.int64(), pa.string(), pa.string(), pa.bool_(), pa.string()]
    assert [got.schema.field(name).metadata.get(LOGICAL) for name in "dj"] == [b"decimal", b"json"]
    assert got.to_pylist() == [
        {"i": 9007199254740993, "d": "0.1", "s": "é", "b": True, "j": '{"x":[1.10,1e400,"\\n"]}'},
        {"i": -1, "d": "12345678901234567890123", "s": None, "b": None, "j": "[]"},
        {"i": 3, "d": None, "s": None, "b": None, "j": None},
    ]
    assert read(source, "*.jsonl", "d", as_text=frozenset("d")).column("d").to_pylist()[0] == "0.1"


def test_later_files_must_fit_the_first() -> None:
    first = b'{"a":1}\n'
    with pytest.raises(
        DataRefused, match=r'2\.jsonl: column "a" holds values that are no int64 \(2 in all\)'
    ):
        read(files(**{"1__jsonl": first, "2__jsonl": b'{"a":1.0}\n{"a":true}\n{"a":3}\n'}), "*")
    with pytest.raises(SchemaMismatch, match=r'2\.jsonl has a column "b"'):
        read(files(**{"1__jsonl": first, "2__jsonl": b'{"a":1,"b":2}\n'}), "*")


@pytest.mark.parametrize(
    "line",
    [
        "[1]",
        "{",
        '{"a":1,"a":2}',
        '{"b":{"a":1,"a":2}}',
        '{"a":NaN}',
        '{"a":1}{"a":2}',
        "\xff",
        "[" * 100_000,
    ],
)
def test_lines_that_are_no_object_are_counted_and_refused(line: str) -> None:
    data = b'{"a":1}\n' + line.encode("latin-1") + b'\n{"a":3}\n'
    for options in ({}, {"columns": {"a": "int64", "b": "json"}}):
        with pytest.raises(
            DataRefused,
            match=r"x\.jsonl.*( 1 or more lines that are no JSON object|lines that are no JSON object.* \(1 in all\))",
        ):
            read(files(options, x__jsonl=data), "*")


def test_mixtures_and_halves_of_surrogates_are_refused_unless_declared() -> None:
    mixed = b'{"a":"1"}\n{"a":1}\n'
    with pytest.raises(SchemaMismatch, match="values of several kinds"):
        read(files(x__jsonl=mixed), "*", "a")
    assert read(files({"columns": {"a": "json"}}, x__jsonl=mixed), "*").column("a").to_pylist() == [
        '"1"',
        "1",
    ]
    assert read(files({"columns": {"a": "decimal(3,1)"}}, x__jsonl=mixed), "*").column("a").to_pylist() == [
        1,
        1,
    ]
    assert read(files(x__jsonl=mixed), "*", "a", as_text=frozenset("a")).column("a").to_pylist() == ["1", "1"]
    with pytest.raises(DataRefused, match=r'"a" holds values that are no string \(1 in all\)'):
        read(files({"columns": {"a": "string"}}, x__jsonl=mixed), "*")
    with pytest.raises(DataRefused, match=r'"a" holds texts that are not Unicode, .* \(1 in all\)'):
        read(files(x__jsonl=b'{"a":"\\ud800"}\n{"a":"b"}\n'), "*")


@pytest.mark.slow
def test_a_value_of_a_hundred_megabytes_is_read() -> None:
    size = 100 << 20
    data = b'{"n":1,"a":"x"}\n{"n":2,"a":"' + b"y" * size + b'"}\n{"n":3,"a":"z"}\n'
    got = read(files(x__jsonl=data), "*", "n", "a")
    assert [len(value.as_py()) for value in got.column("a")] == [1, size, 1]
    csv = b"n,a\n1,x\n2," + b"y" * size + b"\n3,z\n"
    assert [len(value.as_py()) for value in read(files(x__csv=csv), "*", "a").column("a")] == [1, size, 1]
