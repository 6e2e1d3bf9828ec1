"""Parts of immutable rows: ranges of an order that every later reading of them finds again.

Rows are put in the order of the window column and of a unique key, which tells apart those of one moment, and every so
many of them begin a part. PostgreSQL counts them off in one pass over the interval, in the reading's own snapshot. So
equal rows give equal parts, whatever pages they lie on, and how many there are is known before the first is read. Text
is ordered by its bytes (``COLLATE "C"``): a locale's order changes with its library.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lading.errors import SchemaMismatch
from lading.sources import postgres_sql as sql
from lading.sources.postgres_catalog import Described
from lading.sources.postgres_types import Native

Point = tuple[str, ...]
"""A place in an order: PostgreSQL's own text of each of its columns, in a session that writes exact text."""

_BYTEWISE = 'text collate "C"'
_TYPES = {
    **{name: name for name in ("int2", "int4", "int8", "uuid", "date", "timestamp", "timestamptz")},
    "text": _BYTEWISE,
    "varchar": _BYTEWISE,
}
_KINDS = "whole numbers, uuid, text, date or timestamp"


@dataclass(frozen=True, slots=True)
class Span:
    """Rows from ``low`` up to, and without, ``high``; an open side is None. ``rows`` are counted."""

    low: Point | None
    high: Point | None
    rows: int


@dataclass(frozen=True, slots=True)
class Order:
    """By what rows are put in order. No two rows of the table stand at one place of it."""

    columns: tuple[str, ...]
    keys: tuple[str, ...]  # SQL
    types: tuple[str, ...]  # SQL, of literals
    nullable: bool  # the first column; NULLs come first, and belong to the first part

    @classmethod
    def of(cls, described: Described, unique: Iterable[frozenset[str]], window: str) -> Order:
        """Raises SchemaMismatch, saying what is needed, where the table proves no such order."""
        fit = [key for key in unique if all(_type(described.column(name).native) for name in key)]
        if not fit:
            raise SchemaMismatch(
                f"{described.what} has no key by whose ranges immutable_rows could cut it.",
                hint="A primary key, or a unique constraint over NOT NULL columns, is needed on the table itself, its "
                f"columns being {_KINDS}. Add one, or leave immutable_rows out.",
            )
        key = min(fit, key=lambda names: (len(names - {window}), sorted(names)))
        first = described.column(window)
        rest = [(name, described.column(name)) for name in sorted(key - {window})]
        return cls(
            (window, *(name for name, _ in rest)),
            # As it stands, so that an index on it can be used.
            (sql.column(window), *(f"({sql.column(name)})::{_type(column.native)}" for name, column in rest)),
            (first.native.base, *(_type(column.native) for _, column in rest)),
            first.nullable,
        )

    def between(self, low: Point | None, high: Point | None) -> list[str]:
        """Conditions of the rows from ``low`` up to ``high``. Those on the first column alone are for the planner."""
        first, row = self.keys[0], f"({', '.join(self.keys)})"
        found: list[str] = []
        if low is not None:
            found += [f"{first} >= {self._literals(low)[0]}", f"{row} >= ({', '.join(self._literals(low))})"]
        if high is not None:
            found += [f"{first} <= {self._literals(high)[0]}", f"{row} < ({', '.join(self._literals(high))})"]
        if found and low is None and self.nullable:
            return [f"(({' and '.join(found)}) or {first} is null)"]
        return found

    def starts(self, target: sql.Target, where: Sequence[str], step: int) -> str:
        """Every ``step``-th row, and the last: its number, from 0, and its place."""
        keys = ", ".join(f"{key} as k{i}" for i, key in enumerate(self.keys))
        shown = ", ".join(f"k{i}::text" for i in range(len(self.keys)))
        return (
            f"select n, {shown} from (select row_number() over w - 1 as n, lead(false, 1, true) over w as last, {keys}"
            f" from {target.text} as q{sql.clause(where)} window w as (order by {self._order('first')})) as p"
            f" where n % {step} = 0 or last order by n"
        )

    def after(self, target: sql.Target, where: Sequence[str], rows: int) -> str:
        """The place of the row that has so many before it."""
        shown = ", ".join(f"({key})::text" for key in self.keys)
        known = [*where, f"{self.keys[0]} is not null"] if self.nullable else where
        found = f"select {shown} from {target.text} as q{sql.clause(known)}"
        return f"{found} order by {self._order('last')} offset {rows} limit 1"

    def _order(self, nulls: str) -> str:
        first, *rest = self.keys
        return ", ".join([f"{first} nulls {nulls}" if self.nullable else first, *rest])

    def _literals(self, point: Point) -> list[str]:
        return [f"{sql.literal(text)}::{kind}" for text, kind in zip(point, self.types, strict=True)]


def spans(rows: Sequence[tuple[int, Point]], step: int) -> list[Span]:
    """The parts between the rows that `Order.starts` names. Together they have every row, also without any."""
    total = rows[-1][0] + 1 if rows else 0
    cuts = [point for n, point in rows if n and n % step == 0]
    sides = zip([None, *cuts], [*cuts, None], strict=True)
    return [Span(low, high, min(step, total - i * step)) for i, (low, high) in enumerate(sides)]


def _type(native: Native) -> str:
    return "" if native.element else _TYPES.get(native.base, "")
