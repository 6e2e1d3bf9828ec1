"""A project: its files, checked against each other, and what can be done with them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lading.assemble import Workshop
from lading.clearance import Gate, needed
from lading.clearance import Standing as Approvable
from lading.contract import Contract
from lading.contract.lifecycle import RULES, Dual, Life
from lading.documents import Document, nearest, unknown
from lading.errors import IntegrityError, InvalidProject, LadingError, Problem
from lading.events import Event
from lading.evidence.approvals import Approval
from lading.evidence.signers import AllowedSigner
from lading.export.definition import Export
from lading.export.schedule import next_tick
from lading.inspection import Inspection
from lading.jobs import Jobs
from lading.journal.audit import AuditChain
from lading.journal.chain import PackageChain, tenants_of
from lading.journal.lives import Lives
from lading.journal.log import Journal
from lading.plan import Asked, Clock
from lading.project_files import ProjectFiles, read_files
from lading.run import Job, Result, follow, preview, record, run
from lading.run.follow import Pause
from lading.run.link import DEFAULT, make_link
from lading.run.outlook import Outlook, outlook
from lading.run.promote import acknowledge, dual_delivery, promote, promotion_needs
from lading.settings import ProjectSettings

if TYPE_CHECKING:
    import pyarrow as pa

    from lading.stores.probe import Finding

OnEvent = Callable[[Event], object]


@dataclass(frozen=True)
class Project:
    """A folder with `lading.yaml`, contracts and exports. Made by `load`."""

    files: ProjectSettings
    exports: Mapping[str, Export]
    contracts: Mapping[str, Contract]  # by name@major
    documents: Mapping[str, Document] = field(repr=False)  # of exports, by name
    _workshop: Workshop = field(repr=False)
    # Exports that cannot be used, and why.
    broken: Mapping[str, tuple[Problem, ...]] = field(default_factory=dict)
    _unread: tuple[Problem, ...] = field(default=(), repr=False)  # problems of contracts

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str] = ".",
        *,
        environ: Mapping[str, str] | None = None,
        **overrides: object,
    ) -> Project:
        """Reads and checks every file of the project in the folder ``path``.

        An export whose own file or contract is wrong stops no other: it is in ``broken``, and refused by name.
        ``environ`` is where variables come from, the process's environment by default; ``overrides`` are settings of
        `lading.yaml` such as ``environment="dev"``. Raises InvalidProject with every problem found where one
        concerns the whole project, or no export can be used.
        """
        given = os.environ if environ is None else environ
        found = read_files(Path(path), given, overrides)
        workshop = Workshop(found.files)
        return cls(
            found.files, found.exports, found.contracts, found.documents, workshop, found.broken, found.unread
        )

    # --- what can be done

    def run(
        self,
        export: str,
        *,
        tenants: Sequence[str] | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        revise: bool = False,
        reason: str = "",
        as_of: datetime | None = None,
        wait: bool = True,
        on_event: OnEvent | None = None,
    ) -> list[Result]:
        """Delivers everything that is due, or what is asked for, and says what became of each run.

        A run that fails is a result with ``status`` "failed"; what makes every run impossible is raised (LadingError).
        ``as_of`` chooses a tick of a full refresh: the latest, or one that is delivered already, since only what the
        source holds now can be read. Of a continuous export this is one pass; `follow` goes on.
        """
        asked = self._asked(export, tenants, start, end, revise, reason, as_of)
        return run(self.job(export, on_event=on_event, as_of=as_of), asked, wait=wait)

    def follow(
        self,
        export: str,
        *,
        tenants: Sequence[str] | None = None,
        wait: bool = True,
        pause: Pause | None = None,
        on_event: OnEvent | None = None,
    ) -> Iterator[list[Result]]:
        """A continuous export: pass after pass, the results of each as `run` returns them, for as long as one asks.

        ``pause`` waits between passes for the seconds that it is given and returns True to end: the ``wait`` of a
        `threading.Event` is one, and the default only sleeps. A pass that failed and that a retry may help is tried
        again; any other failure is raised, or is among the results of the last pass. Raises InvalidProject for an
        export of another mode.
        """
        definition = self.export(export)
        if definition.mode != "continuous":
            raise InvalidProject(
                f"{export} is {definition.mode}, and only a continuous export is followed.",
                hint="Run it, as often as it shall look for what is due.",
            )
        schedule = definition.schedule.schedule() if definition.schedule else None
        return follow(
            self.job(export, on_event=on_event),
            self._asked(export, tenants),
            pause=pause or _slept,
            tick_after=(lambda at: next_tick(schedule, at)) if schedule else None,
            wait=wait,
        )

    def backfill(
        self,
        export: str,
        start: datetime,
        end: datetime,
        *,
        tenants: Sequence[str] | None = None,
        wait: bool = True,
        on_event: OnEvent | None = None,
    ) -> list[Result]:
        """The grid's undelivered intervals between two instants, oldest first; resumable, like every run."""
        asked = self._asked(export, tenants, start, end, backfill=True)
        return run(self.job(export, on_event=on_event), asked, wait=wait)

    def plan(
        self,
        export: str,
        *,
        tenants: Sequence[str] | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        as_of: datetime | None = None,
    ) -> Outlook:
        """What a run would do now. Reads the source's catalogue and the journal; writes nothing."""
        asked = self._asked(export, tenants, start, end, as_of=as_of)
        return outlook(self.job(export, as_of=as_of), asked)

    def preview(
        self,
        export: str,
        limit: int = 10,
        tenants: Sequence[str] | None = None,
        *,
        major: int | None = None,
    ) -> pa.Table:
        """The first rows as the recipient would see them, masks applied. ``major``: of the contract; where two are
        delivered at once, the export's own unless the other one is named."""
        return preview(self.job(export), limit, self._asked(export, tenants).tenants, major)

    def validate(self) -> list[str]:
        """Opens every adapter's settings; returns what is allowed and still worth a warning.

        Raises InvalidProject with every problem found. Connects to nothing.
        """
        if problems := [*self.problems(), *self._inspection.problems()]:
            raise InvalidProject(problems=problems)
        return self._inspection.warnings()

    def problems(self) -> list[Problem]:
        """What is wrong with the files of contracts and of exports in ``broken``."""
        found = [*self._unread, *(problem for each in self.broken.values() for problem in each)]
        return list(dict.fromkeys(found))

    def runs(self, export: str | None = None) -> list[dict[str, Any]]:
        """What became of every run that was tried, from the journal, the newest last: of exports that the project no
        longer has, too (``removed``)."""
        found = record.runs(self.journal(), export)
        if export and not found and export not in self.broken:
            self.export(export)
        return [self._placed(recorded) for recorded in found]

    def show(self, run_id: str) -> dict[str, Any]:
        """One run, and its manifest as ``document``; ``run_id`` may be shortened."""
        journal = self.journal()
        found = record.find(journal, run_id)
        return {**self._placed(found), "document": record.manifest_of(journal, found)}

    def link(self, run_id: str, *, expires: timedelta = DEFAULT) -> dict[str, Any]:
        """A link by which whoever has it downloads a run's bundle, without any credentials, for as long as ``expires``:
        ``{run_id, export, tenant, object, bytes, sha256, url, expires}``. ``run_id`` may be shortened.

        Each is noted in the audit chain before it is given away, without the ``url`` itself, which is a secret. Raises
        Refused for a run that is not published, has expired or was replaced, InvalidProject for one that is no bundle
        or longer than 24 hours, StoreDenied where the store signs no links, IntegrityError where the bundle is gone.
        """
        journal = self.journal()
        return make_link(journal, record.find(journal, run_id), self._workshop.store, expires)

    def status(self, export: str | None = None) -> list[dict[str, Any]]:
        """Per export: last run, watermark, freshness against the contract's SLA (of a full refresh, from when it was
        read) of the tenant that is furthest behind, failures that nothing has mended, intervals of which somebody has
        not got what a run for everybody would deliver. Exports in ``broken`` are left out."""
        journal, now, told = self.journal(), datetime.now(UTC), []
        for name in [self.export(export).name] if export else sorted(self.exports):
            definition = self.exports[name]
            standing = self._jobs.standing(definition, Clock(now, now, now))
            agreed = (self.contracts[each.contract].sla.freshness for each in definition.versions())
            spans = [span.total_seconds() for span in agreed if span is not None]
            told.append(record.status(journal, name, now, min(spans, default=None), standing))
        return told

    def approvals(self, export: str | None = None) -> list[dict[str, Any]]:
        """What needs an approval, of one export or of all, and the one that it has or why it has none:
        ``{export, kind, name, approval, expires, missing}``. Of all, also the steps of contracts' versions that
        somebody has asked for and that are not taken yet, by the journal; ``export`` is the version then,
        ``flights@1``."""
        if export:
            return [needed(export, *each) for each in self._gate.standing(self.export(export).name)]
        found = [needed(name, *each) for name in sorted(self.exports) for each in self._gate.standing(name)]
        steps = self._gate.steps_asked_for()
        return found + [needed(name, *each) for name, on in steps for each in self._approvable(name, on)]

    def ask(
        self,
        what: str,
        *,
        by: str,
        purpose: str,
        expires: datetime,
        sign: Callable[[bytes], bytes],
        channel: str = "drop",
    ) -> list[dict[str, Any]]:
        """Asks, in the name of a person of `ops/owners.yaml`, for the approvals that an export lacks; or that a step of
        a contract's version, ``flights@1``, on a channel.

        ``sign`` gives the person's SSH signature over a document: `lading.keys.ssh.signing_with`. Returns what
        `approvals` does, and of each whether it was ``asked`` for now, and the ids of what was ``pending`` before: what
        is pending for the same purpose and time is not asked for twice. Raises InvalidProject for a wrong signature, an
        unknown person, a time beyond a year, and Refused where nobody else could grant it.
        """
        _refuse_unclear("expires", expires)
        standing = self._approvable(what, channel)
        pending = {(s.kind, s.name): [each.id for each in found] for s, found in self._gate.pending(standing)}
        made = self._gate.requests(what, standing, purpose, by, expires)
        asked = {(each.document["kind"], each.document["name"]) for each in made}
        done = self._signed(what, channel, by, made, sign, "asked")
        keys = ((each["kind"], each["name"]) for each in done)
        return [
            {**each, "asked": key in asked, "pending": pending.get(key, [])}
            for each, key in zip(done, keys, strict=True)
        ]

    def asked_for(self, what: str, by: str, *, channel: str = "drop") -> list[Approval]:
        """The approvals that this person could grant, of an export or of a contract's step as they stand."""
        return self._gate.asked_for(what, self._approvable(what, channel), by)

    def grant(
        self,
        what: str,
        *,
        by: str,
        approvals: Sequence[Approval],
        sign: Callable[[bytes], bytes],
        channel: str = "drop",
    ) -> list[dict[str, Any]]:
        """Signs what others have asked for. Returns what `approvals` does; raises as `ask`."""
        return self._signed(what, channel, by, approvals, sign, "granted")

    def _signed(
        self,
        what: str,
        channel: str,
        by: str,
        approvals: Sequence[Approval],
        sign: Callable[[bytes], bytes],
        event: str,
    ) -> list[dict[str, Any]]:
        chain = AuditChain(self.journal())
        for approval in approvals:
            signature = sign(approval.data)
            self._gate.check(approval, by, signature)
            told = {"kind": approval.document["kind"], "name": approval.document["name"], "by": by}
            chain.append(event, approval=approval.sha256, purpose=approval.document["purpose"], **told)
            self._gate.keep(approval, by, signature)
        return [needed(what, *each) for each in self._approvable(what, channel)]

    def _approvable(self, what: str, channel: str) -> Approvable:
        """What of an export, or of a contract's next step, needs an approval, and whether it has it."""
        if "@" not in what:
            return self._gate.standing(self.export(what).name)
        known = self._contract(what, channel)
        definition = promotion_needs(self.journal(), self.contracts, self._named(), known, channel)
        found = [] if definition is None else [self._gate.promotion(known, channel, definition)]
        return self._gate.outcomes(found)

    def audit_log(self) -> list[dict[str, Any]]:
        """What was asked for, granted and used, from the audit chain. Raises IntegrityError where it is broken."""
        return [dict(record) for record in AuditChain(self.journal()).records()]

    def lives(self) -> list[Life]:
        """What is recorded of each contract's version in use, on each channel."""
        lives = Lives(self.journal())
        used = {(name, "drop") for name in self.contracts}
        used |= {(e.contract, e.channel) for export in self.exports.values() for e in export.versions()}
        known = [(self.contracts[name], channel) for name, channel in sorted(used)]
        return [lives.read(contract.name, contract.major, channel) for contract, channel in known]

    def dual_delivery(self, contract: str, *, channel: str = "drop") -> Dual | None:
        """On how many days a draft, ``flights@2``, was delivered ``beside`` the major before it, as `promote` counts
        them: ``beside``, ``days``, ``needed``. None for a version that needs no such days, or no more."""
        known = self._contract(contract, channel)
        return dual_delivery(self.journal(), self.contracts, self._named(), known, channel)

    def promote(
        self,
        contract: str,
        *,
        by: str,
        reason: str = "",
        sunset: datetime | None = None,
        channel: str = "drop",
    ) -> tuple[Life, bool]:
        """Takes the step to the state that a contract's document names, ``flights@1``; also says whether there was one
        to take. Raises Refused where it may not be taken, or not yet."""
        _refuse_unclear("sunset", sunset)
        known = self._contract(contract, channel)

        def approved(definition: Mapping[str, Any]) -> Mapping[str, Any] | str:
            ((_, outcome),) = self._gate.outcomes([self._gate.promotion(known, channel, definition)])
            return outcome if isinstance(outcome, str) else self._gate.signed(outcome)

        return promote(
            self.journal(),
            self.contracts,
            self._named(),
            known,
            channel,
            by=by,
            reason=reason,
            sunset=sunset,
            cycle=self.files.settings.release_cycle or timedelta(0),
            approved=approved,
        )

    def acknowledge(self, contract: str, consumer: str, *, by: str, channel: str = "drop") -> Life:
        """Records that a consumer knows that a deprecated version will end."""
        known = self.contracts[self._contract(contract, channel)]
        return acknowledge(self.journal(), known, self._named(), channel, consumer, by)

    def packages(self, export: str) -> list[dict[str, Any]]:
        """The audit packages of an export, by tenant and number, from the journal: what its chains hold, and what the
        newest packages are. ``status``: as of `runs`, since a package has its number before it is published; None for
        a run that the journal has lost. ``replaced_by``: the number of the package that took the place of one whose
        files were lost before it was published everywhere; None for all others. Raises IntegrityError where a chain is
        broken, and InvalidProject for an export of another channel."""
        journal = self.journal()
        known = tenants_of(journal, export)
        # One that is removed, or has another channel by now, may have packages all the same.
        if not known and (channel := self.export(export).channel) != "audit":
            raise InvalidProject(
                f"{export} has no packages: its channel is {channel}.",
                hint="An export whose channel is audit makes them.",
            )
        chains = {tenant: list(PackageChain(journal, export, tenant).packages()) for tenant in known}
        # Read behind the chains: what has a number was sealed before.
        runs = record.runs(journal, export)
        became = {r.run["run_id"]: r.summary["status"] for r in runs if r.summary["sealed_at"]}
        found: list[dict[str, Any]] = []
        for tenant, packages in chains.items():
            chain = [
                {
                    "tenant": tenant,
                    **each.place.record(),
                    "status": became.get(each.run_id),
                    "checkpoint": json.loads(each.checkpoint),
                }
                for each in packages
            ]
            by = {lost["number"]: each["number"] for each in chain for lost in each["checkpoint"]["replaced"]}
            found += [{**each, "replaced_by": by.get(each["number"])} for each in chain]
        return found

    def tables(
        self, export: str | None = None, *, on_lost: Callable[[IntegrityError], object] | None = None
    ) -> list[dict[str, Any]]:
        """Where the tables of the channel snapshot stand now, of one export or of all, by tenant:
        ``{export, tenant, major, table, metadata, snapshot_id, run_id, rows, committed_at}``. ``metadata`` is the URL
        that engines open, ``run_id`` the newest run that the table has.

        Asks catalogues and changes nothing there. A table that nothing was committed to is left out. ``on_lost`` is
        told of each that is not there, or lacks rows, although the journal knows runs that were published to it;
        without it the first is raised. Raises InvalidProject for an export of another channel, StoreUnavailable where a
        catalogue cannot be reached.
        """
        if export is not None and (channel := self.export(export).channel) != "snapshot":
            raise InvalidProject(
                f"{export} has no tables: its channel is {channel}.",
                hint="An export whose channel is snapshot makes one for each tenant.",
            )
        definitions = [self.exports[name] for name in ([export] if export else sorted(self.exports))]
        return [
            told
            for each in definitions
            if each.channel == "snapshot"
            for told in self._jobs.tables(each, on_lost or _raised)
        ]

    def signers(self) -> tuple[AllowedSigner, ...]:
        """The keys that may sign manifests, by `ops/signers`; none where there is no such file."""
        return self._workshop.signers()

    def new_signing_key(self) -> AllowedSigner:
        """Makes the key that signs from the next time the project is loaded, and its line in `ops/signers`."""
        return self._workshop.new_signing_key()

    def copy_keys(self, tenant: str, file: Path) -> int:
        """Writes the keys that open what is encrypted for a tenant to a new file; returns how many there are."""
        return self._workshop.own_wrapper("copy", tenant).copy(tenant, file)

    def rotate_key(self, tenant: str) -> str:
        """Makes the key that wraps a tenant's data keys from now on; returns its id."""
        return self._workshop.own_wrapper("rotate", tenant).rotate(tenant)

    def destroy_keys(self, tenant: str) -> int:
        """Destroys the keys that open what is encrypted for a tenant, for good; returns how many there were."""
        return self._workshop.own_wrapper("destroy", tenant).destroy(tenant)

    def test_connection(self, name: str) -> str:
        """Connects to a connection or a catalogue, and says in one line what is there."""
        if name in self.files.settings.catalogues:
            return self._workshop.catalogue(name).test()
        return self._workshop.source(name).test()

    def test_store(self, name: str) -> list[Finding]:
        """Writes, reads, lists and deletes one small object, and proves create-if-absent."""
        from lading.stores.probe import probe

        return probe(self._workshop.store(name))

    def destination_policy(
        self,
        store: str,
        *,
        principal: str | None = None,
        write_only: bool = False,
        archive: bool = False,
        delete_after: int | None = None,
    ) -> dict[str, Any]:
        """The least that the exporter must be allowed at a bucket, by every export that delivers there, and at AWS Glue
        for tables that it holds, as its provider's documents: ``{store, provider, documents, fill_in, notes}``. Asks
        nothing of the provider.

        ``write_only``: without listing and deleting. ``archive``, ``delete_after`` (days): what lifecycle rules may do
        to deliveries beyond tiers that are read at once. Raises InvalidProject for a folder, a store of which nothing
        is asked, and wishes that contradict an export.
        """
        from lading.access.papers import papers
        from lading.access.rights import Wishes

        wishes = Wishes(principal, write_only, archive, delete_after)
        left_out = (f"{name} is left out: its files are not valid." for name in sorted(self.broken))
        workshop = self._workshop
        made = papers(self._files, workshop.store_options, workshop.catalogue_options, store, wishes)
        told = [
            {"file": p.file, "title": p.title, "apply": p.apply, "document": p.document} for p in made.papers
        ]
        return {
            "store": store,
            "provider": made.provider,
            "documents": told,
            "fill_in": dict(made.fill_in),
            "notes": [*made.notes, *left_out],
        }

    def job(self, export: str, *, on_event: OnEvent | None = None, as_of: datetime | None = None) -> Job:
        """One export, assembled. Opens its connection and stores, reads nothing yet."""
        return self._jobs.job(self.export(export).name, on_event=on_event, as_of=as_of)

    def journal(self) -> Journal:
        return self._workshop.journal()

    def export(self, name: str) -> Export:
        if name in self.broken:
            raise InvalidProject(problems=self.broken[name])
        if name not in self.exports:
            known = sorted(self.exports)
            hint = f"There are: {', '.join(known)}." if known else "exports/ is empty."
            near = nearest(name, known)
            raise InvalidProject(f'There is no export "{name}"{near or "."}', hint=None if near else hint)
        return self.exports[name]

    # --- within

    @property
    def _files(self) -> ProjectFiles:
        return ProjectFiles(self.files, self.exports, self.contracts, self.documents)

    @property
    def _jobs(self) -> Jobs:
        return Jobs(self._files, self._workshop)

    @property
    def _inspection(self) -> Inspection:
        return Inspection(self._files, self._workshop)

    @property
    def _gate(self) -> Gate:
        return Gate(self._files, self._workshop)

    def _placed(self, recorded: record.Recorded) -> dict[str, Any]:
        name = recorded.summary["export"]
        return {**recorded.summary, "removed": name not in self.exports and name not in self.broken}

    def _asked(
        self,
        export: str,
        tenants: Sequence[str] | None,
        start: datetime | None = None,
        end: datetime | None = None,
        revise: bool = False,
        reason: str = "",
        as_of: datetime | None = None,
        backfill: bool = False,
    ) -> Asked:
        """Raises InvalidProject for arguments of types that would be taken for something else, or of no use here."""
        for name, moment in (("start", start), ("end", end), ("as_of", as_of)):
            _refuse_unclear(name, moment)
        if tenants is not None and (isinstance(tenants, str) or not all(isinstance(t, str) for t in tenants)):
            raise InvalidProject(
                f"tenants must be a list of texts, and is {tenants!r}.",
                hint='For example tenants=["acme"]: one name alone is a list too.',
            )
        if revise and not reason:
            raise InvalidProject(
                "--revise needs --reason: it is written into the manifest and makes a repeat safe."
            )
        definition = self.export(export)
        if as_of is not None and definition.mode != "full_refresh":
            raise InvalidProject(
                f"--as-of belongs to full_refresh, and {export} is {definition.mode}.",
                hint="Name intervals with --start and --end.",
            )
        if tenants and definition.tenants is None:
            raise InvalidProject(f'{export} has no tenants: leave --tenant out, or give it "tenants".')
        return Asked(tuple(tenants) if tenants else None, start, end, revise, reason, backfill)

    def _contract(self, name: str, channel: str) -> str:
        if name not in self.contracts:
            raise InvalidProject(unknown("contract", name, self.contracts))
        if channel not in RULES:
            raise InvalidProject(unknown("channel", channel, RULES))
        return name

    def _named(self) -> dict[str, str]:
        return {name: export.contract for name, export in self.exports.items()}


def _raised(error: LadingError) -> None:
    raise error


def _refuse_unclear(name: str, moment: object) -> None:
    """Raises InvalidProject for what is no point in time: a text, a date, or a datetime that leaves its zone open."""
    if moment is None or (isinstance(moment, datetime) and moment.utcoffset() is not None):
        return
    what = "one without a time zone" if isinstance(moment, datetime) else f"a {type(moment).__name__}"
    raise InvalidProject(
        f"{name} must be a datetime with a time zone, and is {what}: {moment!r}.",
        hint=f"For example {name}=datetime(2026, 7, 1, tzinfo=UTC).",
    )


def _slept(seconds: float) -> bool:
    time.sleep(seconds)
    return False
