"""What recipients do, and what they would see: ``preview``, ``files``, ``link``, ``verify``."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lading.cli.console import emit, out, say, size, table, value_text
from lading.cli.options import INTEGRITY, Export, Json, Tenants
from lading.errors import counted

if TYPE_CHECKING:
    from lading.proof import Report

Url = Annotated[
    str,
    typer.Argument(metavar="URL", help="A folder, or s3://, gs://, az:// with a prefix.", show_default=False),
]


class Listing(StrEnum):
    paths = "paths"
    json = "json"
    duckdb = "duckdb"


def preview(
    context: typer.Context,
    export: Export,
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=10_000, metavar="N", help="How many rows.")
    ] = 10,
    tenant: Tenants = None,
    major: Annotated[
        int | None,
        typer.Option(
            "--major",
            metavar="N",
            help="Of the contract: needed for the other where the same rows are delivered under two.",
            min=0,
        ),
    ] = None,
    as_json: Json = False,
) -> int:
    """Show the first rows as the recipient would see them.

    Masks are applied. Nothing is delivered.
    """
    found = context.obj.project().preview(export, limit, tenant, major=major)
    rows = found.to_pylist()
    if as_json:
        schema = [{"name": f.name, "type": str(f.type), "nullable": f.nullable} for f in found.schema]
        emit({"export": export, "schema": schema, "rows": rows})
    else:
        names = found.schema.names
        out(*table(names, [[value_text(row[name]) for name in names] for row in rows]))
        say(counted(len(rows), "row"))
    return 0


def files(
    url: Url,
    format: Annotated[
        Listing,
        typer.Option(
            "--format",
            help="paths: one a line. duckdb: a statement that reads them in the types of their manifests.",
        ),
    ] = Listing.paths,
    key: Annotated[
        str | None,
        typer.Option(
            "--key",
            metavar="KEY",
            help="Only where every delivery is signed by one of these keys: as for `verify`.",
        ),
    ] = None,
    major: Annotated[
        int | None,
        typer.Option(
            "--major",
            metavar="N",
            help="Of the contract: needed where the same rows were delivered under two.",
            min=0,
        ),
    ] = None,
    as_json: Json = False,
) -> int:
    """List the data files that a reader should open.

    Those of complete deliveries under a folder or prefix that no other delivery supersedes. Where there is none, that
    is said on stderr and is no failure; `verify` ends with exit code 6 then.
    """
    from lading.recipient import duckdb_query
    from lading.recipient import files as current

    if format is Listing.duckdb and not as_json:
        try:
            found = list(filter(None, [duckdb_query(url, key=key, major=major)]))
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="'--format'") from error
    else:
        found = current(url, key=key, major=major)
    if as_json or format is Listing.json:
        emit(found)
    elif not found:
        under = "" if major is None else f" under the major {major}"
        say(f"{url}: no complete delivery{under} found here")
    else:
        out(*found)
    return 0


def link(
    context: typer.Context,
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run's id, or the beginning of it.", show_default=False)
    ],
    expires: Annotated[
        str, typer.Option("--expires", metavar="DURATION", help="How long it works: 24h at most.")
    ] = "15m",
    as_json: Json = False,
) -> int:
    """Make a link to a published bundle, for a recipient without credentials.

    Whoever has it can download the bundle until it expires. That it was made, by whom and for how long, is noted in the
    audit chain first. Only buckets sign links.
    """
    from lading.documents import parse_duration

    try:
        lasting = parse_duration(expires)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="'--expires'") from error
    made = context.obj.project().link(run, expires=lasting)
    if as_json:
        emit(made)
    else:
        out(made["url"])
        say(f"{made['object']} ({size(made['bytes'])}), until {made['expires']}")
    return 0


def verify(
    url: Url,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every row; check types, counts and statistics.")
    ] = False,
    key: Annotated[
        str | None,
        typer.Option(
            "--key",
            metavar="PUB",
            help="Whose signatures are trusted: a file of public keys or allowed signers, or a key.",
        ),
    ] = None,
    tenant: Annotated[
        list[str] | None,
        typer.Option("--tenant", metavar="T", help="Whose deliveries belong here; may be repeated."),
    ] = None,
    tenant_key: Annotated[
        list[str] | None,
        typer.Option(
            "--tenant-key",
            metavar="FILE",
            help="With --deep: what opens encrypted files, as `keys copy` or age-keygen wrote it, or the service that "
            "holds the keys, as in `keys.wrap`; may be repeated.",
        ),
    ] = None,
    as_json: Json = False,
) -> int:
    """Prove deliveries from their bytes alone.

    Needs no server, no journal and no source. Ends with exit code 6 when something is not what its manifest says.

    A bucket is reached with what the environment gives. For S3: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or the
    machine's own role), AWS_REGION, AWS_ENDPOINT_URL where it is no bucket of AWS, and AWS_ALLOW_HTTP=true where that
    speaks without TLS.
    """
    if tenant_key and not deep:
        raise typer.BadParameter("belongs to --deep: nothing else reads rows", param_hint="'--tenant-key'")
    from lading.recipient import verify as prove

    report = prove(url, deep=deep, key=key, tenants=tenant or (), tenant_keys=tenant_key or ())
    if as_json:
        emit(report.record())
    else:
        out(*(f"{problem.object}: {problem.problem}" for problem in report.problems))
        verdict = "ok" if report.ok else counted(len(report.problems), "problem")
        signed = _signed(report, trusted=key is not None)
        found = (
            counted(report.deliveries, "delivery", "deliveries"),
            counted(report.files, "file"),
            counted(report.rows, "row"),
        )
        out(f"{verdict}: {', '.join(found)} ({signed})")
        if report.delivery is not None:
            out(_which(report.delivery))
        say(*(f"note: {note}" for note in report.notes))
    return 0 if report.ok else INTEGRITY


def _which(delivery: Mapping[str, Any]) -> str:
    """A copy may be called anything, so that its reader has to see whether it is the one that was meant."""
    start, end = delivery["interval"]["start"], delivery["interval"]["end"]
    kind = "" if delivery["kind"] == "full" else f", {delivery['kind']}"
    return (
        f"it is: {delivery['export']} of {delivery['project']} in {delivery['environment']}, "
        f"tenant {delivery['tenant']}, {start} to {end}, revision {delivery['revision']}{kind}"
    )


def _signed(report: Report, *, trusted: bool) -> str:
    if report.signed:
        return "signed"
    if trusted and report.unsigned:
        return "not what trusted keys have signed"
    if trusted:
        return "trusted keys signed every manifest" if report.all_signed else "no signature could be seen"
    if not report.signatures:
        return "no signature could be seen: integrity only" if report.unseen else "unsigned: integrity only"
    keys = ", ".join(sorted(report.signatures))
    return f"signed by {keys}, which nobody vouches for: integrity only"
