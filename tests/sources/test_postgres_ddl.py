"""TRUNCATE, DROP and rewrites are not bound by snapshots: they wait for a reading, or the reading ends."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from servers import run

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


SWAPPED = (
    "create schema live",
    "create schema next",
    "create type live.state as enum ('open', 'closed')",
    "create type live.pair as (a int, b int)",
    "create table live.t (i int not null, s live.state, p live.pair[], x text)",
    "insert into live.t select i, 'open', array[(1, i)::live.pair], repeat('x', 50) from generate_series(1, 5000) i",
    "create view live.v as select * from live.t",
    "create table next.t (like live.t)",
    "insert into next.t select -i, 'closed', null, repeat('y', 50) from generate_series(1, 5000) i",
    "create view next.v as select * from next.t",
    "create table live.parent (like live.t)",
    "insert into live.parent select * from live.t",
    "create table live.first () inherits (live.parent)",
    "create table live.child (like live.t)",
    "insert into live.child select i, 'open', null, 'z' from generate_series(6001, 7000) i",
)
SWAP = ("alter schema live rename to old", "alter schema next rename to live")
CHANGES = [
    (Dataset(table="live.t"), SWAP),
    (Dataset(table="live.v"), SWAP),
    (Dataset(sql="select * from live.t"), SWAP),
    (Dataset(table="live.t"), ("alter schema live rename to old",)),
    (Dataset(sql="select * from live.parent"), ("alter table live.child inherit live.parent",)),
    (Dataset(table="live.t"), ("alter type live.state rename value 'open' to 'pending'",)),
    (Dataset(table="live.v"), ("alter type live.state rename value 'open' to 'pending'",)),
    (Dataset(table="live.t"), ("alter type live.pair rename attribute b to c",)),
]


@pytest.mark.parametrize(("dataset", "changes"), CHANGES)
def test_two_states_of_what_no_lock_keeps_are_never_read_together(
    url: str, dataset: Dataset, changes: tuple[str, ...]
) -> None:
    """A part that was read before the change stands; none that may have met it does."""
    run(url, *SWAPPED)
    with source(url, part_size=65536).open(Query(dataset, ("i", "s", "p"))) as reading:
        first, *rest = reading.survey().parts
        if rest:
            assert sum(batch.num_rows for batch in reading.read(first)) > 0
        run(url, *changes)
        with pytest.raises(SourceUnavailable, match="was changed while it was read"):
            list(reading.read(rest[0] if rest else first))


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("table", ["live.t", "live.parent"])
def test_a_child_that_comes_during_the_reading_is_not_in_it(url: str, table: str, whole: bool) -> None:
    run(url, *SWAPPED, f"analyze {table}")
    query = Query(Dataset(table=table), ("i",), whole_parts=whole)
    with source(url, part_size=65536).open(query) as reading:
        parts = reading.survey().parts
        assert len(parts) > 1 or whole
        found = [] if whole else list(reading.read(parts[0]))
        run(url, f"alter table live.child inherit {table}")
        if whole and table == "live.parent":
            with pytest.raises(SourceUnavailable, match="its partitions or children"):
                list(reading.read(parts[0]))
            return
        found += [batch for part in parts[len(parts) > 1 :] for batch in reading.read(part)]
    assert sum(batch.num_rows for batch in found) == 5000


def test_labels_that_come_or_change_elsewhere_end_no_reading(url: str) -> None:
    run(url, *SWAPPED, "create type other as enum ('a')")
    with source(url).open(Query(Dataset(table="live.t"), ("i", "s"))) as reading:
        run(url, "alter type live.state add value 'late'", "alter type other rename value 'a' to 'b'",
            "create index on live.t (i)", "grant select on live.t to public",
            "alter schema next rename to later")  # fmt: skip
        assert collect(reading).num_rows == 5000


def test_children_are_read_one_by_one_where_the_role_may_and_with_their_parent_where_not(url: str) -> None:
    run(url, *SWAPPED, "create schema hidden", "create table hidden.more () inherits (live.parent)",
        "insert into hidden.more select * from live.child", "create role reader login",
        "grant usage on schema live to reader", "grant select on live.parent, hidden.more to reader")  # fmt: skip
    try:
        for user in ("postgres", "reader"):
            theirs = source(url.replace("postgres@", f"{user}@"), part_size=65536)
            with theirs.open(Query(Dataset(table="live.parent"), ("i",))) as reading:
                assert (len(reading.survey().parts) > 1) == (user == "postgres")
                assert sum(collect(reading).column("i").to_pylist()) == sum(range(5001)) + sum(
                    range(6001, 7001)
                )
    finally:
        run(url, "drop owned by reader", "drop role reader")
