"""What a table of Iceberg no longer has: states that are too old, and what lies in the store for them alone."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from pyiceberg.table import Table, Transaction
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update.snapshot import ExpireSnapshots

from lading.channels.iceberg_io import Files, remove
from lading.channels.iceberg_state import files_of


def expire(transaction: Transaction, history: timedelta) -> list[int]:
    """Takes the states that are older than that out of the table, with this commit. Returns their ids."""
    oldest = (datetime.now(UTC) - history).timestamp() * 1000
    metadata = transaction.table_metadata
    kept = {ref.snapshot_id for ref in metadata.refs.values()}
    ids = [s.snapshot_id for s in metadata.snapshots if s.timestamp_ms < oldest and s.snapshot_id not in kept]
    if ids:
        ExpireSnapshots(transaction).by_ids(ids).commit()
    return ids


def forget(files: Files, table: Table, before: Sequence[Snapshot], ids: Sequence[int]) -> None:
    """Removes what only states had that were just taken out: manifests, and files that merging wrote."""
    if not ids:
        return
    gone = [s for s in before if s.snapshot_id in ids]
    kept = sorted(table.metadata.snapshots, key=lambda s: s.sequence_number or 0)
    if all(later.parent_snapshot_id == s.snapshot_id for s, later in itertools.pairwise(kept)):
        kept = kept[:1]  # what no longer is in the oldest never comes back in those that follow it
    used = {m.manifest_path for s in kept for m in s.manifests(table.io)}
    live = {file.file_path for s in kept for file in files_of(table, s)}
    manifests = {
        m.manifest_path: m for s in gone for m in s.manifests(table.io) if m.manifest_path not in used
    }
    own = f"{table.location().rstrip('/')}/data/"
    written = {
        entry.data_file.file_path
        for manifest in manifests.values()
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=False)
        if entry.data_file.file_path.startswith(own)
    }
    lists = (s.manifest_list for s in gone)
    remove(files, [*sorted(written - live), *lists, *manifests])
