"""Environments and projects that share a journal's store, or a destination."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

DELIVERED = {"2024-01": 3, "2024-02": 2, "2024-03": 2}


@pytest.fixture
def sharing(project: Path, replace: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The sample project, whose environments deliver to stores of their own."""
    replace("lading.yaml", '"file://./deliveries"', '"file://./lake-${STAGE}"')
    monkeypatch.setenv("STAGE", "dev")
    return project


def stage(monkeypatch: pytest.MonkeyPatch, name: str) -> tuple[str, str]:
    monkeypatch.setenv("STAGE", name)
    return "--environment", name


def rows(folder: Path) -> int:
    """Of the complete deliveries under a folder."""
    manifests = [
        json.loads((marker.parent / "_manifest.json").read_text()) for marker in folder.rglob("_SUCCESS")
    ]
    return sum(manifest["rows"]["written"] for manifest in manifests)


def test_two_environments_with_one_journal_both_deliver(
    lading: Any, sharing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # D15
    ids = []
    for name in ("dev", "prod"):
        told = lading(*stage(monkeypatch, name), "run", "orders_drop", "--json")
        assert told.code == 0
        assert {record["status"] for record in told.json} == {"succeeded"}
        assert rows(sharing / f"lake-{name}") == sum(DELIVERED.values())
        assert lading("verify", str(sharing / f"lake-{name}")).code == 0
        ids.append({record["run_id"] for record in told.json})
    assert not ids[0] & ids[1]
    for name, own in zip(("dev", "prod"), ids, strict=True):
        where = stage(monkeypatch, name)
        assert {r["status"] for r in lading(*where, "run", "orders_drop", "--json").json} == {"skipped"}
        assert {record["run_id"] for record in lading(*where, "runs", "--json").json} == own
        assert lading(*where, "status", "--json").json[0]["missing_intervals"] == []
        assert lading(*where, "show", min(own)).code == 0
        assert lading(*where, "show", min(ids[name == "dev"])).code == 2


def test_two_projects_with_equal_exports_and_one_journal_both_deliver(
    lading: Any, project: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:  # D15
    other = tmp_path_factory.mktemp("other") / "project"
    shutil.copytree(project, other)
    text = (other / "lading.yaml").read_text().replace("name: shop\n", "name: shop2\n")
    assert "name: shop2" in text
    (other / "lading.yaml").write_text(text.replace("file://./journal", f"file://{project / 'journal'}"))
    for folder in (project, other):
        told = lading("--project", str(folder), "run", "orders_drop", "--json").json
        assert {record["status"] for record in told} == {"succeeded"}
        assert rows(folder / "deliveries") == sum(DELIVERED.values())
    assert sorted(p.name for p in (project / "journal").iterdir()) == ["shop", "shop2"]


def test_a_lost_journal_is_noticed_beside_another_environments(
    lading: Any, sharing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("dev", "prod"):
        lading(*stage(monkeypatch, name), "run", "orders_drop")
    shutil.rmtree(sharing / "journal/shop/prod")
    told = lading(*stage(monkeypatch, "prod"), "run", "orders_drop")
    assert told.code == 6
    assert "of which the journal knows nothing" in told.out + told.err
    assert lading(*stage(monkeypatch, "dev"), "run", "orders_drop").code == 0


def test_two_environments_at_one_destination_stand_apart(lading: Any, project: Path) -> None:  # D15
    for name in ("dev", "prod"):
        told = lading("--environment", name, "run", "orders_drop", "--json").json
        assert {record["status"] for record in told} == {"succeeded"}
        assert rows(project / "deliveries" / name) == sum(DELIVERED.values())
    assert lading("verify", str(project / "deliveries")).code == 0


WINDOW = """mode: append
window:
  column: ordered_at
  clock: event                   # business time, not the time of writing
  every: 1 month
  start: 2024-01-01
  end: 2024-04-01                # without it, the grid goes on
  late: ignore
"""


def test_one_pointer_is_never_moved_by_two_environments(lading: Any, project: Path, replace: Any) -> None:
    replace("exports/orders_drop.yaml", WINDOW, "mode: full_refresh\nlayout: {preset: svc002}\n")
    first = lading("--environment", "prod", "run", "orders_drop", "--json")
    assert first.code == 0
    pointers = {path: path.read_bytes() for path in (project / "deliveries").rglob("latest.json")}
    assert len(pointers) == 2
    other = lading("--environment", "dev", "run", "orders_drop", "--json")
    assert other.code == 5
    assert all("belongs to project shop, environment prod" in record["error"] for record in other.json)
    assert {path: path.read_bytes() for path in (project / "deliveries").rglob("latest.json")} == pointers
    assert lading("verify", str(project / "deliveries")).code == 0
    assert lading("--environment", "prod", "run", "orders_drop").code == 0
