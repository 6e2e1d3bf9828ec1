"""Deliveries whose data keys AWS KMS wraps: rotated there, taken away there, and opened without Lading."""

# S10, D12
from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from encrypted import JANUARY, MARCH, encrypted, manifests, read
from key_servers import ROOT, asked, google_kms, key_vault, transit, vault
from kms import REGION, aws_kms, client, make_key

from lading import Project, verify
from lading.errors import InvalidProject, Refused


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with aws_kms() as address:
        yield address


@pytest.fixture(scope="module")
def kms(endpoint: str) -> Any:
    return client(endpoint)


def in_kms(root: Path, endpoint: str, **sections: Any) -> Path:
    encrypted(root, **sections)
    wrap = {
        "type": "aws",
        "key": f"alias/{root.parent.name}-{{tenant}}",
        "endpoint": endpoint,
        "allow_http": True,
    }
    settings = {**json.loads((root / "lading.yaml").read_text()), "keys": {"wrap": wrap}}
    (root / "lading.yaml").write_text(json.dumps(settings))
    return root


def alias(root: Path, tenant: str) -> str:
    return f"alias/{root.parent.name}-{tenant}"


@pytest.fixture
def root(tmp_path: Path, endpoint: str, kms: Any) -> Path:
    made = in_kms(tmp_path / "shop", endpoint)
    for tenant in "ab":
        make_key(kms, alias(made, tenant))
    return made


def ran(root: Path, **asked: Any) -> set[str]:
    return {result.status for result in Project.load(root).run("to_lake", **asked)}


def ids(kms: Any, root: Path, tenant: str, said: str = "") -> list[int]:
    """What a recipient reads who may decrypt with the tenant's key, and has neither Lading nor a file of keys."""
    found = []
    for manifest in manifests(root, tenant):
        for file in json.loads(manifest.read_text())["files"]:
            told = file["encryption"]
            key = kms.decrypt(
                KeyId=told["key_id"],
                CiphertextBlob=base64.b64decode(told["wrapped_key"]),
                EncryptionContext={"tenant": said or tenant, "purpose": "lading-data-key"},
            )["Plaintext"]
            table = read(manifest.parent / file["name"], key, told["aad_prefix"].encode())
            assert set(table["customer"].to_pylist()) == {tenant}
            found += table["id"].to_pylist()
    return sorted(found)


def service(root: Path, endpoint: str) -> str:
    """A file that names the service, as a recipient writes it."""
    (root / "kms.yaml").write_text(f"type: aws\nendpoint: {endpoint}\nallow_http: true\nregion: {REGION}\n")
    return str(root / "kms.yaml")


def test_who_may_decrypt_opens_every_file_with_public_tools(root: Path, kms: Any) -> None:
    assert ran(root) == {"succeeded"}
    assert not (root / "keys").exists()
    assert ids(kms, root, "a") == list(range(0, 40, 2))
    assert ids(kms, root, "b") == list(range(1, 40, 2))
    for manifest in manifests(root):
        document = json.loads(manifest.read_text())
        assert document["encryption"]["key_wrapping"] == "aws-kms"
        assert all(":key/" in file["encryption"]["key_id"] for file in document["files"])


def test_no_tenant_opens_anything_of_another(root: Path, kms: Any) -> None:
    ran(root)
    with pytest.raises(kms.exceptions.InvalidCiphertextException):
        ids(kms, root, "a", said="b")
    theirs = kms.describe_key(KeyId=alias(root, "b"))["KeyMetadata"]["Arn"]
    for manifest in manifests(root, "a"):
        for file in json.loads(manifest.read_text())["files"]:
            wrapped = base64.b64decode(file["encryption"]["wrapped_key"])
            for tenant in "ab":
                context = {"tenant": tenant, "purpose": "lading-data-key"}
                with pytest.raises(kms.exceptions.ClientError):
                    kms.decrypt(KeyId=theirs, CiphertextBlob=wrapped, EncryptionContext=context)


def test_verify_reads_the_rows_with_the_service_that_holds_the_keys(root: Path, endpoint: str) -> None:
    ran(root)
    report = verify(str(root / "lake"), deep=True, tenant_keys=[service(root, endpoint)])
    assert report.record()["problems"] == []
    assert (report.deliveries, report.rows) == (4, 40)
    report = verify(str(root / "lake"), deep=True)
    assert len(report.problems) == 4
    assert all("Its keys are in AWS KMS" in p.problem for p in report.problems)


def test_rotation_there_rewrites_nothing_and_old_deliveries_open(root: Path, kms: Any) -> None:
    (first,) = {r.interval for r in Project.load(root).run("to_lake", tenants=["a"], end=MARCH)[:1]}
    before = {path: path.read_bytes() for path in (root / "lake").rglob("*") if path.is_file()}
    old = kms.describe_key(KeyId=alias(root, "a"))["KeyMetadata"]
    kms.enable_key_rotation(KeyId=old["KeyId"])
    new = make_key(kms, alias(root, "a"))
    assert ran(root, tenants=["a"], start=first.start, end=first.end, revise=True, reason="anew") == {
        "succeeded"
    }
    assert {path: path.read_bytes() for path in before} == before
    used = {f["encryption"]["key_id"] for m in manifests(root) for f in json.loads(m.read_text())["files"]}
    assert used == {old["Arn"], new}
    assert sorted({*ids(kms, root, "a")}) == list(range(0, 40, 2))


@pytest.mark.parametrize("act", ["disable_key", "schedule_key_deletion"])
def test_a_key_that_was_taken_away_opens_nothing_and_refuses_new_runs(
    root: Path, kms: Any, endpoint: str, act: str
) -> None:
    ran(root)
    getattr(kms, act)(KeyId=kms.describe_key(KeyId=alias(root, "a"))["KeyMetadata"]["KeyId"])
    with pytest.raises(kms.exceptions.ClientError, match=r"disabled|deletion"):
        ids(kms, root, "a")
    assert len(ids(kms, root, "b")) == 20
    report = verify(str(root / "lake"), deep=True, tenant_keys=[service(root, endpoint)])
    assert {p.object.split("tenant=")[1][0] for p in report.problems} == {"a"}
    assert verify(str(root / "lake")).ok
    results = Project.load(root).run("to_lake", start=JANUARY, end=MARCH, revise=True, reason="again")
    assert {(r.status, r.exit_code) for r in results} == {("failed", 3)}
    assert all("AWS KMS refuses" in str(r.error) for r in results)


def test_a_service_that_does_not_answer_fails_the_run_and_the_next_one_succeeds(
    root: Path, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lading.keys.remote.FIRST", 0.0)
    settings = root / "lading.yaml"
    settings.write_text(settings.read_text().replace(endpoint, "http://127.0.0.1:9"))
    results = Project.load(root).run("to_lake")
    assert {(r.status, r.exit_code) for r in results} == {("failed", 4)}
    settings.write_text(settings.read_text().replace("http://127.0.0.1:9", endpoint))
    assert ran(root) == {"succeeded"}


def tenants(root: Path, **keys: str | None) -> None:
    (root / "tenants").mkdir(exist_ok=True)
    for tenant, key in keys.items():
        document = {"tenant": tenant} | ({"kms_key": key} if key else {})
        (root / f"tenants/{tenant}.yaml").write_text(json.dumps(document))


def test_a_customers_own_key_wraps_what_is_the_customers(root: Path, kms: Any) -> None:
    own = kms.create_key()["KeyMetadata"]["Arn"]
    tenants(root, a=own, b=None)
    assert ran(root) == {"succeeded"}
    used = {
        tenant: {
            f["encryption"]["key_id"]
            for m in manifests(root, tenant)
            for f in json.loads(m.read_text())["files"]
        }
        for tenant in "ab"
    }
    assert used["a"] == {own}
    assert used["b"] == {kms.describe_key(KeyId=alias(root, "b"))["KeyMetadata"]["Arn"]}


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"a": "alias/x", "b": "alias/x"}, r"tenants/b\.yaml:1: kms_key is another tenant's"),
        ({"a": "https://x.vault.azure.net/keys/a"}, r"tenants/a\.yaml:1: kms_key is no key of AWS KMS"),
    ],
)
def test_a_tenants_key_that_is_none_or_anothers_is_refused_with_its_file(
    root: Path, keys: dict[str, str], told: str
) -> None:
    tenants(root, **keys)
    with pytest.raises(InvalidProject, match=told):
        Project.load(root).run("to_lake")


def test_a_tenants_key_without_a_service_is_refused_whatever_is_exported(tmp_path: Path) -> None:
    root = encrypted(tmp_path / "shop")
    tenants(root, a="alias/x")
    with pytest.raises(InvalidProject, match=r"tenants/a\.yaml:1: .* has no keys\.wrap"):
        Project.load(root)


@pytest.mark.parametrize(
    ("wrap", "told"),
    [
        (None, r"keys\.wrap takes a type"),
        ({"type": "was"}, "aws"),
        ({"type": "aws", "kye": "alias/x-{tenant}"}, "key"),
        ({"type": "aws", "key": "alias/x"}, "must hold {tenant} once"),
    ],
)
def test_a_wrong_service_is_refused_before_anything_is_asked(tmp_path: Path, wrap: Any, told: str) -> None:
    root = in_kms(tmp_path / "shop", "http://127.0.0.1:9")
    settings = json.loads((root / "lading.yaml").read_text())
    settings["keys"]["wrap"] = wrap
    (root / "lading.yaml").write_text(json.dumps(settings))
    with pytest.raises(InvalidProject, match=told):
        Project.load(root).run("to_lake")


def test_masks_still_need_the_folder(tmp_path: Path) -> None:
    root = in_kms(tmp_path / "shop", "http://127.0.0.1:9", transforms=[{"mask": {"customer": "hmac_sha256"}}])
    with pytest.raises(InvalidProject, match="keys takes a url of a folder"):
        Project.load(root).run("to_lake")


@pytest.mark.parametrize("verb", ["copy", "rotate", "destroy"])
def test_what_the_service_does_itself_is_said_with_its_command(root: Path, verb: str) -> None:
    project = Project.load(root)
    calls = {
        "copy": lambda: project.copy_keys("a", root / "a.keys"),
        "rotate": lambda: project.rotate_key("a"),
        "destroy": lambda: project.destroy_keys("a"),
    }
    with pytest.raises(Refused, match=f"of AWS KMS: Lading cannot {verb} it") as caught:
        calls[verb]()
    assert "aws kms " in str(caught.value.hint)
    assert alias(root, "a") in str(caught.value)


# --- the other services


@contextmanager
def in_transit(folder: Path) -> Iterator[dict[str, Any]]:
    with transit() as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAULT_TOKEN", ROOT)
        for tenant in "ab":
            vault(address, "POST", f"transit/keys/lading-{tenant}", {})
        yield {"type": "vault", "url": address, "allow_http": True, "key": "lading-{tenant}"}


@contextmanager
def at_google(folder: Path) -> Iterator[dict[str, Any]]:
    pytest.importorskip("google.cloud.kms_v1", reason="the extra gcp is not installed")
    from google.cloud import kms_v1
    from google.cloud.kms_v1.services.key_management_service.transports import (
        KeyManagementServiceGrpcTransport,
    )
    from grpc import insecure_channel

    place = "projects/ours/locations/europe-west3"
    ring = f"{place}/keyRings/lading"
    with google_kms() as address, insecure_channel(address) as channel:
        google = kms_v1.KeyManagementServiceClient(
            transport=KeyManagementServiceGrpcTransport(channel=channel)
        )
        google.create_key_ring(parent=place, key_ring_id="lading", key_ring={})
        for tenant in "ab":
            google.create_crypto_key(
                parent=ring, crypto_key_id=tenant, crypto_key={"purpose": "ENCRYPT_DECRYPT"}
            )
        yield {"type": "gcp", "emulator": address, "key": f"{ring}/cryptoKeys/{{tenant}}"}


@contextmanager
def at_azure(folder: Path) -> Iterator[dict[str, Any]]:
    pytest.importorskip("azure.identity", reason="the extra azure is not installed")
    with key_vault(folder) as (address, authority):
        body = {"kty": "RSA", "key_size": 2048, "key_ops": ["wrapKey", "unwrapKey", "encrypt", "decrypt"]}
        for tenant in "ab":
            url, headers = (
                f"{address}/keys/lading-{tenant}/create?api-version=7.4",
                {"Authorization": "Bearer x"},
            )
            asked("POST", url, headers, body, authority=authority)
        yield {"type": "azure", "vault": address, "ca_file": str(authority), "key": "lading-{tenant}"}


@pytest.mark.parametrize(
    ("service", "wrapping"),
    [
        (in_transit, "vault-transit"),
        (at_google, "google-kms"),
        pytest.param(at_azure, "azure-key-vault", marks=pytest.mark.slow),
    ],
)
def test_every_service_wraps_what_verify_opens_by_it_and_by_nothing_else(
    tmp_path: Path, service: Any, wrapping: str
) -> None:
    root = encrypted(tmp_path / "shop")
    settings = root / "lading.yaml"
    with service(tmp_path) as wrap:
        settings.write_text(json.dumps({**json.loads(settings.read_text()), "keys": {"wrap": wrap}}))
        assert ran(root) == {"succeeded"}
        wrappings = {json.loads(m.read_text())["encryption"]["key_wrapping"] for m in manifests(root)}
        assert wrappings == {wrapping}
        (root / "service.yaml").write_text(json.dumps({name: wrap[name] for name in wrap if name != "key"}))
        report = verify(str(root / "lake"), deep=True, tenant_keys=[str(root / "service.yaml")])
        assert report.record()["problems"] == []
        assert report.rows == 40
        # A delivery whose manifest says another tenant's is none that opens.
        manifest = manifests(root, "a")[0]
        manifest.write_text(manifest.read_text().replace('"tenant":"a"', '"tenant":"b"'))
        report = verify(str(root / "lake"), deep=True, tenant_keys=[str(root / "service.yaml")])
        assert not report.ok
    (root / "service.yaml").write_text("type: was\n")
    with pytest.raises(InvalidProject, match="service that wraps keys"):
        verify(str(root / "lake"), deep=True, tenant_keys=[str(root / "service.yaml")])
