"""JSON lines: UTF-8, one object (RFC 8259) a line; a key that a line leaves out is NULL there.

Numbers stay the text that they are until they meet the column's type, so that none passes through a double. Where no
types are declared they come from all lines of the first file that has any, and other files must fit them:

=====================================  =============================================================
all values of the column               arrive as
=====================================  =============================================================
true, false                            bool
numbers without point and exponent     int64, where all fit
other numbers                          text, *decimal*: their digits as they stand
strings                                string
objects, arrays                        text, *json*: numbers as they stand, no white space
null                                   refused: declare the type
a mixture                              refused: declare the type, as ``json`` or as what it should be
=====================================  =============================================================
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lading.errors import DataRefused, SchemaMismatch
from lading.ports import Download, ObjectInfo, Range
from lading.sources.files_records import Group, Look, Tally, Wanted, plain_bytes, records
from lading.sources.files_types import Column

_NULL = type(None)
_BOM = b"\xef\xbb\xbf"
_BLOCK = 1024 * 1024  # parsed, it is some thirty times as much
_BAD = "lines that are no JSON object, or name a key twice"


class Number(str):
    """A JSON number, as it is written."""

    __slots__ = ()


class JsonlFiles:
    """Fulfils `lading.sources.files_records.Kind`. ``types``: of all columns, or nothing to infer them."""

    alike = False

    def __init__(self, types: Mapping[str, Any], codec: str) -> None:
        self._types, self._codec = types, codec

    def look(self, file: Download, info: ObjectInfo, ranges: Sequence[Range]) -> Look:
        if self._types:
            declared = (Column(name, pa.string(), "JSON", parsed=kind) for name, kind in self._types.items())
            return Look(tuple(declared), (Group(0, info.size),))
        seen: dict[str, _Seen] = {}
        for rows, bad in self._rows(file, info):
            if bad:
                raise DataRefused(f"has {bad} or more {_BAD}.")
            for name in dict.fromkeys(key for row in rows for key in row):
                seen.setdefault(name, _Seen()).observe([row.get(name) for row in rows])
        return Look(tuple(found.column(name) for name, found in seen.items()) or None, (Group(0, info.size),))

    def read(
        self, file: Download, wanted: Wanted, groups: Sequence[int], tally: Tally
    ) -> Iterator[pa.RecordBatch]:
        names = [column.name for column in wanted.columns]
        for rows, bad in self._rows(file, wanted.file):
            tally.add("", _BAD, bad)
            _check_keys(rows, wanted.known)
            arrays = [
                _texts([row.get(column.name) for row in rows], column, column.name in wanted.as_text, tally)
                for column in wanted.columns
            ]
            yield pa.RecordBatch.from_arrays(arrays, names=names)

    def _rows(self, file: Download, info: ObjectInfo) -> Iterator[tuple[list[dict[str, Any]], int]]:
        """The objects of some lines, and how many of these lines hold none."""
        first = True
        for block in records(
            plain_bytes(file, info, self._codec), lambda data: data.rfind(b"\n") + 1, _BLOCK
        ):
            lines = (block.removeprefix(_BOM) if first else block).split(b"\n")
            first = False
            found = [_object(line) for line in lines if line.strip()]
            rows = [row for row in found if row is not None]
            yield rows, len(found) - len(rows)


class _Seen:
    """What the values of one column are."""

    def __init__(self) -> None:
        self._kinds: set[type] = set()
        self._integers = True

    def observe(self, values: list[Any]) -> None:
        self._kinds.update(map(type, values))
        if Number in self._kinds and self._integers:
            numbers = pa.array([value for value in values if type(value) is Number], pa.string())
            self._integers = _are_int64(numbers)

    def column(self, name: str) -> Column:
        kinds = self._kinds - {_NULL}
        kind: Any = pa.string()
        logical = refused = ""
        if kinds == {bool}:
            kind = pa.bool_()
        elif kinds == {Number}:
            kind, logical = (pa.int64(), "") if self._integers else (pa.string(), "decimal")
        elif kinds and kinds <= {dict, list}:
            kind = pa.json_(pa.string())
        elif not kinds:
            refused = (
                "it holds nothing but null in the first file; declare its type in the connection's `columns`"
            )
        elif kinds != {str}:
            refused = "it holds values of several kinds; declare its type in the connection's `columns`"
        return Column(
            name, pa.string(), "JSON", parsed=kind, logical=logical, declared=False, refused=refused
        )


def _are_int64(numbers: Any) -> bool:
    if not pc.all(pc.match_substring_regex(numbers, "^-?[0-9]+$")).as_py() and len(numbers):
        return False
    try:
        numbers.cast(pa.int64())
    except pa.ArrowInvalid:
        return False
    return True


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError
    return found


def _no_constant(name: str) -> None:
    raise ValueError


_DECODER = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=Number, parse_float=Number, parse_constant=_no_constant
)


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        row = _DECODER.decode(line.decode())
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _check_keys(rows: list[dict[str, Any]], known: frozenset[str]) -> None:
    for row in rows:
        if not row.keys() <= known:
            raise SchemaMismatch(
                f'has a column "{min(row.keys() - known)}" that is neither declared nor in the first file.',
                hint="Declare it in the connection's `columns`.",
            )


def _texts(values: list[Any], column: Column, as_text: bool, tally: Tally) -> Any:
    """Each value's text, for `lading.sources.files_values.parse`; what the type cannot be made of is counted."""
    kind = column.logical or getattr(column.parsed, "extension_name", column.parsed)
    what = f"values that are no {kind}"
    write = _any if as_text else _writer(column)
    texts = [None if value is None else write(value) for value in values]
    bad = sum(text is None for text in texts) - sum(value is None for value in values)
    tally.add(column.name, what, bad)
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError:
        lone = [text is not None and not _is_unicode(text) for text in texts]
        tally.add(column.name, "texts that are not Unicode, with half of a surrogate pair", sum(lone))
        return pa.array([None if drop else text for drop, text in zip(lone, texts, strict=True)], pa.string())


def _writer(column: Column) -> Callable[[Any], str | None]:
    kind = column.parsed
    if getattr(kind, "extension_name", "") == "arrow.json":
        return _json
    if pa.types.is_boolean(kind):
        return lambda value: ("true" if value else "false") if type(value) is bool else None
    if column.logical == "decimal":
        return lambda value: value if type(value) is Number else None
    if pa.types.is_integer(kind) or pa.types.is_decimal(kind) or pa.types.is_floating(kind):
        return lambda value: value if isinstance(value, str) else None
    return lambda value: value if type(value) is str else None


def _any(value: Any) -> str:
    return value if isinstance(value, str) else _json(value)


def _json(value: Any) -> str:
    """RFC 8259 without white space; numbers as they were written."""
    if type(value) is Number:
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{_json(key)}:{_json(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_json, value)) + "]"
    return json.dumps(value, ensure_ascii=False)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
