"""Packages whose records their auditor alone can read, with the tool age; everybody else proves what stands outside."""

# S4, D12
from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from packages import checkpoint, copied, folders, make_audited, run_verifier, told

from lading import InvalidProject, Project, Refused, verify
from lading.evidence import verifier
from lading.recipient import duckdb_query

pyrage = pytest.importorskip("pyrage", reason="the extra age is not installed")
with_age = pytest.mark.skipif(shutil.which("age") is None, reason="the tool age is not here")

HELD = "records that are encrypted (records.jsonl.gz.age): give your private key of age by --identity"
PUBLIC = '"name": "region", "logicalType": "string", "physicalType": "text", "classification": "public"'


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packages for two tenants, each for its own key of age: `a.txt` and `b.txt`. Do not change it."""
    root = make_audited(tmp_path_factory.mktemp("encrypted") / "shop", encryption={"key": "recipient"})
    give_keys(root)
    assert {result.status for result in Project.load(root).run("ledger")} == {"succeeded"}
    return root


def give_keys(root: Path, tenants: str = "ab") -> None:
    (root / "tenants").mkdir()
    for tenant in tenants:
        key = pyrage.x25519.Identity.generate()
        (root / f"tenants/{tenant}.yaml").write_text(
            json.dumps({"tenant": tenant, "age": str(key.to_public())})
        )
        (root / f"{tenant}.txt").write_text(f"# public key: {key.to_public()}\n{key}\n")


@pytest.fixture
def package(sent: Path, tmp_path: Path) -> Path:
    """The first package of tenant a, ten records."""
    return folders(copied(sent / "lake", tmp_path / "lake"), "a")[0]


def opened(root: Path, package: Path, tenant: str = "a") -> bytes:
    key = pyrage.x25519.Identity.from_str((root / f"{tenant}.txt").read_text().splitlines()[1])
    return gzip.decompress(pyrage.decrypt((package / verifier.ENCRYPTED).read_bytes(), [key]))


def sealed(root: Path, package: Path, data: bytes) -> None:
    """Puts other records there, encrypted as everybody can: a public key is no secret."""
    public = json.loads((root / "tenants/a.yaml").read_text())["age"]
    stream = pyrage.encrypt(data, [pyrage.x25519.Recipient.from_str(public)])
    (package / verifier.ENCRYPTED).write_bytes(stream)


def problems(place: Path, identity: Path | None) -> list[str]:
    return told(place, age=None if identity is None else verifier.Age(str(identity)))


# --- what is sent


def test_no_record_of_an_encrypted_package_stands_anywhere_in_the_clear(sent: Path) -> None:
    rows = [
        json.loads(line)["record"]
        for tenant in "ab"
        for package in folders(sent / "lake", tenant)
        for line in opened(sent, package, tenant).splitlines()
    ]
    assert sorted(row["id"] for row in rows) == list(range(40))
    for path in (sent / "lake").rglob("*"):
        assert not path.is_file() or b"north" not in path.read_bytes()


def test_who_guesses_the_records_cannot_see_it_from_the_hash_of_the_last(sent: Path) -> None:
    package = folders(sent / "lake", "a")[0]
    told, head = checkpoint(package), None
    records: dict[str, object] = told["records"]  # type: ignore[assignment]
    assert records["seed"] is None
    head = verifier.seed(str(told["run_id"]))
    for number, line in enumerate(opened(sent, package).splitlines(), 1):
        guessed = b'{"n":%d,"previous":"%s","record":%s' % (
            number, head.encode(), line.partition(b'"record":')[2],
        )  # fmt: skip
        assert guessed != line
        head = hashlib.sha256(guessed).hexdigest()
    assert records["head"] != head


def test_no_two_packages_begin_alike(sent: Path) -> None:
    texts = [opened(sent, package) for package in folders(sent / "lake", "a")]
    first = [json.loads(text.splitlines()[0])["previous"] for text in texts if text]
    assert len(set(first)) == len(first) == 2


def test_the_evidence_names_the_encryption_and_no_key(sent: Path) -> None:
    package = folders(sent / "lake", "a")[0]
    manifest = json.loads((package / "_manifest.json").read_text())
    assert manifest["encryption"] == {"type": "age"}
    assert json.loads((package / "_evidence/keys.json").read_text())["encryption"] == {"type": "age"}
    assert json.loads((package / "_delivery.json").read_text())["encryption"] == "age"
    assert (
        json.loads((sent / "tenants/a.yaml").read_text())["age"]
        not in (package / "_manifest.json").read_text()
    )


def test_a_tenant_without_a_public_key_gets_no_package_and_neither_do_the_others(tmp_path: Path) -> None:
    root = make_audited(tmp_path / "shop", months="2024-03-01", encryption={"key": "recipient"})
    give_keys(root, "a")
    results = Project.load(root).run("ledger")
    assert {(r.status, r.exit_code) for r in results} == {("failed", 3)}
    assert any("'b' has no public key" in str(r.error) for r in results)
    assert not list((root / "lake").rglob("_checkpoint.json"))


def test_restricted_data_leaves_in_packages_that_are_encrypted_to_their_auditor_alone(
    tmp_path: Path,
) -> None:
    root = make_audited(tmp_path / "shop")
    give_keys(root)
    contract = root / "contracts/orders.v1.odcs.yaml"
    text = contract.read_text()
    assert PUBLIC in text
    contract.write_text(text.replace(PUBLIC, PUBLIC.replace('"public"', '"restricted"')))
    with pytest.raises(Refused, match=r"region \(classified restricted\) may leave only under a key"):
        Project.load(root).run("ledger")
    export = root / "exports/ledger.yaml"
    export.write_text(json.dumps({**json.loads(export.read_text()), "encryption": {"key": "recipient"}}))
    assert {r.status for r in Project.load(root).run("ledger")} == {"succeeded"}
    (rule,) = [
        each
        for each in json.loads((folders(root / "lake", "a")[0] / "_manifest.json").read_text())["decisions"]
        if each["rule"] == "restricted"
    ]
    assert rule["columns"] == ["region"]


def test_keys_that_we_hold_ourselves_are_not_for_packages(tmp_path: Path) -> None:
    with pytest.raises(InvalidProject, match="encrypted to the recipient's own key alone"):
        make_audited(tmp_path / "shop", encryption={"key": "tenant"})


def test_a_package_of_no_records_holds_together_too(tmp_path: Path) -> None:
    window = {"column": "at", "clock": "event", "late": "ignore", "every": "1 month", "start": "2023-12-01"}
    root = make_audited(tmp_path / "shop", tenants=None, window=window, encryption={"key": "recipient"})
    give_keys(root, "")
    key = pyrage.x25519.Identity.generate()
    (root / "tenants/default.yaml").write_text(json.dumps({"tenant": "default", "age": str(key.to_public())}))
    (root / "a.txt").write_text(f"{key}\n")
    project = Project.load(root)
    assert {r.status for r in project.run("ledger")} == {"succeeded"}
    places = sorted(path.parent for path in (root / "lake").rglob("_checkpoint.json"))
    counts = [json.loads((place / "_checkpoint.json").read_text())["records"]["count"] for place in places]
    assert counts[0] == 0
    assert sum(counts) == 40
    assert verify(str(root / "lake"), deep=True, tenant_keys=[str(root / "a.txt")]).ok
    if shutil.which("age") is not None:
        assert problems(root / "lake", root / "a.txt") == []


# --- as its auditor


@with_age
def test_an_auditor_opens_and_checks_packages_by_a_bare_python_and_the_tool_age(sent: Path) -> None:
    mine = folders(sent / "lake", "a")
    script, key = mine[0] / "verify.py", sent / "ops/signers"
    code, said = run_verifier(script, *mine, "--key", key, "--identity", sent / "a.txt")
    assert code == 0, said
    assert "checked: shop/test/ledger/a: packages 1 to 4, 20 records" in said
    assert "encrypted" not in said


def test_who_has_no_key_checks_all_but_the_records_and_is_told_so(sent: Path, package: Path) -> None:
    mine = folders(sent / "lake", "a")
    code, said = run_verifier(Path(verifier.__file__), *mine, "--key", sent / "ops/signers")
    assert (code, said.count(f"not checked: {HELD}")) == (0, 1)
    assert "packages 1 to 4, 20 records, those of 4 not read" in said
    assert "all that was read holds, signed by a trusted key" in said
    sealed(sent, package, gzip.compress(b""))
    assert problems(package, None) == [
        "records.jsonl.gz.age: is not the file that was sealed: its size or SHA-256 differs"
    ]


@with_age
def test_the_key_of_another_tenant_opens_nothing(sent: Path, package: Path) -> None:
    (problem,) = problems(package, sent / "b.txt")
    assert problem.startswith("records.jsonl.gz.age: cannot be opened: age: error: no identity matched")
    report = verify(str(package), deep=True, tenant_keys=[str(sent / "b.txt")])
    assert [p.problem.partition(":")[0] for p in report.problems] == [
        "is encrypted for tenant 'a', and its rows were not read"
    ]


def test_lading_reads_every_row_with_the_auditors_key(sent: Path) -> None:
    keys = [str(sent / f"{tenant}.txt") for tenant in "ab"]
    report = verify(str(sent / "lake"), deep=True, key=str(sent / "ops/signers"), tenant_keys=keys)
    assert report.record()["problems"] == []
    assert (report.signed, report.rows) == (True, 40)
    assert verify(str(sent / "lake"), key=str(sent / "ops/signers")).signed


def test_nobody_is_given_a_statement_that_would_read_encrypted_records(sent: Path) -> None:
    with pytest.raises(ValueError, match="the files are encrypted"):
        duckdb_query(str(sent / "lake"))


# --- tampering


def first_edited(lines: list[bytes]) -> list[bytes]:
    return [lines[0].replace(b'"id":', b'"ID":'), *lines[1:]]


def begun_anew(lines: list[bytes]) -> list[bytes]:
    """The whole chain with another seed and another first record."""
    made, head = list[bytes](), "0" * 64
    for number, line in enumerate(first_edited(lines), 1):
        record = line.partition(b'"record":')[2]
        made.append(b'{"n":%d,"previous":"%s","record":%s' % (number, head.encode(), record))
        head = hashlib.sha256(made[-1]).hexdigest()
    return made


LINES: dict[str, tuple[Callable[[list[bytes]], list[bytes]], str]] = {
    "the first is edited": (
        first_edited,
        "record 1 is not the one that record 2 follows: it was changed",
    ),
    "the first is removed": (lambda ls: ls[1:], "record 1 is missing"),
    "the tail is cut": (lambda ls: ls[:7], "ends after record 7: records 8 to 10 were cut off"),
    "all are removed": (lambda ls: [], "ends after record 0: records 1 to 10 were cut off"),
    "one is repeated": (lambda ls: [*ls[:5], ls[4], *ls[5:]], "record 5 stands there more than once"),
    "the chain is another": (
        begun_anew,
        "its last record, 10, is not the one that was sealed: it was changed",
    ),
}


@with_age
@pytest.mark.parametrize("what", LINES)
def test_what_is_done_to_encrypted_records_is_named(what: str, sent: Path, package: Path) -> None:
    change, said = LINES[what]
    lines = change(opened(sent, package).splitlines())
    sealed(sent, package, gzip.compress(b"".join(line + b"\n" for line in lines), mtime=0))
    found = problems(package, sent / "a.txt")
    if lines:
        assert f"records.jsonl.gz.age: {said}" in found
    assert "records.jsonl.gz.age: is not the file that was sealed: its size or SHA-256 differs" in found
    assert not verify(str(package), deep=True, tenant_keys=[str(sent / "a.txt")]).ok


@with_age
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda data: data[:-20], "cannot be opened"),
        (lambda data: data[:100], "cannot be opened"),
        (lambda data: data + b"more", "cannot be opened"),
        (lambda data: b"", "cannot be opened"),
        (lambda data: data[:-3] + bytes([data[-3] ^ 1]) + data[-2:], "cannot be opened"),
    ],
)
def test_a_stream_that_is_damaged_is_named(
    change: Callable[[bytes], bytes], said: str, sent: Path, package: Path
) -> None:
    file = package / verifier.ENCRYPTED
    file.write_bytes(change(file.read_bytes()))
    found = problems(package, sent / "a.txt")
    assert [problem for problem in found if problem.startswith(f"{file.name}: {said}")]
    assert [problem for problem in found if "is not the file that was sealed" in problem]


@with_age
def test_a_stream_of_anything_but_records_takes_neither_memory_nor_time(sent: Path, package: Path) -> None:
    size = verifier.LONGEST + (1 << 20)
    sealed(sent, package, gzip.compress(b"\0" * size, mtime=0) + os.urandom(4 << 20))
    script = Path(verifier.__file__)
    code, said = run_verifier(script, package, "--identity", sent / "a.txt", memory=1 << 30)
    assert code == 1
    assert "has a line of more than 67108864 bytes" in said
    sealed(sent, package, os.urandom(4 << 20))
    code, said = run_verifier(script, package, "--identity", sent / "a.txt")
    assert (code, "is damaged: it is no whole gzip stream" in said) == (1, True)


@pytest.mark.parametrize(
    ("field", "value"), [("seed", "0" * 64), ("name", "records.jsonl.gz"), ("name", "other.age")]
)
def test_a_checkpoint_that_tells_of_other_records_is_none(field: str, value: str, package: Path) -> None:
    made = checkpoint(package)
    made["records"][field] = value  # type: ignore[index]
    (package / "_checkpoint.json").write_text(json.dumps(made, sort_keys=True, separators=(",", ":")))
    assert [t for t in told(package) if "tells of other records than those of its run" in t]
    report = verify(str(package))
    assert "is damaged: not a checkpoint" in [problem.problem for problem in report.problems]


def test_records_in_the_clear_beside_encrypted_ones_were_added(sent: Path, package: Path) -> None:
    (package / verifier.RECORDS).write_bytes(gzip.compress(opened(sent, package), mtime=0))
    said = "records.jsonl.gz: was added: the manifest does not list it"
    assert said in problems(package, None)
    assert not verify(str(package)).ok


# --- the tool


@pytest.mark.parametrize(("path", "said"), [("", "the tool age is not on the PATH"), (None, "is no file of")])
def test_what_the_verifier_needs_to_open_records_is_told_before_it_looks(
    path: str | None, said: str, sent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = sent / "a.txt"
    if path is not None:
        monkeypatch.setenv("PATH", str(tmp_path))
    elif shutil.which("age") is None:
        pytest.skip("the tool age is not here")
    else:
        identity = tmp_path / "nowhere.txt"
    with pytest.raises(ValueError, match=said):
        verifier.Age(str(identity))
    if path is None:
        code, told = run_verifier(Path(verifier.__file__), sent / "lake", "--identity", identity)
        assert (code, said in told) == (2, True)


def test_no_tool_is_taken_from_where_a_package_may_have_put_it(
    sent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "age"
    fake.write_text("#!/bin/sh\necho taken\n")
    fake.chmod(0o755)
    assert subprocess.run([fake], capture_output=True, check=True).stdout == b"taken\n"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="not on the PATH"):
        verifier.Age(str(sent / "a.txt"))
