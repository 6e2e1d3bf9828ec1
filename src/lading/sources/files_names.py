"""Which objects of a store a dataset is made of: names and globs, and whether they are still what they were.

``*`` and ``?`` match within a folder, ``[ab]`` one character of a set, ``**/`` any number of folders. Nothing is
hidden: a leading ``_`` or ``.`` matches like any other character.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lading.errors import (
    InvalidProject,
    ObjectNotFound,
    SchemaMismatch,
    SourceDenied,
    SourceUnavailable,
    StoreDenied,
    StoreUnavailable,
)
from lading.ports import Dataset, Download, LinkLister, ObjectInfo, Store

_GLOB = re.compile(r"\*\*/|\*\*|\*|\?|\[!?[^\]/]+\]")
_MEANING = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def pattern(dataset: Dataset) -> str:
    """The dataset's name or glob. Raises InvalidProject for a dataset of another kind."""
    if dataset.files is None:
        raise InvalidProject(
            "A connection of type files reads files, not tables or queries.",
            hint="Write the source as `files: folder/*.parquet`.",
        )
    if not dataset.files or dataset.files.startswith("/") or ".." in dataset.files.split("/"):
        raise InvalidProject(
            f"{dataset.files!r} is no name or glob inside a store.",
            hint="Names are relative to the store: flights/*.parquet",
        )
    return dataset.files


def compiled(glob: str) -> tuple[str, re.Pattern[str]]:
    """The literal prefix of all names that match, and an expression for whole names."""
    parts, at, prefix = [], 0, None
    for wild in _GLOB.finditer(glob):
        prefix = glob[: wild.start()] if prefix is None else prefix
        text = wild.group()
        meaning = _MEANING.get(text) or _character(text)
        parts += [re.escape(glob[at : wild.start()]), meaning]
        at = wild.end()
    parts.append(re.escape(glob[at:]))
    return glob if prefix is None else prefix, re.compile("".join(parts), re.DOTALL)


def _character(text: str) -> str:
    members = text[1:-1]
    negated = members.startswith("!")
    escaped = re.sub(r"[\\\[\]^&~|]", r"\\\g<0>", members[1:] if negated else members)
    return f"(?!/)[{'^' if negated else ''}{escaped}]"


def matching(store: Store, glob: str) -> tuple[ObjectInfo, ...]:
    """The objects that match, by name. Raises SchemaMismatch where none does, or some may lie behind a link."""
    prefix, names = compiled(glob)
    found: list[ObjectInfo] = []
    others: list[str] = []
    with explained(store):
        if isinstance(store, LinkLister):
            _check_links(store.url, glob, store.links(prefix))
        for info in store.list(prefix):
            if names.fullmatch(info.name) and not info.name.endswith("/"):  # "folder/" stands for a folder
                found.append(info)
            elif len(others) < 1000:
                others.append(info.name)
        if not found and not others:
            others = [info.name for info, _ in zip(store.list(), range(1000), strict=False)]
    if not found:
        near = difflib.get_close_matches(glob, others, 3, 0.5) or others[:3]
        hint = (
            f"There are {', '.join(near)}."
            if near
            else "Nothing at all lies there: is the store's `url` right?"
        )
        raise SchemaMismatch(f"No object in {store.url} matches {glob}.", hint=hint)
    return tuple(found)


def _check_links(place: str, glob: str, links: Sequence[str]) -> None:
    """Raises SchemaMismatch for links that are not followed and that may lead to what the glob matches."""
    _, names = compiled(glob)
    missing = [name for name in links if names.fullmatch(name) or leads(glob, name)]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise SchemaMismatch(
            f"{', '.join(missing[:3])}{more} in {place}: links to folders, or to what is not there, are not followed, "
            f"and the rows that {glob} may mean behind them would be missing.",
            hint="Put the files themselves there, or have the store's url or the glob's beginning name the folder.",
        )


def leads(glob: str, folder: str) -> bool:
    """Whether names below the folder can match."""
    parts, given = glob.split("/"), folder.split("/")
    for part, name in zip(parts, given, strict=False):
        if "**" in part:
            return True
        if not compiled(part)[1].fullmatch(name):
            return False
    return len(parts) > len(given)


def mark(info: ObjectInfo) -> str:
    """What differs when the object's bytes do; empty where the store has nothing of the kind."""
    return info.version or (info.modified.isoformat() if info.modified else "")


def digest(files: Sequence[ObjectInfo], layout: object) -> str:
    """SHA-256, in hex, over (name, size, version) of the objects and over ``layout``: how they are read, JSON-able."""
    listed = sorted([info.name, info.size, mark(info)] for info in files)
    return hashlib.sha256(json.dumps([listed, layout], sort_keys=True).encode()).hexdigest()


def check_unchanged(store: Store, info: ObjectInfo) -> None:
    """Raises SourceUnavailable when the object is no longer the one that was surveyed."""
    with explained(store):
        now = next(iter(store.list(info.name)), None)
    if now is None or now.name != info.name:
        happened = "has gone"
    elif (now.size, mark(now)) != (info.size, mark(info)):
        happened = "has changed"
    else:
        return
    raise SourceUnavailable(
        f"{info.name} in {store.url} {happened} since the reading began.",
        hint="A new attempt reads the files as they are then.",
    )


@contextmanager
def opened(store: Store, name: str) -> Iterator[Download]:
    with explained(store):
        try:
            file = store.read(name)
        except ObjectNotFound as error:
            raise SourceUnavailable(f"{name} in {store.url} has gone since the reading began.") from error
        try:
            yield file
        finally:
            file.close()


@contextmanager
def explained(store: Store) -> Iterator[None]:
    """A store's errors, as those of a source."""
    try:
        yield
    except StoreUnavailable as error:
        raise SourceUnavailable(error.message, hint=error.hint, retry_after=error.retry_after) from error
    except ObjectNotFound as error:
        raise SourceUnavailable(f"{error.message}: it has gone since the reading began.") from error
    except StoreDenied as error:
        raise SourceDenied(error.message, hint=error.hint) from error
