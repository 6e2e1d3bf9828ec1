"""What a recipient does with a delivery, by its URL alone: prove it, and list what to open."""

# Plain strings rather than Path objects: a walk through many small files.
# ruff: noqa: PTH100, PTH110, PTH112, PTH114, PTH118, PTH120

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from lading.errors import InvalidProject, Problem
from lading.evidence.signers import AllowedSigner, read_signers
from lading.evidence.sshsig import KIND, MANIFESTS
from lading.manifest import canonical
from lading.ports import Store
from lading.proof import Report, current
from lading.proof import verify as prove
from lading.proof.checks import Deep, Opener, verify_bundle
from lading.proof.found import is_bundle, is_manifest, is_marker
from lading.stores.local import LocalStore
from lading.stores.unfinished import TEMPORARY

_UNFINISHED = re.compile(re.escape(TEMPORARY) + "[0-9]+-[0-9a-f]{16}")


def verify(
    url: str,
    *,
    deep: bool = False,
    key: str | None = None,
    tenants: Sequence[str] = (),
    tenant_keys: Sequence[str] = (),
) -> Report:
    """Proves every delivery under ``url`` (a folder, a bucket's prefix, or one bundle) from its bytes alone.

    ``deep`` also reads every row and checks types, counts and statistics. ``key`` says whose signatures are trusted: a
    file of public keys or of OpenSSH's allowed signers, or one public key (``ssh-ed25519 AAAA…``); each delivery must
    then be signed by one of them. ``tenants``: a delivery for anybody else is a problem. ``tenant_keys``: files that
    `lading keys copy` or age-keygen wrote, or that name a service which holds keys as `keys.wrap` does, for ``deep`` to
    read what is encrypted; what none of them opens is a problem then. Raises KeysUnavailable where that service says
    nothing, InvalidProject for a folder, a bundle in a folder or a key that is not there and for what is no URL,
    StoreDenied or StoreUnavailable where the bytes cannot be read; what is wrong with them, or a place without a
    delivery, is in the report (``ok``, ``problems``).
    """
    signers = None if key is None else _trusted(key)
    asked: dict[str, Any] = {
        "deep": _rows(tenant_keys) if deep else None,
        "signers": signers,
        "tenants": tenants,
        "opener": _opener(tenant_keys) if deep else None,
    }
    folder, base = posixpath.split(url)
    if is_bundle(base) and not os.path.isdir(url.removeprefix("file://")):
        beside = _open(folder or ".")
        if isinstance(beside, LocalStore) and not os.path.lexists(url.removeprefix("file://")):
            raise InvalidProject(f"There is no file {url.removeprefix('file://')}.")
        return verify_bundle(beside, base, **asked, place=_names(folder))
    store = _open(url)
    report = prove(store, **asked, place=_names(url))
    # The place as a whole goes by the name that it was asked for.
    report.problems = [replace(p, object=url) if p.object == "." else p for p in report.problems]
    if isinstance(store, LocalStore):
        _check_hidden(store, Path(store.url.removeprefix("file://")), report)
    return report


def _names(url: str) -> Sequence[str]:
    """The names that lead to a place: of a folder all of them, however it was asked for."""
    scheme, separator, path = url.rpartition("://")
    if not separator or scheme == "file":
        path = os.path.abspath(path)
    return [name for name in path.split("/") if name]


def _trusted(key: str) -> Sequence[AllowedSigner]:
    text, file = key, "the key"
    if not key.startswith(f"{KIND} "):
        file = key
        try:
            text = Path(key).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidProject(
                f"There is no file of public keys {key}, and it is no key itself."
            ) from error
    signers = read_signers(text, file)
    if not signers:
        raise InvalidProject(problems=[Problem(file, 0, f"holds no {KIND} key for {MANIFESTS}")])
    return signers


def _rows(tenant_keys: Sequence[str]) -> Deep:
    """Loaded where it is needed: a proof of bytes takes less time than Arrow takes to load."""
    from lading.contents import check_rows, read_held

    return partial(check_rows, held=read_held([Path(path) for path in tenant_keys]))


def _opener(tenant_keys: Sequence[str]) -> Opener:
    from lading.contents import opened_bundle, read_held

    return partial(opened_bundle, held=read_held([Path(path) for path in tenant_keys]))


def _check_hidden(store: LocalStore, root: Path, report: Report) -> None:
    """What stands there though the store does not show it as it is. Links anywhere, since what they lead to may change
    unseen, and a link to a folder would hide the deliveries in it. In a delivery's folder also pipes and names kept for
    files that are being written: other readers of the folder would see them."""
    inside: set[str] = set()
    found: list[str] = []
    links: list[str] = []
    for folder, folders, names in os.walk(root):
        if os.path.dirname(folder) in inside or any(is_manifest(n) or is_marker(n) for n in names):
            inside.add(folder)
            found += (os.path.relpath(os.path.join(folder, name), root) for name in names)
        paths = (os.path.join(folder, name) for name in (*names, *folders))
        links += (os.path.relpath(path, root) for path in paths if os.path.islink(path))
    for name in sorted(links):
        report.add(name, "is a link: what it shows may change")
    listed = {info.name for info in store.list()}
    for name in sorted(set(found).difference(links)):
        if name in listed or not os.path.lexists(root / name):
            continue
        if _UNFINISHED.fullmatch(posixpath.basename(name)):
            report.notes.append(f"{name}: a file that was being written, nothing of it counts")
        else:
            report.add(name, "is not listed in the manifest")


def files(url: str, *, key: str | None = None, major: int | None = None) -> list[str]:
    """The data files of complete deliveries that nothing supersedes, in the order of their names.

    Each is ``url``, as it was given, with the file's name below it: a path in a folder, a URL in a bucket. ``key`` as
    for `verify`: every delivery must be signed by one of these keys. ``major``: of the contract; asked for where the
    same rows were delivered under two. Raises IntegrityError where one is not, or where a
    marker or a pointer is not what was published, and InvalidProject, StoreDenied or StoreUnavailable as `verify` does.
    The files' own bytes are not read: that is what `verify` does.
    """
    return sorted(name for name, _ in _listed(url, key, major))


def duckdb_query(url: str, *, key: str | None = None, major: int | None = None) -> str:
    """A statement that reads these files in DuckDB, in the types of their manifests; nothing where there are none.

    Raises ValueError where DuckDB cannot read them or would change a value, and IntegrityError as `files` does.
    """
    from lading.contents import select

    alike: dict[bytes, tuple[Mapping[str, Any], list[str]]] = {}
    for name, manifest in sorted(_listed(url, key, major), key=lambda pair: pair[0]):
        shape = canonical([manifest["format"], manifest["schema"]])
        alike.setdefault(shape, (manifest, []))[1].append(name)
    _refuse_two_types([manifest for manifest, _ in alike.values()])
    selects = [select(manifest, names) for manifest, names in alike.values()]
    return " UNION ALL BY NAME ".join(selects) + ";" if selects else ""


def _refuse_two_types(manifests: Sequence[Mapping[str, Any]]) -> None:
    """DuckDB would make one type of two, which holds the values of neither for certain."""
    found: dict[str, str] = {}
    for manifest in manifests:
        for column in manifest["schema"]:
            kind = " ".join(filter(None, (column["type"], column.get("logical"))))
            if found.setdefault(column["name"], kind) != kind:
                raise ValueError(
                    f"column {column['name']!r} is {found[column['name']]} in some deliveries and {kind} in others, "
                    "of which DuckDB would make one; read the folders of each apart"
                )


def _listed(url: str, key: str | None, major: int | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each data file's URL, and the manifest that lists it."""
    base, signers = url.rstrip("/"), None if key is None else _trusted(key)
    for delivery in current(_open(url), signers=signers, major=major):
        for file in delivery.manifest["files"]:
            yield posixpath.join(base, delivery.folder, file["name"]), delivery.manifest


def _open(url: str) -> Store:
    """A store by its URL alone, with the provider's own credentials."""
    if "://" not in url or url.startswith("file://"):
        folder = url.removeprefix("file://")
        # An empty one would be the folder that the command is called in, which nobody asked about.
        if not folder or not os.path.isdir(folder):
            raise InvalidProject(
                f"{folder} is {'no folder' if os.path.exists(folder) else 'not there'}."
                if folder
                else "No folder and no URL is named."
            )
        return LocalStore(folder)
    from pydantic import ValidationError

    from lading.documents import worded
    from lading.stores.object import ObjectStore
    from lading.stores.object_options import ObjectOptions
    from lading.stores.retry import RetryStore

    try:
        return RetryStore(ObjectStore(ObjectOptions.model_validate({"url": url})), initial=1.0, maximum=10.0)
    except ValidationError as error:
        raise InvalidProject(f"The URL: {worded(error.errors(include_url=False)[0])}.") from None
