"""JSON lines: UTF-8, one object (RFC 8259) a line, every column in every line, NULL as ``null``.

`lading.formats.json_text` lists what each type becomes.
"""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from lading.errors import IntegrityError
from lading.formats.compression import SUFFIXES, Compression, decompressed
from lading.formats.joining import Few
from lading.formats.json_text import Encoded, Rules, encode, object_pieces, written_type
from lading.formats.lines import LineWriter
from lading.formats.parsing import parse
from lading.formats.written import check, is_list, logical, marked, refuse, with_holes
from lading.ports import Download, Sink, Types, Writer

_ROWS = 16_384  # read back at once


class JsonlOptions(BaseModel):
    """JSON lines."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    compression: Compression = Field(
        default="none", description="none, gzip or zstd, over the file as a whole"
    )
    int64: Literal["number", "string"] = Field(
        default="number",
        description="how 64-bit integers are written. Many readers hold JSON numbers as doubles, which are exact up to "
        "2^53; `string` keeps all digits for them",
    )
    nan: Literal["refuse", "null", "string"] = Field(
        default="refuse",
        description="what becomes of NaN and infinities, which JSON has no number for: the run is refused, `null`, or "
        'the strings "NaN", "Infinity" and "-Infinity"',
    )


class JsonlFormat:
    """Writes and reads JSON lines."""

    name = "jsonl"

    def __init__(self, options: JsonlOptions | None = None) -> None:
        self._options = options or JsonlOptions()
        self.compression = self._options.compression
        self.codec = SUFFIXES[self.compression]
        self.suffix = f"jsonl.{self.codec}" if self.codec else "jsonl"

    def schema(self, schema: Any, types: Types) -> Any:
        check(schema)
        return pa.schema([_written(field, self._rules(types)) for field in schema])

    def open(self, sink: Sink, schema: Any, types: Types, memory: int, limit: int | None = None) -> Writer:
        written = self.schema(schema, types)
        rules = self._rules(types)

        def pieces(columns: list[Any]) -> list[Any]:
            encoded = [_encode(column, field, rules) for column, field in zip(columns, schema, strict=True)]
            return object_pieces(encoded, schema.names, "}\n")

        return LineWriter(sink, schema, self._options.compression, memory, pieces, written, limit=limit)

    def notices(self) -> tuple[str, ...]:
        said = []
        if self._options.int64 == "string":
            said.append("64-bit integers are JSON strings")
        if self._options.nan == "null":
            said.append("NaN and infinite numbers are null")
        if self._options.nan == "string":
            said.append('NaN and infinite numbers are the JSON strings "NaN", "Infinity" and "-Infinity"')
        return tuple(said)

    def _rules(self, types: Types) -> Rules:
        return Rules(types, self._options.int64, self._options.nan)

    def scan(self, file: Download, schema: Any) -> Iterator[Any]:
        """Raises IntegrityError for a line that is not an object of exactly these columns, or a value of another type.

        Numbers inside embedded JSON come back as doubles. The schema's `lading.logical` says which columns that are.
        """
        return self.rows(io.BufferedReader(decompressed(file, self._options.compression), 1 << 20), schema)

    def rows(self, lines: Iterable[bytes], schema: Any) -> Iterator[Any]:
        """What lines hold; raises as `scan`."""
        exact = any("decimal" in str(field.type) for field in schema)
        decoder = json.JSONDecoder(parse_float=Decimal if exact else float)
        held: list[dict[str, Any]] = []
        for number, line in enumerate(lines, 1):
            held.append(_row(decoder, line, number, schema.names))
            if len(held) == _ROWS:
                yield _batch(held, schema)
                held = []
        if held:
            yield _batch(held, schema)


def _encode(column: Any, field: Any, rules: Rules) -> Encoded:
    if not isinstance(column, Few):
        return encode(column, field, rules, field.name)
    encoded = encode(column.values, field, rules, field.name)
    return replace(encoded, values=Few(encoded.values, column.places))


def _written(field: Any, rules: Rules) -> Any:
    kind, meaning = written_type(field, rules)
    if isinstance(kind, pa.BaseExtensionType) or pa.types.is_union(kind):
        raise refuse(field.name, kind, "JSON", "declare the column a string in the contract, or leave it out")
    return marked(field, kind, meaning)


def _row(decoder: json.JSONDecoder, line: bytes, number: int, names: list[str]) -> dict[str, Any]:
    try:
        row = decoder.decode(line.decode())
    except ValueError as error:
        raise IntegrityError(f"line {number} is not JSON") from error
    if not isinstance(row, dict) or list(row) != names:
        raise IntegrityError(f"line {number} is not an object of the columns {', '.join(names)}")
    return row


def _batch(rows: list[dict[str, Any]], schema: Any) -> Any:
    columns = []
    for field in schema:
        values = [row[field.name] for row in rows]
        try:
            columns.append(_column(values, field, field.name))
        except (pa.ArrowException, TypeError, ValueError, ArithmeticError, AttributeError) as error:
            raise IntegrityError(f"column {field.name!r} holds a value that is no {field.type}") from error
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _column(values: list[Any], field: Any, path: str) -> Any:
    """Parsed JSON values as a column of the field's type."""
    kind = field.type
    if is_list(kind) or pa.types.is_map(kind):
        return _repeated(values, kind, path)
    if pa.types.is_struct(kind):
        children = [
            _column([None if value is None else value[child.name] for value in values], child, path)
            for child in kind.fields
        ]
        mask = pa.array([value is None for value in values], pa.bool_())
        return pa.StructArray.from_arrays(children, fields=list(kind.fields), mask=mask)
    if pa.types.is_string(kind):
        return pa.array([_embedded(value) for value in values] if logical(field) == "json" else values, kind)
    if pa.types.is_boolean(kind):
        return pa.array(values, kind)
    if pa.types.is_integer(kind):
        if any(isinstance(value, (bool, float, Decimal)) for value in values):
            raise TypeError("not an integer")
        return pa.array([None if value is None else int(value) for value in values], kind)
    if pa.types.is_floating(kind):
        return pa.array([None if value is None else float(value) for value in values], pa.float64()).cast(
            kind
        )
    if pa.types.is_decimal(kind):
        return pa.array([None if value is None else Decimal(value) for value in values], kind)
    return parse(pa.array(values, pa.string()), kind, path)


def _repeated(values: list[Any], kind: Any, path: str) -> Any:
    mask = [value is None for value in values]
    offsets = [0, *itertools.accumulate(len(value or ()) for value in values)]
    if pa.types.is_list(kind):
        inner = _column([item for value in values for item in value or ()], kind.value_field, f"{path}[]")
        return pa.ListArray.from_arrays(
            pa.array(offsets, pa.int32()), inner, type=kind, mask=pa.array(mask, pa.bool_())
        )
    pairs = [pair for value in values for pair in _pairs(value)]
    keys = _column([key for key, _ in pairs], kind.key_field, f"{path}.key")
    items = _column([item for _, item in pairs], kind.item_field, f"{path}.value")
    holes = with_holes(offsets, mask) if any(mask) else pa.array(offsets, pa.int32())
    return pa.MapArray.from_arrays(holes, keys, items, type=kind)


def _pairs(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict):
        return iter(value.items())
    return ((entry["key"], entry["value"]) for entry in value or ())


def _embedded(value: Any) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, default=float)
