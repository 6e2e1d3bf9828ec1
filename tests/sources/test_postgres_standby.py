"""A streaming standby: nothing is known of writers there, and the primary may end what is read."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from servers import DEBIAN, Postgres, found, run, standby, started

from lading import Project
from lading.errors import InvalidProject, SourceUnavailable
from lading.events import RowsRead
from lading.ports import Dataset, Query
from lading.sources.postgres import PostgresOptions, PostgresSource

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Postgres, Postgres]]:
    """A primary, and a standby that gives way to it at once."""
    if 15 not in found():
        pytest.skip(f"no PostgreSQL in {DEBIAN}, which brings pg_basebackup")
    with (
        started(DEBIAN, 15, "hot_standby_feedback = off") as primary,
        standby(primary, "max_standby_streaming_delay = 0\nhot_standby = on") as second,
    ):
        yield primary, second


@pytest.fixture
def urls(pair: tuple[Postgres, Postgres]) -> tuple[str, str]:
    """Of a new database, on the primary and on the standby."""
    url = pair[0].database()
    run(url, "create table orders as select i as id, timestamptz '2024-01-01' + i * interval '1 minute' as at,"
        " repeat('x', 500) as note from generate_series(0, 99999) i", "vacuum (analyze) orders")  # fmt: skip
    theirs = pair[1].of(url.rpartition("?")[0].rpartition("/")[2])
    assert catch_up(url, theirs)
    return url, theirs


def catch_up(url: str, theirs: str, seconds: float = 120) -> bool:
    """Whether the standby has replayed, within these seconds, what the primary has written."""
    with psycopg.connect(url, autocommit=True) as primary:
        (upto,) = primary.execute("select pg_current_wal_insert_lsn()").fetchone() or (None,)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            with psycopg.connect(theirs, autocommit=True) as other:
                if other.execute("select pg_last_wal_replay_lsn() >= %s", (upto,)).fetchone() == (True,):
                    return True
        except psycopg.OperationalError:  # the database is not there yet
            continue
    return False


def source(url: str, **options: Any) -> PostgresSource:
    return PostgresSource(PostgresOptions(url=url, **options))


def test_the_bound_is_unknown_on_a_standby(urls: tuple[str, str]) -> None:
    bound = source(urls[1]).bound()
    assert bound.at is None
    assert "standby" in bound.why
    assert "a standby" in source(urls[1]).test()


def test_all_parts_of_a_standby_are_of_one_snapshot(urls: tuple[str, str]) -> None:
    url, theirs = urls
    with source(theirs, part_size=2**20).open(Query(Dataset(table="orders"), ("id",))) as reading:
        parts = reading.survey().parts
        assert len(parts) > 10
        first = list(reading.read(parts[0]))
        run(url, "insert into orders select generate_series(100000, 150000)")
        assert catch_up(url, theirs)
        rest = [batch for part in parts[1:] for batch in reading.read(part)]
    assert sorted(i for batch in first + rest for i in batch.column("id").to_pylist()) == list(range(100000))


def test_what_the_primary_truncates_is_never_read_as_empty(urls: tuple[str, str]) -> None:
    url, theirs = urls
    with source(theirs, part_size=2**20).open(Query(Dataset(table="orders"), ("id",))) as reading:
        parts = reading.survey().parts
        assert sum(batch.num_rows for batch in reading.read(parts[0])) > 0
        run(url, "truncate orders")
        assert catch_up(url, theirs)
        for part in parts:
            with pytest.raises(SourceUnavailable):
                list(reading.read(part))


def project(root: Path, **window: str) -> Path:
    content = {
        "lading.yaml": {
            "name": "shop",
            "environment": "test",
            "connections": {"ops": {"type": "postgres", "url": "${DB}"}},
            "stores": {
                "lake": {"url": "file://./lake", "durable": False},
                "journal": {"url": "file://./journal", "durable": False},
            },
            "keys": {"url": "file://./keys"},
            "buffer_memory": "16MB",
        },
        "contracts/orders.v1.odcs.yaml": {
            "apiVersion": "v3.1.0",
            "kind": "DataContract",
            "id": "orders",
            "name": "orders",
            "version": "1.0.0",
            "status": "active",
            "schema": [
                {
                    "name": "orders",
                    "logicalType": "object",
                    "physicalType": "table",
                    "properties": [
                        {"name": "id", "logicalType": "integer", "classification": "public"},
                        {"name": "at", "logicalType": "timestamp", "classification": "public"},
                        {"name": "note", "logicalType": "string", "classification": "public"},
                    ],
                }
            ],
        },
        "exports/drop.yaml": {
            "name": "drop",
            "contract": "orders@1",
            "source": {"connection": "ops", "table": "public.orders"},
            "destination": "lake",
            "mode": "append",
            "window": {
                "column": "at",
                "clock": "transaction",
                "every": "6 months",
                "start": "2024-01-01",
                **window,
            },
        },
    }
    for name, text in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(json.dumps(text))
    return root


def test_an_export_from_a_standby_needs_a_safety_lag_and_then_delivers(
    urls: tuple[str, str], tmp_path: Path
) -> None:
    environ = {"DB": urls[1]}
    with pytest.raises(InvalidProject, match="standby") as error:
        Project.load(project(tmp_path), environ=environ).run("drop")
    assert "safety_lag" in str(error.value.hint)
    results = Project.load(project(tmp_path, safety_lag="1h"), environ=environ).run("drop")
    assert {result.status for result in results} == {"succeeded"}
    assert sum(result.rows or 0 for result in results) == 100000


def test_a_reading_that_the_primary_ends_delivers_nothing_and_may_be_tried_again(
    urls: tuple[str, str], tmp_path: Path
) -> None:
    url, theirs = urls
    loaded = Project.load(project(tmp_path, safety_lag="1h"), environ={"DB": theirs})
    ended: list[object] = []

    def end(event: object) -> None:
        if isinstance(event, RowsRead) and not ended:
            ended.append(event)
            run(url, "delete from orders where id % 2 = 0", "vacuum orders")
            # A session that waits for its reader to take rows gives way only when they are taken.
            catch_up(url, theirs, seconds=10)

    results = loaded.run("drop", on_event=end)
    assert ended
    failed = [result for result in results if result.status == "failed"]
    assert failed
    assert {result.exit_code for result in failed} == {SourceUnavailable.exit_code} == {4}
    assert len(list(tmp_path.rglob("_SUCCESS"))) == len(results) - len(failed)
    again = loaded.run("drop")
    assert {result.status for result in again} <= {"succeeded", "skipped"}
    assert sum(result.rows or 0 for result in again if result.status == "succeeded") == 50000


# --- a URL of several servers ---------------------------------------------------------------------------------------


def listed(urls: tuple[str, str], more: str = "&load_balance_hosts=random") -> str:
    """The same database on both servers, either of which a connection may go to."""
    (first, host), (_, other) = (url.split("?host=") for url in urls)
    return f"{first}?host={host},{other}{more}"


@pytest.mark.parametrize("way", ["hosts", "addresses", "environment", "service file"])
def test_the_bound_is_unknown_where_another_server_may_be_read(
    way: str, urls: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, primary = urls[0].split("?host=")
    hosts = f"{primary},{urls[1].split('?host=')[1]}"
    assert source(urls[0]).bound().at is not None
    if way == "hosts":
        url = listed(urls, "")
    elif way == "addresses":
        url = f"{urls[0]}&load_balance_hosts=random"  # of one name, with several addresses
    elif way == "environment":
        monkeypatch.setenv("PGHOST", hosts)
        url = database
        assert source(urls[0]).bound().at is not None
    else:
        (tmp_path / "services").write_text(f"[pair]\nhost={hosts}\n")
        monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
        url = f"{database}?service=pair"
    bound = source(url).bound()
    assert bound.at is None
    assert "several servers" in bound.why
    assert "one server, the primary" in bound.why


def test_an_export_from_several_servers_needs_a_safety_lag(urls: tuple[str, str], tmp_path: Path) -> None:
    environ = {"DB": listed(urls)}
    with pytest.raises(InvalidProject, match="several servers") as error:
        Project.load(project(tmp_path), environ=environ).run("drop")
    assert "safety_lag" in str(error.value.hint)
    results = Project.load(project(tmp_path, safety_lag="1h"), environ=environ).run("drop")
    assert {result.status for result in results} == {"succeeded"}
    assert sum(result.rows or 0 for result in results) == 100000


def test_every_connection_of_a_reading_is_to_one_server(urls: tuple[str, str]) -> None:
    for _ in range(12):  # each has the chance of a half to go wrong
        with source(listed(urls), part_size=2**20).open(Query(Dataset(table="orders"), ("id",))) as reading:
            parts = reading.survey().parts[:2]
            assert all(batch.num_rows for part in parts for batch in reading.read(part))
