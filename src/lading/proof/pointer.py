"""Pointers: `latest.json`, which names the newest full refresh of one export to one tenant."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from lading.errors import IntegrityError
from lading.manifest import canonical
from lading.ports import Store
from lading.proof.found import (
    BundlePointer,
    Delivery,
    Manifest,
    Pointer,
    get,
    is_bundle,
    is_manifest,
    is_pointer_to_bundle,
    parsed,
)
from lading.proof.places import pointer_of


def check_pointer(store: Store, name: str, deliveries: Sequence[Delivery]) -> tuple[str, ...] | None:
    """Whose deliveries a pointer tells apart; None of an encrypted bundle that was not opened. Raises IntegrityError
    where what it names is not the newest complete one beside it."""
    data = store.get(name)
    named = _bundle(name, data, deliveries) if is_pointer_to_bundle(data) else followed(store, name)
    if not named.manifest:
        return None
    beside = posixpath.dirname(posixpath.dirname(name))
    for delivery in deliveries:
        near = delivery.folder.startswith(f"{beside}/" if beside else "")
        alike = delivery.manifest and delivery.marker_name and delivery.whose == named.whose
        if near and alike and delivery.place > named.place:
            raise IntegrityError(f"points to {named.folder} where {delivery.folder} is newer")
    place = pointer_of(named)
    if place is not None and place != name:
        raise IntegrityError(f"points to {named.folder}, whose pointer is {place}")
    return named.whose


def _bundle(name: str, data: bytes, deliveries: Sequence[Delivery]) -> Delivery:
    """The bundle that a pointer names, among those that were looked at. Raises IntegrityError as `followed`."""
    pointer, target = _read(name, data, BundlePointer, "bundle")
    folder, base = posixpath.split(target)
    if not is_bundle(base):
        raise IntegrityError("points to what is no bundle under what is looked at")
    named = next((d for d in deliveries if d.folder == folder and d.bundle == base), None)
    if named is None:
        raise IntegrityError(f"points to {target}, which is not there")
    if named.sha256 != pointer["sha256"]:
        raise IntegrityError(f"points to {target}, which is not the bundle that it names")
    _compare(pointer, target, named)
    return named


def followed(store: Store, name: str) -> Delivery:
    """The delivery that a pointer names. Raises IntegrityError where there is none, or the two disagree."""
    pointer, target = _read(name, store.get(name), Pointer, "manifest")
    folder, base = posixpath.split(target)
    if not is_manifest(base):
        raise IntegrityError("points to what is no manifest under what is looked at")
    manifest = get(store, target)
    if manifest is None:
        raise IntegrityError(f"points to {target}, which is not there")
    if hashlib.sha256(manifest).hexdigest() != pointer["sha256"]:
        raise IntegrityError(f"points to {target}, which is not the manifest that it names")
    try:
        named = Delivery(folder, base, manifest=parsed(manifest, Manifest))
    except ValueError as error:
        raise IntegrityError(f"points to {target}, which is damaged") from error
    _compare(pointer, target, named)
    return named


def _read(name: str, data: bytes, shape: type[BaseModel], key: str) -> tuple[dict[str, Any], str]:
    """A pointer, and the name of what it points to."""
    try:
        pointer = parsed(data, shape)
        exact = canonical(pointer) == data
    except ValueError as error:
        raise IntegrityError("is damaged: not a pointer") from error
    if not exact:
        raise IntegrityError("is not in canonical form: it was changed")
    target = posixpath.normpath(posixpath.join(posixpath.dirname(name), pointer[key]))
    if not target.isprintable() or target.startswith(("/", "../")):
        raise IntegrityError(f"points to what is no {key} under what is looked at")
    return pointer, target


def _compare(pointer: Mapping[str, Any], target: str, named: Delivery) -> None:
    keys = ("export", "tenant", "run_id", "revision", "interval")
    if named.manifest and any(pointer[key] != named.manifest[key] for key in keys):
        raise IntegrityError(f"says other of {target} than that says of itself")
