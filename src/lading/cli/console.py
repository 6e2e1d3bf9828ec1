"""What commands print: one JSON document or aligned text on stdout, everything else on stderr.

A reader that went away (``lading runs | head -1``) changes neither what a command does nor its exit code.
"""

from __future__ import annotations

import base64
import json
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, TextIO

WIDEST = 60
"""Characters of a cell that people see of a value in a preview."""


def emit(document: object) -> None:
    """One JSON document on stdout, in ASCII, so that no terminal's encoding can change it."""
    _write(sys.stdout, json.dumps(_exact(document), allow_nan=False) + "\n")


def out(*lines: str) -> None:
    """A result for people."""
    for line in lines:
        _write(sys.stdout, plain(line) + "\n")


def say(*lines: str) -> None:
    """Anything beside the result: progress, warnings, errors."""
    for line in lines:
        _write(sys.stderr, plain(line) + "\n")


def finish() -> None:
    """Flushes, so that a closed pipe is met here and not while the interpreter goes down."""
    for stream in (sys.stdout, sys.stderr):
        _write(stream, "")


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def plain(text: str) -> str:
    """The text without what steers a terminal: names and messages may come from data."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Aligned lines, numbers to the right; a column without any value is left out."""
    rows = list(rows)
    cells = [[cell(value) for value in row] for row in rows]
    kept = [i for i in range(len(headers)) if any(row[i] for row in cells)] if cells else []
    numeric = {i for i in kept if all(isinstance(row[i], int | float | None) for row in rows)}
    widths = {i: max(len(headers[i]), *(len(row[i]) for row in cells)) for i in kept}
    lines = []
    for line in ([list(headers)] if kept else []) + cells:
        padded = [line[i].rjust(widths[i]) if i in numeric else line[i].ljust(widths[i]) for i in kept]
        lines.append("  ".join(padded).rstrip())
    return lines


def cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return plain(f"{value:,}" if isinstance(value, int) else str(value))


def size(count: int | None) -> str:
    """Bytes for people: ``12.3 MB``."""
    if count is None:
        return ""
    amount, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while amount >= 1000 and len(units) > 1:
        amount /= 1000
        units.pop(0)
    return f"{count} B" if units[0] == "B" else f"{amount:.1f} {units[0]}"


def span(interval: Mapping[str, str]) -> str:
    """An interval for people; midnights are dates: ``2013-01-01/2013-02-01``."""
    return "/".join(day(interval[side]) for side in ("start", "end"))


def day(instant: str | None) -> str:
    return (instant or "").removesuffix("T00:00:00Z")


def value_text(value: object) -> str:
    """A value of a row for people."""
    if value is None:
        return "NULL"
    text = str(_exact(value)) if not isinstance(value, str) else value
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"


def _exact(value: Any) -> Any:
    """Values that JSON does not know, as text that loses nothing."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): _exact(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_exact(item) for item in value]
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime | date | time):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value)
