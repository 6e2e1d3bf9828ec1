"""The story of a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from lading.errors import Fenced, IntegrityError, InvalidProject, LadingError, counted
from lading.events import (
    DeliveredBefore,
    Noticed,
    RunCommitted,
    SweepDone,
    SweepFailed,
    SweepsDue,
    Waiting,
)
from lading.export.identity import instant
from lading.export.interval import Interval, midnight
from lading.history import Delivered, History
from lading.journal.log import Attempt as AttemptRef
from lading.journal.log import Claim, Seen, interval_of, sealed
from lading.journal.owner import Owner
from lading.plan import (
    Asked,
    Clock,
    Plan,
    RunPlan,
    Standing,
    SweepPlan,
    additions,
    known_tenants,
    lacking,
    late_window,
    plan,
)
from lading.ports import Cumulative
from lading.run.expire import expire
from lading.run.job import Binding, Job, Result
from lading.run.late import find_late
from lading.run.publish import Blocked, publish, published, roll_forward
from lading.run.sweep import Attempt
from lading.run.turns import take_turn


def clock_of(job: Job, binding: Binding | None = None) -> Clock:
    """The source's clock and bound; raises InvalidProject where the bound is unknown and no safety lag is given.

    ``binding`` says which columns are dates. More rows may come with a date for as long as its day goes on, so bounds
    of dates are midnights in UTC.
    """
    bound = job.source.bound(job.dataset)
    lag = timedelta(seconds=job.safety_lag or 0)
    if job.window is None:
        return Clock(bound.now, bound.now, bound.at or bound.now)
    if bound.at is not None:
        event = job.window.clock == "event"
        upto = bound.at - lag if event else min(bound.at, bound.now - lag)
        clock = Clock(bound.now, upto, bound.at if event else upto)
    elif job.safety_lag is None:
        raise InvalidProject(
            f"{job.export}: up to when all rows have arrived cannot be known: {bound.why}.",
            hint="Give window.safety_lag: how late a row may become visible; for tables, how long the longest writing "
            "transaction may take.",
        )
    else:
        clock = Clock(bound.now, bound.now - lag, bound.now - lag)
    by_day = binding.by_day if binding is not None else frozenset()
    if job.window.arrival in by_day:
        clock = replace(clock, bound=midnight(clock.bound), arrived=midnight(clock.arrived))
    if job.window.column in by_day:
        clock = replace(clock, bound=midnight(clock.bound), reached=clock.bound)
    return clock


def told_lacking(job: Job, standing: Standing, history: History) -> Iterator[str]:
    """For each of two majors, how much it lacks of what was delivered under the other alone, and what brings it."""
    for major, intervals in lacking(standing, history).items():
        start, end = instant(intervals[0].start), instant(max(interval.end for interval in intervals))
        yield (
            f"{job.entity}@{major} lacks {counted(len(intervals), 'delivered interval')}: "
            f"`lading backfill {job.export} --start {start} --end {end}` delivers "
            f"{'it' if len(intervals) == 1 else 'them'}"
        )


def run(job: Job, asked: Asked | None = None, *, wait: bool = True) -> list[Result]:
    """Does everything that is due, or what ``asked`` names, and says what became of each run.

    Failures are results (``status`` failed), not exceptions; what makes every run impossible is raised.
    """
    return Story(job, asked or Asked(), wait).tell()


@dataclass(slots=True)
class Story:
    job: Job
    asked: Asked
    wait: bool
    results: list[Result] = field(default_factory=list)
    blocked: Blocked = field(default_factory=Blocked)
    tried: set[tuple[datetime, bool]] = field(default_factory=set)
    history: History = field(default_factory=History)
    fresh: bool = False
    merged: bool = False  # into a table, in the order of intervals
    stale: set[SweepPlan] = field(default_factory=set)
    _binding: Binding | None = None

    def tell(self) -> list[Result]:
        job = self.job
        self.fresh = not job.journal.seen(job.export)
        self._catch_up()
        clock = self._clock()
        standing = job.standing(clock, self.asked.end)
        self.merged = standing.merged
        due = plan(standing, self.history, clock, self.asked)
        self._report_not_due(due)
        if due.sweeps:
            job.clear()  # what refuses one sweep refuses all, so it is raised
            job.equipped(())
        job.on_event(SweepsDue(job.export, len(due.sweeps)))
        skipped, known = due.skipped, set(known_tenants(standing, self.history))
        pending = iter(due.sweeps)
        while sweep := self._next(pending):
            done = self._sweep(sweep)
            if done is None:
                self._catch_up()
            elif standing.terms.mode == "append" and known.issuperset(run["tenant"] for run in done["runs"]):
                continue  # intervals do not depend on each other but for tenants who were met first in one
            due = plan(standing, self.history, clock, self.asked)
            if done is None:
                skipped = due.skipped
            pending, known = iter(due.sweeps), set(known_tenants(standing, self.history))
        if not any(result.status == "failed" for result in self.results):
            self._late()
        if job.keep is not None:
            expire(job, job.keep)
        self._report_unpublished()
        self._report_skipped(skipped)
        self._tell_of_others()
        for notice in told_lacking(job, standing, self.history):
            job.on_event(Noticed(job.export, notice))
        return self.results

    # --- steps

    def _catch_up(self) -> bool:
        """Rolls forward, then reads the history; says whether every attempt in it has ended.

        Both look at one listing: what it shows as sealed is published before anything is planned on top of it, and what
        it does not show does not count as delivered.
        """
        journal, export = self.job.journal, self.job.export
        seen = journal.seen(export)
        roll_forward(self.job, seen, self.blocked, wait=self.wait)
        ended = all(at.ended for attempts in seen.values() for at in attempts)
        self.history = journal.history(export, seen, self.blocked.ids | self.blocked.replaced)
        return ended

    def _next(self, due: Iterator[SweepPlan]) -> SweepPlan | None:
        """The oldest sweep that this call has not tried."""
        return next((s for s in due if (s.interval.start, s.since is not None) not in self.tried), None)

    def _late(self) -> None:
        """Late rows of delivered intervals, as additions; then notes up to when they were looked for.

        The clock is read before the journal is listed, and nothing is noted while an attempt is open: it may yet be
        sealed with an older bound, and what arrived since would never be looked for.
        """
        job = self.job
        if job.window is None or job.window.arrival is None or self.asked.revise:
            return
        clock = self._clock()
        complete = self._catch_up()
        history, standing = self.history, job.standing(clock, self.asked.end)
        where = late_window(standing, history, self.asked)
        if where is None:
            return
        began = time.monotonic()
        try:
            late = find_late(job, self._bound_binding(), where[0], where[1], clock, standing, history)
        except LadingError as error:
            self._failed(SweepPlan(where[1], ()), error, began)
            return
        # Nor while a tenant is inactive: its late rows are looked for when it is active again.
        complete = complete and self.asked.everything and not standing.inactive
        for sweep in additions(standing, history, late, self.asked):
            complete = self._sweep(sweep) is not None and complete
        if complete and clock.arrived > where[0]:
            job.journal.note_late(job.export, clock.arrived, standing.majors)

    def _sweep(self, sweep: SweepPlan) -> Mapping[str, Any] | None:
        """Claims and carries out one sweep. The seal's record; None if it failed or somebody else was there."""
        job, start = self.job, sweep.interval.start
        binding = self._bound_binding()
        attempts = job.journal.seen(job.export, start).get(start, [])
        # An attempt may be listed open and a later one ended: every one must have ended to be believed.
        still_open = next((at for at in attempts if not at.ended), None)
        if still_open is not None:
            self._settle(still_open)
            return None
        if [at.attempt.number for at in attempts] != list(range(1, len(attempts) + 1)):
            raise IntegrityError(
                f"The journal has lost attempts of {job.export}, interval {instant(start)}.",
                hint="Restore the journal from its backup.",
            )
        if not self._still_due(sweep, attempts):
            self._refuse_stale(sweep)
            return None
        began = time.monotonic()
        try:
            clearance = job.clear()  # again, for a call may take longer than an approval
            job.equipped({run.tenant for run in sweep.runs if not job.quiet(run)})
        except LadingError as error:
            self.tried.add((start, sweep.since is not None))
            self._failed(sweep, error, began)
            return None
        reference = AttemptRef(job.export, start, len(attempts) + 1)
        claim = job.journal.claim(reference, self._claim_record(sweep))
        if claim is None:
            return None
        # From here on this call has had its try: a second one within it would only repeat the failure.
        self.tried.add((start, sweep.since is not None))
        with claim:
            try:
                # Read after the claim, so that whoever looks for late rows meets either this attempt or its bound.
                clock = clock_of(job, binding)
                # Whoever needs none of them need not wait for all of history to be gone through.
                joins = isinstance(job.channel, Cumulative)
                before = published(self.history) if joins else {}
                attempt = Attempt(
                    job, claim, sweep, clock, binding, self._key_ids(), self.fresh, clearance, before
                )
                record = self._write(sweep, attempt, claim)
            except LadingError as error:
                self._failed(sweep, error, began)
                return None
            job.on_event(SweepDone(job.export, start, sweep.interval.end, len(record["runs"]), _rows(record)))
            blocked = self.blocked.ids
            manifests = publish(job, reference, record, self.blocked)
        self._report(sweep, record, manifests, began)
        self.history = _extended(self.history, record, self.blocked.ids)
        if blocked - self.blocked.ids:
            self._catch_up()  # what waited behind a run whose place this one took
        return record

    def _key_ids(self) -> dict[str, str]:
        """By tenant, the key that masked its newest delivery."""
        if not self.job.keyed:
            return {}
        newest: dict[str, Delivered] = {}
        for run in self.history.runs:
            if run.key_id is not None and (
                run.tenant not in newest or _place(run) >= _place(newest[run.tenant])
            ):
                newest[run.tenant] = run
        return {tenant: run.key_id for tenant, run in newest.items() if run.key_id is not None}

    def _write(self, sweep: SweepPlan, attempt: Attempt, claim: Claim) -> Mapping[str, Any]:
        """Writes and seals. What fails before the seal is closed and removed."""
        job = self.job
        try:
            if self.merged:
                take_turn(
                    job, sweep, self.blocked, wait=self.wait, waiting=self._waiting(sweep.interval.start)
                )
            record = attempt.write()
        except (Exception, KeyboardInterrupt) as error:
            attempt.fail(error)
            raise
        try:
            claim.seal(record)
        except Fenced:
            attempt.discard()
            raise
        # Any other failure of the seal leaves its outcome unknown, so nothing is touched: whoever comes next finds
        # either the seal, and publishes, or none, and fences the attempt.
        for run in record["runs"]:
            if run["status"] == "committed":
                job.on_event(RunCommitted(job.export, run["tenant"], run["run_id"], run["rows"]))
        return record

    def _settle(self, seen: Seen) -> None:
        job = self.job
        job.journal.settle(
            seen.attempt,
            wait=self.wait,
            upto="end.json",
            waiting=self._waiting(seen.attempt.start),
        )

    def _waiting(self, start: datetime) -> Callable[[Owner], object]:
        return lambda owner: self.job.on_event(Waiting(self.job.export, start, str(owner)))

    def _still_due(self, sweep: SweepPlan, before: list[Seen]) -> bool:
        """False where the plan was made before one of these attempts was sealed. What they say is final for the next
        one: its claim fails if there is another attempt by then."""
        job = self.job
        history = job.journal.history(job.export, {sweep.interval.start: before})
        if history.ends.get(sweep.interval.start, sweep.interval.end) != sweep.interval.end:
            return False
        # Whatever the contract's major: another call may have delivered the same rows under another one.
        have = {(d.tenant, d.revision) for d in history.runs}
        if any((run.tenant, run.revision) in have for run in sweep.runs):
            return False
        known = {d.tenant for d in history.runs}
        return not (sweep.discover and known - sweep.delivered - {run.tenant for run in sweep.runs})

    def _refuse_stale(self, sweep: SweepPlan) -> None:
        """A plan that was stale once is made anew. The same one again is not stale: the definition has changed."""
        if sweep in self.stale:
            raise InvalidProject(
                f"{self.job.export}: an earlier attempt at the interval from {instant(sweep.interval.start)} had "
                "another end or other tenants than the definition gives it now.",
                hint="Set window.every, schedule and tenants back until that interval is delivered.",
            )
        self.stale.add(sweep)

    def _bound_binding(self) -> Binding:
        if self._binding is None:
            self._binding = self.job.binding()
        return self._binding

    def _clock(self) -> Clock:
        """Columns are not looked at where their types make no difference: grids over dates are of whole days."""
        job = self.job
        matters = job.window is not None and (job.mode != "append" or job.window.arrival is not None)
        return clock_of(job, self._bound_binding() if matters else None)

    def _claim_record(self, sweep: SweepPlan) -> dict[str, Any]:
        return {
            "runs": [
                {
                    "tenant": r.tenant,
                    "major": self.job.version(r).major,
                    "revision": r.revision,
                    "kind": r.kind,
                    "run_id": self.job.key(r, sweep.interval).run_id,
                }
                for r in self._named(sweep)
            ],
            "discover": sweep.discover,
            "revises": any(run.reason and run.revision for run in sweep.runs),
            "interval": {"start": instant(sweep.interval.start), "end": instant(sweep.interval.end)},
            "definition": self.job.definition,
            "at": instant(self.job.journal.now()),
        }

    def _named(self, sweep: SweepPlan) -> tuple[RunPlan, ...]:
        """Its runs; where tenants will be known by reading only, one of each major that stands for them all."""
        versions = self.job.versions
        return sweep.runs or tuple(RunPlan("*", beside=each is self.job.beside) for each in versions)

    # --- reports

    def _add(self, run: Mapping[str, Any] | RunPlan, interval: Interval, **rest: Any) -> None:
        """``run``: one that is planned, or one as a seal has it, perhaps under a major that the export has no more."""
        if isinstance(run, RunPlan):
            key = self.job.key(run, interval)
            run = {"run_id": key.run_id, "tenant": run.tenant, "major": key.major, "revision": run.revision}
        own = run["run_id"], self.job.export, run["tenant"], run["major"], interval, run["revision"]
        self.results.append(Result(*own, **rest))

    def _report(
        self, sweep: SweepPlan, record: Mapping[str, Any], manifests: Mapping[str, str], began: float
    ) -> None:
        spent = int((time.monotonic() - began) * 1000)
        for run in record["runs"]:
            common = {"rows": run["rows"], "bytes": run["bytes"], "files": run["files"], "duration_ms": spent}
            if run["status"] == "unchanged":
                self._add(run, sweep.interval, status="skipped", duration_ms=spent)
            elif run["run_id"] in manifests:
                manifest = manifests[run["run_id"]]
                self._add(run, sweep.interval, status="succeeded", manifest=manifest, **common)

    def _report_unpublished(self) -> None:
        """Commits that stand and could not be published, of this call or of an earlier one: failures, never skipped."""
        for held in self.blocked.runs:
            run, error = held.run, held.error
            self._add(
                run,
                interval_of(held.record),
                status="failed",
                rows=run["rows"],
                bytes=run["bytes"],
                files=run["files"],
                error=f"Committed, but not published yet: {error}",
                exit_code=4 if error.exit_code == 5 else error.exit_code,
            )

    def _failed(self, sweep: SweepPlan, error: LadingError, began: float) -> None:
        self.job.on_event(SweepFailed(self.job.export, sweep.interval.start, str(error)))
        spent = int((time.monotonic() - began) * 1000)
        for run in self._named(sweep):
            self._add(
                run,
                sweep.interval,
                status="failed",
                error=str(error),
                exit_code=error.exit_code,
                duration_ms=spent,
            )

    def _report_not_due(self, due: Plan) -> None:
        error = "The interval ends after the bound: not all of its rows are known to have arrived."
        for interval in due.not_due:
            for tenant in self.asked.tenants or ("*",):
                self._add(RunPlan(tenant), interval, status="not_due", error=error, exit_code=4)

    def _report_skipped(self, skipped: tuple[Delivered, ...]) -> None:
        """Runs that were there before; whoever has a result of this call already needs no second one."""
        told = {(r.tenant, r.interval.start) for r in self.results}
        if any(result.status == "failed" for result in self.results) and not self._named_intervals():
            # Beside a failure only what stands in the same interval was asked for: older ones were not due.
            skipped = tuple(run for run in skipped if (run.interval.start, False) in self.tried)
        for run in skipped:
            if (run.tenant, run.interval.start) not in told:
                sizes = {"rows": run.rows, "bytes": run.bytes, "files": run.files, "manifest": run.manifest}
                self._add(asdict(run), run.interval, status="skipped", **sizes)

    def _named_intervals(self) -> bool:
        """Whether what stands was asked for: by its interval, or, where there is no grid, by its tenant."""
        return self.job.mode != "append" or self.asked.start is not None or self.asked.end is not None

    def _tell_of_others(self) -> None:
        told = {(r.tenant, r.interval.start, r.major if self.job.beside else None) for r in self.results}
        stand = {
            (run.tenant, run.interval.start, run.major if self.job.beside else None)
            for run in self.history.runs
            if not run.unchanged and self.asked.covers(run.tenant, run.interval)
        }
        if others := len(stand - told):
            self.job.on_event(DeliveredBefore(self.job.export, others))


def _place(run: Delivered) -> tuple[datetime, int]:
    return run.interval.start, run.revision


def _rows(record: Mapping[str, Any]) -> int:
    return sum(run["rows"] for run in record["runs"])


def _extended(history: History, record: Mapping[str, Any], unpublished: Container[str]) -> History:
    runs, swept = sealed(record, unpublished)
    ends = {**history.ends, swept.interval.start: swept.interval.end}
    return replace(history, runs=(*history.runs, *runs), sweeps=(*history.sweeps, swept), ends=ends)
