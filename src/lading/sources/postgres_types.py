"""How PostgreSQL's types arrive as Arrow: decided by type, never by value.

Each column is read by an SQL expression that PostgreSQL evaluates, so that what has no exact Arrow type becomes text
there, by its own cast. A value that its Arrow type cannot hold (`Carried.refuses`) refuses the run;
a contract that declares the field a string gets PostgreSQL's own text instead.

==========================================  ===========================  =====================================
PostgreSQL                                  ``types: portable``          ``types: exact``
==========================================  ===========================  =====================================
``int2 int4 int8``, ``oid``                 int16 int32 int64, int64     the same
``float4 float8``                           float, double                the same; NaN and infinities are kept
``numeric(p,s)``, 0 <= s <= p <= 38         decimal128(p, s)             the same
``numeric(p,s)``, 0 <= s <= p, 39..76       text, *decimal*              decimal256(p, s)
other ``numeric``                           text, *decimal*              the same
``text varchar name char(n) citext``        string                       the same
``bytea``, ``bool``, ``date``               binary, bool, date32         the same
``time``                                    time64[us]                   the same; 24:00:00 is refused
``timestamp``, ``timestamptz``              timestamp[us], [us, UTC]     the same; years 1 to 9999
``interval``                                text (ISO 8601), *interval*  month_day_nano_interval
``uuid``                                    text, *uuid*                 fixed_size_binary[16], *uuid*
``json jsonb``, composite                   text, *json*                 the same
enum                                        text, *enum*                 the same
domain                                      as its base type             the same
array                                       list of the element's        the same; elements as in portable where
                                                                         the list needs it (interval, uuid)
``bytea[]``, other arrays of arrays         text, the type's name        the same
``money timetz inet xml bit hstore`` ...    text, the type's name        the same
==========================================  ===========================  =====================================

``char(n)`` arrives without its padding, which PostgreSQL does not count as part of the value. ``money`` is text in the
server's ``lc_monetary``. Composites are ``to_json``: fields in their order, numbers digit by digit. An array type of
PostgreSQL does not fix its dimensions: a single value with two, or with a lower bound other than 1, is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from lading.ports import LOGICAL, NATIVE, Types

MIN_DAY, MAX_DAY = -719162, 2932896  # 0001-01-01 and 9999-12-31, days since 1970
MICROSECONDS = 86_400_000_000  # of a day

_UTC = pa.timestamp("us", "UTC")
_PLAIN = {
    "bool": pa.bool_(),
    "int2": pa.int16(),
    "int4": pa.int32(),
    "int8": pa.int64(),
    "float4": pa.float32(),
    "float8": pa.float64(),
    "bytea": pa.binary(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "timestamp": pa.timestamp("us"),
    "timestamptz": _UTC,
}
_STRINGS = frozenset({"text", "varchar", "name", "char", "unknown", "citext"})
_REFUSED = {
    "date": (
        "{c} < date '0001-01-01' or {c} > date '9999-12-31'",
        "infinite dates or dates outside the years 1 to 9999",
    ),
    "timestamp": (
        "{c} < timestamp '0001-01-01' or {c} >= timestamp '10000-01-01'",
        "infinite timestamps or timestamps outside the years 1 to 9999",
    ),
    "timestamptz": (
        "{c} < timestamptz '0001-01-01 00:00:00+00' or {c} >= timestamptz '10000-01-01 00:00:00+00'",
        "infinite timestamps or timestamps outside the years 1 to 9999",
    ),
    "time": ("{c} = time '24:00:00'", "times of 24:00:00"),
}


Noticed = Literal["arrival", "row", "zero"]
"""How a value that its Arrow type cannot hold is noticed: when it arrives; by a condition that PostgreSQL is asked
along with each row; or by such a condition about the rows of a part once a zero has arrived, which may be one."""


@dataclass(frozen=True, slots=True)
class Native:
    """A type of PostgreSQL, with domains resolved to what they are made of."""

    name: str  # as format_type writes it: numeric(15,2)
    base: str  # typname of the base type; "schema.typname" outside pg_catalog
    kind: str  # typtype of the base type: b, c, e, p, r, m
    typmod: int = -1
    cast: str = ""  # the base type's own name where the column is a domain
    element: Native | None = None  # of an array


@dataclass(frozen=True, slots=True)
class Carried:
    """How a column is read. In SQL, ``{c}`` stands for the column."""

    sql: str
    wire: pa.DataType  # what DuckDB hands over
    type: pa.DataType  # what arrives
    logical: str = ""
    refuses: str = ""  # a condition: the value cannot be held by `type`
    why: str = ""  # what such values are, in words and in the plural
    noticed: Noticed = "arrival"
    padded: bool = False  # read with its padding: taking it off costs PostgreSQL much more than Arrow


def carry(native: Native, types: Types, *, as_text: bool = False) -> Carried:
    """How a column of this type is read under ``types``; ``as_text``: the contract declares it a string."""
    if as_text:
        return _text()
    column = f"({{c}})::{native.cast}" if native.cast else "{c}"
    carried = _array(native, types) if native.element else _scalar(native, types)
    return replace(carried, sql=carried.sql.replace("{c}", column))


def field(name: str, native: Native, carried: Carried, *, nullable: bool) -> pa.Field:
    metadata = {NATIVE: native.name.encode()}
    if carried.logical:
        metadata[LOGICAL] = carried.logical.encode()
    return pa.field(name, carried.type, nullable, metadata)


def unfit(array: pa.Array) -> int:
    """How many values the array's type cannot hold, as far as Arrow can tell."""
    kind = array.type
    if pa.types.is_list(kind):
        return unfit(array.flatten())
    if pa.types.is_date32(kind):
        return _outside(array.view(pa.int32()), MIN_DAY, MAX_DAY)
    if pa.types.is_timestamp(kind):
        return _outside(array.view(pa.int64()), MIN_DAY * MICROSECONDS, (MAX_DAY + 1) * MICROSECONDS - 1)
    if pa.types.is_time64(kind):
        return _outside(array.view(pa.int64()), 0, MICROSECONDS - 1)
    return 0


def has_zero(array: pa.Array) -> bool:
    return bool(pc.any(pc.equal(array, pa.scalar(Decimal(), array.type))).as_py())


def arrive(array: pa.Array, carried: Carried) -> pa.Array:
    """What DuckDB handed over, in the type that was promised. Raises pa.ArrowException when it was something else."""
    if not _is_wire(array.type, carried.wire):
        raise pa.ArrowTypeError(f"expected {carried.wire}, got {array.type}")
    if carried.padded:
        return pc.ascii_rtrim(array, " ")
    return array if array.type == carried.type else array.cast(carried.type)


def _text(logical: str = "") -> Carried:
    return Carried("({c})::text", pa.string(), pa.string(), logical)


def _scalar(native: Native, types: Types) -> Carried:
    base = native.base
    if base in _PLAIN:
        refuses, why = _REFUSED.get(base, ("", ""))
        return Carried("{c}", _PLAIN[base], _PLAIN[base], "", refuses, why)
    if base == "bpchar":
        return Carried("{c}", pa.string(), pa.string(), padded=True)
    if base in _STRINGS or base.endswith(".citext"):
        return _text()
    if base == "oid":
        return Carried("({c})::int8", pa.int64(), pa.int64())
    if base == "numeric":
        return _numeric(native.typmod, types)
    if types == "exact" and base == "uuid":
        return Carried("uuid_send({c})", pa.binary(), pa.binary(16), "uuid")
    if types == "exact" and base == "interval":
        # DuckDB multiplies microseconds by 1000 and wraps; PostgreSQL 17 has infinite intervals, whose hour is NULL.
        hours = "{c} is not null and coalesce(extract(hour from {c}) not between -2562046 and 2562046, true)"
        kind = pa.month_day_nano_interval()
        return Carried(
            "{c}", kind, kind, "", hours, "infinite intervals or intervals beyond 2562046 hours", "row"
        )
    if base in ("json", "jsonb"):
        return _text("json")
    if native.kind == "e":
        return _text("enum")
    if native.kind == "c" or base == "record":
        return Carried("to_json({c})::text", pa.string(), pa.string(), "json")
    return _text(base.rpartition(".")[2])


def _numeric(typmod: int, types: Types) -> Carried:
    if typmod < 4:
        return _text("decimal")
    precision, scale = ((typmod - 4) >> 16) & 0xFFFF, (((typmod - 4) & 0x7FF) ^ 0x400) - 0x400
    refused = ("{c} = numeric 'NaN'", "values of NaN")
    if 0 <= scale <= precision <= 38:
        kind = pa.decimal128(precision, scale)
        return Carried("{c}", kind, kind, "", *refused, "zero")  # DuckDB reads NaN as 0
    if types == "exact" and 0 <= scale <= precision <= 76:
        return Carried("({c})::text", pa.string(), pa.decimal256(precision, scale), "", *refused)
    return _text("decimal")


def _array(native: Native, types: Types) -> Carried:
    """Lists of what the element is, and text where DuckDB cannot hand over such a list."""
    assert native.element is not None
    element = _scalar(native.element, types)
    if element.padded:
        element = _text()
    if element.wire == pa.binary() or pa.types.is_interval(element.wire):
        element = _scalar(native.element, "portable")
    if element.wire == pa.binary() or native.element.element:
        return _text(native.name)
    if element.sql.startswith("to_json("):
        shape = r"array_dims({c}) !~ '^(\[1:[0-9]+\])+$'"
        why = "arrays with a lower bound other than 1"
        return Carried("to_json({c})::text", pa.string(), pa.string(), "json", shape, why, "row")
    refuses, why = (
        "array_ndims({c}) <> 1 or array_lower({c}, 1) <> 1",
        "arrays of several dimensions or bounds",
    )
    if element.refuses:
        inner = element.refuses.replace("{c}", "e.v")
        refuses += f" or exists (select from unnest({{c}}) e(v) where {inner})"
        why += f", or with {element.why}"
    metadata = {LOGICAL: element.logical.encode()} if element.logical else None
    if element.sql == "{c}":
        sql = f"({{c}})::{native.element.cast}[]" if native.element.cast else "{c}"
    else:
        sql = f"{element.sql}[]"  # ({c})::text[]
    return Carried(
        sql,
        pa.list_(element.wire),
        pa.list_(pa.field("item", element.type, True, metadata)),
        "",
        refuses,
        why,
        "row",
    )


def _outside(values: pa.Array, low: int, high: int) -> int:
    ends = pc.min_max(values)
    if not ends["min"].is_valid or (ends["min"].as_py() >= low and ends["max"].as_py() <= high):
        return 0
    return int(pc.sum(pc.or_(pc.less(values, low), pc.greater(values, high))).as_py())


def _is_wire(got: pa.DataType, wire: pa.DataType) -> bool:
    if pa.types.is_list(wire):
        return pa.types.is_list(got) and _is_wire(got.value_type, wire.value_type)
    if pa.types.is_timestamp(wire) and wire.tz:
        return pa.types.is_timestamp(got) and got.unit == "us" and bool(got.tz)
    return bool(got == wire)
