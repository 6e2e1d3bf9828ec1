"""A project whose stores are buckets that nobody asks for anything, and the documents about them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from delivered import make_project

from lading import Project

Make = Callable[..., Project]


def bucket_project(
    root: Path,
    stores: Mapping[str, Mapping[str, Any]],
    exports: Mapping[str, Mapping[str, Any]],
    tenants: Mapping[str, str] | None = None,
) -> Project:
    """``stores`` are added to those of lading.yaml, ``exports`` names those that stay, with what changes in each.
    ``tenants``: their own destinations."""
    make_project(root)
    path = root / "lading.yaml"
    settings = json.loads(path.read_text())
    settings["stores"].update(stores)
    path.write_text(json.dumps(settings))
    for file in (root / "exports").iterdir():
        if file.stem not in exports:
            file.unlink()
            continue
        changed = {**json.loads(file.read_text()), **exports[file.stem]}
        file.write_text(json.dumps({k: v for k, v in changed.items() if v is not None}))
    for tenant, destination in (tenants or {}).items():
        (root / "tenants").mkdir(exist_ok=True)
        own = {"tenant": tenant, "destination": destination}
        (root / f"tenants/{tenant}.yaml").write_text(json.dumps(own))
    return Project.load(root)


def document(told: Mapping[str, Any], file: str) -> Any:
    return next(each["document"] for each in told["documents"] if each["file"] == file)
