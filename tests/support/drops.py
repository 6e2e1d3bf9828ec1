"""Drops, and how their readers and the owner of the place look at them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lading.channels.drop import Destination, DropChannel
from lading.errors import StoreDenied
from lading.export.layout import Layout
from lading.formats.jsonl import JsonlFormat, JsonlOptions
from lading.ports import Store
from lading.stores.wrapper import Wrapper


class Guarded(Wrapper):
    """A store whose deletes can be forbidden, as a bucket's policy does."""

    denied = False

    def delete(self, name: str) -> None:
        if self.denied:
            raise StoreDenied(f"{name} may not be deleted")
        super().delete(name)


class DropPlace:
    """A drop to the first of some stores, copied to the others."""

    def __init__(self, *stores: Store, preset: str = "lake") -> None:
        self.stores = {f"s{index}": store for index, store in enumerate(stores)}
        self.guarded = {name: Guarded(store) for name, store in self.stores.items()}
        self.layout = Layout(preset)  # type: ignore[arg-type]

    def channel(self) -> DropChannel:
        destinations = [Destination(name, store) for name, store in self.guarded.items()]
        format = JsonlFormat(JsonlOptions())
        return DropChannel(destinations, self.layout, format, "portable", export="orders_drop", pointer=True)

    def rows(self) -> Mapping[str, Sequence[int]]:
        """As a reader that goes by the success marker; all destinations agree."""
        seen = [self._rows(store) for store in self.stores.values()]
        assert all(rows == seen[0] for rows in seen)
        return seen[0]

    def _rows(self, store: Store) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for marker in [
            info.name for info in store.list() if info.name.rpartition("/")[2] == self.layout.success()
        ]:
            folder = marker.rpartition("/")[0]
            manifest = json.loads(store.get(f"{folder}/{json.loads(store.get(marker))['manifest']}"))
            data = b"".join(store.get(f"{folder}/{file['name']}") for file in manifest["files"])
            assert manifest["run_id"] not in found
            found[manifest["run_id"]] = [json.loads(line)["id"] for line in data.splitlines()]
        return found

    def pointed(self) -> str | None:
        seen = []
        for store in self.stores.values():
            names = [info.name for info in store.list() if info.name.endswith("/latest.json")]
            seen.append(json.loads(store.get(names[0]))["run_id"] if names else None)
        assert len(set(seen)) == 1
        return seen[0]

    def standing(self) -> set[str]:
        return {f"{name}:{info.name}" for name, store in self.stores.items() for info in store.list()}

    def failures(self) -> list[Mapping[str, Any]]:
        store = self.stores["s0"]
        return [json.loads(store.get(i.name)) for i in store.list() if "FAILURE" in i.name.rpartition("/")[2]]

    def deny_deletes(self) -> None:
        for store in self.guarded.values():
            store.denied = True
