"""An error that nobody foresaw, while a sealed run is published, keeps that run back and nothing else."""

# D15
from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from worlds import JANUARY, Hooked, World, ids, some_orders

from lading.events import Event, Unexpected
from lading.plan import Asked
from lading.proof import verify
from lading.run import Result, record, run

VALUE = "ada@example.com"
AGAIN = Asked(start=JANUARY, end=JANUARY.replace(month=2), revise=True, reason="corrected")


def burst(operation: str, part: str) -> Callable[[str, str], None]:
    """A library that has a bug, wherever that part of a name comes up."""

    def hook(called: str, name: str) -> None:
        if called == operation and part in name:
            raise ValueError(VALUE)

    return hook


def published(world: World) -> set[tuple[str, int]]:
    """By tenant and month."""
    known = (r.summary for r in record.runs(world.job().journal))
    return {(r["tenant"], int(r["interval"]["start"][5:7])) for r in known if r["status"] == "published"}


def assert_told(failed: list[Result]) -> None:
    assert {r.exit_code for r in failed} == {1}
    assert all("Committed, but not published yet: Unexpected: ValueError in " in str(r.error) for r in failed)
    assert VALUE not in str(failed)


@pytest.mark.parametrize("part", ["tenant=a/2024/01", "tenant=a/"])
def test_one_run_that_cannot_be_published_for_a_bug_holds_back_its_own_tenant_alone(part: str) -> None:
    world = World(some_orders())
    for asked in (None, None, AGAIN):  # who seals it, who finds it sealed, who revises it
        told: list[Event] = []
        broken = replace(
            world.job(lake=Hooked(world.lake, burst("put", part))),
            on_event=told.append,
        )
        results = run(broken, asked)
        failed = [r for r in results if r.status == "failed"]
        assert {r.tenant for r in failed} == {"a"}
        assert_told(failed)
        assert [str(e.error) for e in told if isinstance(e, Unexpected)] == [VALUE]
        assert published(world) == {(tenant, month) for tenant in "bc" for month in range(1, 5)}
    assert {r.status for r in run(world.job())} <= {"succeeded", "skipped"}
    assert ids(world.lake) == dict.fromkeys(world.table["id"].to_pylist(), 1)
    assert verify(world.lake).ok


def test_what_cannot_be_cleaned_for_a_bug_is_told_and_published_when_that_is_mended() -> None:
    world = World(some_orders())
    with pytest.raises(ValueError, match=VALUE):
        run(world.job(lake=Hooked(world.lake, burst("write", "/2024/01"))))
    # Only what is cleaned is listed there.
    results = run(world.job(lake=Hooked(world.lake, burst("list", "tenant=a/2024/01"))))
    assert_told([r for r in results if r.status == "failed"])
    assert published(world) == set()
    assert {r.status for r in run(world.job())} <= {"succeeded", "skipped"}
    assert ids(world.lake) == dict.fromkeys(world.table["id"].to_pylist(), 1)
