"""The statement that reads delivered files in DuckDB gives the manifest's types, and every value."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from lading.formats.arrow import ArrowFormat
from lading.formats.csv import CsvFormat, CsvOptions
from lading.formats.duckdb_sql import query
from lading.formats.jsonl import JsonlFormat, JsonlOptions
from lading.formats.parquet import ParquetFormat
from lading.ports import LOGICAL, Format, Types
from lading.testing.format import write

AT = datetime(2024, 3, 17, 1, 2, 3, 456789)
VALUES: dict[str, tuple[Any, list[Any]]] = {
    "flag": (pa.bool_(), [True, False]),
    "tiny": (pa.int8(), [-128, 127]),
    "small": (pa.uint16(), [0, 65_535]),
    "id": (pa.int64(), [-(2**63), 2**63 - 1]),
    "large": (pa.uint64(), [0, 2**64 - 1]),
    "single": (pa.float32(), [0.5, -0.25]),
    "ratio": (pa.float64(), [0.1, 1e-300]),
    "temp": (pa.decimal128(8, 3), [Decimal("20.003"), Decimal("-0.100")]),
    "day": (pa.date32(), [date(1, 1, 1), date(9999, 12, 31)]),
    "clock": (pa.time64("us"), [time(0), time(23, 59, 59, 999999)]),
    "local": (pa.timestamp("us"), [AT, datetime(1969, 1, 1)]),
    "moment": (pa.timestamp("us", "UTC"), [AT.replace(tzinfo=UTC), datetime(1969, 1, 1, tzinfo=UTC)]),
    'it\'s "text"': (pa.string(), ["", "a,'b' \"c\"\\\r\nd"]),
    "digits": (pa.string(), ["007", "NULL"]),
}
NESTED: dict[str, tuple[Any, list[Any]]] = {
    "list": (pa.list_(pa.int64()), [[], [1, None, 2**60]]),
    "struct": (
        pa.struct([('a "b"', pa.date32()), ("c", pa.string())]),
        [{'a "b"': date(2024, 1, 1), "c": ""}] * 2,
    ),
    "map": (pa.map_(pa.string(), pa.float64()), [[], [("k", 0.5)]]),
}


def batch(columns: dict[str, tuple[Any, list[Any]]]) -> pa.RecordBatch:
    """The values, and a row of NULLs."""
    arrays = {name: pa.array([*values, None], kind) for name, (kind, values) in columns.items()}
    return pa.record_batch(arrays)


def read(format: Format, rows: pa.RecordBatch, folder: Path, types: Types = "portable") -> pa.Table:
    path = folder / f"it's.{format.suffix}"
    path.write_bytes(write(format, [rows], types)[0])
    statement = query(format, format.schema(rows.schema, types), [str(path), str(path)])
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        return db.sql(statement).to_arrow_table()


FORMATS: dict[str, tuple[Format, Types]] = {
    "parquet": (ParquetFormat(), "portable"),
    "csv": (CsvFormat(), "portable"),
    "csv gzip": (CsvFormat(CsvOptions(compression="gzip", header=False, null_marker="\\N")), "portable"),
    "csv zstd": (CsvFormat(CsvOptions(compression="zstd", line_ending="crlf", bom=True)), "exact"),
    "csv own": (CsvFormat(CsvOptions(delimiter=";", quote="'", escape="\\", null_marker="NULL")), "portable"),
    "jsonl": (JsonlFormat(), "exact"),
    "jsonl gzip": (JsonlFormat(JsonlOptions(compression="gzip", int64="string")), "exact"),
    "jsonl zstd": (JsonlFormat(JsonlOptions(compression="zstd")), "exact"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_types_values_nulls_and_empty_strings_are_those_of_the_manifest(name: str, tmp_path: Path) -> None:
    format, types = FORMATS[name]
    columns = VALUES if isinstance(format, CsvFormat) else VALUES | NESTED
    rows = batch(columns)
    found = read(format, rows, tmp_path, types)
    assert found.schema.types == rows.schema.types
    assert found.to_pylist() == rows.to_pylist() * 2


def test_what_json_writes_as_text_is_text(tmp_path: Path) -> None:
    rows = pa.record_batch(
        {
            "temp": pa.array([Decimal("20.003")]),
            "raw": pa.array([b"x"]),
            "took": pa.array([61], pa.duration("s")),
        }
    )
    found = read(JsonlFormat(), rows, tmp_path)
    assert found.slice(0, 1).to_pylist() == [{"temp": "20.003", "raw": "eA==", "took": "PT61S"}]


@pytest.mark.parametrize(
    "format", [ParquetFormat(), CsvFormat(CsvOptions(null_marker="\\N"))], ids=["parquet", "csv"]
)
def test_json_is_the_text_that_it_was_or_is_refused(format: Any, tmp_path: Path) -> None:
    schema = pa.schema([pa.field("doc", pa.string(), metadata={LOGICAL: b"json"})])
    rows = pa.record_batch(
        [pa.array(['{"a": [0.1234567890123456789, 1.10]}', '"text"', None])], schema=schema
    )
    assert read(format, rows, tmp_path).column("doc").to_pylist()[:3] == rows.column("doc").to_pylist()
    with pytest.raises(ValueError, match="numbers in column 'doc' may lose digits"):
        query(JsonlFormat(), schema, ["x.jsonl"])


def test_a_decimal_that_duckdb_would_round_is_refused_by_column(tmp_path: Path) -> None:
    """It reads JSON numbers as doubles, whatever the type."""
    exact = pa.record_batch({"n": pa.array([Decimal("123456789012.345")], pa.decimal128(15, 3))})
    assert read(JsonlFormat(), exact, tmp_path, "exact")["n"].to_pylist() == exact["n"].to_pylist() * 2
    more = pa.schema([("n", pa.list_(pa.decimal128(16, 3)))])
    with pytest.raises(ValueError, match=r"column 'n\[\]' \(decimal128\(16, 3\)\) would lose digits"):
        query(JsonlFormat(), more, ["x.jsonl"])


def test_arrow_files_are_none_of_duckdbs() -> None:
    with pytest.raises(ValueError, match="here is arrow"):
        query(ArrowFormat(), pa.schema([]), ["x.arrow"])
