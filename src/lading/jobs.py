"""Exports of a project, put together: all that a run needs of the files, each part opened."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from lading.assemble import Versioned, Workshop, open_format, signed_beside, versions
from lading.binding import Binder, Pair
from lading.channels.audit import AuditChannel
from lading.channels.drop import Destination, DropChannel
from lading.channels.snapshot import SnapshotChannel, TableSettings, owner_of
from lading.clearance import Gate
from lading.contract.lifecycle import Life
from lading.documents import Document
from lading.errors import IntegrityError, Refused
from lading.events import OnEvent
from lading.evidence.records import read_schemas
from lading.export.definition import Export, definition_hash
from lading.export.identity import instant
from lading.export.interval import Interval, grid, midnight
from lading.export.schedule import DAILY, last_tick, next_tick
from lading.export.sections import LateColumn
from lading.export.tables import table_name
from lading.history import DEFAULT_TENANT, Terms
from lading.inspection import Inspection, table_columns
from lading.journal.log import Journal
from lading.manifest import SEALED
from lading.plan import Clock, Standing
from lading.ports import Channel, Dataset, Encryption, Format, Newest, Source
from lading.project_files import ProjectFiles
from lading.routing.keys import PartitionColumn
from lading.run import Binding, Job, record
from lading.run.job import Checks, Version, Window
from lading.run.promote import Lifetime


@dataclass(frozen=True)
class Jobs:
    """Makes the jobs of one project's exports."""

    project: ProjectFiles
    workshop: Workshop

    def job(self, name: str, *, on_event: OnEvent | None = None, as_of: datetime | None = None) -> Job:
        """One export, assembled. Opens its connection and stores, reads nothing yet."""
        project, workshop = self.project, self.workshop
        Inspection(project, workshop).require(name)
        export, document, settings = project.exports[name], project.documents[name], project.files.settings
        source, dataset = workshop.source(export.source.connection), self._dataset(export)
        journal = workshop.journal()
        delivered = versions(export, document, project.contracts)
        named = frozenset(field.column for each in delivered for field in each.contract.fields)
        parts = [self._part(each, document, source, dataset, journal, named) for each in delivered]
        own, beside = parts[0], parts[1] if len(parts) > 1 else None
        differs = frozenset(export.beside.differs if export.beside else ())
        pair = Pair(own.binder, beside.binder, differs) if beside is not None else None
        transforms = (transform for part in parts for transform in part.binder.transforms)
        keyed = any("hmac_sha256" in getattr(t, "actions", {}).values() for t in transforms)
        if keyed:
            workshop.keys()

        def standing(clock: Clock, upto: datetime | None) -> Standing:
            # What was committed before a version was retired is published first; nothing is planned after.
            own.lifetime.require()
            if beside is not None:
                try:
                    beside.lifetime.require()
                except Refused as error:
                    raise Refused(error.message, hint=f"Take beside out of {document.path}.") from error
            return self.standing(export, clock, upto, as_of)

        def binding() -> Binding:
            bound = _told(pair.bind() if pair is not None else own.binder.bind(), own.lifetime.require())
            if bound.beside is None or beside is None:
                return bound
            return replace(bound, beside=_told(bound.beside, beside.lifetime.require()))

        gate = Gate(project, workshop, {name: dataset.sql} if dataset.sql is not None else {})
        format, encryption = own.binder.format, own.encryption
        in_one = export.channel == "audit"
        return Job(
            project=settings.name,
            environment=settings.environment,
            export=name,
            entity=export.contract_name,
            mode=export.mode,
            types=export.types,
            own=own.version(dataset, pair.own_checks if pair is not None else own.binder.checks),
            source=source,
            dataset=dataset,
            origin=_origin(export),
            journal=journal,
            keys=_LazyKeys(workshop),
            binding=binding,
            standing=standing,
            clear=lambda: gate.clear(name),
            equipped=lambda tenants: self._equipped(export, tenants),
            approvals=lambda: gate.needed(name),
            beside=beside.version(dataset, beside.binder.checks) if beside is not None else None,
            differs=differs,
            tenant_column=export.tenants.column if export.tenants else None,
            keyed=keyed,
            immutable=export.immutable_rows,
            in_order=any("ordered" in check for check in export.checks),
            window=_window(export),
            newest=_newest(export),
            safety_lag=_seconds(export.window.safety_lag) if export.window else None,
            partitions=tuple(
                PartitionColumn("shard" if p.shards else p.column, p.column, p.shards)
                for p in export.layout.columns
            ),
            format_name=format.name,
            codec=format.codec,
            format_options={k: v for k, v in export.format.items() if k != "max_file_size"}
            | ({"chained": True} if in_one else {}),
            encryption=encryption.record if encryption else _sealed(export),
            encryption_key=encryption.key_id if encryption else None,
            max_file_size=export.max_file_size,
            in_one=in_one,
            keep=export.keep,
            buffer_memory=settings.buffer_memory,
            on_event=on_event or (lambda event: None),
        )

    def standing(
        self, export: Export, clock: Clock, upto: datetime | None = None, as_of: datetime | None = None
    ) -> Standing:
        """When and for whom an export is to deliver, as of a clock."""
        window, schedule = export.window, export.schedule.schedule() if export.schedule else None
        intervals: tuple[Interval, ...] = ()
        tick = latest = past = start = None
        if export.mode == "append" and window is not None and window.every is not None:
            until = max(clock.bound, upto or clock.bound)
            intervals = tuple(grid(window.start, window.every, until, window.end))
        elif export.mode == "full_refresh":
            past = last_tick(schedule or DAILY, clock.now)
            at = last_tick(schedule or DAILY, as_of) if as_of else past
            tick = Interval(at, next_tick(schedule or DAILY, at))
        elif window is not None:
            start = window.start
            latest = last_tick(schedule, clock.reached or clock.bound) if schedule else None
            # A tick within a day tells of dates up to that day.
            latest = midnight(latest) if latest is not None and clock.reached is not None else latest
        active = tuple(sorted(t for t, s in self.project.files.tenants.items() if s.active))
        return Standing(
            terms=Terms(
                export.mode,
                export.tenants.column if export.tenants else None,
                window.column if window else None,
                window.late.column if window and isinstance(window.late, LateColumn) else None,
            ),
            major=export.contract_major,
            beside=next((each.contract_major for each in export.versions()[1:]), None),
            clock=window.clock if window else "transaction",
            grid=intervals,
            start=start,
            tick=tick,
            latest=past,
            upto=latest,
            discover=export.tenants is not None and export.tenants.discover,
            listed=active if export.tenants is not None else (DEFAULT_TENANT,),
            inactive=frozenset(t for t, s in self.project.files.tenants.items() if not s.active),
            merged=export.incremental and export.channel == "snapshot",
        )

    def tables(self, export: Export, on_lost: Callable[[IntegrityError], object]) -> list[dict[str, Any]]:
        """Where the tables of a snapshot stand, of every tenant and major that it has committed a run for.

        The catalogue is asked for no other, so nothing is opened or made for an export that has delivered nothing.
        ``on_lost`` is told of each table that is not there or lacks runs, of the major that is delivered now: those of
        an earlier one may have been dropped.
        """
        settings, found = self.project.files.settings, []
        # The journal first: what it calls published is in its table by then.
        committed: dict[tuple[str, int], list[record.Recorded]] = {}
        for each in record.runs(self.workshop.journal(), export.name):
            if each.run.get("status") == "committed":
                whose = each.run["tenant"], each.run.get("major", export.contract_major)
                committed.setdefault(whose, []).append(each)
        namespace = self.workshop.namespace(export.destination)
        for (tenant, major), runs in sorted(committed.items(), key=lambda each: each[0]):
            name = table_name(export.contract_name, major, tenant)
            owner = owner_of(settings.name, settings.environment, export.name, tenant, major)
            owed = _owed(runs, export.mode) if major == export.contract_major else []
            state, lost = self.workshop.catalogue(export.destination).standing((namespace, name), owner, owed)
            if lost is not None:
                on_lost(IntegrityError(f"{export.name}, tenant {tenant!r}: {lost.message}", hint=lost.hint))
            if state is not None:
                found.append(
                    {
                        "export": export.name,
                        "tenant": tenant,
                        "major": major,
                        "table": f"{namespace}.{name}",
                        "metadata": state.metadata,
                        "snapshot_id": state.snapshot_id,
                        "run_id": state.run_id,
                        "rows": state.rows,
                        "committed_at": instant(state.committed_at),
                    }
                )
        return found

    # --- parts

    def _equipped(self, export: Export, tenants: Collection[str]) -> None:
        """Raises what the run would fail with once its attempt is claimed, where a key is missing."""
        if self.project.files.settings.signing is not None:
            self.workshop.signer(*signed_beside(export))
        if export.encryption is not None and export.encryption.key == "recipient":
            self.workshop.recipients().require(tenants)

    def _dataset(self, export: Export) -> Dataset:
        if export.source.query is not None:
            return Dataset(sql=(self.project.files.root / export.source.query).read_text(encoding="utf-8"))
        return Dataset(table=export.source.table, files=export.source.files)

    def _part(
        self,
        each: Versioned,
        document: Document,
        source: Source,
        dataset: Dataset,
        journal: Journal,
        named: frozenset[str],
    ) -> _Part:
        export, contract, transforms = each
        format = open_format(document, contract.version)
        encryption = None
        if export.encryption and not export.sealed:
            encryption = self.workshop.encryption(export, format)
        lifetime = Lifetime(journal, contract, export.channel)
        channel = self._channel(each, format, encryption, lifetime, journal)
        binder = Binder(export, document, contract, source, dataset, format, transforms, named)
        return _Part(binder, channel, encryption, lifetime)

    def _channel(
        self,
        each: Versioned,
        format: Any,
        encryption: Encryption | None,
        lifetime: Lifetime,
        journal: Journal,
    ) -> Channel:
        export, files, workshop = each.export, self.project.files, self.workshop
        if export.channel == "snapshot":
            return self._snapshots(each, format, lifetime)
        stores = [Destination(name, workshop.store(name)) for name in (export.destination, *export.copies)]
        own = {
            tenant: Destination(settings.destination, workshop.store(settings.destination))
            for tenant, settings in files.tenants.items()
            if settings.destination is not None and export.tenants is not None
        }
        settings: dict[str, Any] = {
            "export": export.name,
            "own": own,
            "pointer": export.mode == "full_refresh",
            "signer": workshop.signer if files.settings.signing is not None else None,
            "encryption": encryption,
            "records": read_schemas(files.root),
            "deprecation": lifetime.notice,
        }
        if export.channel == "audit":
            gate = Gate(self.project, workshop)
            return AuditChannel(
                stores,
                export.paths(),
                format,
                export.types,
                export=export.name,
                own=own,
                signer=lambda: workshop.signer(*signed_beside(export)),
                journal=journal,
                evidence=lambda manifest: gate.evidence(export.name, manifest),
                encryption=encryption,
                records=settings["records"],
                deprecation=lifetime.notice,
            )
        if export.channel == "bundle":
            from lading.channels.bundle import BundleChannel
            from lading.payloads import papers

            contract = each.contract
            return BundleChannel(
                stores,
                export.paths(),
                format,
                export.types,
                papers=lambda manifest: papers(manifest, contract),
                sealer=workshop.sealer() if export.sealed else None,
                **settings,
            )
        return DropChannel(stores, export.paths(), format, export.types, **settings)

    def _snapshots(self, each: Versioned, format: Format, lifetime: Lifetime) -> SnapshotChannel:
        export, contract, transforms = each
        columns = table_columns(export, self.project.documents[export.name], contract, transforms)
        files, workshop, name = self.project.files, self.workshop, export.destination
        settings = files.settings
        store = settings.catalogues[name]["store"]
        return SnapshotChannel(
            workshop.catalogue(name),
            TableSettings(
                catalogue=name,
                namespace=workshop.namespace(name),
                mode="incremental" if export.mode == "continuous" else export.mode,
                **columns,
            ),
            Destination(store, workshop.store(store)),
            export.paths(),
            format,
            export.types,
            export=export.name,
            pointer=export.mode == "full_refresh",
            signer=workshop.signer if settings.signing is not None else None,
            records=read_schemas(files.root),
            deprecation=lifetime.notice,
        )


@dataclass(frozen=True, slots=True)
class _Part:
    """What belongs to one of the majors that an export delivers."""

    binder: Binder
    channel: Channel
    encryption: Encryption | None
    lifetime: Lifetime

    def version(self, dataset: Dataset, checks: Checks) -> Version:
        export, contract = self.binder.export, self.binder.contract
        return Version(
            definition=definition_hash(export, contract.sha256, dataset.sql),
            contract={
                "id": contract.id,
                "name": contract.name,
                "version": contract.version,
                "sha256": contract.sha256,
            },
            major=contract.major,
            channel=self.channel,
            checks=checks,
            promises_sha256=contract.promises_sha256,
        )


def _owed(runs: Sequence[record.Recorded], mode: str) -> list[str]:
    """The published runs of one tenant that its table must have: of a full refresh the newest, which has all rows."""
    published = [each for each in runs if each.summary["published"]]
    if mode == "full_refresh":
        published = sorted(published, key=lambda each: (each.attempt.start, each.run["revision"]))[-1:]
    return [each.run["run_id"] for each in published]


def _told(binding: Binding, life: Life) -> Binding:
    return replace(binding, notices=(*binding.notices, *life.told()))


class _LazyKeys:
    """The keyring, opened when a key is asked for: most exports need none."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop

    def tenant_key(self, tenant: str) -> bytes:
        return self._workshop.keys().tenant_key(tenant)

    def key_id(self, tenant: str) -> str:
        return self._workshop.keys().key_id(tenant)


def _sealed(export: Export) -> dict[str, str]:
    """What the manifest says of files that are not encrypted one by one."""
    return {"type": SEALED if export.sealed else "none"}


def _origin(export: Export) -> dict[str, Any]:
    source = export.source
    return {
        "connection": source.connection,
        "project": "",
        "dataset": source.connection,
        "table": source.table or source.query or source.files,
    }


def _window(export: Export) -> Window | None:
    window = export.window
    if window is None:
        return None
    arrival = window.late.column if isinstance(window.late, LateColumn) else None
    return Window(window.column, window.clock, arrival, _seconds(window.lookback) or 0.0)


def _newest(export: Export) -> Newest | None:
    if not export.incremental or export.window is None or export.merge_key is None:
        return None
    return Newest(
        tuple(export.merge_key), export.window.column, export.tenants.column if export.tenants else None
    )


def _seconds(value: timedelta | None) -> float | None:
    return value.total_seconds() if value is not None else None
