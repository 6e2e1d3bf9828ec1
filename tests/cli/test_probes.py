from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lading.errors import StoreDenied
from lading.project import Project
from lading.stores.probe import Finding


def test_a_connection_says_what_is_there(lading: Any, project: Path) -> None:
    told = lading("test-connection", "landing")
    assert told.code == 0
    assert "3 objects" in told.out
    assert lading("test-connection", "landing", "--json").json["ok"] is True
    wrong = lading("test-connection", "landin")
    assert wrong.code == 2
    assert 'did you mean "landing"?' in wrong.err


def test_a_store_proves_what_it_can_and_is_left_clean(lading: Any, project: Path) -> None:
    told = lading("test-store", "journal")
    assert told.code == 0
    assert "create refuses what exists" in told.out
    assert told.out.endswith("journal can be the journal\n")
    found = lading("test-store", "lake", "--json").json
    assert (found["ok"], found["journal"]) == (True, False)
    assert not [path for path in (project / "journal").rglob("*") if path.is_file()]


@pytest.mark.parametrize(("name", "code"), [("lake", 0), ("journal", 5)])
def test_a_journal_needs_more_than_a_destination(
    lading: Any, project: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: int
) -> None:
    findings = [Finding("write", True, ""), Finding("upload", True, ""), Finding("read", False, "denied")]
    monkeypatch.setattr(Project, "test_store", lambda self, name: findings)
    told = lading("test-store", name)
    assert told.code == code
    assert "FAILED  read    denied" in told.out


def test_a_store_that_is_out_of_reach_is_not_called_unfit(
    lading: Any, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    findings = [Finding("write", False, "no answer", True), Finding("upload", False, "no answer", True)]
    monkeypatch.setattr(Project, "test_store", lambda self, name: findings)
    told = lading("test-store", "lake")
    assert told.code == 4
    assert told.out.endswith("lake could not be shown to be a destination\n")


def test_a_connection_that_refuses_exits_with_its_code(
    lading: Any, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(self: Project, name: str) -> str:
        raise StoreDenied("Not for you.")

    monkeypatch.setattr(Project, "test_connection", denied)
    assert lading("test-connection", "landing").code == 5
