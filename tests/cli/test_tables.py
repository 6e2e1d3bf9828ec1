"""Where Iceberg tables stand, as operators and recipients ask for it."""

# S1
from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tables import SCHEMA, Shop, by_duckdb, locations, row

from lading import IntegrityError

WINDOW = {"column": "at", "clock": "event", "late": "ignore", "every": "1 month", "start": "2024-01-01"}
FIELDS = ["export", "tenant", "major", "table", "metadata", "snapshot_id", "run_id", "rows", "committed_at"]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """Ten orders of January and ten of February, of the customers a and b in turn."""
    made = Shop(tmp_path)
    made.orders([row(n, "ab"[n % 2], 1 + n // 10) for n in range(20)])
    made.export()
    monkeypatch.chdir(tmp_path)
    return made


def standing(root: Path) -> Mapping[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def deliver_then_take_the_next_major(shop: Shop) -> None:
    shop.export(window={**WINDOW, "end": "2024-03-01"})
    shop.run()
    contract = json.loads((shop.root / "contracts/orders.v1.odcs.yaml").read_text())
    shop.write("contracts/orders.v2.odcs.yaml", {**contract, "version": "2.0.0", "status": "draft"})
    shop.export(contract="orders@2", window={**WINDOW, "end": "2024-04-01"})


def counted(metadata: str) -> int:
    ((count,),) = by_duckdb(metadata, "select count(*) from rows")
    return int(count)


def test_every_tenant_s_table_is_told_with_the_file_that_engines_open(lading: Any, shop: Shop) -> None:
    results = shop.run()
    told = lading("tables", "orders_table", "--json").json
    assert [list(each) for each in told] == [FIELDS, FIELDS]
    assert [(each["tenant"], each["table"]) for each in told] == [
        ("a", "shop_test.orders_v1__a"),
        ("b", "shop_test.orders_v1__b"),
    ]
    assert {f"orders_v1__{each['tenant']}": each["metadata"] for each in told} == locations(shop.root)
    newest = {r.tenant: r.run_id for r in results}  # in the order of their intervals
    for each in told:
        assert each["run_id"] == newest[each["tenant"]]
        assert each["rows"] == counted(each["metadata"]) == 10
        document = json.loads(Path(each["metadata"].removeprefix("file://")).read_text())
        assert each["snapshot_id"] == document["current-snapshot-id"]
        assert each["committed_at"].endswith("Z")
    assert shop.project().tables() == told


def test_people_see_one_line_for_each_table(lading: Any, shop: Shop) -> None:
    results = shop.run()
    told = lading("tables")
    assert told.code == 0
    header, first, second = told.out.splitlines()
    assert header.split() == ["export", "tenant", "table", "rows", "run", "committed", "snapshot", "metadata"]
    (newest,) = [r for r in results if r.tenant == "a"][-1:]
    assert first.split()[:5] == ["orders_table", "a", "shop_test.orders_v1__a", "10", newest.run_id[:12]]
    assert second.split()[-1] == locations(shop.root)["orders_v1__b"]
    # A number that is copied into another tool, so it has no separators.
    assert first.split()[-2].isdigit()


def test_a_revision_is_told_from_the_moment_it_is_committed(lading: Any, shop: Shop) -> None:
    shop.run()
    before = lading("tables", "--json").json[0]
    shop.orders([row(n, "ab"[n % 2], min(2, 1 + n // 10)) for n in range(24)])
    february = {"start": datetime(2024, 2, 1, tzinfo=UTC), "end": datetime(2024, 3, 1, tzinfo=UTC)}
    shop.run(**february, revise=True, reason="two more of each")
    after = lading("tables", "--json").json[0]
    assert after["metadata"] != before["metadata"]
    assert after["run_id"] != before["run_id"]
    assert (before["rows"], after["rows"]) == (10, 12)
    assert after["committed_at"] > before["committed_at"]
    # Whoever still has the URL of before reads what stood there.
    assert (counted(before["metadata"]), counted(after["metadata"])) == (10, 12)


def test_asking_changes_nothing(lading: Any, shop: Shop) -> None:
    shop.run()
    before = standing(shop.root)
    assert lading("tables").code == 0
    assert standing(shop.root) == before


def test_a_table_that_is_not_there_yet_is_not_listed_and_nothing_is_made(lading: Any, shop: Shop) -> None:
    before = standing(shop.root)
    told = lading("tables", "orders_table")
    assert (told.code, told.out) == (0, "")
    assert told.err == "No run was committed to a table of orders_table yet.\n"
    assert lading("tables", "--json").json == []
    assert standing(shop.root) == before


def test_an_export_of_another_channel_has_no_tables(lading: Any, shop: Shop) -> None:
    shop.run()
    export = json.loads((shop.root / "exports/orders_table.yaml").read_text())
    drop = {**export, "name": "orders_drop", "channel": "drop", "destination": "lake"}
    shop.write("exports/orders_drop.yaml", drop)
    told = lading("tables", "orders_drop")
    assert told.code == 2
    assert "orders_drop has no tables: its channel is drop." in told.err
    assert {each["export"] for each in lading("tables", "--json").json} == {"orders_table"}


def test_an_unknown_export_is_named_with_its_neighbour(lading: Any, shop: Shop) -> None:
    told = lading("tables", "orders_tabel")
    assert told.code == 2
    assert 'did you mean "orders_table"?' in told.err


def test_what_another_engine_rewrote_is_still_of_the_newest_run(lading: Any, shop: Shop) -> None:
    shop.run()
    (before, _) = lading("tables", "--json").json
    table = shop.project()._workshop.catalogue("tables").load(("shop_test", "orders_v1__a"))
    assert table is not None
    table.append(pa.Table.from_pylist([row(100)], schema=SCHEMA))
    (after, _) = lading("tables", "--json").json
    assert after["run_id"] == before["run_id"]
    assert after["snapshot_id"] != before["snapshot_id"]
    assert after["rows"] == before["rows"] + 1


def test_a_table_of_others_is_none_of_an_export_s(shop: Shop) -> None:
    shop.run()
    tables = shop.project()._workshop.catalogue("tables")
    place = ("shop_test", "orders_v1__a")
    whose = {"project": "shop", "environment": "test", "export": "orders_table", "tenant": "a", "major": 1}
    assert tables.state(place, whose) is not None
    assert tables.state(place, {**whose, "export": "orders_copy"}) is None


def test_tables_of_an_earlier_major_are_told_too(lading: Any, shop: Shop) -> None:
    deliver_then_take_the_next_major(shop)
    shop.orders([row(n, "a", 3) for n in range(4)])
    shop.run()
    told = [(each["tenant"], each["major"], each["rows"]) for each in lading("tables", "--json").json]
    # A run without rows is a commit without files.
    assert told == [("a", 1, 10), ("a", 2, 4), ("b", 1, 10), ("b", 2, 0)]


def test_a_catalogue_out_of_reach_is_told_without_its_password(lading: Any, shop: Shop) -> None:
    shop.run()
    shop.catalogue = {"url": "postgresql://lading:hush-hush@127.0.0.1:9/catalogue"}
    shop.settings()
    told = lading("tables")
    assert told.code == 4
    assert "The catalogue 'tables' cannot be reached" in told.err
    assert "hush" not in told.out + told.err


def test_a_lost_catalogue_is_told_and_not_made_anew(lading: Any, shop: Shop) -> None:
    shop.run()
    (shop.root / "catalogue.db").rename(shop.root / "catalogue.bak")
    before = standing(shop.root)
    for words in (["tables"], ["tables", "orders_table"], ["tables", "--json"]):
        told = lading(*words)
        assert told.code == 6
        for tenant in "ab":
            missing = f"error: orders_table, tenant '{tenant}': The table shop_test.orders_v1__{tenant} is not there"
            assert f"{missing}: it lacks 3 runs that were delivered before." in told.err.splitlines()
        assert told.err.count("hint: Bring the table back") == 1
        assert "No run was committed" not in told.err
    assert told.json == []
    with pytest.raises(IntegrityError, match="orders_v1__a is not there"):
        shop.project().tables()
    assert lading("plan", "orders_table").code == 0
    assert standing(shop.root) == before
    (shop.root / "catalogue.bak").rename(shop.root / "catalogue.db")
    assert lading("tables").code == 0


def test_a_lost_table_hides_none_that_is_there(lading: Any, shop: Shop) -> None:
    shop.run()
    shop.project()._workshop.catalogue("tables")._catalog.drop_table(("shop_test", "orders_v1__a"))
    told = lading("tables", "--json")
    assert told.code == 6
    assert [each["tenant"] for each in told.json] == ["b"]
    assert "The table shop_test.orders_v1__a is not there" in told.err
    assert "orders_v1__b" not in told.err


def test_a_table_that_was_set_back_is_told_with_what_it_lacks(lading: Any, shop: Shop) -> None:
    shop.export(window={**WINDOW, "end": "2024-02-01"})
    shop.run()
    (old, _) = lading("tables", "--json").json
    shop.export()
    shop.run()
    tables = shop.project()._workshop.catalogue("tables")  # whose files the catalogue reads
    tables._catalog.drop_table(("shop_test", "orders_v1__a"))
    tables._catalog.register_table(("shop_test", "orders_v1__a"), old["metadata"])
    told = lading("tables", "--json")
    assert told.code == 6
    assert [(each["tenant"], each["run_id"] == old["run_id"]) for each in told.json] == [
        ("a", True),
        ("b", False),
    ]
    assert "orders_v1__a lacks rows: it lacks 2 runs that were delivered before." in told.err


def test_a_table_of_an_earlier_major_may_have_been_dropped(lading: Any, shop: Shop) -> None:
    deliver_then_take_the_next_major(shop)
    shop.run()
    shop.project()._workshop.catalogue("tables")._catalog.drop_table(("shop_test", "orders_v1__a"))
    told = lading("tables", "--json")
    assert told.code == 0, told.err
    assert [(each["tenant"], each["major"]) for each in told.json] == [("a", 2), ("b", 1), ("b", 2)]


def test_a_full_refresh_owes_its_table_the_newest_run_alone(lading: Any, shop: Shop) -> None:
    shop.export(mode="full_refresh", window=None)
    first = datetime(2024, 6, 1, 1, tzinfo=UTC)
    shop.at(first)
    catalog = shop.project()._workshop.catalogue("tables")._catalog
    catalog.drop_table(("shop_test", "orders_v1__a"))
    assert lading("tables").code == 6
    shop.at(first + timedelta(days=1))
    assert lading("tables").code == 0


def test_a_catalogue_whose_folder_is_gone_is_out_of_reach_and_not_empty(lading: Any, shop: Shop) -> None:
    shop.run()
    shop.catalogue = {"url": "sqlite:///./unmounted/catalogue.db"}
    shop.settings()
    told = lading("tables")
    assert told.code == 4
    assert "The catalogue 'tables' cannot be reached" in told.err
    assert not (shop.root / "unmounted").exists()
