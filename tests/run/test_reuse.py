"""Immutable rows of a real PostgreSQL: a new attempt, in a new snapshot, reads only what no earlier one finished."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from worlds import JANUARY, Hooked, World, ids, orders, snapshot

from lading.errors import StoreUnavailable
from lading.plan import Asked
from lading.ports import Dataset, Part, Query
from lading.proof import verify
from lading.run import Result, run
from lading.sources.postgres import PostgresOptions, PostgresSource
from lading.testing.faults import Crash, Faults
from lading.transforms.checks import parse_check

IN_JANUARY = Asked(start=JANUARY, end=datetime(2024, 2, 1, tzinfo=UTC))
REVISED = Asked(start=JANUARY, end=IN_JANUARY.end, revise=True, reason="order 7 was a test")
ROWS = 600


class Counted:
    """A source that tells which parts of it were read, and how many there were."""

    def __init__(self, source: PostgresSource) -> None:
        self._source = source
        self.read: list[int] = []
        self.parts = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    @contextmanager
    def open(self, query: Query) -> Iterator[Any]:
        with self._source.open(query) as reading:
            self.parts = len(reading.survey().parts)
            yield _Counted(reading, self.read)


class _Counted:
    def __init__(self, reading: Any, read: list[int]) -> None:
        self._reading, self._read = reading, read

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reading, name)

    def read(self, part: Part) -> Any:
        self._read.append(part.index)
        return self._reading.read(part)


class Shop:
    """Orders of January in a table of PostgreSQL, and the stores they are delivered to."""

    def __init__(self, url: str) -> None:
        self.url, self.world = url, World(orders([]))
        self.source = Counted(PostgresSource(PostgresOptions(url=url, part_size=8192)))

    def sql(self, *statements: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def run(self, asked: Asked = IN_JANUARY, faults: Faults | None = None, **changes: Any) -> list[Result]:
        """A call, with its own count of what was read."""
        self.source.read = []
        stores: dict[str, Any] = {}
        if faults is not None:
            journal, lake = faults.wrap(self.world.journal, "journal"), faults.wrap(self.world.lake, "lake")
            stores = {"journal": journal, "lake": lake, "lease": 3600}
        given = {"dataset": Dataset(table="orders"), "source": self.source, "immutable": True, "workers": 1}
        return run(self.world.job(tenants=False, **{**given, **stores, **changes}), asked)

    def break_at(self, file: str, **changes: Any) -> None:
        """A call that fails, passingly, when it is about to write that file."""
        failing = iter([True])

        def unreachable(operation: str, name: str) -> None:
            if operation == "write" and file in name and next(failing, False):
                raise StoreUnavailable("gone")

        results = self.run(lake=Hooked(self.world.lake, unreachable), **changes)
        assert [(r.status, r.exit_code) for r in results] == [("failed", 4)]

    def finished(self, attempt: int) -> set[int]:
        """Parts whose files an attempt has noted."""
        names = (name for name in snapshot(self.world.journal) if f"/a{attempt:04d}/parts/" in name)
        return {int(name[-9:-5]) for name in names}

    def sealed(self, attempt: int) -> bool:
        ends = [
            data for name, data in snapshot(self.world.journal).items() if f"/a{attempt:04d}/end.json" in name
        ]
        return any(json.loads(data)["status"] == "sealed" for data in ends)

    def lines(self) -> list[bytes]:
        files = [data for name, data in snapshot(self.world.lake).items() if name.endswith(".jsonl")]
        return sorted(line for data in files for line in data.splitlines())

    def judged(self) -> list[dict[str, Any]]:
        """What the one manifest says of the checks."""
        (manifest,) = (d for n, d in snapshot(self.world.lake).items() if n.endswith("_manifest.json"))
        return list(json.loads(manifest)["validation"]["checks"])

    def assert_whole(self, rows: int = ROWS) -> None:
        """Every row once, in one folder with one marker, and nothing of an attempt that died."""
        assert sum(ids(self.world.lake).values()) == len(ids(self.world.lake)) == rows
        names = [name for name in snapshot(self.world.lake) if "-a" in name]
        assert len({name.partition("-a")[2].partition("/")[0] for name in names}) == 1
        assert sum(name.endswith("_SUCCESS") for name in names) == 1
        assert verify(self.world.lake).record()["problems"] == []
        assert verify(self.world.lake).notes == []


@pytest.fixture
def url(postgres: Any) -> str:
    url = str(postgres.database())
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "create table orders (id int8 primary key, customer text, at timestamptz, arrived timestamptz)"
        )
        connection.execute(
            "insert into orders select i, 'c' || i % 3, at, at from (select i, timestamptz '2024-01-01 00:00Z' "
            f"+ i % 500 * interval '1 hour' as at from generate_series(1, {ROWS}) i) s"
        )
        connection.execute("analyze orders")
    return url


@pytest.fixture
def shop(url: str) -> Shop:
    return Shop(url)


def test_a_retry_reads_only_the_parts_that_no_attempt_finished(shop: Shop, url: str):  # D15
    shop.break_at("_003-001")
    assert shop.finished(1) == {0, 1}
    # The same rows on other pages, beside newer ones: a snapshot of its own, with the same parts.
    shop.sql(
        "update orders set customer = customer where id % 3 = 0",
        "insert into orders select i, 'new', now(), now() from generate_series(10001, 12000) i",
        "vacuum full analyze orders",
    )
    assert [r.status for r in shop.run()] == ["succeeded"]
    assert shop.source.parts > 4
    assert sorted(shop.source.read) == list(range(2, shop.source.parts))
    shop.assert_whole()
    calm = Shop(url)
    calm.run()
    assert shop.lines() == calm.lines()


def test_what_the_first_of_many_attempts_finished_the_last_uses(shop: Shop):
    for file in ("_002-001", "_003-001", "_004-001"):
        shop.break_at(file)
    assert [shop.finished(n) for n in (1, 2, 3)] == [{0}, {0, 1}, {0, 1, 2}]
    assert [r.status for r in shop.run()] == ["succeeded"]
    assert sorted(shop.source.read) == list(range(3, shop.source.parts))
    shop.assert_whole()


@pytest.mark.parametrize("how", ["cut", "longer", "gone"])
def test_a_part_whose_file_was_changed_in_its_size_is_read_again(shop: Shop, how: str) -> None:
    shop.break_at("_003-001")
    lake = shop.world.lake
    name = min(name for name in snapshot(lake) if name.endswith(".jsonl"))
    data = lake.get(name)
    lake.delete(name)
    if how != "gone":
        lake.put(name, data[:-3] if how == "cut" else data + b"\n")
    assert [r.status for r in shop.run()] == ["succeeded"]
    assert sorted(shop.source.read) == [0, *range(2, shop.source.parts)]
    shop.assert_whole()


@pytest.mark.slow
def test_killed_at_any_call_of_a_store_nothing_finished_is_read_again(url: str):  # D15
    dry, calm = Faults(), Shop(url)
    calm.run(faults=dry)
    every = [(p.number, side) for p in dry.points for side in ("before", "after")]
    between = [p.number for p in dry.points if "/parts/" in p.name]
    chosen = random.Random("lading reuse").sample(every, 24) + [
        (n, s) for n in between for s in ("before", "after")
    ]
    used = 0
    for point, side in chosen:
        shop, told = Shop(url), f"killed {side} point {point}"
        faults = Faults(crash=(point, side))
        with contextlib.suppress(Crash):
            shop.run(faults=faults)
        finished, sealed = shop.finished(1), shop.sealed(1)
        assert not [r for r in shop.run() if r.status == "failed"], told
        again = set() if sealed else set(range(shop.source.parts)) - finished
        assert set(shop.source.read) == again, told
        assert len(shop.source.read) == len(again), told
        used += 0 if sealed else len(finished)
        shop.assert_whole()
        assert shop.lines() == calm.lines(), told
        before = snapshot(shop.world.lake)
        shop.run()
        assert snapshot(shop.world.lake) == before, told
    assert used > 20


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (
            "delete from orders where id = 7",
            "An earlier attempt found 600 rows in this interval, and now there are 599",
        ),
        (
            "insert into orders values (700, 'd', '2024-01-05 00:00Z', now())",
            "An earlier attempt found 600 rows in this interval, and now there are 601",
        ),
    ],
)
def test_rows_that_came_or_went_though_declared_immutable_fail_the_retry(shop: Shop, change: str, found: str):
    shop.break_at("_003-001")
    shop.sql(change)
    (result,) = shop.run()
    assert (result.status, result.exit_code) == ("failed", 5)
    assert found in (result.error or "")
    assert shop.source.read == []
    assert not [name for name in snapshot(shop.world.lake) if name.endswith("_SUCCESS")]
    # A revision says that it may be so. It uses nothing of before and reads all in one snapshot.
    assert [r.status for r in shop.run(REVISED)] == ["succeeded"]
    assert sorted(shop.source.read) == list(range(shop.source.parts))
    assert shop.finished(3) == set()
    shop.assert_whole(599 if "delete" in change else 601)


def test_a_row_that_moved_over_the_end_of_a_part_leaves_no_part_of_before(shop: Shop):
    shop.break_at("_003-001")
    shop.sql("update orders set at = at + interval '15 days' where id = 7")
    assert [r.status for r in shop.run()] == ["succeeded"]
    assert sorted(set(shop.source.read)) == list(range(shop.source.parts))
    shop.assert_whole()
    assert not [
        line for line in shop.lines() if b'"id":7,' in line and b"2024-01-01" in line.partition(b"arrived")[0]
    ]


@pytest.mark.parametrize("change", [{"definition": "1" * 64}, {"types": "exact"}])
def test_parts_of_another_definition_are_not_used(shop: Shop, change: dict[str, Any]):
    shop.break_at("_003-001")
    assert [r.status for r in shop.run(**change)] == ["succeeded"]
    assert sorted(shop.source.read) == list(range(shop.source.parts))
    shop.assert_whole()


def test_parts_whose_files_have_gone_are_read_again(shop: Shop):
    shop.break_at("_003-001")
    gone = next(name for name in snapshot(shop.world.lake) if "_001-001" in name)
    shop.world.lake.delete(gone)
    assert [r.status for r in shop.run()] == ["succeeded"]
    assert 0 in shop.source.read
    assert 1 not in shop.source.read
    shop.assert_whole()


def checked(*stated: dict[str, Any], proven: bool = True) -> Any:
    def checks(binding: Any, reading: Any, now: datetime, spill: Any, memory: int) -> list[Any]:
        keys = frozenset({frozenset({"id"})}) if proven else frozenset()
        made = [
            c for one in stated for c in parse_check(one, now=now, memory=memory, spill=spill, proven=keys)
        ]
        for check in made:
            check.bind(binding.read)
        return made

    return checks


COUNTING = (
    {"row_count": {"min": ROWS, "max": ROWS}},
    {"not_null": ["id", "customer"]},
    {"in": {"customer": ["c0", "c1"]}, "on_violation": "warn"},
    {"unique": ["id"]},
)


def test_what_checks_counted_in_a_finished_part_is_remembered(shop: Shop, url: str):
    shop.break_at("_003-001", checks=checked(*COUNTING))
    assert [r.status for r in shop.run(checks=checked(*COUNTING))] == ["succeeded"]
    assert sorted(shop.source.read) == list(range(2, shop.source.parts))
    shop.assert_whole()
    calm = Shop(url)
    calm.run(checks=checked(*COUNTING))
    assert shop.judged() == calm.judged()
    assert {check["name"]: check["violations"] for check in shop.judged()}["in(customer)"] == ROWS // 3


@pytest.mark.parametrize(
    "checks",
    [
        checked(*COUNTING, {"balance": {"column": "id", "by": ["id"]}, "on_violation": "warn"}),
        checked(*COUNTING, proven=False),
        checked(*COUNTING, {"freshness": {"column": "at", "max_age": "9999d"}}),
    ],
    ids=["balance", "keys that nothing proves", "freshness"],
)
def test_checks_that_need_the_rows_see_them_all_and_no_file_is_written_twice(shop: Shop, checks: Any):
    shop.break_at("_003-001", checks=checks)
    written: list[str] = []

    def note(operation: str, name: str) -> None:
        if operation == "write":
            written.append(name)

    assert [r.status for r in shop.run(lake=Hooked(shop.world.lake, note), checks=checks)] == ["succeeded"]
    assert sorted(shop.source.read) == list(range(shop.source.parts))
    assert len(written) == shop.source.parts - 2
    shop.assert_whole()


def test_a_check_that_a_finished_part_broke_still_fails_the_retry(shop: Shop):
    broken = checked({"in": {"customer": ["c0", "c1"]}})
    shop.sql("update orders set customer = 'c1' where at > '2024-01-04' and customer = 'c2'")
    shop.break_at("_003-001", checks=broken)
    (result,) = shop.run(checks=broken)
    assert (result.status, result.exit_code) == ("failed", 5)
    assert "in(customer)" in (result.error or "")


def test_without_the_declaration_a_retry_reads_everything(shop: Shop):
    shop.break_at("_001-001", immutable=False)
    assert shop.finished(1) == set()
    assert [r.status for r in shop.run(immutable=False)] == ["succeeded"]
    assert sorted(shop.source.read) == list(range(shop.source.parts))
    shop.assert_whole()
