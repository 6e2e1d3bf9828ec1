"""What a run would do: plan, sizes, schema, names. Writes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lading.export.identity import instant
from lading.export.interval import Interval
from lading.plan import Asked, RunPlan, SweepPlan, late_window, plan, unknown_tenants
from lading.ports import Cumulative, Past, SchemaChecker
from lading.run.job import Binding, Job
from lading.run.publish import published
from lading.run.queries import query_of
from lading.run.story import clock_of, told_lacking


@dataclass(frozen=True, slots=True)
class Due:
    """One sweep that is due, as far as it can be told before reading."""

    interval: Interval
    tenants: tuple[str, ...]
    discover: bool
    folders: Mapping[
        str, str
    ]  # of the first known tenant; else with {tenant} and {run} in place of what will be met
    parts: int | None = None
    rows: int | None = None
    bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Outlook:
    """``unpublished``: sealed sweeps that a run would publish first. ``late``: whether a run would look for late rows
    of what is delivered; if there are any, only that can tell. ``unknown_tenants``: asked for, known from nowhere."""

    export: str
    due: tuple[Due, ...]
    not_due: tuple[Interval, ...]
    delivered: int
    unpublished: int
    bound: str
    late: bool
    unknown_tenants: tuple[str, ...]
    schema: Sequence[Mapping[str, Any]]
    policy: Sequence[Mapping[str, Any]]
    notices: Sequence[str]
    approvals: Sequence[Mapping[str, Any]]  # what needs one: {export, kind, name, approval, expires, missing}

    @property
    def something(self) -> bool:
        """Whether a run would have something to do: to deliver or to publish, or late rows to look for."""
        return bool(self.due or self.unpublished or self.late)

    def record(self) -> dict[str, Any]:
        return {
            "export": self.export,
            "due": [
                {
                    "interval": {"start": instant(d.interval.start), "end": instant(d.interval.end)},
                    "tenants": list(d.tenants),
                    "discover": d.discover,
                    "folders": dict(d.folders),
                    "parts": d.parts,
                    "rows": d.rows,
                    "bytes": d.bytes,
                }
                for d in self.due
            ],
            "not_due": [{"start": instant(i.start), "end": instant(i.end)} for i in self.not_due],
            "delivered": self.delivered,
            "unpublished": self.unpublished,
            "bound": self.bound,
            "late": self.late,
            "unknown_tenants": list(self.unknown_tenants),
            "schema": [dict(column) for column in self.schema],
            "policy": [dict(action) for action in self.policy],
            "notices": list(self.notices),
            "approvals": [dict(each) for each in self.approvals],
        }


SURVEYED = 3
"""Sweeps whose sizes are asked of the source; the others are like them."""


def outlook(job: Job, asked: Asked | None = None) -> Outlook:
    """Raises what a run would raise before its first row, but for approvals that are missing: they are told."""
    asked = asked or Asked()
    approvals = job.approvals()
    binding = job.binding()
    clock = clock_of(job, binding)
    seen = job.journal.seen(job.export)
    sealed = [
        s for attempts in seen.values() for s in attempts
        if s.ended and not s.done and job.journal.end(s.attempt)["status"] == "sealed"
    ]  # fmt: skip
    history = job.journal.history(job.export, seen, job.journal.waiting(sealed))
    standing = job.standing(clock, asked.end)
    due = plan(standing, history, clock, asked)
    where = late_window(standing, history, asked)
    sweeps = []
    _check(job, binding, due.sweeps, published(history))
    for index, sweep in enumerate(due.sweeps):
        sizes: dict[str, Any] = {}
        if index < SURVEYED:
            with job.source.open(query_of(job, binding, sweep, clock)) as reading:
                survey = reading.survey()
            sizes = {"parts": len(survey.parts), "rows": survey.rows, "bytes": survey.bytes}
        sweeps.append(
            Due(
                sweep.interval,
                tuple(dict.fromkeys(run.tenant for run in sweep.runs)),
                sweep.discover,
                _folders(job, sweep, len(seen.get(sweep.interval.start, [])) + 1),
                **sizes,
            )
        )
    return Outlook(
        job.export,
        tuple(sweeps),
        due.not_due,
        len(history.runs),
        len(sealed),
        instant(clock.bound),
        where is not None and clock.arrived > where[0],
        tuple(sorted(unknown_tenants(standing, history, asked))),
        binding.recipient,
        binding.policy,
        (*binding.notices, *_beside(job, binding), *told_lacking(job, standing, history)),
        approvals,
    )


def _beside(job: Job, binding: Binding) -> Iterator[str]:
    """What goes out under the other major: to whoever reviews a plan, its columns count as much."""
    if binding.beside is None or job.beside is None:
        return
    done: dict[str, list[str]] = {}
    for action in binding.beside.policy:
        done.setdefault(str(action["column"]), []).append(str(action["action"]))
    columns = (
        f"{column['name']} ({', '.join(done[column['name']])})" if column["name"] in done else column["name"]
        for column in binding.beside.recipient
    )
    name = f"{job.beside.contract['name']}@{job.beside.major}"
    yield f"{name} is delivered beside it, from the same rows, with the columns {', '.join(columns)}"
    yield from (f"{name}: {notice}" for notice in binding.beside.notices)


def _check(
    job: Job,
    binding: Binding,
    sweeps: Sequence[SweepPlan],
    before: Mapping[tuple[str, int], Sequence[str]],
) -> None:
    """What can be told of a destination before a row is read, once for each tenant that is known. ``before``: runs that
    are published, by tenant and major."""
    newest = {run.tenant: (run, sweep.interval) for sweep in sweeps for run in sweep.runs}
    for run, interval in newest.values():
        names = job.names(run, interval, 1)
        if isinstance(job.channel, SchemaChecker):
            job.channel.check_schema(names, binding.output)
        if isinstance(job.channel, Cumulative):
            job.channel.check_past(names, Past(tuple(before.get((run.tenant, names.major), ()))))


_UNMET = {"tenant": "unmet-tenant", "run": "deadbeef"}
"""What layouts take, in place of what only the reading will tell."""


def _folders(job: Job, sweep: SweepPlan, attempt: int) -> Mapping[str, str]:
    if sweep.runs:
        return job.channel.folders(job.names(sweep.runs[0], sweep.interval, attempt))
    names = job.names(RunPlan(_UNMET["tenant"]), sweep.interval, attempt)
    folders = dict(job.channel.folders(replace(names, run_id=_UNMET["run"] * 4)))
    for name, stand_in in _UNMET.items():
        folders = {store: path.replace(stand_in, f"{{{name}}}") for store, path in folders.items()}
    return folders
