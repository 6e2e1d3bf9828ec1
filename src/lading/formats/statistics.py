"""Minimum, maximum and number of NULLs per column, gathered batch by batch from the values as the file holds them.

===========================  =====================================================================================
type                         minimum and maximum
===========================  =====================================================================================
boolean                      as they are
integer                      a number up to 2^53, where doubles stop being exact; text beyond
float                        a number; infinities as the text ``Infinity``. NaN is passed over, -0.0 counts as 0.0
decimal                      text: plain digits
date, timestamp, time        text: RFC 3339
text, enum, uuid             the least and greatest in the order of their UTF-8 bytes, each None where it is longer
                             than 64 bytes: a cut value would be a false one. In Parquet both None where one of them
                             is longer than 4,096 in a row group, of which Arrow then tells none
everything else              None: binary, nested, and text whose own order is not that of its letters (json, decimals
                             and intervals as text, base64)
===========================  =====================================================================================

None says nothing: it is not to be compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from lading.errors import DataRefused
from lading.formats import text
from lading.formats.written import is_uuid, logical, plain, plain_type
from lading.ports import ColumnStats

_EXACT_IN_DOUBLE = 1 << 53
_LONGEST = 64
_UNORDERED = ("json", "decimal", "interval", "base64", "xml")


class Statistics:
    """Statistics of one file. ``schema`` is that of the batches, ``written`` that of the file; ``told``: columns whose
    batches need no look, since the encoder knows what is in them (`tell`). Not thread-safe."""

    def __init__(self, schema: Any, written: Any = None, told: Collection[str] = ()) -> None:
        self._names: list[str] = schema.names
        # Batches are compared before they become text, unless the text has an order of its own.
        self._columns = [
            _Column(there if logical(there) in _UNORDERED else here)
            for here, there in zip(schema, written or schema, strict=True)
        ]
        self._observed = [index for index, name in enumerate(self._names) if name not in told]

    def observe(self, batch: Any, distinct: Mapping[int, Any] = MappingProxyType({})) -> None:
        """Takes a batch in; its columns in the schema's order. ``distinct`` holds, of some columns by their place, each
        value once, which is all that need be looked at then."""
        for index in self._observed:
            column = batch.column(index)
            self._columns[index].observe(distinct.get(index, column), column.null_count)

    def tell(self, name: str, nulls: int, span: tuple[Any, Any] | None) -> None:
        """Takes in what an encoder knows of some rows: how many are NULL, and the least and greatest of the others."""
        self._columns[self._names.index(name)].tell(nulls, span)

    def conceal(self, name: str) -> None:
        """The extremes of a column are not known."""
        self._columns[self._names.index(name)].known = False

    def result(self) -> dict[str, ColumnStats]:
        """By column name, in the schema's order."""
        return {name: column.result() for name, column in zip(self._names, self._columns, strict=True)}


def is_ordered_text(field: Any) -> bool:
    """Whether a column's extremes are those of its UTF-8 bytes."""
    return bool(pa.types.is_string(field.type) and logical(field) not in _UNORDERED)


class _Column:
    def __init__(self, field: Any) -> None:
        self._nulls = 0
        self._low: Any = None
        self._high: Any = None
        self.known = True
        self._kind = plain_type(field.type)
        self._comparable, self._spell = _ways(self._kind, logical(field))

    def observe(self, array: Any, nulls: int) -> None:
        self._nulls += nulls
        if self._comparable is None or array.null_count == len(array):
            return
        span = pc.min_max(self._comparable(array))
        low, high = span["min"].as_py(), span["max"].as_py()
        if low is None or low != low:  # all NULL, or all NaN
            return
        self._widen(low, high)

    def tell(self, nulls: int, span: tuple[Any, Any] | None) -> None:
        self._nulls += nulls
        if span is not None:
            self._widen(*span)

    def _widen(self, low: Any, high: Any) -> None:
        self._low = low if self._low is None else min(self._low, low)
        self._high = high if self._high is None else max(self._high, high)

    def result(self) -> ColumnStats:
        if self._low is None or self._spell is None or not self.known:
            return ColumnStats(None, None, self._nulls)
        return ColumnStats(self._spell(self._low), self._spell(self._high), self._nulls)


_Ways = tuple[Callable[[Any], Any] | None, Callable[[Any], object] | None]


def _ways(kind: Any, meaning: str) -> _Ways:
    """How a column is made comparable, and how its extremes, as Python values, are spelled in JSON."""
    if pa.types.is_boolean(kind):
        return plain, bool
    if pa.types.is_integer(kind):
        return plain, lambda value: value if abs(value) <= _EXACT_IN_DOUBLE else str(value)
    if pa.types.is_floating(kind):
        return (
            lambda array: plain(array).cast(pa.float32()) if pa.types.is_float16(kind) else plain(array),
            _float,
        )
    if pa.types.is_decimal(kind):
        return plain, lambda value: f"{value:f}"
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind) or pa.types.is_time(kind):
        ticks = pa.int32() if kind.bit_width == 32 else pa.int64()
        return lambda array: plain(array).view(ticks), lambda value: _moment(value, kind, ticks)
    if is_uuid(kind, meaning):
        return plain, lambda value: text.uuids(pa.array([value], kind))[0].as_py()
    if pa.types.is_string(kind) and meaning not in _UNORDERED:
        return plain, lambda value: value if len(value.encode()) <= _LONGEST else None
    return None, None


def _float(value: float) -> object:
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return value + 0.0  # -0.0 becomes 0.0


def _moment(value: int, kind: Any, ticks: Any) -> object:
    """RFC 3339, or None for what it has no text for."""
    try:
        return text.render(pa.array([value], ticks).view(kind), "")[0].as_py()
    except DataRefused:
        return None
