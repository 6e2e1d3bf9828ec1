# D11 D22
"""``destination policy``: as its users call it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def bucket(project: Path, replace: Callable[[str, str, str], None]) -> Path:
    """The sample project, delivering to a bucket that is never asked for anything."""
    replace(
        "lading.yaml",
        '"file://./deliveries", durable: false',
        's3://lake/out, access_key_id: AKIATESTTEST, secret_access_key: "${SECRET_OF_LAKE}"',
    )
    return project


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("SECRET_OF_LAKE", "a-s3cret-that-nobody-prints")
    return "a-s3cret-that-nobody-prints"


def test_people_get_each_document_under_its_heading(lading: Any, bucket: Path, secret: str) -> None:
    told = lading("destination", "policy", "lake")
    assert told.code == 0
    assert re.findall(r"^# .* \((.*\.json)\)$", told.out, re.M) == [
        "role-policy.json",
        "bucket-policy.json",
        "lifecycle.json",
    ]
    for text in re.split(r"(?:^#.*\n)+", told.out, flags=re.M)[1:]:
        json.loads(text)
    assert "fill in: ROLE: the exporter's role, in the command" in told.err
    assert secret not in told.out + told.err
    assert "AKIATESTTEST" not in told.out + told.err
    assert lading("destination", "policy", "lake").out == told.out


def test_who_names_the_exporter_has_nothing_left_to_fill_in(lading: Any, bucket: Path) -> None:
    told = lading("destination", "policy", "lake", "--principal", "arn:aws:iam::111122223333:role/exporter")
    assert told.code == 0
    assert "--role-name exporter " in told.out
    assert "fill in" not in told.err


def test_programs_get_one_document(lading: Any, bucket: Path, secret: str) -> None:
    told = lading("destination", "policy", "lake", "--write-only", "--delete-after", "30", "--json")
    found = told.json
    assert set(found) == {"store", "provider", "documents", "fill_in", "notes"}
    assert (found["store"], found["provider"]) == ("lake", "s3")
    assert [set(each) for each in found["documents"]] == [{"file", "title", "apply", "document"}] * 3
    assert secret not in told.out


def test_a_catalogue_names_the_store_that_holds_its_tables(lading: Any, bucket: Path) -> None:
    settings = bucket / "lading.yaml"
    catalogue = 'catalogues:\n  tables: {type: sql, url: "sqlite:///./catalogue.db", store: lake}\n'
    settings.write_text(settings.read_text() + catalogue)
    told = lading("destination", "policy", "tables")
    assert told.code == 2
    assert "tables is a catalogue: its tables lie in the store lake." in told.err
    assert "`lading destination policy lake`" in told.err
    assert lading("destination", "policy", "lake").code == 0


def test_a_folder_has_no_policies(lading: Any, bucket: Path) -> None:
    told = lading("destination", "policy", "journal")
    assert told.code == 2
    assert "journal is no bucket" in told.err
    assert lading("destination", "policy", "lake", "--delete-after", "0").code == 2
