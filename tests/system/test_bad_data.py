"""Sources that break their promises: each refusal says what and where, and leaves no success marker."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import duckdb
import psycopg
import pytest

from lading import DataRefused, InvalidProject, LadingError, files
from lading.errors import SchemaMismatch, SourceDenied
from lading.events import SweepStarted

FIELDS = {"id": "integer", "customer": "string", "made_at": "timestamp", "amount": "number", "note": "string"}
MONTHLY = {"column": "made_at", "clock": "event", "late": "ignore", "every": "1 month",
           "start": "2024-01-01", "end": "2024-02-01"}  # fmt: skip
TABLE = """create table orders (id bigint primary key, customer text, made_at timestamptz not null default
           '2024-01-05 00:00Z', amount numeric(12,2), note text)"""


@pytest.fixture
def shop(place: Any) -> Any:
    """Orders of January, delivered monthly to each customer."""
    place.sql(TABLE)
    place.contract("orders", FIELDS, key=["id"])
    place.export("orders_drop", "orders", mode="append", window=MONTHLY,
                 tenants={"column": "customer", "discover": True})  # fmt: skip
    return place


def sell(place: Any, customers: Sequence[str | None]) -> None:
    with psycopg.connect(place.url) as connection:
        for number, customer in enumerate(customers):
            connection.execute("insert into orders values (%s, %s, default, 1.5, 'n')", (number, customer))


def assert_failed(place: Any, export: str, error: type[LadingError], *told: str) -> None:
    """The export fails in this way, by a result or by an error, with these words; nothing of it counts."""
    raised, results = None, []
    try:
        results = place.run(export)
    except LadingError as refusal:
        raised = refusal
    assert raised is None or isinstance(raised, error), repr(raised)
    assert {r.status for r in results} <= {"failed"}
    message = str(raised or results[0].error)
    assert (raised or results[0]).exit_code == error.exit_code, message
    missing = [words for words in told if words not in message]
    assert not missing, message
    assert place.markers() == []
    if place.lake.is_dir():
        assert {problem.problem for problem in place.verify().problems} == {"no delivery found here"}
        assert not list(place.lake.rglob("*.parquet"))


# --- tenants


TENANTS = [
    "../x",
    "a/b",
    "a",
    "CON",
    "",
    "é" * 150,
    "שלום עולם",
    "NO",
    "..",
    ".hidden",
    "_SUCCESS",
    "a b%2F\\c\n",
    "é",
]


def test_tenants_of_any_name_stay_apart_and_inside_their_folders(shop: Any):
    shop.export("orders_drop", "orders", mode="append", window=MONTHLY, transforms=[{"mask": {"note": "hmac_sha256"}}],
                tenants={"column": "customer", "discover": True})  # fmt: skip
    sell(shop, TENANTS)
    results = shop.run("orders_drop")
    assert {r.status for r in results} == {"succeeded"}
    assert sorted(r.tenant for r in results) == sorted(TENANTS)
    shop.assert_whole(len(TENANTS))
    folders = {m["tenant"]: path.parent for m, path in zip(shop.manifests(), shop.markers(), strict=True)}
    assert set(folders) == set(TENANTS)
    entity = shop.lake / "test" / "shop" / "orders"
    assert {len(folder.relative_to(entity).parts) for folder in folders.values()} == {5}
    assert len({folder.parents[3] for folder in folders.values()}) == len(TENANTS)
    assert {path.name for path in shop.root.iterdir()} == {
        "lading.yaml", "contracts", "exports", "journal", "lake", "keys",
    }  # fmt: skip
    rows = shop.read("select customer, note from delivered").to_pylist()
    assert sorted(row["customer"] for row in rows) == sorted(TENANTS)
    assert len({row["note"] for row in rows}) == len(TENANTS)  # each under a key of its own
    assert {r.status for r in shop.run("orders_drop")} == {"skipped"}


def test_duplicates_are_found_although_an_index_was_made_while_they_were_read(shop: Any):
    shop.sql("alter table orders drop constraint orders_pkey")
    shop.export("orders_drop", "orders", mode="append", window=MONTHLY)
    shop.sql("insert into orders (id, note) values (1, 'a'), (1, 'b'), (2, 'c')")

    def mend(event: Any) -> None:
        if isinstance(event, SweepStarted):
            shop.sql("delete from orders where note = 'b'", "create unique index on orders (id)")

    (result,) = shop.run("orders_drop", on_event=mend)
    assert (result.status, result.exit_code) == ("failed", DataRefused.exit_code)
    assert "unique" in str(result.error)
    assert {r.status for r in shop.run("orders_drop")} == {"succeeded"}


def test_a_tenant_named_no_in_a_file_is_a_text(shop: Any):
    (shop.root / "tenants").mkdir()
    (shop.root / "tenants" / "no.yaml").write_text("tenant: NO\n")
    shop.export("orders_drop", "orders", mode="append", window=MONTHLY, tenants={"column": "customer"})
    sell(shop, ["NO"])
    assert [(r.tenant, r.status, r.rows) for r in shop.run("orders_drop")] == [("NO", "succeeded", 1)]


def test_a_row_without_a_tenant_fails_all(shop: Any):
    sell(shop, ["a", None, "b"])
    assert_failed(shop, "orders_drop", DataRefused, "Column customer", "1 row has no tenant (NULL)")


def test_a_tenant_that_nobody_listed_fails_all(shop: Any):
    (shop.root / "tenants").mkdir()
    (shop.root / "tenants" / "a.yaml").write_text("tenant: a\n")
    shop.export("orders_drop", "orders", mode="append", window=MONTHLY, tenants={"column": "customer"})
    sell(shop, ["a", "stranger"])
    assert_failed(
        shop, "orders_drop", DataRefused, "Column customer", "unknown tenant 'stranger'", "tenants/"
    )


def test_asking_for_a_tenant_that_does_not_exist_is_a_mistake(shop: Any):
    sell(shop, ["a"])
    (result,) = shop.run("orders_drop", tenants=["nobody"])
    assert (result.status, result.exit_code) == ("failed", DataRefused.exit_code)
    assert "'nobody'" in str(result.error)
    assert shop.markers() == []


def test_no_rows_are_a_delivery(shop: Any):
    shop.export("orders_drop", "orders", mode="append", window=MONTHLY)
    (result,) = shop.run("orders_drop")
    assert (result.status, result.rows, result.files) == ("succeeded", 0, 1)
    shop.assert_whole(1)
    found = shop.read("select * from delivered")
    assert (found.num_rows, found.column_names) == (0, list(FIELDS))


# --- what is asked for


def test_an_interval_that_ends_before_it_starts_is_refused(shop: Any):
    with pytest.raises(
        InvalidProject, match=r"2024-01-02.* to 2024-01-01.* is empty: its start must lie before"
    ):
        shop.run("orders_drop", start=datetime(2024, 1, 2, tzinfo=UTC), end=datetime(2024, 1, 1, tzinfo=UTC))


def test_an_interval_in_the_future_is_not_due(shop: Any):
    window = {**MONTHLY, "start": "2999-01-01", "end": "2999-02-01"}
    shop.export("orders_drop", "orders", mode="append", window=window)
    asked = {"start": datetime(2999, 1, 1, tzinfo=UTC), "end": datetime(2999, 2, 1, tzinfo=UTC)}
    (result,) = shop.run("orders_drop", **asked)
    assert (result.status, result.exit_code) == ("not_due", 4)
    assert "after the bound" in str(result.error)
    assert shop.run("orders_drop") == []
    assert not shop.lake.exists()


# --- the source and its contract


def test_a_promised_column_that_the_table_lacks(shop: Any):
    sell(shop, ["a"])
    shop.contract("orders", {**FIELDS, "notes": "string"}, key=["id"])
    assert_failed(
        shop, "orders_drop", SchemaMismatch, "public.orders", "contracts/orders.v1.odcs.yaml", "notes"
    )


@pytest.mark.parametrize(
    ("promise", "told"),
    [
        ({"note": "integer"}, ['"note"', "an integer", "text"]),
        ({"amount": "integer"}, ['"amount"', "an integer", "numeric(12,2)"]),
        ({"id": {"logicalType": "integer", "physicalType": "integer"}}, ['"id"', "bigint"]),
        ({"amount": {"logicalType": "number", "physicalType": "numeric(12,1)"}}, ['"amount"', "rounded"]),
        ({"made_at": "date"}, ['"made_at"', "a date"]),
    ],
)
def test_a_type_that_does_not_fit_its_promise(shop: Any, promise: dict[str, Any], told: list[str]):
    sell(shop, ["a"])
    shop.contract("orders", {**FIELDS, **promise}, key=["id"])
    assert_failed(
        shop, "orders_drop", SchemaMismatch, "public.orders", "contracts/orders.v1.odcs.yaml", *told
    )


def test_a_table_that_is_not_there(shop: Any):
    shop.export("orders_drop", "orders", source={"connection": "ops", "table": "public.order"})
    assert_failed(shop, "orders_drop", SchemaMismatch, "public.order")


def test_columns_that_differ_only_in_case(shop: Any):
    shop.sql('alter table orders add "ID" bigint')
    shop.sql("insert into orders (id, customer) values (1, 'a')")
    assert_failed(shop, "orders_drop", SchemaMismatch, "orders", "id", "ID")


def test_a_column_dropped_between_runs_ends_the_second_and_keeps_the_first(shop: Any):
    sell(shop, ["a", "b"])
    shop.export("orders_drop", "orders", mode="append", window={**MONTHLY, "end": "2024-03-01"},
                tenants={"column": "customer", "discover": True})  # fmt: skip
    january = {"start": datetime(2024, 1, 1, tzinfo=UTC), "end": datetime(2024, 2, 1, tzinfo=UTC)}
    assert {r.status for r in shop.run("orders_drop", **january)} == {"succeeded"}
    shop.sql("alter table orders drop column amount")
    with pytest.raises(
        SchemaMismatch, match=r"public\.orders lacks what contracts/.* promises: amount"
    ) as caught:
        shop.run("orders_drop")
    assert caught.value.exit_code == 5
    shop.assert_whole(2)


def test_a_value_that_its_type_cannot_hold(shop: Any):
    shop.sql("insert into orders values (1, 'a', default, 'NaN', 'n')")
    assert_failed(shop, "orders_drop", DataRefused, "amount", "NaN")


def test_a_broken_check_delivers_to_nobody(shop: Any):
    sell(shop, ["a", "b"])
    shop.export("orders_drop", "orders", mode="append", window=MONTHLY, checks=[{"range": {"amount": [2, 3]}}],
                tenants={"column": "customer", "discover": True})  # fmt: skip
    assert_failed(shop, "orders_drop", DataRefused, "Checks failed", "amount")


@pytest.fixture
def role(place: Any) -> Any:
    name = f"policed_{os.getpid()}"
    place.sql(f"create role {name} login")
    yield name
    place.sql(f"drop owned by {name}", f"drop role {name}")


def test_a_policy_that_would_hide_rows_refuses_the_run(shop: Any, role: str):
    sell(shop, ["a", "b"])
    shop.export("orders_drop", "orders")
    shop.sql(
        f"grant select on orders to {role}",
        f"grant pg_read_all_stats to {role}",
        "alter table orders enable row level security",
        f"create policy of_some on orders for select to {role} using (customer = 'a')",
    )
    shop.environ["DB"] = shop.url.replace("postgres@", f"{role}@")
    assert_failed(shop, "orders_drop", SourceDenied, "orders", "row")


def test_a_table_that_the_role_may_not_read(shop: Any, role: str):
    shop.environ["DB"] = shop.url.replace("postgres@", f"{role}@")
    shop.export("orders_drop", "orders")
    assert_failed(shop, "orders_drop", SourceDenied, "orders")


@pytest.mark.slow
@pytest.mark.parametrize("format", [{"type": "parquet"}, {"type": "jsonl", "compression": "gzip"}])
def test_a_json_value_of_a_hundred_megabytes_arrives_whole(place: Any, format: dict[str, str]):
    place.sql(
        "create table documents (id bigint primary key, body jsonb)",
        "insert into documents values (1, '{}'), (3, '[1, null]')",
        "insert into documents select 2, jsonb_build_object('text', repeat('0123456789', 10000000))",
    )
    place.contract("documents", {"id": "integer", "body": {"logicalType": "object"}}, key=["id"])
    place.export("documents", "documents", format=format)
    (result,) = place.run("documents")
    assert (result.status, result.rows) == ("succeeded", 3), result.error
    place.assert_whole(1)
    (name,) = files(str(place.lake))
    read = "read_parquet" if format["type"] == "parquet" else "read_ndjson"
    more = "" if format["type"] == "parquet" else ", maximum_object_size = 200000000"
    query = f"""select length(body->>'text'), md5(body->>'text') = md5(repeat('0123456789', 10000000))
                from (select id, body::json body from {read}('{name}'{more})) where id = 2"""
    assert duckdb.sql(query).fetchall() == [(100_000_000, True)]
