"""What wrappers have in common: they pass a store's calls on, and can do what the inner store can."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from lading.ports import Copier, Download, Linker, LinkLister, ObjectInfo, Prober, Store, Swapper, Upload

T = TypeVar("T")


class Wrapper:
    """A store that passes on what it is asked, call by call, through `_call`.

    ``copy``, ``link``, ``links``, ``probe_write`` and ``swap`` are given to an instance only if the inner store has
    them, so that ``isinstance(store, Copier)`` tells the truth of a wrapped store as well.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.url = store.url
        if isinstance(store, Copier):
            vars(self)["copy"] = self._copying(store)
        if isinstance(store, Linker):
            vars(self)["link"] = self._signing(store)
        if isinstance(store, LinkLister):
            vars(self)["links"] = self._linking(store)
        if isinstance(store, Prober):
            vars(self)["probe_write"] = self._probing(store)
        if isinstance(store, Swapper):
            vars(self)["swap"] = self._swapping(store)

    def put(self, name: str, data: bytes, *, create: bool = False) -> None:
        self._call(lambda: self._store.put(name, data, create=create))

    def get(self, name: str) -> bytes:
        return self._call(lambda: self._store.get(name))

    def write(self, name: str) -> Upload:
        return self._call(lambda: self._store.write(name))

    def read(self, name: str) -> Download:
        return self._call(lambda: self._store.read(name))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        return self._call(lambda: self._store.list(prefix))

    def delete(self, name: str) -> None:
        self._call(lambda: self._store.delete(name))

    def _copying(self, store: Copier) -> Callable[[str, str], None]:
        def copy(source: str, target: str) -> None:
            self._call(lambda: store.copy(source, target))

        return copy

    def _signing(self, store: Linker) -> Callable[[str, int], str]:
        def link(name: str, seconds: int) -> str:
            return self._call(lambda: store.link(name, seconds))

        return link

    def _linking(self, store: LinkLister) -> Callable[[str], Sequence[str]]:
        def links(prefix: str = "") -> Sequence[str]:
            return self._call(lambda: store.links(prefix))

        return links

    def _probing(self, store: Prober) -> Callable[[str], None]:
        def probe_write(name: str) -> None:
            self._call(lambda: store.probe_write(name))

        return probe_write

    def _swapping(self, store: Swapper) -> Callable[[str, bytes | None, bytes], bool]:
        def swap(name: str, expected: bytes | None, data: bytes) -> bool:
            return self._call(lambda: store.swap(name, expected, data))

        return swap

    def _call(self, act: Callable[[], T]) -> T:
        return act()
