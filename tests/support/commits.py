"""Runs of the channel snapshot, step by step: what prepares, commits and looks at one table."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from pyiceberg.table.update.snapshot import ExpireSnapshots
from tables import by_duckdb, locations, sqlite_tables

from lading.channels.drop import Destination
from lading.channels.snapshot import SnapshotChannel, TableSettings
from lading.export.layout import Layout
from lading.formats.parquet import ParquetFormat
from lading.ports import Past, Store
from lading.stores.local import LocalStore
from lading.testing.channel import JANUARY, Delivery

Commit = Callable[..., Any]
NAME = ("shop_test", "orders_v1__a")


def channel(root: Path, store: Store | None = None, mode: Any = "append", **settings: Any) -> SnapshotChannel:
    store = store or LocalStore(root / "lake", durable=False)
    tables = sqlite_tables(root, store, history=settings.pop("history", timedelta(days=5)))
    types = settings.pop("types", "portable")
    return SnapshotChannel(
        tables,
        TableSettings("tables", "shop_test", mode, **settings),
        Destination("lake", store),
        Layout(),
        ParquetFormat(),
        types,
        export="orders_drop",
    )


def ids(root: Path) -> list[int]:
    return [n for (n,) in by_duckdb(locations(root)[NAME[1]], "select id from rows order by id")]


def prepared(root: Path, run: Delivery, mode: Any = "append", **settings: Any) -> dict[str, Any]:
    made = channel(root, None, mode, **settings)
    return json.loads(json.dumps(run.commit(made, run.write(made))))  # type: ignore[no-any-return]


def runs(count: int, size: int = 2) -> list[Delivery]:
    return [
        Delivery(tuple(range(n * size, (n + 1) * size)), f"{n:032x}", start=JANUARY + timedelta(days=n))
        for n in range(count)
    ]


def disturbed(made: SnapshotChannel, act: Callable[[Commit, tuple[Any, ...]], Any]) -> SnapshotChannel:
    """``act`` is called in place of the catalogue's commits, with the real one and its arguments."""
    catalog: Any = made._tables._access.catalog
    real = catalog.commit_table
    catalog.commit_table = lambda *given: act(real, given)
    made._tables._sleep = lambda seconds: None
    return made


def states(root: Path) -> list[dict[str, Any]]:
    metadata = json.loads(Path(locations(root)[NAME[1]].removeprefix("file://")).read_text())
    found: list[dict[str, Any]] = metadata["snapshots"]
    return found


def revised(root: Path, run: Delivery, *before: dict[str, Any], published: bool = True) -> dict[str, Any]:
    """A revision's commit, which takes the place of what these others add."""
    made = channel(root)
    files = run.write(made)
    supersedes = [commit["run_id"] for commit in before]
    commit = made.prepare(run.names, lambda uri: {**run.bill(uri, files), "supersedes": supersedes}, files)
    past = Past(tuple(supersedes) if published else (), before)
    return json.loads(json.dumps(made.follow(commit, past)))  # type: ignore[no-any-return]


def expire_everything(root: Path) -> None:
    """As another engine does: only the current state stays."""
    table = channel(root)._tables.load(NAME)
    assert table is not None
    transaction = table.transaction()
    current = table.metadata.current_snapshot_id
    others = [s.snapshot_id for s in table.metadata.snapshots if s.snapshot_id != current]
    ExpireSnapshots(transaction).by_ids(others).commit()
    transaction.commit_transaction()
