"""Sizes and durations as people write them: ``256MB``, ``60s``, ``PT1H``."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]*)")
_UNITS: dict[str, int] = {"": 1, "b": 1} | {
    f"{prefix}{ending}": base**power
    for power, prefix in enumerate("kmgt", start=1)
    for ending, base in (("b", 1000), ("ib", 1024), ("", 1000))
}

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z]+)")
_SECONDS = {
    "ms": 0.001, "millisecond": 0.001, "s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60,
    "h": 3600, "hr": 3600, "hour": 3600, "d": 86400, "day": 86400, "w": 604800, "week": 604800,
}  # fmt: skip
_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_ISO = re.compile(
    rf"P(?!$)(?:{_NUMBER}W)?(?:{_NUMBER}D)?(?:T(?!$)(?:{_NUMBER}H)?(?:{_NUMBER}M)?(?:{_NUMBER}S)?)?",
    re.IGNORECASE,
)


def parse_size(value: object) -> int:
    """Bytes: ``256MB`` is 256 × 10⁶, ``256MiB`` is 256 × 2²⁰, a plain number is bytes. Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 0:
            raise ValueError("must be a size, and no size is negative")
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if not match or match[2].lower() not in _UNITS:
        raise ValueError("must be a size, such as 256MB or 64MiB")
    unit = _UNITS[match[2].lower()]
    whole, _, fraction = match[1].partition(".")
    return int(whole) * unit + int(fraction or 0) * unit // int(10 ** len(fraction))


def parse_duration(value: object) -> timedelta:
    """``500ms``, ``60s``, ``15m``, ``24h``, ``7d``, ``2 weeks``, or ISO 8601 without months and years: ``PT1H30M``.

    Raises ValueError.
    """
    if isinstance(value, timedelta):
        return value
    text = value.strip() if isinstance(value, str) else ""
    seconds: float | None = None
    if match := _DURATION.fullmatch(text):
        unit = match[2].lower()
        each = _SECONDS.get(unit, _SECONDS.get(unit.removesuffix("s") if len(unit) > 2 else unit))
        seconds = each and float(match[1]) * each
    elif match := _ISO.fullmatch(text):
        amounts = [float(number or 0) for number in match.groups()]
        seconds = sum(map(float.__mul__, amounts, (604800.0, 86400.0, 3600.0, 60.0, 1.0)))
    if seconds is None and text.strip("0") == "" and text:
        seconds = 0
    if seconds is None:
        raise ValueError("must be a duration, such as 60s, 15m, 24h, 7d or PT1H")
    if seconds > 100 * 366 * 86400:
        raise ValueError("must be a duration of at most a hundred years")
    return timedelta(seconds=seconds)


def show_duration(value: timedelta) -> str:
    """The shortest text that `parse_duration` reads back: ``15m``. Below a second, ISO 8601."""
    seconds = value.total_seconds()
    if seconds != int(seconds):
        return f"PT{seconds:f}".rstrip("0") + "S"
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{int(seconds) // size}{unit}"
    return f"{int(seconds)}s"


Size = Annotated[int, BeforeValidator(parse_size)]
Duration = Annotated[timedelta, BeforeValidator(parse_duration)]
