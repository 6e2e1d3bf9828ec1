"""A project from nothing, and whether one is right: ``init``, ``demo``, ``validate``."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from lading.cli.console import emit, out, say
from lading.cli.options import INTEGRITY, Json
from lading.errors import counted


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where; made if need be.")] = Path(),
    connection: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="A PostgreSQL server to describe --table from. Is never written to a file. Default: OPS_DATABASE_URL.",
        ),
    ] = None,
    table: Annotated[
        str | None, typer.Option(metavar="SCHEMA.NAME", help="The table that the first export delivers.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="The project's name; the folder's by default.")
    ] = None,
    as_json: Json = False,
) -> int:
    """Make a project that runs.

    It holds sample files; or, with --table, a first contract and export of a live table, which is described and not
    read. No existing file is overwritten.
    """
    from lading import scaffold

    if connection is not None and table is None:
        raise typer.BadParameter("needs --table schema.name", param_hint="'--connection'")
    url = connection if connection is not None else os.environ.get(scaffold.VARIABLE)
    if table is not None and url is None:
        raise typer.BadParameter(
            f"needs --connection URL, or {scaffold.VARIABLE} in the environment", param_hint="'--table'"
        )
    called = scaffold.project_name(
        name if name is not None else folder.resolve().name, given=name is not None
    )
    made = scaffold.sample(called) if table is None else scaffold.described(called, str(url), table)
    written = scaffold.write(folder, made)
    if as_json:
        emit(
            {
                "folder": str(folder),
                "name": called,
                "export": made.export,
                "files": written.files,
                "variables": list(made.variables),
                "ignore": list(written.ignore),
            }
        )
        return 0
    out(*(str(folder / file) for file in written.files))
    if written.ignore:
        say(f"warning: {folder / '.gitignore'} was there already; add to it: {' '.join(written.ignore)}")
    say("", "Next:")
    if folder.resolve() != Path.cwd():
        say(f"  cd {shlex.quote(str(folder))}")
    say(
        *(f"  export {variable}=…    # the connection's URL; no file holds it" for variable in made.variables)
    )
    if made.unclassified:
        say(f"  # Classify each field of {made.unclassified}: nothing leaves before.")
    say("  lading validate", f"  lading run {made.export}", "  lading verify deliveries")
    return 0


def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where; made if need be.")] = Path("demo"),
    as_json: Json = False,
) -> int:
    """Run the shipped example, from nothing to proof.

    Real flights on an embedded PostgreSQL, delivered, changed, delivered again, and verified. A folder that an
    earlier demo made is made anew, unless something in it was changed.
    """
    from lading.demo import demo as tell

    write = say if as_json else out
    report = tell(folder, lambda text: write(*text.split("\n")))
    if as_json:
        emit({"folder": str(folder), "verified": report.record()})
    return 0 if report.ok else INTEGRITY


def validate(context: typer.Context, as_json: Json = False) -> int:
    """Check every file of the project.

    Names file, line and reason of all that is wrong. Connects to nothing.
    """
    project = context.obj.project()
    warnings = project.validate()
    if as_json:
        emit(
            {
                "ok": True,
                "project": project.files.settings.name,
                "exports": sorted(project.exports),
                "contracts": sorted(project.contracts),
                "warnings": warnings,
            }
        )
        return 0
    say(*(f"warning: {warning}" for warning in warnings))
    out(
        f"ok: {project.files.settings.name}: {counted(len(project.exports), 'export')}, "
        f"{counted(len(project.contracts), 'contract')}, {counted(len(project.files.tenants), 'tenant')}"
    )
    return 0
