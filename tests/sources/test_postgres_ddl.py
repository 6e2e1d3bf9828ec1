"""TRUNCATE, DROP and rewrites are not bound by snapshots: they wait for a reading, or the reading ends."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from lading.errors import SourceUnavailable
from lading.ports import Dataset, Query
from lading.sources.postgres import PostgresOptions, PostgresSource
from lading.testing.source import collect

TABLES = (
    "create table t as select i, i::text x from generate_series(1, 5000) i",
    "alter table t add primary key (i)",
    "create view v as select i from t where x <> ''",
    "create view w as select i from v",
    "create table p (i int) partition by range (i)",
    "create table p1 partition of p for values from (0) to (3000)",
    "create table p2 partition of p for values from (3000) to (6000)",
    "create table p3 (i int)",
    "insert into p select generate_series(1, 5000)",
    "insert into p3 select generate_series(6000, 6999)",
)
WAITING = {
    "t": (
        "truncate t",
        "drop table t cascade",
        "alter table t alter i type bigint",
        "alter table t drop column x cascade",
        "alter table t add column y int default random()",
        "alter table t rename to u",
        "cluster t using t_pkey",
        "vacuum full t",
        "alter table t set unlogged",
    ),
    "w": ("truncate t", "drop view v cascade", "create or replace view v as select i from t where i < 10"),
    "p": (
        "truncate p2",
        "truncate p",
        "drop table p1",
        "alter table p detach partition p1",
        "vacuum full p2",
    ),
}


@pytest.fixture
def url(postgres: Any) -> str:
    return str(postgres.database())


def run(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def source(url: str, **options: Any) -> PostgresSource:
    return PostgresSource(PostgresOptions(url=url, **options))


@pytest.mark.parametrize("what", [*WAITING, "the query"])
def test_what_snapshots_do_not_bind_waits_for_the_reading(url: str, what: str) -> None:
    run(url, *TABLES)
    dataset = Dataset(sql="select i from w") if what == "the query" else Dataset(table=what)
    with source(url, part_size=65536).open(Query(dataset, ("i",))) as reading:
        for statement in WAITING.get(what, WAITING["w"]):
            with pytest.raises(psycopg.errors.LockNotAvailable):
                run(url, "set lock_timeout = '50ms'", statement)
        assert sorted(collect(reading).column("i").to_pylist()) == list(range(1, 5001))


def test_a_partition_that_comes_during_the_reading_is_not_in_it(url: str) -> None:
    run(url, *TABLES)
    for query in (Query(Dataset(table="p"), ("i",)), Query(Dataset(table="p"), ("i",), whole_parts=True)):
        with source(url, part_size=65536).open(query) as reading:
            number = len(reading.survey().parts)
            first = list(reading.read(reading.survey().parts[0]))
            if not query.whole_parts:
                run(url, "alter table p attach partition p3 for values from (6000) to (7000)")
            rest = [batch for part in reading.survey().parts[1:number] for batch in reading.read(part)]
        assert sum(batch.num_rows for batch in first + rest) == (6000 if query.whole_parts else 5000)


def test_a_partition_that_is_being_detached_is_no_part_of_the_table(url: str) -> None:
    run(url, *TABLES)
    with psycopg.connect(url) as other:
        other.execute("select count(*) from p")  # DETACH … CONCURRENTLY waits for it, after its first half
        with pytest.raises(psycopg.errors.LockNotAvailable):
            run(url, "set lock_timeout = '200ms'", "alter table p detach partition p2 concurrently")
    with psycopg.connect(url) as other:
        (n,) = other.execute("select count(*) from p").fetchone() or (None,)
    with source(url, part_size=8192).open(Query(Dataset(table="p"), ("i",))) as reading:
        assert collect(reading).num_rows == n == 2999


def test_a_reading_that_lost_the_session_with_its_locks_ends_although_the_snapshot_stands(url: str) -> None:
    run(url, *TABLES)
    holder = (
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = 'lading'"
        " and datname = current_database() and backend_xmin is null and state = 'idle in transaction'"
    )
    with source(url, part_size=8192).open(Query(Dataset(table="t"), ("i",))) as reading:
        parts = reading.survey().parts
        assert sum(batch.num_rows for batch in reading.read(parts[0])) > 0
        run(url, holder)
        with pytest.raises(
            psycopg.errors.LockNotAvailable
        ):  # planning took locks in the snapshot's session too
            run(url, "set lock_timeout = '50ms'", "truncate t")
        with pytest.raises(SourceUnavailable, match=r"kept t from changing"):
            list(reading.read(parts[1]))
