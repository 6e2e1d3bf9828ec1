"""`beside`: the sample project's orders under two majors at once, as whoever runs and reads them meets it."""

# S8, S16, X12
from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from people import ADA, BOB, write_owners

from lading import Project
from lading.journal.log import Journal

Replace = Callable[[str, str, str], None]


@pytest.fixture
def second(project: Path, replace: Replace) -> Path:
    """The second major: no `email`, `amount` is called `total`, and orders say of which month they are."""
    first = project / "contracts/orders.v1.odcs.yaml"
    text = (
        first.read_text()
        .replace("version: 1.0.0", "version: 2.0.0")
        .replace("status: active", "status: draft")
    )
    lines = [line for line in text.splitlines() if "name: email" not in line]
    text = "\n".join(lines) + "\n"
    text = text.replace("{name: amount, ", "{name: total, physicalName: amount, ")
    made = first.with_name("orders.v2.odcs.yaml")
    made.write_text(text)
    replace(
        "exports/orders_drop.yaml", "contract: orders@1", "contract: orders@2\nbeside: {contract: orders@1}"
    )
    replace("exports/orders_drop.yaml", "format: {type", "layout: {preset: svc002}\nformat: {type")
    return made


def parquet(folder: Path) -> str:
    return f"read_parquet('{folder}/**/*.parquet', hive_partitioning = false)"


def rows(folder: Path, columns: str) -> list[Any]:
    return duckdb.sql(f"SELECT {columns} FROM {parquet(folder)} ORDER BY ALL").fetchall()


def test_recipients_of_each_major_find_it_in_a_place_of_its_own(lading: Any, second: Path) -> None:
    assert lading("validate").code == 0
    told = lading("run", "orders_drop", "--json")
    assert told.code == 0
    assert sorted({result["major"] for result in told.json}) == [1, 2]
    lake = Path("deliveries")
    old, new = lake.glob("*/v1"), lake.glob("*/v2")
    for one, two in zip(sorted(old), sorted(new), strict=True):
        assert rows(one, "order_id, amount") == rows(two, "order_id, total")
        assert [name for name, *_ in duckdb.sql(f"DESCRIBE FROM {parquet(two)}").fetchall()] == [
            "order_id", "shop", "total", "ordered_at",
        ]  # fmt: skip
        # The mask of a column that the new major does not have is still one of the old.
        assert all(email is None or len(email) == 64 for (email,) in rows(one, "email"))
    assert lading("verify", "deliveries", "--deep").code == 0
    assert lading("runs").out.splitlines()[0].split()[3:5] == ["tenant", "major"]
    listed = lading("runs", "--json").json
    assert {run["major"] for run in listed} == {1, 2}
    assert {run["status"] for run in listed} == {"published"}
    shown = lading("show", next(run["run_id"] for run in listed if run["major"] == 2), "--json").json
    assert shown["document"]["beside"]["contract"] == {"name": "orders", "version": "1.0.0"}
    assert shown["document"]["beside"]["equal_columns"] == ["order_id", "shop", "ordered_at"]
    assert {result["status"] for result in lading("run", "orders_drop", "--json").json} == {"skipped"}
    assert lading("run", "orders_drop").out.splitlines()[-1] == "4 skipped, 8 more delivered before"


def test_a_check_that_fails_for_both_is_told_once(lading: Any, second: Path, replace: Replace) -> None:
    replace("exports/orders_drop.yaml", "[0, 10000]", "[0, 1]")
    assert (
        lading("run", "orders_drop", "--start", "2024-01-01", "--end", "2024-02-01").err.count(
            "range(amount)"
        )
        == 1
    )


def test_readers_of_a_place_that_holds_both_say_which_they_mean(
    lading: Any, second: Path, replace: Replace
) -> None:
    replace(
        "exports/orders_drop.yaml", "contract: orders@2\nbeside: {contract: orders@1}", "contract: orders@1"
    )
    assert lading("run", "orders_drop").code == 0
    one = lading("files", "deliveries").out.splitlines()
    assert len(one) == 6
    replace(
        "exports/orders_drop.yaml", "contract: orders@1", "contract: orders@2\nbeside: {contract: orders@1}"
    )
    assert lading("backfill", "orders_drop", "--start", "2024-02-01", "--end", "2024-04-01").code == 0
    said = lading("files", "deliveries")
    assert said.code == 2
    assert "hold the same rows, under the majors 1 and 2 of their contract" in said.err
    assert lading("files", "deliveries", "--major", "1").out.splitlines() == one
    two = lading("files", "deliveries", "--major", "2").out.splitlines()
    assert len(two) == 4
    assert not set(one) & set(two)
    query = lading("files", "deliveries", "--major", "2", "--format", "duckdb").out
    assert sorted(duckdb.sql(query).columns) == ["order_id", "ordered_at", "shop", "total"]
    assert lading("files", "deliveries/berlin/v2").code == 0
    assert lading("verify", "deliveries").code == 0


def test_plan_and_preview_speak_of_the_exports_own_major(lading: Any, second: Path) -> None:
    told = lading("plan", "orders_drop", "--json").json
    assert [column["name"] for column in told["schema"]] == ["order_id", "shop", "total", "ordered_at"]
    (notice,) = (each for each in told["notices"] if "beside" in each)
    assert "orders@1 is delivered beside it" in notice
    assert "order_id, shop, email (hmac_sha256), amount, ordered_at" in notice
    assert {tuple(each["tenants"]) for each in told["due"]} == {()}
    assert "total" in lading("preview", "orders_drop").out
    assert lading("run", "orders_drop").code == 0
    assert lading("plan", "orders_drop", "--json").json["due"] == []


def test_a_preview_shows_the_major_that_is_asked_for(lading: Any, second: Path) -> None:
    own, named, other = (
        lading("preview", "orders_drop", "--json", *major).json
        for major in ((), ("--major", "2"), ("--major", "1"))
    )
    assert own == named
    for shown, columns in (
        (own, ["order_id", "shop", "total", "ordered_at"]),
        (other, ["order_id", "shop", "email", "amount", "ordered_at"]),
    ):
        assert [column["name"] for column in shown["schema"]] == columns
    assert [row["amount"] for row in other["rows"]] == [row["total"] for row in own["rows"]]
    assert all(row["email"] is None or len(row["email"]) == 64 for row in other["rows"])
    berlin = Project.load().preview("orders_drop", 3, ["berlin"], major=1)
    assert set(berlin["shop"].to_pylist()) == {"berlin"}


def test_a_preview_of_a_major_that_is_not_delivered_is_refused(
    lading: Any, second: Path, replace: Replace
) -> None:
    said = lading("preview", "orders_drop", "--major", "3")
    assert said.code == 2
    assert "orders_drop delivers nothing under the major 3 of its contract." in said.err
    assert "hint: It delivers 1 and 2." in said.err
    replace("exports/orders_drop.yaml", "orders@2\nbeside: {contract: orders@1}", "orders@1")
    assert "hint: It delivers 1." in lading("preview", "orders_drop", "--major", "2").err
    assert lading("preview", "orders_drop", "--major", "1").code == 0


def test_the_command_that_brings_the_other_major_is_told_until_nothing_lacks(
    lading: Any, second: Path, replace: Replace
) -> None:
    replace("exports/orders_drop.yaml", "orders@2\nbeside: {contract: orders@1}", "orders@1")
    assert lading("run", "orders_drop").err == ""
    replace("exports/orders_drop.yaml", "orders@1", "orders@2\nbeside: {contract: orders@1}")
    told = lading("plan", "orders_drop")
    (line,) = (line for line in told.out.splitlines() if "lacks" in line)
    assert line.startswith(
        "notice: orders@2 lacks 3 delivered intervals: `lading backfill orders_drop --start "
    )
    assert line.removeprefix("notice: ") in lading("plan", "orders_drop", "--json").json["notices"]
    for run in (lading("run", "orders_drop"), lading("run", "orders_drop", "--json")):
        assert run.code == 0
        assert run.err == f"notice: orders_drop: {line.removeprefix('notice: ')}\n"
    command = line.split("`")[1].split()[1:]
    assert lading(*command).err == ""
    assert lading("run", "orders_drop").err == ""
    assert "lacks" not in lading("plan", "orders_drop").out
    assert lading("verify", "deliveries").code == 0


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("{contract: orders@1}", "{contract: orders@2}", "is the export's own contract"),
        ("{contract: orders@1}", "{contract: people@1}", "another major of orders: two datasets"),
        ("{contract: orders@1}", "{contract: orders@3}", 'there is no contract "orders@3"'),
        ("{contract: orders@1}", "", "beside is empty"),
        ("{contract: orders@1}", "{contract: orders@1, differs: [order]}", "not a field of both contracts"),
        (
            "{contract: orders@1}",
            "{contract: orders@1, differs: [order_id, shop, ordered_at]}",
            "the two majors deliver no column of one name and type",
        ),
        (
            "  - mask:",
            "  - exclude: [order_id, shop, ordered_at]\n  - mask:",
            "the two majors deliver no column of one name and type",
        ),
        ("layout: {preset: svc002}", "layout: {preset: lake}", "would lie in one folder"),
        (
            "{contract: orders@1}",
            '{contract: orders@1, layout: {path: "v{major}/{tenant}/{yyyymmdd}_{HHMMSS}_{run}-a{attempt}", '
            "partition_by: [shop]}}",
            "is the export's own, for both majors",
        ),
        ("destination: lake", "destination: lake\nchannel: bundle", "beside is of the channel drop"),
    ],
)
def test_what_cannot_be_told_apart_is_refused_with_its_line(
    lading: Any, second: Path, replace: Replace, old: str, new: str, reason: str
) -> None:
    replace("exports/orders_drop.yaml", old, new)
    said = lading("validate")
    assert said.code == 2
    assert reason in said.err
    assert "exports/orders_drop.yaml:" in said.err


def test_a_folder_that_is_spelt_out_is_the_same_folder(lading: Any, second: Path, replace: Replace) -> None:
    path = "{tenant}/{yyyymmdd}_{HHMMSS}_{run}-a{attempt}"
    replace("exports/orders_drop.yaml", "{preset: svc002}", f'{{path: "{{dataset}}/{path}"}}')
    own = f'{{contract: orders@1, layout: {{path: "shop/{path}"}}}}'
    replace("exports/orders_drop.yaml", "{contract: orders@1}", own)
    said = lading("run", "orders_drop")
    assert said.code == 2
    assert "would lie in one folder" in said.err


def test_what_either_contract_names_is_known(lading: Any, second: Path, replace: Replace) -> None:
    replace("exports/orders_drop.yaml", "mode: append", "mode: append\nunknown_columns: refuse")
    replace(
        "exports/orders_drop.yaml", "checks:\n", "checks:\n  - not_null: [email]\n    on_violation: warn\n"
    )
    assert lading("validate").err == ""
    assert lading("run", "orders_drop").code == 0


def test_not_secret_means_one_thing(lading: Any, second: Path, replace: Replace) -> None:
    replace("contracts/orders.v1.odcs.yaml", "name: shop,", "name: token, physicalName: shop,")
    replace(
        "contracts/orders.v2.odcs.yaml",
        "name: total, physicalName: amount",
        "name: token, physicalName: amount",
    )
    replace("exports/orders_drop.yaml", "mode: append", "mode: append\nnot_secret: [token]")
    said = lading("validate")
    assert said.code == 2
    assert 'not_secret: the two majors call two things "token": amount, shop' in said.err


def test_warnings_and_agreements_are_those_of_both(lading: Any, second: Path, replace: Replace) -> None:
    replace("exports/orders_drop.yaml", "hmac_sha256", "hash_sha256")
    assert "hash_sha256" in lading("validate").err
    first = Path("contracts/orders.v1.odcs.yaml")
    first.write_text(first.read_text() + "slaProperties:\n  - {property: freshness, value: 1, unit: d}\n")
    replace("exports/orders_drop.yaml", "every: 1 month", "every: 1 day")
    assert lading("status", "--json").json[0]["sla_seconds"] == 86_400


def test_the_other_major_may_have_a_layout_of_its_own(lading: Any, second: Path, replace: Replace) -> None:
    replace("exports/orders_drop.yaml", "layout: {preset: svc002}\n", "layout: {preset: svc002}\n")
    replace(
        "exports/orders_drop.yaml", "{contract: orders@1}", "{contract: orders@1, layout: {preset: lake}}"
    )
    assert lading("run", "orders_drop").code == 0
    assert list(Path("deliveries/dev/shop/orders").glob("tenant=*"))
    assert list(Path("deliveries").glob("*/v2"))
    assert not list(Path("deliveries").glob("*/v1"))


def test_one_column_is_read_in_one_type(lading: Any, second: Path, replace: Replace) -> None:
    number = "{name: order_id, logicalType: integer"
    replace("contracts/orders.v2.odcs.yaml", number, number.replace("integer", "string"))
    said = lading("run", "orders_drop")
    assert said.code == 5
    assert "takes the column order_id as text, and contracts/orders.v1.odcs.yaml as int64" in said.err
    assert "physicalName" in said.err
    assert not Path("deliveries").exists()


def test_what_the_other_major_may_not_let_out_stops_both(lading: Any, second: Path, replace: Replace) -> None:
    amount = (
        '{name: amount, logicalType: number, physicalType: "decimal(10,2)", required: true, classification: '
    )
    replace("contracts/orders.v1.odcs.yaml", f"{amount}internal", f"{amount}restricted")
    said = lading("run", "orders_drop")
    assert said.code == 3
    assert "restricted: amount" in said.err
    assert not Path("deliveries").exists()


def test_an_approval_covers_the_majors_that_go_out(lading: Any, second: Path, replace: Replace) -> None:
    write_owners(Path())
    first = Path("contracts/orders.v1.odcs.yaml")
    for contract in (first, second):
        contract.write_text(contract.read_text().replace("{name: shop, ", "{name: shop, tags: [pii], "))
    project = Project.load()
    until = datetime.now(UTC) + timedelta(days=1)
    project.ask("orders_drop", by="ada", purpose="a test", expires=until, sign=ADA.sign)
    project.grant("orders_drop", by="bob", approvals=project.asked_for("orders_drop", "bob"), sign=BOB.sign)
    assert lading("run", "orders_drop", "--start", "2024-01-01", "--end", "2024-02-01").code == 0
    for name, old, new in (
        ("exports/orders_drop.yaml", "{contract: orders@1}", "{contract: orders@1, differs: [order_id]}"),
        ("contracts/orders.v1.odcs.yaml", "Orders of the sample shops.", "Orders of all shops."),
    ):
        replace(name, old, new)
        said = lading("run", "orders_drop")
        assert said.code == 3
        assert "personal: shop would leave unmasked, which needs an approval" in said.err
        replace(name, new, old)
    assert lading("run", "orders_drop").code == 0


def test_full_refreshes_keep_as_many_of_each_and_point_to_each(
    lading: Any, second: Path, replace: Replace
) -> None:
    text = Path("exports/orders_drop.yaml").read_text()
    i, j = text.index("window:"), text.index("layout:")
    Path("exports/orders_drop.yaml").write_text(
        text[:i].replace("mode: append", "mode: full_refresh\nkeep: 1") + text[j:]
    )
    replace("lading.yaml", "journal: journal\n", "journal: journal\nlease: 1s\n")
    assert lading("run", "orders_drop").code == 0
    for major in (1, 2):
        pointers = sorted(Path("deliveries").glob(f"*/v{major}/orders_drop/latest.json"))
        assert len(pointers) == 2
        for pointer in pointers:
            assert json.loads(pointer.read_text())["manifest"].startswith("../")
            assert (pointer.parent / json.loads(pointer.read_text())["manifest"]).is_file()
    assert lading("verify", "deliveries").code == 0
    first = {major: set(Path("deliveries").glob(f"*/v{major}/**/SUCCESS")) for major in (1, 2)}
    for reason in ("a", "b"):
        time.sleep(1.1)  # a lease
        assert lading("run", "orders_drop", "--revise", "--reason", reason).code == 0
    for major, markers in first.items():
        left = set(Path("deliveries").glob(f"*/v{major}/**/SUCCESS"))
        assert len(markers) == 2
        assert not markers & left
        assert len(left) >= 2
    assert lading("verify", "deliveries").code == 0


# --- promotion


def test_a_second_major_becomes_active_after_seven_days_of_both(
    lading: Any, second: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    daily = [f"{100 + day},berlin,,1.00,2024-01-{day:02}T12:00:00Z" for day in range(1, 9)]
    header = "order_id,shop,email,amount,ordered_at"
    Path("incoming/orders/2024-01-daily.csv").write_text("\n".join([header, *daily, ""]))
    now = datetime(2026, 5, 1, 23, tzinfo=UTC)
    monkeypatch.setitem(Journal.__init__.__kwdefaults__, "now", lambda: now)

    def promoted() -> Any:
        return lading("contract", "promote", "orders@2", "--by", "ada")

    def counted(days: int) -> None:
        """What the list says of the draft, and that it says so of no other version."""
        (first, told) = lading("contract", "list", "--json").json
        assert first["dual_delivery"] is None
        assert told["dual_delivery"] == {"beside": "orders@1", "days": days, "needed": 7}
        (line,) = re.findall("^orders@2.*$", lading("contract", "list").out, re.M)
        assert line.split(maxsplit=3) == ["orders@2", "drop", "draft", f"{days} of 7 days"]

    assert lading("contract", "promote", "orders@1", "--by", "ada").code == 0
    second.write_text(second.read_text().replace("status: draft", "status: active"))
    said = promoted()
    assert said.code == 3
    assert "when both were delivered from one snapshot on 7 days: they never were" in said.err
    assert "beside: {contract: orders@1}" in said.err
    counted(0)
    grid = Path("exports/orders_drop.yaml")
    grid.write_text(grid.read_text().replace("every: 1 month", "every: 1 day"))
    for number in range(1, 8):
        days = [f"2024-01-{number:02}", f"2024-01-{number + 1:02}"]
        assert lading("run", "orders_drop", "--start", days[0], "--end", days[1]).code == 0
        if number < 7:
            said = promoted()
            assert said.code == 3
            assert (
                f"they were on {number} day{'s' * (number > 1)}, from 2026-05-01 to 2026-05-{number:02}"
                in said.err
            )
            if number > 1:
                assert lading("run", "orders_drop", "--start", days[0], "--end", days[1]).code == 0
                assert promoted().err == said.err  # what is delivered already is no delivery of another day
            counted(number)
            now += timedelta(days=1)
    counted(7)
    assert promoted().code == 0
    assert "orders@2" in lading("contract", "list").out
    assert "of 7 days" not in lading("contract", "list").out
    assert [life["dual_delivery"] for life in lading("contract", "list", "--json").json] == [None, None]
    first = Path("contracts/orders.v1.odcs.yaml")
    first.write_text(first.read_text().replace("status: active", "status: deprecated"))
    ended = lading("contract", "promote", "orders@1", "--by", "ada", "--reason", "orders@2 is there")
    assert ended.code == 0
    assert lading("run", "orders_drop", "--start", "2024-01-08", "--end", "2024-01-09").code == 0
    notices = sorted(Path("deliveries").glob("*/v*/2024-01-08/**/DEPRECATED.json"))
    assert {path.parts[2] for path in notices} == {"v1"}
    now += timedelta(days=61)
    assert lading("contract", "acknowledge", "orders@1", "--consumer", "berlin", "--by", "ada").code == 0
    first.write_text(first.read_text().replace("status: deprecated", "status: retired"))
    retired = lading("contract", "promote", "orders@1", "--by", "ada", "--reason", "orders@2 is there")
    assert retired.code == 0
    said = lading("run", "orders_drop")
    assert said.code == 3
    assert "hint: Take beside out of exports/orders_drop.yaml." in said.err


def test_days_count_for_what_was_delivered(
    lading: Any, second: Path, replace: Replace, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime(2026, 5, 1, tzinfo=UTC)
    monkeypatch.setitem(Journal.__init__.__kwdefaults__, "now", lambda: now)
    assert lading("contract", "promote", "orders@1", "--by", "ada").code == 0
    replace("contracts/orders.v2.odcs.yaml", "status: draft", "status: active")
    replace("exports/orders_drop.yaml", "every: 1 month", "every: 1 day")
    Path("tenants").mkdir()
    Path("tenants/ghost.yaml").write_text("tenant: ghost\n")
    for day in range(20, 28):  # of which none has a row, whose equality could be seen
        run = lading(
            "run", "orders_drop", "--start", f"2024-02-{day}", "--end", f"2024-02-{day + 1}", "--json"
        )
        assert {(result["tenant"], result["rows"]) for result in run.json} == {("ghost", 0)}
        now += timedelta(days=1)
    said = lading("contract", "promote", "orders@2", "--by", "ada").err
    assert "they never were" in said
    assert "A day counts when an export delivers rows of both at once" in said
    assert "Deliveries without rows count for none." in said
    assert lading("run", "orders_drop", "--start", "2024-01-03", "--end", "2024-01-04").code == 0
    assert "they were on 1 day," in lading("contract", "promote", "orders@2", "--by", "ada").err
    replace("contracts/orders.v2.odcs.yaml", "name: total,", "name: grand_total,")
    assert "they never were" in lading("contract", "promote", "orders@2", "--by", "ada").err
    replace("contracts/orders.v2.odcs.yaml", "name: grand_total,", "name: total, description: With tax.,")
    assert "they were on 1 day," in lading("contract", "promote", "orders@2", "--by", "ada").err


def test_days_of_another_dataset_count_for_nothing(
    lading: Any, second: Path, replace: Replace, project: Path
) -> None:
    for major in (1, 2):
        file = Path(f"contracts/orders.v{major}.odcs.yaml")
        text = file.read_text().replace("name: orders\nversion", "name: people\nversion")
        Path(f"contracts/people.v{major}.odcs.yaml").write_text(text)
    export = Path("exports/orders_drop.yaml")
    export.write_text(export.read_text().replace("orders@", "people@"))
    assert lading("run", "orders_drop").code == 0
    export.write_text(export.read_text().replace("people@", "orders@"))
    replace("contracts/orders.v2.odcs.yaml", "status: draft", "status: active")
    assert "they never were" in lading("contract", "promote", "orders@2", "--by", "ada").err
    replace("contracts/people.v2.odcs.yaml", "status: draft", "status: active")
    assert "they were on 1 day," in lading("contract", "promote", "people@2", "--by", "ada").err


def test_a_window_spans_two_release_cycles(
    lading: Any, project: Path, replace: Replace, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace("lading.yaml", "journal: journal\n", "journal: journal\nrelease_cycle: 45 days\n")
    now = datetime(2026, 5, 1, 12, tzinfo=UTC)
    monkeypatch.setitem(Journal.__init__.__kwdefaults__, "now", lambda: now)
    assert lading("contract", "promote", "orders@1", "--by", "ada").code == 0
    replace("contracts/orders.v1.odcs.yaml", "status: active", "status: deprecated")
    words = ("contract", "promote", "orders@1", "--by", "ada", "--reason", "x")
    early = lading(*words, "--sunset", "2026-07-15")
    assert early.code == 3
    assert "the window of the channel drop is 90 days here" in early.err
    assert lading(*words).code == 0
    assert Project.load().lives()[0].sunset == datetime(2026, 7, 31, tzinfo=UTC)
