"""A version's states, and what each step needs."""

# S8, X12
from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.contract import Contract, Sla
from lading.contract.lifecycle import RULES, STATES, Around, Life, Step, approval_needed, judge
from lading.errors import InvalidProject, Refused

NOW = datetime(2026, 3, 2, 10, 30, tzinfo=UTC)
CONTRACT = Contract(
    id="x",
    name="flights",
    version="1.2.0",
    major=1,
    status="active",
    description="",
    path="contracts/f.yaml",
    sha256="ab",
    owners=(),
    sla=Sla(),
    fields=(),
    primary_key=(),
    lines={"status": 5},
)


def life(
    *states: str, channel: str = "drop", sunset: datetime | None = None, known: tuple[str, ...] = ()
) -> Life:
    steps = [
        Step(state, NOW, "mara", "why", "1.0.0", "ab", sunset if state == "deprecated" else None, "flights@2")  # type: ignore[arg-type]
        for state in states
    ]
    return Life("flights@1", channel, tuple(steps), frozenset(known))


def asked(known: Life, status: str, around: Around | None = None, **more: object) -> Step | None:
    words = {"by": "mara", "reason": "flights@2 has gates", **more}
    return judge(known, replace(CONTRACT, status=status), around or Around(), NOW, **words)  # type: ignore[arg-type]


def test_a_first_version_goes_from_draft_to_active() -> None:
    step = asked(life(), "active")
    assert step is not None
    assert (step.state, step.at, step.by, step.version, step.sunset) == ("active", NOW, "mara", "1.2.0", None)


def test_a_later_version_needs_dual_delivery() -> None:
    with pytest.raises(Refused, match=r"follows flights@0.* from one snapshot on 7 days: they never were"):
        asked(life(), "active", Around(earlier="flights@0"))
    days = [date(2026, 5, day) for day in (1, 2, 4, 8, 9, 10)]
    with pytest.raises(Refused, match="they were on 6 days, from 2026-05-01 to 2026-05-10"):
        asked(life(), "active", Around(earlier="flights@0", together=days))
    step = asked(life(), "active", Around(earlier="flights@0", together=[*days, date(2026, 5, 11)]))
    assert step is not None
    assert step.state == "active"


def test_where_a_channel_asks_for_an_approval_that_is_what_a_later_version_needs() -> None:
    step = asked(life(channel="bundle"), "active", Around(earlier="flights@0"), approval="a" * 64)
    assert step is not None
    assert step.approval == "a" * 64


def test_a_window_is_two_release_cycles_at_least() -> None:
    assert Around().window("drop") == timedelta(days=60)
    assert Around(cycle=timedelta(days=20)).window("drop") == timedelta(days=60)
    assert Around(cycle=timedelta(days=31)).window("drop") == timedelta(days=62)


@pytest.mark.parametrize(
    ("channel", "what"),
    [("bundle", "security review"), ("audit", "compliance"), ("snapshot", "contract suite")],
)
def test_what_somebody_must_say_yes_to_is_not_taken_for_granted(channel: str, what: str) -> None:
    with pytest.raises(Refused, match=f"{what}.*which owners confirm by an approval: there is none"):
        asked(life(channel=channel), "active", unapproved="there is none")
    step = asked(life(channel=channel), "active", approval="a" * 64)
    assert step is not None
    assert step.approval == "a" * 64


@pytest.mark.parametrize(
    ("channel", "days"), [("snapshot", 120), ("drop", 60), ("bundle", 90), ("audit", 180)]
)
def test_each_channel_has_a_window_of_its_own(channel: str, days: int) -> None:
    active = life("active", channel=channel)
    step = asked(active, "deprecated", Around(successor="flights@2"))
    assert step is not None
    assert step.sunset is not None
    assert timedelta(days=days) <= step.sunset - NOW < timedelta(days=days + 1)
    assert step.sunset.hour == 0
    assert step.successor == "flights@2"
    assert asked(active, "deprecated", sunset=step.sunset) == replace(step, successor=None)
    later = asked(active, "deprecated", sunset=step.sunset + timedelta(days=30))
    assert later is not None
    assert later.sunset == step.sunset + timedelta(days=30)
    with pytest.raises(Refused, match=f"the window of the channel {channel} is {days} days"):
        asked(active, "deprecated", sunset=step.sunset - timedelta(days=1))


def test_nothing_is_retired_before_its_sunset() -> None:
    with pytest.raises(Refused, match="deprecated until its sunset, 2026-03-03"):
        asked(life("active", "deprecated", sunset=datetime(2026, 3, 3, tzinfo=UTC)), "retired")
    over = life("active", "deprecated", sunset=NOW)
    step = asked(over, "retired")
    assert step is not None
    assert step.state == "retired"


def test_a_consumer_who_has_not_acknowledged_stands_in_the_way_of_a_retirement() -> None:
    over = life("active", "deprecated", sunset=NOW, known=("acme",))
    with pytest.raises(Refused, match=r"not acknowledged its end: bee, cee\. .*approved override"):
        asked(over, "retired", Around(consumers=("cee", "acme", "bee")))
    around = Around(consumers=("cee", "acme", "bee"))
    needed = approval_needed(over, replace(CONTRACT, status="retired"), around)
    assert needed is not None
    assert needed["without_acknowledgement"] == ["bee", "cee"]
    overridden = asked(over, "retired", around, approval="b" * 64)
    assert overridden is not None
    assert overridden.approval == "b" * 64
    known = asked(over, "retired", Around(consumers=("acme",)), approval="b" * 64)
    assert known is not None
    assert known.approval is None  # it took none


def test_nothing_is_retired_with_deliveries_under_way() -> None:
    with pytest.raises(Refused, match="under way or not published: flights_drop"):
        asked(life("active", "deprecated", sunset=NOW), "retired", Around(unfinished=("flights_drop",)))


def test_a_step_says_who_and_why() -> None:
    with pytest.raises(InvalidProject, match="--by is empty"):
        asked(life(), "active", by=" ")
    with pytest.raises(InvalidProject, match="--reason is missing"):
        asked(life("active"), "deprecated", reason="")
    with pytest.raises(InvalidProject, match="--sunset belongs to a deprecation"):
        asked(life(), "active", sunset=NOW)


def test_a_status_that_is_no_state_is_told_with_its_place() -> None:
    with pytest.raises(InvalidProject, match=r'contracts/f\.yaml:5: status is "live"'):
        asked(life(), "live")


@given(st.sampled_from(STATES), st.sampled_from(STATES))
def test_a_version_goes_one_step_at_a_time_and_never_back(before: str, after: str) -> None:
    states = [state for state in STATES[1:] if STATES.index(state) <= STATES.index(before)]  # type: ignore[arg-type]
    known = life(*states, sunset=NOW)
    assert known.state == before
    distance = STATES.index(after) - STATES.index(before)  # type: ignore[arg-type]
    if distance not in (0, 1):
        with pytest.raises(InvalidProject):
            asked(known, after)
        return
    step = asked(known, after)
    assert (step is None) == (distance == 0)
    assert step is None or step.state == after


def test_recipients_of_a_deprecated_version_are_told_of_its_end() -> None:
    deprecated = life("active", "deprecated", sunset=datetime(2026, 5, 2, tzinfo=UTC))
    assert deprecated.notice() == {
        "contract": "flights@1", "state": "deprecated", "deprecated_at": "2026-03-02", "sunset": "2026-05-02",
        "successor": "flights@2", "reason": "why",
    }  # fmt: skip
    assert deprecated.told() == (
        "flights@1 is deprecated and may end from 2026-05-02 on; its successor is flights@2",
    )
    assert life("active").notice() is None
    retired = life("active", "deprecated", "retired", sunset=NOW)
    assert retired.notice() is None
    with pytest.raises(Refused, match="retired since 2026-03-02: nothing is delivered under it"):
        retired.require_runs()


def test_every_channel_that_the_documents_name_has_a_rule() -> None:
    assert set(RULES) == {"snapshot", "drop", "bundle", "audit"}
