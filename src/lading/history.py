"""What the journal has sealed of an export: runs, the sweeps that made them, and on which terms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Literal

from lading.export.interval import Interval

Kind = Literal["full", "addition"]
DEFAULT_TENANT = "default"


@dataclass(frozen=True, slots=True)
class Delivered:
    """One run that the journal has sealed."""

    tenant: str
    major: int
    interval: Interval
    revision: int
    kind: Kind
    run_id: str
    bound: datetime | None
    reason: str = ""
    unchanged: bool = False  # an incremental run that found nothing: noted, not delivered
    rows: int = 0
    bytes: int = 0
    files: int = 0
    manifest: str | None = None
    key_id: str | None = None  # of the tenant's key, where a mask used it
    supersedes: tuple[str, ...] = ()
    published: bool = True  # False: it waits to be, or a revision took its place before it was


Mode = Literal["append", "incremental", "full_refresh", "continuous"]


@dataclass(frozen=True, slots=True)
class Terms:
    """What decides which rows an interval of a tenant has, by the source's names of columns."""

    mode: Mode
    tenant_column: str | None = None
    window: str | None = None
    late: str | None = None  # event clock: the column that says when a row came; late ones become additions


@dataclass(frozen=True, slots=True)
class Swept:
    """One sealed sweep. ``discover``: whoever had rows in it was found, so that nobody else lags there. ``named``: rows
    of some tenants alone were read, so that a tenant whom nobody knows was not met."""

    interval: Interval
    bound: datetime | None
    discover: bool
    terms: Terms
    inactive: frozenset[str] = frozenset()  # tenants that had rows here and were inactive
    named: bool = False


@dataclass(frozen=True)
class History:
    runs: tuple[Delivered, ...] = ()
    sweeps: tuple[Swept, ...] = ()
    # By major, up to which bound late rows were looked for, everywhere; None: by who knew of one major alone.
    late_checked: Mapping[int | None, datetime] = field(default_factory=dict)
    # interval start -> the end once chosen for it
    ends: Mapping[datetime, datetime] = field(default_factory=dict)

    @cached_property
    def by_start(self) -> Mapping[datetime, Mapping[str, list[Delivered]]]:
        """Runs by interval start and tenant."""
        found: dict[datetime, dict[str, list[Delivered]]] = {}
        for run in self.runs:
            found.setdefault(run.interval.start, {}).setdefault(run.tenant, []).append(run)
        return found

    def looked_for_late(self, majors: Iterable[int]) -> datetime | None:
        """Up to when late rows were looked for, of each of these majors."""
        always = self.late_checked.get(None)
        found = [max(filter(None, (always, self.late_checked.get(m))), default=None) for m in majors]
        known = [at for at in found if at is not None]
        return min(known) if len(known) == len(found) else None

    @cached_property
    def tenants(self) -> frozenset[str]:
        """Whoever had a run, or had rows while inactive."""
        inactive = (tenant for sweep in self.sweeps for tenant in sweep.inactive)
        return frozenset(run.tenant for run in self.runs).union(inactive)

    @cached_property
    def inactive_at(self) -> Mapping[datetime, frozenset[str]]:
        """By interval start, tenants that had rows in it when it was swept, and were inactive then."""
        found: dict[datetime, frozenset[str]] = {}
        for sweep in self.sweeps:
            if sweep.inactive:
                start = sweep.interval.start
                found[start] = found.get(start, frozenset()) | sweep.inactive
        return found

    @cached_property
    def met(self) -> frozenset[datetime]:
        """Starts of the intervals of which all rows were read once: an unknown tenant would have been met."""
        return frozenset(sweep.interval.start for sweep in self.sweeps if not sweep.named)

    @cached_property
    def discovered(self) -> frozenset[datetime]:
        """Starts of the intervals whose tenants were all discovered."""
        return frozenset(sweep.interval.start for sweep in self.sweeps if sweep.discover)


def held_of(runs: Sequence[Delivered]) -> dict[int, list[Delivered]]:
    """By major, what one tenant has of an interval: a full delivery that nothing replaced, and the additions to it."""
    gone = {run_id for run in runs for run_id in run.supersedes}
    found: dict[int, list[Delivered]] = {}
    for run in runs:
        if run.run_id not in gone:
            found.setdefault(run.major, []).append(run)
    return {major: each for major, each in found.items() if any(run.kind == "full" for run in each)}


def newest_of(runs: Sequence[Delivered]) -> tuple[Delivered, ...]:
    """The run of the highest revision: two, where two majors were delivered at once."""
    highest = max(run.revision for run in runs)
    return tuple(run for run in runs if run.revision == highest)


def standing_runs(runs: Iterable[Delivered]) -> tuple[Delivered, ...]:
    """Of one tenant and interval: the newest full delivery and the additions after it. The rest is superseded."""
    ordered = sorted(runs, key=lambda run: run.revision)
    full = max((run.revision for run in ordered if run.kind == "full"), default=0)
    return tuple(run for run in ordered if run.revision >= full)
