"""The step from one state of a contract's version to the next, and what the journal knows for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

from lading.contract import Contract
from lading.contract.lifecycle import Around, Dual, Life, approval_needed, dual_so_far, judge
from lading.errors import InvalidProject, Refused
from lading.export.interval import parse_instant
from lading.journal.audit import AuditChain
from lading.journal.lives import Lives
from lading.journal.log import Attempt, Journal
from lading.run import record


class Lifetime:
    """The version that an export delivers under: asked anew for each pass, so that what is decided about it holds for
    runs that go on for days too."""

    def __init__(self, journal: Journal, contract: Contract, channel: str) -> None:
        self._lives, self._contract, self._channel = Lives(journal), contract, channel
        self._life: Life | None = None

    def require(self) -> Life:
        """Raises Refused for a version that is retired."""
        self._life = self._lives.read(self._contract.name, self._contract.major, self._channel)
        self._life.require_runs()
        return self._life

    def notice(self) -> Mapping[str, object] | None:
        """What recipients of a deprecated version are told beside each delivery, as it was when last required."""
        return self._life.notice() if self._life is not None else None


def promote(
    journal: Journal,
    contracts: Mapping[str, Contract],
    exports: Mapping[str, str],
    name: str,
    channel: str,
    *,
    by: str,
    reason: str = "",
    sunset: datetime | None = None,
    cycle: timedelta = timedelta(0),
    approved: Callable[[Mapping[str, Any]], Mapping[str, Any] | str],
) -> tuple[Life, bool]:
    """Takes the step to the state that the contract's document names; also says whether there was one to take.

    ``contracts``: those in use, by name@major. ``exports``: which of them each export of the project names.
    ``cycle``: how far the project's releases lie apart. ``approved``: the approval of what has to be approved, with
    its ``sha256``, or why there is none.
    """
    contract, life, around = _looked_at(journal, contracts, exports, name, channel)
    around = replace(around, cycle=cycle)
    needed = approval_needed(life, contract, around)
    found = approved(needed) if needed is not None else ""
    step = judge(
        life,
        contract,
        around,
        journal.now(),
        by=by,
        reason=reason,
        sunset=sunset,
        approval=None if isinstance(found, str) else str(found["sha256"]),
        unapproved=str(found),
    )
    if step is None:
        return life, False
    if step.approval is not None:
        promotion = {"contract": life.name, "channel": channel, "to": step.state}
        AuditChain(journal).append("used", approvals=[found], promotion=promotion, by=by)
    return Lives(journal).take(life, step), True


def promotion_needs(
    journal: Journal, contracts: Mapping[str, Contract], exports: Mapping[str, str], name: str, channel: str
) -> dict[str, Any] | None:
    """What owners have to approve before the step that the contract's document names; None where it takes nobody."""
    contract, life, around = _looked_at(journal, contracts, exports, name, channel)
    return approval_needed(life, contract, around)


def dual_delivery(
    journal: Journal, contracts: Mapping[str, Contract], exports: Mapping[str, str], name: str, channel: str
) -> Dual | None:
    """How far a later major has come that becomes active by dual delivery; None for what needs none, or no more."""
    _, life, around = _looked_at(journal, contracts, exports, name, channel)
    return dual_so_far(life, around)


def _looked_at(
    journal: Journal, contracts: Mapping[str, Contract], exports: Mapping[str, str], name: str, channel: str
) -> tuple[Contract, Life, Around]:
    contract, lives = contracts[name], Lives(journal)
    life = lives.read(contract.name, contract.major, channel)
    delivered = _delivered(journal, contract, exports)
    # A major whose document is gone was a major all the same; what is retired, nobody gets beside anything.
    majors = {each.major for each in contracts.values() if each.name == contract.name}
    majors |= lives.majors(contract.name, channel) | delivered.majors
    ended = {m for m in majors if lives.read(contract.name, m, channel).state == "retired"}
    earlier = max((major for major in majors - ended if major < contract.major), default=None)
    later = min((major for major in majors if major > contract.major), default=None)
    around = Around(
        f"{contract.name}@{earlier}" if earlier is not None else None,
        f"{contract.name}@{later}" if later is not None else None,
        delivered.together.get(frozenset({earlier, contract.major}), ()),
        delivered.consumers,
        delivered.unfinished,
    )
    return contract, life, around


def acknowledge(
    journal: Journal, contract: Contract, exports: Mapping[str, str], channel: str, consumer: str, by: str
) -> Life:
    """Records that a consumer knows of a version's end. Raises Refused where it is not deprecated, and InvalidProject
    for a consumer who never got anything under it."""
    lives = Lives(journal)
    life = lives.read(contract.name, contract.major, channel)
    if life.state != "deprecated":
        raise Refused(f"{life.name} is {life.state}: only the end of a deprecated version is acknowledged.")
    if not by.strip():
        raise InvalidProject("--by is empty: it names who says so.")
    consumers = _delivered(journal, contract, exports).consumers
    if consumer not in consumers:
        known = f"those who did are {', '.join(sorted(consumers))}" if consumers else "nobody did"
        raise InvalidProject(f'"{consumer}" got no delivery under {life.name}: {known}.')
    lives.acknowledge(life, consumer, by.strip())
    return lives.read(contract.name, contract.major, channel)


@dataclass(frozen=True, slots=True)
class _Delivered:
    """Of one dataset. ``consumers``: who got deliveries under the major in question; ``majors``: all that were
    delivered; ``unfinished``: exports with work under way, or with commits of that major that are not published;
    ``together``: by two majors, the days on which a tenant got both from one commit."""

    consumers: frozenset[str]
    majors: frozenset[int]
    unfinished: frozenset[str]
    together: Mapping[frozenset[int | None], set[date]]


def _delivered(journal: Journal, contract: Contract, exports: Mapping[str, str]) -> _Delivered:
    consumers: set[str] = set()
    majors: set[int] = set()
    unfinished: set[str] = set()
    together: dict[frozenset[int | None], set[date]] = {}
    for export, attempts in journal.everything().items():
        # What the export names now may not be what it delivered, and one that was removed names nothing.
        committed = [
            each
            for each in record.runs(journal, export)
            if each.run.get("status") == "committed"
            and journal.end(each.attempt)["contract"]["name"] == contract.name
        ]
        if not committed and exports.get(export, "").partition("@")[0] != contract.name:
            continue
        ours = [each for each in committed if each.run["major"] == contract.major]
        consumers |= {each.run["tenant"] for each in ours}
        majors |= {each.run["major"] for each in committed}
        for pair, day in _pairs(journal, committed, contract):
            together.setdefault(pair, set()).add(day)
        if any(not seen.ended for seen in attempts) or any(
            each.summary["status"] == "committed" for each in ours
        ):
            unfinished.add(export)
    return _Delivered(frozenset(consumers), frozenset(majors), frozenset(unfinished), together)


def _pairs(
    journal: Journal, committed: list[record.Recorded], contract: Contract
) -> Iterator[tuple[frozenset[int | None], date]]:
    """Majors that one tenant got rows of from one seal, both published, and its day. A seal holds equal ones alone; it
    counts for a contract that promises what it did when its rows were delivered."""
    got: dict[tuple[Attempt, str], set[int]] = {}
    days: dict[tuple[Attempt, str], date] = {}
    for each in committed:
        as_now = contract.promises_sha256 in journal.end(each.attempt).get("promises", ())
        if each.summary["published"] and each.run["rows"] and as_now:
            where = each.attempt, each.run["tenant"]
            got.setdefault(where, set()).add(each.run["major"])
            days[where] = parse_instant(each.summary["sealed_at"]).date()
    return ((frozenset(majors), days[where]) for where, majors in got.items() if len(majors) == 2)
