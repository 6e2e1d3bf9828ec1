"""Late rows: which tenants and delivered intervals have arrivals that no delivery carries yet."""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from datetime import UTC, datetime

import pyarrow as pa

from lading.errors import DataRefused
from lading.export.interval import Interval
from lading.history import DEFAULT_TENANT, History
from lading.plan import Clock, Standing
from lading.routing.keys import texts
from lading.run.job import Binding, Job
from lading.run.queries import late_query
from lading.run.unknown import unknown_tenants


def find_late(
    job: Job,
    binding: Binding,
    since: datetime,
    within: Interval,
    clock: Clock,
    standing: Standing,
    history: History,
) -> Mapping[tuple[str, datetime], datetime]:
    """(tenant, interval start) -> the newest arrival at or after ``since`` that falls into a delivered interval.

    Raises DataRefused for a NULL or unknown tenant among them.
    """
    window = job.window
    if window is None or window.arrival is None or clock.arrived <= since:
        return {}
    delivered = sorted({sweep.interval for sweep in history.sweeps})
    starts = [interval.start for interval in delivered]
    query = late_query(job, binding, window, window.arrival, within, (since, clock.arrived))
    found: dict[tuple[str, datetime], datetime] = {}
    unknown: set[str] = set()
    with job.source.open(query) as reading:
        for part in reading.survey().parts:
            for batch in reading.read(part):
                for tenant, at, arrival in _distinct(job, batch, window.column, window.arrival):
                    index = bisect.bisect_right(starts, at) - 1
                    if index < 0 or at >= delivered[index].end or tenant in standing.inactive:
                        continue
                    if tenant is None:
                        raise DataRefused(f"Column {job.tenant_column}: late rows have no tenant (NULL).")
                    if tenant not in standing.listed and not standing.discover:
                        unknown.add(tenant)
                        continue
                    key = tenant, starts[index]
                    found[key] = max(found.get(key, arrival), arrival)
    if unknown:
        raise unknown_tenants(job, binding, unknown, "late rows of ")
    return found


def _distinct(
    job: Job, batch: pa.RecordBatch, window: str, arrival: str
) -> list[tuple[str | None, datetime, datetime]]:
    """(tenant, window value, newest arrival), once for each tenant and window value of the batch."""
    table = pa.table({"at": _instants(batch.column(window)), "arrival": _instants(batch.column(arrival))})
    if job.tenant_column is None:
        table = table.append_column("tenant", pa.array([DEFAULT_TENANT] * len(table), pa.string()))
    else:
        table = table.append_column("tenant", texts(batch.column(job.tenant_column)))
    groups = table.group_by(["tenant", "at"]).aggregate([("arrival", "max")])
    return list(
        zip(
            groups["tenant"].to_pylist(),
            (at.astimezone(UTC) for at in groups["at"].to_pylist()),
            (at.astimezone(UTC) for at in groups["arrival_max"].to_pylist()),
            strict=True,
        )
    )


def _instants(values: pa.Array) -> pa.Array:
    """Dates and naive timestamps are UTC, as in every window."""
    if pa.types.is_date(values.type):
        values = values.cast(pa.timestamp("us"))
    if values.type.tz is None:
        return values.cast(pa.timestamp("us")).cast(pa.timestamp("us", "UTC"))
    return values.cast(pa.timestamp("us", "UTC"))
