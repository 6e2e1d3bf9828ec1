"""``contract diff``, and versions of contracts within a project: as their users call them."""

# S7, X12
from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from people import ADA, BOB, write_owners

from lading import Project
from lading.contract.lifecycle import Around, judge
from lading.journal.lives import Lives


@pytest.fixture
def orders(project: Path) -> Path:
    return project / "contracts/orders.v1.odcs.yaml"


def later(contract: Path, version: str, *changes: tuple[str, str], status: str = "active") -> Path:
    """A later version beside a contract."""
    text = contract.read_text()
    for old, new in (
        ("version: 1.0.0", f"version: {version}"),
        ("status: active", f"status: {status}"),
        *changes,
    ):
        assert old in text, old
        text = text.replace(old, new, 1)
    made = contract.with_name(f"orders.v{version}.odcs.yaml")
    made.write_text(text)
    return made


def added(text: str) -> str:
    return text.rstrip("\n") + "\n      - {name: note, logicalType: string, classification: internal}\n"


def test_an_additive_change_is_told_and_refuses_nothing(lading: Any, orders: Path) -> None:
    new = later(orders, "1.1.0")
    new.write_text(added(new.read_text()))
    line = len(new.read_text().splitlines())
    said = lading("contract", "diff", str(orders), str(new))
    assert said.code == 0
    assert said.out == (
        "orders 1.0.0 to 1.1.0: additive (consumer: additive, producer: additive)\n"
        f"  {new}:{line}: note: is new, and may be NULL (additive for the consumer; additive for the producer)\n"
    )
    assert lading("contract", "diff", str(orders), str(orders)).out == "orders 1.0.0 to 1.0.0: unchanged\n"


def test_a_breaking_change_within_a_major_is_refused_by_policy(lading: Any, orders: Path) -> None:
    new = later(orders, "1.1.0", ("name: email", "name: mail"))
    said = lading("contract", "diff", str(orders), str(new))
    assert said.code == 3
    assert "email: was removed (breaks the consumer; additive for the producer)" in said.out
    assert said.err.endswith("error: a breaking change needs a new major version: 2.0.0\n")
    told = lading("contract", "diff", str(orders), str(new), "--json")
    assert told.code == 3
    assert told.json["ok"] is False
    (comparison,) = told.json["comparisons"]
    assert (comparison["verdict"], comparison["consumer"], comparison["needs_major"]) == (
        "breaking",
        "breaking",
        True,
    )
    assert {"kind": "removed", "field": "email"}.items() <= comparison["changes"][0].items()
    assert "needs a new major: 2.0.0" in told.json["problems"][0]["reason"]
    assert "as a new major may" not in said.out


def test_a_new_major_may_break_and_is_said_to(lading: Any, orders: Path) -> None:
    major = later(orders, "2.0.0", ("name: email", "name: mail"))
    said = lading("contract", "diff", str(orders), str(major))
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[0] == (
        "orders 1.0.0 to 2.0.0: breaking (consumer: breaking, producer: additive), as a new major may"
    )
    harmless = later(orders, "3.0.0")
    assert lading("contract", "diff", str(orders), str(harmless)).out == "orders 1.0.0 to 3.0.0: unchanged\n"


def test_versions_of_the_project_are_called_by_name(lading: Any, orders: Path) -> None:
    later(orders, "1.2.0")
    later(orders, "1.3.0", status="draft")
    later(orders, "2.0.0", ("name: email", "name: mail"))
    told = lading("contract", "diff", "orders@1.0", "orders@1", "orders@1.3.0", "orders@2", "--json")
    assert told.code == 0
    pairs = [(c["old"]["version"], c["new"]["version"], c["verdict"]) for c in told.json["comparisons"]]
    assert pairs == [
        ("1.0.0", "1.2.0", "unchanged"), ("1.0.0", "1.3.0", "unchanged"), ("1.0.0", "2.0.0", "breaking"),
        ("1.2.0", "1.3.0", "unchanged"), ("1.2.0", "2.0.0", "breaking"), ("1.3.0", "2.0.0", "breaking"),
    ]  # fmt: skip
    missing = lading("contract", "diff", "orders@1", "orders@3")
    assert missing.code == 2
    assert 'there is no contract "orders@3"' in missing.err


def test_what_cannot_be_compared_is_a_usage_error(lading: Any, orders: Path) -> None:
    assert lading("contract", "diff", str(orders)).code == 2
    assert "oldest first" in lading("contract", "diff", str(orders)).err
    new = later(orders, "1.1.0")
    turned = lading("contract", "diff", str(new), str(orders))
    assert turned.code == 2
    assert "hint: Name the older version first." in turned.err
    assert "there is no such file" in lading("contract", "diff", str(orders), "nothing.yaml").err


def test_the_same_version_with_other_promises_wants_a_number_of_its_own(
    lading: Any, orders: Path, tmp_path: Path
) -> None:
    edited = tmp_path / "edited.yaml"
    edited.write_text(added(orders.read_text()))
    said = lading("contract", "diff", str(orders), str(edited))
    assert said.code == 0
    assert "is version 1.0.0 as before: give it a new minor version" in said.err


def test_exports_deliver_under_the_newest_version_that_is_no_draft(lading: Any, orders: Path) -> None:
    later(orders, "1.9.0")
    later(orders, "1.10.0")
    later(orders, "1.11.0", status="draft")
    assert lading("validate").code == 0
    assert lading("run", "orders_drop").code == 0
    shown = lading("show", lading("runs", "--json").json[0]["run_id"], "--json")
    assert shown.json["document"]["contract"]["version"] == "1.10.0"


def test_a_project_whose_versions_break_each_other_is_refused_with_place_and_rule(
    lading: Any, orders: Path
) -> None:
    later(orders, "1.1.0")
    new = later(orders, "1.2.0", ("logicalType: number", "logicalType: string"))
    said = lading("validate")
    assert said.code == 2
    assert "contracts/orders.v1.2.0.odcs.yaml:" in said.err
    for version in ("1.0.0", "1.1.0"):  # held against both
        assert f"for the consumer version 1.2.0 breaks what version {version} promises" in said.err
    assert "a breaking change needs a new major: 2.0.0" in said.err
    assert lading("run", "orders_drop").code == 2
    new.write_text(new.read_text().replace("version: 1.2.0", "version: 2.0.0"))
    assert lading("validate").code == 0


def test_one_version_stands_in_one_file(lading: Any, orders: Path) -> None:
    orders.with_name("again.yaml").write_text(orders.read_text().replace("version: 1.0.0", "version: v1.0"))
    said = lading("validate")
    assert said.code == 2
    assert "contracts/orders.v1.odcs.yaml:" in said.err
    assert "version 1.0.0 of orders is in contracts/again.yaml already" in said.err


# --- promote -------------------------------------------------------------------------------------------------------


def say_status(contract: Path, before: str, after: str) -> None:
    text = contract.read_text()
    assert f"status: {before}" in text
    contract.write_text(text.replace(f"status: {before}", f"status: {after}"))


def deprecated(lading: Any, orders: Path, *, days_ago: int) -> None:
    """The version was deprecated, so long ago; a step that ``promote`` would have recorded then."""
    assert lading("contract", "promote", "orders@1", "--by", "mara").code == 0
    say_status(orders, "active", "deprecated")
    project = Project.load(orders.parents[1])
    lives, contract = Lives(project.journal()), project.contracts["orders@1"]
    life = lives.read("orders", 1, "drop")
    then = datetime.now(UTC) - timedelta(days=days_ago)
    step = judge(life, contract, Around(), then, by="mara", reason="orders@2 has notes")
    assert step is not None
    lives.take(life, step)


# S8
def test_a_first_version_becomes_active_and_its_document_says_so(lading: Any, orders: Path) -> None:
    say_status(orders, "active", "draft")
    assert lading("contract", "promote", "orders@1", "--by", "mara").out == "orders@1 was already draft\n"
    say_status(orders, "draft", "active")
    told = lading("contract", "promote", "orders@1", "--by", "mara", "--json")
    assert told.code == 0
    assert (told.json["state"], told.json["changed"]) == ("active", True)
    assert told.json["steps"][0]["by"] == "mara"
    assert lading("contract", "promote", "orders@1", "--by", "ann").out == "orders@1 was already active\n"
    assert lading("contract", "list").out.splitlines()[1].split() == ["orders@1", "drop", "active"]


def test_a_later_major_waits_for_dual_delivery(lading: Any, orders: Path) -> None:
    later(orders, "2.0.0", ("name: email", "name: mail"))
    told = lading("contract", "promote", "orders@2", "--by", "mara")
    assert told.code == 3
    assert "orders@2 follows orders@1" in told.err
    assert "from one snapshot on 7 days: they never were" in told.err


def test_a_major_that_was_delivered_comes_before_though_its_document_is_gone(
    lading: Any, orders: Path
) -> None:
    assert lading("run", "orders_drop").code == 0
    later(orders, "2.0.0")
    export = orders.parents[1] / "exports/orders_drop.yaml"
    export.write_text(export.read_text().replace("orders@1", "orders@2"))
    orders.unlink()
    told = lading("contract", "promote", "orders@2", "--by", "mara")
    assert told.code == 3
    assert "orders@2 follows orders@1" in told.err


def test_deliveries_of_a_deprecated_version_say_when_it_ends(
    lading: Any, orders: Path, project: Path
) -> None:
    lading("contract", "promote", "orders@1", "--by", "mara")
    later(orders, "2.0.0", ("name: email", "name: mail"), status="draft")
    say_status(orders, "active", "deprecated")
    lacking = lading("contract", "promote", "orders@1", "--by", "mara")
    assert (lacking.code, "--reason is missing" in lacking.err) == (2, True)
    told = lading(
        "contract", "promote", "orders@1", "--by", "mara", "--reason", "orders@2 has notes", "--json"
    )
    sunset = told.json["sunset"]
    assert lading("run", "orders_drop").code == 0
    notices = list((project / "deliveries").rglob("_DEPRECATED.json"))
    assert len(notices) == 6
    assert json.loads(notices[0].read_text()) == {
        "contract": "orders@1", "state": "deprecated", "sunset": sunset, "successor": "orders@2",
        "reason": "orders@2 has notes", "deprecated_at": told.json["steps"][1]["at"][:10],
    }  # fmt: skip
    manifest = json.loads((notices[0].parent / "_manifest.json").read_text())
    assert (
        f"orders@1 is deprecated and may end from {sunset} on; its successor is orders@2"
        in manifest["notices"]
    )
    assert lading("verify", "deliveries").code == 0
    notices[0].write_text(notices[0].read_text().replace(sunset, "2099-01-01"))
    assert lading("verify", "deliveries").code == 6


def test_a_version_ends_after_its_sunset_when_all_who_got_it_know(
    lading: Any, orders: Path, project: Path
) -> None:
    assert lading("run", "orders_drop").code == 0
    deprecated(lading, orders, days_ago=62)
    say_status(orders, "deprecated", "retired")
    retire = ("contract", "promote", "orders@1", "--by", "mara", "--reason", "over")
    silent = lading(*retire)
    assert silent.code == 3
    assert "consumers who have not acknowledged its end: berlin, lisbon" in silent.err
    assert lading("contract", "acknowledge", "orders@1", "--consumer", "paris", "--by", "ann").code == 2
    for consumer in ("berlin", "lisbon"):
        assert lading("contract", "acknowledge", "orders@1", "--consumer", consumer, "--by", "ann").code == 0
    assert lading(*retire).out == "orders@1 is retired\n"
    for command in (("run", "orders_drop"), ("plan", "orders_drop"), ("preview", "orders_drop")):
        refused = lading(*command)
        assert refused.code == 3, command
        assert "orders@1 is retired since" in refused.err
    # What was delivered stays, and is told of.
    assert lading("verify", "deliveries").code == 0
    assert lading("status").code == 0
    say_status(orders, "retired", "active")
    assert lading("contract", "promote", "orders@1", "--by", "mara").code == 2


def granted(project: Path, what: str, channel: str = "drop") -> None:
    """Bob asks, and ada grants."""
    loaded, until = Project.load(project), datetime.now(UTC) + timedelta(days=9)
    loaded.ask(what, by="bob", purpose="why not", expires=until, sign=BOB.sign, channel=channel)
    pending = loaded.asked_for(what, "ada", channel=channel)
    loaded.grant(what, by="ada", approvals=pending, sign=ADA.sign, channel=channel)


def test_owners_may_end_a_version_over_who_has_not_acknowledged(
    lading: Any, orders: Path, project: Path
) -> None:
    assert lading("run", "orders_drop").code == 0
    deprecated(lading, orders, days_ago=62)
    say_status(orders, "deprecated", "retired")
    write_owners(project)
    retire = ("contract", "promote", "orders@1", "--by", "mara", "--reason", "over")
    assert "needs an approval, and there is none" in lading(*retire).err
    granted(project, "orders@1")
    # Somebody acknowledged since: what was approved is another step.
    assert lading("contract", "acknowledge", "orders@1", "--consumer", "berlin", "--by", "ann").code == 0
    changed = lading(*retire)
    assert changed.code == 3
    assert "is for another definition" in changed.err
    granted(project, "orders@1")
    assert lading(*retire).code == 0
    (used,) = [each for each in lading("approvals", "--log", "--json").json if each["event"] == "used"]
    assert used["promotion"] == {"contract": "orders@1", "channel": "drop", "to": "retired"}
    (state,) = [each for each in lading("contract", "list", "--json").json if each["state"] == "retired"]
    assert state["steps"][-1]["approval"] == used["approvals"][0]["sha256"]
    assert lading("approvals", "--log").code == 0


def test_a_channel_s_rule_is_confirmed_by_its_owners(lading: Any, orders: Path, project: Path) -> None:
    write_owners(project)
    promote = ("contract", "promote", "orders@1", "--channel", "audit", "--by", "mara")
    refused = lading(*promote)
    assert refused.code == 3
    assert "the sign-off of compliance, which owners confirm by an approval" in refused.err
    # What nobody has asked for is not needed to deliver, and not listed.
    assert lading("approvals").err == "Nothing needs an approval.\n"
    until = datetime.now(UTC) + timedelta(days=9)
    Project.load(project).ask(
        "orders@1", by="bob", purpose="reviewed", expires=until, sign=BOB.sign, channel="audit"
    )
    (pending,) = lading("approvals", "--json").json
    assert (pending["export"], pending["kind"], pending["name"]) == (
        "orders@1",
        "promotion",
        "orders@1 audit active",
    )
    assert "is not signed by another owner" in pending["missing"]
    loaded = Project.load(project)
    asked = loaded.asked_for("orders@1", "ada", channel="audit")
    loaded.grant("orders@1", by="ada", approvals=asked, sign=ADA.sign, channel="audit")
    assert lading("approvals").out.rstrip().endswith("granted")
    assert lading(*promote).out == "orders@1 is active\n"
    assert lading("approvals").err == "Nothing needs an approval.\n"
    # The use tells its step by the name that it was asked for and granted by.
    told = [line.split()[2:7] for line in lading("approvals", "--log").out.splitlines()[1:]]
    assert [each[:4] for each in told] == [
        [event, "orders@1", "audit", "active"] for event in ("asked", "granted", "used")
    ]
    assert len({approval for *_, approval in told}) == 1


def test_a_version_does_not_end_before_what_was_committed_is_published(
    lading: Any, orders: Path, project: Path
) -> None:
    assert lading("run", "orders_drop").code == 0
    deprecated(lading, orders, days_ago=62)
    for consumer in ("berlin", "lisbon"):
        lading("contract", "acknowledge", "orders@1", "--consumer", consumer, "--by", "ann")
    say_status(orders, "deprecated", "retired")
    # As a process leaves it that died between the seal and the publishing.
    for name in ("done.json", "published/berlin.json"):
        next((project / "journal").rglob(name)).unlink()
    retire = ("contract", "promote", "orders@1", "--by", "mara", "--reason", "over")
    early = lading(*retire)
    assert early.code == 3
    assert "under way or not published: orders_drop" in early.err
    assert lading("run", "orders_drop").code == 0
    assert lading(*retire).code == 0


def test_consumers_of_an_export_that_was_removed_are_asked_too(
    lading: Any, orders: Path, project: Path
) -> None:
    assert lading("run", "orders_drop", "--tenant", "berlin").code == 0
    export = project / "exports/orders_drop.yaml"
    export.write_text(export.read_text().replace("name: orders_drop", "name: another"))
    deprecated(lading, orders, days_ago=62)
    say_status(orders, "deprecated", "retired")
    silent = lading("contract", "promote", "orders@1", "--by", "mara", "--reason", "over")
    assert silent.code == 3
    assert "not acknowledged its end: berlin." in silent.err


def test_before_its_sunset_no_version_ends(lading: Any, orders: Path) -> None:
    deprecated(lading, orders, days_ago=58)
    say_status(orders, "deprecated", "retired")
    early = lading("contract", "promote", "orders@1", "--by", "mara", "--reason", "over")
    assert early.code == 3
    assert "is deprecated until its sunset" in early.err


def test_only_the_end_of_a_deprecated_version_is_acknowledged(lading: Any, orders: Path) -> None:
    told = lading("contract", "acknowledge", "orders@1", "--consumer", "berlin", "--by", "ann")
    assert told.code == 3
    assert "orders@1 is draft" in told.err
    assert 'there is no contract "orders@7"' in lading("contract", "promote", "orders@7", "--by", "x").err
