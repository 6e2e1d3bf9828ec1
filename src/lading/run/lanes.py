"""Lanes: how the parts of a reading become files, side by side where that is possible.

With one stream of files (no tenants, no partitions) every part is a lane of its own, and a file never spans two parts.
Otherwise one lane takes all parts in their order, so that the number of files follows from tenants and partitions and
not from how the source was cut.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from lading.engine.threads import ahead, gather
from lading.events import PartRead, RowsRead
from lading.journal.log import Claim
from lading.plan import DEFAULT_TENANT
from lading.ports import Check, ColumnStats, FileNumber, FileWriter, Part, Reading, Survey, Written
from lading.routing.keys import Cutter, Key
from lading.routing.router import Router, Tally
from lading.run.job import Job

Lane = Callable[[Callable[[], None]], Mapping[str, Tally]]


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
    open_file: Callable[[Key, FileNumber, int], FileWriter]
    transform: Callable[[str, pa.RecordBatch], pa.RecordBatch]
    admit: Callable[[Sequence[str]], Container[str]]
    finished: Mapping[int, Mapping[str, Any]]
    reuse: Callable[[Mapping[str, Any]], bool]
    same: Mapping[str, str]  # what must be equal for a part to be used again or compared
    publishable: Callable[[Written], Written]
    rows: int = 0
    left_out: int = 0  # rows of tenants that another sweep serves
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self) -> list[Mapping[str, Tally]]:
        """Reads everything; what each lane did, by tenant, in the order of the parts."""
        parts = self.survey.parts
        alone = apart(self.job)
        tasks = [self._alone(part, len(parts)) for part in parts] if alone else [self._together(parts)]
        return gather(tasks, min(self.job.workers, len(tasks)))

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
            max_file_size=job.max_file_size,
            admit=self.admit,
        )

    def _together(self, parts: Sequence[Part]) -> Lane:
        def work(check: Callable[[], None]) -> Mapping[str, Tally]:
            router = self._router(0, 1)
            try:
                for part in parts:
                    rows = self._feed(part, check, router)
                    self._note(part, {"rows": rows})
                router.finish()
            except BaseException:
                router.abort()
                raise
            self.left_out = router.left_out
            return router.tallies

        return work

    def _alone(self, part: Part, lanes: int) -> Lane:
        def work(check: Callable[[], None]) -> Mapping[str, Tally]:
            before = self.finished.get(part.index)
            if before is not None and self.reuse(before):
                # Checks judge all rows, so for them even a part that is written already is read.
                rows = self._feed(part, check, None) if self.checks else self._count(int(before["rows"]))
                self._note(part, {**before, "rows": rows})
                return {DEFAULT_TENANT: _tally(before)}
            router = self._router(part.index, lanes)
            try:
                rows = self._feed(part, check, router)
                router.finish()
            except BaseException:
                router.abort()
                raise
            self._note(part, {"rows": rows, **self._record(router.tallies.get(DEFAULT_TENANT, Tally()))})
            return router.tallies

        return work

    def _feed(self, part: Part, check: Callable[[], None], router: Router | None) -> int:
        job, rows = self.job, 0
        for batch in ahead(
            self.reading.read(part), lambda b: int(b.nbytes), job.buffer_memory // 8 // job.workers
        ):
            check()
            for promise in self.checks:
                promise.observe(batch)
            if router is not None:
                router.feed(batch)
            rows += batch.num_rows
            job.on_event(RowsRead(job.export, batch.num_rows, batch.nbytes))
        job.on_event(PartRead(job.export, part.index, len(self.survey.parts), rows))
        return self._count(rows)

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


def apart(job: Job) -> bool:
    return job.tenant_column is None and not job.partitions


def _tally(record: Mapping[str, Any]) -> Tally:
    files = [
        Written(
            file["name"],
            file["rows"],
            file["bytes"],
            file["sha256"],
            file["partition"],
            {name: ColumnStats(s["min"], s["max"], s["nulls"]) for name, s in file["columns"].items()},
        )
        for file in record["files"]
    ]
    return Tally(int(record["read"]), int(record["written"]), int(record["bytes"]), files)
