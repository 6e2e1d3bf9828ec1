"""Reading a project's files and holding them against each other. Opens nothing that they name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from lading.contract import Contract, load_contract
from lading.documents import Document, expand, load, unknown, validate
from lading.errors import InvalidProject, Problem
from lading.export.definition import Export
from lading.settings import ProjectSettings, load_settings

T = TypeVar("T")


@dataclass(frozen=True)
class ProjectFiles:
    """What the files of a project say, each valid for itself."""

    files: ProjectSettings
    exports: Mapping[str, Export]
    contracts: Mapping[str, Contract]  # by name@major
    documents: Mapping[str, Document] = field(repr=False)  # of exports, by name

    def problems(self) -> Iterator[Problem]:
        """Where they contradict each other, or ask for what this version cannot do."""
        yield from self._unavailable()
        for name in self.exports:
            yield from self._contradictions(name)

    def _unavailable(self) -> Iterator[Problem]:
        """What the files may say and this version cannot do: refused, rather than accepted and ignored."""
        for key in ("catalogues", "plugins"):
            if getattr(self.files.settings, key):
                yield self.files.document.problem(f"{key} are not available in this version", key)

    def _contradictions(self, name: str) -> Iterator[Problem]:
        """Where an export names what is not there."""
        export, document, settings = self.exports[name], self.documents[name], self.files.settings
        if export.contract not in self.contracts:
            yield document.problem(unknown("contract", export.contract, self.contracts), "contract")
        if export.source.connection not in settings.connections:
            yield document.problem(
                unknown("connection", export.source.connection, settings.connections), "source", "connection"
            )
        for index, store in enumerate((export.destination, *export.copies)):
            if store not in settings.stores:
                loc: tuple[str | int, ...] = ("destination",) if index == 0 else ("copies", index - 1)
                yield document.problem(unknown("store", store, settings.stores), *loc)
        if export.source.query and not (self.files.root / export.source.query).is_file():
            yield document.problem(f"there is no file {export.source.query}", "source", "query")
        if any(settings.protected(s) for s in (export.destination, *export.copies) if s in settings.stores):
            yield document.problem(
                "a protected destination needs approvals, which are not available in this version",
                "destination",
            )
        for tenant, own in self.files.tenants.items():
            where = self.files.tenant_documents[tenant]
            if own.destination is not None and own.destination not in settings.stores:
                yield where.problem(unknown("store", own.destination, settings.stores), "destination")
            if own.contract_major:
                yield where.problem("contract_major is not available in this version", "contract_major")


def read_files(root: Path, environ: Mapping[str, str], overrides: Mapping[str, object]) -> ProjectFiles:
    """Every file of the project in ``root``. Raises InvalidProject with every problem found."""
    if not (root / "lading.yaml").is_file():
        raise InvalidProject(
            f"There is no lading.yaml in {root.resolve()}.",
            hint="Go to the project's folder, name it with --project, or make one: lading init.",
        )
    problems: list[Problem] = []
    files = gathered(problems, lambda: load_settings(root, environ, overrides))
    contracts = _contracts(root, problems)
    exports, documents = _exports(root, environ, problems)
    if files is not None:
        found = ProjectFiles(files, exports, contracts, documents)
        problems.extend(found.problems())
        if not problems:
            return found
    raise InvalidProject(problems=problems)


def gathered(problems: list[Problem], read: Callable[[], T]) -> T | None:
    """What ``read`` gives; None, and its problems added to the others, where it finds any."""
    try:
        return read()
    except InvalidProject as error:
        problems.extend(error.problems or [Problem("lading.yaml", 0, error.message)])
        return None


def _contracts(root: Path, problems: list[Problem]) -> dict[str, Contract]:
    found: dict[str, Contract] = {}
    for path in sorted((root / "contracts").glob("*.y*ml")):
        contract: Contract | None = gathered(problems, lambda p=path: load_contract(p, root))  # type: ignore[misc]
        if contract is None:
            continue
        key = f"{contract.name}@{contract.major}"
        if key in found:
            problems.append(Problem(contract.path, 0, f"{key} is in {found[key].path} already"))
        found[key] = contract
    return found


def _exports(
    root: Path, environ: Mapping[str, str], problems: list[Problem]
) -> tuple[dict[str, Export], dict[str, Document]]:
    exports: dict[str, Export] = {}
    documents: dict[str, Document] = {}
    for path in sorted((root / "exports").glob("*.y*ml")):
        document: Document | None = gathered(problems, lambda p=path: expand(load(p, root), environ))  # type: ignore[misc]
        if document is None:
            continue
        export: Export | None = gathered(problems, lambda d=document: validate(Export, d))  # type: ignore[misc]
        if export is None:
            continue
        if export.name in exports:
            problems.append(
                document.problem(f'"{export.name}" is in {documents[export.name].path} already', "name")
            )
        exports[export.name], documents[export.name] = export, document
    return exports, documents
