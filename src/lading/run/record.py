"""What the journal tells about an export: its runs, their manifests, and how fresh it is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lading.documents import nearest
from lading.errors import InvalidProject
from lading.export.identity import instant
from lading.export.interval import parse_instant
from lading.journal.log import Attempt, Journal, Seen, published_name, replaced_name
from lading.journal.owner import Owner
from lading.manifest import BUNDLED
from lading.plan import Standing
from lading.run.sweep import INTERRUPTED


@dataclass(frozen=True, slots=True)
class Recorded:
    """One run of one attempt that has ended: sealed, or failed, or abandoned. ``run``: as the seal has it, or the
    claim."""

    attempt: Attempt
    run: Mapping[str, Any]
    summary: dict[str, Any]


def runs(journal: Journal, export: str | None = None) -> list[Recorded]:
    """What became of every run that was tried, of one export or of all that the journal knows, in the order of the
    attempts' ends. A run that failed and was delivered later is there twice."""
    if export is None:
        attempts = [seen for each in journal.everything().values() for seen in each]
    else:
        attempts = _attempts(journal, export)
    journal.read_ends(attempts)
    found = [recorded for seen in attempts for recorded in _of(journal, seen)]
    return sorted(found, key=_order)


def _order(recorded: Recorded) -> tuple[str, ...]:
    summary = recorded.summary
    return summary["ended_at"], summary["export"], summary["interval"]["start"], recorded.run["tenant"]


def _attempts(journal: Journal, export: str) -> list[Seen]:
    return [seen for attempts in journal.seen(export).values() for seen in attempts]


def _of(journal: Journal, seen: Seen) -> Iterator[Recorded]:
    if not seen.ended:
        return
    end = journal.end(seen.attempt)
    sealed = end["status"] == "sealed"
    record = end if sealed else journal.claim_of(seen.attempt)
    for run in record["runs"]:
        published = published_name(run) in seen.names
        summary = {
            "run_id": run["run_id"],
            "export": seen.attempt.export,
            "tenant": run["tenant"],
            "major": run.get("major"),
            "interval": dict(record["interval"]),
            "revision": run["revision"],
            "kind": run["kind"],
            "attempt": seen.attempt.number,
            "status": _status(run, published, seen) if sealed else end["status"],
            "rows": run["rows"] if sealed else 0,
            "bytes": run["bytes"] if sealed else 0,
            "files": run["files"] if sealed else 0,
            "ended_at": end["at"],
            "sealed_at": end["at"] if sealed else None,
            "published": published,
            "manifest": run["manifest"] if sealed else None,
            "error": None if sealed else _reason(end, record),
        }
        yield Recorded(seen.attempt, run, summary)


def _status(run: Mapping[str, Any], published: bool, seen: Seen) -> str:
    if run["status"] == "unchanged":
        return "unchanged"
    if published:
        return "published"
    return "replaced" if replaced_name(run) in seen.names else "committed"


def _reason(end: Mapping[str, Any], claim: Mapping[str, Any]) -> str:
    if end["status"] == "abandoned":
        return f"{Owner.of(claim['owner'])} was gone, or silent for longer than the lease."
    # Of a failure that Lading does not know, only the kind is told: its text may hold values of the data.
    return str(end["message"] or f"Unexpected: {end['error']}.")


def manifest_of(journal: Journal, recorded: Recorded) -> dict[str, Any] | None:
    """The manifest of a run as it was committed, at its first destination; None for one that found nothing, or
    failed."""
    if recorded.run.get("status") != "committed":
        return None
    commit = json.loads(journal.prepared(recorded.attempt, recorded.run))
    first = commit["destinations"][0]
    # Of a bundle the manifest is one of its members.
    objects, name = first["objects"], first["manifest"]
    if "members" in first:
        objects, name = first["members"], BUNDLED
    text = next(text for each, text in objects if each == name)
    manifest: dict[str, Any] = json.loads(text)
    return manifest


def find(journal: Journal, run_id: str) -> Recorded:
    """The run of that id, or of the only id that begins so: as it was sealed, or else as its last attempt ended."""
    if not run_id:
        raise InvalidProject(
            "An empty id names no run.",
            hint="Give a run's id, or the beginning of it: `lading runs` lists them.",
        )
    known = runs(journal)
    matches = [recorded for recorded in known if recorded.run["run_id"].startswith(run_id)]
    distinct = {recorded.run["run_id"] for recorded in matches}
    if not distinct:
        near = nearest(run_id, {recorded.run["run_id"][: len(run_id)] for recorded in known})
        raise InvalidProject(
            f"The journal has no run {run_id}{near or '.'}", hint="`lading runs` lists them."
        )
    if len(distinct) > 1:
        raise InvalidProject(
            f"{run_id} begins the ids of {len(distinct)} runs.", hint="Give more of its digits."
        )
    return next((recorded for recorded in matches if recorded.summary["sealed_at"]), matches[-1])


def _unmended(journal: Journal, seen: list[Seen], standing: Standing) -> list[Mapping[str, Any]]:
    """The ends of failed attempts whose runs no later attempt has delivered, the latest last.

    Later attempts of the same interval count; of a full refresh, those of later ticks too. One that discovered its
    tenants has served everybody; others must have served, together, all tenants of the failed one that still count.
    Nobody waits for a tenant that was asked for by name and is known from nowhere; nor, once anything was delivered
    since, for a revision that somebody stopped: what it would have replaced stands.
    """
    ended = [(s.attempt, journal.end(s.attempt)) for s in seen if s.ended]
    seals = [(attempt, end) for attempt, end in ended if end["status"] == "sealed"]
    found = []
    for failed, failure in ended:
        if failure["status"] != "failed":
            continue
        claim = journal.claim_of(failed)
        if _given_up(failure, claim) and any(_at(end) > _at(failure) for _, end in seals):
            continue
        later = [
            end
            for attempt, end in seals
            if (attempt.start == failed.start and attempt.number > failed.number)
            or (standing.terms.mode == "full_refresh" and attempt.start > failed.start)
        ]
        served = {run["tenant"] for end in later for run in end["runs"]}
        owed = {run["tenant"] for run in claim["runs"] if _counts(run["tenant"], standing)}
        owed -= {*failure.get("unmet", ()), *served}
        everybody = any(end["discover"] for end in later)
        if not everybody and (owed or (claim["discover"] and (standing.discover or not later))):
            found.append(failure)
    return sorted(found, key=_at)


def _met_nobody(journal: Journal, seen: list[Seen]) -> set[datetime]:
    """Starts of intervals that were read whole, for whomever they might hold, and held nobody."""
    ended = ((s.attempt.start, journal.end(s.attempt)) for s in seen if s.ended)
    return {
        start for start, end in ended if end["status"] == "sealed" and end["discover"] and not end["runs"]
    }


def _delivered(recorded: Sequence[Recorded], standing: Standing) -> tuple[list[Recorded], set[datetime]]:
    """Of the sealed runs, those by which an export may be judged: of intervals that every tenant and major has that was
    to have it, and of seals from which nothing waits to be published. A revision that waits takes nothing away. And the
    starts of the intervals that somebody has not got."""
    has = {_whose(r) for r in recorded if r.summary["status"] in _HAD}
    # What took the place of a lost run may be of another major.
    whoever = {(start, tenant) for start, tenant, _ in has}
    waiting = [
        r
        for r in recorded
        if r.summary["status"] not in _HAD
        and _counts(r.run["tenant"], standing)
        and not (r.summary["status"] == "replaced" and _whose(r)[:2] in whoever)
    ]
    lacking = {r.attempt.start for r in waiting if _whose(r) not in has}
    unfinished = {r.attempt for r in waiting if r.summary["status"] == "committed"}
    had = [
        r
        for r in recorded
        if r.summary["status"] in _HAD and r.attempt.start not in lacking and r.attempt not in unfinished
    ]
    return had, lacking


_HAD = ("published", "unchanged")


def _whose(recorded: Recorded) -> tuple[datetime, str, int]:
    run = recorded.run
    return recorded.attempt.start, run["tenant"], run["major"]


def _at(record: Mapping[str, Any]) -> datetime:
    """When an attempt was claimed, or ended."""
    return parse_instant(record["at"])


def _given_up(failure: Mapping[str, Any], claim: Mapping[str, Any]) -> bool:
    """Whether the attempt was a revision, asked for by name, that somebody stopped."""
    return failure["error"] == INTERRUPTED and bool(claim.get("revises"))


def _counts(tenant: str, standing: Standing) -> bool:
    return tenant not in standing.inactive and (standing.discover or tenant in standing.listed)


def status(
    journal: Journal, export: str, now: datetime, sla: float | None, standing: Standing
) -> dict[str, Any]:
    """How an export stands. ``sla``: seconds that its newest delivered data may be old; ``standing``: as of ``now``.

    What intervals deliver is as old as the end of the newest. A full refresh has no end: its interval, the watermark,
    only names it, and its rows are those of when the newest reading began. What is committed and not published counts
    for none of these: its recipient has nothing of it.
    """
    seen = _attempts(journal, export)
    journal.read_ends(seen)
    recorded = sorted((r for s in seen for r in _of(journal, s) if r.summary["sealed_at"]), key=_order)
    whole = standing.terms.mode == "full_refresh"
    side = "start" if whole else "end"
    had, lacking = _delivered(recorded, standing)
    # Behind what somebody has not got there may be intervals in which nothing was new.
    reached = had if whole or not lacking else [r for r in had if r.attempt.start < min(lacking)]
    watermark = max((parse_instant(r.summary["interval"][side]) for r in reached), default=None)
    upto = _at(journal.claim_of(had[-1].attempt)) if whole and had else watermark
    age = (now - upto).total_seconds() if upto else None
    failures = _unmended(journal, seen, standing)
    delivered = {r.attempt.start for r in had} | _met_nobody(journal, seen)
    fresh = None if sla is None or age is None else age <= sla
    return {
        "export": export,
        "last_run": recorded[-1].summary["sealed_at"] if recorded else None,
        "watermark": instant(watermark) if watermark else None,
        "freshness_seconds": age,
        "sla_seconds": sla,
        "fresh": False if sla is not None and age is None else fresh,
        "failures": len(failures),
        "last_failure": _reason(failures[-1], {}) if failures else None,
        "missing_intervals": [
            {"start": instant(i.start), "end": instant(i.end)}
            for i in standing.grid
            if i.start not in delivered
        ],
        "unpublished": sum(r.summary["status"] == "committed" for r in recorded),
    }
