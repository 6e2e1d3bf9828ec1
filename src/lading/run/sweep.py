"""One attempt of one sweep: read, check, route, mask, write, and the record that seals it.

Nothing here is visible to a reader: files go to folders of this attempt, and only the seal makes them count.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from lading.errors import (
    DataRefused,
    Fenced,
    IntegrityError,
    LadingError,
    Refused,
    SchemaMismatch,
    Shrunk,
    counted,
)
from lading.events import CheckWarned, SweepStarted
from lading.export.identity import instant
from lading.history import DEFAULT_TENANT
from lading.journal.audit import AuditChain, Link
from lading.journal.log import Attempt as AttemptRef
from lading.journal.log import Claim
from lading.manifest import failure
from lading.plan import Clock, RunPlan, SweepPlan
from lading.ports import (
    Check,
    CheckResult,
    Cumulative,
    FileNumber,
    FileWriter,
    Past,
    Preflight,
    Reading,
    Reuser,
    SchemaChecker,
    Survey,
)
from lading.routing.keys import Key
from lading.routing.router import Tally
from lading.routing.spill import scratch
from lading.run.job import Binding, Clearance, Job
from lading.run.lanes import Lanes, apart
from lading.run.parity import Parity
from lading.run.queries import query_of
from lading.run.sealing import Sealing, Served, publishable, superseded_commits
from lading.run.unknown import unknown_anywhere, unknown_tenants


class Attempt:
    """Carries one claimed attempt from the reading to its seal."""

    def __init__(
        self,
        job: Job,
        claim: Claim,
        plan: SweepPlan,
        clock: Clock,
        binding: Binding,
        key_ids: Mapping[str, str],
        fresh: bool,
        clearance: Clearance,
        published: Mapping[tuple[str, int], Sequence[str]],
    ) -> None:
        """``key_ids``: by tenant, which key masked its newest delivery. ``fresh``: the journal knew nothing of this
        export when the call began, so nothing of it may stand anywhere. ``clearance``: why rows may leave.
        ``published``: by tenant and major, runs that came before."""
        self._clearance, self._published = clearance, published
        self._key_ids, self._fresh = key_ids, fresh
        self._job, self._claim, self._plan, self._clock, self._binding = job, claim, plan, clock, binding
        self._served: dict[str, list[Served]] = {}  # by tenant, one for each major
        beside = binding.beside
        self._parity = Parity.of(binding.output, beside.output, job.differs) if beside else None
        self._lock = threading.Lock()
        self._keep = False
        self._same: dict[str, str] = {}
        self._inactive: set[str] = set()
        self._unmet: set[str] = set()  # doubtful tenants, once all rows were read and none was theirs
        self._writable: set[str] = set()
        self._folders: list[Mapping[str, str]] = []

    def write(self) -> dict[str, Any]:
        """Everything up to the seal, whose record is returned. Raises what went wrong; `discard` cleans up."""
        job, plan = self._job, self._plan
        began = time.monotonic()
        noted = self._note_use()
        self._serve(plan.runs)
        query = query_of(job, self._binding, plan, self._clock)
        self._same = {"definition": job.definition, "query": hashlib.sha256(repr(query).encode()).hexdigest()}
        if job.keyed and apart(job):
            self._same["key_id"] = job.keys.key_id(DEFAULT_TENANT)
        if job.encryption_key is not None and apart(job):
            self._same["encryption_key"] = job.encryption_key(DEFAULT_TENANT)
        if query.immutable:
            query = replace(query, step=self._step_before())
        with scratch() as spill, job.source.open(query) as reading:
            survey = reading.survey()
            self._keep = reading.replayable and apart(job)
            self._same["version"] = survey.version
            if survey.step is not None:
                self._same |= {"step": str(survey.step), "counted": str(survey.rows)}
                self._refuse_recounted(survey)
            if not survey.schema.equals(self._binding.read):
                raise SchemaMismatch(
                    f"{job.export}: the source's columns changed while the run was prepared.",
                    hint="Call it again.",
                )
            interval = plan.interval
            job.on_event(
                SweepStarted(
                    job.export,
                    interval.start,
                    interval.end,
                    self._claim.attempt.number,
                    len(plan.runs),
                    survey.rows,
                )
            )
            memory = job.buffer_memory // 4 // len(job.versions)
            checks = {
                version.major: version.checks(binding, reading, self._clock.now, spill, memory)
                for version, binding in zip(job.versions, self._bindings, strict=True)
            }
            every = [check for each in checks.values() for check in each]
            try:
                self._read(reading, survey, every, spill)
                results = {major: [check.result() for check in each] for major, each in checks.items()}
            finally:
                for check in every:
                    check.close()
            self._judge([result for each in results.values() for result in each])
            superseded = reading.superseded()
        sealing = Sealing(
            job,
            self._claim,
            plan,
            self._clock,
            survey,
            results,
            self._parity.columns if self._parity else None,
            superseded,
            began,
            frozenset(self._inactive),
            self._clearance,
            noted,
            self._published,
        )
        return sealing.record(self._all_served())

    def _all_served(self) -> list[Served]:
        return [served for each in self._served.values() for served in each]

    @property
    def _bindings(self) -> tuple[Binding, ...]:
        """Of the majors that the job delivers, in their order."""
        beside = self._binding.beside
        return (self._binding,) if beside is None else (self._binding, beside)

    def discard(self) -> None:
        """Removes what was written, as far as that is allowed."""
        for folders in self._folders:
            self._job.channel.discard(folders)

    def fail(self, error: BaseException) -> None:
        """Closes the attempt as failed, so that the next may follow; then removes what was written and leaves markers.

        The closing comes first: where it does not succeed, somebody else decides about the attempt and its files.
        """
        now = self._job.journal.now()
        stopped = isinstance(error, KeyboardInterrupt)
        retryable = stopped or (isinstance(error, LadingError) and error.retryable)
        body = failure(_kind(error), now, self._claim.attempt.number, retryable)
        seal = {
            "status": "failed",
            "at": instant(now),
            "error": _kind(error),
            "message": _told(error),
            "retryable": retryable,
            "unmet": sorted(self._unmet),
        }
        try:
            try:
                self._claim.seal(seal)
            except Fenced:
                self.discard()
                raise
            # Parts that can be used again stay for the next attempt, after which they are cleaned with this one.
            if not (retryable and self._keep):
                self.discard()
            for served in self._all_served():
                # A folder is made for nobody whom only a command line knows.
                if served.run.tenant not in self._plan.doubtful or served.tally.read:
                    served.version.channel.fail(served.names, body)
        except LadingError as second:
            # The first failure is the one to tell. What is left behind is cleaned before the sweep's next publication.
            error.add_note(f"And closing the attempt failed: {second}")

    def _note_use(self) -> Link | None:
        """What approvals allow is noted before it is done."""
        used = [dict(approval) for approval in self._clearance.approvals]
        if not used:
            return None
        job, interval = self._job, self._plan.interval
        return AuditChain(job.journal).append(
            "used",
            approvals=used,
            export=job.export,
            interval={"start": instant(interval.start), "end": instant(interval.end)},
            attempt=self._claim.attempt.number,
        )

    # --- reading

    def _read(self, reading: Reading, survey: Survey, checks: Sequence[Check], spill: Path) -> None:
        job = self._job
        lanes = Lanes(
            job=job,
            claim=self._claim,
            reading=reading,
            survey=survey,
            checks=checks,
            spill=spill,
            open_file=self._open_file,
            transform=self._transform,
            admit=self._admit,
            finished=self._finished(reading, survey),
            reuse=self._reuse,
            same=self._same,
            publishable=lambda file: publishable(
                file, self._binding, encrypted=job.encryption["type"] != "none"
            ),
        )
        for tallies in lanes.read():
            for tenant, by_version in tallies.items():
                for served, tally in zip(self._served[tenant], by_version, strict=True):
                    served.tally.read += tally.read
                    served.tally.written += tally.written
                    served.tally.bytes += tally.bytes
                    served.tally.files.extend(tally.files)
        taken = sum(versions[0].tally.read for versions in self._served.values())
        if lanes.rows != taken + lanes.left_out:
            raise LadingError(f"{lanes.rows} rows were read, and {taken} + {lanes.left_out} were routed.")
        self._refuse_shrunk(reading, lanes.rows)

    @cached_property
    def _parts_before(self) -> Sequence[tuple[AttemptRef, Mapping[int, Mapping[str, Any]]]]:
        return list(self._job.journal.parts_before(self._claim.attempt))

    def _counted_before(self) -> Iterator[Mapping[str, Any]]:
        """Parts that earlier attempts read of the same immutable rows, the latest last."""
        asked = {key: self._same[key] for key in ("definition", "query")}
        for _, parts in self._parts_before:
            yield from (part for part in parts.values() if "step" in part and asked.items() <= part.items())

    def _step_before(self) -> int | None:
        """Rows in each part of the latest earlier attempt: with as many again, its parts are cut again."""
        steps = [int(part["step"]) for part in self._counted_before()]
        return steps[-1] if steps else None

    def _finished(self, reading: Reading, survey: Survey) -> dict[int, Mapping[str, Any]]:
        """By part, what the latest earlier attempt has written that read the same bytes under the same definition."""
        if not reading.replayable or not survey.version or not apart(self._job):
            return {}
        found: dict[int, Mapping[str, Any]] = {}
        for earlier, parts in self._parts_before:
            for index, part in parts.items():
                if "files" in part and self._same.items() <= part.items():
                    found[index] = {**part, "attempt": earlier.number}
        return found

    def _reuse(self, part: Mapping[str, Any]) -> bool:
        """Copies a part's files from the folder of an earlier attempt into this one's."""
        channel = self._job.channel
        if not isinstance(channel, Reuser):
            return False
        (served,) = self._all_served()
        before = self._job.names(served.run, self._plan.interval, part["attempt"])
        return channel.reuse(before, served.names, {file["name"]: file["bytes"] for file in part["files"]})

    def _admit(self, tenants: Sequence[str]) -> set[str]:
        """Which of these tenants, met for the first time, this sweep serves. Raises for one that nobody knows."""
        plan = self._plan
        with self._lock:
            new = [t for t in tenants if t not in self._served and t not in plan.delivered]
            if new and not plan.discover:
                raise unknown_tenants(self._job, self._binding, new)
            self._inactive |= set(tenants) & plan.inactive
            # All that lack a key at once: their files, opened one by one, would name the first alone.
            self._job.equipped(set(new) - plan.inactive)
            both = (False, True) if self._job.beside else (False,)
            self._serve(
                [RunPlan(tenant, reason=plan.reason, beside=beside) for tenant in new for beside in both]
            )
            return set(tenants) - plan.delivered

    def _serve(self, runs: Sequence[RunPlan]) -> None:
        """Takes runs on, and announces their folders before anything is written to them."""
        for run in runs:
            self._refuse_other_key(run.tenant)
        made: dict[str, list[Served]] = {}
        for run in runs:
            names = self._job.names(run, self._plan.interval, self._claim.attempt.number)
            binding = self._bindings[run.beside]
            own = Served(run, self._job.version(run), binding, names, Tally())
            made.setdefault(run.tenant, []).append(own)
        served = [each for versions in made.values() for each in versions]
        for each in served:
            each.paired = len(made[each.run.tenant]) > 1
        folders = [each.version.channel.folders(each.names) for each in served]
        if self._fresh:
            self._refuse_occupied(served)
        if served:
            self._claim.announce(
                {"tenant": each.run.tenant, "folders": dict(where)}
                for each, where in zip(served, folders, strict=True)
            )
        # Only what was announced may be written to, failure markers included.
        self._served.update(made)
        self._folders.extend(folders)
        self._check_writable(folders)
        replaced = superseded_commits(self._job, self._plan, served)
        for each in served:
            if isinstance(each.version.channel, SchemaChecker):
                each.version.channel.check_schema(each.names, each.binding.output)
            if isinstance(each.version.channel, Cumulative):
                before = tuple(self._published.get((each.run.tenant, each.version.major), ()))
                commits = tuple(replaced[run] for run in each.run.supersedes)
                each.version.channel.check_past(each.names, Past(before, commits))

    def _check_writable(self, folders: Sequence[Mapping[str, str]]) -> None:
        """Before rows are read for a destination it must be seen to take writing, or hours of reading are for nothing.

        Once in an attempt: in the folder of the first tenant that goes there.
        """
        channel = self._job.channel
        for each in folders:
            new = {name: folder for name, folder in each.items() if name not in self._writable}
            if new and isinstance(channel, Preflight):
                channel.check_writable(new)
            self._writable |= new.keys()

    def _refuse_occupied(self, served: Sequence[Served]) -> None:
        for each in served:
            url = each.version.channel.standing(each.names)
            if url is not None:
                raise IntegrityError(
                    f"{url} holds a delivery of which the journal knows nothing: its rows would be delivered twice.",
                    hint="Restore the journal from its backup, or deliver to another place.",
                )

    def _refuse_other_key(self, tenant: str) -> None:
        """A lost keyring makes new keys, and under a new key no masked value equals what was delivered before."""
        if not self._job.keyed:
            return
        before, now = self._key_ids.get(tenant), self._job.keys.key_id(tenant)
        if before is not None and before != now:
            raise Refused(
                f"Tenant {tenant!r}: its key is not the one that masked its last delivery ({before}).",
                hint="Restore the keyring from its backup: with another key every masked value would change.",
            )

    def _open_file(self, key: Key, version: int, number: FileNumber, memory: int) -> FileWriter:
        served = self._served[key.tenant][version]
        partition = dict(zip([p.name for p in self._job.partitions], key.partition, strict=True))
        schema, limit = served.binding.output, self._job.max_file_size
        return served.version.channel.open(served.names, number, partition, schema, memory, limit)

    def _transform(self, tenant: str, batch: pa.RecordBatch) -> list[pa.RecordBatch]:
        """The rows as the tenant gets them under each major. Raises DataRefused where two contradict each other."""
        made = [self._transformed(served, batch) for served in self._served[tenant]]
        if self._parity is not None and len(made) > 1:
            self._parity.require(*made)
        return made

    def _transformed(self, served: Served, batch: pa.RecordBatch) -> pa.RecordBatch:
        for transform in served.binding.transforms:
            batch = transform.apply(batch, lambda: self._job.keys.tenant_key(served.run.tenant))
        return batch

    # --- judging and sealing

    def _refuse_recounted(self, survey: Survey) -> None:
        """Where rows never change, an interval has as many as it had. Parts used again are not read, so all are counted
        before."""
        rows = survey.rows or 0
        for before in {int(part["counted"]) for part in self._counted_before()} - {rows}:
            raise (Shrunk if rows < before else DataRefused)(
                f"An earlier attempt found {counted(before, 'row')} in this interval, and now there are {rows:,}: "
                "rows changed that the export declares immutable.",
                hint=self._say_so(),
            )

    def _refuse_shrunk(self, reading: Reading, rows: int) -> None:
        """What can be read again may not have become less since an earlier attempt. A revision says why it may."""
        if not reading.replayable or self._plan.reason:
            return
        # Readings that asked for other rows say nothing about these.
        asked = {key: self._same[key] for key in ("definition", "query")}
        for _, parts in self._parts_before:
            before = sum(part["rows"] for part in parts.values() if asked.items() <= part.items())
            if rows < before:
                raise Shrunk(
                    f"An earlier attempt read {counted(before, 'row')} here, and now there are {rows:,}: rows went "
                    "missing.",
                    hint=self._say_so(),
                )

    def _say_so(self) -> str:
        """What makes it right that rows are gone; an interval that was never delivered is named by its ends, too."""
        interval = self._plan.interval
        named = f"--start {instant(interval.start)} --end {instant(interval.end)} "
        if self._job.mode == "full_refresh":
            named = ""
        return f"If that is right, say so: run it again with --revise {named}--reason."

    def _judge(self, results: Sequence[CheckResult]) -> None:
        self._unmet = {t for t in self._plan.doubtful if not self._served[t][0].tally.read}
        for result in results:
            if not result.ok and result.on_violation == "warn":
                self._job.on_event(
                    CheckWarned(self._job.export, result.name, result.violations, result.detail)
                )
        broken = [r for r in results if not r.ok and r.on_violation == "fail"]
        if broken:
            # Two majors may promise the same.
            told = dict.fromkeys(
                f"{r.name}: {r.detail or counted(r.violations, 'violation')}" for r in broken
            )
            raise DataRefused(f"Checks failed, nothing was delivered: {'; '.join(told)}.")
        if self._unmet:
            raise unknown_anywhere(min(self._unmet))


INTERRUPTED = "Interrupted"
"""The kind of failure of an attempt that was stopped from outside: by Ctrl-C, by SIGTERM."""


def _kind(error: BaseException) -> str:
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else type(error).__name__


def _told(error: BaseException) -> str:
    """What the journal says of a failure. The text of one that Lading does not know may hold values of the data."""
    if isinstance(error, KeyboardInterrupt):
        return "The run was stopped."
    return str(error) if isinstance(error, LadingError) else ""
