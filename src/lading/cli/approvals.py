"""What needs an approval, and giving it: ``approvals``, ``approve``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from lading.cli.console import emit, out, say, table
from lading.cli.options import Json, instant

NOT_DONE, NOT_GRANTED = 2, 3


def approvals(
    context: typer.Context,
    export: Annotated[
        str | None, typer.Argument(metavar="[EXPORT]", help="Only this one.", show_default=False)
    ] = None,
    log: Annotated[
        bool,
        typer.Option("--log", help="What was asked for, granted, used and linked, from the audit chain."),
    ] = False,
    as_json: Json = False,
) -> int:
    """What needs an approval before it is delivered, and whether it has one.

    Protected destinations take only what is approved: the export, the query that it reads, and the destination itself,
    as they stand in the project's files. Personal data that no mask covers needs an approval of its export wherever it
    goes. Steps of contracts' versions are listed when somebody has asked for their approval.
    """
    project = context.obj.project()
    if log:
        records = project.audit_log()
        if as_json:
            emit(records)
        else:
            out(*table(("NUMBER", "AT", "EVENT", "WHAT", "BY"), map(_noted, records)))
            if not records:
                say("The audit chain has no record yet.")
        return 0
    found = project.approvals(export)
    if as_json:
        emit(found)
        return 0
    rows = [
        (
            each["export"],
            each["kind"],
            each["name"],
            each["approval"],
            each["expires"],
            each["missing"] or "granted",
        )
        for each in found
    ]
    out(*table(("EXPORT", "KIND", "NAME", "APPROVAL", "UNTIL", "STATE"), rows))
    if not rows:
        say("Nothing needs an approval.")
    return 0


def _noted(record: dict[str, Any]) -> tuple[object, ...]:
    what = record.get("name") or record.get("export")
    if promotion := record.get("promotion"):
        # Its approval was asked for and granted by this name.
        what = f"{promotion['contract']} {promotion['channel']} {promotion['to']}"
    which = " ".join(each["sha256"][:16] for each in record.get("approvals", ()))
    which = which or str(record.get("approval") or record.get("run_id", ""))[:16]
    return record["number"], record["at"], record["event"], f"{what} {which}", record.get("by")


def approve(
    context: typer.Context,
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="An export; or a contract's version, flights@1, whose next step it is.",
            show_default=False,
        ),
    ],
    person: Annotated[str, typer.Option("--as", metavar="PERSON", help="Who you are in ops/owners.yaml.")],
    key: Annotated[
        Path,
        typer.Option(
            "--key", metavar="FILE", help="Your private SSH key; or its .pub file, for a key in the agent."
        ),
    ],
    purpose: Annotated[
        str | None, typer.Option("--purpose", metavar="TEXT", help="Ask for an approval: what it is for.")
    ] = None,
    expires: Annotated[
        datetime | None,
        typer.Option(
            "--expires", parser=instant, metavar="E", help="Ask for an approval: until when, a year at most."
        ),
    ] = None,
    channel: Annotated[
        str,
        typer.Option("--channel", metavar="NAME", help="Of a contract's version: the channel of the step."),
    ] = "drop",
    yes: Annotated[bool, typer.Option("--yes", help="Do not show what is signed, and do not ask.")] = False,
    as_json: Json = False,
) -> int:
    """Ask for the approvals that an export or a contract's step needs, or grant those that were asked for.

    With --purpose and --expires you ask; your signature says that it was you. Without them you grant what somebody else
    has asked for: nobody approves their own. Approvals lie in ops/approvals, beside the files that they are about.
    """
    from lading.keys.ssh import signing_with

    if (purpose is None) != (expires is None):
        missing = "--expires" if expires is None else "--purpose"
        raise typer.BadParameter("--purpose and --expires belong together", param_hint=f"'{missing}'")
    sign = signing_with(key)
    project = context.obj.project()
    if purpose is not None and expires is not None:
        done = project.ask(what, by=person, purpose=purpose, expires=expires, sign=sign, channel=channel)
    else:
        pending = project.asked_for(what, person, channel=channel)
        if not yes:
            for approval in pending:
                out(*approval.data.decode().splitlines())
            if not sys.stdin.isatty():
                raise typer.BadParameter(
                    "is needed where nobody can be asked: read the document first", param_hint="'--yes'"
                )
            if not typer.confirm(f"Sign this as {person}?", err=True):
                say("Nothing was signed.")
                return NOT_DONE
        done = project.grant(what, by=person, approvals=pending, sign=sign, channel=channel)
    if as_json:
        emit(done)
    else:
        out(*map(_stands, done))
    if purpose is not None:
        say(*_told(what, done))
        return 0
    # A signature that does not count is kept, and is no success.
    return NOT_GRANTED if any(each["missing"] for each in done) else 0


def _stands(each: dict[str, Any]) -> str:
    """What became of one approval, by what was just done: who has asked is not told first what is still missing."""
    asked = "asked for; " if each.get("asked") and each["missing"] else ""
    return f"{each['kind']} {each['name']}: {asked}{each['missing'] or 'granted'}"


def _told(what: str, done: list[dict[str, Any]]) -> Iterator[str]:
    """What came of asking."""
    if any(each["asked"] for each in done):
        for each in done:
            if each["asked"] and each["pending"]:
                ids = ", ".join(each["pending"])
                yield f"{each['kind']} {each['name']}: pending too: {ids}; what was asked for last is granted."
        yield "Asked for, in ops/approvals: somebody else grants it, by the same command without --purpose."
    elif pending := ", ".join(id for each in done for id in each["pending"]):
        yield f"{what}: pending already: {pending}; nothing was asked for."
    elif done:
        until = min(each["expires"] for each in done).removesuffix("T00:00:00Z")
        yield f"{what}: approved until {until}; nothing was asked for."
    else:
        yield f"{what}: needs no approval; nothing was asked for."
