"""How DuckDB reads files of each format back, in the types of the manifest's schema.

Text says no types, so they are told: no type is guessed, an empty field of CSV is NULL and ``""`` is an empty string.
Parquet has its own. Arrow files are not read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from lading.formats.chained import ChainedFormat
from lading.formats.compression import Compression
from lading.formats.csv import CsvFormat
from lading.formats.jsonl import JsonlFormat
from lading.formats.parquet import ParquetFormat
from lading.formats.written import is_binary, is_list, logical, plain_type

_READ: Mapping[Compression, str] = {"none": "none", "gzip": "gzip", "zstd": "zstd"}
_JSON: Mapping[Compression, str] = {"none": "uncompressed", "gzip": "gzip", "zstd": "zstd"}
_DOUBLE = 15  # digits that JSON numbers keep on their way: DuckDB reads them as doubles
_INT64 = 18
_NUMBERS = {
    "bool": "BOOLEAN",
    "int8": "TINYINT",
    "int16": "SMALLINT",
    "int32": "INTEGER",
    "int64": "BIGINT",
    "uint8": "UTINYINT",
    "uint16": "USMALLINT",
    "uint32": "UINTEGER",
    "uint64": "UBIGINT",
    "halffloat": "FLOAT",
    "float": "FLOAT",
    "double": "DOUBLE",
}


def query(format: object, schema: Any, names: Sequence[str]) -> str:
    """A SELECT of the files' rows. Raises ValueError where DuckDB cannot read them, or would change a value."""
    # Folders such as tenant=UA are names, not columns.
    settings = {"hive_partitioning": "false"}
    if isinstance(format, ParquetFormat):
        reader = "read_parquet"
    elif isinstance(format, CsvFormat):
        reader = "read_csv"
        settings |= _csv(format, schema)
    elif isinstance(format, JsonlFormat):
        reader = "read_json"
        settings |= {
            "format": "'newline_delimited'",
            "compression": _quoted(_JSON[format.compression]),
            "columns": _columns({field.name: _json_type(field, field.name) for field in schema}),
        }
    elif isinstance(format, ChainedFormat):
        raise ValueError("audit packages hold each row as the record of a chain: see docs/audit-package.md")
    else:
        raise ValueError(
            f"DuckDB reads files of parquet, csv and jsonl; here is {getattr(format, 'name', 'none of them')}"
        )
    listed = ", ".join(map(_quoted, names))
    return f"SELECT * FROM {reader}([{listed}], {', '.join(f'{k} = {v}' for k, v in settings.items())})"


def _csv(format: CsvFormat, schema: Any) -> dict[str, str]:
    options = format.options
    return {
        "auto_detect": "false",
        "header": str(options.header).lower(),
        "delim": _quoted(options.delimiter),
        "quote": _quoted(options.quote),
        "escape": _quoted(options.quote if options.escape == "double" else options.escape),
        "nullstr": _quoted(options.null_marker),
        "allow_quoted_nulls": "false",
        "compression": _quoted(_READ[options.compression]),
        "columns": _columns({field.name: _type(field.type) for field in schema}),
    }


def _columns(types: Mapping[str, str]) -> str:
    return "{" + ", ".join(f"{_quoted(name)}: {_quoted(kind)}" for name, kind in types.items()) + "}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _type(kind: Any) -> str:
    """The type of a text's values, VARCHAR where DuckDB has none that holds them all."""
    kind = plain_type(kind)
    if str(kind) in _NUMBERS:
        return _NUMBERS[str(kind)]
    if pa.types.is_decimal(kind):
        precision, scale = kind.precision - min(kind.scale, 0), max(kind.scale, 0)
        return f"DECIMAL({precision},{scale})" if precision <= 38 else "VARCHAR"
    if pa.types.is_date(kind):
        return "DATE"
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return "VARCHAR" if kind.unit == "ns" else "TIMESTAMP WITH TIME ZONE"
    if pa.types.is_timestamp(kind):
        return "TIMESTAMP_NS" if kind.unit == "ns" else "TIMESTAMP"
    if pa.types.is_time(kind):
        return "VARCHAR" if kind.unit == "ns" else "TIME"
    return "VARCHAR"


def _json_type(field: Any, path: str) -> str:
    kind = plain_type(field.type)
    if is_list(kind):
        return f"{_json_type(kind.value_field, f'{path}[]')}[]"
    if pa.types.is_map(kind):
        key, item = _json_type(kind.key_field, f"{path}.key"), _json_type(kind.item_field, f"{path}.value")
        if pa.types.is_string(plain_type(kind.key_type)):
            return f"MAP({key}, {item})"
        return f'STRUCT("key" {key}, "value" {item})[]'
    if pa.types.is_struct(kind):
        inside = (f"{_name(child.name)} {_json_type(child, f'{path}.{child.name}')}" for child in kind.fields)
        return f"STRUCT({', '.join(inside)})"
    if pa.types.is_decimal(kind):
        whole = kind.scale <= 0 and kind.precision - kind.scale <= _INT64
        if not whole and max(kind.precision, kind.scale) > _DOUBLE:
            raise ValueError(
                f"DuckDB reads JSON numbers as doubles, and column {path!r} ({kind}) would lose digits; "
                "`types: portable` writes decimals as text, and Parquet holds them"
            )
    if pa.types.is_string(kind) and logical(field) == "json":
        raise ValueError(
            f"DuckDB spells JSON anew, and numbers in column {path!r} may lose digits; Parquet and CSV hold it as text"
        )
    return "VARCHAR" if is_binary(kind) else _type(kind)


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
