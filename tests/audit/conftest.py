"""Real packages to tamper with: one project that signs, delivered once."""

from __future__ import annotations

from pathlib import Path

import pytest
from packages import copied, folders, make_audited

from lading import Project


@pytest.fixture(scope="session")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Do not change it: tamper with a copy of its lake."""
    root = make_audited(tmp_path_factory.mktemp("audited") / "shop")
    assert {result.status for result in Project.load(root).run("ledger")} == {"succeeded"}
    return root


@pytest.fixture
def key(audited: Path) -> Path:
    return audited / "ops/signers"


@pytest.fixture
def lake(audited: Path, tmp_path: Path) -> Path:
    return copied(audited / "lake", tmp_path / "lake")


@pytest.fixture
def package(lake: Path) -> Path:
    """The first package of tenant a, ten records."""
    return folders(lake, "a")[0]
