"""How one promise stands to another: whether the later one keeps what the earlier one said, or asks for more.

Of types it is decided by `types.fit`, which decides what is delivered too: a promise is the set of types that a source
may have under it, and the set that recipients may get. Sets are compared by inclusion, so that *wider* is a partial
order, and the one that deliveries follow.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from functools import cache
from typing import Any, Literal

import pyarrow as pa

from lading.contract.model import ContractField, LogicalType, QualityRule
from lading.contract.types import AS_IS, AS_TEXT, fit, parse_physical

Relation = Literal["same", "tighter", "looser", "other"]
"""Of a later promise to an earlier one. ``tighter``: it says all that was said, and more. ``other``: neither."""


def relation(keeps_old: bool, asks_no_more: bool) -> Relation:
    """``keeps_old``: what keeps the later promise keeps the earlier one. ``asks_no_more``: and the other way round."""
    if keeps_old:
        return "same" if asks_no_more else "tighter"
    return "looser" if asks_no_more else "other"


def upper(old: Any, new: Any) -> Relation:
    """Of two greatest values; None is none."""
    ends = [math.inf if end is None else end for end in (old, new)]
    return relation(ends[1] <= ends[0], ends[0] <= ends[1])


def lower(old: Any, new: Any) -> Relation:
    """Of two least values; None is none."""
    ends = [-math.inf if end is None else end for end in (old, new)]
    return relation(ends[1] >= ends[0], ends[0] >= ends[1])


def given(old: object, new: object) -> Relation:
    """Of what can be there or not, and of which two kinds cannot be compared: a pattern."""
    if old == new:
        return "same"
    return "tighter" if old is None else "looser" if new is None else "other"


def listed(old: Iterable[object], new: Iterable[object]) -> Relation:
    """Of the values that are allowed; without any, every value is."""
    before, after = ({key(value) for value in values} for values in (old, new))
    return relation(
        not before or (bool(after) and after <= before), not after or (bool(before) and before <= after)
    )


def key(value: object) -> str:
    """Tells values apart that Python takes for equal: 1, 1.0 and true."""
    return json.dumps(value, sort_keys=True, default=str)


# --- types ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Promise:
    """What `fit` looks at of a field that is not nested."""

    logical: LogicalType | None
    physical: str | None
    format: object
    timezone: object

    @classmethod
    def of(cls, field: ContractField) -> _Promise:
        options = field.options
        return cls(field.logical_type, field.physical_type, options.get("format"), options.get("timezone"))

    def field(self) -> ContractField:
        options = {"format": self.format, "timezone": self.timezone}
        return ContractField(
            "x",
            logical_type=self.logical,
            physical_type=self.physical,
            options={name: value for name, value in options.items() if value is not None},
        )


def types(old: ContractField, new: ContractField) -> tuple[bool, bool]:
    """Whether recipients get no type that they did not get before; whether no type of a source is refused that was
    taken. What lies inside of arrays and objects is not looked at."""
    before, after = _Promise.of(old), _Promise.of(new)
    if before == after:
        return True, True
    universe = (*_universe(), *_corner(before), *_corner(after))
    taken, got = _sets(before, universe)
    taken_now, got_now = _sets(after, universe)
    return got_now <= got, taken <= taken_now


def _sets(promise: _Promise, universe: Iterable[pa.Field]) -> tuple[frozenset[str], frozenset[str]]:
    """The types that a source may have, and those that recipients get."""
    field, taken, got = promise.field(), set[str](), set[str]()
    for source in universe:
        verdict = fit(field, source)
        if verdict is AS_IS or verdict is AS_TEXT:
            taken.add(source.name)
            got.add(_TEXT if verdict is AS_TEXT else source.name)
    return frozenset(taken), frozenset(got)


_TEXT = "string"
_HELD = ("decimal", "time", "timetz", "json", "array", "vector", "uuid")  # what text may stand for


@cache
def _universe() -> tuple[pa.Field, ...]:
    """A column of every kind between which promises tell. Decimals have no end, and are added by `_corner`."""
    kinds = [
        *(pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()),
        *(pa.decimal128(digits, 0) for digits in range(1, 39)),
        *(pa.decimal256(39, 0), pa.decimal256(76, 0), pa.decimal128(38, 18), pa.decimal256(76, 38)),
        *(pa.float16(), pa.float32(), pa.float64(), pa.bool_(), pa.string(), pa.binary(), pa.uuid()),
        *(pa.date32(), pa.time32("s"), pa.time64("us")),
        *(pa.timestamp(unit, zone) for unit in ("s", "ms", "us", "ns") for zone in (None, "UTC")),
        *(pa.list_(pa.int32()), pa.list_(pa.float32()), pa.list_(pa.string())),
        *(pa.struct({"a": pa.int32()}), pa.map_(pa.string(), pa.int32())),
    ]
    texts = [_column(pa.string(), f"string of {held}", logical=held) for held in _HELD]
    stamps = [
        _column(pa.timestamp("us", zone), f"timestamp({digits}){zone}", native=f"timestamp({digits})")
        for digits in range(7)
        for zone in (None, "UTC")
    ]
    return (*(_column(kind, str(kind)) for kind in kinds), *texts, *stamps)


def _corner(promise: _Promise) -> tuple[pa.Field, ...]:
    """The largest decimal that ``numeric(p,s)`` holds: one promise includes another where it includes this."""
    physical = parse_physical(promise.physical)
    if physical is None or physical.kind != "decimal" or not physical.precision:
        return ()
    kind = pa.decimal256(min(physical.precision, 76), physical.scale)
    return (_column(kind, str(kind)),)


def _column(kind: pa.DataType, name: str, *, logical: str = "", native: str = "") -> pa.Field:
    metadata = {"lading.logical": logical, "lading.native": native}
    return pa.field(name, kind, metadata={k: v for k, v in metadata.items() if v})


def physical(old: ContractField, new: ContractField) -> Relation:
    """Of two physical types beyond what `types` tells: how long text may be, and names that only one database knows."""
    names = [" ".join((field.physical_type or "").lower().split()) for field in (old, new)]
    if names[0] == names[1]:
        return "same"
    kinds = [parse_physical(name) for name in names]
    if any(name and kind is None for name, kind in zip(names, kinds, strict=True)):
        return given(*(name or None for name in names))
    lengths = [kind.precision if kind and kind.kind == "text" else None for kind in kinds]
    return upper(*lengths)


# --- bounds --------------------------------------------------------------------------------------------------------

Bound = tuple[Any, int]
"""A value and, of a least one, 1 where it is itself left out; of a greatest one, -1."""


def least(field: ContractField) -> Bound | None:
    """Raises ValueError for an end that is no value of the field's type."""
    ends = [*_end(field, "minimum", 0), *_end(field, "exclusiveMinimum", 1)]
    if field.logical_type == "integer" and str(field.options.get("format", "")).startswith("u"):
        ends.append((Decimal(0), 0))
    return max(ends, default=None)


def greatest(field: ContractField) -> Bound | None:
    """Raises ValueError for an end that is no value of the field's type."""
    return min([*_end(field, "maximum", 0), *_end(field, "exclusiveMaximum", -1)], default=None)


def _end(field: ContractField, name: str, open_: int) -> list[Bound]:
    value = field.options.get(name)
    if value is None:
        return []
    at = _value(value, field.logical_type)
    if open_ and field.logical_type == "integer" and at == at.to_integral_value():
        return [(at + open_, 0)]  # of whole numbers, "more than 4" is "at least 5"
    return [(at, open_)]


def _value(value: object, logical: LogicalType | None) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Decimal(str(value))
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no bound")
    if logical == "date":
        return date.fromisoformat(value)
    if logical == "time":
        return time.fromisoformat(value)
    at = datetime.fromisoformat(value)
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def bounds(old: ContractField, new: ContractField, name: Literal["minimum", "maximum"]) -> Relation:
    """Of two least or greatest values, however they are written."""
    find, compare = (least, lower) if name == "minimum" else (greatest, upper)
    try:
        ends = [find(old), find(new)]
        return compare(*(_NONE[name] if end is None else (0, *end) for end in ends))
    except (ValueError, TypeError):
        written = [
            [field.options.get(each) for each in (name, f"exclusive{name.capitalize()}")]
            for field in (old, new)
        ]
        return given(*(None if each == [None, None] else key(each) for each in written))


_NONE: Mapping[str, tuple[int]] = {"minimum": (-1,), "maximum": (1,)}
"""Before, or behind, every end."""


def multiple(old: object, new: object) -> Relation:
    """Of ``multipleOf``: multiples of 6 are multiples of 3."""
    if old is None or new is None:
        return given(old, new)
    before, after = Decimal(str(old)), Decimal(str(new))
    if not before or not after:
        return given(before, after)
    return relation(after % before == 0, before % after == 0)


# --- quality -------------------------------------------------------------------------------------------------------


def subject(rule: QualityRule) -> str:
    """What a rule is about, whatever it is called and wherever its limit lies."""
    words = rule.description if rule.type == "text" else rule.body
    unit = "" if rule.unit == "rows" else rule.unit
    return key([rule.type, rule.metric, rule.arguments, unit, words])


def rules(old: QualityRule, new: QualityRule) -> Relation:
    """Of two rules about one subject."""
    before, after = _span(old), _span(new)
    if before is None or after is None:
        return "same" if (old.operator, key(old.operand)) == (new.operator, key(new.operand)) else "other"
    low, high = lower(before[0], after[0]), upper(before[1], after[1])
    return relation(
        {low, high} <= {"same", "tighter"},
        {low, high} <= {"same", "looser"},
    )


def _span(rule: QualityRule) -> tuple[Bound, Bound] | None:
    """The values that a rule allows, as a least and a greatest one; None for what is no span of numbers."""
    ends = rule.operand if isinstance(rule.operand, list) else [rule.operand]
    numbers = [end for end in ends if isinstance(end, int | float) and not isinstance(end, bool)]
    if len(numbers) != len(ends) or not numbers:
        return None
    first, last = numbers[0], numbers[-1]
    match rule.operator:
        case "mustBe" | "mustBeBetween":
            return (first, 0), (last, 0)
        case "mustBeGreaterThan":
            return (first, 1), (math.inf, 0)
        case "mustBeGreaterOrEqualTo":
            return (first, 0), (math.inf, 0)
        case "mustBeLessThan":
            return (-math.inf, 0), (last, -1)
        case "mustBeLessOrEqualTo":
            return (-math.inf, 0), (last, 0)
    return None
