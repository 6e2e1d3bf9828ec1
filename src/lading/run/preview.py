"""The first rows as the recipient would see them.

Nothing is claimed and nothing delivered; a tenant's key is made where its first use is here.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing

import pyarrow as pa

from lading.plan import DEFAULT_TENANT
from lading.ports import Member, Query, Reading
from lading.routing.keys import Cutter
from lading.run.job import Job


def preview(job: Job, limit: int, tenants: tuple[str, ...] | None = None) -> pa.Table:
    """At most ``limit`` rows of the source, whatever their interval, transformed as a delivery would be."""
    binding = job.binding()
    member = Member(job.tenant_column, tenants) if job.tenant_column and tenants else None
    query = Query(job.dataset, binding.columns, binding.as_text, job.types, member=member, whole_parts=True)
    cutter = Cutter(job.tenant_column, (), DEFAULT_TENANT)
    found: list[pa.RecordBatch] = []
    missing = limit
    with job.source.open(query) as reading, closing(_batches(reading)) as batches:
        for batch in batches:
            for key, rows in cutter.cut(batch.slice(0, missing)):
                for transform in binding.transforms:
                    rows = transform.apply(rows, lambda tenant=key.tenant: job.keys.tenant_key(tenant))  # type: ignore[misc]
                # A NULL that a delivery would refuse is shown.
                found.append(pa.RecordBatch.from_arrays(rows.columns, schema=binding.output))
                missing -= rows.num_rows
            if missing <= 0:
                break
    return pa.Table.from_batches(found, binding.output)


def _batches(reading: Reading) -> Generator[pa.RecordBatch, None, None]:
    for part in reading.survey().parts:
        yield from reading.read(part)
