"""Pointers: `latest.json`, which names the newest full refresh of one export to one tenant."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Sequence

from lading.errors import IntegrityError
from lading.manifest import canonical
from lading.ports import Store
from lading.proof.found import Delivery, Manifest, Pointer, get, is_manifest, parsed
from lading.proof.places import pointer_of


def check_pointer(store: Store, name: str, deliveries: Sequence[Delivery]) -> Delivery:
    """The delivery that a pointer names. Raises IntegrityError where that is not the newest complete one beside it."""
    named = followed(store, name)
    beside = posixpath.dirname(posixpath.dirname(name))
    for delivery in deliveries:
        near = delivery.folder.startswith(f"{beside}/" if beside else "")
        alike = delivery.manifest and delivery.marker_name and delivery.whose == named.whose
        if near and alike and delivery.place > named.place:
            raise IntegrityError(f"points to {named.folder} where {delivery.folder} is newer")
    place = pointer_of(named)
    if place is not None and place != name:
        raise IntegrityError(f"points to {named.folder}, whose pointer is {place}")
    return named


def followed(store: Store, name: str) -> Delivery:
    """The delivery that a pointer names. Raises IntegrityError where there is none, or the two disagree."""
    data = store.get(name)
    try:
        pointer = parsed(data, Pointer)
        exact = canonical(pointer) == data
    except ValueError as error:
        raise IntegrityError("is damaged: not a pointer") from error
    if not exact:
        raise IntegrityError("is not in canonical form: it was changed")
    target = posixpath.normpath(posixpath.join(posixpath.dirname(name), pointer["manifest"]))
    folder, base = posixpath.split(target)
    if not is_manifest(base) or not target.isprintable() or target.startswith(("/", "../")):
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
    if any(
        pointer[key] != named.manifest[key] for key in ("export", "tenant", "run_id", "revision", "interval")
    ):
        raise IntegrityError(f"says other of {target} than that says of itself")
    return named
