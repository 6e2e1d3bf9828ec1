"""Reading and writing the journal. See the package's docstring for its folders."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from lading.errors import Fenced, InProgress, IntegrityError, ObjectExists, ObjectNotFound
from lading.export.identity import instant
from lading.export.interval import Interval, parse_instant, parse_token, token
from lading.export.layout import segment
from lading.history import Delivered, History, Swept, Terms
from lading.journal.owner import Heart, Owner, Watch
from lading.ports import Store

Record = Mapping[str, Any]
_REPLACED = "replaced/"


def encode(record: Record) -> bytes:
    """A journal record's bytes: equal records give equal bytes."""
    return json.dumps(record, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try of one sweep."""

    export: str
    start: datetime
    number: int

    @property
    def path(self) -> str:
        return f"sweeps/{segment(self.export)}/{token(self.start)}/a{self.number:04d}/"


@dataclass(slots=True)
class Seen:
    """What a listing shows of an attempt."""

    attempt: Attempt
    names: set[str] = field(default_factory=set)  # relative to the attempt's path
    beat: int = 0

    @property
    def ended(self) -> bool:
        return "end.json" in self.names

    @property
    def done(self) -> bool:
        return "done.json" in self.names


class Journal:
    """``lease``: seconds for which a silent owner is believed to live. The clocks are arguments for tests."""

    def __init__(
        self,
        store: Store,
        lease: float = 60.0,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.store, self.lease = store, lease
        self._monotonic, self._sleep, self.now = monotonic, sleep, now
        self._ends: dict[str, Record] = {}  # a seal never changes once it is there

    # --- primitives

    def create(self, name: str, record: Record) -> bool:
        """True if the record stands there now because of us: written now, or with equal bytes before."""
        data = encode(record)
        try:
            self.store.put(name, data, create=True)
        except ObjectExists:
            return self.store.get(name) == data
        return True

    def get(self, name: str) -> Record:
        try:
            record = json.loads(self.store.get(name))
        except ValueError as error:
            raise IntegrityError(f"The journal's record {name} is damaged.") from error
        if not isinstance(record, dict):
            raise IntegrityError(f"The journal's record {name} is damaged.")
        return record

    def find(self, name: str) -> Record | None:
        try:
            return self.get(name)
        except ObjectNotFound:
            return None

    # --- reading

    def seen(self, export: str, start: datetime | None = None) -> dict[datetime, list[Seen]]:
        """All attempts of an export, or of one of its sweeps, by interval start, in order of their numbers."""
        prefix = f"sweeps/{segment(export)}/" + (f"{token(start)}/" if start else "")
        sweeps: dict[datetime, list[Seen]] = {}
        for seen in self._listed(prefix):
            sweeps.setdefault(seen.attempt.start, []).append(seen)
        return sweeps

    def everything(self) -> dict[str, list[Seen]]:
        """All attempts of every export that ever had one, by its name."""
        exports: dict[str, list[Seen]] = {}
        for seen in self._listed("sweeps/"):
            exports.setdefault(seen.attempt.export, []).append(seen)
        return exports

    def again(self, attempt: Attempt) -> Seen:
        """What a listing shows of an attempt now."""
        for seen in self.seen(attempt.export, attempt.start).get(attempt.start, []):
            if seen.attempt == attempt:
                return seen
        raise IntegrityError(
            f"The journal has lost attempt {attempt.number} of {attempt.export}, "
            f"interval {instant(attempt.start)}.",
            hint="Restore the journal from its backup.",
        )

    def _listed(self, prefix: str) -> list[Seen]:
        found: dict[tuple[str, str, str], Seen] = {}
        for info in self.store.list(prefix):
            _, export, begin, number, name = info.name.split("/", 4)
            seen = found.get((export, begin, number))
            if seen is None:
                # No name of an export is so long that `segment` would cut it.
                attempt = Attempt(unquote(export), parse_token(begin), int(number[1:]))
                seen = found[export, begin, number] = Seen(attempt)
            if name.startswith("beat/"):
                seen.beat = max(seen.beat, int(name[5:]))
            else:
                seen.names.add(name)
        return sorted(found.values(), key=lambda s: (s.attempt.export, s.attempt.start, s.attempt.number))

    def end(self, attempt: Attempt) -> Record:
        record = self._ends.get(attempt.path)
        if record is None:
            record = self._ends[attempt.path] = self.get(attempt.path + "end.json")
        return record

    def read_ends(self, seen: Iterable[Seen]) -> None:
        """Reads the ends of many attempts side by side, so that `end` has them at hand."""
        missing = [s.attempt for s in seen if s.ended and s.attempt.path not in self._ends]
        if len(missing) > 16:
            with ThreadPoolExecutor(16) as pool:
                list(pool.map(self.end, missing))

    def waiting(self, seen: Iterable[Seen]) -> set[str]:
        """The runs that are committed, and neither published nor replaced."""
        ends = ((s, self.end(s.attempt)) for s in seen if s.ended and not s.done)
        return {
            run["run_id"] for s, end in ends if end["status"] == "sealed" for run in open_runs(end, s.names)
        }

    def claim_of(self, attempt: Attempt) -> Record:
        return self.get(attempt.path + "claim.json")

    def history(
        self, export: str, seen: Mapping[datetime, list[Seen]], unpublished: Collection[str] = ()
    ) -> History:
        """What the seals say, of which the runs ``unpublished`` have not come to their recipients. Deterministic: equal
        journals give equal histories."""
        self.read_ends(s for attempts in seen.values() for s in attempts)
        runs: list[Delivered] = []
        sweeps: list[Swept] = []
        ends: dict[datetime, datetime] = {}
        for start, attempts in seen.items():
            for s in attempts:
                record = self.end(s.attempt) if s.ended else None
                if record is None or record["status"] != "sealed":
                    if start not in ends and "claim.json" in s.names:
                        ends[start] = interval_of(self.claim_of(s.attempt)).end
                    continue
                ends[start] = interval_of(record).end
                over: set[str] = set()
                if any(name.startswith(_REPLACED) for name in s.names):  # of few attempts, and names cost
                    over = {run["run_id"] for run in record["runs"] if replaced_name(run) in s.names}
                sealed_runs, sweep = sealed(record, over.union(unpublished))
                runs.extend(sealed_runs)
                sweeps.append(sweep)
        prefix = f"late/{segment(export)}/"
        checked: dict[int | None, datetime] = {}
        for info in self.store.list(prefix):
            major, _, at = info.name[len(prefix) :].rpartition("/")
            # By time, not by name: names with microseconds sort otherwise.
            whose, bound = int(major) if major else None, parse_token(at)
            checked[whose] = max(checked.get(whose, bound), bound)
        return History(tuple(runs), tuple(sweeps), checked, ends)

    # --- liveness

    def settle(
        self,
        attempt: Attempt,
        *,
        wait: bool,
        waiting: Callable[[Owner], object],
        upto: str,
        yields: bool = False,
    ) -> None:
        """Returns once ``upto`` (end.json or done.json) is there, or the attempt's owner is dead.

        A dead owner's attempt without a seal is abandoned. Raises InProgress for a live owner unless ``wait``; with
        ``yields`` also once it has been seen to live, since it may be waiting for the caller.
        """
        owner = Owner.of(self.claim_of(attempt)["owner"])
        watch = Watch(owner, self.lease, self._monotonic)
        pause, told = 0.02, False
        first = now = self.again(attempt)
        while True:
            if upto in now.names:
                return
            if watch.dead(now.beat):
                if not now.ended:
                    self.abandon(attempt)
                return
            if not wait or (yields and now.beat > first.beat):
                raise InProgress(
                    f"{attempt.export}, interval {instant(attempt.start)}: {owner} is at work on it.",
                    hint="Call again later, or leave out --no-wait to wait for it.",
                )
            if not told:
                waiting(owner)
                told = True
            self._sleep(pause)
            pause = min(pause * 1.5, max(self.lease / 4, 0.02), 2.0)
            now = self.again(attempt)

    def abandon(self, attempt: Attempt) -> None:
        """Fences an attempt whose owner is believed dead. Whoever sealed it before has won, which is as good."""
        self.create(attempt.path + "end.json", {"status": "abandoned", "at": instant(self.now())})

    # --- writing

    def claim(self, attempt: Attempt, record: Record) -> Claim | None:
        """The attempt, ours; None if somebody else has it."""
        owner = Owner.new()
        # At work before the claim can be seen, so that nobody in this process takes it for gone.
        owner.begin()
        try:
            if self.create(attempt.path + "claim.json", {**record, "owner": owner.record()}):
                return Claim(self, attempt, owner)
        except BaseException:
            owner.end()
            raise
        owner.end()
        return None

    def prepared(self, attempt: Attempt, run: Record) -> bytes:
        """A run's prepared commit, proven to be the one that the seal names."""
        data = self.store.get(prepared_name(attempt, run))
        if hashlib.sha256(data).hexdigest() != run["sha256"]:
            raise IntegrityError(
                f"The journal's commit of run {run['run_id']} is not the one that was sealed.",
                hint="The journal was changed from outside: restore it from its backup.",
            )
        return data

    def commits(self, export: str, start: datetime, runs: Container[str]) -> dict[str, Record]:
        """The commits of these runs of one sealed interval, by run id."""
        return {run["run_id"]: commit for _, run, commit in self._commits(export, start, runs)}

    def unpublished(self, export: str, start: datetime, runs: Container[str]) -> dict[str, Record]:
        """The commits of those that have not been published."""
        return {
            run["run_id"]: commit
            for seen, run, commit in self._commits(export, start, runs)
            if published_name(run) not in seen.names
        }

    def _commits(
        self, export: str, start: datetime, runs: Container[str]
    ) -> Iterator[tuple[Seen, Record, Record]]:
        for seen in self.seen(export, start).get(start, []):
            record = self.end(seen.attempt) if seen.ended else None
            if record is not None and record["status"] == "sealed":
                for run in record["runs"]:
                    if run["run_id"] in runs and run["status"] == "committed":
                        yield seen, run, json.loads(self.prepared(seen.attempt, run))

    def publish(self, attempt: Attempt, run: Record) -> None:
        self.create(attempt.path + published_name(run), {"run_id": run["run_id"]})

    def replace(self, attempt: Attempt, run: Record, by: str) -> None:
        """Notes that a run will not be published: the published revision ``by`` has taken its place."""
        self.create(attempt.path + replaced_name(run), {"run_id": run["run_id"], "by": by})

    def done(self, attempt: Attempt) -> None:
        self.create(attempt.path + "done.json", {"attempt": attempt.number})

    def note_late(self, export: str, bound: datetime, majors: Iterable[int]) -> None:
        for major in majors:
            self.create(f"late/{segment(export)}/{major}/{token(bound)}", {"bound": instant(bound)})

    def opened(self, attempt: Attempt) -> Iterator[Record]:
        """The folders that an attempt announced: ``{tenant, folders: {destination: folder}}``."""
        names = [info.name for info in self.store.list(attempt.path + "opened/")]
        for name in names:
            yield from self.get(name)["runs"]

    def parts_before(self, attempt: Attempt) -> Iterator[tuple[Attempt, dict[int, Record]]]:
        """What earlier, unsealed attempts of this sweep finished of parts that can be read again, oldest first."""
        for number in range(1, attempt.number):
            earlier = Attempt(attempt.export, attempt.start, number)
            if self.end(earlier)["status"] != "sealed":
                names = [info.name for info in self.store.list(earlier.path + "parts/")]
                yield earlier, {int(name.rpartition("/")[2][:-5]): self.get(name) for name in names}


class Claim:
    """An attempt that this process owns. Use as a context: it beats while it is open."""

    def __init__(self, journal: Journal, attempt: Attempt, owner: Owner) -> None:
        self.attempt, self.owner = attempt, owner
        self._journal = journal
        self._opened = 0
        self._heart = Heart(owner, self._beat, journal.lease / 4)

    def _beat(self, count: int) -> None:
        self._journal.store.put(f"{self.attempt.path}beat/{count:06d}", b"", create=True)

    def __enter__(self) -> Claim:
        self._heart.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._heart.__exit__()

    def announce(self, runs: Iterable[Record]) -> None:
        """Says which folders are about to be written to, before the first byte."""
        self._opened += 1
        self._create(f"opened/{self._opened:04d}.json", {"runs": list(runs)})

    def part(self, index: int, record: Record) -> None:
        self._create(f"parts/{index:04d}.json", record)

    def prepare(self, run: Record, commit: Record) -> str:
        """Writes a run's commit, not binding yet; returns its SHA-256 for the seal."""
        self._create(f"runs/{_own_name(run)}.json", commit)
        return hashlib.sha256(encode(commit)).hexdigest()

    def seal(self, record: Record) -> None:
        """The commit: one create, one winner. Raises Fenced if the attempt was abandoned meanwhile."""
        if not self._journal.create(self.attempt.path + "end.json", record):
            raise Fenced(
                f"{self.attempt.export}, interval {instant(self.attempt.start)}, attempt {self.attempt.number}: "
                "this process was silent for longer than the lease and another one took over. "
                "Nothing of this attempt was committed."
            )

    def _create(self, name: str, record: Record) -> None:
        if not self._journal.create(self.attempt.path + name, record):
            raise IntegrityError(f"The journal's record {self.attempt.path}{name} exists with other content.")


def prepared_name(attempt: Attempt, run: Record) -> str:
    return f"{attempt.path}runs/{_own_name(run)}.json"


def published_name(run: Record) -> str:
    """Relative to the attempt's path."""
    return f"published/{_own_name(run)}.json"


def replaced_name(run: Record) -> str:
    """Relative to the attempt's path."""
    return f"{_REPLACED}{_own_name(run)}.json"


def open_runs(record: Record, names: Container[str]) -> list[Record]:
    """The committed runs of a seal that are neither published nor replaced, going by the names of its records."""
    return [
        run
        for run in record["runs"]
        if run["status"] == "committed"
        and published_name(run) not in names
        and replaced_name(run) not in names
    ]


def _own_name(run: Record) -> str:
    """What tells a run from the others of its attempt: its tenant and, of one beside the export's own major, that."""
    tenant = segment(run["tenant"])
    return f"{run['major']}/{tenant}" if run.get("beside") else tenant


def interval_of(record: Record) -> Interval:
    return Interval(parse_instant(record["interval"]["start"]), parse_instant(record["interval"]["end"]))


def sealed(record: Record, unpublished: Container[str]) -> tuple[list[Delivered], Swept]:
    """What a seal adds to the history; the runs ``unpublished`` have not come to their recipients."""
    interval = interval_of(record)
    bound = parse_instant(record["bound"]) if record["bound"] else None
    runs = [
        Delivered(
            tenant=run["tenant"],
            major=run["major"],
            interval=interval,
            revision=run["revision"],
            kind=run["kind"],
            run_id=run["run_id"],
            bound=bound,
            reason=run["reason"],
            unchanged=run["status"] == "unchanged",
            rows=run["rows"],
            bytes=run["bytes"],
            files=run["files"],
            manifest=run["manifest"],
            key_id=run["key_id"],
            supersedes=tuple(run["supersedes"]),
            published=run["run_id"] not in unpublished,
        )
        for run in record["runs"]
        if run["status"] != "failed"
    ]
    inactive = frozenset(record["inactive"])
    return runs, Swept(
        interval, bound, bool(record["discover"]), Terms(**record["terms"]), inactive, record["named"]
    )
