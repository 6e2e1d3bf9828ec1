"""What is said about a failure, and which exit code it has."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Any

from typer.exceptions import Abort, TyperException

from lading.cli.console import emit, plain, say
from lading.errors import InvalidProject, LadingError, unexpected

INTERRUPTED = 130
LOST = 4
"""The result was not written, or not whole; what the command did stands."""
LOST_HINT = "What the command did stands. Call it again with an output that can be written to."
EXIT_CODES = {
    0: "done",
    1: "unexpected",
    2: "usage, or an invalid project",
    3: "refused by policy",
    4: "failed, in progress elsewhere, an interval asked for that is not due, or an output that could not be written: "
    "a retry may help",
    5: "failed, and a retry will not help",
    6: "integrity: what is there is not what the manifest says",
    7: "partial: some runs failed, others stand",
    10: "`plan --detailed-exitcode` only: there is something to do, if only to look for late rows",
    INTERRUPTED: "interrupted, by a terminal or by SIGTERM: nothing is lost, the same call goes on",
}
FLAGS = ("--", "LADING_")
"""How the place of a problem begins that is no file: a flag, or the variable that stands for it."""
GLOBAL_OPTIONS = ("--project", "--environment", "--lease", "--buffer-memory")


def told(error: BaseException, *, as_json: bool) -> int:
    """Says what went wrong on stderr, and as one JSON document on stdout where that was asked for."""
    if not isinstance(error, TyperException | KeyboardInterrupt):
        trace(error)
    record = describe(error)
    _say(record)
    if as_json:
        emit({"error": record})
    return int(record["exit_code"])


def trace(error: BaseException) -> None:
    """The traceback, on stderr, for whoever asked for it: it may hold values of the data."""
    if os.environ.get("LADING_DEBUG") == "1":
        traceback.print_exception(error, file=sys.stderr)


def describe(error: BaseException) -> dict[str, Any]:
    """``{type, message, hint, exit_code, retryable, problems}``. Of an unexpected error only its type and its place
    are told: its message may hold a value of the data."""
    if isinstance(error, KeyboardInterrupt | Abort):
        return _record(
            error,
            "Interrupted.",
            str(error) or "Nothing that was delivered is lost. Call it again, and it goes on from there.",
            INTERRUPTED,
            retryable=True,
        )
    if isinstance(error, LadingError):
        problems = error.problems if isinstance(error, InvalidProject) else ()
        return _record(
            error,
            error.message,
            error.hint,
            error.exit_code,
            retryable=error.retryable,
            problems=[{"file": p.file, "line": p.line, "reason": p.reason} for p in problems],
        )
    if isinstance(error, TyperException):
        return _record(error, error.format_message(), _usage_hint(error), error.exit_code)
    told = unexpected(error)
    return _record(error, told.message, told.hint, told.exit_code)


def _record(
    error: BaseException,
    message: str,
    hint: str | None,
    exit_code: int,
    *,
    retryable: bool = False,
    problems: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    return {
        "type": type(error).__name__,
        "message": message,
        "hint": hint,
        "exit_code": exit_code,
        "retryable": retryable,
        "problems": problems or [],
    }


def _say(record: dict[str, Any]) -> None:
    problems = [f"{p['file']}:{p['line']}" if p["line"] else p["file"] for p in record["problems"]]
    lines = [f"{place}: {p['reason']}" for place, p in zip(problems, record["problems"], strict=True)]
    if lines and all(p["file"].startswith(FLAGS) for p in record["problems"]):
        first, *lines = lines
        say(f"error: {first}")
    elif record["message"] != "\n".join(lines):
        first, *rest = record["message"].splitlines() or [""]
        say(f"error: {first}", *rest)
    elif lines:
        say(f"error: {len(lines)} {'problem' if len(lines) == 1 else 'problems'} in the project's files")
    say(*lines)
    if record["hint"]:
        say(f"hint: {plain(record['hint'])}")


def _usage_hint(error: TyperException) -> str | None:
    context = getattr(error, "ctx", None)
    if getattr(error, "option_name", None) in GLOBAL_OPTIONS:
        return f"{', '.join(GLOBAL_OPTIONS)} stand before the command."
    return f"{context.command_path} --help" if context is not None else None
