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
    nothing = lading("show", "")
    assert (nothing.code, nothing.err.splitlines()[0]) == (2, "error: An empty id names no run.")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, ""), (0.4, "0s"), (61, "1m 1s"), (90_000, "1d 1h"), (86_400, "1d"), (-5, "0s")],
)
def test_ages_are_told_in_two_units(seconds: float | None, text: str) -> None:
    assert _age(seconds) == text


# --- failures

JANUARY = ("--start", "2024-01-01", "--end", "2024-02-01")


@pytest.fixture
def failed(lading: Any, project: Path, replace: Any) -> Any:
    """A sweep of January that failed; called, it makes the data right again."""
    replace("incoming/orders/2024-01.csv", "19.90", "99999.00")
    assert lading("run", "orders_drop", *JANUARY).code == 5
    return lambda: replace("incoming/orders/2024-01.csv", "99999.00", "19.90")


def failures(lading: Any) -> int:
    (told,) = lading("status", "--json").json
    assert (told["last_failure"] is None) == (told["failures"] == 0)
    return int(told["failures"])


def test_a_failure_that_was_mended_is_no_longer_told(lading: Any, failed: Any) -> None:
    assert failures(lading) == 1
    assert lading("run", "orders_drop", "--start", "2024-02-01", "--end", "2024-03-01").code == 0
    assert failures(lading) == 1  # another interval's success mends nothing
    failed()
    assert lading("run", "orders_drop", *JANUARY).code == 0
    assert failures(lading) == 0
    assert "last failure" not in lading("status").out


def test_one_tenants_delivery_does_not_mend_the_failure_of_all(lading: Any, failed: Any) -> None:
    failed()
    assert lading("run", "orders_drop", "--tenant", "lisbon", *JANUARY).code == 0
    assert failures(lading) == 1
    assert lading("run", "orders_drop", *JANUARY).code == 0
    assert failures(lading) == 0


def test_failed_attempts_are_part_of_the_history(lading: Any, failed: Any) -> None:
    (told,) = lading("runs", "--json").json
    assert (told["status"], told["tenant"], told["rows"], told["published"]) == ("failed", "*", 0, False)
    assert (told["attempt"], told["sealed_at"], told["manifest"]) == (1, None, None)
    assert "range" in told["error"]
    assert "failed" in lading("runs").out
    assert "range" in lading("runs").out
    shown = lading("show", told["run_id"], "--json").json
    assert (shown["status"], shown["error"], shown["document"]) == ("failed", told["error"], None)
    failed()
    lading("run", "orders_drop", *JANUARY)
    after = lading("runs", "--json").json
    assert [record["status"] for record in after] == ["failed", "published", "published"]
    assert [record["error"] is None for record in after] == [False, True, True]


def test_a_run_that_failed_and_was_delivered_is_shown_as_delivered(lading: Any, failed: Any) -> None:
    tenant = ("--tenant", "berlin")
    assert lading("run", "orders_drop", *tenant, *JANUARY).code != 0
    failed()
    (done,) = lading("run", "orders_drop", *tenant, *JANUARY, "--json").json
    told = [r["status"] for r in lading("runs", "--json").json if r["run_id"] == done["run_id"]]
    assert told == ["failed", "published"]
    assert lading("show", done["run_id"], "--json").json["status"] == "published"


# --- exports that are gone, and files that are wrong


def test_the_runs_of_a_removed_export_stay_in_the_history(lading: Any, project: Path) -> None:
    done = {record["run_id"] for record in lading("run", "orders_drop", "--json").json}
    other = (project / "exports/orders_drop.yaml").read_text().replace("orders_drop", "orders_more")
    (project / "exports/orders_drop.yaml").unlink()
    (project / "exports/orders_more.yaml").write_text(other)
    for words in (("runs",), ("runs", "orders_drop")):
        told = lading(*words, "--json").json
        assert {record["run_id"] for record in told} == done
        assert {record["removed"] for record in told} == {True}
    assert "orders_drop (removed)" in lading("runs").out
    shown = lading("show", min(done), "--json").json
    assert (shown["removed"], shown["status"]) == (True, "published")
    assert [record["export"] for record in lading("status", "--json").json] == ["orders_more"]
    assert lading("runs", "never_was").code == 2
    lading("run", "orders_more")
    assert {record["removed"] for record in lading("runs", "orders_more", "--json").json} == {False}


BROKEN = {
    "a misspelt key": ("exports/broken.yaml", lambda text: text.replace("source:", "sauce:"), "sauce"),
    "no YAML": ("exports/broken.yaml", lambda text: "name: [", "broken.yaml"),
    "a missing variable": (
        "exports/broken.yaml", lambda text: text.replace('"orders/*.csv"', '"${NOWHERE}"'), "NOWHERE"),
    "an unknown store": (
        "exports/broken.yaml", lambda text: text.replace("destination: lake", "destination: lakes"), "lakes"),
    "a contract that cannot be read": ("contracts/broken.v1.odcs.yaml", lambda text: "name: [", "broken.v1"),
}  # fmt: skip


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_file_stops_no_other_export(lading: Any, project: Path, what: str) -> None:
    name, spoil, word = BROKEN[what]
    good = (project / "exports/orders_drop.yaml").read_text()
    (project / "exports/broken.yaml").write_text(good.replace("orders_drop", "broken"))
    contract = (project / "contracts/orders.v1.odcs.yaml").read_text()
    (project / "contracts/broken.v1.odcs.yaml").write_text(
        contract.replace("name: orders\n", "name: broken\n")
    )
    assert lading("validate").code == 0
    (project / name).write_text(spoil((project / name).read_text()))
    assert lading("plan", "orders_drop").code == 0
    assert lading("run", "orders_drop").code == 0
    for words in (("status",), ("runs",), ("status", "orders_drop")):
        told = lading(*words)
        assert told.code == 0
        assert "orders_drop" in told.out
        assert word in told.err
    run_id = lading("runs", "--json").json[0]["run_id"]
    assert lading("show", run_id).code == 0
    told = lading("validate")
    assert told.code == 2
    assert word in told.out + told.err
    if name.startswith("exports"):
        told = lading("run", "broken")
        assert told.code == 2
        assert word in told.out + told.err


def test_an_export_whose_contract_cannot_be_read_is_told_why(lading: Any, project: Path) -> None:
    good = (project / "exports/orders_drop.yaml").read_text()
    (project / "exports/more.yaml").write_text(
        good.replace("orders_drop", "more").replace("orders@1", "people@1")
    )
    (project / "contracts/people.v1.odcs.yaml").write_text("name: [")
    told = lading("run", "more")
    assert told.code == 2
    assert "contracts/people.v1.odcs.yaml" in told.err
    assert lading("run", "orders_drop").code == 0


@pytest.mark.parametrize("second", ["whole", "broken"])
def test_a_name_that_is_there_twice_stops_the_project(lading: Any, project: Path, second: str) -> None:
    text = (project / "exports/orders_drop.yaml").read_text()
    if second == "broken":
        text = text.replace("source:", "sauce:")
    (project / "exports/other.yaml").write_text(text)
    for words in (("run", "orders_drop"), ("status",), ("validate",)):
        told = lading(*words)
        assert told.code == 2
        assert '"orders_drop" is in exports/orders_drop.yaml already' in told.out + told.err
