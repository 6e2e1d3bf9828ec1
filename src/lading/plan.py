"""What is due: contract + export + history + clock -> sweeps. Pure: no I/O, no clock, no randomness.

The history is what the journal has sealed, and nothing else, so that two processes that see the same journal plan the
same runs. See `docs/commit-protocol.md` for why a plan made from a stale history cannot be claimed.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from lading.documents import nearest
from lading.errors import InvalidProject, NotDue
from lading.export.identity import instant
from lading.export.interval import Interval
from lading.history import (
    Delivered,
    History,
    Kind,
    Terms,
    held_of,
    newest_of,
    standing_runs,
)


@dataclass(frozen=True, slots=True)
class RunPlan:
    tenant: str
    revision: int = 0
    kind: Kind = "full"
    supersedes: tuple[str, ...] = ()
    reason: str = ""
    beside: bool = False  # under the other major that the export delivers


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """One reading: its interval, the runs it serves, and the arrivals it takes (late rows only: from ``since``)."""

    interval: Interval
    runs: tuple[RunPlan, ...]
    discover: bool = False
    since: datetime | None = None
    delivered: frozenset[str] = frozenset()  # tenants whose rows here are not for this sweep
    inactive: frozenset[str] = frozenset()  # those of them that are inactive: the seal says if they had rows
    only_named: bool = False  # read the rows of these tenants alone
    doubtful: frozenset[str] = frozenset()  # asked for by name but known from nowhere: without a row, a typo
    reason: str = ""  # of all its runs, those of tenants whom it discovers among them


@dataclass(frozen=True, slots=True)
class Clock:
    """``now``: the source's clock. ``arrived``: up to when every row is known to have arrived. ``bound``: up to where
    an interval may end, which is earlier where a safety lag is asked for. ``reached``: where the window's column is a
    date, the bound as it was before it was taken back to a midnight; schedules tick by it."""

    now: datetime
    bound: datetime
    arrived: datetime
    reached: datetime | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """What an export's definition says about when and for whom, as far as planning needs it."""

    terms: Terms
    major: int
    beside: int | None = None  # another major, delivered to the same tenants by the same sweeps
    clock: Literal["transaction", "event"] = "transaction"
    grid: tuple[Interval, ...] = ()  # append: every interval whose end is past, oldest first
    start: datetime | None = None  # incremental: where the first run starts
    tick: Interval | None = None  # full_refresh: the interval that begins with the latest tick
    latest: datetime | None = (
        None  # full_refresh: the latest tick that is past; `tick` is another where one was asked for
    )
    upto: datetime | None = None  # incremental: the latest tick at or before the bound, with a schedule
    discover: bool = False
    listed: tuple[str, ...] = ()  # active tenants of tenants/, or the one default tenant
    inactive: frozenset[str] = frozenset()  # tenants whose rows are known and not delivered
    merged: bool = False  # incremental: into a table, by key, where the last to come wins

    @property
    def majors(self) -> tuple[int, ...]:
        return (self.major,) if self.beside is None else (self.major, self.beside)


@dataclass(frozen=True, slots=True)
class Asked:
    """What the caller asks for. Without an interval: everything due."""

    tenants: tuple[str, ...] | None = None
    start: datetime | None = None
    end: datetime | None = None
    revise: bool = False
    reason: str = ""
    backfill: bool = False  # intervals delivered under other contract majors alone count as undelivered

    @property
    def everything(self) -> bool:
        return self.tenants is None and self.start is None and self.end is None

    def covers(self, tenant: str, interval: Interval) -> bool:
        return (
            (self.tenants is None or tenant in self.tenants)
            and (self.start is None or interval.start >= self.start)
            and (self.end is None or interval.end <= self.end)
        )


@dataclass(frozen=True, slots=True)
class Plan:
    sweeps: tuple[SweepPlan, ...] = ()
    skipped: tuple[Delivered, ...] = ()
    not_due: tuple[Interval, ...] = ()


def known_tenants(standing: Standing, history: History) -> tuple[str, ...]:
    """Those in tenants/ and, where tenants are discovered, those with earlier runs."""
    known = set(standing.listed)
    if standing.discover:
        known |= history.tenants - standing.inactive
    return tuple(sorted(known))


def unknown_tenants(standing: Standing, history: History, asked: Asked) -> frozenset[str]:
    """Those asked for by name that are known from nowhere: new, or misspelt, which the source's rows will tell."""
    return frozenset(asked.tenants or ()) - set(known_tenants(standing, history))


def plan(standing: Standing, history: History, clock: Clock, asked: Asked | None = None) -> Plan:
    """The sweeps that are due, oldest first, the runs that need nothing, and the intervals that must wait.

    Raises InvalidProject where the definition contradicts what was delivered or the request makes no sense.
    """
    asked = asked or Asked()
    if asked.start is not None and asked.end is not None and asked.start >= asked.end:
        raise InvalidProject(
            f"The interval {instant(asked.start)} to {instant(asked.end)} is empty: its start must lie before its end."
        )
    refuse_tenants(standing, asked.tenants or ())
    _refuse_other_terms(standing.terms, history)
    if standing.terms.mode == "append":
        return _append(standing, history, clock, asked)
    if standing.terms.mode == "full_refresh":
        return _full_refresh(standing, history, clock, asked)
    return _incremental(standing, history, clock, asked)


def refuse_tenants(standing: Standing, asked: Iterable[str]) -> None:
    """Raises InvalidProject for a tenant that can have no run."""
    unknown = sorted(set(asked) - set(standing.listed) - standing.inactive)
    if unknown and not standing.discover:
        near = nearest(unknown[0], standing.listed) or "."
        raise InvalidProject(
            f"Unknown tenant {unknown[0]!r}{near}", hint="List it in tenants/, or discover tenants."
        )
    inactive = set(asked) & standing.inactive
    if inactive:
        raise InvalidProject(
            f"Tenant {sorted(inactive)[0]!r} is inactive.", hint="Set active: true in its file of tenants/."
        )


def _wanted(standing: Standing, history: History, asked: Asked) -> tuple[tuple[str, ...], bool]:
    """The tenants to serve by name, and whether others are to be discovered."""
    if asked.tenants is not None:
        return tuple(sorted(set(asked.tenants))), False
    return known_tenants(standing, history), standing.discover


def _at(history: History, start: datetime) -> dict[str, list[Delivered]]:
    return dict(history.by_start.get(start, {}))


def _served(standing: Standing, here: Mapping[str, list[Delivered]]) -> dict[str, list[Delivered]]:
    """Of the runs of an interval, those of tenants who have every major that the export delivers now."""
    held = {tenant: held_of(runs) for tenant, runs in here.items()}
    return {
        tenant: [run for major in standing.majors for run in each[major]]
        for tenant, each in held.items()
        if each.keys() >= set(standing.majors)
    }


def _revision(runs: Iterable[Delivered]) -> int:
    return max((run.revision for run in runs), default=-1) + 1


def _replaced(standing: Standing, runs: Sequence[Delivered], major: int) -> tuple[str, ...]:
    """What a new full delivery under a major takes the place of, of one tenant and interval.

    Beside another major, nothing but its own. Alone, what was delivered under the one before, too, unless that went
    out beside it. What was not published tells no reader what it had taken the place of, so that is named again.
    """
    own = [run for run in runs if run.major == major]
    apart = standing.beside is not None or any(run.kind == "full" for run in own)
    found = [run for run in standing_runs(own if apart else runs) if not run.unchanged]
    for run in found:  # which grows
        if not run.published:
            found += [old for old in runs if old.run_id in run.supersedes and old not in found]
    return tuple(run.run_id for run in found)


def _runs(
    standing: Standing, tenant: str, here: Sequence[Delivered] = (), reason: str = ""
) -> tuple[RunPlan, ...]:
    """The next full deliveries of an interval to a tenant, one for each major that is to have one: all, with a
    ``reason``, and else those that have none. ``here``: the tenant's runs of that interval."""
    held, revision = held_of(here), _revision(here)
    majors = [m for m in standing.majors if reason or standing.beside is None or m not in held]
    return tuple(
        RunPlan(tenant, revision, "full", _replaced(standing, here, m), reason, m != standing.major)
        for m in majors
    )


def _revised(
    standing: Standing, tenants: Iterable[str], here: Mapping[str, list[Delivered]], reason: str
) -> tuple[list[RunPlan], list[Delivered]]:
    """Full revisions for ``tenants``: those to make, and those whose newest revision has this reason already."""
    make: list[RunPlan] = []
    have: list[Delivered] = []
    for tenant in tenants:
        runs = here.get(tenant, [])
        newest = newest_of(runs) if runs else ()
        if newest and all(run.kind == "full" and run.reason == reason for run in newest):
            have.extend(newest)
        else:
            make.extend(_runs(standing, tenant, runs, reason=reason))
    return make, have


def _interval_sweep(
    standing: Standing, history: History, asked: Asked, interval: Interval
) -> tuple[SweepPlan | None, list[Delivered]]:
    """The sweep that ``interval`` still needs, if any, and the runs there that need nothing."""
    tenants, discover = _wanted(standing, history, asked)
    every = _at(history, interval.start)
    here = _served(standing, every) if asked.backfill else every
    doubtful = unknown_tenants(standing, history, asked)
    if asked.revise:
        whom = (set(tenants) | (set(here) if discover else set())) - standing.inactive
        make, have = _revised(standing, whom, every, asked.reason)
        # Who is to be discovered is known by no run: whether somebody is left, a sweep that discovered everybody says.
        if not make and (not discover or (have and interval.start in history.discovered)):
            return None, have
        done = frozenset(run.tenant for run in have) | standing.inactive
        named = asked.tenants is not None
        sweep = SweepPlan(interval, _sorted(make), discover, delivered=done, only_named=named)
        return replace(sweep, inactive=standing.inactive, doubtful=doubtful, reason=asked.reason), have
    swept = interval.start in history.discovered and not asked.backfill
    discover = discover and not swept
    # Who was discovered later had no rows here: the sweep that discovered everybody would have met them.
    lagging = set(standing.listed) if swept and asked.tenants is None else set(tenants)
    if swept and standing.discover and asked.tenants is None:
        lagging |= history.inactive_at.get(interval.start, frozenset()) - standing.inactive
    make = [run for tenant in lagging - set(here) for run in _runs(standing, tenant, every.get(tenant, ()))]
    have = [run for t, runs in here.items() if not asked.tenants or t in tenants for run in newest_of(runs)]
    if not make and not discover:
        return None, have
    return (
        SweepPlan(
            interval,
            _sorted(make),
            discover,
            delivered=frozenset(here) | standing.inactive,
            inactive=standing.inactive,
            only_named=asked.tenants is not None or (not discover and interval.start in history.met),
            doubtful=doubtful,
        ),
        have,
    )


def _sorted(runs: Iterable[RunPlan]) -> tuple[RunPlan, ...]:
    return tuple(sorted(runs, key=lambda run: (run.tenant, run.beside)))


def _append(standing: Standing, history: History, clock: Clock, asked: Asked) -> Plan:
    _refuse_cut(standing.grid, history)
    chosen = [
        interval
        for interval in standing.grid
        if (asked.start is None or interval.start >= asked.start)
        and (asked.end is None or interval.end <= asked.end)
    ]
    explicit = asked.start is not None or asked.end is not None
    if asked.revise and not explicit:
        raise InvalidProject(
            "--revise needs --start and --end: without them every interval would go out again.",
            hint="Name the intervals that must be delivered anew.",
        )
    if explicit and not chosen:
        raise InvalidProject(
            "No interval of the export's grid lies in what was asked for.",
            hint="--start and --end must enclose at least one whole interval; window.start, window.every and "
            "window.end of the export's file make the grid.",
        )
    sweeps, skipped, not_due = [], [], []
    for interval in chosen:
        if interval.end > clock.bound:
            if explicit:
                not_due.append(interval)
            continue
        sweep, have = _interval_sweep(standing, history, asked, interval)
        if sweep:
            sweeps.append(sweep)
        skipped.extend(have)
    if not explicit and skipped:
        # The newest interval speaks for the others: a report of all history helps nobody.
        newest = max(run.interval.start for run in skipped)
        skipped = [run for run in skipped if run.interval.start == newest]
    return Plan(tuple(sweeps), tuple(skipped), tuple(not_due))


def _refuse_other_terms(now: Terms, history: History) -> None:
    """What was delivered on some terms cannot be told from what would be delivered on others.

    Late rows may come to be ignored. The other way round nobody knows any more which of them had come in time.
    """
    for then in {sweep.terms for sweep in history.sweeps}:
        mode = {"continuous": "incremental"}
        changed = {
            "mode": (then.mode, now.mode, mode.get(then.mode, then.mode) != mode.get(now.mode, now.mode)),
            "tenants.column": (
                then.tenant_column,
                now.tenant_column,
                then.tenant_column != now.tenant_column,
            ),
            "window.column": (then.window, now.window, then.window != now.window),
            "window.late.column": (then.late, now.late, now.late is not None and then.late != now.late),
        }
        for what, (before, after, differs) in changed.items():
            if differs:
                raise InvalidProject(
                    f"{what} was {before or 'not set'} for what is delivered already and is {after or 'not set'} now.",
                    hint="Keep it, or start a new export: rows would go out again, or never.",
                )


def _refuse_cut(grid: Sequence[Interval], history: History) -> None:
    """A changed ``every`` may not cut an interval that was swept."""
    starts = [interval.start for interval in grid]
    swept = {run.interval for run in history.runs} | {sweep.interval for sweep in history.sweeps}
    for interval in swept:
        # Of the grid's intervals, ordered and disjoint, the last one that begins before this one ends may overlap it.
        index = bisect.bisect_left(starts, interval.end) - 1
        if index >= 0 and grid[index].end > interval.start and grid[index] != interval:
            raise InvalidProject(
                f"window.every cuts the delivered interval {instant(interval.start)} to {instant(interval.end)}.",
                hint="Keep the grid, or start a new export that begins where the old one ended.",
            )


def _full_refresh(standing: Standing, history: History, clock: Clock, asked: Asked) -> Plan:
    """The rows are those of now, so they may go out as of the latest tick alone; an earlier one can only be there."""
    interval = standing.tick
    if asked.start is not None or asked.end is not None:
        raise InvalidProject(
            "--start and --end name intervals, and a full refresh has none: it delivers everything.",
            hint="Leave them out: what is delivered is as of the latest tick of the schedule.",
        )
    if interval is None or interval.start > clock.now:
        tick = f" {instant(interval.start)}" if interval else ""
        raise NotDue(f"The tick{tick} of this export lies in the future.", hint="Call it again then.")
    newest = max(history.by_start, default=interval.start)
    if interval.start < newest and standing.latest in (None, interval.start):
        if asked.revise:
            raise InvalidProject(
                f"What is delivered as of {instant(newest)} is newer than this schedule's latest tick, "
                f"{instant(interval.start)}.",
                hint="Wait for its next tick: readers keep what is newest.",
            )
        return Plan((), tuple(run for runs in history.by_start[newest].values() for run in newest_of(runs)))
    sweep, have = _interval_sweep(standing, history, asked, interval)
    if sweep is not None and standing.latest is not None and interval.start < standing.latest:
        raise InvalidProject(
            f"--as-of: the tick {instant(interval.start)} is past, and its rows are gone: "
            f"what the source holds now can only be delivered as of {instant(standing.latest)}.",
            hint="Leave --as-of out, or name a time from the latest tick on.",
        )
    return Plan((sweep,) if sweep else (), tuple(have))


def _incremental(standing: Standing, history: History, clock: Clock, asked: Asked) -> Plan:
    if asked.start is not None or asked.end is not None:
        return _again(standing, history, clock, asked)
    if asked.revise:
        raise InvalidProject(
            "--revise of an incremental export needs --start and --end of a delivered interval, or of one that was "
            "tried and failed.",
            hint="`lading runs` lists them.",
        )
    return _onward(standing, history, clock, asked)


def _onward(standing: Standing, history: History, clock: Clock, asked: Asked) -> Plan:
    """One sweep per watermark: tenants at the same watermark share it, laggards form their own."""
    assert standing.start is not None
    reason = asked.reason if asked.revise else ""
    upto = min(clock.bound, standing.upto) if standing.upto else clock.bound
    tenants, discover = _wanted(standing, history, asked)
    last: dict[str, Delivered] = {}
    for run in history.runs:
        if run.tenant not in last or _age(run) > _age(last[run.tenant]):
            last[run.tenant] = run
    # Nobody unknown had rows before the newest discovering sweep ended: newcomers start there.
    frontier = max((s.interval.end for s in history.sweeps if s.discover), default=standing.start)
    left = {tenant for sweep in history.sweeps for tenant in sweep.inactive}
    groups: dict[datetime, list[RunPlan]] = {}
    for tenant in tenants:
        # Merged into a table, the next interval would leave its newest one no way to be revised.
        if standing.merged and tenant in last and not last[tenant].published:
            continue
        fresh = standing.start if tenant in standing.listed or tenant in left else frontier
        at = last[tenant].interval.end if tenant in last else fresh
        groups.setdefault(at, []).extend(_runs(standing, tenant, reason=reason))
    if discover:
        groups.setdefault(frontier, [])
    sweeps: list[SweepPlan] = []
    skipped: list[Delivered] = []
    doubtful = unknown_tenants(standing, history, asked)
    for start, runs in sorted(groups.items()):
        end = history.ends.get(start, upto)
        if start < end <= clock.bound:
            others = frozenset(known_tenants(standing, history)) - {run.tenant for run in runs}
            finding = discover and start == frontier
            sweeps.append(
                SweepPlan(
                    Interval(start, end),
                    _sorted(runs),
                    finding,
                    delivered=others | standing.inactive,
                    inactive=standing.inactive,
                    # Whoever runs for everybody must meet rows of a tenant that nobody knows, where the first begin.
                    only_named=asked.tenants is not None or (not finding and start != min(groups)),
                    doubtful=doubtful & {run.tenant for run in runs},
                    reason=reason,
                )
            )
        else:
            skipped.extend(last[run.tenant] for run in runs if run.tenant in last and not run.beside)
    return Plan(tuple(sweeps), tuple(skipped))


def _age(run: Delivered) -> tuple[datetime, int]:
    return run.interval.end, run.revision


def _again(standing: Standing, history: History, clock: Clock, asked: Asked) -> Plan:
    """Intervals of an incremental export, by name: revised, or shown to be there.

    A revision is for those who have a run there, and for those who would go on there anyway, if an attempt has chosen
    the interval's end: it failed, and the reason says that it need not again. Others have a place of their own from
    which they go on, before this interval or after it: a run here would take them away from it.
    """
    sweeps: list[SweepPlan] = []
    skipped: list[Delivered] = []
    delivered = {
        run.interval
        for run in history.runs
        if not run.unchanged or (asked.revise and run.reason == asked.reason)
    }
    onward = {
        sweep.interval: sweep
        for sweep in (_onward(standing, history, clock, asked).sweeps if asked.revise else ())
        if sweep.interval.start in history.ends
    }
    chosen = [
        interval
        for interval in sorted(delivered | onward.keys())
        if (asked.start is None or interval.start >= asked.start)
        and (asked.end is None or interval.end <= asked.end)
    ]
    if not chosen:
        raise InvalidProject(
            "No delivered interval lies in what was asked for.",
            hint="The intervals of an incremental export follow from its runs: `lading runs` lists them. None is "
            "revised behind one that is committed and not published: deliver that first.",
        )
    waiting: set[str] = set()  # tenants with a revision of an older interval in this plan
    for interval in chosen:
        here = {
            t: r for t, r in _at(history, interval.start).items() if not asked.tenants or t in asked.tenants
        }
        if not asked.revise:
            make = [
                run
                for tenant, runs in here.items()
                if asked.backfill and standing.beside is not None and tenant not in standing.inactive
                if any(not run.unchanged for run in runs)
                for run in _runs(standing, tenant, runs)
            ]
            if make:
                sweeps.append(SweepPlan(interval, _sorted(make), only_named=True))
            lacking = {run.tenant for run in make}
            skipped.extend(run for t, runs in here.items() if t not in lacking for run in newest_of(runs))
            continue
        make, have = _revised(standing, here.keys() - standing.inactive, here, asked.reason)
        skipped.extend(have)
        revised = {run.tenant for run in make}
        if make and standing.merged:
            refuse_older(history, interval, revised)
        sweep = onward.get(interval)
        # Behind a newer interval, what is merged could not be revised: it is begun when the revision has ended well.
        if sweep is not None and standing.merged and waiting & {run.tenant for run in sweep.runs}:
            sweep = None
        if sweep is not None:
            both = _sorted((*sweep.runs, *make))
            sweeps.append(replace(sweep, runs=both, delivered=sweep.delivered - revised))
        elif make:
            sweeps.append(SweepPlan(interval, _sorted(make), only_named=True, reason=asked.reason))
        waiting |= revised
    if not sweeps and not skipped:
        raise InvalidProject("None of these tenants has a delivery in what was asked for.")
    return Plan(tuple(sweeps), tuple(skipped))


def owed(standing: Standing, history: History) -> tuple[Interval, ...]:
    """Append: the intervals of the grid of which a run for everybody makes a sweep when they are due, oldest first.

    Refuses nothing: a definition that contradicts what was delivered owes intervals all the same.
    """
    asked = Asked()
    return tuple(i for i in standing.grid if _interval_sweep(standing, history, asked, i)[0] is not None)


def lacking(standing: Standing, history: History) -> dict[int, list[Interval]]:
    """By major, of the two that are delivered: the delivered intervals that some tenant does not have under it and that
    a backfill would bring, oldest first. Of a full refresh none: its rows are those of now."""
    if standing.beside is None or standing.terms.mode == "full_refresh":
        return {}
    known, grid = set(known_tenants(standing, history)), set(standing.grid)
    found: dict[int, set[Interval]] = {}
    for here in history.by_start.values():
        for tenant, runs in here.items():
            reached = standing.terms.mode != "append" or runs[0].interval in grid
            if tenant in known and reached and not all(run.unchanged for run in runs):
                for major in set(standing.majors) - held_of(runs).keys():
                    found.setdefault(major, set()).add(runs[0].interval)
    return {major: sorted(found[major]) for major in standing.majors if major in found}


def refuse_older(history: History, interval: Interval, tenants: Iterable[str]) -> None:
    """Raises InvalidProject where one of the tenants has a delivery that begins after this interval: what is merged
    last wins, so that a revision would put old values back over newer ones."""
    for tenant in sorted(tenants):
        newest = max(
            (run.interval for run in history.runs if run.tenant == tenant and not run.unchanged),
            key=lambda each: each.start,
            default=interval,
        )
        if newest.start > interval.start:
            raise InvalidProject(
                f"The interval from {instant(interval.start)} is older than the newest of tenant {tenant!r}, which "
                f"begins at {instant(newest.start)}: merged again, its rows would take the place of newer ones.",
                hint="Only the newest interval can be revised: name by --tenant those whose newest it is. For older "
                "ones change the rows in the source, so that they are delivered as new, or start a new export, under a "
                "new name and in a namespace of its own.",
            )


def late_window(standing: Standing, history: History, asked: Asked) -> tuple[datetime, Interval] | None:
    """Where late rows must be looked for: arrivals from the first value on, in the interval from the first delivered
    to the last. None where there is nothing to look for."""
    sweeps = [sweep for sweep in history.sweeps if sweep.bound is not None]
    if standing.terms.late is None or not sweeps or asked.revise:
        return None
    since = history.looked_for_late(standing.majors) or min(sweep.bound for sweep in sweeps if sweep.bound)
    return since, Interval(min(s.interval.start for s in sweeps), max(s.interval.end for s in sweeps))


def _reached(standing: Standing, here: Sequence[Delivered]) -> dict[int, datetime]:
    """By major, up to which bound a tenant has the rows of an interval: of the majors that have a full delivery to add
    to. One that is delivered alone and has none adds to what another had delivered before it."""
    held = held_of(here)
    if standing.beside is None and standing.major not in held:
        held = {standing.major: list(here)}
    bounds = {
        major: [run.bound for run in held[major] if run.bound] for major in standing.majors if major in held
    }
    return {major: max(each) for major, each in bounds.items() if each}


def additions(
    standing: Standing, history: History, late: Mapping[tuple[str, datetime], datetime], asked: Asked
) -> tuple[SweepPlan, ...]:
    """Sweeps for late rows. ``late``: (tenant, interval start) -> the newest arrival met there.

    Runs with the same last bound share a sweep; a tenant without one in that interval gets its first. Two majors may
    have come to different bounds: the rows in between are late for one of them alone.
    """
    groups: dict[tuple[Interval, datetime | None], list[RunPlan]] = {}
    swept = {s.interval.start: s.interval for s in history.sweeps}
    for (tenant, start), newest in late.items():
        if not asked.covers(tenant, swept[start]):
            continue
        if tenant not in standing.listed and not standing.discover:
            continue
        here = _at(history, start).get(tenant, [])
        if not here:
            groups.setdefault((swept[start], None), []).extend(_runs(standing, tenant))
            continue
        reached = _reached(standing, here)
        for revision, last in enumerate(sorted(set(reached.values())), _revision(here)):
            if newest >= last:
                groups.setdefault((swept[start], last), []).extend(
                    RunPlan(tenant, revision, "addition", beside=major != standing.major)
                    for major, bound in reached.items()
                    if bound == last
                )
    ordered = sorted(
        groups.items(), key=lambda item: (item[0][0], item[0][1] is not None, item[0][1] or item[0][0].end)
    )
    return tuple(
        SweepPlan(interval, _sorted(runs), since=since, only_named=True)
        for (interval, since), runs in ordered
    )
