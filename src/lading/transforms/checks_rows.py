"""Promises that each row keeps or breaks by itself: not_null, range, regex, in. NULL breaks not_null alone."""

from __future__ import annotations

import copy
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import pyarrow as pa
import pyarrow.compute as pc

from lading.errors import counted
from lading.ports import CheckResult
from lading.transforms.columns import Side, is_number, is_text, literal, plain, position, unfit, value_type

OnViolation = Literal["fail", "warn"]


class RowCheck(ABC):
    """Counts the rows of one column that break a promise."""

    kind: ClassVar[str]
    broken: ClassVar[tuple[str, str]]  # what the one counted row is, and what several are

    def __init__(self, column: str, on_violation: OnViolation) -> None:
        self.column, self.on_violation = column, on_violation
        self._lock = threading.Lock()
        self._violations = 0

    @property
    def name(self) -> str:
        return f"{self.kind}({self.column})"

    def bind(self, schema: pa.Schema) -> None:
        """Raises InvalidProject for a missing column or a type that the promise does not fit."""
        field = schema.field(position(schema, self.column, self.name))
        try:
            self.prepare(value_type(field.type))
        except ValueError as error:
            raise unfit(self.name, error, field) from error

    def observe(self, batch: pa.RecordBatch) -> None:
        violations = self.count(plain(batch.column(self.column)))
        with self._lock:
            self._violations += violations

    def fresh(self) -> Self:
        another = copy.copy(self)
        another._lock, another._violations = threading.Lock(), 0
        return another

    def found(self) -> int:
        with self._lock:
            return self._violations

    def add(self, found: int) -> None:
        with self._lock:
            self._violations += found

    def result(self) -> CheckResult:
        count = self.found()
        one, many = self.broken
        detail = counted(count, f"row {one}", f"rows {many}") if count else ""
        return CheckResult(self.name, count == 0, self.on_violation, count, detail)

    def close(self) -> None:
        """Nothing is held."""
        return

    @abstractmethod
    def prepare(self, type_: pa.DataType) -> None:
        """Raises ValueError, with the reason, for a type that the promise does not fit."""

    @abstractmethod
    def count(self, array: pa.Array) -> int:
        """Rows that break the promise; runs in several threads."""


class NotNull(RowCheck):
    kind = "not_null"
    broken = ("is NULL", "are NULL")

    def prepare(self, type_: pa.DataType) -> None:
        """Every type can be NULL."""

    def count(self, array: pa.Array) -> int:
        return int(array.null_count)


class InRange(RowCheck):
    """Both ends are part of the range; None leaves an end open. NaN lies in no range."""

    kind = "range"
    broken = ("lies outside of the range", "lie outside of the range")

    def __init__(self, column: str, low: Any, high: Any, on_violation: OnViolation) -> None:
        super().__init__(column, on_violation)
        self.low, self.high = low, high
        self._ends: list[tuple[Any, pa.Scalar]] = []

    def prepare(self, type_: pa.DataType) -> None:
        if not (is_number(type_) or pa.types.is_date(type_) or pa.types.is_timestamp(type_)):
            raise ValueError(f"a column of type {type_} has no range; numbers, dates and timestamps have")
        sides: tuple[tuple[Any, Any, Side], ...] = (
            (self.low, pc.greater_equal, "low"),
            (self.high, pc.less_equal, "high"),
        )
        self._ends = [(test, literal(end, type_, side)) for end, test, side in sides if end is not None]
        values = [scalar for _, scalar in self._ends]
        if len(values) == 2 and pc.greater(values[0], values[1]).as_py():
            raise ValueError("no value of the column's type lies between the two ends")

    def count(self, array: pa.Array) -> int:
        inside = [test(array, end) for test, end in self._ends]
        both = inside[0] if len(inside) == 1 else pc.and_(*inside)
        return _count(pc.invert(both))


class Matches(RowCheck):
    """The pattern (RE2) is searched for, as PostgreSQL's ``~`` does; ``^`` and ``$`` tie it to the ends."""

    kind = "regex"
    broken = ("does not match the pattern", "do not match the pattern")

    def __init__(self, column: str, pattern: str, on_violation: OnViolation) -> None:
        super().__init__(column, on_violation)
        self.pattern = pattern
        try:
            self.count(pa.array([""]))
        except pa.ArrowInvalid as error:
            reason = str(error).partition(": ")[2] or "it does not compile"
            raise ValueError(
                f"regex: {column}: the pattern {pattern!r} is not valid RE2: {reason}"
            ) from error

    def prepare(self, type_: pa.DataType) -> None:
        if not is_text(type_):
            raise ValueError(f"a column of type {type_} is no text")

    def count(self, array: pa.Array) -> int:
        return _count(pc.invert(pc.match_substring_regex(array, self.pattern)))


class OneOf(RowCheck):
    kind = "in"
    broken = ("holds a value that is not listed", "hold a value that is not listed")

    def __init__(self, column: str, values: Sequence[Any], on_violation: OnViolation) -> None:
        super().__init__(column, on_violation)
        self.values = tuple(values)
        self._known: Any = None

    def prepare(self, type_: pa.DataType) -> None:
        scalars = [literal(value, type_) for value in self.values]
        self._known = pa.array(scalars, scalars[0].type)

    def count(self, array: pa.Array) -> int:
        known = pc.is_in(array.cast(self._known.type), value_set=self._known)
        return int(len(array) - array.null_count) - _count(pc.and_(known, array.is_valid()))


def _count(truths: pa.Array) -> int:
    """How many are true; NULL is not."""
    return int(pc.sum(truths, min_count=0).as_py())
