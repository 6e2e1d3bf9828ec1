"""Audit packages, as their users call them."""

# S4
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from packages import folders, run_verifier


@pytest.fixture
def audited(lading: Any, project: Path, replace: Any) -> Path:
    with (project / "lading.yaml").open("a") as file:
        file.write('signing: {url: "file://./keys/signing"}\n')
    export = "exports/orders_drop.yaml"
    replace(export, "{type: parquet, compression: snappy}", "{type: jsonl, compression: gzip}")
    with (project / export).open("a") as file:
        file.write("channel: audit\n")
    assert lading("signing", "new").code == 0
    return project


def test_packages_are_delivered_listed_and_proven(lading: Any, audited: Path) -> None:
    nothing = lading("packages", "orders_drop")
    assert (nothing.code, nothing.out) == (0, "")
    assert "The journal knows no audit package of orders_drop." in nothing.err
    assert lading("run", "orders_drop").code == 0
    found = lading("packages", "orders_drop", "--json").json
    assert [each["number"] for each in found if each["tenant"] == found[0]["tenant"]] == [1, 2, 3]
    shown = lading("packages", "orders_drop", "--last")
    assert shown.code == 0
    (header, *rows) = shown.out.splitlines()
    assert header.split() == ["TENANT", "PACKAGE", "INTERVAL", "RECORDS", "CHAINED"]
    tenant, last, *_ = rows[0].split()
    proven = lading("verify", "deliveries", "--deep", "--key", "ops/signers")
    assert proven.code == 0, proven.err
    assert "(signed)" in proven.out
    notes = [line for line in proven.err.splitlines() if "is the last one" in line]
    assert len(notes) == 2
    assert all("give them to the verify.py in a package by --last. Here it is 3:" in note for note in notes)
    mine = [folder for folder in folders(audited / "deliveries") if f"tenant={tenant}/" in folder.as_posix()]
    code, said = run_verifier(mine[0] / "verify.py", *mine, "--key", audited / "ops/signers", "--last", last)
    assert code == 0, said
    assert "not checked" not in said


def test_an_unknown_export_has_no_packages(lading: Any, audited: Path) -> None:
    told = lading("packages", "orders_dorp")
    assert told.code == 2
    assert 'did you mean "orders_drop"?' in told.err


def test_what_a_package_cannot_be_is_refused_by_validate(lading: Any, audited: Path, replace: Any) -> None:
    replace("exports/orders_drop.yaml", "compression: gzip", "compression: zstd")
    told = lading("validate")
    assert told.code == 2
    assert "the channel audit takes format: {type: jsonl, compression: gzip}" in told.err
