"""Whose signature a delivery has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lading.evidence.signers import AllowedSigner, objection
from lading.evidence.sshsig import MANIFESTS, PublicKey, verified
from lading.export.interval import parse_instant
from lading.ports import Store
from lading.proof.found import Delivery, get


@dataclass(frozen=True, slots=True)
class Signed:
    """``key``: by which a manifest is signed as it says, if it is. ``problem``: what is wrong at the object ``at``:
    with the signature, or with who made it. ``trusted``: it is by one of the keys that were given."""

    key: PublicKey | None
    at: str = ""
    problem: str | None = None
    trusted: bool = False


def signature_of(
    store: Store, delivery: Delivery, data: bytes, signers: Sequence[AllowedSigner] | None
) -> Signed:
    """``data``: the manifest's bytes, which are read already. What its signature contradicts is a problem without
    ``signers`` too."""
    manifest, path = delivery.manifest, delivery.path(delivery.signature_name)
    told = manifest.get("signature") or {"type": "none"}
    file = get(store, path) if delivery.signature_name in delivery.objects else None
    if file is None:
        if told.get("type") != "none":
            return Signed(None, path, f"is missing: {delivery.manifest_name} says that it is signed")
        return Signed(
            None, delivery.path(delivery.manifest_name), "is not signed" if signers is not None else None
        )
    try:
        key = verified(file, MANIFESTS, data)
    except ValueError as error:
        return Signed(None, path, f"{error}: it or {delivery.manifest_name} was changed")
    if told.get("key") != key.fingerprint:
        return Signed(None, path, f"is by {key.fingerprint}, which {delivery.manifest_name} does not name")
    if signers is None:
        return Signed(key)
    why = objection(signers, key, manifest["project"], parse_instant(manifest["export_timestamp"]))
    return Signed(key, path, why, trusted=why is None)
