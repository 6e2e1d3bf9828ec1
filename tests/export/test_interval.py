from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.export.interval import Every, Interval, grid, parse_every, parse_instant, parse_token, token

instants = st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))
steps = st.sampled_from(
    ["1s", "7m", "15m", "1 hour", "day", "2 weeks", "1 month", "1 quarter", "1 year", "5 months"]
)


def at(text: str) -> datetime:
    return parse_instant(text)


def test_an_interval_is_half_open_ordered_and_in_utc() -> None:
    interval = Interval(datetime(2013, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))), at("2013-02-01"))
    assert str(interval) == "2013-01-01T00:00:00Z/2013-02-01T00:00:00Z"
    assert interval.start in interval
    assert interval.end not in interval
    assert interval < Interval(at("2013-01-02"), at("2013-01-03"))
    assert interval.start.tzinfo is UTC


@pytest.mark.parametrize("end", ["2013-01-01", "2012-12-31"])
def test_an_interval_that_would_be_empty_is_refused(end: str) -> None:
    with pytest.raises(ValueError, match=r"the start 2013-01-01T00:00:00Z must lie before the end 201"):
        Interval(at("2013-01-01"), at(end))
    with pytest.raises(ValueError, match="needs a time zone"):
        Interval(datetime(2013, 1, 1), at("2014-01-01"))


@pytest.mark.parametrize(
    ("text", "every"),
    [("15m", Every(900, "second")), ("1 hour", Every(3600, "second")), ("1 day", Every(86400, "second")),
     ("week", Every(604800, "second")), ("1 month", Every(1, "month")), ("2 Quarters", Every(6, "month")),
     ("1 year", Every(12, "month")), ("PT15M", Every(900, "second")), ("P1M", Every(1, "month")),
     ("P1Y6M", Every(18, "month")), ("P1D", Every(86400, "second"))],
)  # fmt: skip
def test_a_step_is_read(text: str, every: Every) -> None:
    assert parse_every(text) == every


@pytest.mark.parametrize(
    "text", ["", "0m", "1", 15, "fortnight", "-1h", "1.5h", "PT0.5S", "P0M", "99999999 years", "ms"]
)
def test_what_is_no_step_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="must be a "):
        parse_every(text)


def test_months_come_back_to_the_31st() -> None:
    ends = [i.end.strftime("%m-%d") for i in islice(grid(at("2013-01-31"), parse_every("1 month")), 4)]
    assert ends == ["02-28", "03-31", "04-30", "05-31"]


def test_an_interval_is_never_shortened() -> None:
    month = parse_every("1 month")
    assert [str(i) for i in grid(at("2013-01-01"), month, until=at("2013-02-28T23:59:59Z"))] == [
        "2013-01-01T00:00:00Z/2013-02-01T00:00:00Z"
    ]
    assert len(list(grid(at("2013-01-01"), month, until=at("2020-01-01"), last=at("2014-02-01")))) == 13
    assert not list(grid(at("2013-01-01"), month, until=at("2013-01-31")))


def test_a_grid_without_a_limit_ends_with_the_calendar() -> None:
    assert [i.end.year for i in grid(at("9990-01-01"), parse_every("3 years"))] == [9993, 9996, 9999]
    assert len(list(grid(at("9999-12-30"), parse_every("1 day")))) == 1


@given(instants, steps)
def test_intervals_of_a_grid_adjoin(start: datetime, step: str) -> None:
    found = list(islice(grid(start, parse_every(step)), 30))
    assert found[0].start == start
    assert all(one.end == other.start for one, other in pairwise(found))


@given(instants, steps, instants)
def test_the_index_is_the_last_boundary_at_or_before(anchor: datetime, step: str, instant: datetime) -> None:
    every = parse_every(step)
    index = every.index(anchor, instant)
    assert every.boundary(anchor, index) <= instant < every.boundary(anchor, index + 1)
    assert every.on_grid(anchor, every.boundary(anchor, index))


@pytest.mark.parametrize(
    ("text", "iso"),
    [("2013-01-01", "2013-01-01T00:00:00+00:00"), ("2013-01-01T06:30:00", "2013-01-01T06:30:00+00:00"),
     ("2013-01-01T06:30Z", "2013-01-01T06:30:00+00:00"), ("2013-01-01 06:30:00+02:00", "2013-01-01T04:30:00+00:00"),
     ("2013-01-01t00:00:00.5z", "2013-01-01T00:00:00.500000+00:00")],
)  # fmt: skip
def test_an_instant_without_a_zone_is_utc(text: str, iso: str) -> None:
    assert parse_instant(text).isoformat() == iso


@pytest.mark.parametrize(
    "text",
    ["", "2013", "20130101", "2013-W01-1", "2013-02-30", "2013-01-01T24:01:00Z", "2013-01-01T00:00:60Z", "yesterday",
     "2013-01-01T00:00:00.1234567Z", "0001-01-01T00:00:00+05:00", 2013, None, "٢٠١٣-01-01"],
)  # fmt: skip
def test_what_is_no_instant_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="must be a "):
        parse_instant(text)


def test_a_token_names_an_instant() -> None:
    assert token(at("2013-01-01")) == "20130101T000000Z"
    assert token(at("0900-01-01T00:00:00.000123Z")) == "09000101T000000.000123Z"


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_token_reads_back(instant: datetime) -> None:
    assert parse_token(token(instant)) == instant


@pytest.mark.parametrize(
    "text", ["", "20130101", "20130101T000000", "20130230T000000Z", "20130101T000000.000000Z"]
)
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_token(text)
