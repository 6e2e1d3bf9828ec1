"""Behind PgBouncer a reading is as exact as without it, or it is refused."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from servers import EMBEDDED, PGBOUNCER, Postgres, found, pooler, run, started

from lading.errors import SchemaMismatch, SourceDenied
from lading.ports import Dataset, Query
from lading.sources.postgres import PostgresOptions, PostgresSource
from lading.testing.source import collect

T = Dataset(table="t")


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    others = found()
    if not PGBOUNCER.exists():
        pytest.skip(f"no PgBouncer in {PGBOUNCER}")
    if not others:
        pytest.skip(f"no server that listens where PgBouncer's user may go, beside the embedded {EMBEDDED}")
    with started(others[max(others)], max(others)) as server:
        yield server


@pytest.fixture(params=["session", "transaction"])
def pooled(request: pytest.FixtureRequest, server: Postgres) -> Iterator[Postgres]:
    with pooler(server, request.param, "ignore_startup_parameters = options") as running:
        yield running


def through(pooled: Postgres, url: str) -> str:
    return pooled.of(url.rpartition("?")[0].rpartition("/")[2])


def behind(pooled: Postgres, url: str, role: str = "postgres", **options: Any) -> PostgresSource:
    """The source of a database, whose URL is ``url`` without the pooler."""
    theirs = through(pooled, url).replace("postgres@", f"{role}@")
    return PostgresSource(PostgresOptions(url=theirs, **options))


def test_all_parts_of_a_pooled_reading_are_of_one_snapshot(server: Postgres, pooled: Postgres) -> None:
    url = server.database()
    run(url, "create table t as select i, 1.5::float8 f, interval '1 day' d from generate_series(1, 20000) i")
    ours = behind(pooled, url, part_size=65536)
    with ours.open(Query(T, ("i", "d"))) as reading:
        parts = reading.survey().parts
        assert len(parts) > 5
        first = list(reading.read(parts[0]))
        run(url, "delete from t where i % 2 = 0", "insert into t select generate_series(20001, 30000)")
        rest = [batch for part in parts[1:] for batch in reading.read(part)]
    assert sorted(i for batch in first + rest for i in batch.column("i").to_pylist()) == list(range(1, 20001))
    assert {d for batch in first + rest for d in batch.column("d").to_pylist()} == {"P1D"}


def test_a_policy_is_an_error_behind_a_pooler_too(server: Postgres, pooled: Postgres) -> None:
    url = server.database()
    run(
        url,
        "drop role if exists fenced",
        "create role fenced login",
        "create table t as select i from generate_series(1, 10) i",
        "grant select on t to fenced",
        "alter table t enable row level security",
        "create policy few on t using (i < 3)",
    )
    try:
        theirs = behind(pooled, url, "fenced")
        with pytest.raises(SourceDenied, match="row-level security"), theirs.open(Query(T, ("i",))):
            pass
    finally:
        run(url, "drop owned by fenced", "drop role fenced")


def test_nothing_of_a_reading_is_left_in_the_sessions_of_the_pool(server: Postgres, pooled: Postgres) -> None:
    url = server.database()
    run(url, "create table t as select i from generate_series(1, 100) i")
    ours = behind(pooled, url)
    for _ in range(8):
        assert ours.describe(T, "portable").names == ["i"]
        with ours.open(Query(T, ("i",))) as reading:
            assert collect(reading).num_rows == 100
    with pytest.raises(SchemaMismatch):
        ours.describe(Dataset(table="a b c"), "portable")
    with psycopg.connect(through(pooled, url), autocommit=True, prepare_threshold=None) as other:
        other.execute("insert into t values (101)")  # not read-only
        assert other.execute("select count(*) from pg_prepared_statements").fetchone() == (0,)
        for setting in ("row_security", "lock_timeout", "TimeZone"):
            (value, usual) = other.execute(
                "select setting, reset_val from pg_settings where name = %s", (setting,)
            ).fetchone() or (1, 2)
            assert value == usual, setting


def test_the_bound_behind_a_pooler_knows_its_own_readings_from_writers(
    server: Postgres, pooled: Postgres
) -> None:
    url = server.database()
    run(url, "create table t as select i from generate_series(1, 100) i")
    ours = behind(pooled, url)
    with ours.open(Query(T, ("i",))):
        bound = ours.bound()
        assert bound.at == bound.now - timedelta(seconds=1)
        with psycopg.connect(url) as writer:
            (began,) = writer.execute("select now()").fetchone() or (None,)
            assert ours.bound().at == began - timedelta(seconds=1)


def test_a_pool_of_statements_is_refused(server: Postgres) -> None:
    url = server.database()
    run(url, "create table t (i int)")
    with pooler(server, "statement") as pooled:
        ours = behind(pooled, url)
        with pytest.raises(SourceDenied, match="pooler has no transactions"), ours.open(Query(T, ("i",))):
            pass


def test_options_that_a_pooler_does_not_take_are_refused_with_what_to_do(server: Postgres) -> None:
    url = server.database()
    with pooler(server, "session") as pooled:
        ours = PostgresSource(PostgresOptions(url=through(pooled, url) + "&options=-c%20search_path%3Dx"))
        with pytest.raises(SourceDenied, match="options") as error:
            ours.test()
        assert "pooler" in str(error.value.hint)
        assert "PostgreSQL" in behind(pooled, url).test()
