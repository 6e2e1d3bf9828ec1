"""Encrypted deliveries: who has the tenant's key opens them with public tools, and nobody else does."""

# S2, S10, D12
from __future__ import annotations

import base64
import csv
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap
from encrypted import FEBRUARY, JANUARY, MARCH, encrypted, manifests, read

from lading import Project, verify
from lading.errors import InvalidProject
from lading.recipient import duckdb_query, files


@pytest.fixture(scope="module")
def bound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = encrypted(tmp_path_factory.mktemp("bound") / "shop")
    assert {result.status for result in Project.load(root).run("to_lake")} == {"succeeded"}
    return root


@pytest.fixture(scope="module")
def portable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = encrypted(tmp_path_factory.mktemp("portable") / "shop", "portable")
    assert {result.status for result in Project.load(root).run("to_lake")} == {"succeeded"}
    return root


def tenant_key(root: Path, tenant: str) -> bytes:
    """As the recipient has it: from the file that was handed over."""
    file = root / f"{tenant}.keys"
    if not file.exists():
        Project.load(root).copy_keys(tenant, file)
    return base64.b64decode(json.loads(file.read_text())["keys"][-1]["key"])


def data_keys(manifest: Path, key: bytes) -> list[tuple[Path, bytes, bytes | None]]:
    """What a recipient does without Lading: file, key and authenticated data, by the manifest and AES key wrap."""
    found = []
    for file in json.loads(manifest.read_text())["files"]:
        told = file["encryption"]
        prefix = told["aad_prefix"].encode() if "aad_prefix" in told else None
        data_key = aes_key_unwrap(key, base64.b64decode(told["wrapped_key"]))
        found.append((manifest.parent / file["name"], data_key, prefix))
    return found


@pytest.mark.parametrize("binding", ["bound", "portable"])
def test_arrow_opens_every_file_with_the_tenants_key(binding: str, request: pytest.FixtureRequest) -> None:
    root: Path = request.getfixturevalue(binding)
    ids = []
    for tenant in "ab":
        for manifest in manifests(root, tenant):
            for path, key, prefix in data_keys(manifest, tenant_key(root, tenant)):
                assert (prefix is not None) == (binding == "bound")
                table = read(path, key, prefix)
                assert set(table["customer"].to_pylist()) == {tenant}
                ids += table["id"].to_pylist()
    assert sorted(ids) == list(range(40))


def test_every_file_has_a_key_of_its_own(bound: Path) -> None:
    keys = [
        key
        for tenant in "ab"
        for manifest in manifests(bound, tenant)
        for _, key, _ in data_keys(manifest, tenant_key(bound, tenant))
    ]
    assert len(set(keys)) == len(keys) == 4


def test_duckdb_opens_a_portable_file_and_no_bound_one(bound: Path, portable: Path) -> None:
    def count(root: Path) -> int:
        path, key, _ = data_keys(manifests(root, "a")[0], tenant_key(root, "a"))[0]
        with duckdb.connect() as connection:
            connection.execute(f"PRAGMA add_parquet_key('k', '{base64.b64encode(key).decode()}')")
            query = f"select count(*) from read_parquet('{path}', encryption_config={{footer_key: 'k'}})"
            row = connection.execute(query).fetchone()
            assert row is not None
            return int(row[0])

    assert count(portable) == 10
    with pytest.raises(duckdb.Error):
        count(bound)


def test_nothing_of_a_delivery_tells_a_value(bound: Path) -> None:
    for manifest in manifests(bound):
        document = json.loads(manifest.read_text())
        assert document["encryption"] == {
            "type": "parquet-aes-gcm-v1",
            "binding": "bound",
            "key_wrapping": "aes-kw",
        }
        assert all(file["columns"] == {} for file in document["files"])
        assert all(check["detail"] == "" for check in document["validation"]["checks"])
    for path in (bound / "lake").rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert b"north" not in data  # a region, on every third row
            assert b"PAR1" not in data


def test_a_bound_file_opens_nowhere_else(bound: Path, tmp_path: Path) -> None:
    first, second = manifests(bound, "a")
    (path, key, prefix), (_, _, other) = (data_keys(m, tenant_key(bound, "a"))[0] for m in (first, second))
    assert prefix is not None
    assert json.loads(prefix) == ["a", "orders", json.loads(first.read_text())["run_id"], path.name]
    for wrong in (other, None, prefix.replace(b'"a"', b'"b"'), prefix[:-1]):
        with pytest.raises(OSError, match=r"AAD|decryption"):
            read(path, key, wrong)


# S10: tenant A's key opens nothing of tenant B's
def test_no_key_of_one_tenant_opens_anything_of_another(bound: Path, portable: Path) -> None:
    random.seed(20261122)
    trials = 0
    for root in (bound, portable):
        keys = {tenant: tenant_key(root, tenant) for tenant in "ab"}
        ours = {
            tenant: [d for m in manifests(root, tenant) for d in data_keys(m, keys[tenant])]
            for tenant in "ab"
        }
        for _ in range(500):
            owner, thief = random.choice(["ab", "ba"])
            manifest = json.loads(random.choice(manifests(root, owner)).read_text())
            wrapped = base64.b64decode(random.choice(manifest["files"])["encryption"]["wrapped_key"])
            with pytest.raises(InvalidUnwrap):
                aes_key_unwrap(keys[thief], wrapped)
            path, _, prefix = random.choice(ours[owner])
            _, stolen, own_prefix = random.choice(ours[thief])
            for key in (stolen, keys[thief]):
                with pytest.raises(OSError, match=r"AAD|ecrypt"):
                    read(path, key, random.choice([prefix, own_prefix]))
            trials += 1
    assert trials == 1000


def test_verify_reads_the_rows_of_encrypted_files_with_the_tenants_keys(bound: Path) -> None:
    place = str(bound / "lake")
    assert verify(place).ok
    for tenant in "ab":
        tenant_key(bound, tenant)
    report = verify(place, deep=True, tenant_keys=[str(bound / "a.keys"), str(bound / "b.keys")])
    assert report.record()["problems"] == []
    assert report.rows == 40
    report = verify(place, deep=True, tenant_keys=[str(bound / "a.keys")])
    assert len(report.problems) == 2
    assert all("tenant=b" in p.object and "is not here" in p.problem for p in report.problems)


def test_files_lists_encrypted_ones_and_gives_no_statement_that_cannot_work(bound: Path) -> None:
    assert len(files(str(bound / "lake"))) == 4
    with pytest.raises(ValueError, match="encrypted"):
        duckdb_query(str(bound / "lake"))


def test_after_a_rotation_old_deliveries_open_and_new_ones_need_the_new_key(tmp_path: Path) -> None:
    root = encrypted(tmp_path / "shop")
    project = Project.load(root)
    before = project.run("to_lake", tenants=["a"])
    old = tenant_key(root, "a")
    bytes_before = {m: m.read_bytes() for m in manifests(root)}
    project.rotate_key("a")
    project.run("to_lake", tenants=["a"], start=before[0].interval.start, end=before[0].interval.end,
                revise=True, reason="anew")  # fmt: skip
    assert {m: m.read_bytes() for m in bytes_before} == bytes_before
    (new,) = set(manifests(root)) - set(bytes_before)
    with pytest.raises(InvalidUnwrap):
        data_keys(new, old)
    project.copy_keys("a", root / "both.keys")
    report = verify(str(root / "lake"), deep=True, tenant_keys=[str(root / "both.keys")])
    assert report.ok
    assert report.deliveries == 3


def test_after_a_tenants_keys_are_destroyed_nobody_opens_its_deliveries(tmp_path: Path) -> None:
    root = encrypted(tmp_path / "shop")
    project = Project.load(root)
    project.run("to_lake")
    project.copy_keys("b", root / "b.keys")
    assert project.destroy_keys("a") == 1
    left = [path for path in (root / "keys/wrapping").iterdir() if path.stat().st_size]
    assert [json.loads(path.read_text())["tenant"] for path in left] == ["b"]
    results = Project.load(root).run("to_lake", revise=True, reason="again", start=JANUARY, end=MARCH)
    assert {r.status for r in results} == {"failed"}
    assert all("were destroyed" in str(r.error) for r in results)
    report = verify(str(root / "lake"), deep=True, tenant_keys=[str(root / "b.keys")])
    assert {p.object.split("tenant=")[1][0] for p in report.problems} == {"a"}


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        ({"format": {"type": "csv"}}, "csv files are encrypted to the recipient's own key alone"),
        ({"layout": {"preset": "lake", "partition_by": ["region"]}}, "folders of the values of region"),
        ({"encryption": {}}, "encryption.key is missing"),
        ({"encryption": {"key": "tenant", "binding": "lose"}}, "binding"),
    ],
)
def test_what_would_not_hide_values_is_refused(tmp_path: Path, sections: dict[str, Any], told: str) -> None:
    root = encrypted(tmp_path / "shop", **sections)
    with pytest.raises(InvalidProject) as caught:
        Project.load(root).run("to_lake")
    assert told in str(caught.value)


def test_encryption_needs_a_keyring(tmp_path: Path) -> None:
    root = encrypted(tmp_path / "shop")
    settings = json.loads((root / "lading.yaml").read_text())
    del settings["keys"]
    (root / "lading.yaml").write_text(json.dumps(settings))
    with pytest.raises(InvalidProject, match="encryption needs a keyring"):
        Project.load(root).run("to_lake")


def test_shards_tell_no_value_and_may_be_encrypted(tmp_path: Path) -> None:
    layout = {"preset": "lake", "partition_by": [{"column": "id", "shards": 2}]}
    root = encrypted(tmp_path / "shop", layout=layout)
    assert {r.status for r in Project.load(root).run("to_lake")} == {"succeeded"}
    for tenant in "ab":
        Project.load(root).copy_keys(tenant, root / f"{tenant}.keys")
    keys = [str(root / f"{tenant}.keys") for tenant in "ab"]
    assert verify(str(root / "lake"), deep=True, tenant_keys=keys).ok


# --- to the recipient's own key


def to_recipients(root: Path, format: dict[str, Any], *, held: str = "ab", **sections: Any) -> dict[str, Any]:
    """A project whose tenants have keys of their own; returns those, by tenant."""
    pyrage = pytest.importorskip("pyrage", reason="the extra age is not installed")
    encrypted(root, format=format, encryption={"key": "recipient"}, **sections)
    (root / "tenants").mkdir()
    keys = {tenant: pyrage.x25519.Identity.generate() for tenant in "ab"}
    for tenant, key in keys.items():
        document = {"tenant": tenant} | ({"age": str(key.to_public())} if tenant in held else {})
        (root / f"tenants/{tenant}.yaml").write_text(json.dumps(document))
        (root / f"{tenant}.txt").write_text(f"# public key: {key.to_public()}\n{key}\n")
    return keys


@pytest.mark.parametrize(
    "format",
    [
        {"type": "csv"},
        {"type": "csv", "compression": "gzip"},
        {"type": "jsonl", "compression": "zstd"},
        {"type": "arrow"},
        {"type": "parquet"},
    ],
)
def test_files_for_a_recipients_own_key_are_opened_by_it_alone(
    tmp_path: Path, format: dict[str, Any]
) -> None:
    root = tmp_path / "shop"
    to_recipients(root, format)
    assert {r.status for r in Project.load(root).run("to_lake")} == {"succeeded"}
    assert not (root / "keys").exists()
    place, keys = str(root / "lake"), [str(root / f"{tenant}.txt") for tenant in "ab"]
    report = verify(place, deep=True, tenant_keys=keys)
    assert report.record()["problems"] == []
    assert (report.deliveries, report.rows) == (4, 40)
    report = verify(place, deep=True, tenant_keys=keys[1:])
    assert {p.object.split("tenant=")[1][0] for p in report.problems} == {"a"}
    report = verify(place, deep=True)
    assert len(report.problems) == 4
    for path in (root / "lake").rglob("*"):
        assert not path.is_file() or b"north" not in path.read_bytes()
    suffix = "parquet" if format["type"] == "parquet" else "age"
    assert {name.rpartition(".")[2] for name in files(place)} == {suffix}


def test_the_standard_tool_opens_a_csv_file(tmp_path: Path) -> None:
    if shutil.which("age") is None:
        pytest.skip("the tool age is not here")
    root = tmp_path / "shop"
    to_recipients(root, {"type": "csv"})
    Project.load(root).run("to_lake")
    rows = []
    for manifest in manifests(root, "a"):
        (file,) = json.loads(manifest.read_text())["files"]
        command = ["age", "-d", "-i", root / "a.txt", manifest.parent / file["name"]]
        opened = subprocess.run(command, capture_output=True, check=True)
        rows += list(csv.DictReader(opened.stdout.decode().splitlines()))
        assert subprocess.run([*command[:3], root / "b.txt", command[4]], capture_output=True).returncode != 0
    assert sorted(int(row["id"]) for row in rows) == list(range(0, 40, 2))


def test_a_data_key_is_opened_by_the_standard_tool_and_the_file_by_arrow(tmp_path: Path) -> None:
    if shutil.which("age") is None:
        pytest.skip("the tool age is not here")
    root = tmp_path / "shop"
    to_recipients(root, {"type": "parquet"})
    Project.load(root).run("to_lake")
    manifest = manifests(root, "a")[0]
    (file,) = json.loads(manifest.read_text())["files"]
    wrapped = base64.b64decode(file["encryption"]["wrapped_key"])
    command = ["age", "-d", "-i", root / "a.txt"]
    key = subprocess.run(command, input=wrapped, capture_output=True, check=True).stdout
    table = read(manifest.parent / file["name"], key, file["encryption"]["aad_prefix"].encode())
    assert set(table["customer"].to_pylist()) == {"a"}


def test_a_tenant_without_a_key_of_its_own_gets_nothing_and_neither_do_the_others(tmp_path: Path) -> None:
    root = tmp_path / "shop"
    to_recipients(root, {"type": "csv"}, held="a")
    results = Project.load(root).run("to_lake")
    assert {(r.status, r.exit_code) for r in results} == {("failed", 3)}
    assert all("'b' has no public key" in str(r.error) for r in results)
    assert not list((root / "lake").rglob("*_manifest.json"))
    assert Project.load(root).runs() == []  # nothing was claimed


def test_a_tenant_without_a_key_and_without_rows_keeps_no_other_from_what_is_incremental(
    tmp_path: Path,
) -> None:
    root = tmp_path / "shop"
    window = {"column": "at", "clock": "event", "late": "ignore", "start": "2024-01-01"}
    sections = {
        "mode": "incremental",
        "merge_key": ["id"],
        "window": window,
        "tenants": {"column": "customer"},
    }
    to_recipients(root, {"type": "csv"}, **sections)
    (root / "tenants/c.yaml").write_text('{"tenant": "c"}')
    results = Project.load(root).run("to_lake")
    assert {(r.tenant, r.status) for r in results} == {
        ("a", "succeeded"),
        ("b", "succeeded"),
        ("c", "skipped"),
    }


def test_all_tenants_without_a_key_are_named_at_once(tmp_path: Path) -> None:
    root = tmp_path / "shop"
    to_recipients(root, {"type": "csv"}, held="")
    warned = [each for each in Project.load(root).validate() if "a public key (age)" in each]
    assert [each.partition(": ")[2] for each in warned] == [
        "what has rows for a tenant without a public key (age) in its file of tenants/ is not delivered: a, b"
    ]
    results = Project.load(root).run("to_lake")
    assert all("Tenants 'a', 'b' have no public keys" in str(r.error) for r in results)


def test_tenants_without_a_key_whom_the_data_names_are_named_at_once(tmp_path: Path) -> None:
    root = tmp_path / "shop"
    to_recipients(root, {"type": "csv"}, tenants={"column": "customer", "discover": True})
    shutil.rmtree(root / "tenants")
    results = Project.load(root).run("to_lake")
    assert {(r.tenant, r.exit_code) for r in results} == {("*", 3)}
    assert all("Tenants 'a', 'b' have no public keys" in str(r.error) for r in results)


def test_no_encrypted_file_passes_its_greatest_size(tmp_path: Path) -> None:
    root = tmp_path / "shop"
    key = to_recipients(root, {"type": "csv", "max_file_size": "10kB"})["a"]
    export = root / "exports/to_lake.yaml"
    whole = {"tenants": None, "window": None, "mode": "full_refresh"}
    shape = {**json.loads(export.read_text()), **whole}
    export.write_text(json.dumps({name: value for name, value in shape.items() if value is not None}))
    document = {"tenant": "default", "age": str(key.to_public())}
    (root / "tenants/default.yaml").write_text(json.dumps(document))
    table = pa.concat_tables([pq.read_table(root / "raw/orders.parquet")] * 40)
    ids = pa.array(range(table.num_rows), pa.int64())
    pq.write_table(table.set_column(0, table.schema.field(0), ids), root / "raw/orders.parquet")
    assert {r.status for r in Project.load(root).run("to_lake")} == {"succeeded"}
    sizes = [path.stat().st_size for path in (root / "lake").rglob("*.age")]
    assert len(sizes) > 3
    assert max(sizes) <= 10_000
    assert verify(str(root / "lake"), deep=True, tenant_keys=[str(root / "a.txt")]).rows == 1_600


@pytest.mark.parametrize("age", ["age1", "AGE-SECRET-KEY-1X", "age1" + "q" * 58])
def test_what_is_no_public_key_is_refused_with_its_file(tmp_path: Path, age: str) -> None:
    root = tmp_path / "shop"
    to_recipients(root, {"type": "csv"})
    (root / "tenants/a.yaml").write_text(json.dumps({"tenant": "a", "age": age}))
    with pytest.raises(InvalidProject, match=r"tenants/a\.yaml") as refused:
        Project.load(root).run("to_lake")
    assert "pattern" not in str(refused.value)


def test_a_private_key_in_a_tenant_s_file_is_called_one_and_not_repeated(tmp_path: Path) -> None:
    root = tmp_path / "shop"
    to_recipients(root, {"type": "csv"})
    secret = "AGE-SECRET-KEY-1" + "Q" * 58
    (root / "tenants/a.yaml").write_text(json.dumps({"tenant": "a", "age": secret}))
    with pytest.raises(
        InvalidProject, match="age: is a private key, which belongs to the recipient"
    ) as refused:
        Project.load(root)
    assert secret not in str(refused.value)


# --- after a crash

CRASH = """
import os, sys, lading, lading.run.sealing as sealing
def dies(self, served): os._exit(9)
sealing.Sealing.record = dies
lading.Project.load(sys.argv[1]).run("to_lake")
"""


def crashed(root: Path, key: str) -> Any:
    """A project without tenants whose first attempt died when all files were written; returns its recipient's key."""
    ours = to_recipients(root, {"type": "parquet"})["a"]
    export = root / "exports/to_lake.yaml"
    whole = {"tenants": None, "source": {"connection": "incoming", "files": "orders*.parquet"}}
    shape = {**json.loads(export.read_text()), **whole, "encryption": {"key": key}}
    export.write_text(json.dumps({name: value for name, value in shape.items() if value is not None}))
    receives(root, ours)
    table = pq.read_table(root / "raw/orders.parquet")
    for number in range(2):
        pq.write_table(table.slice(20 * number, 20), root / f"raw/orders_{number}.parquet")
    (root / "raw/orders.parquet").unlink()
    assert subprocess.run([sys.executable, "-c", CRASH, root]).returncode == 9
    assert list((root / "lake").rglob("*.parquet"))
    return ours


def receives(root: Path, key: Any) -> None:
    document = {"tenant": "default"} | ({"age": str(key.to_public())} if key else {})
    (root / "tenants/default.yaml").write_text(json.dumps(document))


def test_parts_of_an_attempt_that_died_are_used_again_under_the_same_key(tmp_path: Path) -> None:
    root = tmp_path / "shop"
    crashed(root, "recipient")
    (result,) = Project.load(root).run("to_lake", end=FEBRUARY)
    assert result.status == "succeeded"
    assert verify(str(root / "lake"), deep=True, tenant_keys=[str(root / "a.txt")]).ok


def test_parts_for_a_key_that_was_replaced_are_not_used_again(tmp_path: Path) -> None:
    pyrage = pytest.importorskip("pyrage", reason="the extra age is not installed")
    root = tmp_path / "shop"
    crashed(root, "recipient")
    new = pyrage.x25519.Identity.generate()
    receives(root, new)
    (root / "new.txt").write_text(f"{new}\n")
    assert {r.status for r in Project.load(root).run("to_lake")} == {"succeeded"}
    assert verify(str(root / "lake"), deep=True, tenant_keys=[str(root / "new.txt")]).ok


def test_nothing_goes_out_under_a_key_that_was_taken_away_meanwhile(tmp_path: Path) -> None:
    root = tmp_path / "shop"
    crashed(root, "recipient")
    receives(root, None)
    results = Project.load(root).run("to_lake")
    assert {r.status for r in results} == {"failed"}
    assert all("has no public key" in str(r.error) for r in results)


def test_nothing_goes_out_under_a_key_that_was_destroyed_meanwhile(tmp_path: Path) -> None:
    root = tmp_path / "shop"
    crashed(root, "tenant")
    Project.load(root).destroy_keys("default")
    results = Project.load(root).run("to_lake")
    assert {r.status for r in results} == {"failed"}
    assert all("were destroyed" in str(r.error) for r in results)


def test_the_journal_of_an_encrypted_export_tells_no_value_either(tmp_path: Path) -> None:
    root = tmp_path / "shop"
    crashed(root, "tenant")
    parts = [path for path in (root / "journal").rglob("*") if path.is_file() and "/parts/" in str(path)]
    assert parts
    for path in parts:
        assert all(file["columns"] == {} for file in json.loads(path.read_text())["files"])


# --- what is not there must not pass for what is


@pytest.mark.parametrize("name", ["keys", "signing"])
def test_an_empty_section_of_the_settings_is_refused(tmp_path: Path, name: str) -> None:
    root = encrypted(tmp_path / "shop")
    settings = root / "lading.yaml"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), name: None}))
    with pytest.raises(InvalidProject, match=f"{name} is empty"):
        Project.load(root)


def test_an_empty_encryption_is_refused_and_nothing_goes_out_in_the_clear(tmp_path: Path) -> None:
    root = encrypted(tmp_path / "shop", encryption=None)
    with pytest.raises(InvalidProject, match="encryption is empty"):
        Project.load(root).run("to_lake")
    assert not (root / "lake").exists() or not list((root / "lake").rglob("*.parquet"))
