# D9: verify_destination_permissions
"""A destination that does not take writing is found out before rows are read for it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from worlds import World, ids, some_orders

from lading.errors import StoreDenied
from lading.ports import Query, Reading, Source
from lading.run import run
from lading.stores.local import LocalStore
from lading.testing.faults import Faults


class Watched:
    """A source that remembers whether it was opened, and how many parts were read."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.opened = 0

    def open(self, query: Query) -> AbstractContextManager[Reading]:
        self.opened += 1
        return self._source.open(query)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)


@pytest.mark.parametrize("known", [True, False], ids=["tenants are known", "tenants are met"])
def test_a_destination_that_refuses_writing_fails_before_any_row_is_spilled_for_it(
    tmp_path: Path, known: bool
) -> None:
    world = World(some_orders(), lake=LocalStore(tmp_path / "lake"))
    faults = Faults(denied={"write"})
    job = world.job(lake=faults.wrap(world.lake), listed=("a", "b", "c") if known else ())
    source = Watched(job.source)
    results = run(replace(job, source=source))
    assert {(r.status, r.exit_code) for r in results} == {("failed", StoreDenied.exit_code)}
    asked = [point.operation for point in faults.points if point.operation not in ("list", "put")]
    assert asked
    assert set(asked) == {"probe_write"}
    if known:
        assert source.opened == 0
    assert {r.status for r in run(world.job())} == {"succeeded"}
    assert ids(world.lake) == dict.fromkeys(world.table["id"].to_pylist(), 1)


def test_each_destination_is_asked_once_in_an_attempt(tmp_path: Path) -> None:
    world = World(some_orders(months=1), lake=LocalStore(tmp_path / "lake"))
    faults = Faults()
    results = run(world.job(lake=faults.wrap(world.lake)))
    assert {r.status for r in results} == {"succeeded"}
    probed = [point.name for point in faults.points if point.operation == "probe_write"]
    assert len(probed) == len({r.interval for r in results})
    assert not [info.name for info in world.lake.list() if info.name.endswith("_probe")]
