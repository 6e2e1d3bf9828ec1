"""Audit packages, as their users call them."""

# S4
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from packages import folders, run_verifier

from lading import Project
from lading.errors import StoreUnavailable
from lading.journal.chain import FIRST, PackageChain, Place
from lading.stores.local import LocalStore


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
    assert all("by --last, once for each chain. Here it is 3:" in note for note in notes)
    lasts = [word for row in rows for word in ("--last", row.split()[1])]
    told = run_verifier(
        folders(audited / "deliveries")[0] / "verify.py", audited / "deliveries",
        "--key", audited / "ops/signers", *lasts,
    )  # fmt: skip
    assert (told[0], "not checked" in told[1]) == (0, False), told[1]
    mine = [folder for folder in folders(audited / "deliveries") if f"tenant={tenant}/" in folder.as_posix()]
    code, said = run_verifier(mine[0] / "verify.py", *mine, "--key", audited / "ops/signers", "--last", last)
    assert code == 0, said
    assert "not checked" not in said


def test_a_package_that_has_a_number_and_is_not_published_is_told_and_not_named_as_the_newest(
    lading: Any, audited: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = LocalStore.put

    def refuse(store: LocalStore, name: str, data: bytes, *, create: bool = False) -> None:
        if "tenant=lisbon/2024/03/" in name and name.endswith("_SUCCESS"):
            raise StoreUnavailable("no space left")
        put(store, name, data, create=create)

    with monkeypatch.context() as full:
        full.setattr(LocalStore, "put", refuse)
        assert lading("run", "orders_drop").code == 7
    rows = [line.split("  ") for line in lading("packages", "orders_drop").out.splitlines()]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert [row[3] for row in cells if row[0] == "lisbon"] == ["1", "1", "1, not published yet"]
    last = lading("packages", "orders_drop", "--last", "--json").json
    assert {each["tenant"]: each["number"] for each in last} == {"berlin": 3, "lisbon": 2}
    assert lading("run", "orders_drop").code == 0
    last = lading("packages", "orders_drop", "--last", "--json").json
    assert {each["tenant"]: each["number"] for each in last} == {"berlin": 3, "lisbon": 3}
    assert {each["status"] for each in lading("packages", "orders_drop", "--json").json} == {"published"}


def test_a_number_without_a_package_is_told_with_what_took_its_place(lading: Any, audited: Path) -> None:
    chain = PackageChain(Project.load(audited).journal(), "orders_drop", "lisbon")
    interval = {"start": "2024-01-01T00:00:00Z", "end": "2024-02-01T00:00:00Z"}

    def sign(after: Place) -> tuple[str, str]:
        told = [{**after.record(), "previous": FIRST, "run_id": "1" * 32}] if after.number else []
        made = {
            "tenant": "lisbon", "number": after.number + 1, "interval": interval, "records": {"count": 7},
            "chained_at": "2024-03-01T00:00:00Z", "replaced": told, "supersedes": [],
        }  # fmt: skip
        return json.dumps(made), "signature"

    last = chain.append("2" * 32, chain.append("1" * 32, Place(0, FIRST), sign).place, sign)
    assert last.number == 2
    rows = [line.split("  ") for line in lading("packages", "orders_drop").out.splitlines()[1:]]
    assert [[cell.strip() for cell in row if cell.strip()][3] for row in rows] == ["replaced by 2", "7"]
    found = lading("packages", "orders_drop", "--json").json
    assert [each["replaced_by"] for each in found] == [2, None]


def test_an_unknown_export_has_no_packages(lading: Any, audited: Path) -> None:
    told = lading("packages", "orders_dorp")
    assert told.code == 2
    assert 'did you mean "orders_drop"?' in told.err


def test_an_export_of_another_channel_has_no_packages_but_those_that_it_had(
    lading: Any, audited: Path, replace: Any
) -> None:
    export = "exports/orders_drop.yaml"
    replace(export, "channel: audit\n", "")
    told = lading("packages", "orders_drop")
    assert told.code == 2
    assert "orders_drop has no packages: its channel is drop." in told.err
    with (audited / export).open("a") as file:
        file.write("channel: audit\n")
    assert lading("run", "orders_drop").code == 0
    replace(export, "channel: audit\n", "")
    assert lading("packages", "orders_drop", "--json").json


def test_what_a_package_cannot_be_is_refused_by_validate(lading: Any, audited: Path, replace: Any) -> None:
    replace("exports/orders_drop.yaml", "compression: gzip", "compression: zstd")
    told = lading("validate")
    assert told.code == 2
    assert "the channel audit takes format: {type: jsonl, compression: gzip}" in told.err
