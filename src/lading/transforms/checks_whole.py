"""Promises about a reading as a whole: row_count, freshness, distribution."""

from __future__ import annotations

import math
import re
import threading
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    field_validator,
    model_validator,
)

from lading.errors import InvalidProject, counted
from lading.ports import CheckResult
from lading.transforms.checks_rows import OnViolation
from lading.transforms.columns import is_number, literal, plain, position, unfit, value_type
from lading.transforms.spill import Spill, check_storable, storable

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
Count = Annotated[StrictInt, Field(ge=0)]
Number = StrictInt | StrictFloat
Ends = tuple[Number | None, Number | None]


def duration(text: object) -> timedelta:
    """``90s``, ``15m``, ``24h``, ``7d``, ``1w``, or several of them: ``1d 12h``. Raises ValueError."""
    found = re.findall(r"([0-9]+)\s*([smhdw])", text) if isinstance(text, str) else []
    if not found or re.sub(r"[0-9]+\s*[smhdw]|\s", "", str(text)):
        raise ValueError(f"{text!r} is no duration; write 90s, 15m, 24h or 7d")
    return timedelta(seconds=sum(int(number) * SECONDS[unit] for number, unit in found))


def inside(value: Fraction | int, ends: Ends) -> bool:
    low, high = ends
    return (low is None or value >= Fraction(str(low))) and (high is None or value <= Fraction(str(high)))


def spoken(ends: Ends) -> str:
    low, high = ends
    return f"{'any' if low is None else low} to {'any' if high is None else high}"


class RowCountOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    min: Count = Field(default=0, description="the fewest rows")
    max: Count | None = Field(default=None, description="the most rows; any number, if absent")

    @model_validator(mode="after")
    def _says_something(self) -> RowCountOptions:
        if not self.min and self.max is None:
            raise ValueError("needs min or max")
        if self.max is not None and self.max < self.min:
            raise ValueError("max is less than min")
        return self


class RowCount:
    """The reading has so many rows."""

    name = "row_count"

    def __init__(self, options: RowCountOptions, on: OnViolation) -> None:
        self.options, self.on_violation = options, on
        self._lock = threading.Lock()
        self._rows = 0

    def bind(self, schema: pa.Schema) -> None:
        """Any schema will do."""

    def observe(self, batch: pa.RecordBatch) -> None:
        self.add(batch.num_rows)

    def fresh(self) -> RowCount:
        return RowCount(self.options, self.on_violation)

    def found(self) -> int:
        with self._lock:
            return self._rows

    def add(self, found: int) -> None:
        with self._lock:
            self._rows += found

    def result(self) -> CheckResult:
        ends = (self.options.min, self.options.max)
        ok = inside(self._rows, ends)
        detail = "" if ok else f"{counted(self._rows, 'row')}, expected {spoken(ends)}"
        return CheckResult(self.name, ok, self.on_violation, int(not ok), detail)

    def close(self) -> None:
        """Nothing is held."""


class FreshnessOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    column: StrictStr = Field(description="a date or a timestamp; without a zone it is read as UTC")
    max_age: timedelta = Field(description="how old the newest value may be: 15m, 24h, 7d")

    @field_validator("max_age", mode="before")
    @classmethod
    def _parsed(cls, value: object) -> timedelta:
        age = duration(value)
        if not age:
            raise ValueError("must be longer than 0s, which no row is as young as")
        return age


class Freshness:
    """The newest value is at most so old. A reading without a value is not fresh."""

    def __init__(self, options: FreshnessOptions, now: datetime, on: OnViolation) -> None:
        self.options, self.on_violation = options, on
        self.name = f"freshness({options.column})"
        self._oldest = now.astimezone(UTC) - options.max_age
        self._lock = threading.Lock()
        self._values, self._fresh = 0, False
        self._threshold: Any = None

    def bind(self, schema: pa.Schema) -> None:
        type_ = value_type(schema.field(position(schema, self.options.column, self.name)).type)
        if not (pa.types.is_timestamp(type_) or pa.types.is_date(type_)):
            raise InvalidProject(f"{self.name}: a column of type {type_} tells no time")
        self._threshold = pa.scalar(self._oldest, pa.timestamp("us", "UTC"))

    def observe(self, batch: pa.RecordBatch) -> None:
        array = plain(batch.column(self.options.column))
        values = len(array) - array.null_count
        newest = pc.max(array)
        fresh = values > 0 and bool(pc.greater_equal(_instant(newest), self._threshold).as_py())
        with self._lock:
            self._values += values
            self._fresh = self._fresh or fresh

    def result(self) -> CheckResult:
        late = "every value is older than max_age" if self._values else "there is no value to tell the age by"
        return CheckResult(
            self.name, self._fresh, self.on_violation, int(not self._fresh), "" if self._fresh else late
        )

    def close(self) -> None:
        """Nothing is held."""


def _instant(moment: pa.Scalar) -> pa.Scalar:
    """A date or a timestamp as an instant, without loss; read as UTC where no zone is given."""
    if pa.types.is_date(moment.type):
        moment = moment.cast(pa.timestamp("ms"))
    return moment.cast(pa.int64()).cast(pa.timestamp(moment.type.unit, "UTC"))


class DistributionOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    column: StrictStr = Field(description="the column that is described")
    expect: Mapping[StrictBool | StrictInt | StrictStr, Ends] = Field(
        default={},
        description="value: [least, greatest] share of it among the values that are not NULL, 0 to 1",
    )
    others: Ends | None = Field(default=None, description="share of all values that `expect` does not name")
    nulls: Ends | None = Field(default=None, description="share of NULLs among all rows, 0 to 1")
    mean: Ends | None = Field(default=None, description="the mean of the values that are not NULL")
    distinct: Ends | None = Field(default=None, description="how many different values there are")

    @model_validator(mode="after")
    def _says_something(self) -> DistributionOptions:
        ends = [*self.expect.values(), *(e for e in (self.others, self.nulls, self.mean, self.distinct) if e)]
        if not ends:
            raise ValueError("needs one of expect, others, nulls, mean, distinct")
        for low, high in ends:
            if low is not None and high is not None and low > high:
                raise ValueError(f"{low} is more than {high}; write [least, greatest]")
        for low, high in (*self.expect.values(), *(e for e in (self.others, self.nulls) if e)):
            if (low is not None and low > 1) or (high is not None and high < 0):
                raise ValueError(
                    f"a share lies between 0 and 1, and {spoken((low, high))} holds none; 5 % is 0.05"
                )
        if self.distinct and self.distinct[1] is not None and self.distinct[1] < 0:
            raise ValueError("distinct counts values, of which there are never less than 0")
        return self


class Distribution:
    """Shares of values and of NULLs, the mean, the number of different values. Without a row it holds.

    Violations are the expectations that were missed. Sums and shares of integers and decimals are exact.
    """

    def __init__(self, options: DistributionOptions, on: OnViolation, spill: Path, memory: int) -> None:
        self.options, self.on_violation = options, on
        self.name = f"distribution({options.column})"
        self._spill = Spill(spill, memory)
        self._lock = threading.Lock()
        self._rows, self._nulls, self._infinite = 0, 0, 0
        self._shares: Counter[object] = Counter()
        self._sum = Fraction(0)
        self._literals: dict[object, pa.Scalar] = {}

    def bind(self, schema: pa.Schema) -> None:
        field = schema.field(position(schema, self.options.column, self.name))
        type_ = value_type(field.type)
        try:
            self._literals = {value: literal(value, type_) for value in self.options.expect}
            if self.options.distinct:
                check_storable(field)
        except ValueError as error:
            raise InvalidProject(f"{self.name}: {error}") from error
        if self.options.mean and (not is_number(type_) or pa.types.is_decimal256(type_)):
            raise unfit(self.name, f"values of type {type_} have no mean that can be computed", field)

    def observe(self, batch: pa.RecordBatch) -> None:
        array = plain(batch.column(self.options.column))
        if self.options.distinct:
            self._spill.append(pa.record_batch({"value": pc.unique(storable(array).drop_null())}))
        shares = {
            value: int(pc.sum(pc.equal(array, scalar), min_count=0).as_py())
            for value, scalar in self._literals.items()
        }
        total, infinite = _exact_sum(array) if self.options.mean else (Fraction(0), 0)
        with self._lock:
            self._rows += len(array)
            self._nulls += array.null_count
            self._shares.update(shares)
            self._sum += total
            self._infinite += infinite

    def result(self) -> CheckResult:
        try:
            missed = self._missed() if self._rows else []
        finally:
            self.close()
        return CheckResult(self.name, not missed, self.on_violation, len(missed), "; ".join(missed))

    def close(self) -> None:
        self._spill.close()

    def _missed(self) -> list[str]:
        options, values = self.options, self._rows - self._nulls
        shares = [
            (f"share {number} of `expect`", Fraction(self._shares[v], values or 1), e)
            for number, (v, e) in enumerate(options.expect.items(), 1)
        ]
        if options.others:
            others = values - sum(self._shares.values())
            shares.append(("share of other values", Fraction(others, values or 1), options.others))
        if not values:
            shares = []
        if options.nulls:
            shares.append(("share of NULL", Fraction(self._nulls, self._rows), options.nulls))
        # Neither shares nor the mean are said, nor whose share it is: they tell of values, and recipients read this.
        missed = [
            f"{what} is not within {spoken(ends)}" for what, share, ends in shares if not inside(share, ends)
        ]
        if options.mean and values and (self._infinite or not inside(self._sum / values, options.mean)):
            missed.append(f"mean is not within {spoken(options.mean)}")
        if options.distinct:
            distinct = self._spill.ask("SELECT count(*) FROM (SELECT DISTINCT value FROM spilled)", ["value"])
            if not inside(distinct, options.distinct):
                missed.append(f"{counted(distinct, 'different value')}, expected {spoken(options.distinct)}")
        return missed


def _exact_sum(array: pa.Array) -> tuple[Fraction, int]:
    """The sum of the finite values, and how many are not; floating point sums are rounded batch by batch."""
    if pa.types.is_floating(array.type):
        finite = pc.is_finite(array)
        infinite = len(array) - array.null_count - int(pc.sum(finite, min_count=0).as_py())
        total = pc.sum(array.filter(finite).cast(pa.float64()), min_count=0).as_py()
        return (Fraction(total), infinite) if math.isfinite(total) else (Fraction(0), infinite + 1)
    # wide enough that no batch can overflow it
    wide = pa.decimal256(76, array.type.scale if pa.types.is_decimal(array.type) else 0)
    total = pc.sum(array.cast(wide), min_count=0).as_py()
    return Fraction(total or 0), 0
