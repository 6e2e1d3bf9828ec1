"""Runs that end in bundles may be killed anywhere, as all others, and nothing of what was staged is left."""

# S3 D15
from __future__ import annotations

import contextlib
import json
import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from worlds import World, snapshot, some_orders

from lading.channels.bundle import BundleChannel
from lading.channels.drop import Destination
from lading.export.layout import Layout
from lading.formats.jsonl import JsonlFormat, JsonlOptions
from lading.ports import Store
from lading.proof import verify
from lading.proof.archives import Archive
from lading.run import Job, run
from lading.testing.faults import Crash, Faults

KINDS: dict[str, dict[str, Any]] = {
    "append": {},
    "full_refresh": {"mode": "full_refresh"},
    "incremental": {"mode": "incremental"},
    "one tenant, several lanes": {"tenants": False, "workers": 1},
}


def papers(manifest: Mapping[str, Any]) -> list[tuple[str, bytes]]:
    return [("openapi.json", b"{}")]


def job(world: World, faults: Faults | None, kind: Mapping[str, Any]) -> Job:
    lake, journal = world.lake, world.journal
    if faults is not None:
        lake, journal = faults.wrap(lake, "lake"), faults.wrap(journal, "journal")
    channel = BundleChannel(
        [Destination("lake", lake)],
        Layout(tenanted=kind.get("tenants", True)),
        JsonlFormat(JsonlOptions()),
        "portable",
        export="orders_drop",
        pointer=kind.get("mode") == "full_refresh",
        papers=papers,
    )
    return world.job(journal=journal, channel=channel, lease=0.05 if faults is None else 3600, **kind)


def ids(store: Store) -> Counter[int]:
    """The ids in all bundles that have their marker."""
    found: Counter[int] = Counter()
    for marker in [info.name for info in store.list() if info.name.endswith("/_SUCCESS")]:
        name = f"{marker.rpartition('/')[0]}/{json.loads(store.get(marker))['bundle']}"
        archive = Archive(store.read(name), name)
        for file in json.loads(archive.get(f"{name}/manifest.json"))["files"]:
            lines = archive.get(f"{name}/{file['name']}").splitlines()
            found.update(json.loads(line)["id"] for line in lines)
    return found


def killed_everywhere(kind: Mapping[str, Any], most: int) -> None:
    world, faults = World(some_orders(months=1)), Faults()
    run(job(world, faults, kind))
    expected = Counter(world.table["id"].to_pylist())
    assert ids(world.lake) == expected
    every = [(n, side) for n in range(1, faults.count + 1) for side in ("before", "after")]
    for point, side in random.Random(f"lading {sorted(kind)}").sample(every, min(most, len(every))):
        world = World(some_orders(months=1))
        with contextlib.suppress(Crash):
            run(job(world, Faults(crash=(point, side)), kind))
        results = run(job(world, None, kind))
        told = f"{kind}, killed {side} point {point}"
        assert not [r for r in results if r.status == "failed"], told
        assert ids(world.lake) == expected, told
        report = verify(world.lake)
        assert (report.record()["problems"], report.notes) == ([], []), told
        assert not [name for name in snapshot(world.lake) if "_parts/" in name], told
        before = snapshot(world.lake)
        run(job(world, None, kind))
        assert snapshot(world.lake) == before, told


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_killed_somewhere_and_called_again_delivers_as_if_undisturbed(kind: str) -> None:
    killed_everywhere(KINDS[kind], 12)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_run_killed_anywhere_and_called_again_delivers_as_if_undisturbed(kind: str) -> None:
    killed_everywhere(KINDS[kind], 150)


def test_the_pointer_names_the_newest_bundle_and_what_it_replaced_expires() -> None:
    world = World(some_orders(months=1, customers="a"))
    for day in (1, 2, 3, 4):
        world.now = world.now.replace(day=day)
        run(job(world, None, {"mode": "full_refresh", "keep": 1}))
    assert verify(world.lake).record()["problems"] == []
    objects = snapshot(world.lake)
    (pointer,) = [name for name in objects if name.endswith("/latest.json")]
    told = json.loads(objects[pointer])
    assert told["bundle"].endswith(".zip")
    assert told["interval"]["start"] == "2024-06-04T00:00:00Z"
    bundle = f"{pointer.rpartition('/')[0]}/{told['bundle']}".replace("/orders_drop/../", "/")
    assert bundle in objects


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"sha256": "0" * 64}, "which is not the bundle that it names"),
        ({"bundle": "../nothing.zip"}, "which is not there"),
        ({"bundle": "../_SUCCESS"}, "points to what is no bundle"),
        ({"bundle": "../../../../../../../../etc/x.zip"}, "points to what is no bundle"),
        ({"run_id": "f" * 32}, "says other of"),
        ({"more": 1}, "is damaged: not a pointer"),
    ],
)
def test_a_pointer_that_was_changed_is_caught(change: Mapping[str, Any], problem: str) -> None:
    from lading.manifest import canonical

    world = World(some_orders(months=1, customers="a"))
    run(job(world, None, {"mode": "full_refresh"}))
    (name,) = [each for each in snapshot(world.lake) if each.endswith("/latest.json")]
    world.lake.put(name, canonical({**json.loads(world.lake.get(name)), **change}))
    assert [problem in told.problem for told in verify(world.lake).problems][:1] == [True]


def test_an_older_pointer_is_caught() -> None:
    world = World(some_orders(months=1, customers="a"))
    kept = b""
    for day in (1, 2):
        world.now = world.now.replace(day=day)
        run(job(world, None, {"mode": "full_refresh"}))
        (name,) = [each for each in snapshot(world.lake) if each.endswith("/latest.json")]
        kept = kept or world.lake.get(name)
    world.lake.put(name, kept)
    assert "is newer" in verify(world.lake).problems[0].problem
    world.lake.delete(name)
    assert "nothing tells which full refresh is the newest" in verify(world.lake).problems[0].problem
