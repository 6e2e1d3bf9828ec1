"""One sweep: two tenants, several attempts, several processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

from checker import Model, State, put

A, B = 1, 2  # tenants. Sets of tenants are bit masks


class Attempt(NamedTuple):
    """One attempt: its folder in the journal, and its runs' folders at the destination (the three in the middle)."""

    claim: bool = False
    opened: int = 0
    prepared: int = 0
    end: str = ""  # sealed, failed or abandoned
    runs: int = 0  # of the seal
    files: int = 0
    manifests: int = 0
    markers: int = 0
    cleaned: bool = False
    published: int = 0
    done: bool = False

    @property
    def readable(self) -> int:
        return self.files & self.manifests & self.markers

    @property
    def folders(self) -> int:
        return self.files | self.manifests | self.markers


class Caller(NamedTuple):
    at: str
    asked: int
    n: int = 1  # the attempt in hand
    have: int = 0  # runs of the attempts before n: sealed, and published in full
    runs: int = 0  # what its own attempt serves
    left: int = 0  # of these, what the present step still has to do
    other: int = 0  # the attempt that is being cleaned


def _first(tenants: int) -> int:
    return tenants & -tenants


class Sweep(Model):
    """Claim, announce, write, prepare, seal, clean, publish, done; with take-over at any moment.

    Tenant A is known. B is known too, or met while reading by one attempt and not by another. ``faults``: an attempt
    may fail, and the seal's answer may be lost, whether the seal arrived or not.
    """

    mutants: ClassVar = {
        "lease_only": "trusts the lease: claims the next attempt and fences nobody",
        "no_fence": "seals although the attempt was abandoned",
        "shared_folder": "attempts write to the same folder",
        "tidy_first": "removes a dead owner's files before its attempt is abandoned",
        "tidy_unread": "removes them after, without looking who won: the owner may have sealed",
        "skip_on_commit": "a sealed run counts as delivered",
        "skip_before_done": "a sweep counts as delivered when one of its runs is published",
        "two_listings": "rolls forward by one listing and plans by another",
        "marker_first": "the marker before the manifest",
        "seal_before_prepare": "seals first, writes the commits then",
        "claim_without_all_ended": "of a listing, only the last attempt must have ended",
        "claim_overwrites": "the claim is a plain put",
        "unannounced_folders": "tenants met while reading are not announced",
        "seal_planned_only": "the seal names the planned runs, not those met while reading",
        "clean_sealed": "cleans earlier attempts without looking whether they were sealed",
        "failure_tidies_first": "removes its files before it knows that its seal did not arrive",
        "fenced_failure_leaves": "an attempt that failed after it was abandoned leaves its files to its cleaners",
        "done_first": "done.json before the runs are published",
    }

    def __init__(
        self,
        mutant: str = "",
        *,
        asked: tuple[tuple[int, ...], ...],
        attempts: int = 3,
        discover: bool,
        faults: bool,
    ) -> None:
        super().__init__(mutant)
        self.asked, self.attempts, self.discover, self.faults = asked, attempts, discover, faults
        told = "met while reading" if discover else "known"
        self.name = (
            f"sweep: {len(asked[0])} processes, {attempts} attempts, {told}{', faults' if faults else ''}"
        )

    def starts(self) -> Iterator[State]:
        for asked in self.asked:
            callers = sorted(Caller("look", mask, left=self.mutant == "two_listings") for mask in asked)
            yield State(tuple(callers), (Attempt(),) * self.attempts)

    # Before the claim

    def look(self, me: Caller, attempts: tuple[Attempt, ...]) -> list[Any]:
        """A listing shows attempt after attempt, each at its own moment."""
        if me.n > self.attempts:
            return [
                (me._replace(at="stuck"), attempts)
            ]  # the model's attempts are used up, not the protocol's
        seen = attempts[me.n - 1]
        on = me._replace(n=me.n + 1)
        if not seen.claim and me.other and me.other == me.n - 1:
            return [(me._replace(at="abandon", n=me.other, other=0), attempts)]  # only in a mutant
        if not seen.claim:
            return [(self._plan(me), attempts)]
        if not seen.end and self.mutant == "claim_without_all_ended":
            return [(on._replace(other=me.n), attempts)]
        if not seen.end:
            if self._passes(me):
                return [(on, attempts)]
            return [(me._replace(at="tidy_other" if self.mutant == "tidy_first" else "abandon"), attempts)]
        if seen.end != "sealed":
            return [(on, attempts)]
        if seen.done or self._counts(me, seen):
            return [(on._replace(have=me.have | seen.runs), attempts)]
        return [(me._replace(at="clean"), attempts)]  # its owner is believed dead: roll forward

    def _plan(self, me: Caller) -> Caller:
        if self.mutant == "two_listings" and me.left:
            return me._replace(n=1, have=0, left=0)
        due = me.asked & ~me.have
        me = me._replace(other=0)
        return (
            me._replace(at="claim", runs=due, left=due) if due else me._replace(at="finished", runs=0, left=0)
        )

    def _passes(self, me: Caller) -> bool:
        return self.mutant == "lease_only" or (self.mutant == "two_listings" and bool(me.left))

    def _counts(self, me: Caller, seen: Attempt) -> bool:
        return (
            self.mutant == "skip_on_commit"
            or (self.mutant == "skip_before_done" and bool(seen.published))
            or (self.mutant == "two_listings" and not me.left)
        )

    def abandon(self, me: Caller, attempts: tuple[Attempt, ...]) -> list[Any]:
        back = me._replace(at="tidy_other" if self.mutant == "tidy_unread" else "look")
        if attempts[me.n - 1].end:
            return [(back, attempts)]
        return [(back, put(attempts, me.n - 1, end="abandoned"))]

    def tidy_other(self, me: Caller, attempts: tuple[Attempt, ...]) -> list[Any]:
        """Only in mutants."""
        back = me._replace(at="abandon" if self.mutant == "tidy_first" else "look")
        return [(back, self._emptied(attempts, me.n, attempts[me.n - 1].opened))]

    def claim(self, me: Caller, attempts: tuple[Attempt, ...]) -> list[Any]:
        if attempts[me.n - 1].claim and self.mutant != "claim_overwrites":
            return [(me._replace(at="look", runs=0, left=0), attempts)]
        return [(me._replace(at="announce"), put(attempts, me.n - 1, claim=True))]

    # The owner, up to the seal

    def announce(self, me: Caller, attempts: tuple[Attempt, ...]) -> list[Any]:
        opened = attempts[me.n - 1].opened
        if self.mutant == "unannounced_folders" and opened:
            return [(me._replace(at="write"), attempts)]
        return [(me._replace(at="write"), put(attempts, me.n - 1, opened=opened | me.left))]

    def write(self, me: Caller, attempts: tuple[Attempt, ...]) -> list[Any]:
        folder = self._folder(me.n)
        attempts = put(attempts, folder, files=attempts[folder].files | _first(me.left))
        left = me.left & ~_first(me.left)
        if left:
            return [(me._replace(left=left), attempts)]
        first = "seal" if self.mutant == "seal_before_prepare" else "prepare"
        after = [(me._replace(at=first, left=me.runs), attempts)]
        if self.discover and not B & (me.runs | me.have):
            after.append((me._replace(at="announce", runs=me.runs | B, left=B), attempts))
        if self.faults:
            after.append((self._failing(me), attempts))
        return after

    def prepare(self, me: Caller, attempts: tuple[Attempt, ...]) -> list[Any]:
        prepared = attempts[me.n - 1].prepared | _first(me.left)
        left = me.left & ~_first(me.left)
        last = "look" if self.mutant == "seal_before_prepare" else "seal"
        return [
            (
                me._replace(at="prepare" if left else last, left=left),
                put(attempts, me.n - 1, prepared=prepared),
            )
        ]

    def seal(self, me: Caller, attempts: tuple[Attempt, ...]) -> list[Any]:
        if attempts[me.n - 1].end and self.mutant != "no_fence":
            return [(me._replace(at="tidy"), attempts)]  # fenced
        runs = me.asked & me.runs if self.mutant == "seal_planned_only" else me.runs
        sealed = put(attempts, me.n - 1, end="sealed", runs=runs)
        if self.mutant == "seal_before_prepare":
            return [(me._replace(at="prepare", left=me.runs), sealed)]
        known = me._replace(at="clean", runs=0, left=0)
        if not self.faults:
            return [(known, sealed)]
        return [(known, sealed), (self._failing(me), sealed), (self._failing(me), attempts)]

    def _failing(self, me: Caller) -> Caller:
        return me._replace(at="tidy_early" if self.mutant == "failure_tidies_first" else "close")

    def close(self, me: Caller, attempts: tuple[Attempt, ...]) -> list[Any]:
        """An attempt that failed, or whose seal was not answered, is closed first; what stands then is the truth."""
        end = attempts[me.n - 1].end
        if end == "sealed":
            return [(me._replace(at="look", runs=0, left=0), attempts)]
        if end and self.mutant == "fenced_failure_leaves":
            return [(me._replace(at="look", runs=0, left=0), attempts)]
        if end:
            return [(me._replace(at="tidy"), attempts)]
        return [(me._replace(at="tidy"), put(attempts, me.n - 1, end="failed"))]

    def tidy_early(self, me: Caller, attempts: tuple[Attempt, ...]) -> list[Any]:
        """Only in a mutant."""
        return [(me._replace(at="close"), self._emptied(attempts, me.n, me.runs))]

    def tidy(self, me: Caller, attempts: tuple[Attempt, ...]) -> list[Any]:
        return [(me._replace(at="look", runs=0, left=0), self._emptied(attempts, me.n, me.runs))]

    # Whoever publishes

    def clean(self, me: Caller, attempts: tuple[Attempt, ...]) -> list[Any]:
        for other in range(1, me.n):
            seen = attempts[other - 1]
            if seen.end and not seen.cleaned and (seen.end != "sealed" or self.mutant == "clean_sealed"):
                return [(me._replace(at="wipe", other=other, left=seen.opened), attempts)]
        todo = attempts[me.n - 1].runs
        if self.mutant == "done_first":
            attempts = put(attempts, me.n - 1, done=True)
        return [(self._publishing(me._replace(other=0), todo), attempts)]

    def wipe(self, me: Caller, attempts: tuple[Attempt, ...]) -> list[Any]:
        return [(me._replace(at="note", left=0), self._emptied(attempts, me.other, me.left))]

    def note(self, me: Caller, attempts: tuple[Attempt, ...]) -> list[Any]:
        return [(me._replace(at="clean", other=0), put(attempts, me.other - 1, cleaned=True))]

    def _publishing(self, me: Caller, left: int) -> Caller:
        return me._replace(at="begin" if left else "done", left=left)

    def begin(self, me: Caller, attempts: tuple[Attempt, ...]) -> list[Any]:
        """Reads the prepared commit of the next run, unless that is published already."""
        seen, tenant = attempts[me.n - 1], _first(me.left)
        if seen.published & tenant:
            return [(self._publishing(me, me.left & ~tenant), attempts)]
        if not seen.prepared & tenant:
            return [(me._replace(at="broken"), attempts)]
        return [(me._replace(at="marker" if self.mutant == "marker_first" else "manifest"), attempts)]

    def manifest(self, me: Caller, attempts: tuple[Attempt, ...]) -> list[Any]:
        folder = self._folder(me.n)
        manifests = attempts[folder].manifests | _first(me.left)
        at = "publish" if self.mutant == "marker_first" else "marker"
        return [(me._replace(at=at), put(attempts, folder, manifests=manifests))]

    def marker(self, me: Caller, attempts: tuple[Attempt, ...]) -> list[Any]:
        folder = self._folder(me.n)
        markers = attempts[folder].markers | _first(me.left)
        at = "manifest" if self.mutant == "marker_first" else "publish"
        return [(me._replace(at=at), put(attempts, folder, markers=markers))]

    def publish(self, me: Caller, attempts: tuple[Attempt, ...]) -> list[Any]:
        tenant = _first(me.left)
        published = attempts[me.n - 1].published | tenant
        return [(self._publishing(me, me.left & ~tenant), put(attempts, me.n - 1, published=published))]

    def done(self, me: Caller, attempts: tuple[Attempt, ...]) -> list[Any]:
        return [(me._replace(at="look"), put(attempts, me.n - 1, done=True))]

    # What must hold

    def _folder(self, n: int) -> int:
        return 0 if self.mutant == "shared_folder" else n - 1

    def _emptied(self, attempts: tuple[Attempt, ...], n: int, tenants: int) -> tuple[Attempt, ...]:
        folder = attempts[self._folder(n)]
        return put(
            attempts,
            self._folder(n),
            files=folder.files & ~tenants,
            manifests=folder.manifests & ~tenants,
            markers=folder.markers & ~tenants,
        )

    def fault(self, state: State) -> str | None:
        attempts = state.stores
        sealed = marked = readable = 0
        for n, attempt in enumerate(attempts, 1):
            folder = attempts[self._folder(n)]
            if sealed & attempt.runs:
                return "one_winner"
            if marked & attempt.markers:
                return "nothing_doubled"
            if attempt.markers & ~(attempt.runs & attempt.files & attempt.manifests) and folder is attempt:
                return "no_partial"
            if attempt.end == "sealed" and attempt.opened & ~attempt.runs:
                return "no_lost_tenant"
            if ((attempt.done and attempt.runs) or attempt.published) & ~folder.readable:
                return "no_lie"
            sealed, marked = sealed | attempt.runs, marked | attempt.markers
            readable |= attempt.published & folder.readable
        if any(caller.at == "finished" and caller.asked & ~readable for caller in state.processes):
            return "no_lie"
        return None

    def alone(self, before: State, process: Caller, after: State, ended: Caller) -> str | None:
        if process.at == "finished" or ended.at == "stuck":
            return None
        if ended.at != "finished":
            return "progress"
        last = max((n for n, attempt in enumerate(after.stores, 1) if attempt.end == "sealed"), default=0)
        if any(
            attempt.runs & ~attempt.published or (attempt.runs and not attempt.done)
            for attempt in after.stores
        ):
            return "progress"
        for n, attempt in enumerate(after.stores[: max(last - 1, 0)], 1):
            # What a sleeper wrote while its attempt was cleaned or after, it removes itself when it wakes up.
            begun = before.stores[n - 1].cleaned or any(c.other == n for c in before.processes)
            asleep = begun and any(c.n == n and c.runs for c in after.processes)
            if attempt.folders & ~attempt.runs and not asleep and self.mutant != "shared_folder":
                return "no_orphans"
        return None
