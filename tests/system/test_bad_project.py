"""Projects that are wrong: every problem names its file, its line and what to do, before anything is connected to."""

from __future__ import annotations

from typing import Any

import pytest

from lading import InvalidProject

BOMB = "\n".join(
    ["name: shop", "environment: test", "a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
)


@pytest.fixture
def shop(place: Any) -> Any:
    place.contract("orders", {"id": "integer"}, key=["id"])
    place.export("orders_all", "orders")
    place.load()
    return place


def problems(place: Any) -> list[str]:
    with pytest.raises(InvalidProject) as caught:
        place.load()
    assert caught.value.exit_code == 2
    return [str(problem) for problem in caught.value.problems]


def line_of(place: Any, name: str, text: str) -> int:
    lines = (place.root / name).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def test_an_unknown_key_is_named_with_its_place_and_the_nearest_known(shop: Any):
    shop.export("orders_all", "orders", transfroms=[])
    line = line_of(shop, "exports/orders_all.yaml", "transfroms")
    (told,) = problems(shop)
    assert told.startswith(f"exports/orders_all.yaml:{line}: ")
    assert '"transfroms"' in told
    assert "transforms" in told.replace('"transfroms"', "")


def test_problems_of_all_files_are_told_at_once(shop: Any):
    shop.export("orders_all", "order", destination="lakes")
    shop.export("more", "orders", source={"connection": "opps", "table": "public.orders"})
    told = problems(shop)
    assert len(told) == 3
    assert any('"order@1"' in each and "orders@1" in each for each in told)
    assert any('"lakes"' in each and '"lake"' in each for each in told)
    assert any('"opps"' in each and '"ops"' in each for each in told)


@pytest.mark.parametrize("way", ["destination", "copies", "tenant"])
def test_a_protected_store_is_no_destination_beside_a_local_journal_by_any_way(shop: Any, way: str):
    (shop.root / "tenants").mkdir()
    own = "destination: vault\n" if way == "tenant" else ""
    (shop.root / "tenants/c1.yaml").write_text(f"tenant: c1\n{own}")
    stores = {name: {"url": f"file://./{name}"} for name in ("lake", "journal")}
    shop.settings(stores={**stores, "vault": {"url": "file://./vault", "protected": True}}, journal="journal")
    sections = {"destination": {"destination": "vault"}, "copies": {"copies": ["vault"]}}.get(way, {})
    shop.export("orders_all", "orders", tenants={"column": "customer"}, **sections)
    for refused in (lambda: shop.load().validate(), lambda: shop.load().run("orders_all")):
        with pytest.raises(InvalidProject) as caught:
            refused()
        (told,) = map(str, caught.value.problems)
        line = line_of(shop, "lading.yaml", '"journal": "journal"')
        assert told.startswith(f"lading.yaml:{line}: ")
        assert "protected" in told
    shop.export("whole", "orders")  # takes no tenant's rows anywhere
    assert shop.load().export("whole").destination == "lake"


def test_a_missing_variable_is_named(shop: Any):
    del shop.environ["DB"]
    line = line_of(shop, "lading.yaml", "${DB}")
    (told,) = problems(shop)
    assert told.startswith(f"lading.yaml:{line}: ")
    assert "DB" in told


@pytest.mark.parametrize("name", ["lading.yaml", "exports/orders_all.yaml", "contracts/orders.v1.odcs.yaml"])
def test_aliases_that_expand_without_measure_are_refused(shop: Any, name: str):
    (shop.root / name).write_text(BOMB)
    told = [each for each in problems(shop) if each.startswith(f"{name}:")]
    assert any("alias" in each or "values" in each or "large" in each for each in told), told


def test_a_password_never_stands_in_a_problem(shop: Any):
    shop.environ["DB"] = "postgresql://user:topsecret@host:notaport/x"
    shop.settings(connections={"ops": {"type": "postgres", "url": "${DB}", "colour": "${DB}"}})
    with pytest.raises(InvalidProject) as caught:
        shop.run("orders_all")
    assert "topsecret" not in str(caught.value)
    assert "colour" in str(caught.value)


DAILY = {
    "column": "made_at",
    "clock": "transaction",
    "every": "1 day",
    "start": "2024-01-01",
    "end": "2024-01-03",
}


@pytest.fixture
def sold(place: Any) -> Any:
    """A project over a table that has more columns than its contract."""
    place.sql(
        "create table orders (id bigint primary key, made_at timestamptz not null, weight real, lists int[])",
        "insert into orders values (1, '2024-01-01', 1, null)",
    )
    place.contract("orders", {"id": "integer", "made_at": "timestamp"}, key=["id"])
    return place


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"checks": [{"not_null": ["wieght"]}]}, 'public.orders has no column "wieght" – did you mean "weight"?'),
        ({"checks": [{"regex": {"weight": "^1"}}]}, "regex(weight): a column of type float is no text"),
        ({"checks": [{"range": {"weight": ["2024-01-01", None]}}]}, "does not fit a column of type float"),
        ({"checks": [{"balance": {"column": "weight"}}]}, "cannot be added exactly"),
        ({"tenants": {"column": "wieght", "discover": True}}, 'has no column "wieght"'),
        ({"transforms": [{"exclude": ["wieght"]}]}, 'has no column "wieght"'),
        ({"transforms": [{"consent": {"column": "wieght"}}]}, 'has no column "wieght"'),
        ({"mode": "append", "window": {**DAILY, "column": "mad_at"}},
         'has no column "mad_at" – did you mean "made_at"?'),
        ({"mode": "append", "window": {**DAILY, "column": "weight"}}, "a window needs a timestamp or a date"),
        ({"mode": "append", "window": {**DAILY, "clock": "event", "late": {"column": "came_at"}}},
         'has no column "came_at"'),
        ({"mode": "incremental", "merge_key": ["idd"],
          "window": {"column": "made_at", "clock": "transaction", "start": "2024-01-01"}}, 'has no column "idd"'),
    ],
    ids=str,
)  # fmt: skip
def test_what_only_the_source_can_tell_is_refused_before_an_attempt_is_opened(
    sold: Any, sections: dict[str, Any], expected: str
):
    sold.export("orders_all", "orders", **sections)
    sold.load().validate()
    for command in (sold.load().plan, sold.load().run):
        with pytest.raises(InvalidProject) as caught:
            command("orders_all")
        (problem,) = caught.value.problems
        assert expected in problem.reason
        assert problem.file == "exports/orders_all.yaml"
        assert problem.line > 1
    assert not sold.lake.exists()
    assert [path for path in (sold.root / "journal").rglob("*") if path.is_file()] == []


def test_a_wrong_check_is_refused_also_when_nothing_is_due(sold: Any):
    sold.export("orders_all", "orders")
    sold.run("orders_all")
    assert {result.status for result in sold.run("orders_all")} == {"skipped"}
    sold.export("orders_all", "orders", checks=[{"regex": {"id": "^1"}}])
    with pytest.raises(InvalidProject, match="is no text"):
        sold.run("orders_all")


def test_a_misspelt_tenant_is_told_the_nearest(sold: Any):
    sold.export("orders_all", "orders", tenants={"column": "id"})
    (sold.root / "tenants").mkdir()
    (sold.root / "tenants" / "a.yaml").write_text("tenant: oslo\n")
    with pytest.raises(InvalidProject, match="did you mean"):
        sold.run("orders_all", tenants=["osloo"])
