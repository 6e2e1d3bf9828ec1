"""Lanes: how the parts of a reading become files, side by side where that is possible.

With one stream of files (no tenants, no partitions) every part is a lane of its own, and a file never spans two parts.
Otherwise one lane takes all parts in their order, so that the number of files follows from tenants and partitions and
not from how the source was cut.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Container, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from lading.engine.threads import ahead, gather
from lading.errors import DataRefused, counted
from lading.events import PartRead, RowsRead
from lading.history import DEFAULT_TENANT
from lading.journal.log import Claim
from lading.ports import (
    Additive,
    Check,
    ColumnStats,
    Guarding,
    Part,
    Reading,
    Survey,
    Written,
)
from lading.routing.keys import Cutter
from lading.routing.router import Finish, OpenFile, Router, Tally
from lading.run.job import Job

Lane = Callable[[Callable[[], None]], Mapping[str, Sequence[Tally]]]


@dataclass(slots=True)
class Lanes:
    """One reading on its way. ``finished``: by part, what an earlier attempt has written of it and can be used again;
    ``reuse`` brings such files into this attempt and says whether it could."""

    job: Job
    claim: Claim
    reading: Reading
    survey: Survey
    checks: Sequence[Check]
    spill: Path
    open_file: OpenFile
    transform: Finish
    admit: Callable[[Sequence[str]], Container[str]]
    finished: Mapping[int, Mapping[str, Any]]
    reuse: Callable[[Mapping[str, Any]], bool]
    same: Mapping[str, str]  # what must be equal for a part to be used again or compared
    publishable: Callable[[Written], Written]
    rows: int = 0
    left_out: int = 0  # rows of tenants that another sweep serves
    _side_by_side: int = 1
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self) -> list[Mapping[str, Sequence[Tally]]]:
        """Reads everything; what each lane did, by tenant and version, in the order of the parts."""
        parts = self.survey.parts
        alone = apart(self.job)
        tasks = [self._alone(part, len(parts)) for part in parts] if alone else [self._together(parts)]
        self._side_by_side = min(self.job.workers, len(tasks))
        return gather(tasks, self._side_by_side)

    def _router(self, lane: int, lanes: int) -> Router:
        job = self.job
        return Router(
            Cutter(job.tenant_column, job.partitions, DEFAULT_TENANT),
            self.open_file,
            self.transform,
            lane=lane,
            lanes=lanes,
            budget=job.buffer_memory // min(job.workers, lanes),
            spill=self.spill / f"lane{lane}",
            admit=self.admit,
            versions=len(job.versions),
        )

    def _together(self, parts: Sequence[Part]) -> Lane:
        def work(check: Callable[[], None]) -> Mapping[str, Sequence[Tally]]:
            router = self._router(0, 1)
            try:
                for part in parts:
                    rows = self._feed(part, check, router, self.checks)
                    self._note(part, {"rows": rows})
                router.finish()
            except BaseException:
                router.abort()
                raise
            self.left_out = router.left_out
            return router.tallies

        return work

    def _alone(self, part: Part, lanes: int) -> Lane:
        def work(check: Callable[[], None]) -> Mapping[str, Sequence[Tally]]:
            before = self.finished.get(part.index)
            if before is not None and self.reuse(before):
                self._judge_again(part, before, check)
                self._note(part, before)
                return {DEFAULT_TENANT: [_tally(before)]}
            judges = self._judges()
            router = self._router(part.index, lanes)
            try:
                rows = self._feed(part, check, router, judges)
                router.finish()
            except BaseException:
                router.abort()
                raise
            (tally,) = router.tallies.get(DEFAULT_TENANT, [Tally()])
            found = self._add_up(judges)
            if not any(map(_guarded, judges)):
                self._note(part, {"rows": rows, "found": found, **self._record(tally)})
            return router.tallies

        return work

    def _judges(self) -> Sequence[Check]:
        """The checks, for one part: those that only count start anew, so that the journal can tell what they found."""
        if not self.reading.replayable:
            return self.checks
        return [
            check.fresh() if isinstance(check, Additive) and _counts(check) else check
            for check in self.checks
        ]

    def _add_up(self, judges: Sequence[Check]) -> list[list[Any]]:
        """What the checks that only count have found in a part, by name and in their order."""
        found = []
        for check, judge in zip(self.checks, judges, strict=True):
            if isinstance(check, Additive) and isinstance(judge, Additive) and _counts(judge):
                found.append([judge.name, judge.found()])
                if judge is not check:
                    check.add(judge.found() or 0)
        return found

    def _judge_again(self, part: Part, before: Mapping[str, Any], check: Callable[[], None]) -> None:
        """A part that is written already is read only for checks that need its rows."""
        counting = [each for each in self.checks if isinstance(each, Additive) and _counts(each)]
        known = before.get("found", ())
        if [each.name for each in counting] == [name for name, _ in known]:
            for each, (_, found) in zip(counting, known, strict=True):
                each.add(found)
            rest = [each for each in self.checks if not _counts(each)]
        else:
            rest = list(self.checks)
        if not rest:
            self._count(int(before["rows"]))
        elif (rows := self._feed(part, check, None, rest)) != before["rows"]:
            raise DataRefused(
                f"Part {part.index} of a source that had not changed gave {counted(before['rows'], 'row')}, and "
                f"now {rows:,}."
            )

    def _feed(
        self, part: Part, check: Callable[[], None], router: Router | None, judges: Sequence[Check]
    ) -> int:
        job, rows = self.job, 0
        with closing(self._batches(part)) as batches:
            for batch in batches:
                check()
                for promise in judges:
                    promise.observe(batch)
                if router is not None:
                    router.feed(batch)
                rows += batch.num_rows
                job.on_event(RowsRead(job.export, batch.num_rows, batch.nbytes))
        job.on_event(PartRead(job.export, part.index, len(self.survey.parts), rows))
        return self._count(rows)

    def _batches(self, part: Part) -> Generator[pa.RecordBatch]:
        """Read by a thread of its own, where there is a core for it: else it would only take turns with the lane."""
        batches = self.reading.read(part)
        if self._side_by_side < _cores():
            batches = ahead(batches, lambda b: int(b.nbytes), self.job.buffer_memory // 8 // self.job.workers)
        yield from batches

    def _count(self, rows: int) -> int:
        with self._lock:
            self.rows += rows
        return rows

    def _note(self, part: Part, record: Mapping[str, Any]) -> None:
        """What can be read again can be missed or used again: the journal keeps how much there was of it."""
        if self.reading.replayable:
            self.claim.part(part.index, {**record, **self.same})

    def _record(self, tally: Tally) -> dict[str, Any]:
        return {
            "read": tally.read,
            "written": tally.written,
            "bytes": tally.bytes,
            "files": [self.publishable(file).record() for file in tally.files],
        }


def _cores() -> int:
    """That this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def apart(job: Job) -> bool:
    """Whether each part's files can be made for themselves."""
    return job.tenant_column is None and not job.partitions and not job.in_one and job.beside is None


def _guarded(check: Check) -> bool:
    """Whether the part holds what nobody may be told. Nobody will use it again: it fails the sweep."""
    return isinstance(check, Guarding) and isinstance(check, Additive) and bool(check.found())


def _counts(check: Check) -> bool:
    return isinstance(check, Additive) and check.found() is not None


def _tally(record: Mapping[str, Any]) -> Tally:
    files = [
        Written(
            file["name"],
            file["rows"],
            file["bytes"],
            file["sha256"],
            file["partition"],
            {name: ColumnStats(s["min"], s["max"], s["nulls"]) for name, s in file["columns"].items()},
            file.get("encryption"),
        )
        for file in record["files"]
    ]
    return Tally(int(record["read"]), int(record["written"]), int(record["bytes"]), files)
