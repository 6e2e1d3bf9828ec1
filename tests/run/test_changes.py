"""What changes between two calls: tenants, definitions, stores, keyrings. Rows are neither lost nor doubled by it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from worlds import JANUARY, Hooked, World, ids, orders, snapshot, some_orders

from lading.errors import IntegrityError, InvalidProject, StoreUnavailable
from lading.export.interval import grid, parse_every
from lading.plan import Asked
from lading.run import run
from lading.stores.memory import MemoryStore


def day(month: int, number: int = 1) -> datetime:
    return datetime(2024, month, number, tzinfo=UTC)


def rows_of(w: World) -> list:
    return [*zip(*w.table.to_pydict().values(), strict=True)]


def every_id(w: World) -> Counter[int]:
    return Counter(w.table["id"].to_pylist())


def test_a_revision_leaves_an_inactive_tenant_alone():
    w = World(some_orders(months=1, customers="ab"))
    run(w.job())
    asked = Asked(start=JANUARY, end=day(2), revise=True, reason="prices mended")
    run(w.job(listed=("a",), inactive=("b",)), asked)
    assert ids(w.lake) == every_id(w)


def test_an_inactive_tenant_catches_up_once_it_is_active_again():
    w = World(some_orders(months=2, customers="ab"))
    run(w.job(listed=("a",), inactive=("b",)))
    assert not [name for name in snapshot(w.lake) if "tenant=b" in name]
    run(w.job(listed=("a", "b")))
    assert ids(w.lake) == every_id(w)


def test_a_tenant_that_is_discovered_after_it_was_inactive_catches_up():
    for mode in ("append", "incremental"):
        w = World(some_orders(months=2, customers="ab"))
        run(w.job(mode=mode, listed=("a",), inactive=("b",)))
        run(w.job(mode=mode))
        assert ids(w.lake) == every_id(w), mode


def test_late_rows_of_an_inactive_tenant_are_found_when_it_is_active_again():
    w = World(some_orders(months=1, customers="ab"), bound=day(5, 2))
    run(w.job(late=True))
    w.table = orders([*rows_of(w), (100, "b", JANUARY, day(5, 3))])
    w.bound = day(5, 4)
    run(w.job(late=True, listed=("a",), inactive=("b",)))
    w.bound = day(5, 6)
    run(w.job(late=True, listed=("a",), inactive=("b",)))
    run(w.job(late=True, listed=("a", "b")))
    assert ids(w.lake) == every_id(w)


def test_a_late_row_of_an_interval_that_was_swept_empty_is_found():
    february = (0, "a", day(2, 2), day(2, 2))
    w = World(orders([february]), bound=day(5, 2))
    run(w.job(late=True))
    w.table, w.bound = orders([february, (1, "a", day(1, 5), day(5, 3))]), day(5, 4)
    run(w.job(late=True))
    assert ids(w.lake) == Counter([0, 1])


def stepping(job, every: str):
    """The job with another grid."""
    intervals = tuple(grid(JANUARY, parse_every(every), last=day(5)))
    before = job.standing
    return replace(job, standing=lambda clock, upto: replace(before(clock, upto), grid=intervals))


def test_a_wider_grid_over_what_was_swept_is_refused():
    w = World(orders([]), bound=day(2))
    run(stepping(w.job(), "1 day"))
    w.table, w.bound = orders([(0, "a", day(1, 20), day(1, 20))]), day(5)
    with pytest.raises(InvalidProject, match=r"window\.every cuts"):
        run(w.job())


def test_a_grid_that_changes_after_a_failed_attempt_is_refused_and_does_not_hang():
    w = World(some_orders(months=1))

    def down(operation: str, name: str) -> None:
        if operation == "write":
            raise StoreUnavailable("gone")

    asked = Asked(start=JANUARY, end=day(2))
    run(w.job(lake=Hooked(w.lake, down)), asked)
    with pytest.raises(InvalidProject, match="had another end"):
        run(stepping(w.job(), "1 day"), asked)


def test_a_journal_with_a_gap_is_refused_and_does_not_hang():
    w = World(some_orders(months=1))
    run(w.job(discover=False, listed=("a",)))
    run(w.job(discover=False, listed=("a",)))
    for info in list(w.journal.list("sweeps/orders_drop/20240101T000000Z/a0001/")):
        w.journal.delete(info.name)
    with pytest.raises(IntegrityError, match="lost attempts"):
        run(w.job())


def test_tenants_that_come_later_are_refused():
    w = World(some_orders(months=1))
    run(w.job(tenants=False))
    with pytest.raises(InvalidProject, match=r"tenants\.column was not set"):
        run(w.job())


def test_a_commit_is_never_published_where_its_files_are_not():
    w = World(some_orders(months=1))

    class Died(BaseException):
        pass

    def die(operation: str, name: str) -> None:
        if operation == "put" and name.endswith("_manifest.json"):
            raise Died

    with pytest.raises(Died):
        run(w.job(lake=Hooked(w.lake, die)))
    moved = MemoryStore("memory://elsewhere")
    failed = [r for r in run(w.job(lake=moved)) if r.status == "failed"]
    assert failed
    assert "is another place now" in (failed[0].error or "")
    assert not [name for name in snapshot(moved) if "2024/01" in name]
    run(w.job())
    assert ids(w.lake) == every_id(w)


def test_another_question_to_the_source_is_no_shrunken_answer():
    w = World(some_orders(months=1))
    run(w.job(), Asked(tenants=("b", "c", "typo"), start=JANUARY, end=day(2)))
    results = run(w.job(), Asked(tenants=("a",), start=JANUARY, end=day(2)))
    assert {r.status for r in results} == {"succeeded"}


def test_parts_masked_under_another_key_are_not_used_again():
    from lading.keys.memory import MemoryKeyring

    w = World(some_orders(months=1, per_customer=6))
    failing = iter([True])

    def unreachable(operation: str, name: str) -> None:
        if operation == "write" and "_003-001" in name and next(failing, False):
            raise StoreUnavailable("gone")

    january, read = Asked(start=JANUARY, end=day(2)), []
    settings = {"tenants": False, "workers": 1, "keyed": True}
    run(w.job(lake=Hooked(w.lake, unreachable), **settings), january)
    w.extra = {"before_batch": lambda part, batch: read.append(part.index)}
    run(replace(w.job(**settings), keys=MemoryKeyring(b"another")), january)
    assert 0 in read
    assert ids(w.lake) == every_id(w)


def test_the_journal_keeps_no_statistics_of_hidden_columns():
    w = World(some_orders(months=1))
    run(w.job(tenants=False))
    parts = [data for name, data in snapshot(w.journal).items() if "/parts/" in name]
    assert any(b'"id":' in data for data in parts)
    assert not any(b'"customer":' in data for data in parts)


def test_what_a_pointer_still_names_does_not_expire():
    w = World(some_orders(months=1, customers="a"))
    for _ in range(3):
        run(w.job(mode="full_refresh", keep=1, lease=0.0))
        w.now += timedelta(days=1)
    pointers = [name for name in snapshot(w.lake) if name.endswith("latest.json")]
    assert len(pointers) == 1
    assert ids(w.lake) == every_id(w)
