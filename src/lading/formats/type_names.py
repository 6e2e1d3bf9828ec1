"""Arrow types by the names that manifests give them, which are those that Arrow prints: ``list<item: int64>``."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa

_DECIMAL = re.compile(r"decimal(128|256)\((\d+), (-?\d+)\)")
_TIMESTAMP = re.compile(r"timestamp\[(s|ms|us|ns)(?:, tz=(.+))?\]")
_TIMED = re.compile(r"(time32|time64|duration)\[(s|ms|us|ns)\]")
_FIXED = re.compile(r"fixed_size_binary\[(\d+)\]")
_ALIASES = {"double": "float64", "float": "float32", "halffloat": "float16"}


def parse_type(text: str) -> Any:
    """The type whose ``str`` is ``text``. Raises ValueError for one that no format writes."""
    if match := _DECIMAL.fullmatch(text):
        make = pa.decimal128 if match[1] == "128" else pa.decimal256
        return make(int(match[2]), int(match[3]))
    if match := _TIMESTAMP.fullmatch(text):
        return pa.timestamp(match[1], match[2])
    if match := _TIMED.fullmatch(text):
        return getattr(pa, match[1])(match[2])
    if match := _FIXED.fullmatch(text):
        return pa.binary(int(match[1]))
    if text.startswith("extension<"):
        return _extension(text)
    for kind in ("list", "large_list", "struct", "map"):
        if text.startswith(f"{kind}<") and text.endswith(">"):
            return _nested(kind, text[len(kind) + 1 : -1])
    if text.startswith("dictionary<"):
        raise ValueError(f"{text} is not a type that is delivered")
    return pa.type_for_alias(_ALIASES.get(text, text))


def _extension(text: str) -> Any:
    if text.startswith("extension<arrow.uuid"):
        return pa.uuid()
    if text.startswith("extension<arrow.json"):
        return pa.json_()
    raise ValueError(f"{text} is not a type that is delivered")


def _nested(kind: str, inside: str) -> Any:
    if kind == "map":
        key, value = _split(inside)
        return pa.map_(parse_type(key), parse_type(value))
    fields = [_field(part) for part in _split(inside)]
    if kind == "struct":
        return pa.struct(fields)
    return pa.list_(fields[0]) if kind == "list" else pa.large_list(fields[0])


def _field(text: str) -> Any:
    name, _, kind = text.partition(": ")
    if kind.endswith(" not null"):
        return pa.field(name, parse_type(kind.removesuffix(" not null")), nullable=False)
    return pa.field(name, parse_type(kind))


def _split(text: str) -> list[str]:
    """At the commas that lie in no brackets."""
    parts, depth, begin = [], 0, 0
    for index, character in enumerate(text):
        if character in "<([":
            depth += 1
        elif character in ">)]":
            depth -= 1
        elif character == "," and not depth:
            parts.append(text[begin:index].strip())
            begin = index + 1
    return [*parts, text[begin:].strip()]
