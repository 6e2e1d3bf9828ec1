"""What is due, and doing it: ``plan``, ``run``, ``backfill``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from lading.cli.console import day, emit, majors, out, say, size, span, table
from lading.cli.failures import told
from lading.cli.options import AsOf, End, Export, Json, NoWait, Start, Tenants, check_order, instant
from lading.errors import LadingError, Retryable, counted

if TYPE_CHECKING:
    from lading.project import Project
    from lading.run import Result
    from lading.run.outlook import Outlook

PARTIAL = 7
NOT_DUE = 4
SOMETHING = 10
WORST_FIRST = (6, 1, 5, 3, 2, 4)
"""Exit codes of failures, by how little a retry of the same command would help."""


def plan(
    context: typer.Context,
    export: Export,
    tenant: Tenants = None,
    start: Start = None,
    end: End = None,
    as_of: AsOf = None,
    detailed_exitcode: Annotated[
        bool,
        typer.Option(
            "--detailed-exitcode",
            help="Exit with 10 where there is something to do, late rows to look for among it; else with 0.",
        ),
    ] = False,
    as_json: Json = False,
) -> int:
    """Show what a run would do; write nothing.

    Says what is due, how large it is, its schema, masks and names. The source is asked for the sizes of the first three
    intervals only, and for no row: where an export delivers late rows, only a run can tell whether there are any.
    """
    check_order(start, end)
    found = context.obj.project().plan(export, tenants=tenant, start=start, end=end, as_of=as_of)
    if as_json:
        emit(found.record())
    else:
        _show_plan(found)
    return SOMETHING if detailed_exitcode and found.something else 0


def run(
    context: typer.Context,
    export: Export,
    tenant: Tenants = None,
    start: Start = None,
    end: End = None,
    revise: Annotated[
        bool, typer.Option("--revise", help="Deliver again, as a new revision; needs --reason.")
    ] = False,
    reason: Annotated[
        str, typer.Option("--reason", metavar="R", help="Why. The newest reason again is the same revision.")
    ] = "",
    as_of: AsOf = None,
    once: Annotated[
        bool, typer.Option("--once", help="continuous: one pass, instead of one after the other.")
    ] = False,
    no_wait: NoWait = False,
    as_json: Json = False,
) -> int:
    """Deliver what is due, or what is asked for.

    Without an interval, everything that is due. May be killed and repeated at any time: nothing is delivered twice.
    A continuous export goes on until Ctrl-C or SIGTERM: the first lets a pass that is under way finish.
    """
    check_order(start, end)
    if reason and not revise:
        raise typer.BadParameter("belongs to --revise", param_hint="'--reason'")
    if revise and not reason.strip():
        raise typer.BadParameter(
            "needs --reason: it is written into the manifest and makes a repeat safe",
            param_hint="'--revise'",
        )
    from lading.cli.progress import watching

    project = context.obj.project()
    continuous = project.export(export).mode == "continuous"
    if once and not continuous:
        raise typer.BadParameter(
            f"belongs to continuous exports, and {export} is none", param_hint="'--once'"
        )
    if continuous and not (once or revise or as_of or start or end):
        return _follow(project, export, tenant, wait=not no_wait, as_json=as_json)
    with watching(as_json=as_json) as on_event:
        results = project.run(
            export,
            tenants=tenant,
            start=start,
            end=end,
            revise=revise,
            reason=reason,
            as_of=as_of,
            wait=not no_wait,
            on_event=on_event,
        )
    return _report(results, as_json, before=on_event.before)


def backfill(
    context: typer.Context,
    export: Export,
    start: Annotated[
        datetime, typer.Option("--start", parser=instant, metavar="S", help="Where to begin: 2013-01-01.")
    ],
    end: Annotated[datetime, typer.Option("--end", parser=instant, metavar="E", help="Where to end.")],
    tenant: Tenants = None,
    no_wait: NoWait = False,
    as_json: Json = False,
) -> int:
    """Deliver a range of undelivered intervals.

    Oldest first; repeated, it goes on where it was stopped.
    """
    check_order(start, end)
    from lading.cli.progress import watching

    project = context.obj.project()
    with watching(as_json=as_json) as on_event:
        results = project.backfill(export, start, end, tenants=tenant, wait=not no_wait, on_event=on_event)
    return _report(results, as_json, before=on_event.before)


def exit_code(results: Sequence[Result]) -> int:
    """0 when nothing failed; 7 when of what was asked for some failed and some stands; else the code of the worst
    failure.

    An interval that was asked for and is not due is 4.
    """
    failed = {result.exit_code or 1 for result in results if result.status == "failed"}
    if failed and any(result.status in ("succeeded", "skipped") for result in results):
        return PARTIAL
    if any(result.status == "not_due" for result in results):
        failed.add(NOT_DUE)
    return next((code for code in WORST_FIRST if code in failed), max(failed, default=0))


def _follow(
    project: Project, export: str, tenants: Sequence[str] | None, *, wait: bool, as_json: bool
) -> int:
    """Pass after pass. What each delivered is told at once; as JSON, at the end, with the failures of the last pass."""
    from lading.cli.progress import watching
    from lading.cli.stopping import stopped_between_passes

    delivered: list[Result] = []
    last: list[Result] = []
    with stopped_between_passes() as stop, watching(as_json=as_json) as watch:
        say(f"following {export}: Ctrl-C or SIGTERM ends it")
        try:
            for last in project.follow(export, tenants=tenants, wait=wait, pause=stop.pause, on_event=watch):
                news = [result for result in last if result.status == "succeeded"]
                if as_json:
                    delivered.extend(news)
                elif news:
                    _show(news)
        except LadingError as error:
            if not delivered:
                raise
            code = told(error, as_json=False)
        else:
            # Where a pass could not even begin, there is no result that says so.
            code = exit_code(last) or (Retryable.exit_code if watch.failing else 0)
            _say_errors(last)
    if as_json:
        emit([result.record() for result in (*delivered, *(r for r in last if r.status == "failed"))])
    return code


def _report(results: Sequence[Result], as_json: bool, before: int) -> int:
    """``before``: how many runs stand beside these, of intervals that nothing was due for."""
    if as_json:
        emit([result.record() for result in results])
    elif not results:
        out("Nothing is due.")
    else:
        _show(results, before)
    _say_errors(results)
    return exit_code(results)


def _show(results: Sequence[Result], before: int = 0) -> None:
    records = [result.record() for result in results]
    headers = ("interval", "tenant", "major", "revision", "status", "rows", "files", "size", "manifest")
    major = majors(records)
    rows = [
        (span(r["interval"]), r["tenant"], major(r), r["revision"], r["status"], r["rows"], r["files"],
         size(r["bytes"]), r["manifest"])
        for r in records if r["status"] != "not_due"
    ]  # fmt: skip
    counts = Counter(r["status"].replace("_", " ") for r in records)
    summary = [f"{count:,} {status}" for status, count in counts.items()]
    if before:
        summary.append(f"{before:,} more delivered before")
    out(*table(headers, rows), ", ".join(summary))


NAMED = 3
"""Tenants of one failure that are named; the others are counted."""


def _say_errors(results: Sequence[Result]) -> None:
    """Each failure once, with the intervals and tenants that it befell."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        if result.error:
            groups.setdefault((result.status, result.error), []).append(result)
    for (status, error), befallen in groups.items():
        kind = "error" if status == "failed" else status.replace("_", " ")
        say(f"{kind}: {_befallen(befallen)}: {error}")


def _befallen(results: Sequence[Result]) -> str:
    """``2024-01-01/2024-02-01 berlin``; ``3 intervals from 2024-01-01 to 2024-04-01, berlin``. Who is not known by name
    yet (``*``) is not named."""
    records = [result.record()["interval"] for result in sorted(results, key=lambda r: r.interval)]
    count = len({record["start"] for record in records})
    tenants = sorted({result.tenant for result in results} - {"*"})
    told = ", ".join(tenants)
    if len(tenants) > NAMED + 1:
        told = f"{', '.join(tenants[:NAMED])} and {counted(len(tenants) - NAMED, 'other tenant')}"
    if count == 1:
        return f"{span(records[0])} {told}".rstrip()
    where = f"{count:,} intervals from {day(records[0]['start'])} to {day(records[-1]['end'])}"
    return f"{where}, {told}" if told else where


def _show_plan(found: Outlook) -> None:
    from lading.run.outlook import SURVEYED

    record = found.record()
    rows = [
        (
            span(due["interval"]),
            ", ".join([*due["tenants"], *(["whoever has rows"] if due["discover"] else [])]),
            due["parts"],
            due["rows"],
            size(due["bytes"]),
            next(iter(due["folders"].values()), ""),
        )
        for due in record["due"]
    ]
    out(
        f"{found.export}: {counted(len(found.due), 'interval')} due, {counted(found.delivered, 'run')} delivered, "
        f"{found.unpublished} to publish first; rows have arrived up to {found.bound}"
    )
    out(*table(("interval", "tenants", "parts", "rows (estimated)", "size", "folder"), rows))
    if found.unpublished and not found.due:
        out(
            "Nothing is due before what is sealed is published, which `lading run` does: it says what is in the way."
        )
    if waiting := record["not_due"]:
        first, last = waiting[0], waiting[-1]
        many = f" ({len(waiting):,} intervals)" if len(waiting) > 1 else ""
        out(f"not due yet: {span({'start': first['start'], 'end': last['end']})}{many}")
    if len(found.due) > SURVEYED:
        out(f"Sizes are those of the first {SURVEYED} intervals: of the others the source was not asked.")
    if found.unknown_tenants:
        out(
            f"Unknown so far: {', '.join(found.unknown_tenants)}. A run fails where the source has no rows of such a "
            "tenant: it may be misspelt."
        )
    if found.late:
        out("A run will look for late rows of delivered intervals: only that can tell whether there are any.")
    columns = [(c["name"], c["type"], c["nullable"], c["classification"] or "–") for c in found.schema]
    out("", *table(("column", "type", "nullable", "classification"), columns))
    if found.policy:
        out("", *table(("column", "action"), [(p["column"], p["action"]) for p in found.policy]))
    out(*(f"notice: {notice}" for notice in found.notices))
    for each in found.approvals:
        state = f"granted until {each['expires']}" if each["approval"] else f"missing: {each['missing']}"
        out(f"approval of the {each['kind']} {each['name']}: {state}")
