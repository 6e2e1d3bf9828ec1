"""What a run has sealed and a later call publishes is looked at before anybody is told that it is whole."""

# D15
from __future__ import annotations

import contextlib

import pytest
from worlds import World, some_orders

from lading.channels.bundle import BundleChannel
from lading.channels.drop import Destination
from lading.export.layout import Layout
from lading.formats.jsonl import JsonlFormat, JsonlOptions
from lading.proof import verify
from lading.run import Job, run
from lading.testing.faults import Crash, Faults

ENDS = {"drop": ".jsonl", "bundle": ".zip"}


def job(channel: str, world: World, faults: Faults | None = None) -> Job:
    lake, journal, lease = world.lake, world.journal, 0.05
    if faults is not None:
        lake, journal, lease = faults.wrap(lake, "lake"), faults.wrap(journal, "journal"), 3600
    if channel == "drop":
        return world.job(journal=journal, lake=lake, lease=lease)
    made = BundleChannel(
        [Destination("lake", lake)],
        Layout(tenanted=True),
        JsonlFormat(JsonlOptions()),
        "portable",
        export="orders_drop",
        papers=lambda manifest: [("openapi.json", b"{}")],
    )
    return world.job(journal=journal, channel=made, lease=lease)


def sealed(channel: str) -> World:
    """A process that died between the seal and the first object that it would have published."""
    world, faults = World(some_orders(months=1)), Faults()
    made = World(some_orders(months=1))
    run(job(channel, made, faults))
    seal = next(p.number for p in faults.points if p.name.endswith("end.json") and p.operation == "create")
    with contextlib.suppress(Crash):
        run(job(channel, world, Faults(crash=(seal, "after"))))
    assert not [info.name for info in world.lake.list() if info.name.endswith("_SUCCESS")]
    return world


def data_of(world: World, channel: str) -> str:
    return next(
        i.name for i in world.lake.list() if i.name.endswith(ENDS[channel]) and "_parts" not in i.name
    )


@pytest.mark.parametrize("channel", ENDS)
def test_a_commit_whose_files_stand_is_rolled_forward(channel: str) -> None:
    world = sealed(channel)
    assert {r.status for r in run(job(channel, world))} <= {"succeeded", "skipped"}
    assert verify(world.lake).ok


@pytest.mark.parametrize("how", ["is gone", "bytes where"])
@pytest.mark.parametrize("channel", ENDS)
def test_a_commit_whose_files_were_removed_or_cut_is_not_published(channel: str, how: str) -> None:
    world = sealed(channel)
    name = data_of(world, channel)
    whole = world.lake.get(name)
    if how == "is gone":
        world.lake.delete(name)
    else:
        world.lake.put(name, whole[:-1])
    staged = [i.name for i in world.lake.list() if "_parts/" in i.name]
    for _ in range(2):
        results = run(job(channel, world))
        failed, *behind = [r for r in results if r.status == "failed"]
        assert {r.tenant for r in behind} <= {failed.tenant}  # nothing newer overtakes it
        assert failed.exit_code == 6
        assert name in (failed.error or "")
        assert how in (failed.error or "")
        folder = name.partition("/data/")[0].rpartition("/")[0]
        assert not [i.name for i in world.lake.list(folder) if i.name.endswith("_SUCCESS")]
    assert [n for n in staged if n.startswith(folder)] == [
        i.name for i in world.lake.list(folder) if "_parts/" in i.name
    ]
    world.lake.put(name, whole)
    assert {r.status for r in run(job(channel, world))} <= {"succeeded", "skipped"}
    assert verify(world.lake).ok


def test_a_destination_that_does_not_list_is_published_to_as_it_was_sealed() -> None:
    world, faults = sealed("drop"), Faults(denied=["list"])
    results = run(world.job(lake=faults.wrap(world.lake, "lake")))
    assert {r.status for r in results} <= {"succeeded", "skipped"}
    assert verify(world.lake).ok


def test_what_is_published_by_the_call_that_sealed_it_costs_no_listing() -> None:
    world, faults = World(some_orders(months=1)), Faults()
    run(job("drop", world, faults))
    listed = {p.name for p in faults.points if (p.store, p.operation) == ("lake", "list")}
    assert not [name for name in listed if name.endswith("-a1/")]
