"""What an object may be called, the same in every store."""

from __future__ import annotations

from lading.errors import StoreDenied


def check_name(name: str) -> str:
    """Returns ``name`` if it is a relative path of plain segments joined by ``/``; raises StoreDenied otherwise.

    Names come from `lading.export.layout`, which encodes what comes from data; one that fails here is a mistake in the
    program, and must not reach a file system.
    """
    if not name:
        raise StoreDenied("an object's name is empty")
    for segment in name.split("/"):
        if segment in ("", ".", ".."):
            raise StoreDenied(
                f"{name!r} is no name of an object: it has the segment {segment!r}",
                hint="Names are relative, parts joined by single slashes.",
            )
    _check_characters(name)
    return name


def check_prefix(prefix: str) -> str:
    """Returns ``prefix`` if names could start with it; raises StoreDenied otherwise."""
    folder, slash, _ = prefix.rpartition("/")
    if slash:
        check_name(folder)
    _check_characters(prefix)
    return prefix


def _check_characters(name: str) -> None:
    if "\0" in name:
        raise StoreDenied(f"{name!r} is no name of an object: it has a NUL in it")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise StoreDenied(f"{name!r} is no name of an object: it is not valid Unicode") from None
