"""What every format promises. A format's test file subclasses `FormatSuite` and provides the fixture ``format``.

::

    class TestParquet(FormatSuite):
        @pytest.fixture
        def format(self) -> ParquetFormat:
            return ParquetFormat()
"""

from __future__ import annotations

import functools
import io
import itertools
import json
import math
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import strategies as st

from lading.errors import DataRefused, SchemaMismatch, StoreFull
from lading.formats.statistics import Statistics
from lading.ports import LOGICAL, REFUSED, FileStats, Format, Types

MEMORY = 64 << 20


class Sink:
    """Keeps what is written; fails like a full store after ``limit`` bytes."""

    def __init__(self, limit: int | None = None) -> None:
        self._kept = io.BytesIO()
        self._limit = limit

    def write(self, data: bytes | memoryview) -> None:
        if self._limit is not None and self._kept.tell() + len(data) > self._limit:
            raise StoreFull("the disk is full")
        self._kept.write(data)

    @property
    def data(self) -> bytes:
        return self._kept.getvalue()


class Bytes:
    """A download, and no more than that: read, seek, tell, close."""

    def __init__(self, data: bytes) -> None:
        file = io.BytesIO(data)
        self.read = file.read
        self.seek = file.seek
        self.tell = file.tell
        self.close = file.close


def write(
    format: Format, batches: list[Any], types: Types = "portable", schema: Any = None
) -> tuple[bytes, FileStats]:
    """One file of these batches, whole."""
    sink = Sink()
    writer = format.open(sink, schema or batches[0].schema, types, MEMORY)
    for batch in batches:
        writer.append(batch)
    stats = writer.finish()
    assert writer.size == len(sink.data)
    return sink.data, stats


def write_all(
    format: Format, batches: list[Any], limit: int, types: Types = "portable"
) -> list[tuple[bytes, FileStats]]:
    """As many files of at most ``limit`` bytes as it takes."""
    files, rest = [], batches
    while True:
        sink, later = Sink(), []
        writer = format.open(sink, batches[0].schema, types, MEMORY, limit)
        for index, batch in enumerate(rest):
            taken = writer.append(batch)
            if taken < batch.num_rows:
                later = [batch.slice(taken), *rest[index + 1 :]]
                break
        files.append((writer.finish(), sink.data))
        if not later:
            return [(data, stats) for stats, data in files]
        rest = later


def scan(format: Format, data: bytes, schema: Any, types: Types = "portable") -> Any:
    """The file read back by the format itself, as one table."""
    written = format.schema(schema, types)
    return pa.Table.from_batches(format.scan(Bytes(data), written), written)


SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("small", pa.int8()),
        pa.field("large", pa.uint64()),
        pa.field("single", pa.float32()),
        pa.field("double", pa.float64()),
        pa.field("price", pa.decimal128(15, 2)),
        pa.field("fine", pa.decimal128(38, 10)),
        pa.field("huge", pa.decimal256(60, 20)),
        pa.field("flag", pa.bool_()),
        pa.field('te"xt, ö', pa.string()),
        pa.field("raw", pa.binary()),
        pa.field("day", pa.date32()),
        pa.field("local", pa.timestamp("us")),
        pa.field("moment", pa.timestamp("us", "UTC")),
        pa.field("clock", pa.time64("us")),
        pa.field("uuid", pa.binary(16), metadata={LOGICAL: b"uuid"}),
        pa.field("doc", pa.string(), metadata={LOGICAL: b"json"}),
        pa.field("kind", pa.dictionary(pa.int8(), pa.string())),
        pa.field("numbers", pa.list_(pa.int64())),
        pa.field("words", pa.list_(pa.list_(pa.string()))),
        pa.field("pair", pa.struct([("a", pa.int32()), ("b", pa.decimal128(9, 3))])),
        pa.field("tags", pa.map_(pa.string(), pa.int32())),
    ]
)
"""Every type that all formats carry."""

TRICKY_TEXTS = (
    "",
    "plain",
    'say "hi"',
    "a,b;c\td",
    "line\nbreak\r\nand\rmore",
    "back\\slash\\",
    "=1+1",
    "-2",
    "@x",
    "NULL",
    "\\N",
    "null",
    "\u2028 \u2029 “”",
    "emoji 😀 é",
    "\x01\x1f\x7f\x08\x0c",
    " spaced ",
    "'",
    "#",
)


def texts() -> st.SearchStrategy[str]:
    """Text that breaks careless writers, NUL and unpaired surrogates aside, which sources cannot hold."""
    characters = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")
    return st.sampled_from(TRICKY_TEXTS) | st.text(characters, max_size=12) | st.text('",\n\r\\a', max_size=6)


def decimals(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    """Every digit that the type holds, exactly."""
    edge = 10**precision - 1
    unscaled = st.integers(-edge, edge) | st.integers(-9, 9) | st.sampled_from([edge, -edge])
    return unscaled.map(lambda n: Decimal((int(n < 0), tuple(map(int, str(abs(n)))), -scale)))


def floats(width: Any = 64, finite: bool = False) -> st.SearchStrategy[float]:
    """All floats, subnormals and -0.0 too."""
    return st.floats(width=width, allow_nan=not finite, allow_infinity=not finite)


def rows(finite: bool = True) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Rows of `SCHEMA`, NULL everywhere it may be, times from year 1 to 9999. ``finite``: what JSON tells apart, so no
    NaN, no infinities, and no JSON null."""
    json_values = st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts(), inner, max_size=3),
        max_leaves=5,
    )
    columns: dict[str, st.SearchStrategy[Any]] = {
        "small": st.integers(-128, 127),
        "large": st.integers(0, 2**64 - 1) | st.just(2**64 - 1),
        "single": floats(32, finite),
        "double": floats(64, finite),
        "price": decimals(15, 2),
        "fine": decimals(38, 10),
        "huge": decimals(60, 20),
        "flag": st.booleans(),
        'te"xt, ö': texts(),
        "raw": st.binary(max_size=20),
        "day": st.dates(),
        "local": st.datetimes(),
        "moment": st.datetimes(timezones=st.just(UTC)),
        "clock": st.times(),
        "uuid": st.binary(min_size=16, max_size=16),
        "doc": (json_values.filter(lambda value: value is not None) if finite else json_values).map(
            lambda value: json.dumps(value, ensure_ascii=False, indent=1)
        ),
        "kind": st.sampled_from(["a", "b,c", ""]),
        "numbers": st.lists(st.none() | st.integers(-(2**63), 2**63 - 1), max_size=3),
        "words": st.lists(st.none() | st.lists(st.none() | texts(), max_size=2), max_size=2),
        "pair": st.fixed_dictionaries({"a": st.none() | st.integers(-9, 9), "b": st.none() | decimals(9, 3)}),
        "tags": st.dictionaries(texts(), st.none() | st.integers(-9, 9), max_size=2).map(
            lambda d: list(d.items())
        ),
    }
    nullable = {name: st.none() | values for name, values in columns.items()}
    return st.lists(st.fixed_dictionaries({"id": st.integers(-(2**63), 2**63 - 1), **nullable}), max_size=8)


def batch_of(values: list[dict[str, Any]], schema: Any = SCHEMA) -> Any:
    """Rows as a batch."""
    return pa.RecordBatch.from_arrays(
        [pa.array([row[field.name] for row in values], field.type) for field in schema], schema=schema
    )


@functools.cache
def sample(count: int) -> Any:
    """A batch of `SCHEMA` that is always the same, with NULLs and awkward text in it."""

    def row(n: int) -> dict[str, Any]:
        values: dict[str, Any] = {
            "id": n,
            "small": n % 128,
            "large": 2**64 - 1 - n,
            "single": n / 2,
            "double": n / 3 if n % 7 else -0.0,
            "price": Decimal(n).scaleb(-2),
            "fine": Decimal(n).scaleb(-10),
            "huge": Decimal(-n).scaleb(-20),
            "flag": n % 3 == 0,
            'te"xt, ö': TRICKY_TEXTS[n % len(TRICKY_TEXTS)],
            "raw": bytes([n % 256]) * (n % 5),
            "day": date(2013, 1, 1) + timedelta(n),
            "local": datetime(2013, 1, 1) + timedelta(seconds=n),
            "moment": datetime(2013, 1, 1, tzinfo=UTC) + timedelta(microseconds=n),
            "clock": time(n % 24, n % 60, 0, n),
            "uuid": n.to_bytes(16, "big"),
            "doc": json.dumps({"n": n, "t": "a\nb"}),
            "kind": "abc"[n % 3],
            "numbers": [n, None][: n % 3],
            "words": [["x", 'y"'], None, []][: n % 4],
            "pair": {"a": n % 9, "b": None},
            "tags": [("k", n % 9)],
        }
        return {
            name: None if name != "id" and (n + i) % 11 == 0 else v
            for i, (name, v) in enumerate(values.items())
        }

    return batch_of([row(n) for n in range(count)])


class FormatSuite:
    """The conformance suite."""

    schema: Any = SCHEMA
    can_limit = True  # False: its files have no greatest size

    def _needs(self, capability: bool) -> None:
        if not capability:
            pytest.skip("declared in the test class: this format cannot do that")

    def same(self, format: Format, one: bytes, other: bytes, types: Types = "portable") -> bool:
        """Whether two files are the same: their bytes, but for a format that encrypts."""
        return one == other

    @pytest.mark.parametrize("types", ["portable", "exact"])
    def test_what_is_written_is_read_back_and_written_again_alike(self, format: Format, types: Types) -> None:
        data, stats = write(format, [sample(500)], types)
        table = scan(format, data, SCHEMA, types)
        assert table.num_rows == stats.rows == 500
        assert table.schema == format.schema(SCHEMA, types)
        again, _ = write(format, table.combine_chunks().to_batches(), types)
        assert self.same(format, again, data, types)

    @pytest.mark.parametrize("types", ["portable", "exact"])
    def test_statistics_of_the_file_are_those_of_the_writer(self, format: Format, types: Types) -> None:
        data, stats = write(format, [sample(300)], types)
        table = scan(format, data, SCHEMA, types)
        found = Statistics(table.schema)
        for batch in table.to_batches():
            found.observe(batch)
        assert found.result() == stats.columns
        assert json.loads(json.dumps({name: c.min for name, c in stats.columns.items()}, allow_nan=False))
        assert stats.columns["id"].min == 0
        assert stats.columns["id"].max == 299
        assert stats.columns["small"].nulls == sum((n + 1) % 11 == 0 for n in range(300))
        assert stats.columns["moment"].min == "2013-01-01T00:00:00.000000Z"

    def test_cutting_rows_into_batches_otherwise_changes_no_byte(self, format: Format) -> None:
        whole = sample(700)
        expected, stats = write(format, [whole])
        for cuts in ([0, 1, 2, 500, 500, 700], [0, 350, 700]):
            pieces = [whole.slice(a, b - a) for a, b in itertools.pairwise(cuts)]
            data, found = write(format, pieces)
            assert self.same(format, data, expected)
            assert found == stats

    def test_a_file_of_no_rows_is_valid(self, format: Format) -> None:
        data, stats = write(format, [], schema=SCHEMA)
        assert stats.rows == 0
        assert set(stats.columns) >= set(SCHEMA.names)
        assert scan(format, data, SCHEMA).num_rows == 0

    def test_an_abort_raises_nothing_and_writes_nothing_more(self, format: Format) -> None:
        sink = Sink()
        writer = format.open(sink, SCHEMA, "portable", MEMORY)
        writer.append(sample(50))
        before = sink.data
        writer.abort()
        del writer
        assert sink.data == before

    def test_a_failing_sink_is_the_error_that_the_caller_sees(self, format: Format) -> None:
        writer = format.open(Sink(limit=100), SCHEMA, "portable", MEMORY)
        with pytest.raises(StoreFull):
            writer.append(sample(2000))
            writer.finish()
        writer.abort()

    def test_little_memory_is_enough(self, format: Format) -> None:
        sink = Sink()
        writer = format.open(sink, SCHEMA, "portable", 1 << 16)
        for _ in range(4):
            writer.append(sample(2000))
        assert writer.finish().rows == 8000
        assert scan(format, sink.data, SCHEMA).num_rows == 8000

    @pytest.mark.parametrize(("limit", "rows"), [(1, 50), (3_000, 100), (20_000, 300), (60_000, 700)])
    def test_no_file_passes_its_greatest_size_unless_one_row_does(
        self, format: Format, limit: int, rows: int
    ) -> None:
        self._needs(self.can_limit)
        whole = sample(rows)
        files = write_all(format, [whole], limit)
        assert sum(stats.rows for _, stats in files) == rows
        for data, stats in files:
            assert len(data) <= limit or stats.rows == 1
        found = pa.concat_tables([scan(format, data, SCHEMA) for data, _ in files])
        again, _ = write(format, found.combine_chunks().to_batches())
        assert self.same(format, again, write(format, [whole])[0])

    def test_where_files_end_does_not_depend_on_how_rows_were_cut_into_batches(self, format: Format) -> None:
        self._needs(self.can_limit)
        whole = sample(700)
        limit = 15_000 + 3 * len(write(format, [sample(1)])[0])
        expected = write_all(format, [whole], limit)
        assert len(expected) > 2
        pieces = [whole.slice(a, b - a) for a, b in itertools.pairwise([0, 1, 2, 333, 333, 600, 700])]
        for (data, stats), (wanted, told) in zip(write_all(format, pieces, limit), expected, strict=True):
            assert self.same(format, data, wanted)
            assert stats == told

    def test_a_batch_of_another_schema_is_refused(self, format: Format) -> None:
        writer = format.open(Sink(), SCHEMA, "portable", MEMORY)
        with pytest.raises(SchemaMismatch, match="other"):
            writer.append(pa.record_batch({"other": [1]}))
        writer.abort()

    def test_a_null_where_none_may_be_is_refused_by_name(self, format: Format) -> None:
        schema = pa.schema([pa.field("key", pa.int64(), nullable=False), pa.field("b", pa.int64())])
        writer = format.open(Sink(), schema, "portable", MEMORY)
        with pytest.raises(DataRefused, match="'key': at least 1 NULL"):
            writer.append(pa.RecordBatch.from_arrays([pa.array([1, None]), pa.array([1, 1])], schema=schema))
        writer.abort()

    def test_a_column_that_the_source_cannot_carry_is_refused_by_name(self, format: Format) -> None:
        schema = pa.schema(
            [pa.field("a", pa.int64()), pa.field("shape", pa.null(), metadata={REFUSED: b"box"})]
        )
        with pytest.raises(SchemaMismatch, match=r"'shape'.*box"):
            format.schema(schema, "portable")

    def test_names_and_notices_are_what_file_names_need(self, format: Format) -> None:
        assert format.suffix.split(".")[0] == format.name
        assert all(isinstance(notice, str) and notice for notice in format.notices())


def same(left: Any, right: Any) -> bool:
    """Equal values: NaN equals NaN, and -0.0 differs from 0.0."""
    if isinstance(left, float) and isinstance(right, float):
        return (math.isnan(left) and math.isnan(right)) or (
            left == right and math.copysign(1, left) == math.copysign(1, right)
        )
    return bool(left == right)


def differences(found: list[Any], expected: list[Any]) -> Iterator[tuple[int, Any, Any]]:
    """Where two columns differ, for the message of an assertion."""
    assert len(found) == len(expected)
    return ((i, a, b) for i, (a, b) in enumerate(zip(found, expected, strict=True)) if not same(a, b))
