from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lading.export.interval import parse_every, parse_instant
from lading.export.schedule import (
    Schedule,
    check_cron,
    check_timezone,
    last_tick,
    longest_gap,
    next_tick,
)

instants = st.datetimes(datetime(2000, 1, 1), datetime(2060, 1, 1), timezones=st.just(UTC))
changes = [datetime(2024, 3, 31, 1), datetime(2024, 10, 27, 1), datetime(2024, 3, 10, 7), datetime(2024, 11, 3, 6),
           datetime(2024, 4, 6, 15), datetime(2024, 10, 5, 15, 30)]  # fmt: skip
near_changes = st.builds(
    lambda change, minutes: change.replace(tzinfo=UTC) + timedelta(minutes=minutes),
    st.sampled_from(changes),
    st.integers(-200, 200),
)
zones = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"])
crons = st.sampled_from(
    [
        "0 */6 * * *",
        "*/15 * * * *",
        "30 2 * * *",
        "0 0 1 * *",
        "0 9 * * mon-fri",
        "15 3 29 2 *",
        "0 0 1 jan *",
        "0 2 * * 0",
    ]
)
schedules = st.builds(Schedule, cron=crons, timezone=zones) | st.builds(
    Schedule, every=st.sampled_from(["15m", "7m", "1 day", "1 week", "1 month", "1 quarter"]).map(parse_every)
)


@given(schedules, instants | near_changes)
def test_an_instant_lies_between_the_last_tick_and_the_next(schedule: Schedule, at: datetime) -> None:
    last, following = last_tick(schedule, at), next_tick(schedule, at)
    assert last <= at < following
    assert last_tick(schedule, following) == following
    assert last_tick(schedule, last) == last
    assert next_tick(schedule, last) == following


@pytest.mark.parametrize(
    ("schedule", "at", "tick"),
    [
        (Schedule("0 */6 * * *"), "2013-01-01T06:00:00Z", "2013-01-01T06:00:00Z"),
        (Schedule("0 */6 * * *"), "2013-01-01T05:59:59.999999Z", "2013-01-01T00:00:00Z"),
        (Schedule("0 3 * * *", "Europe/Berlin"), "2024-07-01T12:00:00Z", "2024-07-01T01:00:00Z"),
        (Schedule("0 3 * * *", "Europe/Berlin"), "2024-01-01T12:00:00Z", "2024-01-01T02:00:00Z"),
        # 02:30 does not exist on this night, and comes twice on that one.
        (Schedule("30 2 * * *", "Europe/Berlin"), "2024-03-31T12:00:00Z", "2024-03-31T01:00:00Z"),
        (Schedule("30 2 * * *", "Europe/Berlin"), "2024-10-27T01:00:00Z", "2024-10-27T00:30:00Z"),
        (Schedule("30 2 * * *", "Europe/Berlin"), "2024-10-27T12:00:00Z", "2024-10-27T01:30:00Z"),
        (Schedule(every=parse_every("1 week")), "2024-01-03T12:00:00Z", "2024-01-01T00:00:00Z"),
        (Schedule(every=parse_every("1 quarter")), "2024-06-30T12:00:00Z", "2024-04-01T00:00:00Z"),
        (Schedule(every=parse_every("15m")), "2024-06-30T12:14:59Z", "2024-06-30T12:00:00Z"),
    ],
)
def test_the_last_tick(schedule: Schedule, at: str, tick: str) -> None:
    assert last_tick(schedule, parse_instant(at)) == parse_instant(tick)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "* * * *",
        "* * * * * *",
        "@daily",
        "H * * * *",
        "R R * * *",
        "60 * * * *",
        "0 0 30 2 *",
        "0 0 * * L",
        "a b c d e",
    ],
)
def test_what_is_no_cron_expression_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be "):
        check_cron(text)


@pytest.mark.parametrize("text", ["", "Mars/Olympus", "../etc/passwd", "/etc/localtime"])
def test_what_is_no_time_zone_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a time zone such as UTC or Europe/Berlin"):
        check_timezone(text)


# S13
@pytest.mark.parametrize(
    ("schedule", "gap"),
    [
        (Schedule(every=parse_every("15m")), timedelta(minutes=15)),
        (Schedule(every=parse_every("1 month")), timedelta(days=31)),
        (Schedule("* * * * *"), timedelta(minutes=1)),
        (Schedule("0,20 * * * *"), timedelta(minutes=40)),
        (Schedule("0 9-17 * * *"), timedelta(hours=16)),
        (Schedule("0 9-17 * * 1-5"), timedelta(days=2, hours=16)),
        (Schedule("0 0 1 * *"), timedelta(days=31)),
        # The hour that comes twice.
        (Schedule("0 */6 * * *", "Europe/Berlin"), timedelta(hours=7)),
    ],
)
def test_the_longest_gap(schedule: Schedule, gap: timedelta) -> None:
    assert longest_gap(schedule, datetime(2026, 11, 22, 7, 3, 5, tzinfo=UTC)) == gap


@settings(deadline=None, max_examples=20)
@given(schedules, instants, st.integers(0, 365 * 24 * 60))
def test_no_gap_is_longer_than_the_longest(schedule: Schedule, since: datetime, minutes: int) -> None:
    at = since + timedelta(minutes=minutes)
    assert next_tick(schedule, at) - last_tick(schedule, at) <= longest_gap(schedule, since)
