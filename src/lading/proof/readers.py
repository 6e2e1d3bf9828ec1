"""What a reader should open: `lading files`."""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Sequence

from lading.errors import IntegrityError, InvalidProject
from lading.evidence.signers import AllowedSigner
from lading.manifest import canonical
from lading.ports import Store
from lading.proof.found import POINTER, Arrivals, Delivery, Manifest, get, parsed, survey
from lading.proof.pointer import followed
from lading.proof.signatures import signature_of


def current(
    store: Store,
    prefix: str = "",
    signers: Sequence[AllowedSigner] | None = None,
    major: int | None = None,
) -> list[Delivery]:
    """Complete deliveries that no other one supersedes, for readers: `lading files`.

    Each once, wherever copies of it stand. Where pointers stand, the newest delivery that they name is the only one of
    its export and tenant. Raises IntegrityError for a marker or a pointer that is not what was published, since rows
    would go missing; and with ``signers`` for a delivery that none of them signed, since it could supersede others;
    InvalidProject for a bundle, which must be unpacked, and where the same rows stand under two majors of a contract,
    unless ``major`` says which is meant.
    """
    deliveries, strangers = survey(store, prefix)
    for delivery in deliveries:
        if delivery.bundle:
            raise InvalidProject(
                f"{delivery.path(delivery.bundle)} is a bundle, whose files lie inside of it.",
                hint="Prove it with `lading verify`, unpack it, and read what is below data/.",
            )
    complete = {d.folder: d for d in deliveries if _complete(store, d, signers)}
    named: dict[tuple[str, ...], Delivery] = {}
    for name in strangers:
        if posixpath.basename(name) != POINTER:
            continue
        try:
            delivery = followed(store, name)
        except IntegrityError as error:
            raise IntegrityError(f"{name} {error.message}.", hint="`lading verify` says more.") from error
        # The pointer may have moved since the listing, to a delivery that is not in it.
        if delivery.folder not in complete:
            if signers is not None:
                delivery.objects.setdefault(delivery.signature_name, 0)
                _refuse_unsigned(store, delivery, signers)
            complete[delivery.folder] = delivery
        if major not in (None, delivery.major):
            continue
        if delivery.whose not in named or delivery.place > named[delivery.whose].place:
            named[delivery.whose] = delivery
    gone = {run for delivery in complete.values() for run in delivery.manifest["supersedes"]}
    if major is None:
        _refuse_two_majors([d for d in complete.values() if d.manifest["run_id"] not in gone])
    found: dict[str, Delivery] = {}
    for delivery in complete.values():
        run = delivery.manifest["run_id"]
        only = named.get(delivery.whose)
        if major not in (None, delivery.major):
            continue
        if run not in gone and (only is None or only.manifest["run_id"] == run):
            found.setdefault(run, delivery)
    return list(found.values())


def _refuse_two_majors(deliveries: Sequence[Delivery]) -> None:
    """Rows that arrived in one time and were delivered under two majors would be read twice."""
    seen: dict[tuple[tuple[str, ...], str], list[Delivery]] = {}
    for delivery in deliveries:
        beside = seen.setdefault((delivery.whose, delivery.manifest["interval"]["start"]), [])
        for other in beside:
            if other.major == delivery.major or not _overlap(other.arrivals, delivery.arrivals):
                continue
            low, high = sorted((delivery, other), key=lambda each: each.major)
            raise InvalidProject(
                f"{low.folder} and {high.folder} hold the same rows, under the majors {low.major} and {high.major} of "
                "their contract.",
                hint=f"Say which is meant, --major {high.major} (in Python: major={high.major}), or name a place that "
                "holds one of them.",
            )
        beside.append(delivery)


def _overlap(one: Arrivals, other: Arrivals) -> bool:
    """Whether two times, from the first moment to before the second, have a moment in common."""
    return one[0] < other[1] and other[0] < one[1]


def _complete(store: Store, delivery: Delivery, signers: Sequence[AllowedSigner] | None) -> bool:
    """Reads the manifest of a delivery that has its marker. False for one that is not complete, or is being removed.

    Raises IntegrityError where the two do not belong together, or the manifest is gone.
    """
    if not delivery.marker_name:
        return False
    success = get(store, delivery.path(delivery.marker_name))
    if success is None:
        return False
    data = get(store, delivery.path(delivery.manifest_name)) if delivery.manifest_name else None
    if data is None:
        # Whoever removes a delivery begins with its marker.
        if get(store, delivery.path(delivery.marker_name)) is None:
            return False
        raise IntegrityError(
            f"{delivery.folder}: the success marker stands without its manifest.",
            hint="The rows of this delivery would be missing: put the manifest back, or have it delivered anew.",
        )
    try:
        delivery.manifest = parsed(data, Manifest)
        whole = json.loads(success)["manifest_sha256"] == hashlib.sha256(data).hexdigest()
    except (ValueError, KeyError, TypeError, RecursionError):
        whole = False
    if whole:
        if signers is not None:
            _refuse_unsigned(store, delivery, signers)
        return True
    raise IntegrityError(
        f"{delivery.folder}: the success marker does not match the manifest.",
        hint="`lading verify` says what was changed; nothing here is fit to be read until it is mended.",
    )


def _refuse_unsigned(store: Store, delivery: Delivery, signers: Sequence[AllowedSigner]) -> None:
    """The manifest is read again, as it stands now: what was judged complete may have been replaced since."""
    data = get(store, delivery.path(delivery.manifest_name)) or b""
    found = signature_of(store, delivery, data, signers)
    if not found.trusted or canonical(delivery.manifest) != data:
        why = found.problem or "was changed while it was read"
        raise IntegrityError(
            f"{found.at or delivery.folder} {why}.",
            hint="Nothing here is fit to be read until `lading verify --key` finds it signed.",
        )
