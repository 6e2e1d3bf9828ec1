"""What a record of a delivery is, for people and programs that have none yet: OpenAPI 3.1 (JSON Schema 2020-12), and
sample payloads.

Both are made of the manifest's schema and the contract alone. Samples are made up from types: no row of the data, no
example that a contract gives, and no value of its ranges but of its enums, is in them. JSON is spelt as
`lading.formats.json_text` spells it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from lading.contract import Contract, ContractField
from lading.formats.json_text import Rules
from lading.formats.type_names import parse_type
from lading.formats.written import is_binary, is_list, is_uuid

RECORDS = 3
"""How many samples there are. In the last one everything is null that may be."""

_MEDIA = {
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.file",
    "csv": "text/csv",
    "jsonl": "application/jsonl",
}
_SECONDS = {"s": "", "ms": r"\.[0-9]{3}", "us": r"\.[0-9]{6}", "ns": r"\.[0-9]{9}"}
_TEXTS = {
    "uuid": "00000000-0000-4000-8000-00000000000{n}",
    "interval": "P{n}D",
    "decimal": "{n}.50",
    "money": "{n}.50",
    "timetz": "0{n}:00:00+00",
    "xml": "<sample>{n}</sample>",
    "base64": "AAA{n}",
}

Schema = dict[str, Any]


def papers(manifest: Mapping[str, Any], contract: Contract) -> list[tuple[str, bytes]]:
    """The OpenAPI document and the samples, by their names in a bundle."""
    rules = _rules(manifest["format"])
    columns = [(column, _field(column, manifest, contract)) for column in manifest["schema"]]
    samples = [
        {
            column["name"]: _sample(rules, parse_type(column["type"]), column, field, n)
            for column, field in columns
        }
        for n in range(1, RECORDS + 1)
    ]
    document = _openapi(manifest, contract, {c["name"]: _column(rules, c, f) for c, f in columns})
    return [
        ("openapi.json", _text(document)),
        (f"samples/{_entity(contract)}.json", _text(samples)),
    ]


def _rules(format: Mapping[str, Any]) -> Rules:
    """How JSON lines spell what they may spell in two ways; of other formats, the samples say it as text."""
    if format["type"] != "jsonl":
        return Rules()
    return Rules("exact", "string" if format.get("int64") == "string" else "number")


def _text(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=True) + "\n").encode()


def _entity(contract: Contract) -> str:
    from lading.export.layout import segment

    return segment(contract.name)


def _field(
    column: Mapping[str, Any], manifest: Mapping[str, Any], contract: Contract
) -> ContractField | None:
    """What the contract promises of a column whose values nothing has changed on their way."""
    field = contract.field(column["name"])
    changed = {action["column"] for action in manifest["policy"]}
    changed |= {str(action["action"]).removeprefix("renamed from ") for action in manifest["policy"]}
    return None if field is None or {field.name, field.column} & changed else field


def _openapi(manifest: Mapping[str, Any], contract: Contract, columns: Mapping[str, Schema]) -> Schema:
    record = {
        "type": "object",
        "description": contract.description or f"A row of {contract.name}.",
        "properties": dict(columns),
        "required": list(columns),
        "additionalProperties": False,
    }
    kind = str(manifest["format"]["type"])
    file = {"description": f"Rows of {contract.name}, each as the schema Record describes it."}
    binary: Schema = {_MEDIA.get(kind, "application/octet-stream"): {}}
    records = {
        "application/json": {"schema": {"type": "array", "items": {"$ref": "#/components/schemas/Record"}}}
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": contract.name,
            "version": contract.version,
            **({"description": contract.description} if contract.description else {}),
        },
        # Relative to this document: to where the bundle was unpacked.
        "servers": [{"url": "."}],
        "paths": {
            "/data/{file}": {
                "get": {
                    "operationId": "readData",
                    "summary": f"A file of rows ({kind}); manifest.json lists their names under files",
                    "parameters": [
                        {
                            "name": "file",
                            "in": "path",
                            "required": True,
                            "description": "A name of the manifest without data/; of partitions, folders and name.",
                            "schema": {"type": "string"},
                        }
                    ],
                    "responses": {"200": {**file, "content": binary}},
                }
            },
            f"/samples/{_entity(contract)}.json": {
                "get": {
                    "operationId": "readSamples",
                    "summary": "Records that show the shape of a row; their values are made up",
                    "responses": {"200": {"description": "A few records.", "content": records}},
                }
            },
        },
        "components": {"schemas": {"Record": record}},
    }


def _column(rules: Rules, column: Mapping[str, Any], field: ContractField | None) -> Schema:
    shape = _shape(rules, parse_type(column["type"]), str(column.get("logical") or ""))
    values = _values(shape, field)
    if values:
        shape["enum"] = values
    if column["nullable"]:
        shape = _or_null(shape)
    if field is not None and field.description:
        shape["description"] = field.description
    return shape


def _values(shape: Schema, field: ContractField | None) -> list[Any]:
    """The contract's enum, where JSON spells all its values as the column's."""
    allowed = {"string": str, "integer": int}.get(str(shape.get("type")))
    values = list(field.values) if field is not None else []
    if allowed is None or not all(isinstance(v, allowed) and not isinstance(v, bool) for v in values):
        return []
    return values


def _or_null(shape: Schema) -> Schema:
    if "type" not in shape:
        return shape  # anything, null among it
    nullable = {**shape, "type": [shape["type"], "null"]}
    if "enum" in shape:
        nullable["enum"] = [*shape["enum"], None]
    return nullable


def _shape(rules: Rules, kind: Any, meaning: str) -> Schema:
    """The JSON Schema of a type's values."""
    if is_list(kind):
        return {"type": "array", "items": _inner(rules, kind.value_field)}
    if pa.types.is_map(kind) and pa.types.is_string(kind.key_type):
        return {"type": "object", "additionalProperties": _inner(rules, kind.item_field)}
    if pa.types.is_map(kind):
        entry = {"key": _inner(rules, kind.key_field), "value": _inner(rules, kind.item_field)}
        return {"type": "array", "items": {"type": "object", "properties": entry, "required": [*entry]}}
    if pa.types.is_struct(kind):
        fields = [kind.field(i) for i in range(kind.num_fields)]
        names = [f.name for f in fields]
        return {"type": "object", "properties": {f.name: _inner(rules, f) for f in fields}, "required": names}
    if pa.types.is_boolean(kind):
        return {"type": "boolean"}
    if pa.types.is_integer(kind):
        if _is_text(rules, kind):
            return {"type": "string", "pattern": "^-?[0-9]+$"}
        return {"type": "integer", **_bounds(kind)}
    if pa.types.is_decimal(kind) and rules.types == "exact":
        return {"type": "number"}
    if pa.types.is_floating(kind):
        return {"type": "number", "format": "double" if kind.bit_width == 64 else "float"}
    return _textual(kind, meaning)


def _is_text(rules: Rules, kind: Any) -> bool:
    return rules.int64 == "string" and kind.bit_width == 64


def _inner(rules: Rules, field: Any) -> Schema:
    shape = _shape(rules, field.type, "")
    return _or_null(shape) if field.nullable else shape


def _bounds(kind: Any) -> Schema:
    signed = pa.types.is_signed_integer(kind)
    bits = kind.bit_width - signed
    return {
        **({"format": f"int{kind.bit_width}"} if signed and kind.bit_width in (32, 64) else {}),
        "minimum": -(2**bits) if signed else 0,
        "maximum": 2**bits - 1,
    }


def _textual(kind: Any, meaning: str) -> Schema:
    if pa.types.is_decimal(kind):
        digits = rf"\.[0-9]{{{kind.scale}}}" if kind.scale > 0 else ""
        return {"type": "string", "format": "decimal", "pattern": rf"^-?[0-9]+{digits}$"}
    if pa.types.is_date(kind):
        return {"type": "string", "format": "date"}
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return {"type": "string", "format": "date-time"}
    if pa.types.is_timestamp(kind):
        day = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}"
        return {"type": "string", "pattern": f"^{day}{_SECONDS[kind.unit]}$"}
    if pa.types.is_time(kind):
        return {"type": "string", "pattern": f"^[0-9]{{2}}:[0-9]{{2}}:[0-9]{{2}}{_SECONDS[kind.unit]}$"}
    if pa.types.is_duration(kind) or pa.types.is_interval(kind) or meaning == "interval":
        return {
            "type": "string"
        }  # ISO 8601, but each part may have a sign of its own, which "duration" forbids
    extension = getattr(kind, "extension_name", "")
    if meaning == "json" or extension == "arrow.json":
        return {}
    if meaning == "uuid" or extension == "arrow.uuid" or is_uuid(kind, meaning):
        return {"type": "string", "format": "uuid"}
    if meaning == "base64" or is_binary(kind):
        return {"type": "string", "contentEncoding": "base64"}
    return {"type": "string"}


def _sample(rules: Rules, kind: Any, column: Mapping[str, Any], field: ContractField | None, n: int) -> Any:
    if column["nullable"] and n == RECORDS:
        return None
    meaning = str(column.get("logical") or "")
    values = _values(_shape(rules, kind, meaning), field)
    return values[(n - 1) % len(values)] if values else _value(rules, kind, meaning, n)


def _value(rules: Rules, kind: Any, meaning: str, n: int) -> Any:
    """A value of the type; of small ``n`` another one each."""
    if is_list(kind):
        return [_value(rules, kind.value_type, "", n)]
    if pa.types.is_map(kind) and pa.types.is_string(kind.key_type):
        return {f"key {n}": _value(rules, kind.item_type, "", n)}
    if pa.types.is_map(kind):
        return [{"key": _value(rules, kind.key_type, "", n), "value": _value(rules, kind.item_type, "", n)}]
    if pa.types.is_struct(kind):
        return {kind.field(i).name: _value(rules, kind.field(i).type, "", n) for i in range(kind.num_fields)}
    if pa.types.is_boolean(kind):
        return n % 2 == 1
    if pa.types.is_integer(kind):
        return str(n) if _is_text(rules, kind) else n
    if pa.types.is_floating(kind):
        return n + 0.5
    if pa.types.is_decimal(kind) and rules.types == "exact":
        return n
    if pa.types.is_decimal(kind):
        return f"{n}.{'5'.ljust(kind.scale, '0')}" if kind.scale > 0 else str(n)
    return _value_text(kind, meaning, n)


def _value_text(kind: Any, meaning: str, n: int) -> Any:
    extension = str(getattr(kind, "extension_name", ""))
    meaning = extension.removeprefix("arrow.") or meaning
    if meaning == "json":
        return {"sample": n}
    if pa.types.is_date(kind):
        return f"2000-01-0{n}"
    if pa.types.is_timestamp(kind):
        fraction = {"s": "", "ms": ".000", "us": ".000000", "ns": ".000000000"}[kind.unit]
        return f"2000-01-0{n}T00:00:00{fraction}" + ("Z" if kind.tz is not None else "")
    if pa.types.is_time(kind):
        return f"0{n}:00:00" + {"s": "", "ms": ".000", "us": ".000000", "ns": ".000000000"}[kind.unit]
    if pa.types.is_duration(kind) or pa.types.is_interval(kind):
        return f"PT{n}S"
    if is_binary(kind) and meaning != "uuid":
        return _TEXTS["base64"].format(n=n)
    return _TEXTS.get(meaning, "sample {n}").format(n=n)
