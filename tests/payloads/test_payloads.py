"""The OpenAPI document and the samples of a bundle say what records are, and nothing of the data."""

# S3
from __future__ import annotations

import io
import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import validate

from lading.contract import Contract, ContractField
from lading.contract.model import Sla
from lading.formats.jsonl import JsonlFormat, JsonlOptions
from lading.formats.parquet import ParquetFormat
from lading.payloads import papers
from lading.ports import LOGICAL, Types

MEANT = {"uuid": "uuid", "json": "json", "text_decimal": "decimal"}
VALUES: dict[str, tuple[Any, list[Any]]] = {
    "flag": (pa.bool_(), [True, False]),
    "tiny": (pa.int8(), [-128, 127]),
    "unsigned": (pa.uint32(), [0, 2**32 - 1]),
    "large": (pa.int64(), [-(2**63), 2**63 - 1]),
    "real": (pa.float32(), [0.5, -0.0]),
    "double": (pa.float64(), [1e300, -1.5]),
    "amount": (pa.decimal128(12, 2), [Decimal("-1.50"), Decimal("0.05")]),
    "whole": (pa.decimal128(5, 0), [Decimal(7), Decimal(-7)]),
    "text": (pa.string(), ["a", ""]),
    "day": (pa.date32(), [date(2013, 1, 31), date(1, 1, 1)]),
    "at": (pa.timestamp("us", "UTC"), [datetime(2013, 1, 1, tzinfo=UTC), datetime(1999, 1, 1, 1, 1, 1, 5, UTC)]),
    "local": (pa.timestamp("ms"), [datetime(2013, 1, 1), datetime(1999, 1, 1)]),
    "second": (pa.timestamp("s"), [datetime(2013, 1, 1), datetime(1999, 1, 1)]),
    "clock": (pa.time64("us"), [time(5, 0), time(23, 59, 59, 999999)]),
    "span": (pa.duration("us"), [timedelta(seconds=1), timedelta(days=-1)]),
    "bytes": (pa.binary(), [b"\0", b""]),
    "uuid": (pa.string(), ["8a0b7b3e-4b0a-4f5e-9a53-6b0d3ed3a5a1"] * 2),
    "json": (pa.string(), ['{"a": [1]}', "5"]),
    "text_decimal": (pa.string(), ["1.5", "2"]),
    "list": (pa.list_(pa.int64()), [[1, None], []]),
    "struct": (pa.struct([("a", pa.int32()), ("b", pa.decimal128(4, 1))]), [{"a": 1, "b": Decimal("1.5")}] * 2),
    "map": (pa.map_(pa.string(), pa.int64()), [[("k", 1)], []]),
    "numbered": (pa.map_(pa.int32(), pa.string()), [[(1, "a")], []]),
}  # fmt: skip


def table() -> pa.Table:
    fields, columns = [], []
    for name, (kind, values) in VALUES.items():
        metadata = {LOGICAL: MEANT[name].encode()} if name in MEANT else None
        fields.append(pa.field(name, kind, metadata=metadata))
        columns.append(pa.array([*values, None], kind))
    return pa.table(columns, schema=pa.schema(fields))


def contract(*fields: ContractField) -> Contract:
    return Contract("o", "orders", "1.2.0", 1, "active", "Orders.", "o.yaml", "0" * 64, (), Sla(), fields, ())


def manifest(schema: pa.Schema, policy: list[dict[str, str]] | None = None, **format: Any) -> dict[str, Any]:
    columns = [
        {
            "name": f.name,
            "type": str(f.type),
            "logical": (f.metadata or {}).get(LOGICAL, b"").decode() or None,
            "nullable": f.nullable,
        }
        for f in schema
    ]
    return {"schema": columns, "policy": policy or [], "format": format}


def documents(told: dict[str, Any], promised: Contract) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    made = {name: json.loads(body) for name, body in papers(told, promised)}
    return made["openapi.json"], made["samples/orders.json"]


def record(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["components"]["schemas"]["Record"]
    return found


@pytest.mark.parametrize("types", ["portable", "exact"])
@pytest.mark.parametrize("int64", ["number", "string"])
def test_records_of_json_lines_are_what_the_document_says(types: Types, int64: Any) -> None:
    format, rows, sink = JsonlFormat(JsonlOptions(int64=int64)), table(), io.BytesIO()
    writer = format.open(sink, rows.schema, types, 1 << 20)
    for batch in rows.to_batches():
        writer.append(batch)
    writer.finish()
    told = manifest(format.schema(rows.schema, types), type="jsonl", int64=int64)
    document, samples = documents(told, contract())
    validate(document)
    validator = Draft202012Validator(record(document), format_checker=FormatChecker())
    lines = [json.loads(line) for line in sink.getvalue().splitlines()]
    assert len(lines) == 3
    for each in (*lines, *samples):
        validator.validate(each)
        assert not validator.is_valid({**each, "more": 1})
        assert not validator.is_valid({k: v for k, v in each.items() if k != "text"})
    assert not validator.is_valid({**lines[0], "tiny": 128})
    assert not validator.is_valid({**lines[0], "day": 5})


@pytest.mark.parametrize("types", ["portable", "exact"])
def test_samples_of_other_formats_are_what_the_document_says(types: Types) -> None:
    wanted = table().drop_columns(["span"]).schema
    document, samples = documents(manifest(ParquetFormat().schema(wanted, types), type="parquet"), contract())
    validate(document)
    validator = Draft202012Validator(record(document), format_checker=FormatChecker())
    for sample in samples:
        validator.validate(sample)
    assert set(samples[-1].values()) == {None}
    assert len({json.dumps(sample) for sample in samples}) == 3


def test_the_contract_gives_descriptions_and_enums_of_columns_that_nothing_has_changed() -> None:
    promised = contract(
        ContractField("kind", description="What it is.", values=("a", "b")),
        ContractField("masked", physical_name="raw", description="Whose it is.", values=("x", "y")),
        ContractField("renamed", physical_name="old", values=("x", "y")),
        ContractField("rank", values=(1, 2)),
    )
    schema = pa.schema(
        [
            pa.field("kind", pa.string(), nullable=False),
            pa.field("masked", pa.string()),
            pa.field("renamed", pa.string()),
            pa.field("rank", pa.int32()),
        ]
    )
    policy = [
        {"column": "raw", "action": "hmac_sha256"},
        {"column": "new", "action": "renamed from old"},
    ]
    document, samples = documents(manifest(schema, policy, type="parquet"), promised)
    columns = record(document)["properties"]
    assert columns["kind"] == {"type": "string", "enum": ["a", "b"], "description": "What it is."}
    assert columns["masked"] == {"type": ["string", "null"]}
    assert columns["renamed"] == {"type": ["string", "null"]}
    assert columns["rank"]["enum"] == [1, 2, None]
    assert [sample["kind"] for sample in samples] == ["a", "b", "a"]
    assert document["info"] == {"title": "orders", "version": "1.2.0", "description": "Orders."}
