"""What is imported is what the package declares: an installation without this repository's tools works."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
GIVEN = packages_distributions()
EXTRAS = {  # modules that only an extra's adapters load
    "postgres": ("sources/postgres", "sources/embedded", "demo", "scaffold"),
    "embedded": ("sources/embedded", "demo"),
    "aws": ("stores/object_", "channels/catalogues", "keys/aws"),
    "azure": ("keys/azure",),
    "gcp": ("keys/gcp",),
    "age": ("keys/age",),
    "iceberg": ("channels/iceberg", "channels/catalogues"),
}


def declared(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(each).name) for each in requirements}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module).partition(".")[0]


@pytest.mark.parametrize("path", sorted((ROOT / "src/lading").rglob("*.py")), ids=lambda p: p.stem)
def test_every_module_imports_only_what_is_declared_for_it(path: Path) -> None:
    place = path.relative_to(ROOT / "src/lading").as_posix()
    known = declared(PROJECT["dependencies"])
    for extra, prefixes in EXTRAS.items():
        if place.startswith(prefixes):
            known |= declared(PROJECT["optional-dependencies"][extra])
    if place.startswith("testing/"):
        known |= {"pytest", "hypothesis"}
    foreign = {name for name in imported(path) if name not in sys.stdlib_module_names and name != "lading"}
    missing = {
        name for name in foreign if not known & {canonicalize_name(d) for d in GIVEN.get(name, [name])}
    }
    assert not missing
