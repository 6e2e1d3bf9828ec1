"""The table of types in docs/manifest-format.md, held against what each format writes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pytest

from lading.errors import SchemaMismatch
from lading.formats.arrow import ArrowFormat
from lading.formats.csv import CsvFormat
from lading.formats.jsonl import JsonlFormat
from lading.formats.parquet import ParquetFormat
from lading.ports import LOGICAL, Format, Types

PAGE = Path(__file__).parents[2] / "docs" / "manifest-format.md"
FORMATS: dict[str, Format] = {
    "Parquet": ParquetFormat(),
    "Arrow": ArrowFormat(),
    "JSON lines": JsonlFormat(),
    "CSV": CsvFormat(),
}
OTHER = pa.field("other", pa.int8())
FIELDS: dict[str, list[pa.Field]] = {
    "boolean, integers, floats, text": [
        pa.field("x", kind)
        for kind in (pa.bool_(), pa.int64(), pa.uint64(), pa.float32(), pa.float64(), pa.string())
    ],
    "date, time, timestamp": [
        pa.field("x", kind)
        for kind in (pa.date32(), pa.time64("us"), pa.timestamp("us"), pa.timestamp("us", "UTC"))
    ],
    "decimal up to 38 digits": [pa.field("x", pa.decimal128(38, 3))],
    "decimal beyond 38 digits": [pa.field("x", pa.decimal256(39, 3))],
    "uuid": [pa.field("x", pa.binary(16), metadata={LOGICAL: b"uuid"})],
    "json": [pa.field("x", pa.string(), metadata={LOGICAL: b"json"})],
    "interval, duration": [pa.field("x", pa.duration("us")), pa.field("x", pa.month_day_nano_interval())],
    "binary": [pa.field("x", pa.binary())],
    "list, struct, map": [
        pa.field("x", kind)
        for kind in (pa.list_(pa.int64()), pa.struct([("a", pa.date32())]), pa.map_(pa.string(), pa.int64()))
    ],
}


def rows() -> dict[str, dict[str, str]]:
    section = PAGE.read_text(encoding="utf-8").split("### Types")[1].split("\n### ")[0]
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if line[:1] == "|"
    ]
    return {line[0]: dict(zip(lines[0][1:], line[1:], strict=True)) for line in lines[2:]}


def said(format: Format, field: pa.Field, types: Types) -> str:
    """What the format makes of the field, as the table spells it."""
    try:
        found = format.schema(pa.schema([field, OTHER]), types).field("x")
    except SchemaMismatch:
        return "refused"
    if found.type == field.type and not (field.metadata or {}).get(LOGICAL):
        return "the same"
    kind = "text" if pa.types.is_string(found.type) else f"`{found.type}`"
    logical = (found.metadata or {}).get(LOGICAL, b"").decode()
    return kind if kind != "text" else f"{kind} *{logical}*"


@pytest.mark.parametrize("label", FIELDS)
def test_the_table_says_what_each_format_makes_of_a_type(label: str) -> None:
    assert rows().keys() == FIELDS.keys()
    for name, format in FORMATS.items():
        cell = re.sub(r" \(.*?\)", "", rows()[label][name]).replace(
            "*json*, embedded as it stands", "text *json*"
        )
        told = cell.split(" / ")
        for field in FIELDS[label]:
            found = [said(format, field, types) for types in get_args(Types)]
            assert found == [told[0], told[-1]], (name, field)
