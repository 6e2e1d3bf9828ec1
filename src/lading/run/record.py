"""What the journal tells about an export: its runs, their manifests, and how fresh it is."""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lading.documents import nearest
from lading.errors import InvalidProject
from lading.export.identity import instant
from lading.export.interval import Interval, parse_instant
from lading.history import Delivered, History
from lading.journal.log import Attempt, Journal, Seen, interval_of, published_name, replaced_name
from lading.journal.owner import Owner
from lading.manifest import BUNDLED
from lading.plan import Standing, known_tenants, owed
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


Ends = Sequence[tuple[Attempt, Mapping[str, Any]]]
"""Attempts that have ended, and how, in the order of their intervals and numbers."""


def _unmended(
    journal: Journal, ends: Ends, standing: Standing, settled: Container[datetime]
) -> list[Mapping[str, Any]]:
    """The ends of failed attempts whose runs no later attempt has delivered, the latest last.

    Later attempts of the same interval count; of a full refresh, those of later ticks too. One that discovered its
    tenants has served everybody who had nothing there; others must have served, together, all tenants of the failed one
    that still count. Late rows alone make good for nothing but late rows. Nobody waits for a first delivery of the
    intervals that begin at ``settled``, of which nothing is owed to anybody; nor for a tenant that was asked for
    by name and is known from nowhere; nor, once anything was delivered since, for a revision that somebody stopped:
    what it would have replaced stands.
    """
    seals = _seals(ends)
    found = []
    for failed, failure in ends:
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
        everybody = any(end["discover"] for end in later)
        served = {
            (run["tenant"], kind) for end in later for run in end["runs"] for kind in _MAKES_GOOD[run["kind"]]
        }
        known = any(
            _counts(run["tenant"], standing)
            and run["tenant"] not in failure.get("unmet", ())
            and (run["tenant"], run["kind"]) not in served
            and not ((everybody or failed.start in settled) and run["revision"] == 0)
            for run in claim["runs"]
        )
        others = claim["discover"] and not everybody and (standing.discover or not later)
        if known or others:
            found.append(failure)
    return sorted(found, key=_at)


_MAKES_GOOD: Mapping[str, Sequence[str]] = {"full": ("full", "addition"), "addition": ("addition",)}
"""By the kind of a run, the kinds of failed ones that it leaves nobody to wait for. Whole runs carry late rows, too."""


def _seals(ends: Ends) -> Ends:
    return [(attempt, end) for attempt, end in ends if end["status"] == "sealed"]


def _lacking(history: History, standing: Standing, unpublished: Container[str]) -> list[Delivered]:
    """Runs that are sealed and whose tenants, of those who count, have nothing of their interval under their major. A
    revision that waits takes nothing away. ``unpublished``: runs that wait; the others were replaced."""
    has = {_whose(run) for run in history.runs if run.published}
    # What took the place of a lost run may be of another major.
    whoever = {(start, tenant) for start, tenant, _ in has}
    return [
        run
        for run in history.runs
        if not run.published
        and _counts(run.tenant, standing)
        and _whose(run) not in has
        and (run.run_id in unpublished or _whose(run)[:2] not in whoever)
    ]


def _whose(run: Delivered) -> tuple[datetime, str, int]:
    return run.interval.start, run.tenant, run.major


def _at(record: Mapping[str, Any]) -> datetime:
    """When an attempt was claimed, or ended."""
    return parse_instant(record["at"])


def _given_up(failure: Mapping[str, Any], claim: Mapping[str, Any]) -> bool:
    """Whether the attempt was a revision, asked for by name, that somebody stopped."""
    return failure["error"] == INTERRUPTED and bool(claim.get("revises"))


def _counts(tenant: str, standing: Standing) -> bool:
    return tenant not in standing.inactive and (standing.discover or tenant in standing.listed)


def _whole_upto(
    history: History, lacking: Sequence[Delivered], missing: Container[datetime]
) -> datetime | None:
    """Append: the end of the newest interval that somebody has, and nobody lacks. Behind what waits to be published
    there may be intervals in which a tenant had no rows, so nothing behind that counts."""
    first = min((run.interval.start for run in lacking), default=None)
    reached = (
        run.interval
        for run in history.runs
        if run.published
        and run.interval.start not in missing
        and (first is None or run.interval.start < first)
    )
    return max((interval.end for interval in reached), default=None)


def _newest(
    ends: Ends, history: History, standing: Standing, lacking: Sequence[Delivered]
) -> list[tuple[Attempt, Interval]]:
    """Of each tenant that is served, the newest reading from which it has its rows; where tenants are discovered, the
    newest that looked for whoever else there may be, too. Empty where one of them has none. Not for append, whose
    intervals need not be delivered in their order, nor to who had no rows.

    Behind what an incremental export has not delivered there may be intervals in which nothing was new.
    """
    lacks: dict[str, set[datetime]] = {}
    for run in lacking:
        lacks.setdefault(run.tenant, set()).add(run.interval.start)

    def reached(run: Delivered) -> bool:
        starts = lacks.get(run.tenant)
        if starts is None:
            return True
        start = run.interval.start
        return start not in starts if standing.terms.mode == "full_refresh" else start < min(starts)

    has = {run.run_id for run in history.runs if run.published and reached(run)}
    newest: dict[str | None, tuple[Attempt, Interval]] = {}
    for attempt, end in _seals(ends):
        whom: list[str | None] = [run["tenant"] for run in end["runs"] if run["run_id"] in has]
        whom += [None] if end["discover"] else []
        newest |= dict.fromkeys(whom, (attempt, interval_of(end)))
    served = known_tenants(standing, history)
    wanted = {*served, None} if standing.discover else {*served}
    return [newest[each] for each in wanted] if served and wanted <= newest.keys() else []


def status(
    journal: Journal, export: str, now: datetime, sla: float | None, standing: Standing
) -> dict[str, Any]:
    """How an export stands. ``sla``: seconds that its newest delivered data may be old; ``standing``: as of ``now``.

    What is missing is what a run for everybody owes, by its plan. What intervals deliver is as old as the end of the
    newest that every tenant has. A full refresh has no end: its interval, the watermark, only names it, and its rows
    are those of when the newest reading began. What is committed and not published counts for none of these: its
    recipient has nothing of it.
    """
    attempts = journal.seen(export)
    seen = [each for interval in attempts.values() for each in interval]
    journal.read_ends(seen)
    ends = [(each.attempt, journal.end(each.attempt)) for each in seen if each.ended]
    unpublished = journal.waiting(seen)
    history = journal.history(export, attempts, unpublished)
    lacking = _lacking(history, standing, unpublished)
    missing = {interval.start for interval in owed(standing, history)} | {r.interval.start for r in lacking}
    watermark, upto = None, None
    if standing.terms.mode == "append":
        watermark = upto = _whole_upto(history, lacking, missing)
    elif newest := _newest(ends, history, standing, lacking):
        if standing.terms.mode == "full_refresh":
            watermark = min(interval.start for _, interval in newest)
            upto = min(_at(journal.claim_of(attempt)) for attempt in {attempt for attempt, _ in newest})
        else:
            watermark = upto = min(interval.end for _, interval in newest)
    age = (now - upto).total_seconds() if upto else None
    grid = {interval.start for interval in standing.grid} if standing.terms.mode == "append" else set()
    failures = _unmended(journal, ends, standing, grid - missing)
    last = max((end for _, end in _seals(ends) if end["runs"]), key=_at, default=None)
    fresh = None if sla is None or age is None else age <= sla
    return {
        "export": export,
        "last_run": last["at"] if last else None,
        "watermark": instant(watermark) if watermark else None,
        "freshness_seconds": age,
        "sla_seconds": sla,
        "fresh": False if sla is not None and age is None else fresh,
        "failures": len(failures),
        "last_failure": _reason(failures[-1], {}) if failures else None,
        "missing_intervals": [
            {"start": instant(i.start), "end": instant(i.end)} for i in standing.grid if i.start in missing
        ],
        "unpublished": len(unpublished),
    }
