"""The application: its global options, and its commands in the order in which people meet them."""

from __future__ import annotations

import gc
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lading.cli import (
    approvals,
    contract,
    deliveries,
    destination,
    history,
    keys,
    probes,
    run,
    signing,
    start,
)
from lading.cli.console import out, say

if TYPE_CHECKING:
    from lading.project import Project

app = typer.Typer(
    name="lading",
    help="Governed data exports: complete or not at all, masked, on time, with a bill of lading that anyone can check.",
    # Rich's markup would cost every --help 0.1 s; its tracebacks would show values of the data.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


USAGE = 2
_COLLECTED = 700  # new objects that set a collection off, Python's default


@dataclass(frozen=True, slots=True)
class Place:
    """Where the project is, and what flags say over its lading.yaml."""

    folder: Path
    overrides: dict[str, Any] = field(default_factory=dict)

    def project(self) -> Project:
        from lading.project import Project

        project = Project.load(self.folder, **self.overrides)
        if gc.get_threshold()[0] > _COLLECTED:  # as `lading.__main__` has it while everything is loaded
            gc.freeze()  # what is loaded stays, so only what the work makes is looked through
            gc.set_threshold(_COLLECTED, 10, 10)
        return project


def _version(wanted: bool) -> None:
    if wanted:
        from lading import __version__

        out(f"lading {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    project: Annotated[Path, typer.Option(metavar="DIR", help="The project's folder.")] = Path(),
    environment: Annotated[
        str | None, typer.Option(metavar="NAME", help="In place of `environment` in lading.yaml.")
    ] = None,
    lease: Annotated[
        str | None, typer.Option(metavar="DURATION", help="In place of `lease` in lading.yaml, such as 60s.")
    ] = None,
    buffer_memory: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="In place of `buffer_memory` in lading.yaml, such as 256MB."),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Show the version and exit.")
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        say(*context.get_help().splitlines())
        raise typer.Exit(USAGE)
    context.obj = Place(project, {"environment": environment, "lease": lease, "buffer_memory": buffer_memory})


for _name, _command in (
    ("init", start.init),
    ("demo", start.demo),
    ("validate", start.validate),
    ("plan", run.plan),
    ("run", run.run),
    ("backfill", run.backfill),
    ("preview", deliveries.preview),
    ("files", deliveries.files),
    ("link", deliveries.link),
    ("verify", deliveries.verify),
    ("status", history.status),
    ("runs", history.runs),
    ("show", history.show),
    ("packages", history.packages),
    ("tables", history.tables),
    ("approvals", approvals.approvals),
    ("approve", approvals.approve),
    ("test-connection", probes.connection),
    ("test-store", probes.store),
):
    app.command(_name)(_command)
app.add_typer(contract.app, name="contract")
app.add_typer(destination.app, name="destination")
app.add_typer(keys.app, name="keys")
app.add_typer(signing.app, name="signing")
