"""A bundle keeps every promise of a channel, and is a ZIP file that everybody can open."""

# S3
from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from drops import DropPlace

from lading.channels.bundle import BundleChannel
from lading.channels.drop import Destination
from lading.formats.jsonl import JsonlFormat, JsonlOptions
from lading.ports import Sealer, Store
from lading.stores.local import LocalStore
from lading.stores.memory import MemoryStore
from lading.testing.channel import ChannelSuite


def papers(manifest: Mapping[str, Any]) -> list[tuple[str, bytes]]:
    return [("openapi.json", b"{}"), ("samples/orders.json", b"[]")]


class BundlePlace(DropPlace):
    """Bundles to the first of some stores, copied to the others."""

    sealer: Sealer | None = None

    def channel(self) -> BundleChannel:
        destinations = [Destination(name, store) for name, store in self.guarded.items()]
        format = JsonlFormat(JsonlOptions())
        return BundleChannel(
            destinations,
            self.layout,
            format,
            "portable",
            export="orders_drop",
            pointer=True,
            papers=papers,
            sealer=self.sealer,
        )

    def _rows(self, store: Store) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for marker in [i.name for i in store.list() if i.name.rpartition("/")[2] == self.layout.success()]:
            folder, told = marker.rpartition("/")[0], json.loads(store.get(marker))
            data = store.get(f"{folder}/{told['bundle']}")
            assert hashlib.sha256(data).hexdigest() == told["bundle_sha256"]
            with zipfile.ZipFile(io.BytesIO(self.opened(data))) as archive:
                assert archive.testzip() is None
                manifest = json.loads(archive.read("manifest.json"))
                lines = b"".join(archive.read(file["name"]) for file in manifest["files"]).splitlines()
            found[manifest["run_id"]] = [json.loads(line)["id"] for line in lines]
        return found

    def opened(self, data: bytes) -> bytes:
        return data


class TestBundleInMemory(ChannelSuite):
    @pytest.fixture
    def place(self) -> BundlePlace:
        return BundlePlace(MemoryStore("memory://lake"))


class TestBundleOnDisk(ChannelSuite):
    @pytest.fixture
    def place(self, tmp_path: Path) -> BundlePlace:
        return BundlePlace(LocalStore(tmp_path, durable=False), preset="dated")


class TestBundleWithACopy(ChannelSuite):
    @pytest.fixture
    def place(self, tmp_path: Path) -> BundlePlace:
        return BundlePlace(MemoryStore("memory://lake"), LocalStore(tmp_path, durable=False))
