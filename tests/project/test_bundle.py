"""Bundles of a whole project: what a recipient who has nothing of ours gets, opens and checks."""

# S3
from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from delivered import bundled
from jsonschema import Draft202012Validator, FormatChecker
from openapi_spec_validator import validate

from lading import Project


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
