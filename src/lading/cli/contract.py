"""Versions of contracts: ``contract diff``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lading.cli.console import emit, out, say
from lading.cli.options import Json

if TYPE_CHECKING:
    from lading.contract.compatibility import Comparison

REFUSED = 3
_MARKS = {"breaking": "breaks the {}", "additive": "additive for the {}"}

app = typer.Typer(help="Versions of contracts.", rich_markup_mode=None, no_args_is_help=False)


@app.callback()
def _group() -> None:
    """Versions of contracts."""


@app.command()
def diff(
    context: typer.Context,
    versions: Annotated[
        list[str],
        typer.Argument(
            metavar="OLD NEW...",
            help="Two or more versions of one dataset, the oldest first: files, or flights@1 and flights@1.2.0 "
            "of the project.",
            show_default=False,
        ),
    ],
    as_json: Json = False,
) -> int:
    """Say what a later version of a contract changes, and whom that breaks.

    The consumer reads what is delivered, the producer must fill it. Each version is held against all earlier ones.
    Exit code 3 where a change breaks either side and the major version is the same.
    """
    from lading.contract.compatibility import history
    from lading.project_files import named_contract

    if len(versions) < 2:
        raise typer.BadParameter("needs two versions or more, the oldest first", param_hint="'OLD NEW...'")
    found = history([named_contract(context.obj.folder, each) for each in versions])
    problems = [problem for each in found for problem in each.problems()]
    if as_json:
        emit(
            {
                "ok": not problems,
                "comparisons": [each.record() for each in found],
                "problems": [{"file": p.file, "line": p.line, "reason": p.reason} for p in problems],
            }
        )
    else:
        for each in found:
            out(*_told(each))
    for each in found:
        if each.changes and each.old.version == each.new.version and not each.problems():
            say(
                f"warning: {each.new.path}: is version {each.new.version} as before: give it a new minor version"
            )
    if problems and not as_json:
        majors = sorted({f"{each.new.major + 1}.0.0" for each in found if each.problems()})
        say(f"error: a breaking change needs a new major version: {', '.join(majors)}")
    return REFUSED if problems else 0


def _told(found: Comparison) -> list[str]:
    sides = (
        "" if found.verdict == "unchanged" else f" (consumer: {found.consumer}, producer: {found.producer})"
    )
    head = f"{found.new.name} {found.old.version} to {found.new.version}: {found.verdict}{sides}"
    lines = [head]
    for change in found.changes:
        effects = {"consumer": change.consumer, "producer": change.producer}
        marks = [_MARKS[effect].format(side) for side, effect in effects.items() if effect != "none"]
        place = f"{change.file}:{change.line}" if change.line else change.file
        lines.append(f"  {place}: {change} ({'; '.join(marks) or 'no promise'})")
    return lines
