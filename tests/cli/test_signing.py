"""``signing new``, ``signing list``, and ``verify --key``: as their users call them."""

# D11
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def signing(project: Path) -> Path:
    with (project / "lading.yaml").open("a") as file:
        file.write('signing: {url: "file://./keys/signing"}\n')
    return project


def test_a_project_signs_from_its_first_key_on(lading: Any, signing: Path) -> None:
    refused = lading("run", "orders_drop")
    assert refused.code == 2
    assert "There is no signing key" in refused.err
    assert "lading signing new" in refused.err
    made = lading("signing", "new")
    assert made.code == 0
    assert made.out == (signing / "ops/signers").read_text()
    assert "publish that file" in made.err
    assert lading("run", "orders_drop").code == 0
    proven = lading("verify", "deliveries", "--key", "ops/signers")
    assert proven.code == 0
    assert proven.out == "ok: 6 deliveries, 6 files, 7 rows (signed)\n"
    key = " ".join(made.out.split()[2:4])
    assert lading("verify", "deliveries", "--key", key, "--json").json["signed"] is True


def test_what_could_not_be_signed_claims_nothing_and_validate_warns_of_it(lading: Any, signing: Path) -> None:
    warned = lading("validate")
    assert warned.code == 0  # who only checks the files, as CI does, has no private key
    assert (
        "warning: lading.yaml: signing: nothing can be delivered from here: There is no signing key"
        in warned.err
    )
    assert lading("run", "orders_drop").code == 2
    assert lading("runs", "--json").json == []
    lading("signing", "new")
    assert "signing" not in lading("validate").err
    assert lading("run", "orders_drop").code == 0
    assert not list((signing / "deliveries").rglob("*-a2"))


def test_packages_need_a_line_for_checkpoints_and_one_is_told_how_to_mend_it(
    lading: Any, signing: Path
) -> None:
    export = signing / "exports/orders_drop.yaml"
    written = export.read_text().replace(
        "{type: parquet, compression: snappy}", "{type: jsonl, compression: gzip}"
    )
    export.write_text(f"channel: audit\n{written}")
    lading("signing", "new")
    signers = signing / "ops/signers"
    signers.write_text(signers.read_text().replace(",lading-checkpoint", ""))
    mend = "Add lading-checkpoint to the namespaces of its line there"
    warned = lading("validate")
    assert (warned.code, mend in warned.err) == (0, True)
    refused = lading("run", "orders_drop")
    assert refused.code == 3
    assert mend in refused.err
    assert lading("runs", "--json").json == []


def test_files_are_listed_for_who_names_the_key_that_signed_them(lading: Any, signing: Path) -> None:
    lading("signing", "new")
    assert lading("run", "orders_drop").code == 0
    listed = lading("files", "deliveries", "--key", "ops/signers")
    assert (listed.code, listed.out) == (0, lading("files", "deliveries").out)
    next((signing / "deliveries").rglob("*.sig")).unlink()
    refused = lading("files", "deliveries", "--key", "ops/signers")
    assert refused.code == 6
    assert refused.out == ""
    assert lading("files", "deliveries", "--format", "duckdb", "--key", "ops/signers").code == 6


def test_without_a_key_to_go_by_signatures_vouch_for_nothing(lading: Any, signing: Path) -> None:
    made = lading("signing", "new", "--json").json
    lading("run", "orders_drop")
    told = lading("verify", "deliveries")
    assert told.code == 0
    signed = f"signed by {made['key']}, which nobody vouches for: integrity only"
    assert told.out == f"ok: 6 deliveries, 6 files, 7 rows ({signed})\n"
    assert lading("verify", "deliveries", "--json").json["signatures"] == {made["key"]: 6}


def test_unsigned_deliveries_are_a_problem_for_who_expects_signed_ones(lading: Any, signing: Path) -> None:
    public = lading("signing", "new", "--json").json["public"]
    settings = signing / "lading.yaml"
    settings.write_text(settings.read_text().replace("signing:", "# signing:"))
    lading("run", "orders_drop")
    told = lading("verify", "deliveries", "--key", public)
    assert told.code == 6
    assert told.out.count("_manifest.json: is not signed\n") == 6
    assert told.out.endswith(
        "6 problems: 6 deliveries, 6 files, 7 rows (not what trusted keys have signed)\n"
    )


def test_a_key_that_recipients_do_not_know_signs_nothing(lading: Any, signing: Path) -> None:
    lading("signing", "new")
    first = (signing / "ops/signers").read_text()
    lading("signing", "new")
    (signing / "ops/signers").write_text(first)
    told = lading("run", "orders_drop")
    assert told.code == 3
    assert "none of the trusted keys" in told.err
    assert "ops/signers" in told.err
    assert "Restore" not in told.err
    (signing / "ops/signers").unlink()
    lost = lading("run", "orders_drop")
    assert lost.code == 3
    assert "Restore ops/signers from Git" in lost.err
    assert not list((signing / "deliveries").rglob("*.parquet"))
    # Who reads or plans signs nothing, and needs no key.
    assert lading("plan", "orders_drop").code == 0
    assert lading("preview", "orders_drop").code == 0
    assert lading("status").code == 0


def test_list_tells_all_keys_and_their_times(lading: Any, signing: Path) -> None:
    assert lading("signing", "list", "--json").json == []
    keys = [lading("signing", "new", "--json").json["key"] for _ in range(2)]
    listed = lading("signing", "list")
    assert [line.split()[0] for line in listed.out.splitlines()] == ["KEY", *keys]
    assert [each["comment"] for each in lading("signing", "list", "--json").json] == ["0001", "0002"]


@pytest.mark.parametrize(
    ("section", "told"),
    [
        ("signing: {}", "signing takes a url of a folder"),
        ("signing: {url: s3://bucket/keys}", "signing takes a url of a folder"),
        ("signing: {url: file://./keys/signing, key: 1}", "signing takes a url of a folder"),
        ("signing: yes please", "signing"),
    ],
)
def test_wrong_settings_are_told_by_validate(lading: Any, project: Path, section: str, told: str) -> None:
    with (project / "lading.yaml").open("a") as file:
        file.write(f"{section}\n")
    said = lading("validate")
    assert said.code == 2
    assert "lading.yaml:" in said.out + said.err
    assert told in said.out + said.err


def test_without_signing_in_the_settings_new_says_what_to_write(lading: Any, project: Path) -> None:
    said = lading("signing", "new")
    assert said.code == 2
    assert "signing: {url: file://./keys/signing}" in said.err


def test_a_damaged_list_is_refused_with_its_line_before_a_key_is_made(lading: Any, signing: Path) -> None:
    (signing / "ops").mkdir()
    (signing / "ops/signers").write_text("what is this\n")
    said = lading("signing", "new")
    assert said.code == 2
    assert "ops/signers:1: is no public key" in said.err
    assert not (signing / "keys").exists()


def test_what_cannot_be_a_list_is_told_and_leaves_no_key(lading: Any, signing: Path) -> None:
    (signing / "ops").write_text("a file")
    said = lading("signing", "new")
    assert said.code == 2
    assert "ops/signers: cannot be written" in said.err
    (signing / "ops").unlink()
    (signing / "ops/signers").mkdir(parents=True)
    for command in ("new", "list"):
        said = lading("signing", command)
        assert said.code == 2
        assert "ops/signers: is no text" in said.err
    assert not (signing / "keys").exists()


def test_when_the_only_key_was_stolen_its_line_goes_and_a_new_one_comes(lading: Any, signing: Path) -> None:
    stolen = lading("signing", "new", "--json").json["key"]
    (signing / "ops/signers").write_text("# the first one was stolen\n")
    assert lading("signing", "list").code == 0
    made = lading("signing", "new", "--json").json
    assert made["comment"] == "0002"
    assert made["key"] != stolen
    lading("run", "orders_drop")
    assert lading("verify", "deliveries", "--key", "ops/signers", "--json").json["signatures"] == {
        made["key"]: 6
    }
