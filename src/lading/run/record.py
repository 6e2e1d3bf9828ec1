"""What the journal tells about an export: its runs, their manifests, and how fresh it is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lading.errors import InvalidProject
from lading.export.identity import instant
from lading.export.interval import Interval, parse_instant
from lading.journal.log import Attempt, Journal, Seen, published_name


@dataclass(frozen=True, slots=True)
class Recorded:
    """One sealed run."""

    attempt: Attempt
    run: dict[str, Any]
    summary: dict[str, Any]


def runs(journal: Journal, export: str) -> list[Recorded]:
    """Every sealed run of an export, in the order in which they were sealed."""
    found = [recorded for seen in _attempts(journal, export) for recorded in _of(journal, seen)]
    return sorted(
        found, key=lambda r: (r.summary["sealed_at"], r.summary["interval"]["start"], r.run["tenant"])
    )


def _attempts(journal: Journal, export: str) -> list[Seen]:
    return [seen for attempts in journal.seen(export).values() for seen in attempts]


def _of(journal: Journal, seen: Seen) -> Iterator[Recorded]:
    if not seen.ended:
        return
    record = journal.end(seen.attempt)
    if record["status"] != "sealed":
        return
    for run in record["runs"]:
        published = published_name(run["tenant"]) in seen.names
        summary = {
            "run_id": run["run_id"],
            "export": seen.attempt.export,
            "tenant": run["tenant"],
            "interval": dict(record["interval"]),
            "revision": run["revision"],
            "kind": run["kind"],
            "status": "unchanged"
            if run["status"] == "unchanged"
            else "published"
            if published
            else "committed",
            "rows": run["rows"],
            "bytes": run["bytes"],
            "files": run["files"],
            "sealed_at": record["at"],
            "published": published,
            "manifest": run["manifest"],
        }
        yield Recorded(seen.attempt, run, summary)


def manifest_of(journal: Journal, recorded: Recorded) -> dict[str, Any] | None:
    """The manifest of a run as it was committed, destination by destination the first; None for an unchanged run."""
    if recorded.run["status"] != "committed":
        return None
    commit = json.loads(journal.prepared(recorded.attempt, recorded.run))
    first = commit["destinations"][0]
    text = next(text for name, text in first["objects"] if name == first["manifest"])
    manifest: dict[str, Any] = json.loads(text)
    return manifest


def find(journal: Journal, exports: list[str], run_id: str) -> Recorded:
    """The run of that id, or of the only id that begins so."""
    matches = [r for export in exports for r in runs(journal, export) if r.run["run_id"].startswith(run_id)]
    distinct = {r.run["run_id"] for r in matches}
    if not distinct:
        raise InvalidProject(f"The journal has no run {run_id}.", hint="`lading runs` lists them.")
    if len(distinct) > 1:
        raise InvalidProject(
            f"{run_id} begins the ids of {len(distinct)} runs.", hint="Give more of its digits."
        )
    return matches[-1]


def status(
    journal: Journal, export: str, mode: str, now: datetime, sla: float | None, due: tuple[Interval, ...]
) -> dict[str, Any]:
    """How an export stands. ``sla``: seconds that its newest delivered data may be old; ``due``: its grid so far."""
    seen = _attempts(journal, export)
    recorded = runs(journal, export)
    # A full refresh holds what there was at its tick; other intervals hold what there was up to their ends.
    side = "start" if mode == "full_refresh" else "end"
    watermark = max((parse_instant(r.summary["interval"][side]) for r in recorded), default=None)
    age = (now - watermark).total_seconds() if watermark else None
    failures = [s for s in seen if s.ended and journal.end(s.attempt)["status"] == "failed"]
    delivered = {parse_instant(r.summary["interval"]["start"]) for r in recorded}
    fresh = None if sla is None or age is None else age <= sla
    return {
        "export": export,
        "last_run": recorded[-1].summary["sealed_at"] if recorded else None,
        "watermark": instant(watermark) if watermark else None,
        "freshness_seconds": age,
        "sla_seconds": sla,
        "fresh": False if sla is not None and age is None else fresh,
        "failures": len(failures),
        "last_failure": journal.end(failures[-1].attempt)["message"] if failures else None,
        "missing_intervals": [
            {"start": instant(i.start), "end": instant(i.end)} for i in due if i.start not in delivered
        ],
        "unpublished": sum(not r.summary["published"] and r.run["status"] == "committed" for r in recorded),
    }
