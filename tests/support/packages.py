"""Audit packages of a project on disk, and what a verifier says of them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from delivered import make_project

from lading import Project
from lading.evidence import verifier

AUDIT = {
    "channel": "audit",
    "format": {"type": "jsonl", "compression": "gzip"},
    "layout": {"preset": "lake"},
}


def make_audited(root: Path, *, months: str = "2024-05-01", **sections: object) -> Path:
    """Orders of two customers; the export `ledger` packs them by the month."""
    make_project(root)
    settings = root / "lading.yaml"
    signing = {"url": "file://./keys/signing"}
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "signing": signing}))
    drop = json.loads((root / "exports/to_lake.yaml").read_text())
    window = {**drop["window"], "end": months}
    made = {**drop, **AUDIT, "name": "ledger", "window": window, **sections}
    for other in (root / "exports").glob("*.yaml"):
        other.unlink()
    (root / "exports/ledger.yaml").write_text(json.dumps({k: v for k, v in made.items() if v is not None}))
    Project.load(root).new_signing_key()
    return root


def folders(place: Path, tenant: str = "*") -> list[Path]:
    """Packages in the order of their numbers."""
    found = [path.parent for path in place.glob(f"**/tenant={tenant}/**/_checkpoint.json")]
    return sorted(found, key=lambda folder: (checkpoint(folder)["tenant"], checkpoint(folder)["number"]))


def checkpoint(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "_checkpoint.json").read_text())
    return found


def told(
    *places: Path,
    key: Path | None = None,
    last: list[tuple[int, str]] | None = None,
    age: verifier.Age | None = None,
) -> list[str]:
    """The problems that the verifier names, each without the folder that it stands in."""
    signers = None if key is None else verifier.read_signers(key.read_text())
    found = verifier.verify([str(place) for place in places], signers, last, age)
    return [f"{Path(where).name}: {what}" for where, what in found.problems]


def run_verifier(file: Path, *arguments: object, memory: int | None = None) -> tuple[int, str]:
    """As an auditor does, on a bare Python: its exit code, and what it says. ``memory``: bytes that it may take."""
    limit = [] if memory is None else ["prlimit", f"--as={memory}"]
    done = subprocess.run(
        [*limit, sys.executable, "-I", "-S", str(file), *map(str, arguments)],
        capture_output=True, text=True, check=False, env={}, timeout=60,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def copied(place: Path, to: Path) -> Path:
    shutil.copytree(place, to)
    return to
