"""The order in which what is merged into one table is published: a revision of an interval before the next interval.

Both may be claimed at once. Each looks at the journal when it has its claim, so that at least one of the two meets the
other: a revision that meets a newer interval gives way, unless that one's owner is dead, and an interval that meets a
revision waits for its end.
"""

from __future__ import annotations

from collections.abc import Callable

from lading.errors import InProgress
from lading.export.identity import instant
from lading.journal.log import Seen
from lading.journal.owner import Owner
from lading.plan import SweepPlan, refuse_older
from lading.run.job import Job
from lading.run.publish import Blocked, finish


def take_turn(
    job: Job, sweep: SweepPlan, blocked: Blocked, *, wait: bool, waiting: Callable[[Owner], object]
) -> None:
    """To be called with the sweep's claim in hand, before its rows are read.

    Raises InvalidProject or InProgress for a revision of what is no longer the newest, InProgress for an interval
    behind a revision that is under way, unless ``wait``, and why a revision before it cannot be published. A sweep may
    be both: the one for some of its tenants, the other for the rest.
    """
    seen = job.journal.seen(job.export)
    revised = {run.tenant for run in sweep.runs if run.revision}
    if revised:
        later = [at for start, attempts in seen.items() if start > sweep.interval.start for at in attempts]
        for at in later:
            if not at.ended:
                _give_way(job, at, wait, waiting)
                seen = job.journal.seen(job.export)  # it may have been sealed before it could be abandoned
        refuse_older(job.journal.history(job.export, seen), sweep.interval, revised)
    served = {run.tenant for run in sweep.runs} - revised
    if revised and not served:
        return
    for start, attempts in seen.items():
        for at in attempts:
            if start < sweep.interval.start and not at.done and _revises(job, at):
                job.journal.settle(at.attempt, wait=wait, upto="end.json", waiting=waiting)
                record = job.journal.end(at.attempt)
                # What this call could not publish holds back what comes after it already.
                ids = {run["run_id"] for run in record.get("runs", ())}
                if record["status"] == "sealed" and ids.isdisjoint(blocked.ids):
                    finish(job, at.attempt, blocked, wait)
                # Behind a newer interval it could not be revised.
                for held in blocked.runs:
                    if held.run["run_id"] in ids and held.run["tenant"] in served:
                        raise held.error


def _give_way(job: Job, newer: Seen, wait: bool, waiting: Callable[[Owner], object]) -> None:
    """Raises InProgress where the owner lives. It may be waiting for the revision, so it is not waited for; and one
    that is dead would keep the revision back for ever."""
    try:
        job.journal.settle(newer.attempt, wait=wait, upto="end.json", waiting=waiting, yields=True)
    except InProgress:
        raise InProgress(
            f"{job.export}: a newer interval, from {instant(newer.attempt.start)}, is being delivered.",
            hint="Only the newest interval of what is merged into a table can be revised.",
        ) from None


def _revises(job: Job, at: Seen) -> bool:
    """Whether the attempt is a revision that was or may yet be sealed."""
    if at.ended and job.journal.end(at.attempt)["status"] != "sealed":
        return False
    return "claim.json" in at.names and bool(job.journal.claim_of(at.attempt)["revises"])
