"""Promises about the source's values, declared in an export and judged over the rows of one sweep, before masks.

::

    checks:
      - unique: [flight_id]
      - not_null: [carrier, scheduled_hour]
      - range: {distance: [0, 20000], scheduled_hour: ["2013-01-01", null]}
      - regex: {email: "^[^@]+@[^@]+$"}
      - in: {status: [ok, failed]}
      - ordered: {column: event_sequence, by: [run_id], strict: true}
      - balance: {column: amount, by: [transaction_id]}
      - row_count: {min: 1, max: 100}
      - freshness: {column: updated_at, max_age: 24h}
      - distribution: {column: status, expect: {ok: [0.9, 1.0], failed: [0, 0.1]}, nulls: [0, 0.05]}
      - not_null: [tail_number]
        on_violation: warn

A sweep is one interval, for all tenants that are due or, with ``--tenant``, for those alone. Where the export has
tenants, ``unique``, ``ordered`` and ``balance`` compare rows of the same tenant only: each recipient's files must hold
their promise by themselves, and tenants may number their rows independently. A key that must be unique over all tenants
needs a constraint in the source, or an export without tenants; one that must be unique over all intervals needs the
constraint. All other checks judge the rows of the tenants together.

A broken promise fails the sweep, or is only said in the manifest where ``on_violation`` is ``warn``. What is said are
counts and names, never a value that was read. Tenants are names of recipients, and are told: a tenant that nobody lists
fails a run with its name. Where the tenant column is classified as anything but `public` or `internal`, or is excluded,
tenants that nobody lists are counted and not named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

from lading.documents import nearest, unknown
from lading.ports import Check
from lading.transforms.checks_keys import Balance, BalanceOptions, Ordered, OrderedOptions, Unique
from lading.transforms.checks_rows import InRange, Matches, NotNull, OneOf, OnViolation
from lading.transforms.checks_whole import (
    Distribution,
    DistributionOptions,
    Freshness,
    FreshnessOptions,
    RowCount,
    RowCountOptions,
)
from lading.transforms.columns import column_names, declared, moment


@dataclass(frozen=True, slots=True)
class Setting:
    """What a check is made with beside its own declaration."""

    on: OnViolation
    scope: tuple[str, ...]
    now: datetime
    memory: int
    spill: Path
    proven: frozenset[frozenset[str]]


def parse_check(
    value: object,
    *,
    scope: tuple[str, ...] = (),
    now: datetime,
    memory: int,
    spill: Path,
    proven: frozenset[frozenset[str]] = frozenset(),
) -> list[Check]:
    """The checks that one entry of ``checks:`` declares, one per column where each column is judged by itself.

    ``scope``: columns that belong to every key (the tenant's). ``now``: aware, for `freshness`. ``memory``: bytes that
    each check may use for what it compares at the end; the rest goes to files in ``spill``. ``proven``: sets of columns
    that the source keeps unique. Raises ValueError, which names the nearest known name for an unknown one.
    """
    if not isinstance(value, Mapping):
        raise ValueError("a check is a mapping of its name to what it promises, such as unique: [id]")
    names = [name for name in value if name != "on_violation"]
    for name in names:
        if name not in KINDS:
            raise ValueError(unknown("check", name, (*KINDS, "on_violation")))
    if len(names) != 1:
        raise ValueError("a check has one name; write each as an entry of its own")
    on = value.get("on_violation", "fail")
    if on not in ("fail", "warn"):
        raise ValueError(f'on_violation is fail or warn, not "{on}"{nearest(on, ("fail", "warn"))}')
    return list(KINDS[names[0]](value[names[0]], Setting(on, scope, now, memory, spill, proven)))


def needs_order(checks: Iterable[Check]) -> bool:
    """Whether one of them judges the order of rows, so that the reading must be one part."""
    return any(isinstance(check, Ordered) for check in checks)


def _by_column(value: object, what: str, example: str) -> list[tuple[str, Any]]:
    if not isinstance(value, Mapping) or not value or not all(isinstance(column, str) for column in value):
        raise ValueError(f"{what} takes a mapping of columns, such as {example}")
    return list(value.items())


def _unique(value: object, s: Setting) -> list[Check]:
    return [Unique(column_names(value, "unique"), s.scope, s.on, s.spill, s.memory, s.proven)]


def _not_null(value: object, s: Setting) -> list[Check]:
    return [NotNull(column, s.on) for column in column_names(value, "not_null")]


def _range(value: object, s: Setting) -> list[Check]:
    checks: list[Check] = []
    for column, ends in _by_column(value, "range", "{distance: [0, 20000]}"):
        if not isinstance(ends, (list, tuple)) or len(ends) != 2 or all(end is None for end in ends):
            raise ValueError(f"range: {column}: write [least, greatest], one of which may be null")
        _ordered_ends(column, *ends)
        checks.append(InRange(column, ends[0], ends[1], s.on))
    return checks


def _ordered_ends(column: str, low: object, high: object) -> None:
    """Raises ValueError for ends that are of no kind that has ranges, of two kinds, or in the wrong order.

    Times of which only one has a time zone are left to the column's type.
    """
    for end in (low, high):
        if isinstance(end, bool) or not isinstance(end, int | float | str | date | None):
            raise ValueError(f"range: {column}: {end!r} is no number, date or time")
    try:
        least, greatest = (moment(end) if isinstance(end, str) else end for end in (low, high))
    except ValueError as error:
        raise ValueError(f"range: {column}: {error}") from error
    if least is None or greatest is None:
        return
    if isinstance(least, date) != isinstance(greatest, date):
        raise ValueError(f"range: {column}: {low!r} and {high!r} are of two kinds, and no column holds both")
    try:
        reverse = bool(least > greatest)  # type: ignore[operator]
    except TypeError:
        return
    if reverse:
        raise ValueError(
            f"range: {column}: {low} lies above {high}; write [least, greatest]: no value lies between the two ends"
        )


def _regex(value: object, s: Setting) -> list[Check]:
    checks: list[Check] = []
    for column, pattern in _by_column(value, "regex", '{email: "^[^@]+@[^@]+$"}'):
        if not isinstance(pattern, str):
            raise ValueError(f"regex: {column}: the pattern is text")
        checks.append(Matches(column, pattern, s.on))
    return checks


def _in(value: object, s: Setting) -> list[Check]:
    checks: list[Check] = []
    for column, values in _by_column(value, "in", "{status: [ok, failed]}"):
        if not isinstance(values, (list, tuple)) or not values or any(v is None for v in values):
            raise ValueError(f"in: {column}: write a list of values; NULL always passes and needs not_null")
        checks.append(OneOf(column, values, s.on))
    return checks


def _ordered(value: object, s: Setting) -> list[Check]:
    return [Ordered(declared(OrderedOptions, value, "ordered"), s.scope, s.on, s.spill, s.memory)]


def _balance(value: object, s: Setting) -> list[Check]:
    return [Balance(declared(BalanceOptions, value, "balance"), s.scope, s.on, s.spill, s.memory)]


def _row_count(value: object, s: Setting) -> list[Check]:
    return [RowCount(declared(RowCountOptions, value, "row_count"), s.on)]


def _freshness(value: object, s: Setting) -> list[Check]:
    return [Freshness(declared(FreshnessOptions, value, "freshness"), s.now, s.on)]


def _distribution(value: object, s: Setting) -> list[Check]:
    return [Distribution(declared(DistributionOptions, value, "distribution"), s.on, s.spill, s.memory)]


KINDS: Mapping[str, Callable[[object, Setting], list[Check]]] = {
    "unique": _unique,
    "not_null": _not_null,
    "range": _range,
    "regex": _regex,
    "in": _in,
    "ordered": _ordered,
    "balance": _balance,
    "row_count": _row_count,
    "freshness": _freshness,
    "distribution": _distribution,
}
