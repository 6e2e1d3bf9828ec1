"""Sources that change between runs, and runs that are killed between the changes."""

from __future__ import annotations

import signal
import time
from typing import Any

import pytest

pytestmark = pytest.mark.slow

BEHIND = 1.2  # the bound lies a second behind the server's clock
MOMENTS = ["SweepStarted:1", "RowsRead:1", "FileWritten:2", "RunCommitted:1", "RunPublished:1", "SweepDone:1"]
FIELDS = {
    "id": "integer",
    "customer": "string",
    "sold_at": "timestamp",
    "changed_at": "timestamp",
    "note": "string",
}
TABLE = """create table orders (id bigint primary key, customer text not null, sold_at timestamptz not null,
           changed_at timestamptz not null default now(), note text)"""


def sell(place: Any, first: int, last: int) -> None:
    place.sql(
        "insert into orders (id, customer, sold_at, note) select i, 'c' || i % 3, "
        f"timestamptz '2024-01-01 00:00Z' + (i % 60) * interval '1 day', 'new' from generate_series({first}, {last}) i"
    )


def die(place: Any, export: str, moment: str) -> None:
    time.sleep(BEHIND)
    with place.start(export, die=moment) as child:
        output, error = child.communicate(timeout=120)
    assert child.returncode == -signal.SIGKILL, output + error


def finish(place: Any, export: str) -> None:
    time.sleep(BEHIND)
    assert {r.status for r in place.run(export)} <= {"succeeded", "skipped"}
    report = place.verify()
    assert (report.problems, report.notes) == ([], [])
    runs = [manifest["run_id"] for manifest in place.manifests()]
    assert len(runs) == len(set(runs))


def test_late_rows_are_delivered_once_though_each_run_dies(place: Any):  # D15
    place.sql(TABLE)
    place.contract("orders", FIELDS, key=["id"])
    window = {"column": "sold_at", "clock": "event", "late": {"column": "changed_at"}, "every": "1 month",
              "start": "2024-01-01", "end": "2024-03-01"}  # fmt: skip
    tenants = {"column": "customer", "discover": True}
    place.export("orders_drop", "orders", mode="append", window=window, tenants=tenants)
    for number, moment in enumerate(MOMENTS):
        sell(place, number * 1000, number * 1000 + 999)
        die(place, "orders_drop", moment)
    finish(place, "orders_drop")
    ids = place.read("select id, customer, note from delivered order by id").to_pydict()
    assert list(zip(*ids.values(), strict=True)) == place.answer(
        "select id, customer, note from orders order by id"
    )
    assert "addition" in {manifest["kind"] for manifest in place.manifests()}


def test_merged_changes_equal_the_table_though_each_run_dies(place: Any):  # D7 D15
    place.sql(TABLE)
    place.contract("orders", FIELDS, key=["id"])
    window = {"column": "changed_at", "clock": "transaction", "start": "2024-01-01"}
    tenants = {"column": "customer", "discover": True}
    place.export(
        "orders_drop", "orders", mode="incremental", merge_key=["id"], window=window, tenants=tenants
    )
    for number, moment in enumerate(MOMENTS):
        sell(place, number * 1000, number * 1000 + 999)
        place.sql(f"update orders set note = 'change {number}', changed_at = now() where id % 7 = {number}")
        die(place, "orders_drop", moment)
    finish(place, "orders_drop")
    merged = place.read("""
        select id, customer, note from delivered
        qualify row_number() over (partition by id order by changed_at desc) = 1 order by id""").to_pydict()
    assert list(zip(*merged.values(), strict=True)) == place.answer(
        "select id, customer, note from orders order by id"
    )
    twice = place.read("select id, changed_at, count(*) n from delivered group by all having n > 1")
    assert twice.num_rows == 0  # without a lookback nothing is read twice


def test_the_pointer_of_a_full_refresh_always_leads_to_a_whole_delivery(place: Any):  # D7 D15
    place.sql(TABLE)
    place.contract("orders", FIELDS, key=["id"])
    place.export("orders_drop", "orders", schedule={"every": "1s"}, keep=2)
    for number, moment in enumerate(MOMENTS):
        sell(place, number * 100, number * 100 + 99)
        with place.start("orders_drop", die=moment.partition(":")[0] + ":1") as child:
            child.communicate(timeout=120)
        assert child.returncode == -signal.SIGKILL
        if place.markers():
            assert place.verify().problems == []
        if list(place.lake.rglob("latest.json")):
            (count,) = place.read("select count(*) n from delivered")["n"].to_pylist()
            assert count in {100 * (n + 1) for n in range(number + 1)}
    time.sleep(1.1)
    finish(place, "orders_drop")
    assert place.read("select id from delivered order by id")["id"].to_pylist() == list(
        range(100 * len(MOMENTS))
    )
    assert len(list(place.lake.rglob("latest.json"))) == 1
