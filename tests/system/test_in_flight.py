"""A transaction that is held open while runs go by: whatever it wrote before its commit is delivered after it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from lading import InvalidProject

pytestmark = pytest.mark.slow

BEHIND = 1.2  # the bound lies a second behind the server's clock
LAG = 8.0
INSERT = "insert into events (id) values (%s)"
EXPORTS = ["incremental", "append"]


def prepare(place: Any, **window: Any) -> None:
    """The same table by two exports, one of each mode."""
    place.sql("create table events (id bigint primary key, made_at timestamptz not null default now())")
    start = (datetime.now(UTC) - timedelta(seconds=3)).replace(microsecond=0).isoformat()
    window = {"column": "made_at", "clock": "transaction", "start": start, **window}
    source = {"connection": "ops", "table": "public.events"}
    for name in EXPORTS:
        place.contract(name, {"id": "integer", "made_at": "timestamp"}, key=["id"])
    place.export(
        "incremental", "incremental", source=source, mode="incremental", window=window, merge_key=["id"]
    )
    place.export("append", "append", source=source, mode="append", window={**window, "every": "1 second"})


def run(place: Any) -> None:
    for name in EXPORTS:
        assert "failed" not in {r.status for r in place.run(name)}


def delivered(place: Any) -> list[list[int]]:
    """The ids in what each export has delivered."""
    found = []
    for name in EXPORTS:
        under = f"test/shop/{name}"
        there = (place.lake / under).is_dir()
        found.append(
            place.read("select id from delivered order by id", under)["id"].to_pylist() if there else []
        )
    return found


@contextmanager
def open_transaction(place: Any, row: int) -> Iterator[None]:
    """Has written ``row`` and not committed yet; commits at the end."""
    with psycopg.connect(place.url) as connection:
        connection.execute(INSERT, (row,))
        yield


def insert(place: Any, row: int) -> None:
    with open_transaction(place, row):
        pass


@pytest.fixture
def blind(place: Any) -> Iterator[Any]:
    """The project, connected as a role that cannot see when the transactions of others began."""
    role = f"reader_{os.getpid()}"
    place.sql(f"create role {role} login", f"alter default privileges grant select on tables to {role}")
    place.environ["DB"] = place.url.replace("postgres@", f"{role}@")
    yield place
    place.sql(f"drop owned by {role}", f"drop role {role}")


def test_a_transaction_open_across_two_runs_loses_no_row(place: Any):  # correction 10
    prepare(place)
    insert(place, 1)
    time.sleep(1.1)
    with open_transaction(place, 2):
        insert(place, 3)  # committed at once, later than the row that is not
        time.sleep(BEHIND + 1)
        for _ in range(2):
            run(place)
            assert not [
                ids for ids in delivered(place) if 3 in ids
            ]  # or row 2 would lie behind the watermark
    time.sleep(BEHIND + 1)
    run(place)
    assert delivered(place) == [[1, 2, 3], [1, 2, 3]]
    assert place.verify().problems == []


@pytest.mark.parametrize("export", EXPORTS)
def test_where_the_bound_is_unknown_a_safety_lag_is_demanded(blind: Any, export: str):  # correction 10
    prepare(blind)
    with pytest.raises(InvalidProject, match=rf"{export}: .*pg_read_all_stats.*safety_lag"):
        blind.run(export)
    assert not blind.markers()


def test_a_safety_lag_longer_than_the_transaction_loses_no_row(blind: Any):  # correction 10
    prepare(blind, safety_lag=f"{LAG:.0f}s")
    insert(blind, 1)
    time.sleep(1.1)
    began = time.monotonic()
    with open_transaction(blind, 2):
        insert(blind, 3)
        run(blind)
        time.sleep(1.1)
        if time.monotonic() - began < LAG / 2:  # where the machine is slow, one run has to do
            run(blind)
    time.sleep(max(0.0, LAG + 1 - (time.monotonic() - began)))
    run(blind)
    time.sleep(1.1)
    run(blind)
    assert delivered(blind) == [[1, 2, 3], [1, 2, 3]]
    assert blind.verify().problems == []
