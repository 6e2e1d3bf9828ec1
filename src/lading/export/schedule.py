"""When runs are due: cron expressions and fixed steps.

Ticks are instants. A cron expression speaks of the clock on the wall of its time zone: a time that the change to summer
time leaves out ticks when the clock has moved on, a time that comes twice ticks twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from lading.export.interval import Every

# A Monday, so that steps of weeks begin on Mondays; steps of months begin with a year.
_SECONDS_FROM = datetime(1969, 12, 29, tzinfo=UTC)
_MONTHS_FROM = datetime(1970, 1, 1, tzinfo=UTC)

_FIELD = r"[0-9*,/\-]+"
_NAMED = r"[0-9A-Za-z*,/\-]+"
_CRON = re.compile(rf"{_FIELD}\s+{_FIELD}\s+{_FIELD}\s+{_NAMED}\s+{_NAMED}", re.ASCII)
_WORDS = re.compile(r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|sun|mon|tue|wed|thu|fri|sat|[^a-z])*")


@dataclass(frozen=True, slots=True)
class Schedule:
    """Either a cron expression in a time zone, or a step (`last_tick` says from where it counts)."""

    cron: str | None = None
    timezone: str = "UTC"
    every: Every | None = None


DAILY = Schedule(every=Every(86_400, "second"))
"""Of a full refresh without a schedule."""


def check_cron(text: str) -> str:
    """Five fields: minute, hour, day, month, weekday. Raises ValueError."""
    from croniter import croniter
    from croniter.croniter import CroniterError

    if not _CRON.fullmatch(text.strip()) or not _WORDS.fullmatch(text.lower()):
        raise ValueError('must be five cron fields: minute, hour, day, month, weekday, such as "0 */6 * * *"')
    try:
        croniter(text, _MONTHS_FROM).get_next(datetime)
    except CroniterError as error:
        raise ValueError(f"must be a cron expression that comes to pass: {error}") from None
    return text


def check_timezone(text: str) -> str:
    """A name of the IANA time zone database. Raises ValueError."""
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f'must be a time zone such as UTC or Europe/Berlin, not "{text}"') from None
    return text


def last_tick(schedule: Schedule, at: datetime) -> datetime:
    """The latest tick at or before the instant, in UTC.

    A step counts from Monday 1969-12-29 00:00 UTC where it is made of seconds, from 1970-01-01 where it is made of
    months.
    """
    if schedule.every is not None:
        anchor = _anchor(schedule.every)
        return schedule.every.boundary(anchor, schedule.every.index(anchor, at))
    # Ticks lie on whole minutes, and what lies strictly before one second later lies at or before now.
    return _cron(schedule, at.replace(microsecond=0) + timedelta(seconds=1), forward=False)


def next_tick(schedule: Schedule, at: datetime) -> datetime:
    """The earliest tick after the instant, in UTC."""
    if schedule.every is not None:
        anchor = _anchor(schedule.every)
        return schedule.every.boundary(anchor, schedule.every.index(anchor, at) + 1)
    return _cron(schedule, at.replace(microsecond=0), forward=True)


def longest_gap(schedule: Schedule, since: datetime) -> timedelta:
    """How far apart two ticks lie at most, in the year after ``since``.

    A gap that holds a midnight in UTC is met there. Those within a day are the same on all days that have ticks.
    """
    if schedule.every is not None and schedule.every.unit == "second":
        return timedelta(seconds=schedule.every.count)
    longest = timedelta(0)
    at, second = since.replace(hour=0, minute=0, second=0, microsecond=0), timedelta(seconds=1)
    while at < since + timedelta(days=366):
        after = next_tick(schedule, at - second)
        longest = max(longest, after - last_tick(schedule, at - second))
        at = max(at, after.replace(hour=0, minute=0, second=0)) + timedelta(days=1)
    if schedule.cron is not None and longest < timedelta(days=1):
        ticks = _ticks(schedule, since)
        tick = first = next(ticks)
        while tick < first + timedelta(days=1):
            before, tick = tick, next(ticks)
            longest = max(longest, tick - before)
    return longest


def _anchor(every: Every) -> datetime:
    return _SECONDS_FROM if every.unit == "second" else _MONTHS_FROM


def _ticks(schedule: Schedule, at: datetime) -> Iterator[datetime]:
    from croniter import croniter

    for tick in croniter(schedule.cron, at.astimezone(ZoneInfo(schedule.timezone))).all_next(datetime):
        yield tick.astimezone(UTC)


def _cron(schedule: Schedule, at: datetime, *, forward: bool) -> datetime:
    from croniter import croniter

    ticks = croniter(schedule.cron, at.astimezone(ZoneInfo(schedule.timezone)))
    tick: datetime = ticks.get_next(datetime) if forward else ticks.get_prev(datetime)
    return tick.astimezone(UTC)
