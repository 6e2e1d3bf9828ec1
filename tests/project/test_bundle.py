"""Bundles of a whole project: what a recipient who has nothing of ours gets, opens and checks."""

# S3
from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from delivered import bundled
from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import validate

from lading import Project, verify
from lading.errors import InvalidProject


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = bundled(tmp_path_factory.mktemp("bundled") / "shop")
    assert {result.status for result in Project.load(root).run("to_lake")} == {"succeeded"}
    return root


def bundles(root: Path) -> list[Path]:
    return sorted((root / "lake").rglob("*.zip"))


@pytest.fixture(scope="module")
def unpacked(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(bundles(root)[0]) as archive:
        archive.extractall(folder)
    return folder


def test_a_run_is_one_file_its_sum_and_a_marker(root: Path) -> None:
    for bundle in bundles(root):
        name = bundle.name
        found = {path.name for path in bundle.parent.rglob("*")}
        assert found == {name, f"{name}.sha256", "_SUCCESS"}
        marker = json.loads((bundle.parent / "_SUCCESS").read_text())
        assert marker["bundle"] == name
        assert marker["bundle_sha256"] == hashlib.sha256(bundle.read_bytes()).hexdigest()
    assert len(bundles(root)) == 4


def test_sha256sum_unzip_and_ssh_keygen_check_it(root: Path, tmp_path: Path) -> None:
    for tool in ("unzip", "sha256sum", "ssh-keygen"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    bundle = bundles(root)[0]

    def call(*command: str, cwd: Path = bundle.parent, stdin: bytes = b"") -> str:
        done = subprocess.run(command, cwd=cwd, input=stdin, capture_output=True, check=True)
        return done.stdout.decode()

    call("sha256sum", "--check", "--strict", f"{bundle.name}.sha256")
    call("unzip", "-t", bundle.name)
    call("unzip", "-q", bundle.name, "-d", str(tmp_path))
    told = call("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=tmp_path)
    there = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    checked = {line.rpartition(": ")[0] for line in told.splitlines()}
    assert there - checked == {"SHA256SUMS", "manifest.json", "manifest.json.sig"}
    readme = (tmp_path / "README.txt").read_text("ascii")
    command = next(line.strip() for line in readme.splitlines() if "ssh-keygen" in line)
    shutil.copy(root / "ops/signers", tmp_path / "signers")
    arguments = command.partition(" < ")[0].split()
    call(*arguments, cwd=tmp_path, stdin=(tmp_path / "manifest.json").read_bytes())


def test_the_rows_are_those_of_the_source(root: Path, tmp_path: Path) -> None:
    for index, bundle in enumerate(bundles(root)):
        with zipfile.ZipFile(bundle) as archive:
            archive.extractall(tmp_path / str(index))
    tables = [pq.ParquetFile(path).read() for path in tmp_path.rglob("*.parquet")]
    rows = pa.concat_tables(tables).sort_by("id")
    expected = pq.read_table(root / "raw/orders.parquet").sort_by("id")
    assert rows.select(expected.column_names).equals(expected)


def test_the_openapi_document_is_one_and_describes_the_samples(unpacked: Path) -> None:
    document = json.loads((unpacked / "openapi.json").read_text())
    validate(document)
    record = document["components"]["schemas"]["Record"]
    validator = Draft202012Validator(record, format_checker=FormatChecker())
    samples = json.loads((unpacked / "samples/orders.json").read_text())
    assert samples
    for sample in samples:
        validator.validate(sample)
    assert record["properties"]["region"] == {"type": ["string", "null"]}
    assert record["properties"]["amount"]["pattern"] == r"^-?[0-9]+\.[0-9]{2}$"


def test_the_journal_knows_the_manifest_of_a_bundle(root: Path, unpacked: Path) -> None:
    manifest = json.loads((unpacked / "manifest.json").read_text())
    assert Project.load(root).show(manifest["run_id"])["document"] == manifest


def test_a_second_call_delivers_nothing_again(root: Path) -> None:
    before = {bundle: bundle.stat().st_ino for bundle in bundles(root)}
    assert {result.status for result in Project.load(root).run("to_lake")} == {"skipped"}
    assert {bundle: bundle.stat().st_ino for bundle in bundles(root)} == before


# --- encrypted as a whole


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A project whose bundles are encrypted to their recipients, and the file of tenant a's private key."""
    pyrage: Any = pytest.importorskip("pyrage", reason="the extra age is not installed")
    root = bundled(tmp_path_factory.mktemp("sealed") / "shop", layout={}, encryption={"key": "recipient"})
    keys = {tenant: pyrage.x25519.Identity.generate() for tenant in "ab"}
    (root / "tenants").mkdir()
    for tenant, key in keys.items():
        (root / f"tenants/{tenant}.yaml").write_text(
            json.dumps({"tenant": tenant, "age": str(key.to_public())})
        )
    held = root.parent / "a.key"
    held.write_text(f"{keys['a']}\n")
    assert {result.status for result in Project.load(root).run("to_lake")} == {"succeeded"}
    return root, held


def sealed_bundle(root: Path, tenant: str = "a") -> Path:
    return min((root / f"lake/test/shop/orders/tenant={tenant}").rglob("*.zip.age"))


def test_the_age_tool_opens_an_encrypted_bundle(sealed: tuple[Path, Path], tmp_path: Path) -> None:
    if shutil.which("age") is None:
        pytest.skip("age is not installed")
    root, held = sealed
    bundle, clear = sealed_bundle(root), tmp_path / "clear.zip"
    command = ["age", "--decrypt", "--identity", str(held), "--output", str(clear), str(bundle)]
    subprocess.run(command, check=True)
    with zipfile.ZipFile(clear) as archive:
        assert archive.testzip() is None
        readme = archive.read("README.txt").decode()
        (name,) = [each for each in archive.namelist() if each.endswith(".parquet")]
        assert pq.read_table(pa.BufferReader(archive.read(name))).num_rows == 10
        manifest = json.loads(archive.read("manifest.json"))
    assert f"age --decrypt --identity KEY --output {bundle.stem} {bundle.name}" in readme
    assert f"\n  lading verify {bundle.name} --deep --tenant-key KEY --key signers\n" in readme
    assert manifest["encryption"] == {"type": "age-bundle"}
    assert [file["columns"] for file in manifest["files"]] == [{}]


def test_an_encrypted_bundle_is_proven_with_its_key_and_told_apart_without(
    sealed: tuple[Path, Path], tmp_path: Path
) -> None:
    root, held = sealed
    bundle, signers = sealed_bundle(root), str(root / "ops/signers")
    for where in (bundle, bundle.parent):
        report = verify(str(where), deep=True, key=signers, tenant_keys=[str(held)], tenants=["a"])
        assert report.record()["problems"] == []
        assert report.signed
        assert report.rows == 10
    without = verify(str(bundle.parent))
    assert without.ok
    assert without.notes == [f"{bundle.name}: is encrypted, and what is in it was not looked at"]
    assert without.unseen == 1
    for asked in ({"key": signers}, {"tenants": ["a"]}):
        (problem,) = verify(str(bundle), **asked).problems  # type: ignore[arg-type]
        assert "shows only with its key" in problem.problem
    (problem,) = verify(str(bundle), deep=True).problems
    assert "no private key of age is given" in problem.problem
    assert problem.problem.endswith("Give one by --tenant-key.")
    other = verify(str(sealed_bundle(root, "b")), deep=True, tenant_keys=[str(held)])
    assert "cannot be opened" in other.problems[0].problem
    assert "ask the sender for which public key" in other.problems[0].problem
    changed = tmp_path / bundle.name
    data = bytearray(bundle.read_bytes())
    data[-40] ^= 1
    changed.write_bytes(data)
    report = verify(str(changed), deep=True, tenant_keys=[str(held)])
    assert "cannot be opened" in report.problems[0].problem


def test_an_encrypted_place_is_proven_as_a_whole_by_its_sums(sealed: tuple[Path, Path]) -> None:
    root, _ = sealed
    report = verify(str(root / "lake"))
    assert report.record()["problems"] == []
    assert (report.deliveries, report.rows, len(report.notes)) == (4, 0, 4)
    for bundle in (root / "lake").rglob("*.zip.age"):
        assert {path.name for path in bundle.parent.iterdir()} == {
            bundle.name,
            f"{bundle.name}.sha256",
            "_SUCCESS",
        }


def test_a_tenant_without_a_key_is_refused_before_anything_is_sealed(tmp_path: Path) -> None:
    pytest.importorskip("pyrage", reason="the extra age is not installed")
    root = bundled(tmp_path / "shop", layout={}, encryption={"key": "recipient"})
    results = Project.load(root).run("to_lake")
    assert {(result.status, result.exit_code) for result in results} == {("failed", 3)}
    assert not bundles(root)


def test_files_under_the_tenants_key_stay_encrypted_in_a_bundle(tmp_path: Path) -> None:
    root = bundled(tmp_path / "shop", layout={}, encryption={"key": "tenant"})
    settings = root / "lading.yaml"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "keys": {"url": "file://./keys"}}))
    project = Project.load(root)
    assert {result.status for result in project.run("to_lake")} == {"succeeded"}
    bundle, held = bundles(root)[0], tmp_path / "a.key"
    project.copy_keys("a", held)
    assert verify(str(bundle), deep=True, tenant_keys=[str(held)]).record()["problems"] == []
    assert not verify(str(bundle), deep=True).ok


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"encryption": {"key": "recipient", "binding": "bound"}, "layout": {}}, "encrypted as a whole"),
        ({"mode": "full_refresh", "window": None, "layout": {"preset": "svc002"}}, "take lake or dated"),
    ],
)
def test_what_a_bundle_has_no_use_for_is_refused(tmp_path: Path, sections: dict[str, Any], told: str) -> None:
    root = bundled(tmp_path / "shop")
    export = root / "exports/to_lake.yaml"
    shape = {**json.loads(export.read_text()), **sections}
    export.write_text(json.dumps({key: value for key, value in shape.items() if value is not None}))
    with pytest.raises(InvalidProject, match=told):
        Project.load(root).job("to_lake")


@pytest.mark.parametrize("kind", ["csv", "jsonl", "arrow", "parquet"])
@pytest.mark.parametrize("preset", ["lake", "dated", "svc002"])
def test_every_format_and_layout_makes_bundles_that_are_proven(
    tmp_path: Path, kind: str, preset: str
) -> None:
    root = bundled(tmp_path / "shop", format={"type": kind}, layout={"preset": preset})
    assert {result.status for result in Project.load(root).run("to_lake")} == {"succeeded"}
    report = verify(str(root / "lake"), deep=True, key=str(root / "ops/signers"))
    assert (report.record()["problems"], report.rows, report.signed) == ([], 40, True)
    with zipfile.ZipFile(bundles(root)[0]) as archive:
        document = json.loads(archive.read("openapi.json"))
        validate(document)
        validator = Draft202012Validator(document["components"]["schemas"]["Record"])
        for sample in json.loads(archive.read("samples/orders.json")):
            validator.validate(sample)
