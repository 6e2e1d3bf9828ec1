"""What a sweep puts into its seal: one prepared commit per run, and a summary of each."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from lading.errors import LadingError
from lading.events import FileWritten
from lading.export.identity import instant
from lading.export.layout import Names
from lading.journal.audit import Link
from lading.journal.log import Claim
from lading.manifest import Bill, Rows
from lading.plan import Clock, RunPlan, SweepPlan
from lading.ports import CheckResult, Cumulative, FileNumber, Past, Survey, Written
from lading.routing.router import Tally
from lading.run.job import Binding, Clearance, Job, Version

PREPARERS = 8
"""Threads that write prepared commits side by side: most of their time goes to waiting for the journal's store."""


@dataclass(slots=True)
class Served:
    """A run of the sweep, as it grows."""

    run: RunPlan
    version: Version
    binding: Binding
    names: Names
    tally: Tally
    paired: bool = False  # the same rows go out under the other major, too


@dataclass(frozen=True, slots=True)
class Sealing:
    """A reading that has ended well, and all that its manifests tell of it. ``superseded``: rows, by tenant, that newer
    ones of their key replaced; ``began``: when the attempt did, by the monotonic clock."""

    job: Job
    claim: Claim
    plan: SweepPlan
    clock: Clock
    survey: Survey
    results: Mapping[int, Sequence[CheckResult]]  # by major
    parity: Sequence[str] | None  # columns that were compared, where two majors are delivered
    superseded: Mapping[str, int]
    began: float
    inactive: frozenset[str]  # inactive tenants that had rows
    clearance: Clearance
    audit: Link | None  # where the use of its approvals is noted
    published: Mapping[tuple[str, int], Sequence[str]]  # by tenant and major, runs before this sweep

    def record(self, served_runs: Sequence[Served]) -> dict[str, Any]:
        """Prepares every run's commit in the journal; what the seal has to say to make them binding."""
        job, plan = self.job, self.plan
        now = job.journal.now()
        ordered = sorted(served_runs, key=lambda served: (served.run.tenant, served.run.beside))
        superseded = superseded_commits(job, plan, ordered)
        with ThreadPoolExecutor(PREPARERS, thread_name_prefix="lading-seal") as pool:
            runs = list(pool.map(lambda served: self._run(served, now, superseded), ordered))
        return {
            "status": "sealed",
            "at": instant(now),
            "export": job.export,
            "interval": {"start": instant(plan.interval.start), "end": instant(plan.interval.end)},
            "bound": instant(self.clock.arrived),
            "since": instant(plan.since) if plan.since else None,
            "discover": plan.discover,
            "named": plan.only_named,
            "inactive": sorted(self.inactive),
            "terms": asdict(job.terms),
            "definition": job.definition,
            "contract": dict(job.own.contract),
            "snapshot": self.survey.snapshot,
            "runs": runs,
        } | self._both()

    def _both(self) -> dict[str, Any]:
        """What the seal says of two majors. ``promises``: what was promised when these rows were delivered."""
        job = self.job
        if job.beside is None:
            return {}
        promises = sorted(version.promises_sha256 for version in job.versions)
        return {"beside": dict(job.beside.contract), "parity": list(self.parity or ()), "promises": promises}

    def _run(
        self, served: Served, now: datetime, superseded: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, Any]:
        job = self.job
        if not served.tally.read and job.quiet(served.run):
            return self._unchanged(served)
        if not served.tally.files:
            served.tally.files.append(self._empty(served))
        older = self.superseded.get(served.run.tenant if job.tenant_column else "", 0)
        return self._prepare(served, older, now, superseded)

    def _empty(self, served: Served) -> Written:
        """A delivery without rows still carries a file with the schema."""
        channel, schema = served.version.channel, served.binding.output
        return channel.open(served.names, FileNumber(0, 1, 1), {}, schema, 1 << 20).finish()

    def _summary(self, served: Served) -> dict[str, Any]:
        run = served.run
        return {
            "tenant": run.tenant,
            "major": served.version.major,
            "revision": run.revision,
            "kind": run.kind,
            "run_id": served.names.run_id,
            "supersedes": list(run.supersedes),
            "reason": run.reason,
            "key_id": self.job.keys.key_id(run.tenant) if self.job.keyed else None,
        } | ({"beside": True} if run.beside else {})

    def _unchanged(self, served: Served) -> dict[str, Any]:
        return {
            **self._summary(served),
            "status": "unchanged",
            "rows": 0,
            "bytes": 0,
            "files": 0,
            "manifest": None,
        }

    def _prepare(
        self, served: Served, superseded: int, now: datetime, replaced: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, Any]:
        job, plan, binding, tally = self.job, self.plan, served.binding, served.tally
        version = served.version
        rows = Rows(
            read=tally.read + superseded,
            written=tally.written,
            filtered=tally.read - tally.written,
            superseded=superseded,
        )
        if sum(f.rows for f in tally.files) != tally.written:
            raise LadingError(f"Run {served.names.run_id}: the files hold other than {tally.written} rows.")
        encrypted = job.encryption["type"] != "none"
        files = [publishable(f, binding, encrypted=encrypted) for f in tally.files]
        bill = Bill(
            run_id=served.names.run_id,
            project=job.project,
            environment=job.environment,
            export=job.export,
            tenant=served.run.tenant,
            interval=plan.interval,
            revision=served.run.revision,
            kind=served.run.kind,
            supersedes=served.run.supersedes,
            reason=served.run.reason,
            attempt=self.claim.attempt.number,
            bound=self.clock.arrived,
            since=plan.since,
            contract=version.contract,
            definition_sha256=version.definition,
            source={
                **job.origin,
                "partition": instant(plan.interval.start),
                "snapshot": self.survey.snapshot,
            },
            schema=binding.recipient,
            policy=self._policy(served),
            decisions=self.clearance.decisions,
            approvals=[_public(approval) for approval in self.clearance.approvals],
            audit=self.audit.record() if self.audit else None,
            rows=rows,
            files=[f.record() for f in files],
            checks=[_check_record(r, encrypted=encrypted) for r in self.results[version.major]],
            format=job.format_name,
            codec=job.codec,
            format_options=job.format_options,
            encryption=job.encryption,
            notices=binding.notices,
            sealed_at=now,
            duration_ms=int((time.monotonic() - self.began) * 1000),
            mode=job.mode,
            plain_bytes=tally.bytes,
            beside=self._beside(served),
        )
        commit = version.channel.prepare(served.names, bill.document, files)
        if isinstance(version.channel, Cumulative):
            published = tuple(self.published.get((served.run.tenant, version.major), ()))
            commits = tuple(replaced[run] for run in served.run.supersedes)
            commit = version.channel.follow(commit, Past(published, commits))
        summary = self._summary(served)
        sha = self.claim.prepare(summary, commit)
        size = sum(f.bytes for f in files)
        for f in files:
            job.on_event(FileWritten(job.export, served.run.tenant, f.name, f.rows, f.bytes))
        return {
            **summary,
            "status": "committed",
            "sha256": sha,
            "rows": tally.written,
            "bytes": size,
            "files": len(files),
            "manifest": commit["manifest"],
        }

    def _beside(self, served: Served) -> dict[str, Any] | None:
        """The run of the other major that is committed with this one, if there is one."""
        if not served.paired:
            return None
        twin = replace(served.run, beside=not served.run.beside)
        other = self.job.version(twin)
        return {
            "contract": {key: other.contract[key] for key in ("name", "version")},
            "run_id": self.job.key(twin, self.plan.interval).run_id,
            "equal_columns": list(self.parity or ()),
        }

    def _policy(self, served: Served) -> list[dict[str, Any]]:
        keyed = [dict(action) for action in served.binding.policy]
        for action in keyed:
            if action["action"] == "hmac_sha256":
                action["key_id"] = self.job.keys.key_id(served.run.tenant)
        return keyed


def superseded_commits(
    job: Job, plan: SweepPlan, served_runs: Sequence[Served]
) -> Mapping[str, Mapping[str, Any]]:
    """The commits that those of channels which add to what was there take something out of, by run id."""
    channels = [served for served in served_runs if isinstance(served.version.channel, Cumulative)]
    wanted = {run for served in channels for run in served.run.supersedes}
    return job.journal.commits(job.export, plan.interval.start, wanted) if wanted else {}


def _public(approval: Mapping[str, Any]) -> dict[str, Any]:
    """Neither people nor purposes: they are not the recipients' business."""
    return {key: approval[key] for key in ("sha256", "kind", "name", "expires")}


def publishable(file: Written, binding: Binding, *, encrypted: bool = False) -> Written:
    """The file without statistics of columns whose values may not be told: of an encrypted one, all."""
    open_columns = frozenset() if encrypted else binding.open_columns
    told = {name: stats for name, stats in file.columns.items() if name in open_columns}
    return replace(file, columns=told)


def _check_record(result: CheckResult, *, encrypted: bool) -> dict[str, Any]:
    return {
        "name": result.name,
        "ok": result.ok,
        "on_violation": result.on_violation,
        "violations": result.violations,
        "detail": "" if encrypted else result.detail,  # it may tell a value of an open column
    }
