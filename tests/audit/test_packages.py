"""Audit packages of a project: what they hold, what is refused, and what their evidence proves."""

# S4
from __future__ import annotations

import gzip
import json
import shutil
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from packages import checkpoint, copied, folders, make_audited, run_verifier, told
from people import ADA, BOB, EVE, Person, write_owners

from lading import InvalidProject, Project, Refused, verify
from lading.errors import IntegrityError
from lading.evidence import verifier
from lading.export.consistency import RECORDS
from lading.recipient import duckdb_query

SOON = datetime.now(UTC) + timedelta(days=30)


def rewrite(file: Path, **sections: Any) -> None:
    made = {**json.loads(file.read_text()), **sections}
    file.write_text(json.dumps({key: value for key, value in made.items() if value is not None}))


def test_a_package_holds_each_row_once_in_a_chain(audited: Path) -> None:
    records = [
        json.loads(line)["record"]
        for folder in folders(audited / "lake")
        for line in gzip.decompress((folder / RECORDS).read_bytes()).splitlines()
    ]
    assert sorted(record["id"] for record in records) == list(range(40))
    assert verifier.RECORDS == RECORDS


def test_packages_are_proven_by_lading_with_every_row_and_signature(audited: Path, key: Path) -> None:
    report = verify(str(audited / "lake"), deep=True, key=str(key))
    assert report.record()["problems"] == []
    assert report.signed
    assert len(report.notes) == 2  # that nothing tells which package is the last, for each tenant
    assert [n for n in report.notes if "whether package 4 is the last one cannot be told from packages" in n]


def test_a_source_in_parts_makes_one_file_without_tenants(tmp_path: Path) -> None:
    root = make_audited(tmp_path / "shop", tenants=None)
    assert {r.status for r in Project.load(root).run("ledger")} == {"succeeded"}
    (first, *_) = folders(root / "lake") or sorted(
        p.parent for p in (root / "lake").glob("**/_checkpoint.json")
    )
    assert [p.name for p in first.glob("*.gz")] == [RECORDS]
    assert told(root / "lake") == []


def test_the_delivery_record_is_of_an_audit(audited: Path) -> None:
    record = json.loads((folders(audited / "lake", "a")[0] / "_delivery.json").read_text())
    assert record | {"generated_at": ""} == {
        "dataset": "orders",
        "generated_at": "",
        "encryption": "none",
        "records": 10,
        "schema_version": "export.audit.v1",
    }


def test_copies_hold_the_same_chain(tmp_path: Path) -> None:
    root = make_audited(tmp_path / "shop")
    settings = json.loads((root / "lading.yaml").read_text())
    stores = {**settings["stores"], "second": {"url": "file://./second", "durable": False}}
    rewrite(root / "lading.yaml", stores=stores)
    rewrite(root / "exports/ledger.yaml", copies=["second"])
    assert {r.status for r in Project.load(root).run("ledger")} == {"succeeded"}
    assert told(root / "lake") == told(root / "second") == []
    one, other = (folders(root / place, "a")[2] for place in ("lake", "second"))
    assert (one / "_checkpoint.json").read_bytes() == (other / "_checkpoint.json").read_bytes()
    assert (one / "_manifest.json").read_bytes() != (other / "_manifest.json").read_bytes()
    assert verify(str(root / "second"), key=str(root / "ops/signers")).signed


# --- what is refused


@pytest.mark.parametrize(
    ("sections", "reason"),
    [
        ({"mode": "full_refresh", "window": None}, "the channel audit takes append"),
        ({"format": {"type": "parquet"}}, "the channel audit takes format: {type: jsonl, compression: gzip}"),
        ({"format": {"type": "jsonl"}}, "the channel audit takes format: {type: jsonl, compression: gzip}"),
        ({"format": None}, "the channel audit takes format: {type: jsonl, compression: gzip}"),
        (
            {"format": {"type": "jsonl", "compression": "gzip", "max_file_size": "1MB"}},
            "max_file_size cannot be had in the channel audit: the chain of a package is one file",
        ),
        (
            {"layout": {"partition_by": ["region"]}},
            "partition_by cannot be had in the channel audit: the chain of a package is one file",
        ),
        ({"layout": {"preset": "svc002"}}, "the channel audit takes preset: lake, or a path"),
        ({"layout": {"name": "{file}"}}, "the channel audit takes preset: lake, or a path"),
        ({"immutable_rows": True}, "immutable_rows has no use in the channel audit"),
    ],
)
def test_what_a_package_cannot_be_is_refused_with_its_line(
    sections: Mapping[str, Any], reason: str, tmp_path: Path
) -> None:
    root = make_audited(tmp_path / "shop")
    rewrite(root / "exports/ledger.yaml", **sections)
    with pytest.raises(InvalidProject) as refused:
        Project.load(root).run("ledger")
    assert reason in str(refused.value)
    assert "exports/ledger.yaml:1" in str(refused.value)


def test_a_project_that_signs_nothing_makes_no_packages(tmp_path: Path) -> None:
    root = make_audited(tmp_path / "shop")
    rewrite(root / "lading.yaml", signing=None)
    with pytest.raises(InvalidProject, match=r"exports/ledger.yaml:1.*signs what it delivers"):
        Project.load(root).run("ledger")
    with pytest.raises(InvalidProject, match=r"exports/ledger.yaml:1.*signs what it delivers"):
        Project.load(root).validate()


def test_a_key_that_may_not_sign_checkpoints_stops_a_run_before_anything_is_claimed(tmp_path: Path) -> None:
    root = make_audited(tmp_path / "shop")
    signers = root / "ops/signers"
    signers.write_text(signers.read_text().replace(",lading-checkpoint", ""))
    with pytest.raises(Refused, match="may not sign in the namespace lading-checkpoint"):
        Project.load(root).run("ledger")
    assert Project.load(root).runs() == []
    assert not list((root / "lake").rglob(RECORDS))


def test_duckdb_is_not_given_a_statement_that_would_read_other_rows(audited: Path) -> None:
    with pytest.raises(ValueError, match="audit packages hold each row as the record of a chain"):
        duckdb_query(str(audited / "lake"))


# --- evidence


@pytest.fixture(scope="module")
def approved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose export two people have approved, delivered."""
    root = make_audited(tmp_path_factory.mktemp("approved") / "shop")
    contract = root / "contracts/orders.v1.odcs.yaml"
    contract.write_text(
        contract.read_text().replace('"name": "region",', '"name": "region", "tags": ["pii"],')
    )
    write_owners(root)
    with pytest.raises(Refused):
        Project.load(root).run("ledger")
    approve(root)
    assert {r.status for r in Project.load(root).run("ledger")} == {"succeeded"}
    return root


def approve(root: Path, asks: Person = BOB, grants: Person = ADA) -> None:
    project = Project.load(root)
    project.ask("ledger", by=asks.name, purpose="audit of the year", expires=SOON, sign=asks.sign)
    pending = project.asked_for("ledger", grants.name)
    project.grant("ledger", by=grants.name, approvals=pending, sign=grants.sign)


def test_the_evidence_is_what_was_ordered_promised_decided_found_and_approved(approved: Path) -> None:
    package = folders(approved / "lake", "a")[0]
    evidence = package / "_evidence"
    manifest = json.loads((package / "_manifest.json").read_text())
    assert json.loads((evidence / "decisions.json").read_text()) == {
        key: manifest[key] for key in ("policy", "decisions", "approvals")
    }
    assert json.loads((evidence / "validation.json").read_text()) == {
        key: manifest[key] for key in ("rows", "validation")
    }
    assert json.loads((evidence / "definition.json").read_text())["mode"] == "append"
    assert (evidence / "contract.yaml").read_bytes() == (
        approved / "contracts/orders.v1.odcs.yaml"
    ).read_bytes()
    assert (evidence / "signers").read_bytes() == (approved / "ops/signers").read_bytes()
    kept = {path.name: path.read_bytes() for path in (approved / "ops/approvals").iterdir()}
    assert {path.name: path.read_bytes() for path in (evidence / "approvals").iterdir()} == kept
    assert len(kept) == 3
    assert EVE.name not in (evidence / "approvers").read_text()  # who signed nothing is nobody's business


def test_openssh_checks_the_approvals_in_the_evidence(approved: Path) -> None:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("there is no ssh-keygen here")
    evidence = folders(approved / "lake", "a")[0] / "_evidence"
    (document,) = evidence.glob("approvals/*.json")
    for person in (ADA, BOB):
        signature = document.with_name(f"{document.stem}.{person.name}.sig")
        command = ["ssh-keygen", "-Y", "verify", "-f", str(evidence / "approvers"), "-I", person.name,
                   "-n", "lading-approval", "-s", str(signature)]  # fmt: skip
        done = subprocess.run(command, input=document.read_bytes(), capture_output=True, check=False)
        assert done.returncode == 0, done.stderr


def test_openssh_checks_a_checkpoint(audited: Path, key: Path) -> None:
    if shutil.which("ssh-keygen") is None:
        pytest.skip("there is no ssh-keygen here")
    package = folders(audited / "lake", "a")[1]
    command = ["ssh-keygen", "-Y", "verify", "-f", str(key), "-I", "shop", "-n", "lading-checkpoint",
               "-s", str(package / "_checkpoint.json.sig")]  # fmt: skip
    data = (package / "_checkpoint.json").read_bytes()
    assert subprocess.run(command, input=data, capture_output=True, check=False).returncode == 0


def test_the_verifier_checks_who_approved(approved: Path, tmp_path: Path) -> None:
    assert told(approved / "lake", key=approved / "ops/signers") == []
    place = copied(approved / "lake", tmp_path / "lake")
    package = folders(place, "a")[0]
    (signature,) = package.glob("_evidence/approvals/*.ada.sig")
    signature.unlink()
    found = told(package)
    assert [t for t in found if "is not signed by who asked for it and by another person" in t]
    assert f"{signature.name}: is missing" in found


def test_one_key_under_two_names_is_one_person(approved: Path, tmp_path: Path) -> None:
    package = folders(copied(approved / "lake", tmp_path / "lake"), "a")[0]
    (ada,) = package.glob("_evidence/approvals/*.ada.sig")
    (bob,) = package.glob("_evidence/approvals/*.bob.sig")
    ada.write_bytes(bob.read_bytes())
    approvers = package / "_evidence/approvers"
    (line,) = [line for line in approvers.read_text().splitlines() if line.startswith("bob ")]
    approvers.write_text(f"{line}\n{line.replace('bob', 'ada', 1)}\n")
    assert [t for t in told(package) if "is not signed by who asked for it and by another person" in t]


def test_evidence_that_changes_while_a_run_is_at_work_stops_it(approved: Path, tmp_path: Path) -> None:
    root = copied(approved, tmp_path / "shop")
    project = Project.load(root)
    manifest = json.loads((folders(root / "lake", "a")[0] / "_manifest.json").read_text())
    job = project.job("ledger")
    job.channel._evidence(manifest)  # type: ignore[attr-defined]
    shutil.rmtree(root / "ops/approvals")
    with pytest.raises(
        IntegrityError, match="ledger: its approvals in ops/approvals changed while it was read"
    ):
        job.channel._evidence(manifest)  # type: ignore[attr-defined]
    with (root / "contracts/orders.v1.odcs.yaml").open("a") as file:
        file.write(" ")
    with pytest.raises(IntegrityError, match="ledger: its definition, query or contract changed"):
        job.channel._evidence(manifest)  # type: ignore[attr-defined]


def test_no_private_key_is_in_a_package(approved: Path) -> None:
    for path in (approved / "lake").rglob("*"):
        assert not path.is_file() or b"PRIVATE KEY" not in path.read_bytes()


# --- the journal's side


def test_what_the_newest_package_is_comes_from_the_journal(audited: Path) -> None:
    found = Project.load(audited).packages("ledger")
    assert [(each["tenant"], each["number"]) for each in found] == [
        (t, n) for t in "ab" for n in (1, 2, 3, 4)
    ]
    newest = next(each for each in reversed(found) if each["tenant"] == "a")
    mine = folders(audited / "lake", "a")
    assert newest["checkpoint"] == checkpoint(mine[-1])
    last = f"{newest['number']}:{newest['sha256']}"
    assert run_verifier(Path(verifier.__file__), *mine, "--last", last)[0] == 0
    code, said = run_verifier(Path(verifier.__file__), *mine[:-1], "--last", last)
    assert (code, "ends with package 3, and the last one is 4: packages were removed" in said) == (1, True)
    with pytest.raises(InvalidProject, match='There is no export "other"'):
        Project.load(audited).packages("other")
