"""Versions of contracts: ``contract diff``, ``contract promote``, ``contract acknowledge``, ``contract list``."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lading.cli.console import emit, out, say, table
from lading.cli.options import Json, instant

if TYPE_CHECKING:
    from lading.contract.compatibility import Comparison
    from lading.contract.lifecycle import Dual, Life

REFUSED = 3
_MARKS = {"breaking": "breaks the {}", "additive": "additive for the {}"}

app = typer.Typer(help="Versions of contracts.", rich_markup_mode=None, no_args_is_help=False)

Contract = Annotated[
    str, typer.Argument(metavar="CONTRACT", help="Name and major: flights@1.", show_default=False)
]
Channel = Annotated[str, typer.Option("--channel", metavar="NAME", help="States are those of one channel.")]
By = Annotated[str, typer.Option("--by", metavar="WHO", help="Who decides, or says so.", show_default=False)]


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
    allowed = ", as a new major may" if found.verdict == "breaking" and not found.problems() else ""
    lines = [f"{found.new.name} {found.old.version} to {found.new.version}: {found.verdict}{sides}{allowed}"]
    for change in found.changes:
        effects = {"consumer": change.consumer, "producer": change.producer}
        marks = [_MARKS[effect].format(side) for side, effect in effects.items() if effect != "none"]
        place = f"{change.file}:{change.line}" if change.line else change.file
        lines.append(f"  {place}: {change} ({'; '.join(marks) or 'no promise'})")
    return lines


@app.command()
def promote(
    context: typer.Context,
    contract: Contract,
    by: By,
    reason: Annotated[
        str, typer.Option(metavar="R", help="Why; recipients of a deprecated version are told.")
    ] = "",
    sunset: Annotated[
        datetime | None,
        typer.Option(
            "--sunset", parser=instant, metavar="DAY", help="A later end than the channel's window gives."
        ),
    ] = None,
    channel: Channel = "drop",
    as_json: Json = False,
) -> int:
    """Take a version to the state that its contract names as `status`: draft, active, deprecated, retired.

    One step at a time, and each has its rule: a deprecation sets a sunset, no sooner than the channel's window; a
    version is retired after it, when all who got deliveries have acknowledged it. Nothing is delivered under a retired
    version. Exit code 3 where the step may not be taken, or not yet.
    """
    life, taken = context.obj.project().promote(
        contract, by=by, reason=reason, sunset=sunset, channel=channel
    )
    if as_json:
        emit({**_record(life), "changed": taken})
    else:
        until = f" until {life.sunset:%Y-%m-%d}" if life.sunset else ""
        out(f"{life.name} {'is' if taken else 'was already'} {life.state}{until}")
    if reason and not taken:
        say(
            f"nothing was recorded: its document says {life.state}; write there the status that it shall have"
        )
    return 0


@app.command()
def acknowledge(
    context: typer.Context,
    contract: Contract,
    by: By,
    consumer: Annotated[
        str, typer.Option("--consumer", metavar="TENANT", help="Who knows of it.", show_default=False)
    ],
    channel: Channel = "drop",
    as_json: Json = False,
) -> int:
    """Record that a consumer knows that a deprecated version will end."""
    life = context.obj.project().acknowledge(contract, consumer, by=by, channel=channel)
    if as_json:
        emit(_record(life))
    else:
        out(f"{life.name}: acknowledged by {', '.join(sorted(life.acknowledged))}")
    return 0


@app.command("list")
def list_(context: typer.Context, as_json: Json = False) -> int:
    """List the contracts' versions, and the state of each.

    Of a draft that becomes active after days of dual delivery, how many have been counted.
    """
    project = context.obj.project()
    lives = [
        {**_record(life), "dual_delivery": _so_far(project.dual_delivery(life.name, channel=life.channel))}
        for life in project.lives()
    ]
    if as_json:
        emit(lives)
    else:
        rows = [
            (
                life["contract"],
                life["channel"],
                life["state"],
                _days(life["dual_delivery"]),
                life["sunset"],
                ", ".join(life["acknowledged"]),
            )
            for life in lives
        ]
        headers = ("CONTRACT", "CHANNEL", "STATE", "DUAL DELIVERY", "SUNSET", "ACKNOWLEDGED")
        out(*table(headers, rows))
    return 0


def _days(dual: dict[str, Any] | None) -> str | None:
    return f"{min(dual['days'], dual['needed'])} of {dual['needed']} days" if dual is not None else None


def _so_far(dual: Dual | None) -> dict[str, Any] | None:
    return asdict(dual) if dual is not None else None


def _record(life: Life) -> dict[str, Any]:
    return {
        "contract": life.name,
        "channel": life.channel,
        "state": life.state,
        "sunset": f"{life.sunset:%Y-%m-%d}" if life.sunset else None,
        "acknowledged": sorted(life.acknowledged),
        "steps": [
            {
                "state": step.state,
                "at": step.at,
                "by": step.by,
                "reason": step.reason,
                "version": step.version,
                "successor": step.successor,
                "approval": step.approval,
            }
            for step in life.steps
        ],
    }
