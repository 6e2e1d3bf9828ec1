"""The first rows as the recipient would see them.

Nothing is claimed and nothing delivered; a tenant's key is made where its first use is here.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from datetime import UTC, datetime

import pyarrow as pa

from lading.errors import InvalidProject
from lading.history import DEFAULT_TENANT
from lading.plan import Clock, Standing, known_tenants, refuse_tenants
from lading.ports import Member, Query, Reading
from lading.routing.keys import Cutter
from lading.run.job import Job
from lading.run.unknown import unknown_anywhere


def preview(
    job: Job, limit: int, tenants: tuple[str, ...] | None = None, major: int | None = None
) -> pa.Table:
    """At most ``limit`` rows of the source, whatever their interval, transformed as a delivery would be: under the
    export's own major, or under ``major``, which may be the one that is delivered beside it.

    Raises what a run would raise for a tenant that nobody knows, and InvalidProject for a major that is not delivered.
    """
    _refuse_undelivered(job, major)
    now = datetime.now(UTC)
    standing = job.standing(Clock(now, now, now), None)
    refuse_tenants(standing, tenants or ())
    reads = job.binding()  # for both
    binding = reads if major in (None, job.own.major) else reads.beside
    assert binding is not None
    member = Member(job.tenant_column, tenants) if job.tenant_column and tenants else None
    query = Query(job.dataset, reads.columns, reads.as_text, job.types, member=member, whole_parts=True)
    cutter = Cutter(job.tenant_column, (), DEFAULT_TENANT)
    found: list[pa.RecordBatch] = []
    missing, met = limit, set[str]()
    with job.source.open(query) as reading, closing(_batches(reading)) as batches:
        for batch in batches:
            for key, rows in cutter.cut(batch.slice(0, missing)):
                for transform in binding.transforms:
                    rows = transform.apply(rows, lambda tenant=key.tenant: job.keys.tenant_key(tenant))  # type: ignore[misc]
                # A NULL that a delivery would refuse is shown.
                found.append(pa.RecordBatch.from_arrays(rows.columns, schema=binding.output))
                missing -= rows.num_rows
                met.add(key.tenant)
            if missing <= 0:
                break
        else:
            _refuse_unmet(job, standing, set(tenants or ()) - met)
    return pa.Table.from_batches(found, binding.output)


def _refuse_undelivered(job: Job, major: int | None) -> None:
    known = [version.major for version in job.versions]
    if major is not None and major not in known:
        told = " and ".join(map(str, sorted(known)))
        raise InvalidProject(
            f"{job.export} delivers nothing under the major {major} of its contract.",
            hint=f"It delivers {told}.",
        )


def _refuse_unmet(job: Job, standing: Standing, unmet: set[str]) -> None:
    """Tenants asked for by name that have no row at all: one that is known from nowhere else is misspelt."""
    doubtful = unmet - set(standing.listed)
    if doubtful:
        history = job.journal.history(job.export, job.journal.seen(job.export))
        for tenant in sorted(doubtful - set(known_tenants(standing, history))):
            raise unknown_anywhere(tenant)


def _batches(reading: Reading) -> Generator[pa.RecordBatch, None, None]:
    for part in reading.survey().parts:
        yield from reading.read(part)
