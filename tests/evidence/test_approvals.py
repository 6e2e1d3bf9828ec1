"""Approvals: two people, one definition, one purpose, one end; everything else is none."""

# S9 S11
from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from people import ADA, BOB, EVE, Person

from lading.evidence.approvals import LONGEST, Approval, Subject, granted
from lading.evidence.owners import Owners

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SUBJECT = Subject(
    "shop", "prod", "export", "orders_drop", {"table": "orders", "rows": 2**60},
    (("datasets", "orders"), ("channels", "drop")),
)  # fmt: skip


def owners(**changes: Any) -> Owners:
    sections = {"datasets": {"orders": ["ada"]}, "channels": {"*": ["ada"]}, "destinations": {}, **changes}
    people = {each.name: (each.public.line,) for each in (ADA, BOB, EVE)}
    return Owners.model_validate({"people": people, **sections})


def approval(*signers: Person, subject: Subject = SUBJECT, by: str = "bob", days: float = 30) -> Approval:
    data = subject.request("quarterly audit", by, NOW, NOW + timedelta(days=days))
    return Approval.read(data, [signer.sign(data) for signer in signers])


def why_not(given_: Approval, *, at: datetime = NOW, subject: Subject = SUBJECT, **sections: Any) -> str:
    outcome = granted(subject, [given_], owners(**sections), at)
    assert isinstance(outcome, str)
    return outcome


def test_what_one_asks_for_and_an_owner_signs_is_approved() -> None:
    given_ = approval(BOB, ADA)
    assert granted(SUBJECT, [given_], owners(), NOW) is given_
    assert given_.signers(owners()) == {"ada", "bob"}


def test_nobody_approves_their_own() -> None:
    owned = {"datasets": {"*": ["ada", "eve"]}, "channels": {"*": ["ada", "eve"]}}
    assert "not signed by another owner of datasets.orders: eve may" in why_not(
        approval(ADA, by="ada"), **owned
    )
    # Nor with a second key, nor with somebody who owns nothing.
    other = Person.called("ada", 1)
    people = {"ada": (ADA.public.line, other.public.line), "eve": (EVE.public.line,)}
    both = Owners.model_validate({"people": people, "datasets": {"*": ["ada"]}, "channels": {"*": ["ada"]}})
    outcome = granted(SUBJECT, [approval(ADA, other, EVE, by="ada")], both, NOW)
    assert isinstance(outcome, str)
    assert "cannot be granted: ada asked and is the only owner of datasets.orders" in outcome


def test_what_nobody_can_grant_is_told_as_such() -> None:
    words = (
        "ada asked and is the only owner of datasets.orders: add another to ops/owners.yaml, or let somebody "
        "else ask"
    )
    assert why_not(approval(ADA, by="ada")).endswith(f" cannot be granted: {words}")
    # Also where another owner of something else could sign first, for nothing.
    divided = {"datasets": {"*": ["eve"]}, "channels": {"*": ["bob"]}}
    assert "bob asked and is the only owner of channels.drop" in why_not(approval(BOB), **divided)
    assert "nobody owns channels.drop: name an owner in ops/owners.yaml" in why_not(
        approval(BOB, ADA), channels={}
    )


def test_who_is_said_to_have_asked_must_have_signed() -> None:
    assert "is not signed by bob, who asked for it" in why_not(approval(ADA))
    assert "is not signed by bob, who asked for it" in why_not(approval(ADA, EVE))


def test_every_owner_s_own_has_to_be_approved_by_an_owner_of_it() -> None:
    divided = {"channels": {"drop": ["eve"]}}
    assert "not signed by another owner of channels.drop: eve may" in why_not(approval(BOB, ADA), **divided)
    assert isinstance(granted(SUBJECT, [approval(BOB, ADA, EVE)], owners(**divided), NOW), Approval)


def test_what_changed_since_is_not_approved() -> None:
    changed = replace(SUBJECT, definition={"table": "orders", "rows": 2**60 + 1})
    assert "has changed since (differs in: rows)" in why_not(approval(BOB, ADA), subject=changed)
    grown = replace(SUBJECT, definition={"rows": 2**60, "where": "x"})
    assert "(differs in: table, where)" in why_not(approval(BOB, ADA), subject=grown)
    for elsewhere in ({"project": "other"}, {"environment": "dev"}, {"name": "x"}, {"kind": "query"}):
        outcome = why_not(approval(BOB, ADA), subject=replace(SUBJECT, **elsewhere))
        assert "needs an approval, and there is none" in outcome


def test_of_several_the_one_is_named_that_was_granted_unless_a_request_for_what_stands_now_is_pending() -> (
    None
):
    was = replace(SUBJECT, definition={"table": "orders", "rows": 1})
    signed, unsigned = approval(BOB, ADA, subject=was, days=9), approval(BOB, subject=was, days=10)
    for each in ([signed, unsigned], [unsigned, signed]):
        outcome = granted(SUBJECT, each, owners(), NOW)
        assert outcome == (
            f"the approval {signed.id} is for another definition: the export orders_drop has changed since "
            "(differs in: rows)"
        )
    pending = approval(BOB)
    outcome = granted(SUBJECT, [signed, pending], owners(), NOW)
    assert isinstance(outcome, str)
    assert outcome.startswith(f"the approval {pending.id} is not signed by another owner")


def test_an_approval_ends() -> None:
    given_ = approval(BOB, ADA, days=1)
    assert isinstance(granted(SUBJECT, [given_], owners(), NOW + timedelta(days=1, seconds=-1)), Approval)
    assert "ended at 2026-06-02T00:00:00Z" in why_not(given_, at=NOW + timedelta(days=1))
    assert "begins at 2026-06-01T00:00:00Z" in why_not(given_, at=NOW - timedelta(hours=1))


def test_who_is_no_longer_there_has_not_approved() -> None:
    people = {"bob": (BOB.public.line,), "eve": (EVE.public.line,)}
    without = Owners.model_validate(
        {"people": people, "datasets": {"*": ["eve"]}, "channels": {"*": ["eve"]}}
    )
    outcome = granted(SUBJECT, [approval(BOB, ADA)], without, NOW)
    assert isinstance(outcome, str)
    assert "not signed by another owner of datasets.orders: eve may" in outcome
    assert granted(SUBJECT, [approval(BOB, ADA)], None, NOW) == (
        "there is no ops/owners.yaml, so nobody can approve the export orders_drop"
    )


@pytest.mark.parametrize("days", [0, -1, LONGEST.days + 1])
def test_a_time_that_no_approval_may_have_is_refused(days: int) -> None:
    with pytest.raises(ValueError, match="ends within 366 days"):
        approval(BOB, days=days)


@pytest.mark.parametrize(("days", "told"), [(0, "is past"), (-1, "is past"), (LONGEST.days + 1, "does not")])
def test_whoever_asks_for_a_time_that_is_past_is_told_so(days: int, told: str) -> None:
    with pytest.raises(ValueError, match=f"Z {told}$"):
        approval(BOB, days=days)


@given(st.data())
def test_no_byte_of_what_was_signed_can_be_changed(data: st.DataObject) -> None:
    whole = approval(BOB, ADA)
    at = data.draw(st.integers(0, len(whole.data) - 1))
    changed = bytearray(whole.data)
    changed[at] ^= data.draw(st.integers(1, 255))
    try:
        read = Approval.read(bytes(changed), whole.signatures)
    except ValueError:
        return
    assert read.signers(owners()) == frozenset()


def test_a_document_that_reads_otherwise_than_it_is_written_is_none() -> None:
    text = approval(BOB).data.decode()
    twice = text.replace('"name": "orders_drop",', '"name": "harmless",\n  "name": "orders_drop",')
    for changed in (twice, text.rstrip(), text.replace("  ", "    "), text.replace("bob", "b\\u006fb")):
        with pytest.raises(ValueError, match="is not written as approvals are"):
            Approval.read(changed.encode(), [])
    for wrong in (
        {},
        [],
        {"approval_version": 2, **{k: v for k, v in json.loads(text).items() if "ver" not in k}},
    ):
        with pytest.raises(ValueError):
            Approval.read(json.dumps(wrong).encode(), [])


def test_a_key_is_one_person_s() -> None:
    with pytest.raises(ValueError, match="this key is ada's already"):
        Owners.model_validate({"people": {"ada": ADA.public.line, "bob": ADA.public.line}})
    with pytest.raises(ValueError, match='people names nobody called "adda"'):
        Owners.model_validate({"people": {"ada": ADA.public.line}, "datasets": {"orders": "adda"}})
    with pytest.raises(ValueError, match=r"people\.ada: a key is no public key"):
        Owners.model_validate({"people": {"ada": "secret"}})
