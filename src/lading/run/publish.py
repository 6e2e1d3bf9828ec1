"""Publishing what is sealed: from the journal alone, idempotently, oldest first."""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from lading.errors import IntegrityError, LadingError
from lading.events import RunPublished, Waiting
from lading.journal.log import Attempt, Seen, published_name
from lading.journal.owner import Owner
from lading.plan import History
from lading.ports import Rechecker
from lading.run.expire import begun_name
from lading.run.job import Job
from lading.run.lanes import apart

PUBLISHERS = 8
"""Threads that publish side by side: most of their time goes to waiting for the store."""


@dataclass(slots=True)
class Blocked:
    """Tenants with a committed run that could not be published: nothing newer of theirs may be, either, under the same
    major."""

    errors: dict[tuple[str, int], LadingError] = field(default_factory=dict)
    runs: list[tuple[Mapping[str, Any], Mapping[str, Any], LadingError]] = field(default_factory=list)

    def add(self, record: Mapping[str, Any], run: Mapping[str, Any], error: LadingError) -> None:
        """``run`` of the seal ``record`` stays unpublished because of ``error``."""
        self.errors.setdefault((run["tenant"], run["major"]), error)
        self.runs.append((record, run, error))

    @property
    def ids(self) -> set[str]:
        return {run["run_id"] for _, run, _ in self.runs}


def published(history: History, unpublished: Container[str]) -> dict[tuple[str, int], list[str]]:
    """By tenant and major, the runs of a history that were delivered, in its order: what is sealed is published before
    anything is planned on top of it, or noted as ``unpublished``."""
    found: dict[tuple[str, int], list[str]] = {}
    for run in history.runs:
        if not run.unchanged and run.run_id not in unpublished:
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
    or whose destination is out of reach, stays committed; its error goes to ``blocked``.
    """
    manifests: dict[str, str] = {}
    unclean: LadingError | None = None
    try:
        clean_before(job, attempt)
    except LadingError as caught:
        unclean = caught
    committed = [
        run for run in record["runs"] if run["status"] == "committed" and published_name(run) not in already
    ]

    def one(run: Mapping[str, Any]) -> str | LadingError:
        error = unclean or blocked.errors.get((run["tenant"], run["major"]))
        if error is not None:
            return error
        try:
            commit = json.loads(job.journal.prepared(attempt, run))
            withdrawn = _withdrawn(job, run["run_id"])
            if later:
                _require_standing(job, commit, withdrawn)
            manifest = job.channel.publish(commit, withdrawn)
            job.journal.publish(attempt, run)
        except LadingError as failure:
            return failure
        return manifest

    # Runs of one seal belong to different tenants or majors, so their order does not matter.
    with ThreadPoolExecutor(PUBLISHERS) as pool:
        for run, outcome in zip(committed, pool.map(one, committed), strict=True):
            if isinstance(outcome, LadingError):
                blocked.add(record, run, outcome)
                continue
            manifests[run["run_id"]] = outcome
            job.on_event(RunPublished(job.export, run["tenant"], run["run_id"], outcome))
    if len(manifests) == len(committed):
        job.journal.done(attempt)
    return manifests


def _require_standing(job: Job, commit: Mapping[str, Any], withdrawn: Callable[[], bool]) -> None:
    """Raises IntegrityError where a data file is not there as it was sealed, unless the run is being removed: its files
    go then."""
    if not isinstance(job.channel, Rechecker):
        return
    try:
        job.channel.require_standing(commit)
    except IntegrityError:
        if not withdrawn():
            raise


def _withdrawn(job: Job, run_id: str) -> Callable[[], bool]:
    """Whether the run is being removed by `keep`; costs no request where nothing ever is."""
    if job.keep is None:
        return lambda: False
    return lambda: job.journal.find(begun_name(job.export, run_id)) is not None
