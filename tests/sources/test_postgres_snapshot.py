"""The snapshot is taken when everything is locked, and what is known of the rows is known of that snapshot."""

from __future__ import annotations

from typing import Any

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
