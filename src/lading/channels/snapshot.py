"""Snapshots: a drop whose files are also an Iceberg table, one for each tenant and dataset.

Data files, sidecars, manifest, signature and success marker lie in the run's own folder, as the drop writes them. What
publishing adds is one commit of the table, which refers to the data files where they lie: after the manifest and
before the marker.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from lading.channels.drop import Destination, DropChannel
from lading.errors import IntegrityError, StoreDenied
from lading.evidence.records import SHIPPED, Schemas
from lading.export.layout import Layout, Names
from lading.export.tables import table_name
from lading.manifest import sha256
from lading.ports import Document, Encryption, Format, Past, Signer, Types, Written

if TYPE_CHECKING:
    from lading.channels.iceberg import Tables, Wish


FOLLOWED = 100
"""So many of the runs before it stand in a run's commit; all of them are looked for before its rows are read."""


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
    tables = True

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

    def check_past(self, names: Names, past: Past) -> None:
        if self._settings.mode != "full_refresh":  # which has all rows, whatever came before
            table = self._table(names)
            own = {"published": list(past.published), "superseded": _superseded(table, past)}
            self._tables.check_past(_wish(table | own))

    def prepare(self, names: Names, bill: Document, files: Sequence[Written]) -> dict[str, object]:
        commit = super().prepare(names, bill, files)
        destinations: Any = commit["destinations"]
        (resolved,) = destinations
        body = next(text for name, text in resolved["objects"] if name == resolved["manifest"])
        manifest = bill(resolved["url"])
        interval: Any = manifest["interval"]
        supersedes: Any = manifest["supersedes"]
        folder = self._tables.location(resolved["folder"])
        table = self._table(names) | {
            "start": interval["start"],
            "revision": manifest["revision"],
            "supersedes": list(supersedes),
            "folder": folder,
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

    def follow(self, commit: Mapping[str, object], past: Past) -> dict[str, object]:
        table: Any = commit["table"]
        if table["mode"] == "full_refresh":
            return dict(commit)
        own = {"published": list(past.published[-FOLLOWED:]), "superseded": _superseded(table, past)}
        return {**commit, "table": table | own}

    def _identifier(self, names: Names) -> tuple[str, str]:
        return self._settings.namespace, table_name(names.entity, names.major, names.tenant)

    def _table(self, names: Names) -> dict[str, Any]:
        """A run's table, without what only its files tell."""
        settings = self._settings
        return {
            "catalogue": settings.catalogue,
            "identifier": list(self._identifier(names)),
            "owner": owner_of(names.dataset, names.env, self._export, names.tenant, names.major),
            "mode": settings.mode,
            "run_id": names.run_id,
            "start": "1970-01-01T00:00:00Z",
            "revision": 0,
            "supersedes": [],
            "folder": "",
            "published": [],
            "superseded": [],
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
        table: Any = commit.get("table")
        if table is not None and table["catalogue"] != self._settings.catalogue:
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
        table: Any = commit.get("table")
        if super().pointed(commit) or table is None:
            return super().pointed(commit)
        return self._tables.refers(tuple(table["identifier"]), table["folder"])

    def release(self, commit: Mapping[str, object]) -> None:
        """Takes the states with files of the run out of the table's history, but for the current one."""
        table: Any = commit.get("table")
        if table is not None:
            self._tables.release(tuple(table["identifier"]), table["folder"])


def _superseded(table: Mapping[str, Any], past: Past) -> list[list[object]]:
    """Of the runs that one takes the place of: what their files' locations begin with, and how many hold rows."""
    # Those of another major are in another table. Those of a drop are in none, and refused as what it lacks.
    tables: Any = (each["table"] for each in past.superseded if "table" in each)
    return [
        [old["run_id"], old["folder"], sum(1 for _, rows, *_ in old["files"] if rows)]
        for old in tables
        if old["identifier"] == table["identifier"]
    ]


def _wish(table: Any) -> Wish:
    from lading.channels.iceberg import DataObject, Superseded, Wish

    given: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in table.items()
    }
    del given["catalogue"]
    if given.pop("replaced", None):
        raise IntegrityError(
            f"Run {table['run_id']} was committed by a version of Lading that did not note which files it replaces.",
            hint="Publish it with that version.",
        )
    given["files"] = tuple(DataObject(*file) for file in table["files"])
    given["published"] = tuple(table.get("published", ()))
    given["superseded"] = tuple(Superseded(*run) for run in table.get("superseded", ()))
    return Wish(**given)
