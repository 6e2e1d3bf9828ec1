"""`lading verify`: every object against what the manifests say of it."""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from typing import Any

from lading.errors import IntegrityError, ObjectNotFound, Refused, counted
from lading.evidence.signers import AllowedSigner
from lading.evidence.verifier import Findings, Package, check_chains
from lading.manifest import BUNDLED, bundle_marker, canonical, marker
from lading.ports import Download, Store
from lading.proof.archives import Archive
from lading.proof.checkpoint import check_checkpoint
from lading.proof.found import POINTER, Delivery, Manifest, get, is_failure, parsed, survey
from lading.proof.places import astray, misnamed, mixed, moved, pointer_of
from lading.proof.pointer import check_pointer
from lading.proof.signatures import signature_of

BLOCK = 1 << 20
WORKERS = 2

Deep = Callable[[Store, str, Mapping[str, Any], Mapping[str, Any]], Iterable[str]]
"""(store, object, manifest, file entry) -> what is wrong with the rows of a data file, in words."""


Opener = Callable[[Download], Download]
"""An encrypted file -> the same in the clear. Raises Refused where no key opens it."""


@dataclass(frozen=True, slots=True)
class _Terms:
    """What a proof goes by. ``addressed``: it also asks whom deliveries are for."""

    deep: Deep | None
    signers: Sequence[AllowedSigner] | None
    opener: Opener | None
    addressed: bool


@dataclass(frozen=True, slots=True)
class Problem:
    object: str
    problem: str


@dataclass(slots=True)
class Report:
    """``notes``: what was seen and is no failure, such as a folder without a manifest. ``all_signed``: trusted keys
    were given, and one of them signed every manifest. ``unsigned``: how many deliveries could be looked at and are not
    what a trusted key signed, where such keys were given. ``unseen``: how many are encrypted as a whole, and were not
    looked into. ``signatures``: how many hold, by their key's fingerprint.
    ``delivery``: which one it is, where a single one was named and its manifest could be read."""

    deliveries: int = 0
    files: int = 0
    rows: int = 0
    bytes: int = 0
    all_signed: bool = False
    unsigned: int = 0
    unseen: int = 0
    signatures: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    delivery: dict[str, Any] | None = None

    @property
    def ok(self) -> bool:
        return not self.problems

    @property
    def signed(self) -> bool:
        """Whether all that was found is what trusted keys have signed."""
        return self.all_signed and self.ok

    def add(self, name: str, problem: str) -> None:
        self.problems.append(Problem(name, problem))

    def record(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "signed": self.signed,
            "signatures": dict(self.signatures),
            "deliveries": self.deliveries,
            "files": self.files,
            "rows": self.rows,
            "problems": [{"object": p.object, "problem": p.problem} for p in self.problems],
            "notes": list(self.notes),
            "delivery": None if self.delivery is None else dict(self.delivery),
        }


def verify(
    store: Store,
    prefix: str = "",
    *,
    deep: Deep | None = None,
    signers: Sequence[AllowedSigner] | None = None,
    tenants: Collection[str] = (),
    opener: Opener | None = None,
    place: Sequence[str] = (),
) -> Report:
    """Checks every delivery under ``prefix``. Raises StoreDenied or StoreUnavailable if the store cannot be read.

    With ``signers``, a delivery that none of them signed is a problem; with ``tenants``, one for anybody else.
    ``opener`` decrypts bundles. ``place``: the names by which the store's root is reached, the last one last, for a
    delivery that stands in the root itself.
    """
    report = Report()
    terms = _Terms(deep, signers, opener, bool(tenants))
    deliveries, strangers = survey(store, prefix)
    jobs: list[tuple[Delivery, Mapping[str, Any]]] = []
    packages: list[Package] = []
    unsigned = 0
    for delivery in deliveries:
        if delivery.bundle:
            unsigned += not _check_bundle(store, delivery, terms, report)
            continue
        data = _check_control(store, delivery, report)
        if data is not None:
            report.deliveries += 1
            trusted = _check_signature(store, delivery, data, signers, report)
            if delivery.manifest.get("checkpoint"):
                package = check_checkpoint(store, delivery, data, signers, report.add)
                packages += [package]
                report.unsigned += signers is not None and trusted and not package.signed
                trusted = trusted and package.signed
            unsigned += not trusted
            jobs.extend((delivery, entry) for entry in _entries(delivery.manifest))
        else:
            report.unsigned += signers is not None
    _check_files(store, jobs, deep, report)
    _check_twins(deliveries, report)
    findings = Findings()
    check_chains(packages, None, findings)
    for where, what in findings.problems:
        report.add(where, what)
    report.notes.extend(findings.unchecked)
    for delivery in moved([d for d in deliveries if d.manifest]):
        uri = delivery.manifest["destination"]["uri"]
        report.add(delivery.folder, f"stands in another place than it was delivered to: {uri}")
    for delivery in (d for d in deliveries if d.manifest and not d.folder):
        _check_place(delivery, place, ".", report)
        report.delivery = _identity(delivery) if len(deliveries) == 1 else None
    report.all_signed = signers is not None and report.deliveries > 0 and not unsigned
    for delivery, other in mixed([d for d in deliveries if d.manifest]):
        report.add(delivery.folder or ".", f"is for {_whom(delivery)}, in a place of {_whom(other)}")
    for delivery in deliveries:
        _check_whom(delivery, tenants, delivery.folder or ".", report)
    pointed = _check_strangers(store, deliveries, strangers, report)
    _check_unpointed(deliveries, strangers, pointed, report)
    if not deliveries:
        # A mistyped address must not pass for proven.
        report.add(prefix or ".", "no delivery found here")
    return report


def verify_bundle(
    store: Store,
    name: str,
    *,
    deep: Deep | None = None,
    signers: Sequence[AllowedSigner] | None = None,
    tenants: Collection[str] = (),
    opener: Opener | None = None,
    place: Sequence[str] = (),
) -> Report:
    """Checks one bundle alone, as `verify` does, wherever it stands: it needs neither its sum nor its marker then.
    ``place``: the names that lead to its folder."""
    report = Report()
    folder, base = posixpath.split(name)
    delivery = Delivery(folder, bundle=base)
    signed = _check_archive(store, delivery, _Terms(deep, signers, opener, bool(tenants)), report)[0]
    report.all_signed = signers is not None and signed
    _check_whom(delivery, tenants, name, report)
    if delivery.manifest:
        report.delivery = _identity(delivery)
        _check_place(delivery, place, name, report)
    return report


def _check_place(delivery: Delivery, place: Sequence[str], name: str, report: Report) -> None:
    if astray(delivery, place):
        uri = delivery.manifest["destination"]["uri"]
        report.add(name, f"stands in another place than it was delivered to: {uri}")


def _identity(delivery: Delivery) -> dict[str, Any]:
    manifest = delivery.manifest
    told = {
        key: manifest[key] for key in ("project", "environment", "export", "tenant", "run_id", "revision")
    }
    return {**told, "kind": manifest["kind"], "interval": dict(manifest["interval"])}


def _check_whom(delivery: Delivery, tenants: Collection[str], place: str, report: Report) -> None:
    if tenants and delivery.manifest and delivery.manifest["tenant"] not in tenants:
        report.add(place, f"is for {_whom(delivery)}")


def _whom(delivery: Delivery) -> str:
    manifest = delivery.manifest
    return f"tenant {manifest['tenant']!r} of {manifest['project']} in {manifest['environment']}"


def _entries(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*manifest["files"], *manifest["sidecars"]]


def _check_control(store: Store, delivery: Delivery, report: Report) -> bytes | None:
    """The marker, the manifest, and which objects there are. The manifest's bytes; None if there is none to go by."""
    manifest_path, marker_path = delivery.path(delivery.manifest_name), delivery.path(delivery.marker_name)
    if not delivery.manifest_name:
        report.add(marker_path, "a success marker without a manifest")
        return None
    data = _check_manifest(store, delivery, report)
    if data is None:
        return None
    rows, at = delivery.manifest["rows"], delivery.manifest["export_timestamp"]
    if not delivery.marker_name:
        report.add(
            manifest_path, "has no success marker: the delivery is not complete, or the marker is gone"
        )
    elif get(store, marker_path) != canonical(marker(delivery.manifest_name, data, rows["written"], at)):
        report.add(marker_path, f"does not match {delivery.manifest_name}: one of the two was changed")
    return data


def _check_manifest(store: Store, delivery: Delivery, report: Report) -> bytes | None:
    """The manifest's bytes, once it was held against itself and what it lists; None if it is no manifest."""
    manifest_path = delivery.path(delivery.manifest_name)
    data = get(store, manifest_path) or b""
    try:
        manifest = parsed(data, Manifest)
        exact = canonical(manifest) == data
    except ValueError:
        report.add(manifest_path, "is damaged: not a manifest")
        return None
    delivery.manifest = manifest
    if not exact:
        report.add(manifest_path, "is not in canonical form: it was changed")
    rows = manifest["rows"]
    told = sum(entry["rows"] for entry in manifest["files"])
    if told != rows["written"]:
        report.add(manifest_path, f"says {rows['written']} rows and lists files with {told}")
    if rows["read"] != sum(rows[k] for k in ("written", "filtered", "rejected", "superseded")):
        report.add(manifest_path, "its row counts do not add up")
    _check_names(delivery, report)
    return data


def _check_names(delivery: Delivery, report: Report) -> None:
    listed = [entry["name"] for entry in _entries(delivery.manifest)]
    for name in sorted({name for name in listed if listed.count(name) > 1}):
        report.add(delivery.path(delivery.manifest_name), f"lists {name} twice")
    expected = {*listed, delivery.manifest_name, delivery.marker_name, delivery.signature_name}
    if checkpoint := delivery.manifest.get("checkpoint"):
        expected |= {checkpoint, f"{checkpoint}.sig"}
    for name in sorted(delivery.objects.keys() - expected):
        report.add(delivery.path(name), "is not listed in the manifest")


def _check_signature(
    store: Store, delivery: Delivery, data: bytes, signers: Sequence[AllowedSigner] | None, report: Report
) -> bool:
    """Whether one of ``signers`` signed the manifest."""
    found = signature_of(store, delivery, data, signers)
    if found.problem is not None:
        report.add(found.at, found.problem)
    if found.key is not None:
        report.signatures[found.key.fingerprint] = report.signatures.get(found.key.fingerprint, 0) + 1
    report.unsigned += signers is not None and not found.trusted
    return found.trusted


def _check_bundle(store: Store, delivery: Delivery, terms: _Terms, report: Report) -> bool:
    """A bundle, its sum and its marker. Whether one of the signers signed the manifest in it."""
    path, marker_path = delivery.path(delivery.bundle), delivery.path(delivery.marker_name)
    sum_name = f"{delivery.bundle}.sha256"
    for name in sorted(delivery.objects.keys() - {delivery.bundle, sum_name, delivery.marker_name}):
        report.add(delivery.path(name), f"does not belong beside {delivery.bundle}")
    if delivery.bundle not in delivery.objects:
        report.add(path, "is missing")
        return False
    sha = delivery.sha256 = digest(store, path)
    if sum_name not in delivery.objects:
        report.add(delivery.path(sum_name), "is missing")
    elif get(store, delivery.path(sum_name)) != f"{sha}  {delivery.bundle}\n".encode():
        report.add(delivery.path(sum_name), f"does not match {delivery.bundle}: one of the two was changed")
    if not delivery.marker_name:
        report.add(path, "has no success marker: the delivery is not complete, or the marker is gone")
    signed, data = _check_archive(store, delivery, terms, report)
    if not delivery.marker_name:
        return signed
    told = get(store, marker_path) or b""
    if data is not None:
        right = told == canonical(bundle_marker(delivery.bundle, sha, data, delivery.manifest))
    else:
        right = _names(told, delivery.bundle, sha)
    if not right:
        report.add(marker_path, f"does not match {delivery.bundle}: one of the two was changed")
    return signed


def _names(told: bytes, bundle: str, sha: str) -> bool:
    """Whether a marker is for this bundle, of whose manifest nothing is known."""
    try:
        success = json.loads(told)
        return bool(success["bundle"] == bundle and success["bundle_sha256"] == sha)
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def _check_archive(
    store: Store, delivery: Delivery, terms: _Terms, report: Report
) -> tuple[bool, bytes | None]:
    """What is in a bundle. Whether one of the signers signed it, and its manifest's bytes if they could be read."""
    path = delivery.path(delivery.bundle)
    encrypted = not delivery.bundle.endswith(".zip")
    if encrypted and terms.opener is None:
        report.deliveries += 1
        if terms.signers is not None or terms.addressed:
            report.add(
                path,
                "is encrypted: who signed it and whom it is for shows only with its key (--deep, --tenant-key)",
            )
        else:
            report.notes.append(f"{path}: is encrypted, and what is in it was not looked at")
            report.unseen += 1
        return False, None
    try:
        with ExitStack() as files:
            file = files.enter_context(closing(store.read(path)))
            if encrypted and terms.opener is not None:
                file = files.enter_context(closing(terms.opener(file)))
            return _check_members(Archive(file, path), delivery, terms, report)
    except Refused as error:
        report.add(path, str(error))  # its hint says which key to give
        return False, None
    except (IntegrityError, ObjectNotFound) as error:
        report.add(path, error.message)
        return False, None


def _check_members(
    archive: Archive, delivery: Delivery, terms: _Terms, report: Report
) -> tuple[bool, bytes | None]:
    members = {info.name.removeprefix(f"{archive.url}/"): info.size for info in archive.list()}
    inside = Delivery(archive.url, BUNDLED, objects=members)
    if BUNDLED not in members:
        report.add(inside.path(BUNDLED), "is missing: it is no bundle")
        return False, None
    data = _check_manifest(archive, inside, report)
    if data is None:
        report.unsigned += terms.signers is not None
        return False, None
    delivery.manifest, delivery.manifest_name = inside.manifest, BUNDLED
    report.deliveries += 1
    if (given := misnamed(delivery.bundle, inside.manifest)) is not None:
        report.add(archive.url, f"has the name of another bundle: what is in it was delivered as {given}")
    signed = _check_signature(archive, inside, data, terms.signers, report)
    jobs = [(inside, entry) for entry in _entries(inside.manifest)]
    _check_files(archive, jobs, terms.deep, report)
    return signed, data


def _check_files(
    store: Store, jobs: Sequence[tuple[Delivery, Mapping[str, Any]]], deep: Deep | None, report: Report
) -> None:
    with ThreadPoolExecutor(WORKERS) as pool:
        for found in pool.map(lambda job: list(_check_file(store, job[0], job[1], deep)), jobs):
            report.problems.extend(found)
    for _, entry in jobs:
        if "rows" in entry:
            report.files += 1
            report.rows += entry["rows"]
            report.bytes += entry["bytes"]


def _check_file(
    store: Store, delivery: Delivery, entry: Mapping[str, Any], deep: Deep | None
) -> Iterator[Problem]:
    name = entry["name"]
    path = delivery.path(name)
    if name not in delivery.objects:
        yield Problem(path, "is missing")
        return
    if delivery.objects[name] != entry["bytes"]:
        yield Problem(path, f"has {delivery.objects[name]} bytes where the manifest says {entry['bytes']}")
        return
    try:
        sha = digest(store, path)
    except ObjectNotFound:
        yield Problem(path, "is missing")
        return
    except IntegrityError as error:
        yield Problem(path, error.message)
        return
    if sha != entry["sha256"]:
        yield Problem(path, "is not what was delivered: its SHA-256 differs from the manifest's")
    elif deep is not None and "rows" in entry:
        for told in deep(store, path, delivery.manifest, entry):
            yield Problem(path, told)


def digest(store: Store, name: str) -> str:
    sha = hashlib.sha256()
    file = store.read(name)
    try:
        while block := file.read(BLOCK):
            sha.update(block)
    finally:
        file.close()
    return sha.hexdigest()


def _check_twins(deliveries: Sequence[Delivery], report: Report) -> None:
    """Two folders that claim to be the same run at the same place: one of them is a copy that doubles its rows."""
    seen: dict[tuple[str, str], str] = {}
    for delivery in deliveries:
        if delivery.manifest:
            key = delivery.manifest["run_id"], delivery.manifest["destination"]["uri"]
            if key in seen:
                report.add(delivery.folder, f"is the same run as {seen[key]}")
            seen.setdefault(key, delivery.folder)


def _check_strangers(
    store: Store, deliveries: Sequence[Delivery], strangers: Sequence[str], report: Report
) -> set[tuple[str, ...]]:
    """What belongs to no delivery. Returns whose deliveries sound pointers name."""
    folders: dict[str, int] = {}
    pointed: set[tuple[str, ...]] = set()
    for name in strangers:
        folder, base = posixpath.split(name)
        if base == POINTER:
            try:
                whose = check_pointer(store, name, deliveries)
                pointed |= {whose} if whose is not None else set()
            except IntegrityError as error:
                report.add(name, error.message)
        elif is_failure(base):
            report.notes.append(f"{name}: a failed attempt, nothing of it counts")
        else:
            folders[folder] = folders.get(folder, 0) + 1
    for folder, count in sorted(folders.items()):
        if posixpath.join(folder, BUNDLED) in strangers:
            told = "what was in a bundle: prove the bundle itself, or here sha256sum --check SHA256SUMS"
        else:
            told = f"{counted(count, 'object')} without a manifest; no part of a delivery"
        report.notes.append(f"{folder or '.'}: {told}")
    return pointed


def _check_unpointed(
    deliveries: Sequence[Delivery], strangers: Sequence[str], pointed: set[tuple[str, ...]], report: Report
) -> None:
    """Full refreshes that no pointer tells apart: a reader would take each of them for current."""
    there, told = set(strangers), set()
    for delivery in deliveries:
        if not delivery.manifest or not delivery.marker_name or delivery.whose in pointed:
            continue
        if (delivery.manifest.get("metadata") or {}).get("export_type") != "full_refresh":
            continue
        name = pointer_of(delivery)
        if name in there or (delivery.whose, name) in told:
            continue
        told.add((delivery.whose, name))
        if name is None:
            report.notes.append(f"{delivery.folder or '.'}: a full refresh, and its pointer is not here")
        else:
            report.add(name, "is missing: nothing tells which full refresh is the newest")
