"""What happened, from the journal: ``status``, ``runs``, ``show``, ``packages``; and what came of it in catalogues:
``tables``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lading.cli.console import day, emit, majors, out, say, size, span, table
from lading.cli.options import Json

if TYPE_CHECKING:
    from lading.errors import IntegrityError
    from lading.project import Project

Some = Annotated[
    str | None, typer.Argument(metavar="EXPORT", help="An export's name; all without.", show_default=False)
]


def status(context: typer.Context, export: Some = None, as_json: Json = False) -> int:
    """Show how fresh and complete each export is.

    The last run, the watermark, the data's age against the contract's SLA (from the watermark on; of a full refresh,
    from when it was read), failures that no later run has mended, and intervals that are missing. An interval is
    missing while a plain `run` would have to read it for any tenant, or what is committed of it is not published;
    of other modes than append, which go on from where they are, only the latter. An export is as fresh as the tenant
    that is furthest behind, of all that it serves. What failed before it could claim an interval, since the source was
    out of reach or its columns no longer fit the contract, leaves nothing in the journal: its own exit code and stderr
    tell of it.
    """
    project = context.obj.project()
    records = project.status(export)
    _say_broken(project)
    if as_json:
        emit(records)
        return 0
    rows = [
        (
            r["export"],
            r["last_run"] or "never",
            day(r["watermark"]),
            _age(r["freshness_seconds"]),
            _age(r["sla_seconds"]),
            {True: "fresh", False: "late", None: ""}[r["fresh"]],
            r["failures"],
            len(r["missing_intervals"]),
            r["unpublished"],
        )
        for r in records
    ]
    headers = ("export", "last run", "watermark", "age", "sla", "", "failures", "missing", "unpublished")
    out(*(table(headers, rows) or ["The project has no exports."]))
    out(*(f"last failure of {r['export']}: {r['last_failure']}" for r in records if r["last_failure"]))
    return 0


def runs(context: typer.Context, export: Some = None, as_json: Json = False) -> int:
    """List the runs that the journal knows, newest last.

    Those that failed, and those of exports that are no longer in the project, among them; one that was killed from the
    next run of its export on. A call that was refused before it could claim an interval is not: its own exit code and
    stderr tell of it.
    """
    project = context.obj.project()
    records = project.runs(export)
    _say_broken(project)
    if as_json:
        emit(records)
        return 0
    headers = (
        "run",
        "export",
        "interval",
        "tenant",
        "major",
        "revision",
        "status",
        "rows",
        "files",
        "size",
        "ended",
        "error",
    )
    major = majors(records)
    rows = [
        (r["run_id"][:12], r["export"] + (" (removed)" if r["removed"] else ""), span(r["interval"]), r["tenant"],
         major(r), r["revision"], r["status"], r["rows"], r["files"], size(r["bytes"]), r["ended_at"], r["error"])
        for r in records
    ]  # fmt: skip
    out(*(table(headers, rows) or ["No runs yet."]))
    return 0


def show(
    context: typer.Context,
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run's id, or the beginning of it.", show_default=False)
    ],
    as_json: Json = False,
) -> int:
    """Show one run and its manifest."""
    record = context.obj.project().show(run)
    if as_json:
        emit(record)
        return 0
    _lines(record)
    return 0


def _say_broken(project: Project) -> None:
    problems = project.problems()
    say(*(f"warning: {problem}" for problem in problems))


def _lines(value: Any, indent: str = "") -> None:
    """Mappings and lists as indented lines; statistics of columns are left to --json."""
    width = max((len(str(key)) for key in value), default=0)
    for key, item in value.items():
        if isinstance(item, dict) and item:
            out(f"{indent}{key}")
            _lines(item, indent + "  ")
        elif isinstance(item, list) and item and all(isinstance(each, dict) for each in item):
            out(f"{indent}{key}")
            headers = [key for key in item[0] if not isinstance(item[0][key], dict)]
            rows = [[_flat(each.get(name)) for name in headers] for each in item]
            out(*(f"{indent}  {line}" for line in table(headers, rows)))
        else:
            out(f"{indent}{key!s:{width}}  {_flat(item)}".rstrip())


def _flat(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_flat, value))
    return (
        "" if value is None or value == {} else str(value).lower() if isinstance(value, bool) else str(value)
    )


def _age(seconds: float | None) -> str:
    """The two largest units: ``2d 3h``."""
    if seconds is None:
        return ""
    rest, parts = max(0, int(seconds)), []
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, rest = divmod(rest, length)
        if count:
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2]) or "0s"


def packages(
    context: typer.Context,
    export: Annotated[str, typer.Argument(metavar="EXPORT", help="The export's name.", show_default=False)],
    last: Annotated[
        bool,
        typer.Option(
            "--last", help="Only the newest of each tenant that is published: what verifiers take as --last."
        ),
    ] = False,
    as_json: Json = False,
) -> int:
    """List the audit packages of an export, from the chains in the journal.

    Packages alone cannot show that the newest ones were taken away: tell auditors what the newest is, by another way
    than the packages come.
    """
    found = context.obj.project().packages(export)
    if last:
        found = list({each["tenant"]: each for each in found if each["status"] not in _UNPUBLISHED}.values())
    if as_json:
        emit(found)
        return 0
    rows = [
        (
            each["tenant"],
            f"{each['number']}:{each['sha256']}",
            span(each["checkpoint"]["interval"]),
            _records(each),
            each["checkpoint"]["chained_at"],
        )
        for each in found
    ]
    out(*table(("TENANT", "PACKAGE", "INTERVAL", "RECORDS", "CHAINED"), rows))
    if not rows:
        say(f"The journal knows no audit package of {export}.")
    return 0


_UNPUBLISHED = ("committed", "replaced")


def _records(package: Mapping[str, Any]) -> str | int:
    if package["replaced_by"]:
        return f"replaced by {package['replaced_by']}"
    count = int(package["checkpoint"]["records"]["count"])
    return f"{count}, not published yet" if package["status"] == "committed" else count


def tables(context: typer.Context, export: Some = None, as_json: Json = False) -> int:
    """List where Iceberg tables stand, by tenant.

    Of every table of an export, or of all exports whose channel is snapshot: its rows, the newest run in it, when that
    was committed, the snapshot's id, and the URL of the current metadata file, which engines open as it stands:
    iceberg_scan('URL') in DuckDB. The next commit makes another file, so ask again, or open the table by its catalogue.
    Nothing is changed, and no catalogue in SQLite is made. A table that no run was committed to yet is not listed. One
    that is not there, or lacks rows, although the journal knows runs that were published to it, is told on stderr, and
    exit code 6 says so.
    """
    project = context.obj.project()
    lost: list[IntegrityError] = []
    records = project.tables(export, on_lost=lost.append)
    _say_broken(project)
    if as_json:
        emit(records)
    else:
        _list_tables(records)
        if not records and not lost:
            say(f"No run was committed to a table{f' of {export}' if export else ''} yet.")
    say(*(f"error: {each.message}" for each in lost))
    say(*dict.fromkeys(f"hint: {each.hint}" for each in lost))
    return lost[0].exit_code if lost else 0


def _list_tables(records: Sequence[Mapping[str, Any]]) -> None:
    rows = [
        (
            r["export"],
            r["tenant"],
            r["table"],
            r["rows"],
            (r["run_id"] or "")[:12],
            r["committed_at"],
            str(r["snapshot_id"]),
            r["metadata"],
        )
        for r in records
    ]
    headers = ("export", "tenant", "table", "rows", "run", "committed", "snapshot", "metadata")
    out(*table(headers, rows))
