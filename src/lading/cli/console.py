"""What commands print: one JSON document or aligned text on stdout, everything else on stderr.

A reader that went away (``lading runs | head -1``) changes neither what a command does nor its exit code. A result that
cannot be written otherwise, to a full disk or a closed stdout, does not stop the command either: `main` says so.
"""

from __future__ import annotations

import base64
import json
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, TextIO, cast

WIDEST = 60
"""Characters of a cell that people see of a value in a preview."""


def emit(document: object) -> None:
    """One JSON document on stdout, in ASCII, so that no terminal's encoding can change it."""
    _write(sys.stdout, json.dumps(_exact(document), allow_nan=False))


def out(*lines: str) -> None:
    """A result for people."""
    for line in lines:
        _write(sys.stdout, plain(line))


def say(*lines: str) -> None:
    """Anything beside the result: progress, warnings, errors."""
    for line in lines:
        _write(sys.stderr, plain(line))


def _write(stream: TextIO, line: str) -> None:
    stream.write(line + "\n")
    stream.flush()


class Output:
    """A standard stream while a command runs: to write to it never fails, and ``lost`` says why something was not
    written. A reader that went away is no loss."""

    def __init__(self, stream: TextIO | None) -> None:
        """``stream`` is None where it was closed when the interpreter started."""
        self.lost: str | None = None
        self._closed = stream is None
        self._stream: TextIO = stream or Path(os.devnull).open("w")  # noqa: SIM115 -- as long as the process

    def write(self, text: str) -> int:
        if self._closed and text:
            self.lost = "it is closed"
        self._do(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._do(self._stream.flush)

    def _do(self, action: Callable[[], object]) -> None:
        try:
            action()
        except OSError as error:
            if not isinstance(error, BrokenPipeError):
                self.lost = error.strerror or type(error).__name__
            # What is still in the buffer has to go somewhere when the interpreter ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def guarded() -> Iterator[Output]:
    """Standard streams that cannot fail a command; what is yielded is stdout."""
    _occupy()
    before = sys.stdout, sys.stderr
    result, beside = Output(sys.stdout), Output(sys.stderr)
    sys.stdout, sys.stderr = cast(TextIO, result), cast(TextIO, beside)
    try:
        yield result
    finally:
        # Here, and not while the interpreter goes down, is where a full disk or a closed pipe has to be met.
        result.flush()
        beside.flush()
        sys.stdout, sys.stderr = before


def _occupy() -> None:
    """Gives closed standard streams a descriptor: else the next file, of data perhaps, would get it, and with it what a
    library prints."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)


def plain(text: str) -> str:
    """The text without what steers a terminal: names and messages may come from data."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def majors(records: Iterable[Mapping[str, Any]]) -> Callable[[Mapping[str, Any]], str]:
    """What a column of contracts' majors says of a record: nothing where all are of one, so that it is left out."""
    known = {record["major"] for record in records} - {None}
    return lambda record: f"v{record['major']}" if len(known) > 1 and record["major"] is not None else ""


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
