"""What an error says in one line: the message, and then what to do about it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.errors import LadingError, StoreFull


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("No space left on device", "No space left on device. Free some space."),
        ("The disk is full.", "The disk is full. Free some space."),
        ("Is the disk full?", "Is the disk full? Free some space."),
    ],
)
def test_a_full_stop_stands_between_what_is_wrong_and_what_to_do(message: str, told: str) -> None:
    error = StoreFull(message, hint="Free some space.")
    assert str(error) == told
    assert (error.message, error.hint) == (message, "Free some space.")


@given(st.text(min_size=1))
def test_without_a_hint_the_message_stays_as_it_is(message: str) -> None:
    assert str(LadingError(message)) == message
