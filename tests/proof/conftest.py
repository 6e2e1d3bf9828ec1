"""Real deliveries to tamper with."""

from __future__ import annotations

from pathlib import Path

import pytest
from delivered import Objects, appended, deliver, make_project, objects_in, refreshed


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_project(tmp_path_factory.mktemp("project") / "shop")
    deliver(root)
    return root


@pytest.fixture(scope="session")
def places(project: Path) -> dict[str, Objects]:
    return {"appended": appended(), "refreshed": refreshed(), "project": objects_in(project / "lake")}


@pytest.fixture(params=["appended", "refreshed", "project"])
def objects(request: pytest.FixtureRequest, places: dict[str, Objects]) -> Objects:
    """Everything at a destination, by name. Do not change it: tamper with a copy."""
    return places[request.param]


@pytest.fixture(params=["refreshed", "project"])
def pointed(request: pytest.FixtureRequest, places: dict[str, Objects]) -> Objects:
    """The same, where there are pointers."""
    return places[request.param]


@pytest.fixture(name="appended")
def _appended(places: dict[str, Objects]) -> Objects:
    return places["appended"]
