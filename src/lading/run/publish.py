"""Publishing what is sealed: from the journal alone, idempotently, oldest first."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lading.errors import LadingError, Lost, unexpected
from lading.events import RunPublished, Unexpected, Waiting
from lading.history import History
from lading.journal.log import Attempt, Seen, open_runs
from lading.journal.owner import Owner
from lading.ports import Rechecker
from lading.run.expire import begun_name
from lading.run.job import Job
from lading.run.lanes import apart

PUBLISHERS = 8
"""Threads that publish side by side: most of their time goes to waiting for the store."""


@dataclass(frozen=True, slots=True)
class Held:
    """A committed run that could not be published. ``record``: its seal; ``behind``: only because another one was not,
    whose error it has."""

    attempt: Attempt
    record: Mapping[str, Any]
    run: Mapping[str, Any]
    error: LadingError
    behind: bool = False


@dataclass(slots=True)
class Blocked:
    """Committed runs that could not be published: nothing newer of their tenants may be, either, under the same major,
    but a revision that takes their place."""

    runs: list[Held] = field(default_factory=list)
    replaced: set[str] = field(default_factory=set)
    """Ids of those whose place was taken."""

    def add(self, held: Held) -> None:
        if held.run["run_id"] not in self.ids:
            self.runs.append(held)

    @property
    def ids(self) -> set[str]:
        return {held.run["run_id"] for held in self.runs}

    def of(self, run: Mapping[str, Any]) -> Held | None:
        """The run, where this call has come to it before and could not publish it."""
        return next((held for held in self.runs if held.run["run_id"] == run["run_id"]), None)

    def before(self, attempt: Attempt, run: Mapping[str, Any]) -> list[Held]:
        """Those that come before a run, oldest first: its tenant's of the same interval or an older one, under the same
        major, or under another if the run takes their place."""
        found = (
            held
            for held in self.runs
            if held.run["tenant"] == run["tenant"]
            and held.attempt.start <= attempt.start
            and (held.run["major"] == run["major"] or held.run["run_id"] in run["supersedes"])
            and held.run["run_id"] != run["run_id"]
        )
        return sorted(found, key=lambda held: (held.attempt.start, held.attempt.number))

    def release(self, before: Sequence[Held]) -> None:
        """Their place was taken: what waits behind them, for the same reason, is to be tried again."""
        self.replaced |= {held.run["run_id"] for held in before}
        gone = {(held.run["tenant"], id(held.error)) for held in before}
        self.runs = [held for held in self.runs if (held.run["tenant"], id(held.error)) not in gone]


def replaced(before: Sequence[Held], run: Mapping[str, Any], mode: str) -> bool:
    """Whether a run takes the place of all ``before`` it: their files were lost, or they wait behind one of these, and
    it supersedes them. Of what is refused for another reason, the files stand.

    A revision of a full refresh holds all rows, so that what older ticks would have delivered does not matter any more.
    """
    lost = {id(held.error) for held in before if isinstance(held.error, Lost) and not held.behind}
    if not all(id(held.error) in lost for held in before):
        return False
    if mode == "full_refresh" and run["reason"]:
        return True
    return all(held.run["run_id"] in run["supersedes"] for held in before)


def published(history: History) -> dict[tuple[str, int], list[str]]:
    """By tenant and major, the runs of a history that were delivered, in its order."""
    found: dict[tuple[str, int], list[str]] = {}
    for run in history.runs:
        if run.published and not run.unchanged:
            found.setdefault((run.tenant, run.major), []).append(run.run_id)
    return found


def roll_forward(job: Job, seen: Mapping[datetime, list[Seen]], blocked: Blocked, *, wait: bool) -> None:
    """Publishes every sealed attempt that is not done, and fences those whose owner is gone."""
    for at in [at for attempts in seen.values() for at in attempts if not at.done]:
        if not at.ended:
            _fence_if_gone(job, at)
        elif job.journal.end(at.attempt)["status"] == "sealed":
            finish(job, at.attempt, blocked, wait)


def finish(job: Job, attempt: Attempt, blocked: Blocked, wait: bool) -> None:
    """Publishes what another process has sealed, once that is dead; a live one is waited for."""

    def told(owner: Owner) -> None:
        job.on_event(Waiting(job.export, attempt.start, str(owner)))

    job.journal.settle(attempt, wait=wait, upto="done.json", waiting=told)
    now = job.journal.again(attempt)
    if not now.done:
        publish(job, attempt, job.journal.end(attempt), blocked, now.names, later=True)


def _fence_if_gone(job: Job, at: Seen) -> None:
    """An owner that is plainly gone need not be waited for, whether its sweep is wanted now or not."""
    if "claim.json" in at.names and Owner.of(job.journal.claim_of(at.attempt)["owner"]).gone():
        job.journal.abandon(at.attempt)
        # It may have sealed and ended well since it was listed: then there is nothing to clean here. Finished parts
        # wait for the next attempt, which cleans behind this one when it has sealed.
        reusable = apart(job) and any(name.startswith("parts/") for name in at.names)
        if job.journal.end(at.attempt)["status"] != "sealed" and not reusable:
            clean(job, at.attempt)


def clean(job: Job, attempt: Attempt) -> None:
    """Removes what an attempt that can never be sealed has left at its destinations; notes what it cannot remove."""
    leftovers = []
    for opened in job.journal.opened(attempt):
        for left in job.channel.discard(opened["folders"]).left:
            leftovers.append({"destination": left.destination, "folder": left.folder, "reason": left.reason})
    if leftovers:
        job.journal.create(attempt.path + "orphans.json", {"orphans": leftovers})


def clean_before(job: Job, attempt: Attempt) -> None:
    """Cleans the attempts of this sweep that came before and were not sealed."""
    for at in job.journal.seen(attempt.export, attempt.start).get(attempt.start, []):
        if at.attempt.number < attempt.number and at.ended and "cleaned.json" not in at.names:
            if job.journal.end(at.attempt)["status"] == "sealed":
                continue
            clean(job, at.attempt)
            job.journal.create(at.attempt.path + "cleaned.json", {})


def publish(
    job: Job,
    attempt: Attempt,
    record: Mapping[str, Any],
    blocked: Blocked,
    already: Container[str] = (),
    *,
    later: bool = False,
) -> dict[str, str]:
    """Publishes the runs of one seal; returns where their manifests stand, by run.

    ``already``: the attempt's records, among them those of runs that are published. ``later``: another call has sealed
    it, so that its data files may have been removed or cut meanwhile: such a run is not published. A run that is not,
    or whose destination is out of reach, or that fails in a way nobody foresaw, stays committed; its error goes to
    ``blocked``. One that takes the place of what is blocked is published, and what it replaces never will be.
    """
    manifests: dict[str, str] = {}
    unclean: LadingError | None = None
    try:
        clean_before(job, attempt)
    except Exception as caught:  # noqa: BLE001 - told as any other
        unclean = _known(job, caught)
    committed = open_runs(record, already)
    ahead = {run["run_id"]: blocked.before(attempt, run) for run in committed}

    def one(run: Mapping[str, Any]) -> str | Held:
        if unclean is not None:
            return Held(attempt, record, run, unclean)
        if (known := blocked.of(run)) is not None:
            return known
        before = ahead[run["run_id"]]
        if before and not replaced(before, run, job.mode):
            return Held(attempt, record, run, before[0].error, behind=True)
        try:
            commit = json.loads(job.journal.prepared(attempt, run))
            withdrawn = _withdrawn(job, run["run_id"])
            if later:
                _require_standing(job, commit, withdrawn)
            manifest = job.channel.publish(commit, withdrawn)
            # Before it counts as published: whoever finds it so does not come here again.
            for held in before:
                job.journal.replace(held.attempt, held.run, run["run_id"])
            job.journal.publish(attempt, run)
        except Exception as failure:  # noqa: BLE001 - whatever it is, other tenants and intervals go on
            return Held(attempt, record, run, _known(job, failure))
        return manifest

    # Runs of one seal belong to different tenants or majors, so their order does not matter.
    with ThreadPoolExecutor(PUBLISHERS) as pool:
        for run, outcome in zip(committed, pool.map(one, committed), strict=True):
            if isinstance(outcome, Held):
                blocked.add(outcome)
                continue
            manifests[run["run_id"]] = outcome
            job.on_event(RunPublished(job.export, run["tenant"], run["run_id"], outcome))
            if before := ahead[run["run_id"]]:
                blocked.release(before)
                _close(job, {held.attempt for held in before})
    if len(manifests) == len(committed):
        job.journal.done(attempt)
    return manifests


def _known(job: Job, error: Exception) -> LadingError:
    if isinstance(error, LadingError):
        return error
    job.on_event(Unexpected(job.export, error))
    return unexpected(error)


def _close(job: Job, attempts: Iterable[Attempt]) -> None:
    """Notes those as done of which every run is published or replaced."""
    for attempt in attempts:
        if not open_runs(job.journal.end(attempt), job.journal.again(attempt).names):
            job.journal.done(attempt)


def _require_standing(job: Job, commit: Mapping[str, Any], withdrawn: Callable[[], bool]) -> None:
    """Raises Lost where a data file is not there as it was sealed, unless the run is being removed: its files
    go then."""
    if not isinstance(job.channel, Rechecker):
        return
    try:
        job.channel.require_standing(commit)
    except Lost:
        if not withdrawn():
            raise


def _withdrawn(job: Job, run_id: str) -> Callable[[], bool]:
    """Whether the run is being removed by `keep`; costs no request where nothing ever is."""
    if job.keep is None:
        return lambda: False
    return lambda: job.journal.find(begun_name(job.export, run_id)) is not None
