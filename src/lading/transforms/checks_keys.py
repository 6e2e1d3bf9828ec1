"""Promises about rows that share a key: unique, ordered, balance.

They need every row, so that keys are set aside on disk (`Spill`) and compared exactly, in bounded memory. ``scope``
are columns that belong to every key without being named, such as the tenant's.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, StrictStr

from lading.errors import InvalidProject, counted
from lading.ports import CheckResult
from lading.transforms.checks_rows import OnViolation
from lading.transforms.columns import is_number, is_text, literal, plain, position, unfit, value_type
from lading.transforms.spill import Spill, check_storable, storable


class KeyCheck:
    """What the three have in common: a key, a spill, and an end that leaves nothing behind."""

    def __init__(
        self, name: str, key: Sequence[str], scope: Sequence[str], on: OnViolation, spill: Path, memory: int
    ) -> None:
        self.name, self.on_violation = name, on
        self.key = tuple(dict.fromkeys((*scope, *key)))
        self._spill = Spill(spill, memory)
        self._lock = threading.Lock()

    def bind(self, schema: pa.Schema) -> None:
        """Raises InvalidProject for a missing column, or one whose values cannot be compared."""
        try:
            for column in self.key:
                check_storable(schema.field(position(schema, column, self.name)))
        except ValueError as error:
            raise InvalidProject(f"{self.name}: {error}") from error

    def close(self) -> None:
        self._spill.close()

    def keys_of(self, batch: pa.RecordBatch) -> dict[str, pa.Array]:
        """The key's values under names of our own, so that no column name reaches SQL."""
        return {f"k{i}": storable(batch.column(column)) for i, column in enumerate(self.key)}

    @property
    def key_names(self) -> list[str]:
        return [f"k{i}" for i in range(len(self.key))]

    def verdict(self, violations: int, one: str = "", many: str = "", *, proof: str = "") -> CheckResult:
        detail = counted(violations, one, many) if violations else proof
        return CheckResult(self.name, violations == 0, self.on_violation, violations, detail)


class Unique(KeyCheck):
    """No two rows, of one tenant where there are tenants, have equal keys. A key with a NULL in it equals no other, as
    in SQL.

    ``proven``: sets of columns that the source itself keeps unique; a key that holds one of them needs no look.
    Violations are the rows that would have to go.
    """

    def __init__(
        self,
        columns: Sequence[str],
        scope: Sequence[str],
        on: OnViolation,
        spill: Path,
        memory: int,
        proven: frozenset[frozenset[str]] = frozenset(),
    ) -> None:
        super().__init__(f"unique({', '.join(columns)})", columns, scope, on, spill, memory)
        self.proven = any(columns_ and columns_ <= set(self.key) for columns_ in proven)

    def observe(self, batch: pa.RecordBatch) -> None:
        if not self.proven:
            self._spill.append(pa.record_batch(self.keys_of(batch)).drop_null())

    def fresh(self) -> Unique:
        """Itself: where it counts nothing, there is nothing to tell apart."""
        return self

    def found(self) -> int | None:
        return 0 if self.proven else None

    def add(self, found: int) -> None:
        """A constraint of the source's is all that counts."""

    def result(self) -> CheckResult:
        try:
            if self.proven:
                return self.verdict(0, proof="proven by the source's constraint")
            repeated = self._spill.ask(
                "SELECT coalesce(sum(n - 1), 0) FROM "
                f"(SELECT count(*) AS n FROM spilled GROUP BY {', '.join(self.key_names)} HAVING n > 1)",
                self.key_names,
            )
            return self.verdict(repeated, "row repeats a key", "rows repeat a key")
        finally:
            self.close()


class OrderedOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    column: StrictStr = Field(description="the column whose values never decrease")
    by: list[StrictStr] = Field(
        default=[], description="rows with equal values in these are compared; all, if none"
    )
    strict: StrictBool = Field(default=False, description="equal neighbours break the promise too")


class Ordered(KeyCheck):
    """Values never decrease, in reading order, among rows of one key, and of one tenant where there are tenants.
    NULLs take no part; NaN breaks the promise.

    The reading must be one part, read in order. Violations are the rows that are smaller than the one before them.
    """

    def __init__(
        self, options: OrderedOptions, scope: Sequence[str], on: OnViolation, spill: Path, memory: int
    ) -> None:
        by = f" by {', '.join(options.by)}" if options.by else ""
        super().__init__(f"ordered({options.column}{by})", options.by, scope, on, spill, memory)
        self.options = options
        self._breaks = pc.less_equal if options.strict else pc.less
        self._batches = itertools.count()
        self._violations = 0

    def bind(self, schema: pa.Schema) -> None:
        super().bind(schema)
        type_ = value_type(schema.field(position(schema, self.options.column, self.name)).type)
        comparable = is_number(type_) or is_text(type_) or pa.types.is_temporal(type_)
        if not comparable or pa.types.is_decimal256(type_):
            raise InvalidProject(f"{self.name}: values of type {type_} have no order that can be checked")
        for column in self.key:
            if pa.types.is_floating(value_type(schema.field(column).type)):
                raise InvalidProject(f"{self.name}: {column!r} is a floating point column and can be no key")

    def observe(self, batch: pa.RecordBatch) -> None:
        with self._lock:
            number = next(self._batches)
        rows = pa.record_batch({**self.keys_of(batch), "value": storable(batch.column(self.options.column))})
        rows = rows.filter(rows["value"].is_valid())
        violations = 0
        if pa.types.is_floating(rows["value"].type):
            unordered = pc.is_nan(rows["value"])
            violations = int(pc.sum(unordered, min_count=0).as_py())
            rows = rows.filter(pc.invert(unordered))
        if rows.num_rows:
            violations += self._compare(rows, number)
        with self._lock:
            self._violations += violations

    def result(self) -> CheckResult:
        partition = f"PARTITION BY {', '.join(self.key_names)} " if self.key else ""
        comparison = ">=" if self.options.strict else ">"
        try:
            between = self._spill.ask(
                f"SELECT count(*) FROM (SELECT first, lag(last) OVER ({partition}ORDER BY number) AS before "
                f"FROM spilled) WHERE before {comparison} first",
                self.key_names,
            )
            return self.verdict(self._violations + between, "row is out of order", "rows are out of order")
        finally:
            self.close()

    def _compare(self, rows: pa.RecordBatch, number: int) -> int:
        """Counts inside the batch, and sets each key's first and last value aside to compare with other batches."""
        if self.key:  # the sort is stable: rows of one key stay in reading order
            rows = rows.take(pc.sort_indices(rows, [(f"k{i}", "ascending") for i in range(len(self.key))]))
        before, after = rows.slice(0, rows.num_rows - 1), rows.slice(1)
        same = pa.repeat(True, rows.num_rows - 1)
        for i in range(len(self.key)):
            left, right = before[f"k{i}"], after[f"k{i}"]
            equal = pc.coalesce(pc.equal(left, right), pc.and_(left.is_null(), right.is_null()))
            same = pc.and_(same, equal)
        broken = pc.and_(same, self._breaks(after["value"], before["value"]))
        edge = pc.invert(same)
        ends = pa.array([True])
        first = rows.filter(pa.concat_arrays([ends, edge]))
        last = rows.filter(pa.concat_arrays([edge, ends]))
        keys = {f"k{i}": first[f"k{i}"] for i in range(len(self.key))}
        numbers = pa.repeat(pa.scalar(number, pa.int64()), first.num_rows)
        self._spill.append(
            pa.record_batch({**keys, "number": numbers, "first": first["value"], "last": last["value"]})
        )
        return int(pc.sum(broken, min_count=0).as_py())


class BalanceOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    column: StrictStr = Field(description="the amounts: integers or decimals of at most 38 digits")
    by: list[StrictStr] = Field(
        default=[], description="amounts with equal values in these are added; all, if none"
    )
    equals: StrictInt | float = Field(default=0, description="what each sum must be")


class Balance(KeyCheck):
    """The amounts of each key, and of each tenant where there are tenants, add up to a given sum, exactly.
    NULL amounts add nothing.

    Violations are the keys whose sum differs.
    """

    def __init__(
        self, options: BalanceOptions, scope: Sequence[str], on: OnViolation, spill: Path, memory: int
    ) -> None:
        by = f" by {', '.join(options.by)}" if options.by else ""
        super().__init__(f"balance({options.column}{by})", options.by, scope, on, spill, memory)
        self.options = options
        self._target = Decimal(0)

    def bind(self, schema: pa.Schema) -> None:
        super().bind(schema)
        field = schema.field(position(schema, self.options.column, self.name))
        type_ = value_type(field.type)
        if not (pa.types.is_integer(type_) or pa.types.is_decimal(type_)) or pa.types.is_decimal256(type_):
            raise unfit(self.name, f"values of type {type_} cannot be added exactly", field)
        try:
            self._target = Decimal(literal(self.options.equals, type_).as_py())
        except ValueError as error:
            raise InvalidProject(f"{self.name}: {error}") from error

    def observe(self, batch: pa.RecordBatch) -> None:
        self._spill.append(
            pa.record_batch({**self.keys_of(batch), "amount": plain(batch.column(self.options.column))})
        )

    def result(self) -> CheckResult:
        grouping = f"GROUP BY {', '.join(self.key_names)} " if self.key else ""
        try:
            unbalanced = self._spill.ask(
                f"SELECT count(*) FROM (SELECT sum(amount) AS total FROM spilled {grouping}"
                f"HAVING coalesce(total, 0) <> {self._target:f})",
                self.key_names,
            )
            return self.verdict(unbalanced, "sum differs", "sums differ")
        finally:
            self.close()
