"""`keep`: removing full refreshes that newer ones have replaced. `docs/commit-protocol.md` has the argument."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from lading.errors import StoreDenied, StoreUnavailable
from lading.export.layout import segment
from lading.journal.log import Attempt, interval_of, published_name, replaced_name
from lading.ports import Releaser
from lading.run.job import Job


@dataclass(frozen=True, slots=True)
class _Over:
    """A run that was published, or that a revision took the place of before it was."""

    place: tuple[datetime, int]  # interval start, revision
    published: bool
    attempt: Attempt
    run: Mapping[str, Any]
    at: datetime | None  # by the journal store's clock


def begun_name(export: str, run_id: str) -> str:
    """The record that says that a run's delivery is being removed."""
    return f"expired/{segment(export)}/{run_id}/begun"


def expire(job: Job, keep: int) -> None:
    """Removes, per tenant, what at least ``keep`` newer deliveries have replaced, one lease after that happened.

    Times are compared by the journal store's clock alone; a store that tells none expires nothing. A destination out of
    reach, or one that refuses to delete, leaves the work to a later call.
    """
    journal, prefix = job.journal, f"expired/{segment(job.export)}/"
    known = {info.name for info in journal.store.list(prefix)}
    newest, tenants = _over(job)
    if newest is None:
        return
    lease = timedelta(seconds=journal.lease)
    majors = {version.major for version in job.versions}
    for deliveries in tenants.values():
        for old in deliveries:
            # A major that is delivered still is replaced by itself alone.
            alike = {old.run["major"]} if old.run["major"] in majors else majors | {old.run["major"]}
            later = [d for d in deliveries if d.published and d.place > old.place and d.run["major"] in alike]
            settled = any(d.at is not None and newest - d.at >= lease for d in later)
            if len(later) < keep or not settled or f"{prefix}{old.run['run_id']}/gone" in known:
                continue
            try:
                _remove(job, old, known)
            except (StoreDenied, StoreUnavailable):
                return


def _remove(job: Job, old: _Over, known: set[str]) -> None:
    begun = begun_name(job.export, old.run["run_id"])
    commit = json.loads(job.journal.prepared(old.attempt, old.run))
    if begun not in known:
        if isinstance(job.channel, Releaser):
            job.channel.release(commit)
        if job.channel.pointed(commit):
            return
    record = {"run_id": old.run["run_id"]}
    job.journal.create(begun, record)
    emptied = job.channel.discard({d["name"]: d["folder"] for d in commit["destinations"]})
    # Gone only when a later call found nothing: a publisher that slept may have put its marker after the first one.
    if begun in known and not emptied.removed and not emptied.left:
        job.journal.create(begun.removesuffix("begun") + "gone", record)


def _over(job: Job) -> tuple[datetime | None, dict[str, list[_Over]]]:
    """The newest time that the journal's store tells, and each tenant's runs that nobody publishes any more, oldest
    first."""
    journal = job.journal
    infos = {info.name: info for info in journal.store.list(f"sweeps/{segment(job.export)}/")}
    newest = max((info.modified for info in infos.values() if info.modified), default=None)
    tenants: dict[str, list[_Over]] = {}
    for attempt, record in _seals(job):
        start = interval_of(record).start
        for run in record["runs"]:
            if run["status"] != "committed":
                continue
            published = infos.get(attempt.path + published_name(run))
            info = published or infos.get(attempt.path + replaced_name(run))
            if info is not None:
                place = start, int(run["revision"])
                over = _Over(place, published is not None, attempt, run, info.modified)
                tenants.setdefault(run["tenant"], []).append(over)
    for deliveries in tenants.values():
        deliveries.sort(key=lambda d: d.place)
    return newest, tenants


def _seals(job: Job) -> Iterator[tuple[Attempt, Mapping[str, Any]]]:
    for attempts in job.journal.seen(job.export).values():
        for at in attempts:
            if at.ended and (record := job.journal.end(at.attempt))["status"] == "sealed":
                yield at.attempt, record
