"""Proving deliveries from their bytes alone: no journal, no source, no project.

What is caught: any changed, missing, extra, renamed or truncated object inside a delivery's folder, an edited manifest
or marker, a delivery without its marker, and a pointer that leads nowhere. What is not: an edit that rewrites files,
sums, manifest and marker consistently. Only a signature shows that, hence ``signed`` is False.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from lading.errors import ObjectNotFound
from lading.manifest import canonical, marker
from lading.ports import Store

BLOCK = 1 << 20
WORKERS = 2
POINTER = "latest.json"

Deep = Callable[[Store, str, Mapping[str, Any], Mapping[str, Any]], Iterable[str]]
"""(store, object, manifest, file entry) -> what is wrong with the rows of a data file, in words."""


@dataclass(frozen=True, slots=True)
class Problem:
    object: str
    problem: str


@dataclass(slots=True)
class Report:
    """``notes``: what was seen and is no failure, such as a folder without a manifest."""

    deliveries: int = 0
    files: int = 0
    rows: int = 0
    bytes: int = 0
    signed: bool = False
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not self.problems

    def record(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "signed": self.signed,
            "deliveries": self.deliveries,
            "files": self.files,
            "rows": self.rows,
            "problems": [{"object": p.object, "problem": p.problem} for p in self.problems],
            "notes": list(self.notes),
        }


@dataclass(slots=True)
class Delivery:
    """What stands in one folder. ``objects``: name relative to the folder -> size."""

    folder: str
    manifest_name: str = ""
    marker_name: str = ""
    objects: dict[str, int] = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)


def is_manifest(base: str) -> bool:
    return base == "_manifest.json" or (base.startswith("manifest_") and base.endswith(".json"))


def is_marker(base: str) -> bool:
    return base in ("_SUCCESS", "SUCCESS")


def is_failure(base: str) -> bool:
    return base == "FAILURE" or base.startswith("_FAILURE")


def survey(store: Store, prefix: str = "") -> tuple[list[Delivery], list[str]]:
    """The deliveries under a prefix, and the names of objects that belong to none."""
    names = {info.name: info.size for info in store.list(prefix)}
    deliveries: dict[str, Delivery] = {}
    for name in names:
        folder, base = posixpath.split(name)
        if is_manifest(base):
            deliveries.setdefault(folder, Delivery(folder)).manifest_name = base
        elif is_marker(base):
            deliveries.setdefault(folder, Delivery(folder)).marker_name = base
    strangers = []
    for name, size in names.items():
        owner = _owner(name, deliveries)
        if owner is None:
            strangers.append(name)
        else:
            owner.objects[name[len(owner.folder) :].lstrip("/")] = size
    return [deliveries[folder] for folder in sorted(deliveries)], strangers


def _owner(name: str, deliveries: Mapping[str, Delivery]) -> Delivery | None:
    folder = posixpath.dirname(name)
    while True:
        if folder in deliveries:
            return deliveries[folder]
        if not folder:
            return None
        folder = posixpath.dirname(folder)


def verify(store: Store, prefix: str = "", *, deep: Deep | None = None) -> Report:
    """Checks every delivery under ``prefix``. Raises StoreDenied or StoreUnavailable if the store cannot be read."""
    report = Report()
    deliveries, strangers = survey(store, prefix)
    jobs: list[tuple[Delivery, Mapping[str, Any]]] = []
    for delivery in deliveries:
        if _check_control(store, delivery, report):
            report.deliveries += 1
            jobs.extend((delivery, entry) for entry in _entries(delivery))
    with ThreadPoolExecutor(WORKERS) as pool:
        for found in pool.map(lambda job: list(_check_file(store, job[0], job[1], deep)), jobs):
            report.problems.extend(found)
    for _, entry in jobs:
        if "rows" in entry:
            report.files += 1
            report.rows += int(entry["rows"])
            report.bytes += int(entry["bytes"])
    _check_twins(deliveries, report)
    _check_strangers(store, deliveries, strangers, report)
    if not deliveries:
        report.notes.append("no delivery found here")
    return report


def _entries(delivery: Delivery) -> Iterator[Mapping[str, Any]]:
    yield from delivery.manifest["files"]
    yield from delivery.manifest.get("sidecars", ())


def _check_control(store: Store, delivery: Delivery, report: Report) -> bool:
    """The marker, the manifest, and which objects there are. False if there is no manifest to go by."""

    def problem(name: str, text: str) -> None:
        report.problems.append(Problem(posixpath.join(delivery.folder, name), text))

    if not delivery.manifest_name:
        problem(delivery.marker_name, "a success marker without a manifest")
        return False
    data = store.get(posixpath.join(delivery.folder, delivery.manifest_name))
    try:
        manifest = json.loads(data)
        if canonical(manifest) != data:
            problem(delivery.manifest_name, "is not in canonical form: it was changed")
        entries = [*manifest["files"], *manifest.get("sidecars", ())]
        listed = {str(entry["name"]): entry for entry in entries}
        success = marker(
            delivery.manifest_name, data, manifest["rows"]["written"], manifest["export_timestamp"]
        )
        told = sum(int(entry["rows"]) for entry in manifest["files"])
        balance = manifest["rows"]
    except (ValueError, KeyError, TypeError):
        problem(delivery.manifest_name, "is damaged: not a manifest")
        return False
    if not delivery.marker_name:
        problem(
            delivery.manifest_name,
            "has no success marker: the delivery is not complete, or the marker is gone",
        )
    elif store.get(posixpath.join(delivery.folder, delivery.marker_name)) != canonical(success):
        problem(delivery.marker_name, "does not match the manifest: one of the two was changed")
    if told != balance["written"]:
        problem(delivery.manifest_name, f"says {balance['written']} rows and lists files with {told}")
    if balance["read"] != sum(balance[k] for k in ("written", "filtered", "rejected", "superseded")):
        problem(delivery.manifest_name, "its row counts do not add up")
    expected = {*listed, delivery.manifest_name, delivery.marker_name, delivery.manifest_name + ".sig"}
    for name in sorted(delivery.objects.keys() - expected):
        problem(name, "is not listed in the manifest")
    delivery.manifest = manifest
    return True


def _check_file(
    store: Store, delivery: Delivery, entry: Mapping[str, Any], deep: Deep | None
) -> Iterator[Problem]:
    name = str(entry["name"])
    path = posixpath.join(delivery.folder, name)
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
            key = str(delivery.manifest["run_id"]), str(delivery.manifest["destination"]["uri"])
            if key in seen:
                report.problems.append(Problem(delivery.folder, f"is the same run as {seen[key]}"))
            seen.setdefault(key, delivery.folder)


def _check_strangers(
    store: Store, deliveries: Sequence[Delivery], strangers: Sequence[str], report: Report
) -> None:
    folders: dict[str, int] = {}
    for name in strangers:
        folder, base = posixpath.split(name)
        if base == POINTER:
            _check_pointer(store, name, report)
        elif is_failure(base):
            report.notes.append(f"{name}: a failed attempt, nothing of it counts")
        else:
            folders[folder] = folders.get(folder, 0) + 1
    for folder, count in sorted(folders.items()):
        report.notes.append(
            f"{folder or '.'}: {count} objects without a manifest; they are not part of a delivery"
        )


def _check_pointer(store: Store, name: str, report: Report) -> None:
    try:
        pointer = json.loads(store.get(name))
        target = posixpath.normpath(posixpath.join(posixpath.dirname(name), pointer["manifest"]))
        expected = pointer["sha256"]
    except (ValueError, KeyError, TypeError):
        report.problems.append(Problem(name, "is damaged: not a pointer"))
        return
    try:
        actual = hashlib.sha256(store.get(target)).hexdigest()
    except ObjectNotFound:
        report.problems.append(Problem(name, f"points to {target}, which is not there"))
        return
    if actual != expected:
        report.problems.append(Problem(name, f"points to {target}, which is not the manifest that it names"))


def current(store: Store, prefix: str = "") -> list[Delivery]:
    """Complete deliveries that no other one supersedes, for readers: `lading files`.

    Of the deliveries of one run's tenant and interval, the newest full one and the additions after it. Where a
    pointer stands, what it names is the only one of its export and tenant.
    """
    deliveries, strangers = survey(store, prefix)
    complete = []
    for delivery in deliveries:
        if not delivery.manifest_name or not delivery.marker_name:
            continue
        data = store.get(posixpath.join(delivery.folder, delivery.manifest_name))
        success = json.loads(store.get(posixpath.join(delivery.folder, delivery.marker_name)))
        if success.get("manifest_sha256") == hashlib.sha256(data).hexdigest():
            delivery.manifest = json.loads(data)
            complete.append(delivery)
    gone = {run for delivery in complete for run in delivery.manifest["supersedes"]}
    pointed = {}
    for name in strangers:
        if posixpath.basename(name) == POINTER:
            pointer = json.loads(store.get(name))
            pointed[pointer["export"], pointer["tenant"]] = pointer["run_id"]

    def stands(manifest: Mapping[str, Any]) -> bool:
        named = pointed.get((manifest["export"], manifest["tenant"]))
        return manifest["run_id"] not in gone and named in (None, manifest["run_id"])

    return [delivery for delivery in complete if stands(delivery.manifest)]
