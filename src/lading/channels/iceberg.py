"""Iceberg tables (table specification, version 2) of one catalogue: a run is one commit, whatever happens on the way.

A commit is built on exactly the state of the table that was looked at, and the catalogue takes it only while that state
stands. pyiceberg's own repeats are off: after each failure, whatever its kind, the table is loaded anew and looked
through for the run, so that a repeat, a race or an answer that was lost never commits a run twice.
"""

from __future__ import annotations

import itertools
import json
import logging
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, cached_property
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError, TableAlreadyExistsError
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat, ManifestContent
from pyiceberg.schema import Schema
from pyiceberg.table import Table, TableProperties, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update.snapshot import ExpireSnapshots
from pyiceberg.transforms import IdentityTransform
from pyiceberg.typedef import Record

from lading.channels.iceberg_expiry import expire, forget
from lading.channels.iceberg_io import Files, Noted, parquet, remove
from lading.channels.iceberg_merge import Keys
from lading.channels.iceberg_schema import (
    changes,
    declare_order,
    evolve,
    iceberg_schema,
    partition_of,
    partition_spec,
    sort_order,
)
from lading.channels.iceberg_state import (
    FORGOTTEN,
    OWNER,
    PLACE,
    RUN_ID,
    RUNS,
    State,
    belongs_to,
    files_of,
    forgotten_runs,
    gap_in,
    known_runs,
    refuse_gap,
    refuse_rollback,
    run_of,
    runs_of,
    state_of,
    used_by,
    uses,
)
from lading.channels.iceberg_statistics import METRICS, statistics
from lading.errors import (
    IntegrityError,
    LadingError,
    SchemaMismatch,
    StoreDenied,
    StoreUnavailable,
    counted,
)
from lading.export.interval import parse_instant
from lading.export.tables import FOLDER
from lading.manifest import canonical

logging.getLogger("pyiceberg").addHandler(logging.NullHandler())  # or it would speak on standard error

REMEMBERED = 1_000
"""So many run ids stand in a table's properties, the newest last; how many stood there before them is counted."""
CONTENTION, UNREACHABLE = 300.0, 15.0
"""Seconds for which a commit is tried again: while others commit, and while the catalogue fails."""

_WRITTEN_BY_ANOTHER = (
    "Start a new export, under a new name and in a namespace of its own, and let none but Lading write to its table. "
    "Only where no run was delivered since may the table be rolled back to its state before that, in that engine: a "
    "rollback takes the rows of newer runs out."
)


@dataclass(frozen=True, slots=True)
class DataObject:
    """A data file of a run: its location, rows, bytes and partition as texts by column."""

    location: str
    rows: int
    bytes: int
    partition: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Superseded:
    """A run whose rows go: what locations of its files begin with, and how many of them it added."""

    run_id: str
    folder: str
    files: int


@dataclass(frozen=True, slots=True)
class Wish:
    """What a run wants of its table."""

    identifier: tuple[str, str]
    owner: Mapping[str, object]  # whose the table is: no other may commit to it
    mode: Literal["append", "full_refresh", "incremental"]
    run_id: str
    start: str  # of the interval
    revision: int
    supersedes: tuple[str, ...]
    folder: str  # the location that all files of the run begin with
    published: tuple[str, ...]  # runs that the table must have before this one
    superseded: tuple[Superseded, ...]  # runs in whose files' place this one's come
    files: tuple[DataObject, ...]
    told: tuple[str, ...]  # columns whose extremes may be published
    merge_key: tuple[str, ...] = ()
    partition_by: tuple[str, ...] = ()
    sort_by: tuple[str, ...] = ()
    summary: Mapping[str, str] = field(default_factory=dict)

    @property
    def place(self) -> tuple[datetime, int]:
        return parse_instant(self.start), self.revision


@dataclass(frozen=True, slots=True)
class Access:
    """A catalogue that was opened. ``judge`` tells what one of its failures means, if it knows the failure."""

    name: str
    catalog: Catalog
    judge: Callable[[Exception], LadingError | None]


@dataclass(slots=True)
class _Tried:
    """A commit that was not seen to succeed, and what was written for it. ``refused``: the catalogue said no."""

    noted: Noted
    refused: bool


class Tables:
    """The tables of a catalogue. ``history``: how long what a table was can still be read. Thread-safe."""

    def __init__(
        self,
        connect: Callable[[], Access],
        files: Files,
        history: timedelta,
        memory: int,
        sleep: Callable[[float], None] = time.sleep,
        absent: Callable[[], bool] = lambda: False,
    ) -> None:
        """``absent``: whether the catalogue is known not to be there, so that it has no table. To open it makes it."""
        self._connect, self._files, self._history, self._memory = connect, files, history, memory
        self._sleep, self._absent = sleep, absent

    @cached_property
    def _access(self) -> Access:
        return self._connect()

    @property
    def _catalog(self) -> Catalog:
        return self._access.catalog

    def location(self, name: str) -> str:
        """By which a table knows an object of the store."""
        return self._files.location(name)

    # --- looking

    def test(self) -> str:
        with self._explained():
            count = len(self._catalog.list_namespaces())
        told = f"{type(self._catalog).__name__}, {counted(count, 'namespace')}"
        return f"{told}; tables lie in {self._files.store.url}"

    def load(self, identifier: tuple[str, str]) -> Table | None:
        """The table as it is now; None where there is none."""
        with self._explained():
            if self._absent():
                return None  # looking makes nothing
            try:
                table = self._catalog.load_table(identifier)
            except NoSuchTableError:
                return None
        # Whatever the table says: a repeat without looking might commit twice.
        table.metadata.properties[TableProperties.COMMIT_NUM_RETRIES] = "0"
        return table

    def state(self, identifier: tuple[str, str], owner: Mapping[str, object]) -> State | None:
        """What the table is now; None where there is none, no run was committed to it yet, or it is another's."""
        return self.standing(identifier, owner, ())[0]

    def standing(
        self, identifier: tuple[str, str], owner: Mapping[str, object], published: Sequence[str]
    ) -> tuple[State | None, IntegrityError | None]:
        """What `state` tells, and that the table is not there or its state lacks some of these runs: of one look."""
        table = self.load(identifier)
        own = table if table is not None and belongs_to(table, owner) else None
        return state_of(own), gap_in(own, identifier, published)

    def check(self, wish: Wish, schema: pa.Schema) -> None:
        """Raises what would keep such a run from being committed, as far as that shows before a row is read."""
        want = iceberg_schema(schema)
        partition_spec(want, wish.partition_by)
        sort_order(want, wish.sort_by)
        table = self.load(wish.identifier)
        if table is not None:
            self._refuse_foreign(table, wish)
            with _placed(wish):
                changes(table.schema(), want, all_columns=True)

    def check_past(self, wish: Wish) -> None:
        """Raises what `publish` would raise for what the table is now: IntegrityError where its state lacks a run, or
        has not just the files of one that is superseded, StoreDenied where it holds delete files in the way."""
        if not (wish.published or wish.superseded):
            return
        table = self.load(wish.identifier)
        if table is not None:
            refuse_rollback(table, wish.identifier)
        refuse_gap(table, wish.identifier, wish.published)
        if table is None:
            return
        if wish.mode == "incremental":
            self._refuse_delete_files(table, wish)
        else:
            current = table.current_snapshot() if wish.superseded else None
            self._superseded(table, wish, [] if current is None else list(files_of(table, current)))

    def refers(self, identifier: tuple[str, str], folder: str) -> bool:
        """Whether any state of the table that can still be read has a file in this folder."""
        table = self.load(identifier)
        if table is None:
            return False
        return any(uses(table, snapshot, folder) for snapshot in reversed(table.metadata.snapshots))

    def _refuse_foreign(self, table: Table, wish: Wish) -> None:
        self._refuse_another_owner(table, wish)
        self._refuse_another_partitioning(table, wish)

    def _refuse_another_owner(self, table: Table, wish: Wish) -> None:
        if not belongs_to(table, wish.owner):
            told = table.properties.get(OWNER, "Lading did not make it")
            raise StoreDenied(
                f"The table {_name(wish)} is not one of this export's: {told}.",
                hint="Give the catalogue another namespace, or one of the exports another contract.",
            )

    def _refuse_another_partitioning(self, table: Table, wish: Wish) -> None:
        spec, schema = table.spec(), table.schema()
        by = tuple(schema.find_column_name(f.source_id) for f in spec.fields)
        if by != wish.partition_by or any(
            not isinstance(f.transform, IdentityTransform) for f in spec.fields
        ):
            raise SchemaMismatch(
                f"The table {_name(wish)} is partitioned by {', '.join(map(str, by)) or 'nothing'}, and the export by "
                f"{', '.join(wish.partition_by) or 'nothing'}.",
                hint="Set layout.partition_by back, or make a new major version of the contract.",
            )

    # --- committing

    def publish(self, wish: Wish) -> None:
        """Commits the run, unless the table has it, or has gone beyond it. Returns when that is certain.

        Raises StoreUnavailable where others commit faster or the catalogue cannot be reached, SchemaMismatch where the
        table cannot take the files, StoreDenied where it is another's, IntegrityError where it lacks what was published
        before or what the run takes the place of, or was rolled back.
        """
        tried: list[_Tried] = []
        footers = cache(lambda: self._footers(wish))  # files never change, however often this is tried
        began = time.monotonic()
        failing: float | None = None  # since when the catalogue does nothing else
        for attempt in itertools.count():
            noted, tried_at, state = Noted(), time.monotonic(), ""
            try:
                with self._files.noted(noted), self._explained():
                    table = self.load(wish.identifier)
                    if table is None:
                        refuse_gap(None, wish.identifier, wish.published)
                        table = self._create(wish, footers()[1])
                    state = table.metadata_location
                    self._tidy(table, wish, tried)
                    # Before it is asked for the run: another's may well be beyond it, and has not its rows.
                    self._refuse_another_owner(table, wish)
                    if wish.mode != "full_refresh":  # which has all rows, whatever was rolled back
                        refuse_rollback(table, wish.identifier)
                    if self._has(table, wish):
                        self._clean(table, wish, ())
                        return
                    refuse_gap(table, wish.identifier, wish.published)
                    self._refuse_another_partitioning(table, wish)
                    self._commit(table, wish, *footers())
                remove(self._files, noted.doomed)
                return
            except (CommitFailedException, TableAlreadyExistsError):
                tried.append(_Tried(noted, refused=True))
                failing = None
                limit, reason = began + CONTENTION, f"others kept committing to the table {_name(wish)}."
            except StoreUnavailable as error:
                tried.append(_Tried(noted, refused=False))
                failing = failing or time.monotonic()
                limit, reason = failing + UNREACHABLE, str(error)
            except LadingError as error:
                # What a state had may go with it, while somebody still builds on it.
                if not (isinstance(error, IntegrityError) and self._is_past(wish, state)):
                    raise
                limit, reason = began + CONTENTION, str(error)
            if time.monotonic() > limit:
                raise StoreUnavailable(f"Run {wish.run_id} is not known to be in its table: {reason}")
            # A try costs what it costs here: so much longer do others take whose tries are in each other's way.
            self._sleep(random.uniform(0, min(20.0, (time.monotonic() - tried_at) * 2 ** min(attempt, 10))))

    def _create(self, wish: Wish, want: Schema) -> Table:
        name = _name(wish)
        self._catalog.create_namespace_if_not_exists(wish.identifier[0])
        table = self._catalog.create_table(
            wish.identifier,
            want,
            location=self._files.location(f"{FOLDER}/{name.replace('.', '/')}"),
            partition_spec=partition_spec(want, wish.partition_by),
            sort_order=sort_order(want, wish.sort_by),
            properties={
                TableProperties.FORMAT_VERSION: "2",
                TableProperties.COMMIT_NUM_RETRIES: "0",
                TableProperties.METADATA_DELETE_AFTER_COMMIT_ENABLED: "true",
                TableProperties.MANIFEST_MERGE_ENABLED: "true",
                OWNER: canonical(wish.owner).decode(),
            },
        )
        table.metadata.properties[TableProperties.COMMIT_NUM_RETRIES] = "0"
        return table

    def _is_past(self, wish: Wish, state: str) -> bool:
        """Whether the table has gone beyond a state of it, by the location of its metadata."""
        table = self.load(wish.identifier) if state else None
        return table is not None and table.metadata_location != state

    def _tidy(self, table: Table, wish: Wish, tried: list[_Tried]) -> None:
        """Removes what was written for commits that were refused, once the table shows that they were."""
        own = [s for s in table.metadata.snapshots if run_of(s) == wish.run_id]
        if wish.run_id in runs_of(table) and not own:
            return  # it may be ours, and have expired since
        referred = {snapshot.manifest_list for snapshot in own}
        for each in tried:
            if each.refused and referred.isdisjoint(each.noted.written):
                remove(self._files, [at for at in each.noted.written if at != table.metadata_location])
        tried.clear()

    def _has(self, table: Table, wish: Wish) -> bool:
        """Whether the table has the run, or had it, or is beyond it."""
        if wish.run_id in known_runs(table):
            return True
        current = table.current_snapshot()
        # Of a table with fewer runs none was forgotten.
        if len(runs_of(table)) >= REMEMBERED and current is not None and uses(table, current, wish.folder):
            return True
        if wish.mode == "full_refresh" and (place := table.properties.get(PLACE)) is not None:
            start, revision = json.loads(place)
            return bool((parse_instant(start), revision) >= wish.place)
        return False

    def _commit(self, table: Table, wish: Wish, footers: Mapping[str, pq.FileMetaData], want: Schema) -> None:
        transaction = _Once(table)
        with _placed(wish):
            evolve(transaction, want)
        declare_order(transaction, wish.sort_by)
        schema = transaction.table_metadata.schema()
        metrics = {f"{METRICS}{f.name}": "none" for f in schema.fields if f.name not in wish.told}
        added = [
            self._data_file(
                transaction, file.location, file.bytes, footers[file.location], metrics, file.partition
            )
            for file in wish.files
            if file.rows
        ]
        snapshot = table.current_snapshot()
        live = list(files_of(table, snapshot)) if snapshot is not None and self._replaces(wish) else []
        gone, again = self._outdated(table, transaction, wish, live, metrics)
        summary = {RUN_ID: wish.run_id, **wish.summary}
        update = transaction.update_snapshot(snapshot_properties=summary)
        producer: Any = update.overwrite() if gone else update.merge_append()
        for file in gone:
            producer.delete_data_file(file)
        for file in (*again, *added):
            producer.append_data_file(file)
        producer.commit()
        transaction.set_properties(self._properties(transaction, wish, metrics))
        states = table.metadata.snapshots
        expired = expire(transaction, self._history)
        transaction.commit_transaction()
        self._clean(table, wish, [file.file_path for file in again])
        forget(self._files, table, states, expired)

    def _replaces(self, wish: Wish) -> bool:
        return wish.mode != "append" or bool(wish.superseded)

    def _outdated(
        self,
        table: Table,
        transaction: Transaction,
        wish: Wish,
        live: Sequence[DataFile],
        metrics: Mapping[str, str],
    ) -> tuple[list[DataFile], list[DataFile]]:
        """The files that go with this commit, and those that come in place of some of them."""
        if wish.mode == "full_refresh":
            return list(live), []
        if wish.mode == "append":
            return self._superseded(table, wish, live), []
        fresh = [file.location for file in wish.files if file.rows]
        there: list[DataFile] = []
        lost: list[DataFile] = []
        for file in live:
            (lost if self._lost(file, wish) else there).append(file)
        if not there or not fresh:
            return lost, []
        self._refuse_delete_files(table, wish)
        gone, again = self._merged(table, transaction, wish, there, fresh, metrics)
        return [*lost, *gone], again

    def _superseded(self, table: Table, wish: Wish, live: Sequence[DataFile]) -> list[DataFile]:
        """The files of the runs that this one takes the place of: all that they added, or none is taken for theirs."""
        if wish.superseded:
            self._refuse_delete_files(table, wish)
        found: list[DataFile] = []
        for run in wish.superseded:
            files = [file for file in live if file.file_path.startswith(run.folder)]
            # One that never came has no rows here, and never will: this commit notes it as superseded.
            came = bool(files) or run.run_id in known_runs(table) or forgotten_runs(table)
            if came and len(files) != run.files:
                raise IntegrityError(
                    f"The table {_name(wish)} has {len(files):,} of the {counted(run.files, 'file')} of run "
                    f"{run.run_id}, which {wish.run_id} is to replace: another engine has rewritten or removed some, "
                    "and their rows may stand in others.",
                    hint=_WRITTEN_BY_ANOTHER,
                )
            found += files
        return found

    def _refuse_delete_files(self, table: Table, wish: Wish) -> None:
        snapshot = table.current_snapshot()
        if snapshot is not None and any(
            m.content == ManifestContent.DELETES for m in snapshot.manifests(table.io)
        ):
            raise StoreDenied(
                f"The table {_name(wish)} holds delete files, which Lading never writes: another engine changes it.",
                hint=_WRITTEN_BY_ANOTHER,
            )

    def _merged(
        self,
        table: Table,
        transaction: Transaction,
        wish: Wish,
        live: Sequence[DataFile],
        fresh: Sequence[str],
        metrics: Mapping[str, str],
    ) -> tuple[list[DataFile], list[DataFile]]:
        gone: list[DataFile] = []
        again: list[DataFile] = []
        folder = f"{_rewrites(table, wish.run_id)}{uuid.uuid4().hex}/"
        with Keys(self._files, wish.merge_key, fresh, self._memory) as keys:
            for file in live:
                if not keys.may_be_in(file, transaction.table_metadata.schema()):
                    continue
                rows = keys.rows_in(file.file_path)
                if rows is None:
                    continue
                gone.append(file)
                target = f"{folder}{len(gone):05}.parquet"
                self._files.note(target)
                if keys.rewrite(file.file_path, target, rows):
                    meta, _, size = self._footer(target)
                    again.append(self._data_file(transaction, target, size, meta, metrics, file.partition))
        return gone, again

    def _lost(self, file: DataFile, wish: Wish) -> bool:
        """Whether a file of a run that this one takes the place of is there no more: whoever deleted it, its rows are
        those that come anew."""
        if not any(file.file_path.startswith(run.folder) for run in wish.superseded):
            return False
        name = self._files.name(file.file_path)
        return all(info.name != name for info in self._files.store.list(name))

    def _properties(self, transaction: Transaction, wish: Wish, metrics: Mapping[str, str]) -> dict[str, str]:
        before = transaction.table_metadata.properties
        runs = [run for run in before.get(RUNS, "").split(",") if run]
        # Those that it supersedes must not come after it, if they never came.
        runs += [run for run in (*wish.supersedes, wish.run_id) if run not in runs]
        found = {RUNS: ",".join(runs[-REMEMBERED:]), **metrics}
        if cut := len(runs[:-REMEMBERED]):
            found[FORGOTTEN] = str(int(before.get(FORGOTTEN, 0)) + cut)
        if wish.mode == "full_refresh":
            found[PLACE] = json.dumps([wish.start, wish.revision])
        if transaction.table_metadata.name_mapping() is None:
            # Our files name columns and number none, so readers go by this.
            mapping = transaction.table_metadata.schema().name_mapping
            found[TableProperties.DEFAULT_NAME_MAPPING] = mapping.model_dump_json()
        return {key: value for key, value in found.items() if before.get(key) != value}

    def _clean(self, table: Table, wish: Wish, again: Sequence[str]) -> None:
        """Removes what attempts have left that died, at this run and at those that it supersedes, as far as the table
        knows them: whoever still works on one of these builds on a state before this one, and is refused. ``again``:
        what this run's commit is known to have added."""
        if wish.mode != "incremental":
            return
        known = known_runs(table)
        for run in (run for run in (*wish.supersedes, wish.run_id) if run in known):
            begin = self._files.name(_rewrites(table, run))
            there = {self._files.location(info.name) for info in self._files.store.list(begin)}
            if not there.difference(again):
                continue
            # One commit added all that a run ever added. Where its state has expired, any later one may have some.
            states = [s for s in table.metadata.snapshots if run_of(s) == run] or table.metadata.snapshots
            # What cannot be looked at keeps all of them: room is no reason to withhold a run.
            with suppress(IntegrityError):
                remove(self._files, sorted(there.difference(again, used_by(table, states))))

    # --- files

    def _footers(self, wish: Wish) -> tuple[dict[str, pq.FileMetaData], Schema]:
        """What the run's files say of themselves, and the columns that they all have."""
        found: dict[str, pq.FileMetaData] = {}
        schema: pa.Schema | None = None
        for file in wish.files:
            meta, columns, _ = self._footer(file.location)
            if meta.num_rows != file.rows or not columns.equals(schema or columns):
                raise IntegrityError(f"{file.location} has not the rows or columns that it was sealed with.")
            found[file.location], schema = meta, columns
        assert schema is not None
        return found, iceberg_schema(schema)

    def _footer(self, location: str) -> tuple[pq.FileMetaData, pa.Schema, int]:
        with self._files.open(location) as file:
            opened = parquet(file, location, arrow_extensions_enabled=True)
            return opened.metadata, opened.schema_arrow, file.size()

    def _data_file(
        self,
        transaction: Transaction,
        location: str,
        size: int,
        footer: pq.FileMetaData,
        metrics: Mapping[str, str],
        partition: Mapping[str, object] | Record,
    ) -> DataFile:
        """As `Table.add_files` describes a file, but for its partition: that would be guessed from statistics."""
        metadata = transaction.table_metadata
        schema, spec = metadata.schema(), metadata.spec()
        return DataFile.from_args(
            content=DataFileContent.DATA,
            file_path=location,
            file_format=FileFormat.PARQUET,
            partition=partition if isinstance(partition, Record) else partition_of(spec, schema, partition),
            file_size_in_bytes=size,
            sort_order_id=None,
            spec_id=metadata.default_spec_id,
            equality_ids=None,
            key_metadata=None,
            **statistics(footer, schema, metrics),
        )

    # --- what goes

    def release(self, identifier: tuple[str, str], folder: str) -> None:
        """Takes all states but the current one that have files in this folder out of the table."""
        for _ in range(100):
            noted = Noted()
            try:
                with self._files.noted(noted), self._explained():
                    table = self.load(identifier)
                    if table is None:
                        return
                    kept = {ref.snapshot_id for ref in table.metadata.refs.values()}
                    ids = [
                        s.snapshot_id
                        for s in table.metadata.snapshots
                        if s.snapshot_id not in kept and uses(table, s, folder)
                    ]
                    if not ids:
                        return
                    before = table.metadata.snapshots
                    transaction = _Once(table)
                    ExpireSnapshots(transaction).by_ids(ids).commit()
                    transaction.commit_transaction()
                remove(self._files, noted.doomed)
                forget(self._files, table, before, ids)
                return
            except CommitFailedException:
                self._sleep(random.uniform(0, 0.2))
        raise StoreUnavailable(f"Others kept committing to the table {'.'.join(identifier)}.")

    # --- failures

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """A catalogue's failures in the words of the one error tree."""
        try:
            yield
        except (LadingError, CommitFailedException, TableAlreadyExistsError):
            raise
        except Exception as error:
            told = self._access.judge(error)
            if told is None:
                raise
            raise told from None


class _Once(Transaction):
    """What a table becomes, worked out once for each step and not each time that somebody asks: that copies all of its
    history."""

    _known: tuple[Any, TableMetadata] | None = None

    @property
    def table_metadata(self) -> TableMetadata:
        if not self._updates:
            return self._table.metadata
        if self._known is None or self._known[0] is not self._updates:
            self._known = self._updates, super().table_metadata
        return self._known[1]


def _name(wish: Wish) -> str:
    return ".".join(wish.identifier)


@contextmanager
def _placed(wish: Wish) -> Iterator[None]:
    try:
        yield
    except SchemaMismatch as error:
        raise SchemaMismatch(f"The table {_name(wish)}: {error.message}.", hint=error.hint) from error


def _rewrites(table: Table, run_id: str) -> str:
    """What locations of files begin with that a run has written anew."""
    return f"{table.location().rstrip('/')}/data/{run_id}-"
