"""Whose rows they are: one text of each tenant everywhere, and no text of one that is nobody's recipient."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pyarrow.parquet as pq
import pytest

import lading

WINDOW = {"column": "at", "clock": "event", "every": "1 month", "start": "2024-01-01", "end": "2024-02-01"}
FIELDS = {"id": "integer", "who": "string", "at": "timestamp", "ins": "timestamp"}
LATE = {**WINDOW, "late": {"column": "ins"}}
SOME = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"


def ids(place: Any) -> list[int]:
    return sorted(n for file in lading.files(str(place.lake)) for n in pq.read_table(file)["id"].to_pylist())


def make(place: Any, kind: str, value: str, **sections: Any) -> None:
    place.contract("t", FIELDS, key=("id",))
    place.sql(
        f"create table t (id int primary key, who {kind} not null, at timestamptz not null,"
        " ins timestamptz not null default now())",
        f"insert into t values (1, {value}, '2024-01-05', now() - interval '1 hour')",
    )
    place.export(
        "e", "t", mode="append", tenants={"column": "who", "discover": True}, window=LATE, **sections
    )


@pytest.mark.parametrize(
    ("kind", "value", "types"),
    [
        ("real", "1234567", "portable"),
        ("uuid", f"'{SOME}'", "exact"),
        ("numeric(9,8)", "0.00000001", "exact"),
    ],
)
def test_late_rows_find_a_tenant_that_is_text_for_the_contract_alone(
    place: Any, kind: str, value: str, types: str
):
    make(place, kind, value, types=types)
    assert [(r.status, r.rows) for r in place.run("e")] == [("succeeded", 1)]
    place.sql(f"insert into t values (2, {value}, '2024-01-07')")

    def both() -> bool:
        assert {r.status for r in place.run("e")} <= {"succeeded", "skipped"}
        return ids(place) == [1, 2]

    assert until(both)
    assert len({r["tenant"] for r in place.load().runs("e")}) == 1


def until(done: Callable[[], Any]) -> Any:
    """The bound lies a second behind the clock: what was just written is late a moment later."""
    for _ in range(200):
        if found := done():
            return found
    return None


SECRET = "078-05-1120"
OPEN = {"logicalType": "string", "classification": "internal"}
CONFIDENTIAL = {"logicalType": "string", "classification": "confidential"}
EXCLUDED = [{"exclude": ["who"]}]


def unknown(place: Any, promise: dict[str, str] | None, transforms: list[Any], *, late: bool = False) -> str:
    """What a run says of tenants that nobody lists; their values stand in no file of the project that it wrote."""
    fields = {name: kind for name, kind in FIELDS.items() if name != "who"}
    place.contract("t", fields if promise is None else {**fields, "who": promise})
    (place.root / "tenants").mkdir()
    (place.root / "tenants" / "a.yaml").write_text("tenant: a\n")
    place.sql(
        "create table t (id int, who text, at timestamptz, ins timestamptz)",
        "insert into t values (1, 'a', '2024-01-05', '2024-01-05')",
    )
    strangers = f"insert into t values (2, '{SECRET}', '2024-01-05', %s), (3, '{SECRET}x', '2024-01-06', %s)"
    place.export("e", "t", mode="append", tenants={"column": "who"}, window=LATE, transforms=transforms,
                 unknown_columns="ignore")  # fmt: skip
    if late:
        assert {r.status for r in place.run("e")} == {"succeeded"}
        place.sql(strangers.replace("%s", "now()"))
    else:
        place.sql(strangers.replace("%s", "'2024-01-05'"))
    failed = until(lambda: [r for r in place.run("e") if r.status == "failed"])
    assert [r.exit_code for r in failed] == [5]
    status = json.dumps([place.load().status(), place.load().runs("e")], default=str)
    written = b"".join(f.read_bytes() for f in place.root.rglob("*") if f.is_file())
    return str(failed[0].error) + status + written.decode("utf-8", "replace")


@pytest.mark.parametrize("late", [False, True], ids=["sweep", "late"])
@pytest.mark.parametrize(
    ("promise", "transforms"),
    [(CONFIDENTIAL, []), (OPEN, EXCLUDED), (None, EXCLUDED)],
    ids=["confidential", "excluded", "excluded, unpromised"],
)
def test_an_unknown_tenant_is_counted_and_not_told_where_its_column_is_not_open(
    place: Any, promise: Any, transforms: list[Any], late: bool
):
    said = unknown(place, promise, transforms, late=late)
    assert SECRET not in said
    assert "2 unknown tenants" in said
    assert "Compare the values of who in the source with the names in tenants/" in said


@pytest.mark.parametrize("late", [False, True], ids=["sweep", "late"])
@pytest.mark.parametrize(
    "promise", [OPEN, {"logicalType": "string"}, None], ids=["open", "unclassified", "unpromised"]
)
def test_an_unknown_tenant_is_told_where_its_column_is_open(place: Any, promise: Any, late: bool):
    assert f"unknown tenant '{SECRET}' and 1 more" in unknown(place, promise, [], late=late)
