from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest


def delivered(lading: Any) -> None:
    assert lading("run", "orders_drop").code == 0


def one(project: Path, pattern: str) -> Path:
    return sorted((project / "deliveries").rglob(pattern))[0]


def test_verify_proves_what_was_delivered(lading: Any, project: Path) -> None:
    delivered(lading)
    told = lading("verify", "deliveries", "--json")
    assert told.code == 0
    assert told.json | {"notes": []} == {
        "ok": True, "signed": False, "signatures": {}, "deliveries": 6, "files": 6, "rows": 7, "problems": [],
        "notes": [], "delivery": None,
    }  # fmt: skip
    people = lading("verify", "deliveries", "--deep")
    assert people.out == "ok: 6 deliveries, 6 files, 7 rows (unsigned: integrity only)\n"


def test_verify_exits_with_6_and_names_the_changed_object(lading: Any, project: Path) -> None:
    delivered(lading)
    file = one(project, "*.parquet")
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    told = lading("verify", "deliveries")
    assert told.code == 6
    assert file.name in told.out
    assert lading("verify", "deliveries", "--json").json["ok"] is False


def test_verify_does_not_call_nothing_proven(lading: Any, tmp_path: Path) -> None:
    told = lading("verify", str(tmp_path))
    assert told.code == 6
    assert told.out.startswith(f"{tmp_path}: no delivery found here")
    assert lading("verify", str(tmp_path), "--json").json["problems"][0]["object"] == str(tmp_path)
    assert lading("verify", str(tmp_path / "absent")).code == 2


def test_a_bundle_that_is_not_there_is_a_wrong_argument_and_no_broken_delivery(
    lading: Any, tmp_path: Path
) -> None:
    told = lading("verify", str(tmp_path / "absent.zip"))
    assert told.code == 2
    assert f"There is no file {tmp_path / 'absent.zip'}." in told.err


@pytest.mark.parametrize("place", ["", "file://", "x" * 5000])
@pytest.mark.parametrize("command", ["verify", "files"])
def test_a_place_that_is_none_is_not_taken_for_the_folder_it_is_called_in(
    lading: Any, project: Path, command: str, place: str
) -> None:
    told = lading(command, place)
    assert told.code == 2
    assert "No folder" in told.err or "is not there" in told.err


def test_verify_of_a_file_that_is_no_bundle_says_that_it_is_no_folder(lading: Any, project: Path) -> None:
    told = lading("verify", "lading.yaml")
    assert told.code == 2
    assert "lading.yaml is no folder" in told.err


def test_files_lists_what_a_reader_should_open(lading: Any, project: Path) -> None:
    delivered(lading)
    told = lading("files", "deliveries")
    paths = told.out.splitlines()
    assert len(paths) == 6
    assert all(Path(path).is_file() for path in paths)
    assert lading("files", "deliveries", "--json").json == paths
    assert json.loads(lading("files", "deliveries", "--format", "json").out) == paths


@pytest.mark.parametrize("format", ["parquet", "csv", "jsonl"])
def test_duckdb_reads_the_statement(lading: Any, project: Path, replace: Any, format: str) -> None:
    replace(
        "exports/orders_drop.yaml",
        "format: {type: parquet, compression: snappy}",
        f"format: {{type: {format}}}",
    )
    delivered(lading)
    told = lading("files", "deliveries", "--format", "duckdb")
    found = duckdb.sql(told.out).to_arrow_table()
    assert found.column_names == [
        "order_id",
        "shop",
        "email",
        "amount",
        "ordered_at",
    ]  # no tenant=… among them
    assert sorted(map(int, found["order_id"].to_pylist())) == [1, 2, 3, 4, 5, 6, 7]
    assert found["email"].null_count == 1


def test_duckdb_refuses_what_it_cannot_read(lading: Any, project: Path, replace: Any) -> None:
    replace(
        "exports/orders_drop.yaml", "format: {type: parquet, compression: snappy}", "format: {type: arrow}"
    )
    delivered(lading)
    told = lading("files", "deliveries", "--format", "duckdb")
    assert (told.code, told.out) == (2, "")
    assert "arrow" in told.err


def test_files_of_nothing_are_none(lading: Any, tmp_path: Path) -> None:
    told = lading("files", str(tmp_path), "--format", "duckdb")
    assert (told.code, told.out, told.err) == (0, "", f"{tmp_path}: no complete delivery found here\n")


def test_preview_refuses_a_tenant_that_nobody_knows_as_a_run_does(
    lading: Any, project: Path, replace: Any
) -> None:
    told = lading("preview", "orders_drop", "--tenant", "nobody")
    assert (told.code, told.out) == (5, "")
    assert "Tenant 'nobody' has no rows here and is not known from anywhere else." in told.err
    assert lading("run", "orders_drop", "--tenant", "nobody").code == 5
    assert lading("preview", "orders_drop", "--tenant", "nobody", "--tenant", "lisbon").code == 5
    replace("exports/orders_drop.yaml", "tenants: {column: shop, discover: true}", "tenants: {column: shop}")
    (project / "tenants").mkdir()
    (project / "tenants/lisbon.yaml").write_text("tenant: lisbon\n")
    told = lading("preview", "orders_drop", "--tenant", "lisbn")
    assert told.code == 2
    assert "Unknown tenant 'lisbn' – did you mean \"lisbon\"?" in told.err
    replace("exports/orders_drop.yaml", "tenants: {column: shop}\n", "")
    assert "has no tenants" in lading("preview", "orders_drop", "--tenant", "lisbon").err


def test_preview_takes_a_tenant_without_rows_that_is_known_from_elsewhere(lading: Any, project: Path) -> None:
    delivered(lading)
    for month in ("01", "02", "03"):
        file = project / f"incoming/orders/2024-{month}.csv"
        kept = [line for line in file.read_text().splitlines() if "lisbon" not in line]
        file.write_text("\n".join([*kept, ""]))
    assert lading("preview", "orders_drop", "--tenant", "lisbon", "--json").json["rows"] == []


def test_preview_shows_masked_rows_and_delivers_nothing(lading: Any, project: Path) -> None:
    told = lading("preview", "orders_drop", "--limit", "3", "--tenant", "lisbon", "--json")
    assert told.code == 0
    assert [row["order_id"] for row in told.json["rows"]] == [3, 4, 7]
    assert [row["amount"] for row in told.json["rows"]] == ["120.50", "33.10", "12.25"]
    assert told.json["rows"][0]["ordered_at"] == "2024-01-31T23:59:59Z"
    assert [column["name"] for column in told.json["schema"]] == [
        "order_id",
        "shop",
        "email",
        "amount",
        "ordered_at",
    ]
    people = lading("preview", "orders_drop")
    assert "example.com" not in told.out + people.out
    assert "NULL" in people.out
    assert not (project / "deliveries").exists()
