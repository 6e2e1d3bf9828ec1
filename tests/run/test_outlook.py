"""What `plan` says about the run that would follow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from worlds import JANUARY, World, orders, some_orders

from lading.plan import Asked
from lading.run import run
from lading.run.outlook import outlook

MAY = datetime(2024, 5, 4, tzinfo=UTC)


def test_a_run_that_would_look_for_late_rows_has_something_to_do() -> None:
    w = World(some_orders(months=1), bound=MAY - timedelta(days=2))
    job = w.job(late=True)
    run(job)
    assert not outlook(job).something  # every row that has arrived by now was looked for
    w.table = orders(
        [
            *zip(*w.table.to_pydict().values(), strict=True),
            (100, "b", JANUARY + timedelta(hours=9), MAY - timedelta(days=1)),
        ]
    )
    w.bound = MAY
    told = outlook(job)
    assert (told.due, told.late, told.something) == ((), True, True)
    assert told.record()["late"] is True
    assert [r.rows for r in run(job) if r.status == "succeeded"] == [1]
    told = outlook(job)
    assert (told.late, told.something) == (False, False)


def test_whoever_delivers_no_late_rows_looks_for_none() -> None:
    w = World(some_orders(months=1))
    run(w.job())
    w.now += timedelta(seconds=1)
    told = outlook(w.job())
    assert (told.late, told.something) == (False, False)


def test_a_tenant_that_nobody_knows_is_told_before_a_run() -> None:
    w = World(some_orders())
    asked = Asked(tenants=("a", "nobody"))
    assert outlook(w.job(listed=("a",)), asked).unknown_tenants == ("nobody",)
    run(w.job())
    assert outlook(w.job(), asked).record()["unknown_tenants"] == ["nobody"]
    assert outlook(w.job()).unknown_tenants == ()
