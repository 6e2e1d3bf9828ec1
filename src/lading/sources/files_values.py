"""Values of files, exact: to the type that arrives, to text, and from text. What cannot be is counted and refused.

Every function takes ``refuse(count, what)`` and gives NULL in place of the values that it has counted: the reading ends
with an error before such a batch is handed out.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lading.sources.files_types import is_binary, is_list, is_text

Refuse = Callable[[int, str], None]

DAY = 86_400_000_000  # microseconds
_FIRST, _LAST = -719162, 2932896  # 0001-01-01 and 9999-12-31, days since 1970
_NUMBER = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_CLOCK = r"[0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?"
_ZONE = r"(Z|[+-][0-9]{2}(:?[0-9]{2})?)"
_UUID = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"


def arrive(array: Any, kind: Any, refuse: Refuse) -> Any:
    """The array as what `lading.sources.files_types.carried` says of its type."""
    have = array.type
    if isinstance(have, pa.BaseExtensionType):
        return _extension(array, kind, refuse)
    if pa.types.is_dictionary(have):
        return arrive(array.dictionary_decode(), kind, refuse)
    if is_list(have) or pa.types.is_map(have) or pa.types.is_struct(have):
        return (
            array
            if have.equals(kind, check_metadata=True) and _settled(have)
            else _nested(array, kind, refuse)
        )
    if pa.types.is_string(kind) and not is_text(have):
        return _durations(array) if pa.types.is_duration(have) else _decimals(array)
    if pa.types.is_timestamp(have) or pa.types.is_date(have):
        return _moments(array, kind, refuse)
    if pa.types.is_time(have):
        return _times(array, kind, refuse)
    if have == kind:
        return array
    return cast(array, kind, refuse, f"values that do not fit {kind}")


def text(array: Any, refuse: Refuse) -> Any:
    """The text of each value: exact, so that the value can be had back from it.

    Numbers in plain digits (double: the shortest that read back the same), ``true`` and ``false``, times as in RFC 3339
    with as many fraction digits as the unit has, binary as the UTF-8 that it must be.
    """
    have = array.type
    if isinstance(have, pa.BaseExtensionType):
        return _uuids(array.storage) if have.extension_name == "arrow.uuid" else text(array.storage, refuse)
    if pa.types.is_dictionary(have):
        return text(array.dictionary_decode(), refuse)
    if pa.types.is_decimal(have):
        return _decimals(array)
    if pa.types.is_duration(have):
        return _durations(array)
    if pa.types.is_timestamp(have):
        zoned = array.cast(pa.timestamp(have.unit, "UTC")) if have.tz else array
        return pc.replace_substring(zoned.cast(pa.string()), " ", "T")
    if pa.types.is_float16(have):
        array = array.cast(pa.float32())
    if pa.types.is_fixed_size_binary(have):
        array = array.cast(pa.binary())
    what = "values that are not UTF-8" if is_binary(array.type) else "values that have no text"
    return cast(array, pa.string(), refuse, what)


def parse(array: Any, kind: Any, refuse: Refuse) -> Any:
    """UTF-8 text, as string or binary, to values of ``kind``."""
    texts = (
        array
        if pa.types.is_string(array.type)
        else cast(array, pa.string(), refuse, "values that are not UTF-8")
    )
    if pa.types.is_string(kind):
        return texts
    what = f"values that are no {getattr(kind, 'extension_name', kind)}"
    if isinstance(kind, pa.BaseExtensionType) and kind.extension_name == "arrow.json":
        return pa.ExtensionArray.from_storage(kind, texts)  # looked at on arrival, as those of Parquet are
    texts = _shaped(texts, _shape(kind), refuse, what)
    if isinstance(kind, pa.BaseExtensionType):
        digits = pc.replace_substring(texts, "-", "").to_pylist()
        raw = pa.array([None if d is None else bytes.fromhex(d) for d in digits], pa.binary(16))
        return pa.ExtensionArray.from_storage(kind, raw)
    if pa.types.is_time(kind):
        moments = pc.binary_join_element_wise("1970-01-01T", texts, "")
        ticks = cast(moments, pa.timestamp("us"), refuse, what).view(pa.int64())
        return ticks.view(kind)
    values = cast(texts, kind, refuse, what)
    if pa.types.is_floating(kind):  # strtod makes an infinity of what is too large
        spelt = pc.match_substring(texts, "inf", ignore_case=True)
        lost = pc.sum(pc.and_(pc.is_inf(values), pc.invert(spelt))).as_py()
        if lost:
            refuse(lost, what)
        if changed := _changed(texts, values):
            refuse(changed, f"whole numbers that {kind} cannot hold")
    return values


def _changed(texts: Any, values: Any) -> int:
    """How many texts are whole numbers of which the float is another one. What a float is written as is itself."""
    every = 1 << (24 if pa.types.is_float32(values.type) else 53)  # a float holds all whole numbers up to it
    large = pc.and_(pc.is_finite(values), pc.greater_equal(pc.abs(values), float(every)))
    whole = pc.fill_null(pc.and_(large, pc.match_substring_regex(texts, "^[+-]?[0-9]+$")), False)
    if not pc.any(whole).as_py():
        return 0
    floats = values.filter(whole)
    numbers = map(int, texts.filter(whole).to_pylist())
    written = floats.cast(pa.string()).to_pylist()
    return sum(
        number != int(value) and number != int(Decimal(shortest))
        for number, value, shortest in zip(numbers, floats.to_pylist(), written, strict=True)
    )


def cast(array: Any, kind: Any, refuse: Refuse, what: str) -> Any:
    try:
        return array.cast(kind)
    except pa.ArrowInvalid:
        failing = pa.array(_failing(array, kind), pa.bool_())
        refuse(pc.sum(failing).as_py(), what)
        return pc.if_else(failing, pa.scalar(None, array.type), array).cast(kind)


def micros(array: Any) -> Any:
    """Microseconds since 1970 of dates and timestamps[us], UTC; a date is the midnight that it begins with."""
    if pa.types.is_date(array.type):
        return pc.multiply(array.view(pa.int32()).cast(pa.int64()), DAY)
    return array.view(pa.int64())


def _failing(array: Any, kind: Any) -> list[bool]:
    """Which values cannot be cast, found by halves."""
    try:
        array.cast(kind)
    except pa.ArrowInvalid:
        middle = len(array) // 2
        return _failing(array[:middle], kind) + _failing(array[middle:], kind) if middle else [True]
    return [False] * len(array)


def _shape(kind: Any) -> str:
    """What text may look like, where Arrow reads more than it should: 0x10 as 16."""
    if isinstance(kind, pa.BaseExtensionType):
        return _UUID
    if pa.types.is_integer(kind):
        return "-?[0-9]+"
    if pa.types.is_decimal(kind):
        return _NUMBER
    if pa.types.is_floating(kind):
        return f"{_NUMBER}|[+-]?(?i:nan|inf|infinity)"
    if pa.types.is_boolean(kind):
        return "true|false|TRUE|FALSE|True|False|0|1"
    if pa.types.is_date(kind):
        return _DATE
    if pa.types.is_time(kind):
        return _CLOCK
    return f"{_DATE}[ T]{_CLOCK}{_ZONE}" if kind.tz else f"{_DATE}([ T]{_CLOCK})?"


def _shaped(texts: Any, shape: str, refuse: Refuse, what: str) -> Any:
    fits = pc.match_substring_regex(texts, f"^(?:{shape})$")
    unfit = len(texts) - texts.null_count - (pc.sum(fits).as_py() or 0)
    if not unfit:
        return texts
    refuse(unfit, what)
    return pc.if_else(fits, texts, pa.scalar(None, pa.string()))


def _extension(array: Any, kind: Any, refuse: Refuse) -> Any:
    if array.type.extension_name == "arrow.uuid":
        return _uuids(array.storage) if pa.types.is_string(kind) else array.storage
    texts = arrive(array.storage, pa.string(), refuse)
    invalid = sum(not _is_json(value) for value in texts.to_pylist() if value is not None)
    if invalid:  # formats embed it as it stands
        refuse(invalid, "values that are no JSON")
    return texts


def _is_json(value: str) -> bool:
    try:
        json.loads(value, parse_int=str, parse_float=str, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return False
    return True


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _uuids(storage: Any) -> Any:
    """16 bytes each to lower case with hyphens (RFC 9562, section 4)."""
    raw = storage.fill_null(bytes(16)) if storage.null_count else storage
    size = len(raw)
    packed = np.frombuffer(raw.buffers()[1], np.uint8, size * 16, raw.offset * 16)
    digits = np.frombuffer(packed.tobytes().hex().encode(), np.uint8).reshape(size, 32)
    letters = np.full((size, 36), ord("-"), np.uint8)
    for start, end, shift in ((0, 8, 0), (8, 12, 1), (12, 16, 2), (16, 20, 3), (20, 32, 4)):
        letters[:, start + shift : end + shift] = digits[:, start:end]
    offsets = pa.py_buffer(np.arange(0, 36 * size + 1, 36, dtype=np.int32))
    texts = pa.StringArray.from_buffers(size, offsets, pa.py_buffer(letters.tobytes()))
    return (
        pc.if_else(storage.is_valid(), texts, pa.scalar(None, pa.string())) if storage.null_count else texts
    )


def _decimals(array: Any) -> Any:
    """Plain digits, as many after the point as the type's scale; Arrow writes small ones with an exponent."""
    texts = array.cast(pa.string())
    short = pc.match_substring(texts, "E")
    if not pc.any(short).as_py():
        return texts
    plain = [format(Decimal(value), "f") for value in texts.filter(short).to_pylist()]
    return pc.replace_with_mask(texts, pc.fill_null(short, False), pa.array(plain, pa.string()))


def _durations(array: Any) -> Any:
    digits = {"s": 0, "ms": 3, "us": 6, "ns": 9}[array.type.unit]

    def one(ticks: int | None) -> str | None:
        if ticks is None:
            return None
        seconds, fraction = divmod(abs(ticks), 10**digits)
        return f"PT{'-' * (ticks < 0)}{seconds}{f'.{fraction:0{digits}}' if digits else ''}S"

    return pa.array([one(ticks) for ticks in array.view(pa.int64()).to_pylist()], pa.string())


def _moments(array: Any, kind: Any, refuse: Refuse) -> Any:
    if pa.types.is_timestamp(array.type) and array.type.unit == "ns":
        what = "values with nanoseconds"
    else:
        what = f"values that do not fit {kind}"
    values = array if array.type == kind else cast(array, kind, refuse, what)
    days = pa.types.is_date(kind)
    ticks = values.view(pa.int32() if days else pa.int64())
    low, high = (_FIRST, _LAST) if days else (_FIRST * DAY, (_LAST + 1) * DAY - 1)
    _within(ticks, low, high, refuse, "values outside the years 1 to 9999")
    return values


def _times(array: Any, kind: Any, refuse: Refuse) -> Any:
    values = cast(array, kind, refuse, "values with nanoseconds")
    _within(values.view(pa.int64()), 0, DAY - 1, refuse, "times outside of a day")
    return values


def _within(ticks: Any, low: int, high: int, refuse: Refuse, what: str) -> None:
    ends = pc.min_max(ticks)
    if ends["min"].is_valid and (ends["min"].as_py() < low or ends["max"].as_py() > high):
        refuse(pc.sum(pc.or_(pc.less(ticks, low), pc.greater(ticks, high))).as_py(), what)


def _settled(kind: Any) -> bool:
    """Whether no value inside needs to be looked at."""
    if not pa.types.is_nested(kind):
        return not (pa.types.is_temporal(kind) or isinstance(kind, pa.BaseExtensionType))
    return all(_settled(kind.field(i).type) for i in range(kind.num_fields))


def _nested(array: Any, kind: Any, refuse: Refuse) -> Any:
    missing = pc.is_null(array)
    if pa.types.is_struct(kind):
        children = [
            arrive(child, field.type, refuse)
            for child, field in zip(array.flatten(), kind.fields, strict=True)
        ]
        return pa.StructArray.from_arrays(children, fields=list(kind.fields), mask=missing)
    if pa.types.is_map(kind):
        return _mapped(array, kind, refuse)
    if not pa.types.is_list(array.type):
        array = array.cast(pa.list_(array.type.value_field))
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    inner = arrive(array.flatten(), kind.value_type, refuse)
    return pa.ListArray.from_arrays(
        pa.array(offsets), inner, type=kind, mask=missing if array.null_count else None
    )


def _mapped(array: Any, kind: Any, refuse: Refuse) -> Any:
    """Through lists: a slice of a map has the entries of the whole, of which only its own may count."""
    offsets = array.offsets.to_pylist()
    valid = array.is_valid().to_pylist()
    taken = [i for n, ok in enumerate(valid) if ok for i in range(offsets[n], offsets[n + 1])]
    chosen = pa.array(taken, pa.int64())
    keys = arrive(array.keys.take(chosen), kind.key_type, refuse)
    items = arrive(array.items.take(chosen), kind.item_type, refuse)
    lengths = [offsets[n + 1] - offsets[n] if ok else 0 for n, ok in enumerate(valid)]
    starts = [0, *accumulate(lengths)]
    holes = [at if ok else None for at, ok in zip(starts, valid, strict=False)] + [starts[-1]]
    return pa.MapArray.from_arrays(pa.array(holes, pa.int32()), keys, items, type=kind)
