"""Values as plain text, a column at a time: what CSV cells and JSON scalars hold between their quotes.

==================  ================================================================================================
type                text
==================  ================================================================================================
boolean             ``true``, ``false``
integer             decimal digits
float               the shortest digits that read back as the same value; ``nan``, ``inf``, ``-inf``
decimal             plain digits, never an exponent, as many after the point as the type's scale
date                ``2013-01-31`` (RFC 3339 full-date)
timestamp           ``2013-01-31T05:00:00.000000``, with ``Z`` where the type has a time zone (always UTC). Digits after
                    the second by the type's unit: none for s, 3 for ms, 6 for us, 9 for ns
time                ``05:00:00.000000``, digits likewise
duration            ``PT1.500000S``; calendar interval ``P14M3DT1.500000000S`` (ISO 8601, each part with its own sign)
uuid                ``xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`` in lower case (RFC 9562)
binary              base64 with padding (RFC 4648, section 4)
==================  ================================================================================================
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lading.errors import DataRefused, counted

_FIRST_DAY, _LAST_DAY = -719162, 2932896  # 0001-01-01 and 9999-12-31, in days since 1970-01-01
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DAY = 86400


def render(array: Any, name: str) -> Any:
    """A flat column as a `pa.StringArray`; NULL stays NULL. ``name`` is the column's, for errors.

    Raises DataRefused for a date outside the years 1 to 9999 and a time of day from 24:00 on: RFC 3339 has no text for
    them.
    """
    kind = array.type
    if pa.types.is_string(kind):
        return array
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_float32(kind):
        return array.cast(pa.string())
    if pa.types.is_floating(kind):
        return array.cast(pa.float32() if pa.types.is_float16(kind) else kind).cast(pa.string())
    if pa.types.is_decimal(kind):
        return _decimals(array)
    if pa.types.is_date(kind):
        return _dates(array.cast(pa.date32()), name)
    if pa.types.is_timestamp(kind):
        return _timestamps(array, name)
    if pa.types.is_time(kind):
        _within(array, 0, _DAY * _PER_SECOND[kind.unit] - 1, name, "from 24:00 on")
        return array.cast(pa.string())
    if pa.types.is_duration(kind):
        return _affixed("PT", _seconds(array.view(pa.int64()), kind.unit), "S")
    if kind == pa.month_day_nano_interval():
        return intervals(array)
    if pa.types.is_fixed_size_binary(kind) and kind.byte_width == 16:
        return uuids(array)
    return array.cast(pa.string())


def uuids(array: Any) -> Any:
    """16-byte values as RFC 9562 text."""
    count = len(array)
    raw = np.frombuffer(_bytes(array), np.uint8).reshape(-1, 16)[array.offset : array.offset + count]
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    out = np.full((count, 36), ord("-"), np.uint8)
    where = np.array([i for i in range(36) if i not in (8, 13, 18, 23)])
    out[:, where[0::2]] = digits[raw >> 4]
    out[:, where[1::2]] = digits[raw & 15]
    return fixed(out, array)


def base64(array: Any) -> Any:
    """Binary values as base64 text."""
    import polars as pl

    text = pl.Series(pl.from_arrow(array.cast(pa.large_binary()))).bin.encode("base64").to_arrow()
    return text.cast(pa.string())


def intervals(array: Any) -> Any:
    """Months, days and nanoseconds as an ISO 8601 duration."""
    raw = np.frombuffer(_bytes(array), np.dtype([("months", "<i4"), ("days", "<i4"), ("nanos", "<i8")]))
    raw = raw[array.offset : array.offset + len(array)]
    mask = np.asarray(array.is_null())
    months, days, nanos = (
        pa.array(np.ascontiguousarray(raw[key]), mask=mask) for key in ("months", "days", "nanos")
    )
    seconds = _seconds(nanos, "ns")
    return pc.binary_join_element_wise(
        "P", months.cast(pa.string()), "M", days.cast(pa.string()), "DT", seconds, "S", ""
    )


def positions(array: Any, characters: bytes, below: int = 0) -> np.ndarray | None:
    """Which values of a string column hold one of ``characters``, or a byte less than ``below``: a boolean mask, or
    None where none does. NULLs count as not."""
    offsets, data = spans(array)
    if not len(data):
        return None
    hits = data < below if below and data.min() < below else None
    for character in characters:
        found = data == character
        if found.any():
            hits = found if hits is None else hits | found
    if hits is None:
        return None
    rows = np.searchsorted(offsets, np.flatnonzero(hits) + offsets[0], side="right") - 1
    mask = np.zeros(len(array), np.bool_)
    mask[rows] = True
    return mask


def spans(array: Any) -> tuple[np.ndarray, np.ndarray]:
    """The offsets of a `pa.StringArray` (into its whole buffer) and the bytes between the first and the last."""
    _, offset_buffer, data = array.buffers()
    if not len(array) or offset_buffer is None:
        return np.zeros(1, np.int32), np.zeros(0, np.uint8)
    offsets = np.frombuffer(offset_buffer, np.int32, len(array) + 1, array.offset * 4)
    if data is None or offsets[0] == offsets[-1]:
        return offsets, np.zeros(0, np.uint8)
    return offsets, np.frombuffer(data, np.uint8, int(offsets[-1] - offsets[0]), int(offsets[0]))


def _bytes(array: Any) -> Any:
    return array.buffers()[1] or b""


def _affixed(prefix: str, text: Any, suffix: str) -> Any:
    return pc.binary_join_element_wise(prefix, text, suffix, "")


def _seconds(ticks: Any, unit: str) -> Any:
    """Signed 64-bit ticks as decimal seconds."""
    digits = len(str(_PER_SECOND[unit])) - 1
    return _decimals(_rescaled(ticks.cast(pa.decimal128(19, 0)), pa.decimal128(19, digits)))


def _rescaled(array: Any, kind: Any) -> Any:
    """The same unscaled integers under another decimal type of equal width."""
    return pa.Array.from_buffers(kind, len(array), array.buffers(), offset=array.offset)


def _decimals(array: Any) -> Any:
    kind = array.type
    if kind.bit_width < 128:
        array, kind = (
            array.cast(pa.decimal128(kind.precision, kind.scale)),
            pa.decimal128(kind.precision, kind.scale),
        )
    if kind.scale < 0:
        return array.cast(pa.decimal256(kind.precision - kind.scale, 0)).cast(pa.string())
    text = array.cast(pa.string())
    # Arrow turns to an exponent below 1e-6, which a scale of six or less cannot reach.
    small = positions(text, b"E") if kind.scale > 6 else None
    if small is None:
        return text
    factory = pa.decimal128 if kind.bit_width == 128 else pa.decimal256
    mask = pa.array(small)
    unscaled = _rescaled(array, factory(kind.precision, 0)).filter(mask).cast(pa.string())
    sign = pc.if_else(pc.starts_with(unscaled, "-"), "-0.", "0.")
    digits = pc.utf8_lpad(pc.utf8_ltrim(unscaled, "-"), kind.scale, "0")
    return pc.replace_with_mask(text, mask, pc.binary_join_element_wise(sign, digits, ""))


def _within(array: Any, low: int, high: int, name: str, what: str) -> None:
    """Refuses temporal values whose integers lie outside ``low`` to ``high``."""
    numbers = array.view(pa.int32() if array.type.bit_width == 32 else pa.int64())
    span = pc.min_max(numbers).as_py()
    if span["min"] is None or (span["min"] >= low and span["max"] <= high):
        return
    outside = pc.sum(pc.or_(pc.less(numbers, low), pc.greater(numbers, high))).as_py()
    raise DataRefused(
        f"column {name!r}: at least {counted(outside, 'value is', 'values are')} {what}, which text has no form "
        "for (RFC 3339)",
        hint="Deliver the column as Parquet, or declare it a string in the contract.",
    )


def _dates(array: Any, name: str) -> Any:
    _within(array, _FIRST_DAY, _LAST_DAY, name, "dates outside the years 1 to 9999")
    span = pc.min_max(array.view(pa.int32())).as_py()
    if span["min"] is None or span["max"] - span["min"] > len(array):
        return array.cast(pa.string())
    # Few distinct days: render each once and look it up.
    days = (
        pa.array(np.arange(span["min"], span["max"] + 1, dtype=np.int32)).view(pa.date32()).cast(pa.string())
    )
    return days.take(pc.subtract(array.view(pa.int32()), pa.scalar(span["min"], pa.int32())))


def _timestamps(array: Any, name: str) -> Any:
    kind = array.type
    per_day = _DAY * _PER_SECOND[kind.unit]
    low, high = max(_FIRST_DAY * per_day, -(2**63)), min((_LAST_DAY + 1) * per_day - 1, 2**63 - 1)
    _within(array, low, high, name, "timestamps outside the years 1 to 9999")
    # Arrow's zoned cast costs thirty times the naive one; ticks are UTC in both.
    naive = array.view(pa.timestamp(kind.unit))
    return _rfc3339(naive.fill_null(0) if array.null_count else naive, kind.tz is not None, array)


def _rfc3339(naive: Any, zoned: bool, original: Any) -> Any:
    """Puts the ``T`` of RFC 3339 at the eleventh place of each value, and a ``Z`` at the end of a zoned one."""
    count = len(naive)
    _, data = spans(naive.cast(pa.string()))
    if not count:
        return pa.array([], pa.string())
    width = len(data) // count  # years have four digits, so all values are equally long
    out = np.empty((count, width + zoned), np.uint8)
    out[:, :width] = data.reshape(count, width)
    out[:, 10] = ord("T")
    if zoned:
        out[:, width] = ord("Z")
    return fixed(out, original)


def fixed(characters: np.ndarray, original: Any) -> Any:
    """Rows of equally many characters as a string column, NULL where ``original`` is."""
    count, width = characters.shape
    offsets = np.arange(0, width * (count + 1), width, dtype=np.int32)
    text = pa.Array.from_buffers(pa.string(), count, [None, pa.py_buffer(offsets), pa.py_buffer(characters)])
    return (
        pc.if_else(original.is_valid(), text, pa.scalar(None, pa.string())) if original.null_count else text
    )
