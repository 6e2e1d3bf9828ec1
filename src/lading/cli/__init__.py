"""The command line: a thin face on `lading.Project` and `lading.recipient`.

What is imported here is imported by ``lading --help`` too, so commands import what they work with when they run.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from lading.cli.console import finish
from lading.cli.failures import told

INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Carries one command line out and says how it ended: an exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    from lading.cli.app import app

    try:
        code = app(words, prog_name="lading", standalone_mode=False)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:  # noqa: BLE001 -- the last one who can say what happened
        code = told(error, as_json="--json" in words)
    finish()
    return code if isinstance(code, int) else 0
