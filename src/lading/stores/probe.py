"""Proves what a store can do, before anything relies on it: for ``lading test-store``.

A journal needs all of it. A destination needs to be written to; one that may not be read, listed or deleted from is
served all the same.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from typing import NamedTuple

from lading.errors import LadingError, ObjectExists
from lading.ports import Store

FOLDER = "_lading_test"
RACERS = 8


class Finding(NamedTuple):
    what: str
    ok: bool
    detail: str
    retryable: bool = False  # it failed, and may not do so another time


def probe(store: Store) -> list[Finding]:
    """Writes, reads, lists, creates and deletes small objects under ``_lading_test/``, and says what came of each.

    Raises nothing of what the store answers. Objects that may not be deleted are named, since they stay.
    """
    folder = f"{FOLDER}/{secrets.token_hex(8)}"
    plain, once, race = f"{folder}/plain", f"{folder}/once", f"{folder}/race"
    data = secrets.token_bytes(64)
    findings = [
        _try("write", lambda: store.put(plain, data)),
        _try("upload", lambda: _upload(store, plain, data)),
        _try("create", lambda: store.put(once, data, create=True)),
        _second_create(store, once),
        _race(store, race),
        _try("read", lambda: _same(store.get(plain), data)),
        _try("list", lambda: _listed(store, folder, plain)),
    ]
    for name in (plain, once, race):
        finding = _try("delete", lambda name=name: store.delete(name), f"{name} stays")  # type: ignore[misc]
        if not finding.ok:
            break
    findings.append(finding)
    return findings


def _try(what: str, act: Callable[[], str | None], otherwise: str = "") -> Finding:
    try:
        problem = act()
    except LadingError as error:
        return Finding(what, False, "; ".join(filter(None, (str(error), otherwise))), error.retryable)
    return Finding(what, not problem, problem or "")


def _upload(store: Store, name: str, data: bytes) -> None:
    upload = store.write(name)
    try:
        upload.write(data)
        upload.finish()
    finally:
        upload.abort()


def _same(found: bytes, expected: bytes) -> str | None:
    return None if found == expected else "what was read is not what was written"


def _listed(store: Store, folder: str, name: str) -> str | None:
    found = [info.name for info in store.list(f"{folder}/")]
    return None if name in found else f"{name} was written, but is not listed"


def _second_create(store: Store, name: str) -> Finding:
    what = "create refuses what exists"
    try:
        store.put(name, b"second", create=True)
    except ObjectExists:
        return Finding(what, True, "")
    except LadingError as error:
        return Finding(what, False, str(error), error.retryable)
    return Finding(what, False, "a second create replaced the first object: this store cannot be a journal")


def _race(store: Store, name: str) -> Finding:
    """Of several creates at the same moment, exactly one may win."""
    what = f"one of {RACERS} concurrent creates wins"
    barrier = threading.Barrier(RACERS)
    outcomes: list[LadingError | None] = []

    def create(index: int) -> None:
        barrier.wait()
        try:
            store.put(name, b"%d" % index, create=True)
        except LadingError as error:
            outcomes.append(error)
        else:
            outcomes.append(None)

    threads = [threading.Thread(target=create, args=(index,)) for index in range(RACERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    others = [error for error in outcomes if error is not None and not isinstance(error, ObjectExists)]
    if others or len(outcomes) < RACERS:
        said = str(others[0]) if others else "a create failed unexpectedly"
        return Finding(what, False, said, bool(others) and all(error.retryable for error in others))
    winners = outcomes.count(None)
    return Finding(
        what, winners == 1, "" if winners == 1 else f"{winners} of them won: this store cannot be a journal"
    )
