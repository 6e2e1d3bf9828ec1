"""What may leave: the rules, for whatever columns."""

# S10 D17
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.policy import EMPTYING, RESTRICTED, Exposure, judge, level, names_personal
from lading.transforms.mask import ACTIONS

WORDS = [
    "public",
    "internal",
    "confidential",
    "restricted",
    "secret",
    "PII",
    "",
    None,
    "Públic",
    "top secret",
]
exposures = st.lists(
    st.builds(
        Exposure, st.text("abc", min_size=1), st.sampled_from(WORDS), st.booleans(),
        st.frozensets(st.sampled_from([*ACTIONS, "constant"]), max_size=2),
    ),
    max_size=6,
)  # fmt: skip


def test_what_is_unknown_or_above_counts_as_restricted() -> None:
    assert [level(word) for word in ("public", "Internal", " CONFIDENTIAL ", "pii")] == [0, 1, 2, 2]
    for word in (None, "", "restricted", "secret", "sensitive", "publik", "internal use"):
        assert level(word) == RESTRICTED


@pytest.mark.parametrize(
    "word",
    [
        "pii",
        "PII",
        "personal",
        "Personal data",
        "personal_data",
        "pii-email",
        "pii:email",
        "PersonalData",
        "piiEmail",
    ],
)
def test_personal_data_is_what_a_classification_or_a_tag_calls_so(word: str) -> None:
    assert names_personal(["internal", word])
    assert not names_personal(["internal", "impersonal", "person", "typical", ""])


@given(exposures)
def test_nothing_restricted_leaves_without_the_recipient_s_own_key(columns: list[Exposure]) -> None:
    judged = judge(columns, own_key=False)
    for column in columns:
        emptied = bool(column.masks & EMPTYING)
        assert (column in judged.refused) == (level(column.classification) >= RESTRICTED and not emptied)
    assert judged.decisions == ()
    own = judge(columns, own_key=True)
    assert own.refused == ()
    assert {c for d in own.decisions for c in d.columns} == {each.column for each in judged.refused}


@given(exposures, st.booleans())
def test_personal_data_without_a_mask_needs_an_approval_whatever_the_key(
    columns: list[Exposure], own: bool
) -> None:
    unapproved = judge(columns, own).unapproved
    # hash_sha256 alone is confirmed by whoever guesses.
    assert list(unapproved) == [c.column for c in columns if c.personal and not c.masks - {"hash_sha256"}]
