"""Where deliveries stand, against where their manifests say that they were put: by `lading.export.layout`."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Sequence
from typing import Any

from lading.export.interval import parse_instant
from lading.export.layout import Layout, Names, segment
from lading.manifest import BUNDLED
from lading.proof.found import POINTER, Delivery

_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:/*")
_RUN = re.compile(r"(?:[0-9]{6}_[0-9a-f]{8}|[0-9a-f]{32})-a[0-9]+")  # an attempt's folder, by a preset
_BUNDLES = {  # how the layouts name bundles
    Layout("lake"): re.compile(r".+_[0-9]{8}_[0-9]{6}_[0-9a-f]{8}\.zip"),
    Layout("svc002"): re.compile(r"export\..+\.[0-9]{8}\.zip"),
}
_Roots = tuple[tuple[str, ...], tuple[str, ...]]


def moved(deliveries: Sequence[Delivery]) -> Iterator[Delivery]:
    """Deliveries that stand in the folder of another tenant, date or name.

    A copy of any subtree is none: it keeps the names below its root, and what its root is called says nothing. So a
    name is another only where the layout gave it, and something shows that it is not just the root of a copy: it has
    the same key (``tenant=a`` for ``tenant=b``), or the layout's names go on above it, or others stand as delivered
    around it. A delivery's own folder always keeps its name.
    """
    roots = {delivery.folder: _roots(delivery) for delivery in deliveries}
    known = set(roots.values())
    for delivery in deliveries:
        here, there = roots[delivery.folder]
        if not here:
            continue
        origin = _origin(delivery)
        start = _layout_start(origin, delivery.manifest)
        if there == origin or (
            start is not None and start < len(there) and _misplaced(here, there, start, known)
        ):
            yield delivery


def astray(delivery: Delivery, place: Sequence[str]) -> bool:
    """Whether a delivery that is looked at alone stands in the folder of another one. ``place``: its folder's name, and
    those above it as far as they are known, the last one last. What a copy's folder is called says nothing here too,
    unless it is what a layout calls an attempt's."""
    origin = _origin(delivery)
    here, there = _without_common_end(tuple(place), origin)
    if not here or not there:
        return False
    if there == origin and _RUN.fullmatch(here[-1]):
        return True
    start = _layout_start(origin, delivery.manifest)
    return start is not None and start < len(there) and _misplaced(here, there, start, set())


def misnamed(bundle: str, manifest: Any) -> str | None:
    """The name that a layout gave a bundle, where it has that of another one; None where it has its own, or one that
    no layout gives: who keeps it may call it anything."""
    plain = bundle.removesuffix(".age")
    try:
        start, entity = parse_instant(manifest["interval"]["start"]), str(manifest["contract"]["name"])
        names = Names("-", "-", entity, manifest["tenant"], 0, start, manifest["run_id"], 1)
    except (KeyError, ValueError):
        return None  # of a shape that no export writes: no layout has named it
    for layout, shape in _BUNDLES.items():
        given = layout.bundle(names)
        if shape.fullmatch(plain) and plain != given:
            return given + bundle[len(plain) :]
    return None


def mixed(deliveries: Sequence[Delivery]) -> Iterator[tuple[Delivery, Delivery]]:
    """Deliveries for others than the first one's, in a place that is one tenant's: the folder that the layout gave the
    tenant lies above what is looked at, so that no name here tells them apart. Each with that first one."""
    first: Delivery | None = None
    for delivery in deliveries:
        here, there = _here(delivery), _origin(delivery)
        tenant = segment(delivery.manifest["tenant"])
        named = [at for at, name in enumerate(there) if name == tenant or name.endswith(f"={tenant}")]
        if not named or len(here) >= len(there) - named[-1]:
            continue
        first = first or delivery
        pairs = {_pair(delivery), _pair(first)} - {None}
        if delivery.manifest["tenant"] != first.manifest["tenant"] or len(pairs) > 1:
            yield delivery, first


def _pair(delivery: Delivery) -> tuple[str, ...] | None:
    """Environment and project, where the layout keeps those of others elsewhere."""
    origin = _origin(delivery)
    start = _layout_start(origin, delivery.manifest)
    pair = segment(delivery.manifest["environment"]), segment(delivery.manifest["project"])
    return pair if start is not None and origin[start : start + 2] == pair else None


def _misplaced(here: tuple[str, ...], there: tuple[str, ...], start: int, known: set[_Roots]) -> bool:
    """Whether a folder that differs from its origin in the last name is more than the root of a copy."""
    key, equals, _ = there[-1].partition("=")
    if equals and here[-1].startswith(f"{key}="):
        return True
    above = zip(reversed(here[:-1]), reversed(there[start:-1]), strict=False)
    if any(one == other for one, other in above):
        return True
    depths = range(1, min(len(here), len(there)) + 1)
    return any((here[:-depth], there[:-depth]) in known for depth in depths)


def _origin(delivery: Delivery) -> tuple[str, ...]:
    return tuple(_SCHEME.sub("", delivery.manifest["destination"]["uri"]).strip("/").split("/"))


def _here(delivery: Delivery) -> tuple[str, ...]:
    return tuple(delivery.folder.split("/")) if delivery.folder else ()


def _roots(delivery: Delivery) -> _Roots:
    """What is left of the folder and of its origin without the names that both end in."""
    return _without_common_end(_here(delivery), _origin(delivery))


def _without_common_end(here: tuple[str, ...], there: tuple[str, ...]) -> _Roots:
    while here and there and here[-1] == there[-1]:
        here, there = here[:-1], there[:-1]
    return here, there


def _layout_start(origin: tuple[str, ...], manifest: Any) -> int | None:
    """Where the layout's part of a folder's names begins; None where it cannot be told."""
    tenant = segment(manifest["tenant"])
    pair = segment(manifest["environment"]), segment(manifest["project"])
    for at in range(len(origin) - 2, -1, -1):
        if origin[at : at + 2] == pair or (origin[at] == tenant and re.fullmatch("v[0-9]+", origin[at + 1])):
            return at
    named = [at for at, name in enumerate(origin) if name == tenant or name.endswith(f"={tenant}")]
    return named[-1] if named else None


def pointer_of(delivery: Delivery) -> str | None:
    """The name that a full refresh's pointer has here; None where it lies outside of what is looked at, or where a
    custom layout does not tell it."""
    origin, here, manifest = _origin(delivery), _here(delivery), delivery.manifest
    start = _layout_start(origin, manifest)
    if start is None:
        return None
    tenant = segment(manifest["tenant"])
    of_the_documents = delivery.manifest_name not in ("_manifest.json", BUNDLED)
    if origin[start : start + 2] == (segment(manifest["environment"]), segment(manifest["project"])):
        tenanted = origin[start + 3 : start + 4] == (f"tenant={tenant}",)
        if not tenanted and not of_the_documents:
            return None
        below = origin[start + 3 + tenanted :]
    elif of_the_documents:
        below = origin[start + 2 :]
    else:
        return None
    if len(here) < len(below) or here[len(here) - len(below) :] != below:
        return None
    return posixpath.join(*here[: len(here) - len(below)], segment(manifest["export"]), POINTER)
