"""Steps of versions are recorded once, in order."""

# S8
from __future__ import annotations

from datetime import UTC, datetime

import pytest

from lading.contract.lifecycle import Step
from lading.errors import InProgress, IntegrityError
from lading.journal.lives import Lives
from lading.journal.log import Journal
from lading.stores.memory import MemoryStore

NOW = datetime(2026, 3, 2, 10, 30, tzinfo=UTC)


def step(state: str, by: str = "mara") -> Step:
    sunset = datetime(2026, 5, 2, tzinfo=UTC) if state == "deprecated" else None
    return Step(state, NOW, by, "why", "1.0.0", "ab", sunset, "flights@2")  # type: ignore[arg-type]


@pytest.fixture
def lives() -> Lives:
    return Lives(Journal(MemoryStore("memory://journal"), now=lambda: NOW))


def test_what_was_recorded_is_read_again(lives: Lives) -> None:
    first = lives.read("flights", 1, "drop")
    assert (first.name, first.state, first.steps) == ("flights@1", "draft", ())
    active = lives.take(first, step("active"))
    lives.take(active, step("deprecated"))
    lives.acknowledge(active, "a/b", "ann")
    lives.acknowledge(active, "a/b", "somebody else")
    found = lives.read("flights", 1, "drop")
    assert found.steps == (step("active"), step("deprecated"))
    assert found.acknowledged == {"a/b"}
    assert lives.journal.get("contracts/flights/1/drop/acknowledged/a%2Fb.json")["by"] == "ann"


def test_majors_and_channels_have_lives_of_their_own(lives: Lives) -> None:
    lives.take(lives.read("flights", 1, "drop"), step("active"))
    lives.take(lives.read("flights", 12, "audit"), step("active"))
    assert lives.read("flights", 2, "drop").state == "draft"
    assert lives.read("flights", 1, "audit").state == "draft"
    assert lives.majors("flights", "drop") == {1}
    assert lives.majors("flight", "drop") == set()


def test_of_two_who_decide_at_once_one_wins(lives: Lives) -> None:
    seen = lives.read("flights", 1, "drop")
    lives.take(seen, step("active", by="mara"))
    with pytest.raises(InProgress, match="Somebody else has decided about flights@1"):
        lives.take(seen, step("active", by="ann"))
    assert lives.read("flights", 1, "drop").steps[0].by == "mara"


def test_a_lost_or_damaged_step_is_no_state(lives: Lives) -> None:
    life = lives.take(lives.read("flights", 1, "drop"), step("active"))
    lives.take(life, step("deprecated"))
    store = lives.journal.store
    damaged = store.get("contracts/flights/1/drop/0001.json")
    store.delete("contracts/flights/1/drop/0001.json")
    with pytest.raises(IntegrityError, match="has lost steps of flights@1"):
        lives.read("flights", 1, "drop")
    store.put("contracts/flights/1/drop/0001.json", damaged.replace(b'"at":', b'"when":'))
    with pytest.raises(IntegrityError, match="is damaged"):
        lives.read("flights", 1, "drop")
