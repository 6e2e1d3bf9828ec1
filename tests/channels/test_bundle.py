"""A bundle keeps every promise of a channel, and is a ZIP file that everybody can open."""

# S3
from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from drops import DropPlace
from worlds import snapshot

from lading.channels.bundle import BundleChannel
from lading.channels.drop import Destination
from lading.errors import DataRefused, IntegrityError, StoreDenied
from lading.export.layout import Layout, PartitionColumn
from lading.formats.jsonl import JsonlFormat, JsonlOptions
from lading.ports import FileNumber, Sealer, Store
from lading.stores.local import LocalStore
from lading.stores.memory import MemoryStore
from lading.testing.channel import MEMORY, SCHEMA, ChannelSuite, Delivery, batch, never
from lading.testing.faults import Crash, Faults


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


class SealedPlace(BundlePlace):
    """Bundles that are encrypted to tenants' own keys."""

    def __init__(self, *stores: Store) -> None:
        super().__init__(*stores)
        from lading.keys.age import AgeSealer, Recipients

        pyrage: Any = pytest.importorskip("pyrage", reason="the extra age is not installed")
        self.identity = pyrage.x25519.Identity.generate()
        tenants = ("a", "b", "a/b")
        self.sealer = AgeSealer(Recipients({tenant: str(self.identity.to_public()) for tenant in tenants}))

    def opened(self, data: bytes) -> bytes:
        from lading.keys.age import opened_stream

        with contextlib.closing(opened_stream(io.BytesIO(data), [self.identity])) as clear:
            return clear.read()


class TestSealedBundle(ChannelSuite):
    @pytest.fixture
    def place(self) -> SealedPlace:
        return SealedPlace(MemoryStore("memory://lake"), MemoryStore("memory://archive"))


def test_nothing_of_a_sealed_bundle_ever_lies_in_the_clear() -> None:
    store = MemoryStore()
    place, run = SealedPlace(store), Delivery()
    channel = place.channel()
    files = run.write(channel)
    staged = {info.name: store.get(info.name) for info in store.list()}
    assert len(staged) == 2
    assert all("/_parts/data/" in name for name in staged)
    commit = run.commit(channel, files)
    channel.publish(commit, never)
    for data in [*staged.values(), *(store.get(info.name) for info in store.list())]:
        assert b"row 1" not in data
        assert b"quoted" not in data
        assert b"PK\3\4" not in data
    assert place.rows() == {run.run: [1, 2, 3]}


def test_what_another_process_staged_for_a_sealed_bundle_is_written_again() -> None:
    place, run = SealedPlace(MemoryStore()), Delivery()
    files = run.write(place.channel())
    again = Delivery(attempt=2)
    sizes = {file.name: file.bytes for file in files}
    assert not place.channel().reuse(run.names, again.names, sizes)


def test_equal_files_make_an_equal_bundle_in_another_process() -> None:
    script = """
import hashlib
from test_bundle import BundlePlace, Delivery, MemoryStore
store = MemoryStore("memory://lake")
Delivery(tuple(range(100))).deliver(BundlePlace(store).channel())
print([hashlib.sha256(store.get(i.name)).hexdigest() for i in store.list() if i.name.endswith(".zip")])
"""
    here, told = Path(__file__).parent, set()
    for zone, seed in (("UTC", "1"), ("Asia/Tokyo", "2")):
        path = os.pathsep.join([str(here), str(here.parent / "support")])
        environ = {**os.environ, "PYTHONPATH": path, "TZ": zone, "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", script], env=environ, check=True, capture_output=True)
        told.add(done.stdout)
    assert len(told) == 1
    assert len(told.pop()) > 64


def test_two_publishers_one_of_them_killed_anywhere_leave_what_one_leaves() -> None:  # D15
    def committed() -> tuple[MemoryStore, MemoryStore, dict[str, object]]:
        first, second, run = MemoryStore("memory://lake"), MemoryStore("memory://archive"), Delivery()
        channel = BundlePlace(first, second).channel()
        return first, second, run.commit(channel, run.write(channel))

    def publish(first: Store, second: Store, commit: dict[str, object]) -> None:
        BundlePlace(first, second).channel().publish(commit, never)

    first, second, commit = committed()
    faults = Faults()
    publish(faults.wrap(first), faults.wrap(second), commit)
    expected = snapshot(first), snapshot(second)
    assert faults.count > 10
    for point in range(1, faults.count + 1):
        for side in ("before", "after"):
            first, second, commit = committed()
            faults = Faults(crash=(point, side))
            with contextlib.suppress(Crash):
                publish(faults.wrap(first), faults.wrap(second), commit)
            for store in (first, second):
                marked = [name for name in snapshot(store) if name.endswith("_SUCCESS")]
                assert not marked or not [name for name in snapshot(store) if "_parts/" in name]
            publish(first, second, commit)
            assert (snapshot(first), snapshot(second)) == expected, (point, side)


def test_a_commit_is_prepared_twice_with_the_same_outcome() -> None:
    store, run = MemoryStore(), Delivery()
    channel = BundlePlace(store).channel()
    files = run.write(channel)
    assert run.commit(channel, files) == run.commit(channel, files)
    assert run.commit(BundlePlace(store).channel(), files) == run.commit(channel, files)


def test_a_staged_file_that_was_changed_ends_the_run_and_leaves_no_bundle() -> None:
    store, run = MemoryStore(), Delivery()
    channel = BundlePlace(store).channel()
    files = run.write(channel)
    name = next(info.name for info in store.list())
    store.put(name, store.get(name).replace(b"row", b"raw"))
    with pytest.raises(IntegrityError, match="is not what was written there for the bundle"):
        run.commit(channel, files)
    assert not [info.name for info in store.list() if info.name.endswith(".zip")]


def test_names_that_are_one_file_on_other_systems_are_refused_before_the_seal() -> None:
    run = Delivery()
    store = MemoryStore()
    channel = BundleChannel(
        [Destination("lake", store)],
        Layout(partition_by=(PartitionColumn("kind"),)),
        JsonlFormat(JsonlOptions()),
        "portable",
        export="orders_drop",
        papers=papers,
    )
    files = []
    for kind in ("a", "A"):
        writer = channel.open(run.names, FileNumber(0, 1, 1), {"kind": kind}, SCHEMA, MEMORY)
        writer.append(batch((1,)))
        files.append(writer.finish())
    with pytest.raises(DataRefused, match="are one file where case does not count"):
        run.commit(channel, files)


def test_a_destination_that_forbids_deletes_keeps_its_run_unpublished_until_it_allows_them() -> None:
    place, run = BundlePlace(MemoryStore()), Delivery()
    channel = place.channel()
    commit = run.commit(channel, run.write(channel))
    place.deny_deletes()
    with pytest.raises(StoreDenied):
        channel.publish(commit, never)
    assert place.rows() == {}
    for store in place.guarded.values():
        store.denied = False
    place.channel().publish(commit, never)
    assert place.rows() == {run.run: [1, 2, 3]}


@pytest.mark.parametrize("tool", [["unzip", "-tq"], ["bsdtar", "-tf"], ["7z", "t"]])
def test_others_open_it(tool: list[str], tmp_path: Path) -> None:
    if shutil.which(tool[0]) is None:
        pytest.skip(f"{tool[0]} is not installed")
    Delivery().deliver(BundlePlace(LocalStore(tmp_path, durable=False)).channel())
    (bundle,) = tmp_path.rglob("*.zip")
    subprocess.run([*tool, str(bundle)], check=True, capture_output=True)


def test_an_export_that_turned_into_a_drop_still_publishes_what_was_committed_as_a_bundle() -> None:
    place, run = BundlePlace(MemoryStore()), Delivery()
    channel = place.channel()
    commit = run.commit(channel, run.write(channel))
    DropPlace.channel(place).publish(commit, never)
    assert place.rows() == {run.run: [1, 2, 3]}
    assert not [name for name in place.standing() if "_parts/" in name]
