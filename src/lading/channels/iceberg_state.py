"""What a table of Iceberg is known to be: whose, which runs it has had, its newest state. Kept in its properties and in
the summaries of its snapshots."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pyiceberg.manifest import DataFile, ManifestContent
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from lading.errors import IntegrityError, counted
from lading.manifest import canonical

RUNS, FORGOTTEN, OWNER, PLACE = "lading.runs", "lading.runs-forgotten", "lading.owner", "lading.place"
RUN_ID = "lading.run-id"


@dataclass(frozen=True, slots=True)
class State:
    """What a table is now. ``metadata``: the location of its current metadata file, which engines open; ``run_id``: of
    the newest run in it, which is not the newest commit's where another engine has rewritten files since."""

    metadata: str
    snapshot_id: int
    run_id: str | None
    rows: int | None
    committed_at: datetime


def belongs_to(table: Table, owner: Mapping[str, object]) -> bool:
    return table.properties.get(OWNER) == canonical(owner).decode()


def runs_of(table: Table) -> list[str]:
    return [run for run in table.properties.get(RUNS, "").split(",") if run]


def known_runs(table: Table) -> set[str]:
    """Runs that the table has or had, or that a run of its took the place of, as far as it remembers."""
    return {*runs_of(table), *(run for s in table.metadata.snapshots if (run := run_of(s)) is not None)}


def forgotten_runs(table: Table) -> int:
    return int(table.properties.get(FORGOTTEN, 0))


def rolled_back(table: Table) -> dict[str, Snapshot]:
    """Runs whose snapshots the table still has, and which its current state does not come from: their rows are not in
    it, whatever its properties say, which no engine rolls back.

    Where an ancestor has expired, which some engines note as none, those before it are not known to be ancestors, nor
    not to be. They all have lower sequence numbers than what comes after them (table specification, "Sequence
    Numbers"), so what comes after the oldest of the line is none of them.
    """
    known = {snapshot.snapshot_id: snapshot for snapshot in table.metadata.snapshots}
    line: dict[int, Snapshot] = {}
    at = table.current_snapshot()
    while at is not None:
        line[at.snapshot_id] = at
        at = known.get(at.parent_snapshot_id or 0)
    begins = min((snapshot.sequence_number or 0 for snapshot in line.values()), default=-1)
    there = {run_of(snapshot) for snapshot in line.values()}
    return {
        run: snapshot
        for number, snapshot in known.items()
        if number not in line
        and (snapshot.sequence_number or 0) > begins
        and (run := run_of(snapshot)) is not None
        and run not in there
    }


def state_of(table: Table | None) -> State | None:
    current = table.current_snapshot() if table is not None else None
    if table is None or current is None:
        return None
    known = {snapshot.snapshot_id: snapshot for snapshot in table.metadata.snapshots}
    newest: Snapshot | None = current
    while newest is not None and run_of(newest) is None:
        newest = known.get(newest.parent_snapshot_id or 0)
    told = current.summary.additional_properties if current.summary is not None else {}
    return State(
        table.metadata_location,
        current.snapshot_id,
        run_of(newest) if newest is not None else None,
        int(told["total-records"]) if "total-records" in told else None,
        datetime.fromtimestamp(current.timestamp_ms / 1000, UTC),
    )


def refuse_gap(table: Table | None, identifier: tuple[str, str], published: Sequence[str]) -> None:
    if (gap := gap_in(table, identifier, published)) is not None:
        raise gap


def refuse_rollback(table: Table, identifier: tuple[str, str]) -> None:
    """Raises IntegrityError where any run's rows are not in the current state, so that what comes next would stand on
    less than what was there."""
    if back := rolled_back(table):
        raise _rolled_back(identifier, back)


def gap_in(
    table: Table | None, identifier: tuple[str, str], published: Sequence[str]
) -> IntegrityError | None:
    """``table``: None where there is none. Each of these runs is remembered by it and was not rolled back, or is one of
    so many that it has forgotten; else this is the failure."""
    known, forgotten, back = set[str](), 0, dict[str, Snapshot]()
    if table is not None:
        known, forgotten = known_runs(table), forgotten_runs(table)
        back = {run: snapshot for run, snapshot in rolled_back(table).items() if run in set(published)}
    if back:
        return _rolled_back(identifier, back)
    lacks = len(set(published) - known) - forgotten
    if lacks <= 0:
        return None
    return IntegrityError(
        f"The table {'.'.join(identifier)} {'is not there' if table is None else 'lacks rows'}: it lacks "
        f"{counted(lacks, 'run')} that {'was' if lacks == 1 else 'were'} delivered before.",
        hint="Bring the table back: register the last metadata file that it had in the catalogue. If it never had "
        "those runs, because the export was no table then or had another catalogue, set that back; or start a new "
        "export, under a new name and in a namespace of its own.",
    )


def _rolled_back(identifier: tuple[str, str], back: Mapping[str, Snapshot]) -> IntegrityError:
    newest = max(back.values(), key=lambda snapshot: snapshot.sequence_number or 0)
    return IntegrityError(
        f"The table {'.'.join(identifier)} was rolled back: it had {counted(len(back), 'run')} whose rows are not in "
        "its current state.",
        hint=f"Roll it forward again, in the engine that did it: make {newest.snapshot_id} its current snapshot, or "
        "register the last metadata file from before the rollback in the catalogue. If the rows are to stay away, "
        "start a new export, under a new name and in a namespace of its own.",
    )


def run_of(snapshot: Snapshot) -> str | None:
    return snapshot.summary.additional_properties.get(RUN_ID) if snapshot.summary is not None else None


def files_of(table: Table, snapshot: Snapshot) -> Iterator[DataFile]:
    """The data files of one state of a table."""
    for manifest in snapshot.manifests(table.io):
        if manifest.content == ManifestContent.DATA:
            for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True):
                yield entry.data_file


def uses(table: Table, snapshot: Snapshot, folder: str) -> bool:
    """Whether a state of the table has files whose locations begin so."""
    return any(file.file_path.startswith(folder) for file in files_of(table, snapshot))


def used_by(table: Table, states: Sequence[Snapshot]) -> set[str]:
    """The locations of all data files of these states, whose manifests are mostly the same."""
    manifests = {each.manifest_path: each for state in states for each in state.manifests(table.io)}
    return {
        entry.data_file.file_path
        for manifest in manifests.values()
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True)
    }
