"""The checkpoints of audit packages, against their manifests and signatures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lading.evidence.signers import AllowedSigner, objection
from lading.evidence.sshsig import CHECKPOINTS, verified
from lading.evidence.verifier import Findings, Package, checkpoint_of
from lading.export.interval import parse_instant
from lading.manifest import sha256
from lading.ports import Store
from lading.proof.found import Delivery, get

_SAME = ("project", "environment", "export", "tenant", "run_id", "revision", "kind", "supersedes", "interval")


def check_checkpoint(
    store: Store,
    delivery: Delivery,
    manifest_bytes: bytes,
    signers: Sequence[AllowedSigner] | None,
    problem: Callable[[str, str], object],
) -> Package:
    """What the checkpoint says, for its chain; ``signed``: one of ``signers`` signed it. What does not hold is told to
    ``problem``, with the object's name."""
    package, manifest = Package(delivery.folder or ".", None, Findings()), delivery.manifest
    path = delivery.path(manifest["checkpoint"])
    data = get(store, path)
    if data is None:
        problem(path, "is missing: nothing says what the package held")
        return package
    try:
        told = checkpoint_of(data)
        chained_at = parse_instant(told["chained_at"])
    except (ValueError, TypeError, AttributeError):
        problem(path, "is damaged: not a checkpoint")
        return package
    package.checkpoint, package.sha256 = told, sha256(data)
    records = told["records"]
    listed = [(f["name"], f["bytes"], f["sha256"], f["rows"], f.get("head")) for f in manifest["files"]]
    here = tuple(records[key] for key in ("name", "bytes", "sha256", "count", "head"))
    if sha256(manifest_bytes) not in told["manifests"]:
        problem(
            path,
            f"is not over {delivery.manifest_name}: one of the two was changed, or is of another package",
        )
    if any(manifest[name] != told[name] for name in _SAME):
        problem(path, f"is of another package than {delivery.manifest_name}")
    if [here] != listed:
        problem(path, f"tells of other records than {delivery.manifest_name}")
    try:
        key = verified(get(store, f"{path}.sig") or b"", CHECKPOINTS, data)
        if told["key"] != key.fingerprint:
            raise ValueError(f"is by {key.fingerprint}, which the checkpoint does not name")
    except ValueError as error:
        problem(f"{path}.sig", f"{error}: it or the checkpoint was changed")
        return package
    if signers is not None:
        why = objection(signers, key, manifest["project"], chained_at, CHECKPOINTS)
        if why is not None:
            problem(f"{path}.sig", why)
        package.signed = why is None
    return package
