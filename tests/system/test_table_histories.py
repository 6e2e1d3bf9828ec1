"""What a table must have of what its export delivered before: all of it, once, or the next run is refused."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.table.update.snapshot import ExpireSnapshots
from tables import SCHEMA, Shop, by_duckdb, locations, row

from lading import InvalidProject, Result, StoreUnavailable
from lading.channels import iceberg
from lading.channels.drop import DropChannel
from lading.channels.iceberg import Tables
from lading.channels.snapshot import SnapshotChannel

TABLE = ("shop_test", "orders_v1__a")
MONTHS = [datetime(2024, month, 1, tzinfo=UTC) for month in (1, 2, 3, 4)]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    made = Shop(tmp_path)
    made.orders([row(1), row(2), row(3, month=2)])
    made.export()
    return made


def revise(shop: Shop, month: int = 1, reason: str = "corrected") -> list[Result]:
    start, end = MONTHS[month - 1 : month + 1]
    return shop.project().run("orders_table", start=start, end=end, revise=True, reason=reason)


def table(shop: Shop) -> Any:
    found = shop.project()._workshop.catalogue("tables").load(TABLE)
    assert found is not None
    return found


def refused(results: list[Result], told: str) -> None:
    """Fails closed, and says so."""
    assert {(r.status, r.exit_code) for r in results} == {("failed", 6)}
    assert told in str(results[0].error)


# --- revisions find what they replace


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, {"preset": "svc002"}),
        (
            {"path": "x/{tenant}/{yyyymmdd}/{HHMMSS}_{run}-{attempt}"},
            {"path": "y/{tenant}/{yyyymmdd}/{HHMMSS}_{run}-{attempt}"},
        ),
    ],
    ids=["preset", "path"],
)
def test_a_revision_replaces_its_files_wherever_the_layout_had_put_them(
    shop: Shop, before: dict[str, Any] | None, after: dict[str, Any]
) -> None:  # D7
    shop.export(layout=before)
    shop.run()
    shop.export(layout=after)
    revise(shop)
    assert shop.ids() == [1, 2, 3]


def test_a_second_revision_replaces_the_first(shop: Shop) -> None:  # D7
    shop.run()
    for layout, rows in (({"preset": "svc002"}, [row(1), row(4)]), (None, [row(5)])):
        shop.export(layout=layout)
        shop.orders(rows)
        revise(shop, reason=f"{len(rows)} rows are right")
    assert shop.ids() == [3, 5]


def test_a_revision_replaces_late_rows_too(shop: Shop) -> None:  # D7
    arrival = {"column": "came"}
    window = {"column": "at", "clock": "event", "late": arrival, "every": "1 month", "start": "2024-01-01",
              "end": "2024-04-01", "safety_lag": "1s"}  # fmt: skip
    schema = SCHEMA.append(pa.field("came", pa.timestamp("us", "UTC"), nullable=False))
    shop.contract(came=("timestamp", "timestamptz"))
    shop.export(window=window)
    shop.orders([{**row(1), "came": MONTHS[3]}], schema)
    shop.at(datetime(2024, 4, 2, tzinfo=UTC))
    late = [{**row(1), "came": MONTHS[3]}, {**row(2), "came": datetime(2024, 5, 1, tzinfo=UTC)}]
    shop.orders(late, schema)
    shop.at(datetime(2024, 6, 1, tzinfo=UTC))
    assert shop.ids() == [1, 2]
    shop.export(window=window, layout={"preset": "svc002"})
    assert {r.status for r in revise(shop)} == {"succeeded"}
    assert shop.ids() == [1, 2]


def test_a_path_that_names_the_attempt_twice_is_refused(shop: Shop) -> None:
    shop.export(layout={"path": "x/{tenant}/{yyyymmdd}/{HHMMSS}_{run}/a{attempt}/b{attempt}"})
    with pytest.raises(InvalidProject, match=r"must hold \{attempt\} once"):
        shop.project().validate()
    shop.export(layout={"path": "x/{tenant}/{yyyy}/{yyyy}-{MM}-{dd}/{HHMMSS}_{run}/a{attempt}"})
    shop.run()
    assert shop.ids() == [1, 2, 3]


def test_a_revision_of_what_another_engine_compacted_is_refused_and_stops_nothing(shop: Shop) -> None:  # D7
    shop.orders([row(1), row(2), row(3, month=2), row(4, month=3)])
    shop.run(end=MONTHS[2])
    found = table(shop)
    found.overwrite(found.scan().to_arrow())
    for month in (1, 2, 1):
        refused(revise(shop, month), "another engine has rewritten or removed")
        assert {run["status"] for run in shop.project().runs("orders_table")} <= {"published", "failed"}
    assert shop.ids() == [1, 2, 3]
    shop.run()
    assert shop.ids() == [1, 2, 3, 4]


def test_a_revision_of_what_another_engine_deleted_from_is_refused(shop: Shop) -> None:  # D7
    shop.run()
    table(shop).delete("id == 2")
    refused(revise(shop), "another engine has rewritten or removed")
    assert shop.ids() == [1, 3]


def test_intervals_that_no_other_engine_touched_are_revised_and_added(shop: Shop) -> None:
    shop.run(start=MONTHS[0], end=MONTHS[2])
    table(shop).delete("id == 3")
    shop.orders([row(1), row(3, month=2), row(4, month=3)])
    shop.run()
    assert {r.status for r in revise(shop)} == {"succeeded"}
    assert shop.ids() == [1, 4]


# --- a table has all that was delivered before


def test_a_table_that_was_dropped_is_not_made_anew_without_what_it_had(shop: Shop) -> None:  # D7
    shop.run(start=MONTHS[0], end=MONTHS[1])
    metadata = shop.table()
    shop.project()._workshop.catalogue("tables")._catalog.drop_table(TABLE)
    refused(shop.project().run("orders_table"), "1 run that was delivered before")
    assert locations(shop.root) == {}
    # Registered again, as the hint says, it goes on.
    catalogue = shop.project()._workshop.catalogue("tables")
    catalogue._catalog.register_table(TABLE, metadata)
    shop.run()
    assert shop.ids() == [1, 2, 3]


def test_a_table_dropped_between_seal_and_commit_is_not_made_anew(shop: Shop, monkeypatch: Any) -> None:
    shop.run(start=MONTHS[0], end=MONTHS[1])
    real = SnapshotChannel.publish

    def dropped(self: SnapshotChannel, *given: Any) -> str:
        self._tables._catalog.drop_table(TABLE)
        monkeypatch.undo()
        return real(self, *given)

    monkeypatch.setattr(SnapshotChannel, "publish", dropped)
    refused(
        shop.project().run("orders_table", start=MONTHS[1], end=MONTHS[2]), "1 run that was delivered before"
    )
    assert locations(shop.root) == {}


def test_a_drop_that_becomes_a_table_is_refused(shop: Shop) -> None:  # D7
    shop.export(channel="drop", destination="lake")
    shop.run(start=MONTHS[0], end=MONTHS[1])
    shop.export()
    with pytest.raises(Exception, match="1 run that was delivered before"):
        shop.project().plan("orders_table")
    refused(shop.project().run("orders_table"), "1 run that was delivered before")
    assert locations(shop.root) == {}


def test_a_table_that_was_a_drop_for_a_while_is_refused(shop: Shop) -> None:  # D7
    shop.run(start=MONTHS[0], end=MONTHS[1])
    shop.export(channel="drop", destination="lake")
    shop.run(start=MONTHS[1], end=MONTHS[2])
    shop.export()
    refused(shop.project().run("orders_table"), "1 run that was delivered before")
    assert shop.ids() == [1, 2]


def test_another_catalogue_of_the_same_export_is_refused(shop: Shop) -> None:  # D7
    shop.run(start=MONTHS[0], end=MONTHS[1])
    (shop.root / "catalogue.db").rename(shop.root / "elsewhere.db")
    refused(shop.project().run("orders_table"), "1 run that was delivered before")
    assert locations(shop.root) == {}


def test_a_table_that_forgot_its_oldest_runs_still_tells_which_it_lacks(
    shop: Shop, monkeypatch: Any
) -> None:  # D7
    monkeypatch.setattr(iceberg, "REMEMBERED", 2)
    shop.orders([row(n, month=n) for n in (1, 2, 3, 4, 5)])
    window = {"column": "at", "clock": "event", "late": "ignore", "every": "1 month", "start": "2024-01-01",
              "end": "2024-09-01"}  # fmt: skip
    shop.export(window=window)
    shop.run(start=MONTHS[0], end=MONTHS[3])
    shop.run(start=MONTHS[3], end=datetime(2024, 5, 1, tzinfo=UTC))
    assert shop.ids() == [1, 2, 3, 4]
    found = table(shop)
    transaction = found.transaction()
    current = found.metadata.current_snapshot_id
    old = [s.snapshot_id for s in found.metadata.snapshots if s.snapshot_id != current]
    ExpireSnapshots(transaction).by_ids(old).commit()
    transaction.commit_transaction()
    shop.export(window=window, channel="drop", destination="lake")
    shop.run(start=datetime(2024, 5, 1, tzinfo=UTC), end=datetime(2024, 6, 1, tzinfo=UTC))
    shop.export(window=window)
    refused(shop.project().run("orders_table"), "1 run that was delivered before")


def test_a_full_refresh_makes_a_lost_table_anew_for_it_has_all_rows(shop: Shop) -> None:
    shop.export(mode="full_refresh", window=None)
    shop.at(datetime(2024, 6, 1, 12, tzinfo=UTC))
    shop.project()._workshop.catalogue("tables")._catalog.drop_table(TABLE)
    shop.at(datetime(2024, 6, 2, 12, tzinfo=UTC))
    assert shop.ids() == [1, 2, 3]


def test_tenants_and_majors_that_are_new_get_tables_of_their_own(shop: Shop) -> None:
    shop.run(start=MONTHS[0], end=MONTHS[1])
    shop.orders([row(1), row(2), row(3, "b", month=2)])
    shop.run()
    assert (shop.ids("a"), shop.ids("b")) == ([1, 2], [3])


def test_a_full_refresh_that_was_a_drop_keeps_as_many_as_before(shop: Shop) -> None:
    shop.settings(lease="1s")
    refresh: dict[str, Any] = {"mode": "full_refresh", "window": None, "tenants": None, "keep": 1}
    for day, channel in enumerate(("drop", "snapshot", "drop", "snapshot"), 1):
        destination = "tables" if channel == "snapshot" else "lake"
        shop.export(**refresh, channel=channel, destination=destination)
        shop.orders([row(day)])
        shop.at(datetime(2024, 6, day, 12, tzinfo=UTC))
        time.sleep(1.1)
        if day == 3:
            # What a table may refer to stays while it cannot be asked.
            assert shop.ids("default") == [2]
    shop.at(datetime(2024, 6, 4, 13, tzinfo=UTC))
    days = {path.parts[-3] for path in (shop.root / "lake").rglob("*.parquet")}
    assert days == {"03", "04"}
    assert shop.ids("default") == [4]


# --- what is sealed and not published


def unreachable(shop: Shop, monkeypatch: Any, **options: Any) -> list[Result]:
    """A run that seals and cannot commit to the table."""
    with monkeypatch.context() as patched:
        patched.setattr(Tables, "publish", _away)
        return shop.project().run("orders_table", **options)


def _away(*_: object) -> None:
    raise StoreUnavailable("the catalogue is away")


def test_a_revision_sealed_before_a_newer_interval_was_published_is_no_deadlock(
    shop: Shop, monkeypatch: Any
) -> None:  # D7
    shop.run(start=MONTHS[0], end=MONTHS[1])
    february = {"start": MONTHS[1], "end": MONTHS[2]}
    assert {r.exit_code for r in unreachable(shop, monkeypatch, **february)} == {4}
    shop.orders([row(1), row(3, month=2)])
    january = {"start": MONTHS[0], "end": MONTHS[1], "revise": True, "reason": "corrected"}
    assert {r.exit_code for r in unreachable(shop, monkeypatch, **january)} == {4}
    shop.run()
    assert shop.ids() == [1, 3]


@pytest.mark.parametrize("sealed", ["snapshot", "drop"])
def test_what_was_sealed_for_a_table_is_published_as_nothing_else_and_the_other_way_round(
    shop: Shop, monkeypatch: Any, sealed: str
) -> None:  # D7
    channels = {"snapshot": "tables", "drop": "lake"}
    shop.export(channel=sealed, destination=channels[sealed])
    with monkeypatch.context() as patched:
        patched.setattr(DropChannel, "publish", _away)
        patched.setattr(SnapshotChannel, "publish", _away)
        shop.project().run("orders_table", start=MONTHS[0], end=MONTHS[1])
    (other,) = channels.keys() - {sealed}
    shop.export(channel=other, destination=channels[other])
    results = shop.project().run("orders_table", start=MONTHS[0], end=MONTHS[1])
    assert "was committed for another channel" in str(results[0].error)
    assert not list((shop.root / "lake").rglob("_SUCCESS"))
    shop.export(channel=sealed, destination=channels[sealed])
    shop.run(start=MONTHS[0], end=MONTHS[1])
    assert len(list((shop.root / "lake").rglob("_SUCCESS"))) == 1


# --- whose a table is


@pytest.mark.parametrize("mode", ["full_refresh", "append"])
def test_a_run_is_never_taken_for_delivered_in_the_table_of_another_export(
    shop: Shop, monkeypatch: Any, mode: str
) -> None:  # D7
    """Both were sealed before either made the table, which is the first one's then."""
    window = {"window": None} if mode == "full_refresh" else {}
    exports = shop.root / "exports"
    shop.export(name="two", mode=mode, **window)
    (exports / "orders_table.yaml").rename(exports / "two.yaml")
    with monkeypatch.context() as patched:
        patched.setattr(Tables, "publish", _away)
        assert {r.exit_code for r in shop.project().run("two")} == {4}
    shop.export(name="orders_table", mode=mode, **window)
    shop.run()
    results = shop.project().run("two")
    assert {r.status for r in results} == {"failed"}
    assert "is not one of this export's" in str(results[0].error)
    assert shop.ids() == [1, 2, 3]


# --- merging: the newest values win


def test_an_older_interval_of_a_merged_table_is_not_revised(shop: Shop) -> None:  # D7
    """A journal of changes, in which a row has its old values still."""
    shop.orders([row(1, amount=1), row(1, month=3, amount=9)])
    shop.export(
        mode="incremental",
        merge_key=["id"],
        window={"column": "at", "clock": "event", "late": "ignore", "start": "2024-01-01"},
    )
    ends = [shop.at(datetime(2024, month, 15, tzinfo=UTC))[0].interval.end for month in (2, 4)]
    with pytest.raises(InvalidProject, match="older than the newest of tenant 'a'"):
        shop.project().run("orders_table", start=MONTHS[0], end=min(ends), revise=True, reason="x")
    assert by_duckdb(shop.table(), "select amount from rows") == [(Decimal("2.25"),)]
    shop.project().run("orders_table", start=min(ends), end=max(ends), revise=True, reason="x")
    assert by_duckdb(shop.table(), "select amount from rows") == [(Decimal("2.25"),)]


# --- what is sealed can be committed


def test_a_text_that_no_bound_can_be_made_of_blocks_no_export(shop: Shop) -> None:
    odd = "x" * 15 + "\ud7ff" + "y"  # one above it, cut, would be a surrogate
    shop.orders([row(1, region=odd), row(2)])
    shop.run()
    assert by_duckdb(shop.table(), "select region from rows where id = 1") == [(odd,)]
