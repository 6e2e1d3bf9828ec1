"""Writes a sample delivery of a channel, and prints where: `python tools/export_sample.py --channel bundle`.

The sample is what the example project `examples/four-channels` delivers: real flights of one month.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from lading.demo import examples
from lading.demo.channels import EXPORTS, prepare
from lading.errors import LadingError


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--channel", required=True, choices=EXPORTS)
    parser.add_argument("--to", type=Path, metavar="DIR", help="a new folder; a temporary one by default")
    asked = parser.parse_args()
    folder = asked.to or Path(tempfile.mkdtemp(prefix="lading-sample-")) / "project"
    try:
        results = prepare(folder, examples()).run(EXPORTS[asked.channel])
    except (LadingError, FileExistsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for result in results:
        print(result.manifest or f"{result.status}: {result.error}")
    return 0 if all(result.status == "succeeded" for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
