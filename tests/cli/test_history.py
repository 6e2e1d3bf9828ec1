from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lading.cli.history import _age


def test_status_tells_of_every_export(lading: Any, project: Path) -> None:
    before = lading("status")
    assert before.code == 0
    assert "never" in before.out
    lading("run", "orders_drop", "--start", "2024-01-01", "--end", "2024-02-01")
    (told,) = lading("status", "--json").json
    assert (told["export"], told["watermark"]) == ("orders_drop", "2024-02-01T00:00:00Z")
    assert [i["start"][:7] for i in told["missing_intervals"]] == ["2024-02", "2024-03"]
    people = lading("status", "orders_drop").out
    assert "2024-02-01" in people
    assert lading("status", "order_drop").code == 2


def test_a_failure_is_told_in_the_status(lading: Any, project: Path, replace: Any) -> None:
    replace("incoming/orders/2024-01.csv", "19.90", "99999.00")
    assert lading("run", "orders_drop", "--start", "2024-01-01", "--end", "2024-02-01").code == 5
    assert "last failure of orders_drop: " in lading("status").out


def test_runs_and_show_tell_the_history(lading: Any, project: Path) -> None:
    assert lading("runs").out == "No runs yet.\n"
    done = lading("run", "orders_drop", "--json").json
    told = lading("runs", "orders_drop", "--json").json
    assert {record["run_id"] for record in told} == {record["run_id"] for record in done}
    people = lading("runs").out
    assert len(people.splitlines()) == 7
    shown = lading("show", done[0]["run_id"][:10], "--json").json
    assert shown["run_id"] == done[0]["run_id"]
    assert shown["document"]["rows"]["written"] == done[0]["rows"]
    assert f"run_id     {done[0]['run_id']}" in lading("show", done[0]["run_id"]).out
    assert lading("show", "nonsense").code == 2


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0.4, "0s"), (61, "1m 1s"), (90_000, "1d 1h"), (86_400, "1d"), (-5, "0s")],
)
def test_ages_are_told_in_two_units(seconds: float | None, text: str) -> None:
    assert _age(seconds) == text
