"""``keys copy``, ``keys rotate``, ``keys destroy``: as their users call them."""

# S10, D12
from __future__ import annotations

import io
import json
import stat
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def encrypting(project: Path) -> Path:
    with (project / "exports/orders_drop.yaml").open("a") as file:
        file.write("encryption: {key: tenant}\n")
    return project


def test_a_recipient_gets_a_copy_and_reads_with_it(lading: Any, encrypting: Path) -> None:
    assert lading("run", "orders_drop").code == 0
    told = lading("keys", "copy", "berlin", "berlin.keys")
    assert (told.code, told.out) == (0, "1 key of berlin in berlin.keys\n")
    copied = json.loads((encrypting / "berlin.keys").read_text())
    assert stat.S_IMODE((encrypting / "berlin.keys").stat().st_mode) == 0o600
    assert all(each["key"] not in told.out + told.err for each in copied["keys"])
    berlin = str(next((encrypting / "deliveries").rglob("tenant=berlin")))
    assert lading("verify", berlin, "--deep", "--tenant-key", "berlin.keys").code == 0
    without = lading("verify", berlin, "--deep")
    assert without.code == 6
    assert "is not here: what it wrapped cannot be opened" in without.out
    assert lading("verify", berlin).code == 0
    useless = lading("verify", berlin, "--tenant-key", "berlin.keys")
    assert useless.code == 2
    assert "'--tenant-key': belongs to --deep" in useless.err
    again = lading("keys", "copy", "berlin", "berlin.keys")
    assert again.code == 3
    assert "is there already" in again.err
    nowhere = lading("keys", "copy", "berlin", "nowhere/berlin.keys")
    assert (nowhere.code, "There is no folder nowhere." in nowhere.err) == (2, True)


def test_a_missing_key_is_told_as_that_and_not_as_a_broken_signature(lading: Any, encrypting: Path) -> None:
    with (encrypting / "lading.yaml").open("a") as file:
        file.write('signing: {url: "file://./keys/signing"}\n')
    lading("signing", "new")
    assert lading("run", "orders_drop").code == 0
    berlin = str(next((encrypting / "deliveries").rglob("tenant=berlin")))
    lading("keys", "copy", "berlin", "berlin.keys")
    lading("keys", "copy", "lisbon", "lisbon.keys")
    ask = ["verify", berlin, "--deep", "--key", "ops/signers"]
    for given, advice in (
        ([], "Give a copy of the tenant's keys by --tenant-key."),
        (
            ["--tenant-key", "lisbon.keys"],
            "--tenant-key gives another one: give this tenant's too, or ask the sender for a new copy of it.",
        ),
    ):
        told = lading(*ask, *given)
        assert told.code == 6
        *problems, verdict = told.out.splitlines()
        for problem in filter(lambda line: "is not here" in line, problems):
            assert ": is encrypted for tenant 'berlin', and its rows were not read: The key " in problem
            assert problem.endswith(f"is not here: what it wrapped cannot be opened. {advice}")
        assert "is not here" in told.out
        assert "as the manifest describes it" not in told.out
        assert "(trusted keys signed every manifest)" in told.out, verdict
    assert "(signed)" in lading(*ask, "--tenant-key", "berlin.keys").out
    both = ["--tenant-key", "berlin.keys", "--tenant-key", "lisbon.keys"]
    assert "(signed)" in lading("verify", "deliveries", "--deep", "--key", "ops/signers", *both).out
    elsewhere = lading("verify", berlin, "--key", "ops/signers", "--tenant", "nobody")
    assert elsewhere.code == 6
    assert "is for tenant 'berlin'" in elsewhere.out
    assert "(trusted keys signed every manifest)" in elsewhere.out
    next(Path(berlin).rglob("*.sig")).unlink()
    assert "(not what trusted keys have signed)" in lading(*ask, "--tenant-key", "berlin.keys").out
    (encrypting / "empty").mkdir()
    nothing = lading("verify", "empty", "--key", "ops/signers")
    assert (nothing.code, nothing.out.splitlines()[-1]) == (
        6, "1 problem: 0 deliveries, 0 files, 0 rows (no signature could be seen)"
    )  # fmt: skip


def test_nobody_has_a_copy_of_what_is_not_there(lading: Any, encrypting: Path) -> None:
    told = lading("keys", "copy", "nobody", "n.keys")
    assert told.code == 3
    assert "has no key" in told.err
    assert not (encrypting / "n.keys").exists()
    assert not (encrypting / "keys").exists()


@pytest.mark.parametrize("content", ["", "{}", '{"version": 1, "keys": [{"key": "AAAA"}]}', "\x00"])
def test_a_file_of_no_keys_is_refused(lading: Any, encrypting: Path, content: str) -> None:
    lading("run", "orders_drop")
    (encrypting / "n.keys").write_text(content)
    told = lading("verify", "deliveries", "--deep", "--tenant-key", "n.keys")
    assert told.code == 3
    assert "holds no keys of a tenant" in told.err
    assert lading("verify", "deliveries", "--deep", "--tenant-key", "missing").code == 2


def test_rotating_and_destroying(lading: Any, encrypting: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lading("run", "orders_drop")
    before = lading("keys", "copy", "berlin", "one.keys", "--json").json["keys"]
    made = lading("keys", "rotate", "berlin", "--json").json
    assert made["tenant"] == "berlin"
    assert lading("keys", "copy", "berlin", "two.keys", "--json").json["keys"] == before + 1
    assert "lading keys copy lisbon FILE" in lading("keys", "rotate", "lisbon").err
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    asked = lading("keys", "destroy", "berlin")
    assert asked.code == 2
    assert "Nothing was destroyed." in asked.err
    assert len(list((encrypting / "keys/wrapping").glob("tenant-berlin.[0-9]*"))) == 2
    assert lading("keys", "destroy", "berlin", "--yes").out == "berlin: 2 keys destroyed\n"
    assert not list((encrypting / "keys/wrapping").glob("tenant-berlin.[0-9]*"))
    refused = lading("keys", "rotate", "berlin")
    assert refused.code == 3
    assert "were destroyed" in refused.err


def test_what_follows_from_a_destruction_is_said_before_it_is_confirmed(
    lading: Any, encrypting: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lading("run", "orders_drop")
    keys = encrypting / "keys/wrapping"
    for words in ((), ("--json",)):
        monkeypatch.setattr("sys.stdin", io.StringIO(""))
        asked = lading("keys", "destroy", "berlin", *words)
        assert asked.code == 130
        assert "Deliveries that are encrypted for berlin cannot be opened any more" in asked.err
        assert "refused for all tenants, until its file in tenants/ says `active: false`" in asked.err
        assert "Nothing was destroyed." in asked.err
        assert "goes on from there" not in asked.err
        assert list(keys.glob("tenant-berlin.[0-9]*"))
    assert asked.json["error"]["hint"].startswith("Nothing was destroyed.")
    said = lading("keys", "destroy", "berlin", "--yes")
    assert "refused for all tenants" not in said.err
    # And it is so.
    again = ("run", "orders_drop", "--revise", "--reason", "anew")
    span = ("--start", "2024-01-01", "--end", "2024-02-01")
    refused = lading(*again, *span, "--json")
    assert refused.code == 3
    assert {run["status"] for run in refused.json} == {"failed"}
    (encrypting / "tenants").mkdir(exist_ok=True)
    (encrypting / "tenants/berlin.yaml").write_text("tenant: berlin\nactive: false\n")
    told = lading(*again, *span)
    assert told.code == 0, told.err


def test_without_a_keyring_there_are_no_keys(lading: Any, project: Path) -> None:
    settings = project / "lading.yaml"
    settings.write_text("\n".join(x for x in settings.read_text().splitlines() if not x.startswith("keys:")))
    told = lading("keys", "rotate", "berlin")
    assert told.code == 2
    assert "encryption needs a keyring" in told.err
