"""What a run asks of its source. A row's tenant is read alike whoever asks, so that it is one tenant everywhere."""

from __future__ import annotations

from datetime import datetime, timedelta

from lading.export.interval import Interval, midnight
from lading.plan import Clock, SweepPlan
from lading.ports import Member, Query, Range
from lading.run.job import Binding, Job, Window
from lading.run.lanes import apart


def query_of(job: Job, binding: Binding, plan: SweepPlan, clock: Clock) -> Query:
    """The reading that serves a sweep."""
    window, ranges = job.window, []
    if window is not None and job.mode in ("incremental", "continuous"):
        start = plan.interval.start - timedelta(seconds=window.lookback)
        # A date is read whole: an interval may begin within one after its column's type, or its zone, was changed.
        start = midnight(start) if window.column in binding.by_day else start
        ranges.append(Range(window.column, start, plan.interval.end))
    elif window is not None:
        ranges.append(Range(window.column, plan.interval.start, plan.interval.end))
        if window.arrival is not None:
            ranges.append(Range(window.arrival, plan.since, clock.arrived))
    # A revision says that rows did change: it reads all of them anew, in one snapshot.
    immutable = job.immutable and not plan.reason
    member = None
    if job.tenant_column is not None and plan.only_named:
        member = Member(job.tenant_column, tuple(dict.fromkeys(run.tenant for run in plan.runs)))
    return Query(
        dataset=job.dataset,
        columns=binding.columns,
        as_text=binding.as_text,
        types=job.types,
        ranges=tuple(ranges),
        member=member,
        newest=job.newest,
        whole_parts=job.newest is not None or job.in_order,
        batch_bytes=min(16 << 20, job.buffer_memory // 32),
        lanes=job.workers if apart(job) else 1,
        immutable=immutable,
    )


def late_query(
    job: Job,
    binding: Binding,
    window: Window,
    arrival: str,
    within: Interval,
    arrived: tuple[datetime, datetime],
) -> Query:
    """The look for rows of ``within`` that arrived in a time: whose they are, and the moments that they have."""
    moments = window.column, arrival
    tenants = (job.tenant_column,) if job.tenant_column is not None else ()
    return Query(
        dataset=job.dataset,
        columns=tuple(dict.fromkeys([*moments, *tenants])),
        as_text=binding.as_text.difference(moments),  # which are looked at as moments
        types=job.types,
        ranges=(Range(window.column, within.start, within.end), Range(arrival, *arrived)),
    )
