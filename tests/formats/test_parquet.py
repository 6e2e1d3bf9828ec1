from __future__ import annotations

import io
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from lading.errors import IntegrityError, SchemaMismatch
from lading.formats.parquet import ParquetFormat, ParquetOptions
from lading.formats.statistics import Statistics
from lading.ports import ColumnStats, FileKey, Format, Types
from lading.testing.format import (
    MEMORY,
    SCHEMA,
    Bytes,
    FormatSuite,
    Sink,
    batch_of,
    differences,
    rows,
    sample,
    scan,
    write,
)


class TestParquet(FormatSuite):
    @pytest.fixture(params=["snappy", "zstd", "gzip", "brotli", "none"])
    def format(self, request: pytest.FixtureRequest) -> ParquetFormat:
        return ParquetFormat(ParquetOptions(compression=request.param))


def file_of(data: bytes) -> pq.ParquetFile:
    return pq.ParquetFile(io.BytesIO(data))


def plain_uuid(value: bytes | None) -> uuid.UUID | None:
    return None if value is None else uuid.UUID(bytes=value)


# D2, design law 8
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=rows(finite=False))
def test_duckdb_and_polars_read_exactly_what_was_written(
    values: list[dict[str, Any]], tmp_path: Path
) -> None:
    batch = batch_of(values)
    for types in ("portable", "exact"):
        data, _ = write(ParquetFormat(), [batch], types)
        path = tmp_path / "t.parquet"
        path.write_bytes(data)
        expected = {name: batch.column(name).to_pylist() for name in SCHEMA.names}
        expected["uuid"] = [plain_uuid(value) for value in expected["uuid"]]
        if types == "portable":
            expected["uuid"] = [value and str(value) for value in expected["uuid"]]
            expected["huge"] = [value if value is None else f"{value:f}" for value in expected["huge"]]
        by_polars = pl.read_parquet(path) if types == "portable" else None
        with duckdb.connect() as connection:
            connection.execute("set timezone = 'UTC'")
            for name in SCHEMA.names:
                if name == "huge" and types == "exact":
                    continue  # DuckDB has no decimals beyond 38 digits
                quoted = name.replace('"', '""')
                column = f'"{quoted}"' if name != "moment" else "epoch_us(moment)"
                query = f"select {column} from read_parquet('{path}')"
                found = [row[0] for row in connection.execute(query).fetchall()]
                wanted = expected[name]
                if name == "moment":
                    wanted = batch.column(name).cast(pa.timestamp("us")).view(pa.int64()).to_pylist()
                if name == "tags":
                    wanted = [value if value is None else dict(value) for value in wanted]
                assert not list(differences(found, wanted)), (name, types)
                if by_polars is not None and name not in ("moment", "tags"):
                    assert not list(differences(by_polars[name].to_list(), wanted)), (name, "polars")


def test_zoned_timestamps_are_utc_instants_and_naive_ones_are_not() -> None:
    data, _ = write(ParquetFormat(), [sample(3)])
    schema = file_of(data).schema
    adjusted = {schema.column(i).path: str(schema.column(i).logical_type) for i in range(len(schema))}
    assert "isAdjustedToUTC=true, timeUnit=microseconds" in adjusted["moment"]
    assert "isAdjustedToUTC=false, timeUnit=microseconds" in adjusted["local"]


def test_exact_files_carry_the_logical_types_for_uuid_and_json() -> None:
    data, _ = write(ParquetFormat(), [sample(3)], "exact")
    schema = file_of(data).schema
    logical = {schema.column(i).path: str(schema.column(i).logical_type) for i in range(len(schema))}
    assert (logical["uuid"], logical["doc"]) == ("UUID", "JSON")
    assert logical["huge"] == "Decimal(precision=60, scale=20)"


def test_the_file_says_nothing_of_where_it_came_from() -> None:
    data, _ = write(ParquetFormat(), [sample(3)])
    assert file_of(data).metadata.metadata is None
    assert b"lading" not in data


# D2
def test_encodings_dictionary_row_groups_and_pages_are_as_configured() -> None:
    options = ParquetOptions.model_validate(
        {
            "row_group_rows": 100,
            "page_size": "64KiB",
            "dictionary": ["kind"],
            "encodings": {"id": "DELTA_BINARY_PACKED"},
        }
    )
    data, _ = write(ParquetFormat(options), [sample(250)])
    metadata = file_of(data).metadata
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [100, 100, 50]
    found = {
        metadata.row_group(0).column(i).path_in_schema: metadata.row_group(0).column(i) for i in range(24)
    }
    assert "DELTA_BINARY_PACKED" in found["id"].encodings
    assert found["kind"].has_dictionary_page
    assert not found["price"].has_dictionary_page
    assert found["price"].statistics.has_min_max
    assert metadata.format_version == "2.6"


# D2
def test_pages_are_no_smaller_than_arrow_reads_back() -> None:
    """Of a byte each it writes pages that hold a list's beginning without a value, and cannot read them."""
    with pytest.raises(ValidationError, match="greater than or equal to 1000"):
        ParquetOptions.model_validate({"page_size": "999B"})
    batch = pa.record_batch({"l": pa.array([[], None, [1], [7] * 300] * 500)})
    data, _ = write(ParquetFormat(ParquetOptions.model_validate({"page_size": "1kB"})), [batch])
    assert pq.read_table(pa.BufferReader(data)).to_pylist() == batch.to_pylist()


def test_lists_can_be_named_by_their_column() -> None:
    options = ParquetOptions(
        encodings={"numbers": "DELTA_BINARY_PACKED"}, dictionary=("words", "pair", "tags")
    )
    data, _ = write(ParquetFormat(options), [sample(50)])
    group = file_of(data).metadata.row_group(0)
    found = {group.column(i).path_in_schema: group.column(i) for i in range(group.num_columns)}
    assert "DELTA_BINARY_PACKED" in found["numbers.list.element"].encodings
    assert found["tags.key_value.key"].has_dictionary_page
    assert not found["id"].has_dictionary_page


def test_settings_that_name_no_column_are_refused() -> None:
    with pytest.raises(SchemaMismatch, match="'nope'"):
        ParquetFormat(ParquetOptions(dictionary=("nope",))).schema(SCHEMA, "portable")


# D2
def test_columns_whose_values_repeat_get_a_dictionary_and_others_stay_plain() -> None:
    count = 122_880
    batch = pa.record_batch(
        {
            "id": range(count),
            "often": [f"value {n % 7}" for n in range(count)],
            "sometimes": [n * 7919 % 10_000 for n in range(count)],
            "seldom": [n * 7919 % 100_000 for n in range(count)],
            "none": pa.nulls(count, pa.string()),
        }
    )
    data, _ = write(ParquetFormat(), [batch])
    group = file_of(data).metadata.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    assert group.num_rows == count
    assert [c.path_in_schema for c in columns if c.has_dictionary_page] == ["often", "sometimes", "none"]


# D2
def test_the_schema_version_column_carries_the_version_in_every_row() -> None:
    format = ParquetFormat(ParquetOptions(schema_version_column="_schema_version", schema_version="1.2.0"))
    data, stats = write(format, [sample(3)])
    assert format.schema(SCHEMA, "portable").names[-1] == "_schema_version"
    assert pq.read_table(io.BytesIO(data))["_schema_version"].to_pylist() == ["1.2.0"] * 3
    assert stats.columns["_schema_version"].min == "1.2.0"
    with pytest.raises(SchemaMismatch, match="'_v' is in the data already"):
        ParquetFormat(ParquetOptions(schema_version_column="_v")).schema(
            pa.schema([("_v", pa.int8())]), "portable"
        )


def test_short_memory_ends_row_groups_early_and_loses_nothing() -> None:
    sink = Sink()
    writer = ParquetFormat().open(sink, SCHEMA, "portable", 100_000)
    for _ in range(10):
        writer.append(sample(500))
    assert writer.finish().rows == 5000
    metadata = file_of(sink.data).metadata
    assert metadata.num_row_groups > 3
    assert metadata.num_rows == 5000


def test_intervals_are_text_when_portable_and_refused_when_exact() -> None:
    schema = pa.schema([("span", pa.month_day_nano_interval()), ("took", pa.duration("us"))])
    batch = pa.RecordBatch.from_arrays(
        [
            pa.array([pa.MonthDayNano([14, -3, 1_500_000_000]), None], pa.month_day_nano_interval()),
            pa.array([-1, None], pa.duration("us")),
        ],
        schema=schema,
    )
    data, _ = write(ParquetFormat(), [batch])
    table = pq.read_table(io.BytesIO(data))
    assert table["span"].to_pylist() == ["P14M-3DT1.500000000S", None]
    assert table["took"].to_pylist() == ["PT-0.000001S", None]
    with pytest.raises(SchemaMismatch, match="'span'"):
        ParquetFormat().schema(schema, "exact")


def test_small_wide_decimals_stay_decimals() -> None:
    schema = pa.schema([("d", pa.decimal256(20, 2)), ("e", pa.decimal128(5, -2))])
    written = ParquetFormat().schema(schema, "portable")
    assert written.types == [pa.decimal128(20, 2), pa.decimal128(7, 0)]
    batch = pa.RecordBatch.from_arrays(
        [pa.array([Decimal("1.50")], schema[0].type), pa.array([Decimal("12300")], schema[1].type)],
        schema=schema,
    )
    data, _ = write(ParquetFormat(), [batch])
    assert pq.read_table(io.BytesIO(data)).to_pylist() == [{"d": Decimal("1.50"), "e": Decimal("12300")}]


def test_what_is_no_parquet_file_is_an_integrity_error() -> None:
    format = ParquetFormat()
    data, _ = write(format, [sample(10)])
    with pytest.raises(IntegrityError):
        list(format.scan(io.BytesIO(data[:-9]), format.schema(SCHEMA, "portable")))
    with pytest.raises(IntegrityError, match="columns"):
        list(format.scan(io.BytesIO(data), pa.schema([("id", pa.string())])))


# D9
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
@pytest.mark.parametrize("dictionary", [True, False])
def test_a_changed_byte_of_any_page_is_noticed(compression: Any, dictionary: bool) -> None:
    batch = pa.record_batch({"id": pa.array(range(300)), "text": pa.array(["a", None, "word"] * 100)})
    options = ParquetOptions(compression=compression, dictionary=dictionary)
    data, _ = write(ParquetFormat(options), [batch])
    group = file_of(data).metadata.row_group(0)
    for chunk in (group.column(0), group.column(1)):
        pages = [chunk.data_page_offset - 1] if chunk.has_dictionary_page else []
        first = chunk.dictionary_page_offset or chunk.data_page_offset
        for at in [
            *pages,
            first + chunk.total_compressed_size - 1,
        ]:  # the last byte of a page is one of its values'
            changed = bytearray(data)
            changed[at] ^= 1
            with pytest.raises(IntegrityError, match="not a readable Parquet file"):
                list(ParquetFormat().scan(Bytes(bytes(changed)), batch.schema))


def test_a_writer_that_is_let_go_of_writes_no_footer() -> None:
    sink = Sink()
    writer = ParquetFormat().open(sink, SCHEMA, "portable", MEMORY)
    writer.append(sample(5))
    writer.abort()
    assert not sink.data.endswith(b"PAR1") or sink.data == b"PAR1"


texts = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=70)
amounts = st.none() | st.decimals(-(10**12), 10**12, allow_nan=False, places=2)


# D10: what Arrow's writer found is what a look at each value finds
@given(
    groups=st.lists(st.lists(st.tuples(texts, amounts), min_size=1, max_size=9), max_size=3),
    options=st.sampled_from([{}, {"dictionary": False}, {"encodings": {"text": "DELTA_BYTE_ARRAY"}}]),
)
def test_extremes_told_by_the_file_are_those_of_its_values(
    groups: list[list[tuple[str | None, Decimal | None]]], options: dict[str, Any]
) -> None:
    schema = pa.schema({"text": pa.string(), "amount": pa.decimal128(15, 2), "small": pa.decimal128(18, 4)})
    batches = [
        pa.record_batch([[t for t, _ in rows], *[[a for _, a in rows]] * 2], schema=schema) for rows in groups
    ]
    looked = Statistics(schema)
    for batch in batches:
        looked.observe(batch)
    format_ = ParquetFormat(ParquetOptions.model_validate({"row_group_rows": 4, **options}))
    nothing = pa.RecordBatch.from_arrays([pa.array([], kind) for kind in schema.types], schema=schema)
    _, stats = write(format_, [nothing, *batches])
    assert stats.columns == looked.result()


def test_extremes_that_the_file_does_not_tell_are_not_guessed() -> None:
    data = pa.record_batch({"text": ["b", "a" * 5000, None]})
    _, stats = write(ParquetFormat(), [pa.record_batch({"text": ["c"]}), data])
    assert stats.columns["text"] == ColumnStats(None, None, 1)


# --- encryption

# D12
FILE_KEYS = [FileKey(bytes(range(32))), FileKey(bytes(32), b'["UA","flights","7f","a.parquet"]')]


class TestEncryptedParquet(FormatSuite):
    @pytest.fixture(params=FILE_KEYS, ids=["portable", "bound"])
    def format(self, request: pytest.FixtureRequest) -> ParquetFormat:
        return ParquetFormat().encrypted(request.param)

    def same(self, format: Format, one: bytes, other: bytes, types: Types = "portable") -> bool:
        """Nonces are random, so the bytes differ; nothing else does."""
        rows = [scan(format, data, SCHEMA, types) for data in (one, other)]
        return one != other and len(one) == len(other) and rows[0].equals(rows[1])


@pytest.mark.parametrize("key", FILE_KEYS, ids=["portable", "bound"])
def test_an_encrypted_file_opens_with_its_key_alone_and_shows_nothing(key: FileKey) -> None:
    batch = pa.record_batch([pa.array([f"a secret {n}" for n in range(5_000)])], ["told"])
    data, _ = write(ParquetFormat(ParquetOptions(compression="none")).encrypted(key), [batch])
    assert b"secret" not in data
    assert b"told" not in data
    assert list(ParquetFormat(key=key).scan(Bytes(data), batch.schema))
    others = [None, FileKey(bytes([1] * 32), key.bound_to), FileKey(key.key, b"another place")]
    if key.bound_to is not None:
        others.append(FileKey(key.key))
    for other in others:
        with pytest.raises(IntegrityError, match="not a readable Parquet file"):
            list(ParquetFormat(key=other).scan(Bytes(data), batch.schema))


def test_a_changed_byte_of_an_encrypted_file_is_noticed() -> None:
    batch = pa.record_batch([pa.array(range(1_000))], ["id"])
    data, _ = write(ParquetFormat().encrypted(FILE_KEYS[1]), [batch])
    reader = ParquetFormat(key=FILE_KEYS[1])
    for at in range(4, len(data), 7):  # readers of Parquet pass over the four bytes that it begins with
        changed = bytearray(data)
        changed[at] ^= 1
        with pytest.raises(IntegrityError):
            list(reader.scan(Bytes(bytes(changed)), batch.schema))
