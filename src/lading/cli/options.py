"""Options that several commands share."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

INTEGRITY = 6
"""The exit code of what is not what its manifest says."""


def instant(text: str) -> datetime:
    """Of ``--start``, ``--end`` and ``--as-of``."""
    from lading.export.interval import parse_instant

    try:
        return parse_instant(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Export = Annotated[str, typer.Argument(metavar="EXPORT", help="The export's name.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Tenants = Annotated[
    list[str] | None, typer.Option("--tenant", metavar="T", help="Only this tenant; may be repeated.")
]
Start = Annotated[
    datetime | None,
    typer.Option("--start", parser=instant, metavar="S", help="The interval's start: 2013-01-01, RFC 3339."),
]
End = Annotated[
    datetime | None,
    typer.Option("--end", parser=instant, metavar="E", help="Its end, which is not part of it."),
]
AsOf = Annotated[
    datetime | None,
    typer.Option(
        "--as-of",
        parser=instant,
        metavar="I",
        help="full_refresh: the last tick at this time, which must be the latest, or delivered.",
    ),
]
NoWait = Annotated[
    bool, typer.Option("--no-wait", help="Leave with exit code 4 where another process is at work on it.")
]


def check_order(start: datetime | None, end: datetime | None) -> None:
    """Raises a usage error that names the flag."""
    if start is not None and end is not None and end <= start:
        raise typer.BadParameter("must lie after --start", param_hint="'--end'")
