"""The command line: a thin face on `lading.Project` and `lading.recipient`.

What is imported here is imported by ``lading --help`` too, so commands import what they work with when they run.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from lading.cli.console import guarded, say
from lading.cli.failures import INTERRUPTED, LOST, LOST_HINT, told
from lading.cli.stopping import stopped_as_by_a_terminal


def main(arguments: Sequence[str] | None = None) -> int:
    """Carries one command line out and says how it ended: an exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    with guarded() as output:
        code = _carried_out(words)
        output.flush()
        if output.lost is not None:
            say(f"error: The output could not be written to stdout: {output.lost}.", f"hint: {LOST_HINT}")
    return code or (LOST if output.lost is not None else 0)


def _carried_out(words: list[str]) -> int:
    from lading.cli.app import app

    try:
        with stopped_as_by_a_terminal():
            code = app(words, prog_name="lading", standalone_mode=False)
        if code == INTERRUPTED:  # typer's answer to it
            code = told(KeyboardInterrupt(), as_json="--json" in words)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 -- the last one who can say what happened
        code = told(error, as_json="--json" in words)
    return code if isinstance(code, int) else 0
