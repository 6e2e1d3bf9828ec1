"""`lading files --format duckdb`: the statement gives the types that the manifests tell, of whatever lies there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import pytest

FORMAT = "format: {type: parquet, compression: snappy}"
EXPORT = "exports/orders_drop.yaml"


def rows(statement: str) -> Any:
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        return db.sql(statement).to_arrow_table().sort_by("order_id")


@pytest.fixture
def parquet(lading: Any, project: Path) -> Any:
    assert lading("run", "orders_drop").code == 0
    return rows(lading("files", "deliveries", "--format", "duckdb").out)


@pytest.mark.parametrize("format", ["{type: csv}", "{type: jsonl, compression: gzip}\ntypes: exact"])
def test_text_is_read_in_the_types_of_parquet_and_together_with_it(
    lading: Any, project: Path, replace: Any, parquet: Any, format: str
) -> None:
    replace(EXPORT, FORMAT, f"format: {format}")
    replace(EXPORT, "name: orders_drop", "name: orders_text")
    (project / EXPORT).rename(project / "exports/orders_text.yaml")
    assert lading("run", "orders_text").code == 0
    both = lading("files", "deliveries", "--format", "duckdb").out
    assert both.count("UNION ALL BY NAME") == 1
    found = rows(both)
    assert found.schema.types == parquet.schema.types
    assert found.to_pylist() == [row for row in parquet.to_pylist() for _ in range(2)]


def test_a_value_that_duckdb_would_change_is_a_usage_error(lading: Any, project: Path, replace: Any) -> None:
    replace(EXPORT, FORMAT, "format: {type: jsonl}\ntypes: exact")
    replace("lading.yaml", "decimal(10,2)", "decimal(20,2)")
    replace("contracts/orders.v1.odcs.yaml", "decimal(10,2)", "decimal(20,2)")
    assert lading("run", "orders_drop").code == 0
    told = lading("files", "deliveries", "--format", "duckdb")
    assert (told.code, told.out) == (2, "")
    assert "column 'amount' (decimal128(20, 2)) would lose digits" in told.err
