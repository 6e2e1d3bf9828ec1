from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.documents import parse_duration, parse_size, show_duration


@pytest.mark.parametrize(
    ("text", "size"),
    [("256MB", 256_000_000), ("64MiB", 64 * 2**20), ("1.5 GB", 1_500_000_000), ("10k", 10_000), ("0", 0),
     (4096, 4096), ("1b", 1), ("1.1GB", 1_100_000_000)],
)  # fmt: skip
def test_a_size_is_bytes(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-1", "1 PB", "1,5GB", None, True, -1, "1e3", [], "١MB"])
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(ValueError):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("60s", 60), ("15m", 900), ("24h", 86400), ("7d", 604800), ("2 weeks", 1209600), ("500ms", 0.5), ("PT1H", 3600),
     ("P1DT2H3M4.5S", 93784.5), ("P1W", 604800), ("0s", 0), ("0", 0), ("1 Day", 86400), ("1.5h", 5400)],
)  # fmt: skip
def test_a_duration_is_a_span(text: str, seconds: float) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", "P", "PT", "P1M", "1 month", "-1s", "5", 5, None, "1e9h", "999999999999d", "s"]
)
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError):
        parse_duration(text)


@given(st.timedeltas(timedelta(0), timedelta(days=30_000)))
def test_a_shown_duration_reads_back(value: timedelta) -> None:
    assert abs(parse_duration(show_duration(value)) - value) < timedelta(milliseconds=1)
