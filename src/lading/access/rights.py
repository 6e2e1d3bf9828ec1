"""What Lading asks of a store: which requests, on which names. From the definitions of all exports that deliver there.

The requests are those of `channels/drop.py`, `journal/log.py` and `stores/probe.py`; `docs/commit-protocol.md` says
what a store must offer.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lading.assemble import journal_folder
from lading.errors import InvalidProject
from lading.export.definition import Export
from lading.export.layout import Layout, segment
from lading.export.tables import FOLDER as TABLES
from lading.export.tables import namespace_of, table_name
from lading.history import DEFAULT_TENANT
from lading.project_files import ProjectFiles
from lading.stores.probe import FOLDER

ANY = "*"
TEST = f"{FOLDER}/*"

DAYS_OF_UPLOADS = 7
DAYS_OF_REMOVED = 30
DAYS_OF_TESTS = 1
TIERS = (30, 90, 365)


@dataclass(frozen=True, slots=True)
class Delivery:
    """Where the deliveries of one export lie in the store."""

    export: str
    prefix: str  # all their names begin so
    pointed: bool  # by a full refresh's pointer, or by a table: what it names must stay as it is, however old


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of one export in a catalogue: all their names match ``pattern``."""

    catalogue: str
    namespace: str
    pattern: str


@dataclass(frozen=True, slots=True)
class Rights:
    """Names that each request is made on, relative to the store; ``*`` stands for any text, slashes too."""

    write: tuple[str, ...] = ()  # created, and put again
    upload: tuple[str, ...] = ()  # those that are sent in parts, which are also given up
    read: tuple[str, ...] = ()
    list: tuple[str, ...] = ()  # prefixes of listings
    delete: tuple[str, ...] = ()
    absent: bool = False  # what is not there has to be told from what may not be read
    journal: str = ""  # the journal's folder, where this store keeps one
    deliveries: tuple[Delivery, ...] = ()
    tables: tuple[Tables, ...] = ()  # whose files lie here


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command's options say."""

    principal: str | None = None  # the exporter, as the provider names it
    write_only: bool = False  # neither list nor delete
    archive: bool = False  # the tier whose objects nobody reads at once
    delete_after: int | None = None  # days after which deliveries go

    def __post_init__(self) -> None:
        if self.delete_after is not None and self.delete_after < 1:
            raise InvalidProject("--delete-after takes whole days, 1 or more.")


@dataclass(frozen=True, slots=True)
class Paper:
    """One document for the provider."""

    file: str  # what to call it
    title: str
    apply: str  # the provider's own command
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Papers:
    """All documents of one store."""

    provider: str
    papers: tuple[Paper, ...]
    fill_in: Mapping[str, str] = field(default_factory=dict)  # words in them that only the reader knows
    notes: tuple[str, ...] = ()


def rights(project: ProjectFiles, store: str, *, write_only: bool = False) -> Rights:
    """What is asked of a store. Raises InvalidProject where nothing is, or where it cannot be had ``write_only``."""
    settings = project.files.settings
    found: dict[str, dict[str, None]] = {
        name: {} for name in ("write", "upload", "read", "list", "delete")
    }  # in order, each once
    deliveries: dict[Delivery, None] = {}
    tables: dict[Tables, None] = {}
    pointed = False
    for name in sorted(project.exports):
        export = project.exports[name]
        if export.channel == "snapshot" and settings.tables_store(export.destination) == store:
            if write_only:
                raise InvalidProject(
                    f"{name} makes tables in {store}, whose files it reads, lists and deletes.",
                    hint="Leave out --write-only.",
                )
            tables[_tables(project, export)] = None
            for folder in _of_tables(found, project, export):
                deliveries[Delivery(name, folder.partition(ANY)[0], True)] = None
            pointed = pointed or export.mode == "full_refresh"
        for each, tenant in itertools.product(export.versions(), _tenants(project, export, store)):
            if write_only and export.channel == "bundle":
                raise InvalidProject(
                    f"{name} delivers bundles, of which {store} must allow to read and delete what is staged.",
                    hint="Leave out --write-only.",
                )
            if write_only and export.keep is not None:
                raise InvalidProject(
                    f"{name} keeps {export.keep} deliveries, so it lists and deletes what it wrote to {store}.",
                    hint="Leave out --write-only, or keep.",
                )
            _of_deliveries(found, project, each, tenant, write_only=write_only)
            pointed = pointed or export.mode == "full_refresh"
            folder, _ = _patterns(project, each, tenant)
            deliveries[Delivery(name, folder.partition(ANY)[0], export.mode == "full_refresh")] = None
    journal = ""
    if store == settings.journal:
        if write_only:
            raise InvalidProject(
                f"{store} keeps the journal, which is read and listed.", hint="Leave out --write-only."
            )
        journal = journal_folder(settings)
        for what in ("write", "read", "list"):
            found[what][f"{journal}*"] = None
    if not found["write"]:
        raise InvalidProject(
            f"No export delivers to {store}, and it keeps no journal: nothing is asked of it.",
            hint="Name a destination, or copy, of an export, or the journal's store.",
        )
    for what in ("write", "delete", *(("read", "list") if journal else ())):
        if not (write_only and what == "delete"):
            found[what][TEST] = None
    return Rights(
        **{what: tuple(patterns) for what, patterns in found.items()},
        absent=pointed or bool(journal),
        journal=journal,
        deliveries=tuple(deliveries),
        tables=tuple(tables),
    )


def _of_deliveries(
    found: Mapping[str, dict[str, None]],
    project: ProjectFiles,
    export: Export,
    tenant: str,
    *,
    write_only: bool,
) -> None:
    folder, pointer = _patterns(project, export, tenant)
    asked: dict[str, list[str]] = {
        "write": [folder],
        "upload": [folder],
        "read": [],
        "list": [],
        "delete": [],
    }
    if not write_only:
        asked["list"].append(folder)
        asked["delete"].append(folder)
    if (
        export.channel == "bundle"
    ):  # made of what was staged for it, which is removed before its marker is put
        asked["read"].append(folder)
    if export.mode == "full_refresh":
        layout: Layout = export.paths()
        asked["write"].append(pointer)
        asked["read"].append(pointer)
        if layout.shares_pointer:  # the manifest that it names says whose it is
            asked["read"].append(f"{folder}/manifest_*.json")
    if export.immutable_rows and not write_only:
        asked["read"].append(folder)  # finished parts are copied from the attempt before
    for what, patterns in asked.items():
        for pattern in patterns:
            found[what][pattern] = None


def _tables(project: ProjectFiles, export: Export) -> Tables:
    settings = project.files.settings
    given = settings.catalogues[export.destination].get("namespace")
    namespace = str(given) if given is not None else namespace_of(settings.name, settings.environment)
    name = table_name(export.contract_name, export.contract_major, "" if export.tenants else DEFAULT_TENANT)
    pattern = f"{name.removesuffix('_z')}{ANY}" if export.tenants else name
    return Tables(export.destination, namespace, pattern)


def _of_tables(
    found: Mapping[str, dict[str, None]], project: ProjectFiles, export: Export
) -> tuple[str, str]:
    """What the tables of an export ask for; the folders of its runs, whose files are theirs, and of the tables."""
    folder, pointer = _patterns(project, export, ANY if export.tenants else segment(DEFAULT_TENANT))
    named = _tables(project, export)
    tables = f"{TABLES}/{named.namespace.replace('.', '/')}/{named.pattern}"
    if not tables.endswith(ANY):
        tables = f"{tables}/{ANY}"
    for what in found:
        for pattern in (folder, tables):
            found[what][pattern] = None
    if export.mode == "full_refresh":
        found["write"][pointer] = None
        found["read"][pointer] = None
    return folder, tables


def _tenants(project: ProjectFiles, export: Export, store: str) -> Iterator[str]:
    """The tenants of an export that get deliveries in a store, as parts of a path; `ANY` for whoever comes. Of tables,
    none: those are in a catalogue."""
    if export.channel == "snapshot":
        return
    if store in (export.destination, *export.copies):
        yield ANY if export.tenants else segment(DEFAULT_TENANT)
    elif export.tenants:
        yield from sorted(segment(t.tenant) for t in project.files.tenants.values() if t.destination == store)


def _patterns(project: ProjectFiles, export: Export, tenant: str) -> tuple[str, str]:
    """What the names of an export's deliveries to a tenant match, and its pointer."""
    settings, layout = project.files.settings, export.paths()
    who: dict[str, Any] = {
        "env": settings.environment,
        "dataset": settings.name,
        "entity": project.contracts[export.contract].name,
        "major": export.contract_major,
    }
    parts = [_pattern(part, tenant) for part in layout.template(**who).split("/")]
    while parts and parts[-1] == ANY:
        parts.pop()
    pointer = layout.pointer_template(export.name, **who)
    return "/".join((*parts, ANY)), pointer.replace("{tenant}", tenant)


def _pattern(part: str, tenant: str) -> str:
    known = part.replace("{tenant}", tenant)
    return ANY if "{" in known else known


# --- lifecycles ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lifecycle:
    """What a provider's rules say of a store: prefixes, relative to it."""

    tiers: tuple[str, ...] = ()
    archived: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()  # where the versions of what was deleted end
    ended: tuple[str, ...] = ()  # where deliveries end, after `Wishes.delete_after`
    notes: tuple[str, ...] = ()


def lifecycle(asked: Rights, wishes: Wishes, root: str, others: Mapping[str, str]) -> Lifecycle:
    """``root``: how the store's names begin in its bucket. ``others``: what else lies in that bucket and must stay, by
    how its names begin.

    Raises InvalidProject where what is wished for would take away what must stay.
    """
    prefixes = outermost(each.prefix for each in asked.deliveries)
    notes: list[str] = []
    spared: list[str] = []
    for prefix in prefixes:
        whole = root + prefix
        inside = [what for at, what in others.items() if at.startswith(whole) or whole.startswith(at)]
        if inside and (wishes.archive or wishes.delete_after):
            raise InvalidProject(
                f'{inside[0]} lies within "{whole or "/"}", as deliveries do: rules for these would take it along.',
                hint="Give it a bucket or a prefix of its own, or leave out --archive and --delete-after.",
            )
        if inside:
            notes.append(f'"{whole or "/"}" gets no rules by age: {inside[0]} lies within it.')
            spared.append(prefix)
    plain = tuple(prefix for prefix in prefixes if prefix not in spared)
    pointed = {each.prefix for each in asked.deliveries if each.pointed}
    kept = tuple(p for p in plain if not any(q.startswith(p) or p.startswith(q) for q in pointed))
    if pointed and (wishes.archive or wishes.delete_after):
        names = ", ".join(sorted({each.export for each in asked.deliveries if each.pointed}))
        notes.append(
            f"Neither --archive nor --delete-after reaches deliveries beside full refreshes and tables ({names}): what "
            "is current must stay readable however old it is. keep: N removes older full refreshes."
        )
    return Lifecycle(
        tiers=plain,
        archived=kept if wishes.archive else (),
        removed=plain,
        ended=kept if wishes.delete_after else (),
        notes=tuple(notes),
    )


def outermost(prefixes: Iterable[str]) -> tuple[str, ...]:
    """Those that lie in none of the others."""
    found = sorted(set(prefixes))
    return tuple(p for p in found if not any(p != q and p.startswith(q) for q in found))
