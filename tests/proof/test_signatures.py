"""A signed delivery: who rewrites everything alike is caught, and whose signatures count is the recipient's to say."""

# D11, X13
from __future__ import annotations

import hashlib
import json
import posixpath
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from delivered import Objects, deliver, make_project, objects_in, store_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lading import Project, verify
from lading.errors import IntegrityError, InvalidProject
from lading.evidence.signers import AllowedSigner, read_signers
from lading.evidence.sshsig import MANIFESTS, PublicKey, armored, message
from lading.export.interval import parse_instant
from lading.manifest import canonical, marker
from lading.proof import Report, current
from lading.proof import verify as prove

shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_project(tmp_path_factory.mktemp("signed") / "shop")
    file = root / "lading.yaml"
    file.write_text(json.dumps({**json.loads(file.read_text()), "signing": {"url": "file://./keys/signing"}}))
    Project.load(root).new_signing_key()
    deliver(root)
    return root


@pytest.fixture(scope="module")
def signed(project: Path) -> Objects:
    return objects_in(project / "lake")


@pytest.fixture(scope="module")
def trusted(project: Path) -> tuple[AllowedSigner, ...]:
    return read_signers((project / "ops/signers").read_text(), "ops/signers")


def manifests(objects: Objects) -> list[str]:
    return sorted(name.removesuffix(".sig") for name in objects if name.endswith(".sig"))


def proof(objects: Objects, signers: tuple[AllowedSigner, ...] | None, **changes: bytes | None) -> Report:
    left = {name: data for name, data in {**objects, **changes}.items() if data is not None}
    return prove(store_of(left), signers=signers)


def told(report: Report) -> set[tuple[str, str]]:
    return {(p.object, p.problem) for p in report.problems}


def rewritten(objects: Objects, name: str, **fields: object) -> dict[str, bytes]:
    """The manifest with other fields, and a marker that fits it: what whoever may write to the store can do."""
    manifest = {**json.loads(objects[name]), **fields}
    data = canonical(manifest)
    folder, base = posixpath.split(name)
    success = next(n for n in objects if n in (f"{folder}/_SUCCESS", f"{folder}/SUCCESS"))
    rows = manifest["rows"]["written"]
    return {name: data, success: canonical(marker(base, data, rows, manifest["export_timestamp"]))}


def test_signed_deliveries_are_proven_in_every_layout(
    signed: Objects, trusted: tuple[AllowedSigner, ...]
) -> None:
    report = proof(signed, trusted)
    assert report.ok
    assert report.signed
    assert report.notes == []
    assert report.signatures == {trusted[0].key.fingerprint: report.deliveries}
    assert len(manifests(signed)) == report.deliveries > 8


def test_without_trusted_keys_signatures_are_checked_and_nothing_is_called_signed(signed: Objects) -> None:
    report = proof(signed, None)
    assert report.ok
    assert not report.signed
    assert sum(report.signatures.values()) == report.deliveries


def test_a_rewrite_of_everything_alike_is_caught(signed: Objects, trusted: tuple[AllowedSigner, ...]) -> None:
    for name in manifests(signed):
        changes = rewritten(signed, name, reason="nothing happened here")
        for signers in (trusted, None):
            report = proof(signed, signers, **changes)
            assert (f"{name}.sig", _no_signature(trusted, name)) in told(report)
            assert not report.signed


def test_a_row_that_is_replaced_with_sums_manifest_and_marker_is_caught(
    signed: Objects, trusted: tuple[AllowedSigner, ...]
) -> None:
    name = next(n for n in manifests(signed) if json.loads(signed[n])["format"]["type"] == "csv")
    manifest, folder = json.loads(signed[name]), posixpath.dirname(name)
    data = b"forged"
    sums = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    files = [{**entry, **sums, "checksum": f"sha256:{sums['sha256']}"} for entry in manifest["files"]]
    changes = {f"{folder}/{entry['name']}": data for entry in files}
    report = proof(signed, trusted, **changes, **rewritten(signed, name, files=files))
    assert (f"{name}.sig", _no_signature(trusted, name)) in told(report)
    assert not report.signed


def _no_signature(trusted: tuple[AllowedSigner, ...], name: str) -> str:
    base = posixpath.basename(name)
    return f"is no signature by {trusted[0].key.fingerprint} over these bytes: it or {base} was changed"


@pytest.mark.parametrize("how", ["deleted", "deleted and denied"])
def test_a_signature_that_is_taken_away_is_missed(
    signed: Objects, trusted: tuple[AllowedSigner, ...], how: str
) -> None:
    name = manifests(signed)[0]
    changes: dict[str, bytes | None] = {f"{name}.sig": None}
    if how == "deleted":
        wanted = (f"{name}.sig", f"is missing: {posixpath.basename(name)} says that it is signed")
    else:
        changes |= rewritten(signed, name, signature={"type": "none"})
        wanted = (name, "is not signed")
    report = proof(signed, trusted, **changes)
    assert told(report) == {wanted}
    assert not report.signed


def test_a_forger_with_a_key_of_his_own_is_not_trusted(
    signed: Objects, trusted: tuple[AllowedSigner, ...]
) -> None:
    forger = Ed25519PrivateKey.generate()
    key = PublicKey(forger.public_key().public_bytes_raw())
    name = manifests(signed)[0]
    signature = {"type": "sshsig", "namespace": MANIFESTS, "key": key.fingerprint}
    changes = rewritten(signed, name, reason="forged", signature=signature)
    changes[f"{name}.sig"] = armored(key, MANIFESTS, forger.sign(message(MANIFESTS, changes[name])))
    report = proof(signed, trusted, **changes)
    assert told(report) == {(f"{name}.sig", f"is by {key.fingerprint}, which is none of the trusted keys")}
    assert not report.signed
    # Over the manifest as it was, it is another than the one that the manifest names.
    changes = {f"{name}.sig": armored(key, MANIFESTS, forger.sign(message(MANIFESTS, signed[name])))}
    report = proof(signed, (*trusted, AllowedSigner(key)), **changes)
    assert {where for where, _ in told(report)} == {f"{name}.sig"}


def test_readers_who_name_keys_are_given_signed_deliveries_alone(
    signed: Objects, trusted: tuple[AllowedSigner, ...]
) -> None:
    whole = current(store_of(signed), signers=trusted)
    assert {d.folder for d in whole} == {d.folder for d in current(store_of(signed))}
    name = manifests(signed)[0]
    forger = Ed25519PrivateKey.generate()
    public = PublicKey(forger.public_key().public_bytes_raw())
    # A forged delivery could say that it supersedes all others, so it is no better than a damaged one.
    for changes in (
        {f"{name}.sig": None},
        rewritten(signed, name, supersedes=["0" * 32]),
        rewritten(signed, name, signature={"type": "none"}) | {f"{name}.sig": None},
        {f"{name}.sig": armored(public, MANIFESTS, forger.sign(message(MANIFESTS, signed[name])))},
    ):
        left = {n: data for n, data in {**signed, **changes}.items() if data is not None}
        with pytest.raises(IntegrityError):
            current(store_of(left), signers=trusted)
    with pytest.raises(IntegrityError, match="which is none of the trusted keys"):
        current(store_of(signed), signers=[AllowedSigner(public)])


def test_a_signature_of_another_delivery_does_not_fit(
    signed: Objects, trusted: tuple[AllowedSigner, ...]
) -> None:
    first, second = manifests(signed)[:2]
    changes = {f"{first}.sig": signed[f"{second}.sig"], f"{second}.sig": signed[f"{first}.sig"]}
    assert {where for where, _ in told(proof(signed, trusted, **changes))} == set(changes)


@shared
@given(data=st.data())
def test_any_changed_byte_of_a_signature_is_caught(signed: Objects, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(manifests(signed))) + ".sig"
    at = data.draw(st.integers(0, len(signed[name]) - 1))
    changed = bytearray(signed[name])
    changed[at] ^= data.draw(st.integers(1, 255))
    report = proof(signed, None, **{name: bytes(changed)})
    assert [p.object for p in report.problems] == [name]


def test_a_key_that_had_ended_when_the_manifest_was_made_is_not_trusted(
    signed: Objects, trusted: tuple[AllowedSigner, ...]
) -> None:
    made = min(parse_instant(json.loads(signed[name])["export_timestamp"]) for name in manifests(signed))
    assert proof(signed, (_until(trusted, made + timedelta(days=1)),)).signed
    report = proof(signed, (_until(trusted, made),))
    assert not report.signed
    assert len(report.problems) == report.deliveries
    assert all("may not have signed at" in p.problem for p in report.problems)


def _until(trusted: tuple[AllowedSigner, ...], at: datetime) -> AllowedSigner:
    return replace(trusted[0], until=at)


def test_after_a_rotation_old_and_new_deliveries_are_proven_by_one_list(tmp_path: Path) -> None:
    root = make_project(tmp_path / "shop")
    file = root / "lading.yaml"
    file.write_text(json.dumps({**json.loads(file.read_text()), "signing": {"url": "file://./keys/signing"}}))
    Project.load(root).new_signing_key()
    Project.load(root).run("to_lake", end=datetime.fromisoformat("2024-02-01T00:00:00Z"))
    Project.load(root).new_signing_key()
    Project.load(root).run("to_lake")
    report = verify(str(root / "lake"), key=str(root / "ops/signers"))
    assert report.ok
    assert report.signed
    assert sorted(report.signatures.values()) == [2, 2]
    new = (root / "ops/signers").read_text().splitlines()[1].split()
    report = verify(str(root / "lake"), key=f"{new[2]} {new[3]}")
    assert not report.signed
    assert len(report.problems) == 2


@pytest.mark.parametrize("key", ["no/such/file", "ssh-ed25519 AAAA"])
def test_a_key_that_is_none_is_refused(project: Path, key: str) -> None:
    with pytest.raises(InvalidProject, match="key"):
        verify(str(project / "lake"), key=key)


def test_a_key_of_another_project_does_not_vouch_for_this_one(
    signed: Objects, trusted: tuple[AllowedSigner, ...]
) -> None:
    report = proof(signed, (replace(trusted[0], principals="other"),))
    assert not report.signed
    assert len(report.problems) == report.deliveries
    assert all("may not sign for the project shop" in p.problem for p in report.problems)


def test_another_tenants_delivery_in_ones_own_place_is_noticed(
    signed: Objects, trusted: tuple[AllowedSigner, ...]
) -> None:
    """A recipient sees its own folder alone, in which no name tells whose a delivery is."""
    own = {tenant: f"test/shop/orders/tenant={tenant}/" for tenant in "ab"}
    seen = {name.removeprefix(own["a"]): data for name, data in signed.items() if name.startswith(own["a"])}
    assert proof(seen, trusted).signed
    strange = next(n for n in manifests(signed) if n.startswith(own["b"]))
    folder = posixpath.dirname(strange) + "/"
    more = {n.removeprefix(own["b"]): data for n, data in signed.items() if n.startswith(folder)}
    report = proof(seen, trusted, **more)
    assert not report.signed
    assert any("in a place of" in p.problem for p in report.problems)


def test_who_says_whose_deliveries_belong_here_is_told_of_any_other(signed: Objects) -> None:
    own = "test/shop/orders/tenant=b/"
    seen = {name.removeprefix(own): data for name, data in signed.items() if name.startswith(own)}
    assert prove(store_of(seen), tenants=["b"]).ok
    assert prove(store_of(signed), tenants=["a", "b"]).ok
    report = prove(store_of(seen), tenants=["a"])
    assert len(report.problems) == report.deliveries
    assert all("is for tenant 'b' of shop in test" in p.problem for p in report.problems)


def test_a_pointer_to_another_tenants_delivery_is_noticed(
    signed: Objects, trusted: tuple[AllowedSigner, ...]
) -> None:
    ours, theirs = sorted(name for name in signed if name.endswith("latest.json"))
    pointer = json.loads(signed[theirs])
    target = posixpath.normpath(posixpath.join(posixpath.dirname(theirs), pointer["manifest"]))
    pointer["manifest"] = posixpath.relpath(f"/{target}", f"/{posixpath.dirname(ours)}")
    report = proof(signed, trusted, **{ours: canonical(pointer)})
    assert any(p.object == ours and "whose pointer is" in p.problem for p in report.problems)
    assert not report.signed
