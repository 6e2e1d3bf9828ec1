"""The life of a major version on a channel: draft, active, deprecated, retired. Pure: what a step needs is decided
here, from what is recorded.

The contract's own ``status`` says which state its owner wants, and `judge` whether the step there may be taken. States
are those of one channel, since each has a rule and a window of its own (SVC-002, section 4).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Literal

from lading.contract.model import Contract
from lading.errors import InvalidProject, Refused, counted

State = Literal["draft", "active", "deprecated", "retired"]
STATES: tuple[State, ...] = ("draft", "active", "deprecated", "retired")


@dataclass(frozen=True, slots=True)
class Rule:
    """Of one channel. ``window``: from the deprecation to the sunset. ``dual``: how long a later major is delivered
    beside the one before. ``approval``: what somebody must have said yes to."""

    window: timedelta
    dual: timedelta | None = None
    approval: str = ""


RULES: Mapping[str, Rule] = {
    "snapshot": Rule(timedelta(days=120), approval="the contract suite passed on its Iceberg schema"),
    "drop": Rule(timedelta(days=60), dual=timedelta(days=7)),
    "bundle": Rule(timedelta(days=90), approval="a security review, and the sample"),
    "audit": Rule(timedelta(days=180), approval="the sign-off of compliance"),
}


@dataclass(frozen=True, slots=True)
class Step:
    """What was decided, by whom, and about which document. ``sunset``: of a deprecation, from when on it may retire."""

    state: State
    at: datetime
    by: str
    reason: str
    version: str
    sha256: str
    sunset: datetime | None = None
    successor: str | None = None
    approval: str | None = None  # SHA-256 of the one that allowed it, where it took one


@dataclass(frozen=True, slots=True)
class Life:
    """What is recorded of one major on one channel. ``acknowledged``: which consumers know of its end."""

    name: str  # name@major
    channel: str
    steps: Sequence[Step] = ()
    acknowledged: Collection[str] = ()

    @property
    def state(self) -> State:
        return self.steps[-1].state if self.steps else "draft"

    @property
    def sunset(self) -> datetime | None:
        return self.steps[-1].sunset if self.state == "deprecated" else None

    def notice(self) -> dict[str, Any] | None:
        """What recipients are told beside each delivery of a deprecated version."""
        if self.sunset is None:
            return None
        last = self.steps[-1]
        return {
            "contract": self.name,
            "state": "deprecated",
            "deprecated_at": _day(last.at),
            "sunset": _day(self.sunset),
            "successor": last.successor,
            "reason": last.reason,
        }

    def told(self) -> tuple[str, ...]:
        """The same for the manifest's notices."""
        if self.sunset is None:
            return ()
        after = f"; its successor is {self.steps[-1].successor}" if self.steps[-1].successor else ""
        return (f"{self.name} is deprecated and may end from {_day(self.sunset)} on{after}",)

    def require_runs(self) -> None:
        """Raises Refused for a version that is retired."""
        if self.state == "retired":
            last = self.steps[-1]
            raise Refused(
                f"{self.name} is retired since {_day(last.at)}: nothing is delivered under it.",
                hint=f"Let the export name {last.successor}."
                if last.successor
                else "A new major begins anew.",
            )


@dataclass(frozen=True, slots=True)
class Around:
    """What a step is judged by, beside the version's own life. ``earlier``, ``successor``: other majors of the dataset,
    the nearest ones, of those that somebody may still get. ``together``: the days (UTC) on which this one and the
    earlier were delivered from one snapshot and were equal. ``consumers``: who got deliveries under this one.
    ``unfinished``: exports with work under way. ``cycle``: how far the project's releases lie apart."""

    earlier: str | None = None
    successor: str | None = None
    together: Collection[date] = ()
    consumers: Collection[str] = ()
    unfinished: Collection[str] = ()
    cycle: timedelta = timedelta(0)

    def window(self, channel: str) -> timedelta:
        """From a deprecation to its sunset: the channel's days, and two release cycles at least."""
        return max(RULES[channel].window, 2 * self.cycle)


@dataclass(frozen=True, slots=True)
class Dual:
    """How far a draft has come: ``days`` on which it was delivered beside the major before, of those ``needed``."""

    beside: str
    days: int
    needed: int


def dual_so_far(life: Life, around: Around) -> Dual | None:
    """None for what is no draft, follows nothing, or is of a channel that asks for no dual delivery."""
    dual = RULES[life.channel].dual
    if life.state != "draft" or around.earlier is None or dual is None:
        return None
    return Dual(around.earlier, len(around.together), dual.days)


def approval_needed(life: Life, contract: Contract, around: Around) -> dict[str, Any] | None:
    """What owners have to approve before the step that the document names may be taken; None where it takes nobody."""
    wanted, rule = contract.status.lower(), RULES[life.channel]
    step = {
        "contract": life.name,
        "version": contract.version,
        "sha256": contract.sha256,
        "channel": life.channel,
        "from": life.state,
        "to": wanted,
    }
    if wanted == "active" and life.state == "draft" and rule.approval:
        return {**step, "confirms": rule.approval}
    if wanted == "retired" and life.state == "deprecated" and (silent := _silent(life, around)):
        return {**step, "without_acknowledgement": silent}
    return None


def _silent(life: Life, around: Around) -> list[str]:
    return sorted(set(around.consumers) - set(life.acknowledged))


def judge(
    life: Life,
    contract: Contract,
    around: Around,
    now: datetime,
    *,
    by: str,
    reason: str = "",
    sunset: datetime | None = None,
    approval: str | None = None,
    unapproved: str = "there is no approval",
) -> Step | None:
    """The step that brings a version to the state that its document names; None where it is there already.

    ``approval``: SHA-256 of the one that allows what `approval_needed` names; else ``unapproved`` says why none does.

    Raises Refused where the step may not be taken, or not yet, and InvalidProject where there is no such step.
    """
    wanted = contract.status.lower()
    place = f"{contract.path}:{contract.lines.get('status', 0)}"
    if wanted not in STATES:
        raise InvalidProject(
            f'{place}: status is "{contract.status}", and a version is one of {", ".join(STATES)}.',
            hint="Write the status that the version shall have, then call it again.",
        )
    if wanted == life.state:
        return None
    if STATES.index(wanted) != STATES.index(life.state) + 1:
        after = STATES[STATES.index(life.state) + 1 :]
        follows = f"what follows is {after[0]}" if after else "nothing follows, and a new major begins anew"
        raise InvalidProject(f"{place}: status is {wanted}, and {life.name} is {life.state}: {follows}.")
    if not by.strip():
        raise InvalidProject("--by is empty: it names who decides.")
    if sunset is not None and wanted != "deprecated":
        raise InvalidProject("--sunset belongs to a deprecation: it is decided then, and stands.")
    if wanted == "active":
        _may_begin(life, around, None if approval else unapproved)
    elif not reason.strip():
        raise InvalidProject(
            f"--reason is missing: recipients of {life.name} want to know why it is {wanted}."
        )
    if wanted == "retired":
        _may_end(life, around, now, None if approval else unapproved)
    return Step(
        STATES[STATES.index(wanted)],
        now,
        by.strip(),
        reason.strip(),
        contract.version,
        contract.sha256,
        _sunset(life, now, sunset, around.window(life.channel)) if wanted == "deprecated" else None,
        around.successor if wanted != "active" else None,
        approval if approval_needed(life, contract, around) else None,
    )


def _may_begin(life: Life, around: Around, unapproved: str | None) -> None:
    rule = RULES[life.channel]
    if rule.approval and unapproved is not None:
        raise Refused(
            f"{life.name} becomes active on the channel {life.channel} by {rule.approval}, which owners confirm by an "
            f"approval: {unapproved}.",
            hint=_ask(life),
        )
    dual = dual_so_far(life, around)
    if dual is not None and dual.days < dual.needed:
        so_far = "they never were"
        counts = (
            "A day counts when an export delivers rows of both at once: a new interval, or a revision. "
            "Deliveries without rows count for none."
        )
        hint = f"Let an export of {life.name} deliver the other, too: beside: {{contract: {dual.beside}}}. {counts}"
        if around.together:
            hint = counts
            first, last = min(around.together), max(around.together)
            so_far = f"they were on {counted(dual.days, 'day')}, from {first} to {last}"
        raise Refused(
            f"{life.name} follows {dual.beside}, and becomes active when both were delivered from one snapshot on "
            f"{dual.needed} days: {so_far}.",
            hint=hint,
        )


def _sunset(life: Life, now: datetime, wanted: datetime | None, window: timedelta) -> datetime:
    """The first midnight (UTC) when the window is over, or a later one that was asked for."""
    least = _midnight_after(now + window)
    if wanted is not None and wanted < least:
        raise Refused(
            f"{life.name} cannot end on {_day(wanted)}: the window of the channel {life.channel} is "
            f"{window / timedelta(days=1):g} days here, so that its sunset is {_day(least)} or later."
        )
    return least if wanted is None else _midnight_after(wanted)


def _may_end(life: Life, around: Around, now: datetime, unapproved: str | None) -> None:
    assert life.sunset is not None
    if now < life.sunset:
        raise Refused(
            f"{life.name} is deprecated until its sunset, {_day(life.sunset)}, and cannot be retired before."
        )
    if around.unfinished:
        raise Refused(
            f"{life.name} has deliveries that are under way or not published: {', '.join(sorted(around.unfinished))}.",
            hint="Run these exports once more, then call it again.",
        )
    if (silent := _silent(life, around)) and unapproved is not None:
        raise Refused(
            f"{life.name} has consumers who have not acknowledged its end: {', '.join(silent)}. Without them it takes "
            f"an approved override: {unapproved}.",
            hint=f"lading contract acknowledge {life.name} --consumer NAME --by WHO, for each who has. {_ask(life)}",
        )


def _ask(life: Life) -> str:
    return f"`lading approve {life.name} --channel {life.channel}` asks for it and grants it."


def _midnight_after(moment: datetime) -> datetime:
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return day if day == moment else day + timedelta(days=1)


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"
