"""Whether what a project relies on is there: ``test-connection``, ``test-store``."""

from __future__ import annotations

from typing import Annotated

import typer

from lading.cli.console import emit, out, table
from lading.cli.options import Json

FAILED, UNREACHED = 5, 4
NEEDED_TO_DELIVER = frozenset({"write", "upload"})
"""A destination may be write-only; the journal needs all that is tried."""

Name = Annotated[str, typer.Argument(metavar="NAME", help="Its name in lading.yaml.", show_default=False)]


def connection(context: typer.Context, name: Name, as_json: Json = False) -> int:
    """Connect, and say to what."""
    detail = context.obj.project().test_connection(name)
    if as_json:
        emit({"connection": name, "ok": True, "detail": detail})
    else:
        out(f"ok: {name}: {detail}")
    return 0


def store(context: typer.Context, name: Name, as_json: Json = False) -> int:
    """Prove what a store can do.

    Writes, reads, lists and deletes small objects, and proves that of two creates the second fails, as a journal needs.
    What failed in passing, as a store that is out of reach, ends with exit code 4, all else with 5.
    """
    project = context.obj.project()
    findings = project.test_store(name)
    journal = name == project.files.settings.journal
    failed = [f for f in findings if not f.ok and (journal or f.what in NEEDED_TO_DELIVER)]
    ok, passing = not failed, all(f.retryable for f in failed)
    if as_json:
        told = [{"what": f.what, "ok": f.ok, "detail": f.detail} for f in findings]
        emit({"store": name, "journal": journal, "ok": ok, "findings": told})
    else:
        out(*table(("", "", ""), [("ok" if f.ok else "FAILED", f.what, f.detail) for f in findings])[1:])
        role = "the journal" if journal else "a destination"
        out(f"{name} {'can' if ok else 'could not be shown to' if passing else 'cannot'} be {role}")
    return 0 if ok else UNREACHED if passing else FAILED
