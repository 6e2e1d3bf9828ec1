"""Reading a project's files and holding them against each other. Opens nothing that they name."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from lading.contract import Contract, load_contract
from lading.contract.compatibility import history, in_use, version_order
from lading.documents import Document, expand, load, unknown, validate
from lading.errors import InvalidProject, Problem
from lading.export.definition import Export
from lading.settings import ProjectSettings, load_settings

T = TypeVar("T")


@dataclass(frozen=True)
class ProjectFiles:
    """What the files of a project say: settings, and every contract and export that can be used."""

    files: ProjectSettings
    exports: Mapping[str, Export]
    contracts: Mapping[str, Contract]  # by name@major
    documents: Mapping[str, Document] = field(repr=False)  # of exports, by name
    broken: Mapping[str, tuple[Problem, ...]] = field(
        default_factory=dict
    )  # exports that cannot be used, and why
    unread: tuple[Problem, ...] = ()  # of contracts

    def unavailable(self) -> Iterator[Problem]:
        """What the files may say and this version cannot do: refused, rather than accepted and ignored."""
        if self.files.settings.plugins:
            yield self.files.document.problem("plugins are not available in this version", "plugins")

    def contradictions(self, name: str, damaged: Container[str]) -> Iterator[Problem]:
        """Where an export names what is not there. ``damaged``: contracts that are there, and wrong: their own problems
        tell of them."""
        export, document, settings = self.exports[name], self.documents[name], self.files.settings
        for each, at in zip(export.versions(), (("contract",), ("beside", "contract")), strict=False):
            if each.contract not in self.contracts and each.contract not in damaged:
                yield document.problem(unknown("contract", each.contract, self.contracts), *at)
        if export.source.connection not in settings.connections:
            yield document.problem(
                unknown("connection", export.source.connection, settings.connections), "source", "connection"
            )
        snapshot = export.channel == "snapshot"
        if snapshot and export.destination not in settings.catalogues:
            yield document.problem(
                unknown("catalogue", export.destination, settings.catalogues), "destination"
            )
        stores = () if snapshot else (export.destination, *export.copies)
        for index, store in enumerate(stores):
            if store not in settings.stores:
                loc: tuple[str | int, ...] = ("destination",) if index == 0 else ("copies", index - 1)
                yield document.problem(unknown("store", store, settings.stores), *loc)
        if snapshot:
            stores = tuple(s for s in (settings.tables_store(export.destination),) if s is not None)
        if export.source.query and not (self.files.root / export.source.query).is_file():
            yield document.problem(f"there is no file {export.source.query}", "source", "query")
        for tenant, own in self.files.tenants.items():
            where = self.files.tenant_documents[tenant]
            if own.destination is not None and snapshot and export.tenants:
                reason = f"{export.name} is a snapshot, whose tenants' tables are all in its own catalogue"
                yield where.problem(reason, "destination")
            elif own.destination is not None and own.destination not in settings.stores:
                yield where.problem(unknown("store", own.destination, settings.stores), "destination")
            if own.contract_major:
                yield where.problem("contract_major is not available in this version", "contract_major")


def read_files(root: Path, environ: Mapping[str, str], overrides: Mapping[str, object]) -> ProjectFiles:
    """Every file of the project in ``root``.

    A file of `exports/` or `contracts/` that is wrong stops the exports that need it and no other. Raises
    InvalidProject with every problem found where something concerns all of them (settings, tenants, a name that is
    there twice), or where no export is left.
    """
    if not (root / "lading.yaml").is_file():
        raise InvalidProject(
            f"There is no lading.yaml in {root.resolve()}.",
            hint="Go to the project's folder, name it with --project, or make one: lading init.",
        )
    problems: list[Problem] = []
    unread: list[Problem] = []
    files = gathered(problems, lambda: load_settings(root, environ, overrides))
    contracts = _contracts(root, problems, unread)
    exports, documents, broken = _exports(root, environ, problems)
    if files is not None:
        found = ProjectFiles(files, exports, contracts, documents)
        problems.extend(found.unavailable())
        named = {each.contract for export in exports.values() for each in export.versions()}
        damaged = _damaged(root, unread, named - contracts.keys())
        for name, export in exports.items():
            wrong = list(found.contradictions(name, damaged))
            # A contract that cannot be read may be the one that is missing.
            missing = any(each.contract not in contracts for each in export.versions())
            if wrong or missing:
                broken[name] = [*wrong, *(unread if missing else ())]
    usable = exports.keys() - broken.keys()
    told = [*problems, *unread, *(problem for each in broken.values() for problem in each)]
    if files is None or problems or (told and not usable):
        raise InvalidProject(problems=list(dict.fromkeys(told)))
    return ProjectFiles(
        files,
        {name: exports[name] for name in exports if name in usable},
        contracts,
        {name: documents[name] for name in documents if name in usable},
        {name: tuple(each) for name, each in broken.items()},
        tuple(unread),
    )


def gathered(problems: list[Problem], read: Callable[[], T]) -> T | None:
    """What ``read`` gives; None, and its problems added to the others, where it finds any."""
    try:
        return read()
    except InvalidProject as error:
        problems.extend(error.problems or [Problem("lading.yaml", 0, error.message)])
        return None


def contract_versions(
    root: Path, problems: list[Problem], unread: list[Problem]
) -> dict[str, list[Contract]]:
    """Every contract of the project in ``root`` by name@major, the oldest version of each first.

    ``problems`` gets those of all contracts together, ``unread`` those of single files.
    """
    found: dict[str, dict[object, Contract]] = {}
    for path in sorted((root / "contracts").glob("*.y*ml")):
        contract: Contract | None = gathered(unread, lambda p=path: load_contract(p, root))  # type: ignore[misc]
        if contract is None:
            continue
        versions = found.setdefault(f"{contract.name}@{contract.major}", {})
        there = versions.setdefault(version_order(contract.version), contract)
        if there is not contract:
            reason = f"version {contract.version} of {contract.name} is in {there.path} already"
            problems.append(Problem(contract.path, contract.lines.get("version", 0), reason))
    return {name: [versions[each] for each in sorted(versions)] for name, versions in found.items()}  # type: ignore[type-var]


def named_contract(root: Path, name: str) -> Contract:
    """A contract by its file, or of the project in ``root``: ``flights@1`` is the version of that major in use,
    ``flights@1.2.0`` that very version. Raises InvalidProject."""
    entity, at, version = name.partition("@")
    if not at or "/" in name or name.endswith((".yaml", ".yml")):
        return load_contract(Path(name))
    problems: list[Problem] = []
    unread: list[Problem] = []
    majors = contract_versions(root, problems, unread)
    every = [each for versions in majors.values() for each in versions]
    exact = [e for e in every if (e.name, version_order(e.version)) == (entity, version_order(version))]
    if not problems and (name in majors or exact):
        return in_use(majors.get(name, exact))
    known = {*majors, *(f"{each.name}@{each.version}" for each in every)}
    missing = Problem(f"{(root / 'contracts').as_posix()}/", 0, unknown("contract", name, known))
    raise InvalidProject(
        problems=problems or [missing, *unread],
        hint=None if problems else "A file's name will do as well.",
    )


def _contracts(root: Path, problems: list[Problem], unread: list[Problem]) -> dict[str, Contract]:
    """The version of each major that exports deliver under. One that breaks an earlier version of its major is none:
    what recipients were promised would change under their hands."""
    found: dict[str, Contract] = {}
    for name, versions in contract_versions(root, problems, unread).items():
        broken = [problem for each in history(versions) for problem in each.problems()]
        unread.extend(broken)
        if not broken:
            found[name] = in_use(versions)
    return found


def _damaged(root: Path, unread: Iterable[Problem], missing: Iterable[str]) -> set[str]:
    """Of the contracts that are ``missing``, by name@major, those whose file is there and cannot be used."""
    declared = {_declared_contract(root, file) for file in {problem.file for problem in unread}}
    return {each for each in missing if each in declared or each.partition("@")[0] in declared}


def _declared_contract(root: Path, file: str) -> str:
    """The name@major that a file gives its contract, whatever else is wrong with it; the name alone where that is all
    that it tells. One without any is taken for what it is called by: `orders.v1.odcs.yaml`."""
    raw: Document | None = gathered([], lambda: load(root / file))
    data = raw.data if raw is not None and isinstance(raw.data, Mapping) else {}
    name, called = _declared(raw), Path(file).name.split(".")
    major = re.match(r"v?([0-9]+)", str(data.get("version", "")))
    if name is None:
        name, major = called[0], major or re.fullmatch("v([0-9]+)", called[1])
    return f"{name}@{int(major[1])}" if major else name


def _exports(
    root: Path, environ: Mapping[str, str], problems: list[Problem]
) -> tuple[dict[str, Export], dict[str, Document], dict[str, list[Problem]]]:
    """Exports and their documents by name, and the problems of those that are not valid for themselves.

    ``problems`` gets names that are there twice. A file that names no export is taken for the one that it is called by.
    """
    exports: dict[str, Export] = {}
    documents: dict[str, Document] = {}
    broken: dict[str, list[Problem]] = {}
    places: dict[str, str] = {}  # name -> the file that gives it
    for path in sorted((root / "exports").glob("*.y*ml")):
        own: list[Problem] = []
        raw: Document | None = gathered(own, lambda p=path: load(p, root))  # type: ignore[misc]
        document = gathered(own, lambda d=raw: expand(d, environ)) if raw else None  # type: ignore[misc]
        export = gathered(own, lambda d=document: validate(Export, d)) if document else None  # type: ignore[misc]
        name = export.name if export else _declared(raw)
        if raw is not None and name in places:
            problems.append(raw.problem(f'"{name}" is in {places[name]} already', "name"))
        elif raw is not None and name is not None:
            places[name] = raw.path
        if export is not None and document is not None:
            exports[export.name], documents[export.name] = export, document
        else:
            broken.setdefault(name or path.name.partition(".")[0], []).extend(own)
    # What a broken file is called by may be the name that another file gives.
    return exports, documents, {(f"exports/{n}" if n in exports else n): each for n, each in broken.items()}


def _declared(document: Document | None) -> str | None:
    """The name that a file gives its export, whatever else is wrong with it."""
    name = document.data.get("name") if document is not None and isinstance(document.data, Mapping) else None
    return name if isinstance(name, str) else None
