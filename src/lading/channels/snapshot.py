"""Snapshots: a drop whose files are also an Iceberg table, one for each tenant and dataset.

Data files, sidecars, manifest, signature and success marker lie in the run's own folder, as the drop writes them. What
publishing adds is one commit of the table, which refers to the data files where they lie: after the manifest and
before the marker.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from lading.channels.drop import Destination, DropChannel
from lading.errors import StoreDenied
from lading.evidence.records import SHIPPED, Schemas
from lading.export.layout import Layout, Names
from lading.export.tables import table_name
from lading.manifest import sha256
from lading.ports import Document, Encryption, Format, Signer, Types, Written

if TYPE_CHECKING:
    from lading.channels.iceberg import Tables, Wish


@dataclass(frozen=True, slots=True)
class TableSettings:
    """What an export says of its tables, in the names that recipients see. ``catalogue``: its name in lading.yaml."""

    catalogue: str
    namespace: str
    mode: Literal["append", "full_refresh", "incremental"]
    merge_key: tuple[str, ...] = ()
    partition_by: tuple[str, ...] = ()
    sort_by: tuple[str, ...] = ()


def owner_of(project: str, environment: str, export: str, tenant: str, major: int) -> dict[str, object]:
    """Whose a table is, as the table says."""
    return {
        "project": project,
        "environment": environment,
        "export": export,
        "tenant": tenant,
        "major": major,
    }


class SnapshotChannel(DropChannel):
    """``destination``: the store in which the catalogue's tables lie."""

    kind = "snapshot"

    def __init__(
        self,
        tables: Tables,
        settings: TableSettings,
        destination: Destination,
        layout: Layout,
        format: Format,
        types: Types,
        *,
        export: str,
        pointer: bool = False,
        signer: Callable[[], Signer] | None = None,
        encryption: Encryption | None = None,
        records: Schemas = SHIPPED,
        deprecation: Callable[[], Mapping[str, object] | None] = lambda: None,
    ) -> None:
        super().__init__(
            [destination],
            layout,
            format,
            types,
            export=export,
            pointer=pointer,
            signer=signer,
            encryption=encryption,
            records=records,
            deprecation=deprecation,
        )
        self._tables, self._settings = tables, settings

    def check_schema(self, names: Names, schema: pa.Schema) -> None:
        found = self._format.schema(schema, self._types)
        self._tables.check(_wish(self._table(names)), found)

    def prepare(self, names: Names, bill: Document, files: Sequence[Written]) -> dict[str, object]:
        commit = super().prepare(names, bill, files)
        destinations: Any = commit["destinations"]
        (resolved,) = destinations
        body = next(text for name, text in resolved["objects"] if name == resolved["manifest"])
        manifest = bill(resolved["url"])
        interval: Any = manifest["interval"]
        supersedes: Any = manifest["supersedes"]
        full = manifest["kind"] == "full"
        folder, root = self._tables.location(resolved["folder"]), self._tables.location("")
        table = self._table(names) | {
            "start": interval["start"],
            "revision": manifest["revision"],
            "supersedes": list(supersedes),
            "folder": folder,
            "replaced": [
                re.escape(root) + self._layout.attempts(replace(names, run_id=run))[1].pattern
                for run in (supersedes if full else ())
            ],
            "files": [[folder + f.name, f.rows, f.bytes, self._partition(f)] for f in files],
            "told": sorted({column for f in files for column in f.columns}),
            "summary": {
                "lading.interval-start": interval["start"],
                "lading.interval-end": interval["end"],
                "lading.revision": str(manifest["revision"]),
                "lading.manifest": str(commit["manifest"]),
                "lading.manifest-sha256": sha256(body.encode()),
            },
        }
        return {**commit, "table": table}

    def _table(self, names: Names) -> dict[str, Any]:
        """A run's table, without what only its files tell."""
        settings = self._settings
        name = table_name(names.entity, names.major, names.tenant)
        return {
            "catalogue": settings.catalogue,
            "identifier": [settings.namespace, name],
            "owner": owner_of(names.dataset, names.env, self._export, names.tenant, names.major),
            "mode": settings.mode,
            "run_id": names.run_id,
            "start": "1970-01-01T00:00:00Z",
            "revision": 0,
            "supersedes": [],
            "folder": "",
            "replaced": [],
            "files": [],
            "told": [],
            "merge_key": list(settings.merge_key),
            "partition_by": list(settings.partition_by),
            "sort_by": list(settings.sort_by),
            "summary": {},
        }

    def _partition(self, file: Written) -> dict[str, object]:
        """By the names of the table's columns; files know the source's."""
        by = [column.column for column in self._layout.partition_by]
        names = dict(zip(by, self._settings.partition_by, strict=True))
        return {names[column]: value for column, value in file.partition.items()}

    def publish(self, commit: Mapping[str, object], withdrawn: Callable[[], bool]) -> str:
        table: Any = commit["table"]
        if table["catalogue"] != self._settings.catalogue:
            raise StoreDenied(
                f"Run {commit['run_id']} was committed for the catalogue {table['catalogue']!r}, which the export no "
                "longer names.",
                hint="Name it again under destination until the run is published.",
            )
        # A run that is being removed has been replaced in its table: it must not come back there.
        if withdrawn():
            return self._withdraw(commit)
        return super().publish(commit, withdrawn)

    def _before_marker(self, commit: Mapping[str, object]) -> None:
        self._tables.publish(_wish(commit["table"]))

    def _withdraw(self, commit: Mapping[str, object]) -> str:
        self.release(commit)
        return self._manifest_url(commit) if self.pointed(commit) else super()._withdraw(commit)

    def pointed(self, commit: Mapping[str, object]) -> bool:
        """Also while any state of the table that can still be read has files of the run."""
        table: Any = commit["table"]
        return super().pointed(commit) or self._tables.refers(tuple(table["identifier"]), table["folder"])

    def release(self, commit: Mapping[str, object]) -> None:
        """Takes the states with files of the run out of the table's history, but for the current one."""
        table: Any = commit["table"]
        self._tables.release(tuple(table["identifier"]), table["folder"])


def _wish(table: Any) -> Wish:
    from lading.channels.iceberg import DataObject, Wish

    given: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in table.items()
    }
    del given["catalogue"]
    given["files"] = tuple(DataObject(*file) for file in table["files"])
    return Wish(**given)
