"""A folder of a store, as a store of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from lading.ports import Download, LinkLister, ObjectInfo, Store, Upload


class Within:
    """What lies in ``folder`` (with its trailing slash) of ``store``, by names relative to it."""

    def __init__(self, store: Store, folder: str) -> None:
        self._store, self._folder = store, folder
        slash = "" if store.url.endswith("/") else "/"
        self.url = f"{store.url}{slash}{folder.rstrip('/')}"
        if isinstance(store, LinkLister):
            vars(self)["links"] = self._linking(store)

    def put(self, name: str, data: bytes, *, create: bool = False) -> None:
        self._store.put(self._folder + name, data, create=create)

    def get(self, name: str) -> bytes:
        return self._store.get(self._folder + name)

    def write(self, name: str) -> Upload:
        return self._store.write(self._folder + name)

    def read(self, name: str) -> Download:
        return self._store.read(self._folder + name)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        for info in self._store.list(self._folder + prefix):
            yield replace(info, name=info.name.removeprefix(self._folder))

    def delete(self, name: str) -> None:
        self._store.delete(self._folder + name)

    def _linking(self, store: LinkLister) -> Callable[[str], Sequence[str]]:
        def links(prefix: str = "") -> Sequence[str]:
            return [name.removeprefix(self._folder) for name in store.links(self._folder + prefix)]

        return links
