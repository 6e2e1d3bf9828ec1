"""Intervals of time: half-open, in UTC, on a grid that is exact by the calendar."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Literal

from lading.documents import parse_duration
from lading.export.identity import instant as show

Unit = Literal["second", "month"]

_EVERY = re.compile(r"([0-9]{1,9})?\s*([a-z]+)", re.IGNORECASE)
_UNITS: dict[str, tuple[int, Unit]] = {
    "s": (1, "second"), "second": (1, "second"), "m": (60, "second"), "min": (60, "second"),
    "minute": (60, "second"), "h": (3600, "second"), "hour": (3600, "second"), "d": (86400, "second"),
    "day": (86400, "second"), "w": (604800, "second"), "week": (604800, "second"),
    "month": (1, "month"), "quarter": (3, "month"), "year": (12, "month"),
}  # fmt: skip
_ISO_MONTHS = re.compile(r"P(?!$)(?:([0-9]{1,4})Y)?(?:([0-9]{1,5})M)?", re.IGNORECASE)

_INSTANT = re.compile(
    r"(\d{4}-\d{2}-\d{2})(?:[Tt ](\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?)\s?([Zz]|[+-]\d{2}:\d{2})?)?", re.ASCII
)
_TOKEN = re.compile(r"(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(\d{2})(?:\.(\d{6}))?Z", re.ASCII)


@dataclass(frozen=True, slots=True, order=True)
class Interval:
    """``start <= instant < end``, both aware; kept in UTC. Raises ValueError where it would be empty."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            value: datetime = getattr(self, name)
            if value.tzinfo is None:
                raise ValueError(f"the {name} of an interval needs a time zone")
            object.__setattr__(self, name, value.astimezone(UTC))
        if self.start >= self.end:
            raise ValueError(f"the start {show(self.start)} must lie before the end {show(self.end)}")

    def __str__(self) -> str:
        return f"{show(self.start)}/{show(self.end)}"

    def __contains__(self, instant: datetime) -> bool:
        return self.start <= instant < self.end


@dataclass(frozen=True, slots=True)
class Every:
    """The step of a grid: so many seconds, or so many months of the calendar."""

    count: int
    unit: Unit

    @property
    def whole_days(self) -> bool:
        """Whether each step from a midnight in UTC leads to another."""
        return self.unit == "month" or self.count % 86_400 == 0

    def boundary(self, anchor: datetime, index: int) -> datetime:
        """The grid's ``index``-th boundary; the 0th is the anchor.

        Months are counted from the anchor, so that the 31st comes back after a short month. Raises OverflowError
        beyond the years 1 to 9999.
        """
        if self.unit == "second":
            return anchor + timedelta(seconds=self.count) * index
        months = anchor.year * 12 + anchor.month - 1 + self.count * index
        year, month = divmod(months, 12)
        if not 1 <= year <= 9999:
            raise OverflowError("the year is out of range")
        return anchor.replace(year=year, month=month + 1, day=min(anchor.day, monthrange(year, month + 1)[1]))

    def index(self, anchor: datetime, instant: datetime) -> int:
        """The index of the last boundary at or before the instant."""
        if self.unit == "second":
            return (instant - anchor) // timedelta(seconds=self.count)
        months = (instant.year - anchor.year) * 12 + instant.month - anchor.month
        index = months // self.count
        # One step back at most: the boundary may lie later in its month than the instant does.
        return index if self.boundary(anchor, index) <= instant else index - 1

    def on_grid(self, anchor: datetime, instant: datetime) -> bool:
        return self.boundary(anchor, self.index(anchor, instant)) == instant


def parse_every(value: object) -> Every:
    """``15m``, ``1 hour``, ``day``, ``2 weeks``, ``1 month``, ``1 quarter``, ``1 year``, ``PT15M``, ``P1M``.

    Raises ValueError.
    """
    if isinstance(value, Every):
        return value
    text = value.strip() if isinstance(value, str) else ""
    every: Every | None = None
    if match := _EVERY.fullmatch(text):
        unit = match[2].lower()
        size = _UNITS.get(unit) or _UNITS.get(unit.removesuffix("s") if len(unit) > 2 else "")
        every = Every(int(match[1] or 1) * size[0], size[1]) if size else None
    elif match := _ISO_MONTHS.fullmatch(text):
        every = Every(int(match[1] or 0) * 12 + int(match[2] or 0), "month")
    elif text[:1] in ("P", "p"):
        seconds = parse_duration(text).total_seconds()
        every = Every(int(seconds), "second") if seconds == int(seconds) else None
    if every is None:
        raise ValueError("must be a step, such as 15m, 1 hour, 1 day, 1 week, 1 month, 1 quarter or 1 year")
    if every.count < 1 or every.count > (36_600 * 86_400 if every.unit == "second" else 12_000):
        raise ValueError("must be a step of at least a second and at most a century")
    return every


def grid(
    start: datetime, every: Every, until: datetime | None = None, last: datetime | None = None
) -> Iterator[Interval]:
    """The grid's whole intervals from ``start``, oldest first; none ends after ``until`` or ``last``.

    An interval that would cross either is left out, never shortened. Ends with the year 9999 where both are None.
    """
    limit = min((instant for instant in (until, last) if instant is not None), default=None)
    here = start
    for index in count(1):
        try:
            there = every.boundary(start, index)
        except OverflowError:
            return
        if limit is not None and there > limit:
            return
        yield Interval(here, there)
        here = there


def parse_instant(value: object) -> datetime:
    """A date (midnight UTC) or an RFC 3339 time; without an offset it is UTC. Raises ValueError."""
    if isinstance(value, datetime):
        return value.replace(tzinfo=value.tzinfo or UTC).astimezone(UTC)
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC)
    match = _INSTANT.fullmatch(value.strip()) if isinstance(value, str) else None
    if not match:
        raise ValueError("must be a date or an RFC 3339 time, such as 2013-01-01 or 2013-01-01T06:00:00Z")
    day, time, zone = match.groups()
    try:
        return datetime.fromisoformat(f"{day}T{time or '00:00'}{(zone or 'Z').upper()}").astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"must be a time that exists, not {value}") from None


def midnight(instant: datetime) -> datetime:
    """The start of its day in UTC."""
    return instant.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def token(instant: datetime) -> str:
    """The instant as a part of a name: ``20130101T000000Z``, ``20130101T000000.000123Z``."""
    utc = instant.astimezone(UTC)
    text = f"{utc.year:04}{utc.month:02}{utc.day:02}T{utc.hour:02}{utc.minute:02}{utc.second:02}"
    return f"{text}.{utc.microsecond:06}Z" if utc.microsecond else f"{text}Z"


def parse_token(text: str) -> datetime:
    """What `token` made. Raises ValueError."""
    match = _TOKEN.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not an instant such as 20130101T000000Z")
    year, month, day, *time = (int(part or 0) for part in match.groups())
    hour, minute, second, microsecond = time
    instant = datetime(year, month, day, hour, minute, second, microsecond, UTC)
    if token(instant) != text:
        raise ValueError(f"{text!r} is not an instant such as 20130101T000000Z")
    return instant
