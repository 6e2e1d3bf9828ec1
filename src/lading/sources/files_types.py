"""How the columns of files arrive as Arrow: decided by type, never by value.

=====================================  ===============================  ==========================================
in the file                            ``types: portable``              ``types: exact``
=====================================  ===============================  ==========================================
bool, integers, float, double          the same                         the same
half float                             float                            the same as portable
string, large and view, dictionary     string                           the same as portable
binary, large and view                 binary                           the same as portable
fixed_size_binary                      the same                         the same
decimal up to 38 digits                decimal128                       the same as portable
decimal of 39 to 76 digits             text, *decimal*                  decimal256
date                                   date32                           the same as portable
time                                   time64[us]; nanoseconds refuse   the same as portable
timestamp, also Spark's INT96          timestamp[us], UTC where zoned;  the same as portable
                                       nanoseconds refuse
duration                               text (ISO 8601), *interval*      the same as in the file
UUID                                   text, *uuid*                     fixed_size_binary[16], *uuid*
JSON                                   text, *json*                     the same as portable
list, also large, fixed and view       list                             the same as portable
struct, map                            struct, map                      the same as portable
=====================================  ===============================  ==========================================

Of text, floats are the nearest to what is written, as a decimal literal means it; a whole number (no point, no
exponent) that the float does not hold, and is not written as either, is refused.

Dates and timestamps lie in the years 1 to 9999. Everything else (null, union, calendar interval, other extension types)
is refused by name and only fails an export that wants it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from lading.ports import LOGICAL, NATIVE, REFUSED, Types

_TEXT = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
_BINARY = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
_LISTS = (
    pa.types.is_list,
    pa.types.is_large_list,
    pa.types.is_fixed_size_list,
    pa.types.is_list_view,
    pa.types.is_large_list_view,
)
_UTC = pa.timestamp("us", "UTC")
_NAMED: dict[str, tuple[Any, str]] = {
    "bool": (pa.bool_(), ""),
    **{
        f"{sign}int{bits}": (getattr(pa, f"{sign}int{bits}")(), "")
        for sign in ("", "u")
        for bits in (8, 16, 32, 64)
    },
    "float32": (pa.float32(), ""),
    "float64": (pa.float64(), ""),
    "string": (pa.string(), ""),
    "date": (pa.date32(), ""),
    "time": (pa.time64("us"), ""),
    "timestamp": (pa.timestamp("us"), ""),
    "timestamptz": (_UTC, ""),
    "uuid": (pa.uuid(), ""),
    "json": (pa.json_(pa.string()), ""),
}
_ALIASES = {
    "boolean": "bool",
    "float": "float32",
    "double": "float64",
    "text": "string",
    "utf8": "string",
    "date32": "date",
    "date32[day]": "date",
    "time64[us]": "time",
    "timestamp[us]": "timestamp",
    "timestamp[us,tz=utc]": "timestamptz",
    "timestamp[us,utc]": "timestamptz",
}
_DECIMAL = re.compile(r"decimal(?:128|256)?\((\d+),(\d+)\)")


@dataclass(frozen=True, slots=True)
class Column:
    """A column as a file has it.

    ``parsed`` is set where the file has text only: what the text is to become. ``type`` is then that of the text.
    """

    name: str
    type: Any
    native: str
    nullable: bool = True
    parsed: Any = None
    logical: str = ""  # of `parsed`, where its Arrow type does not say
    declared: bool = True  # False: text that nobody has declared a type for, so that it has no order
    refused: str = ""  # why it has no type; of a text format it still has its text

    @property
    def held(self) -> Any:
        """The type of its values."""
        return self.type if self.parsed is None else self.parsed


class Uncarried(Exception):
    """A type that has no place; the message says why."""


def named(name: str) -> Any:
    """The Arrow type that a setting names. Raises ValueError."""
    key = name.strip().lower().replace(" ", "")
    found = _NAMED.get(_ALIASES.get(key, key))
    if found:
        return found[0]
    digits = _DECIMAL.fullmatch(key)
    if digits and 0 < int(digits[1]) <= 76 and int(digits[2]) <= int(digits[1]):
        precision, scale = int(digits[1]), int(digits[2])
        return pa.decimal128(precision, scale) if precision <= 38 else pa.decimal256(precision, scale)
    raise ValueError(f"{name!r} is no type: one of {', '.join(_NAMED)}, decimal(precision,scale)")


def arriving(column: Column, types: Types, *, as_text: bool = False) -> pa.Field:
    """The field that the column arrives as; of type null, with the reason, where it cannot arrive."""
    metadata = {NATIVE: column.native.encode()}
    try:
        if column.refused and not (as_text and column.parsed is not None):
            raise Uncarried(column.refused)
        if as_text:
            check_text(column.held)
            kind, logical = pa.string(), ""
        else:
            kind, logical = carried(column.held, types)
            logical = column.logical or logical
    except Uncarried as why:
        metadata[REFUSED] = str(why).encode()
        return pa.field(column.name, pa.null(), True, metadata)
    if logical:
        metadata[LOGICAL] = logical.encode()
    return pa.field(column.name, kind, column.nullable, metadata)


def carried(kind: Any, types: Types) -> tuple[Any, str]:
    """The type that arrives for one of a file, and its logical type. Raises Uncarried."""
    is_ = pa.types
    if isinstance(kind, pa.BaseExtensionType):
        return _extension(kind, types)
    if is_.is_dictionary(kind):
        return carried(kind.value_type, types)
    if is_.is_boolean(kind) or is_.is_integer(kind) or is_.is_fixed_size_binary(kind):
        return kind, ""
    if is_.is_floating(kind):
        return (pa.float32() if is_.is_float16(kind) else kind), ""
    if is_text(kind):
        return pa.string(), ""
    if is_binary(kind):
        return pa.binary(), ""
    if is_.is_decimal(kind):
        return _decimal(kind, types)
    if is_.is_date(kind):
        return pa.date32(), ""
    if is_.is_time(kind):
        return pa.time64("us"), ""
    if is_.is_timestamp(kind):
        return (_UTC if kind.tz else pa.timestamp("us")), ""
    if is_.is_duration(kind):
        return (pa.string(), "interval") if types == "portable" else (kind, "")
    if is_list(kind):
        return pa.list_(_child(kind.value_field.with_name("item"), types)), ""
    if is_.is_struct(kind):
        return pa.struct([_child(field, types) for field in kind.fields]), ""
    if is_.is_map(kind):
        key, item = (
            _child(kind.key_field.with_name("key"), types),
            _child(kind.item_field.with_name("value"), types),
        )
        return pa.map_(key, item), ""
    raise Uncarried(f"{kind} has no type that recipients could read")


def _child(field: pa.Field, types: Types) -> pa.Field:
    kind, logical = carried(field.type, types)
    return pa.field(field.name, kind, field.nullable, {LOGICAL: logical.encode()} if logical else None)


def _extension(kind: Any, types: Types) -> tuple[Any, str]:
    if kind.extension_name == "arrow.uuid":
        return (pa.string() if types == "portable" else pa.binary(16)), "uuid"
    if kind.extension_name == "arrow.json":
        return pa.string(), "json"
    raise Uncarried(f"the extension type {kind.extension_name} has no type that recipients could read")


def _decimal(kind: Any, types: Types) -> tuple[Any, str]:
    if 0 <= kind.scale <= kind.precision <= 38:
        return pa.decimal128(kind.precision, kind.scale), ""
    if types == "exact" and 0 <= kind.scale <= kind.precision:
        return pa.decimal256(kind.precision, kind.scale), ""
    return pa.string(), "decimal"


def check_text(kind: Any) -> None:
    """Raises Uncarried where values of the type have no one text."""
    if isinstance(kind, pa.BaseExtensionType):
        carried(kind, "portable")
    elif pa.types.is_dictionary(kind):
        check_text(kind.value_type)
    elif pa.types.is_nested(kind):
        raise Uncarried(f"{kind} has no one text")
    elif not pa.types.is_null(kind):
        carried(kind, "portable")


def is_text(kind: Any) -> bool:
    return any(is_kind(kind) for is_kind in _TEXT)


def is_binary(kind: Any) -> bool:
    return any(is_kind(kind) for is_kind in _BINARY)


def is_list(kind: Any) -> bool:
    return any(is_kind(kind) for is_kind in _LISTS)


def is_moment(kind: Any) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))
