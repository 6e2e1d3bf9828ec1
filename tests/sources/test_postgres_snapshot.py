"""The snapshot is taken when everything is locked, and what is known of the rows is known of that snapshot."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from servers import run

from lading.ports import Dataset, Query
from lading.sources import postgres_catalog
from lading.sources.postgres import PostgresOptions, PostgresSource
from lading.testing.source import collect


def source(url: str) -> PostgresSource:
    return PostgresSource(PostgresOptions(url=url))


def test_a_table_truncated_before_it_is_locked_is_read_as_it_was_filled_again(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(url, "create table t (i int)", "insert into t select generate_series(1, 100)")
    lock = postgres_catalog.lock

    def late(*args: Any) -> None:
        run(url, "truncate t; insert into t select generate_series(101, 150)")
        lock(*args)

    monkeypatch.setattr(postgres_catalog, "lock", late)
    with source(url).open(Query(Dataset(table="t"), ("i",))) as reading:
        assert sorted(collect(reading).column("i").to_pylist()) == list(range(101, 151))


def test_an_index_that_came_after_the_snapshot_proves_nothing_of_its_rows(url: str) -> None:
    run(url, "create table t (i int not null, v text)", "insert into t values (1, 'a'), (1, 'b'), (2, 'c')")
    with source(url).open(Query(Dataset(table="t"), ("i",))) as reading:
        run(url, "delete from t where v = 'b'", "create unique index on t (i)")
        assert collect(reading)["i"].to_pylist() == [1, 1, 2]
        assert reading.unique_keys == frozenset()
        assert source(url).unique_keys(Dataset(table="t")) == {frozenset({"i"})}
    with source(url).open(Query(Dataset(table="t"), ("i",))) as reading:
        assert reading.unique_keys == {frozenset({"i"})}


def test_an_index_is_not_dropped_while_a_reading_believes_it(url: str) -> None:
    run(url, "create table t (i int not null)", "create unique index t_i on t (i)")
    for how in ("", "concurrently"):
        with source(url).open(Query(Dataset(table="t"), ("i",))) as reading:
            assert reading.unique_keys == {frozenset({"i"})}
            with pytest.raises(psycopg.errors.LockNotAvailable):
                run(url, "set lock_timeout = '50ms'", f"drop index {how} t_i")
