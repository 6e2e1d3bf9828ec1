"""Where concrete adapters are named and put together. Nothing below this module knows which ones there are."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from lading.documents import Document, Loc, unknown, validate
from lading.errors import InvalidProject, Problem
from lading.export.layout import segment
from lading.journal.log import Journal
from lading.ports import Format, Keys, Source, Store, Transform
from lading.settings import ProjectSettings, Settings


@dataclass(frozen=True, slots=True)
class Adapter:
    """Where an adapter and its options live; imported when it is used.

    ``extra`` is what brings its dependencies, ``needs`` what its factory takes beside its options.
    """

    module: str
    factory: str
    options: str
    extra: str = ""
    needs: Literal["", "store", "root"] = ""


SOURCES: Mapping[str, Adapter] = {
    "postgres": Adapter("lading.sources.postgres", "PostgresSource", "PostgresOptions", extra="postgres"),
    "embedded": Adapter(
        "lading.sources.embedded", "EmbeddedSource", "EmbeddedOptions", extra="embedded", needs="root"
    ),
    "files": Adapter("lading.sources.files", "FilesSource", "FilesOptions", needs="store"),
}
FORMATS: Mapping[str, Adapter] = {
    "parquet": Adapter("lading.formats.parquet", "ParquetFormat", "ParquetOptions"),
    "jsonl": Adapter("lading.formats.jsonl", "JsonlFormat", "JsonlOptions"),
    "csv": Adapter("lading.formats.csv", "CsvFormat", "CsvOptions"),
    "arrow": Adapter("lading.formats.arrow", "ArrowFormat", "ArrowOptions"),
}
TRANSFORMS: Mapping[str, tuple[str, str]] = {
    "select": ("lading.transforms.select", "Select"),
    "exclude": ("lading.transforms.select", "Exclude"),
    "rename": ("lading.transforms.select", "Rename"),
    "mask": ("lading.transforms.mask", "Mask"),
    "consent": ("lading.transforms.consent", "Consent"),
}
# Keys of a section that are not its adapter's own.
_OF_FORMATS, _OF_STORES = ("type", "max_file_size"), ("protected",)


class MemoryOptions(BaseModel):
    """A store that goes with the process."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str


def _load(adapter: Adapter, name: str) -> Any:
    try:
        return getattr(importlib.import_module(adapter.module), name)
    except ModuleNotFoundError as error:
        if not adapter.extra or str(error.name).startswith("lading"):
            raise
        raise InvalidProject(
            f"{adapter.factory} needs the package {error.name}, which is not installed.",
            hint=f"Install Lading with its extra: pip install '.[{adapter.extra}]' in the checkout.",
        ) from error


def choose(kinds: Mapping[str, Any], kind: object, document: Document, at: Loc, what: str) -> Any:
    """The adapter of that name, or InvalidProject with its place and the nearest name."""
    if isinstance(kind, str) and kind in kinds:
        return kinds[kind]
    raise InvalidProject(problems=[document.problem(unknown(what, kind, kinds), *at, "type")])


@contextmanager
def _placed(document: Document, *at: str | int) -> Iterator[None]:
    """What is refused without a place in a file is refused with this one."""
    try:
        yield
    except InvalidProject as error:
        if error.problems:
            raise
        raise InvalidProject(problems=[document.problem(str(error), *at)]) from error


def _options(
    adapter: Adapter,
    document: Document,
    at: Loc,
    ours: tuple[str, ...],
    extra: Mapping[str, Any] | None = None,
) -> BaseModel:
    section: Any = document.data
    for key in at:
        section = section[key]
    own = {key: value for key, value in section.items() if key not in ours}
    model: type[BaseModel] = _load(adapter, adapter.options)
    return validate(model, document, at, {**own, **(extra or {})}, known=ours)


def open_format(document: Document, version: str) -> Format:
    """The format of an export; ``version`` is its contract's, for formats that carry it."""
    at: Loc = ("format",)
    if "format" not in document.data:
        return format_of({"type": "parquet"})
    section = document.data["format"]
    adapter = choose(FORMATS, section.get("type"), document, at, "format")
    extra = {"schema_version": version} if section.get("schema_version_column") else None
    made: Format = _load(adapter, adapter.factory)(_options(adapter, document, at, _OF_FORMATS, extra))
    return made


def format_of(section: Mapping[str, Any]) -> Format:
    """The format that a manifest describes. Raises ValueError for one that this version does not know."""
    if section.get("type") not in FORMATS:
        raise ValueError(f"this version does not know the format {section.get('type')!r}")
    adapter = FORMATS[section["type"]]
    own = {key: value for key, value in section.items() if key not in _OF_FORMATS}
    made: Format = _load(adapter, adapter.factory)(_load(adapter, adapter.options).model_validate(own))
    return made


def open_transforms(document: Document) -> list[Transform]:
    """The transforms of an export, in their order. Raises InvalidProject with every problem, each with its line."""
    made: list[Transform] = []
    problems: list[Problem] = []
    for index, entry in enumerate(document.data.get("transforms", ())):
        at: Loc = ("transforms", index)
        try:
            made.append(_transform(entry, document, at))
        except InvalidProject as error:
            problems.extend(error.problems)
    if problems:
        raise InvalidProject(problems=problems)
    return made


def _transform(entry: object, document: Document, at: Loc) -> Transform:
    if not isinstance(entry, Mapping) or len(entry) != 1:
        raise InvalidProject(
            problems=[document.problem("a transform is a mapping of its one name to its settings", *at)]
        )
    name, value = next(iter(entry.items()))
    if name not in TRANSFORMS:
        raise InvalidProject(problems=[document.problem(unknown("transform", name, TRANSFORMS), *at, name)])
    module, factory = TRANSFORMS[name]
    try:
        made: Transform = getattr(importlib.import_module(module), factory).parse(value)
    except ValueError as error:
        told = str(error) if str(error).startswith(name) else f"{name}: {error}"
        raise InvalidProject(problems=[document.problem(told, *at, name)]) from error
    return made


class Workshop:
    """Opens a project's connections and stores, each once."""

    def __init__(self, files: ProjectSettings) -> None:
        self._files = files
        self._stores: dict[str, Store] = {}
        self._sources: dict[str, Source] = {}
        self._keys: Keys | None = None

    def store(self, name: str) -> Store:
        """A store of lading.yaml, with retry and limits around it where it is reached over a network."""
        if name not in self._stores:
            if name not in self._files.settings.stores:
                raise InvalidProject(f"{unknown('store', name, self._files.settings.stores)}, in lading.yaml")
            self._stores[name] = self._open_store(self._files.document, ("stores", name))
        return self._stores[name]

    def _open_store(self, document: Document, at: Loc) -> Store:
        section: Any = document.data
        for key in at:
            section = section[key]
        return open_store(document, at, str(section["url"]), self._files.root, self._files.settings)

    def source(self, name: str) -> Source:
        if name not in self._sources:
            adapter, options = self._connection(name)
            make = _load(adapter, adapter.factory)
            if adapter.needs == "store":
                self._sources[name] = make(
                    options, self.store(self._files.settings.connections[name]["store"])
                )
            elif adapter.needs == "root":
                self._sources[name] = make(options, self._files.root)
            else:
                self._sources[name] = make(options)
        return self._sources[name]

    def _connection(self, name: str) -> tuple[Adapter, BaseModel]:
        """The adapter of a connection, and its options. Raises InvalidProject with their places."""
        connections, stores = self._files.settings.connections, self._files.settings.stores
        if name not in connections:
            raise InvalidProject(f"{unknown('connection', name, connections)}, in lading.yaml")
        document, at, section = self._files.document, ("connections", name), connections[name]
        adapter: Adapter = choose(SOURCES, section["type"], document, at, "kind of connection")
        ours = ("type", "store") if adapter.needs == "store" else ("type",)
        with _placed(document, *at, "type"):
            options = _options(adapter, document, at, ours)
        if adapter.needs == "store":
            store = section.get("store")
            if not isinstance(store, str):
                problem = document.problem(f"connections.{name}.store is missing: it names a store", *at)
                raise InvalidProject(problems=[problem])
            if store not in stores:
                raise InvalidProject(
                    problems=[document.problem(unknown("store", store, stores), *at, "store")]
                )
        return adapter, options

    def check_source(self, name: str) -> None:
        """Raises InvalidProject where `source` would, with the place. Connects to nothing and starts nothing."""
        adapter, _ = self._connection(name)
        if adapter.needs != "root":  # making this one starts a server
            with _placed(self._files.document, "connections", name):
                self.source(name)

    def check_store(self, name: str) -> None:
        """Raises InvalidProject where `store` would, with the place. Connects to nothing."""
        with _placed(self._files.document, "stores", name):
            self.store(name)

    def check_limits(self) -> None:
        """Raises InvalidProject for wrong settings of `limit` and `retry`."""
        _limits(self._files.document, self._files.settings)

    def check_keys(self) -> None:
        """Raises InvalidProject where `keys` would."""
        open_keys(self._files)

    def journal(self) -> Journal:
        """The journal of this project in this environment: others may share its store, and are not seen."""
        from lading.stores.within import Within

        settings = self._files.settings
        folder = f"{segment(settings.name)}/{segment(settings.environment)}/"
        return Journal(Within(self.store(settings.journal), folder), settings.lease.total_seconds())

    def keys(self) -> Keys:
        if self._keys is None:
            self._keys = open_keys(self._files)
        return self._keys


def open_store(document: Document, at: Loc, url: str, root: Path, settings: Any) -> Store:
    """The store of a section: a folder, memory, or a bucket behind limits and retry."""
    if url.startswith("memory://"):
        from lading.stores.memory import MemoryStore

        _options(Adapter("lading.assemble", "", "MemoryOptions"), document, at, _OF_STORES)
        return MemoryStore(url)
    scheme = url.partition("://")[0] if "://" in url else "file"
    if scheme == "file":
        from lading.stores.local import LocalStore

        adapter = Adapter("lading.stores.local", "LocalStore", "LocalOptions")
        local: Any = _options(adapter, document, at, _OF_STORES)
        return LocalStore(local.folder(root), durable=local.durable)
    from lading.stores.limit import LimitStore
    from lading.stores.object import ObjectStore
    from lading.stores.retry import RetryStore

    bucket: Any = _options(
        Adapter("lading.stores.object_options", "", "ObjectOptions"), document, at, _OF_STORES
    )
    limit, retry = _limits(document, settings)
    return RetryStore(LimitStore(ObjectStore(bucket), **limit), **retry)


def _limits(document: Document, settings: Settings) -> tuple[dict[str, Any], dict[str, Any]]:
    """How hard stores may be driven, and how they are asked again."""
    from lading.stores.limit import LimitOptions
    from lading.stores.retry import RetryOptions

    limit = validate(LimitOptions, document, ("limit",), settings.limit)
    retry = validate(RetryOptions, document, ("retry",), settings.retry)
    return limit.model_dump(), retry.model_dump()


def open_keys(files: ProjectSettings) -> Keys:
    """The keyring. Raises InvalidProject where the project has none."""
    section = files.settings.keys
    if section is None:
        raise InvalidProject(
            problems=[
                Problem(files.document.path, 0, "hmac_sha256 needs a keyring: keys: {url: file://./keys}")
            ]
        )
    others = set(section) - {"url"}
    url = section.get("url")
    if others or not isinstance(url, str) or not url.startswith("file://"):
        raise InvalidProject(
            problems=[files.document.problem("keys takes a url of a folder, such as file://./keys", "keys")]
        )
    from lading.keys.file import FileKeyring

    return FileKeyring(files.root / url.removeprefix("file://"))
