"""What a destination's provider has to be told: ``destination policy``."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from lading.cli.console import emit, out, say
from lading.cli.options import Json

app = typer.Typer(help="Destinations, and the journal's store.", rich_markup_mode=None)


@app.callback()
def _group() -> None:
    pass


@app.command()
def policy(
    context: typer.Context,
    store: Annotated[
        str, typer.Argument(metavar="NAME", help="The store's name in lading.yaml.", show_default=False)
    ],
    principal: Annotated[
        str | None,
        typer.Option(
            metavar="WHO",
            help="The exporter: the ARN of its role (S3; the bucket's policy allows it too, as another account needs), "
            "a member (Google), an object id (Azure).",
        ),
    ] = None,
    write_only: Annotated[
        bool,
        typer.Option(
            "--write-only", help="Neither list nor delete: what failed attempts have written stays."
        ),
    ] = False,
    archive: Annotated[
        bool,
        typer.Option(
            "--archive", help="After 365 days a tier that nobody reads before it is restored (S3, Azure)."
        ),
    ] = False,
    delete_after: Annotated[
        int | None,
        typer.Option(
            "--delete-after", metavar="DAYS", min=1, help="Delete deliveries of this age; else none is."
        ),
    ] = None,
    as_json: Json = False,
) -> int:
    """Print the least that the exporter must be allowed at a bucket, and its lifecycle rules.

    From the definitions of all exports that deliver there: policies of the role, the bucket and its key for S3, roles
    and bindings for Google Cloud, a role and its condition for Azure; a policy of the role at AWS Glue for tables that
    are in a catalogue there. Nothing is applied, and nothing is asked of the
    provider. Words in capitals stand for what only you know.
    """
    told = context.obj.project().destination_policy(
        store, principal=principal, write_only=write_only, archive=archive, delete_after=delete_after
    )
    if as_json:
        emit(told)
        return 0
    for number, paper in enumerate(told["documents"]):
        out(*([""] if number else []), f"# {paper['title']} ({paper['file']})", f"# {paper['apply']}")
        out(*json.dumps(paper["document"], indent=2).splitlines())
    for word, meaning in told["fill_in"].items():
        say(f"fill in: {word}: {meaning}")
    for note in told["notes"]:
        say(f"note: {note}")
    return 0
