"""What stands in a store, by its names and by the shapes of its JSON: deliveries, and objects that belong to none."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lading.errors import ObjectNotFound
from lading.evidence.verifier import require_plain
from lading.export.interval import parse_instant
from lading.export.tables import FOLDER
from lading.ports import Store

POINTER = "latest.json"
_BUNDLE_SUM = re.compile(r"(.+\.zip(\.age)?)\.sha256")
_BUNDLE = re.compile(r".+\.zip(\.age)?")
_MAJOR = re.compile(r"v?([0-9]+)")
_MANIFEST_NAME = re.compile(r"_manifest\.json|manifest_[0-9]{8,}_[0-9]{6}\.json")


Arrivals = tuple[datetime, datetime]


@dataclass(slots=True)
class Delivery:
    """What stands in one folder. ``objects``: name relative to the folder -> size. ``manifest``: once it was read; that
    of a ``bundle`` lies in it."""

    folder: str
    manifest_name: str = ""
    marker_name: str = ""
    objects: dict[str, int] = field(default_factory=dict)
    manifest: Mapping[str, Any] = field(default_factory=dict)
    bundle: str = ""
    sha256: str = ""  # of a bundle, once it was read

    def path(self, name: str) -> str:
        return posixpath.join(self.folder, name)

    @property
    def signature_name(self) -> str:
        return f"{self.manifest_name}.sig"

    @property
    def place(self) -> tuple[datetime, int]:
        """Later deliveries of one export to one tenant have greater places."""
        return _place(self.manifest)

    @property
    def arrivals(self) -> Arrivals:
        """When its rows arrived, as far as that is known."""
        told = self.manifest.get("arrivals", {})
        begin, end = (parse_instant(told[key]) if told.get(key) else None for key in ("from", "to"))
        return begin or datetime.min.replace(tzinfo=UTC), end or datetime.max.replace(tzinfo=UTC)

    @property
    def major(self) -> int:
        """Of the contract."""
        found = _MAJOR.match(self.manifest["contract"]["version"])
        assert found is not None  # or it is no manifest
        return int(found[1])

    @property
    def whose(self) -> tuple[str, ...]:
        return tuple(str(self.manifest[key]) for key in ("project", "environment", "export", "tenant"))


def _place(document: Mapping[str, Any]) -> tuple[datetime, int]:
    return parse_instant(document["interval"]["start"]), int(document["revision"])


def is_manifest(base: str) -> bool:
    return _MANIFEST_NAME.fullmatch(base) is not None


def is_marker(base: str) -> bool:
    return base in ("_SUCCESS", "SUCCESS")


def is_failure(base: str) -> bool:
    return base == "FAILURE" or base.startswith("_FAILURE")


def is_bundle(base: str) -> bool:
    return _BUNDLE.fullmatch(base) is not None


def _is_control(base: str) -> bool:
    """Whether a name makes a delivery of its folder. A bundle that has no sum yet is being made, or is to be
    published."""
    return is_manifest(base) or is_marker(base) or _BUNDLE_SUM.fullmatch(base) is not None


def survey(store: Store, prefix: str = "") -> tuple[list[Delivery], list[str]]:
    """The deliveries under a prefix, and the names of objects that belong to none, but for those of tables, which lie
    at a store's root: catalogues answer for these."""
    names = {info.name: info.size for info in store.list(prefix)}
    # In a delivery's own folder there are no tables, whatever is called like theirs.
    if not any(_is_control(name.removeprefix(prefix).lstrip("/")) for name in names):
        tables = posixpath.join(prefix, FOLDER, "")
        names = {name: size for name, size in names.items() if not name.startswith(tables)}
    control: dict[str, list[str]] = {}
    for name in names:
        folder, base = posixpath.split(name)
        if _is_control(base):
            control.setdefault(folder, []).append(base)
    deliveries = {folder: _delivery(store, folder, control[folder]) for folder in sorted(control)}
    strangers = []
    for name, size in names.items():
        owner = _owner(name, deliveries)
        if owner is None:
            strangers.append(name)
        else:
            owner.objects[name[len(owner.folder) :].lstrip("/")] = size
    for delivery in deliveries.values():
        if not delivery.manifest_name:
            delivery.bundle = _bundle(delivery)
    return list(deliveries.values()), strangers


def _bundle(delivery: Delivery) -> str:
    """The bundle in a folder that has no manifest: as the name of its sum tells, or else its own."""
    sums = [match[1] for name in sorted(delivery.objects) if (match := _BUNDLE_SUM.fullmatch(name))]
    return next(
        (name for name in (*sums, *sorted(delivery.objects)) if "/" not in name and is_bundle(name)), ""
    )


def _delivery(store: Store, folder: str, control: Sequence[str]) -> Delivery:
    """Of several manifests or markers, those that name each other; the others are strange objects in the folder."""
    manifests = [base for base in control if is_manifest(base)]
    markers = [base for base in control if is_marker(base)]
    for base in markers if len(control) > 2 else ():
        try:
            named = json.loads(store.get(posixpath.join(folder, base)))["manifest"]
        except (ValueError, KeyError, TypeError, RecursionError, ObjectNotFound):
            continue
        if named in manifests:
            return Delivery(folder, named, base)
    return Delivery(folder, manifests[0] if manifests else "", markers[0] if markers else "")


def _owner(name: str, deliveries: Mapping[str, Delivery]) -> Delivery | None:
    folder = posixpath.dirname(name)
    while True:
        if folder in deliveries:
            return deliveries[folder]
        if not folder:
            return None
        folder = posixpath.dirname(folder)


class _Part(BaseModel):
    """What a proof needs of a manifest; whatever else stands there is kept and not judged."""

    model_config = ConfigDict(extra="ignore", strict=True)


class _Listed(_Part):
    name: str
    bytes: int
    sha256: str


class _DataFile(_Listed):
    rows: int
    columns: dict[str, dict[str, Any]]


class _Rows(_Part):
    read: int
    written: int
    filtered: int
    rejected: int
    superseded: int


class _Interval(_Part):
    start: str
    end: str


class _Destination(_Part):
    uri: str


class _Arrivals(_Part):
    since: str | None = Field(default=None, validation_alias="from")
    to: str | None = None


class _Contract(_Part):
    version: str = Field(pattern=f"^{_MAJOR.pattern}")


class _Metadata(_Part):
    export_type: str = ""


class _Signature(_Part):
    type: str
    key: str | None = None


class Manifest(_Part):
    project: str
    environment: str
    export: str
    tenant: str
    run_id: str
    revision: int
    kind: Literal["full", "addition"]
    interval: _Interval
    arrivals: _Arrivals = _Arrivals()
    supersedes: list[str]
    contract: _Contract
    metadata: _Metadata = _Metadata()
    export_timestamp: str
    destination: _Destination
    rows: _Rows
    files: list[_DataFile]
    sidecars: list[_Listed]
    signature: _Signature = _Signature(type="none")
    checkpoint: Literal["_checkpoint.json"] | None = None


def is_pointer_to_bundle(data: bytes) -> bool:
    try:
        return "bundle" in json.loads(data)
    except (ValueError, TypeError, RecursionError):
        return False


class _WholeInterval(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    start: str
    end: str


class _Pointer(BaseModel):
    """All of a pointer: no sum covers it, so nothing may stand in it that is not judged."""

    model_config = ConfigDict(extra="forbid", strict=True)

    export: str
    tenant: str
    run_id: str
    revision: int
    interval: _WholeInterval
    sha256: str


class Pointer(_Pointer):
    manifest: str


class BundlePointer(_Pointer):
    bundle: str


def parsed(data: bytes, shape: type[BaseModel]) -> dict[str, Any]:
    """Raises ValueError for what has another shape, has no canonical form, or names a time that is none."""
    try:
        document: dict[str, Any] = json.loads(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    require_plain(document)
    shape.model_validate(document)
    _place(document)
    if "export_timestamp" in shape.model_fields:
        parse_instant(document["export_timestamp"])
    return document


def get(store: Store, name: str) -> bytes | None:
    """None where it is not there, or went away since it was listed."""
    try:
        return store.get(name)
    except ObjectNotFound:
        return None
