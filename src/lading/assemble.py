"""Where concrete adapters are named and put together. Nothing below this module knows which ones there are."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel

from lading.documents import Document, Loc, validate
from lading.errors import InvalidProject, Problem
from lading.export.layout import segment
from lading.journal.log import Journal
from lading.ports import Format, Keys, Source, Store, Transform
from lading.settings import ProjectSettings


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
_OURS = ("type", "protected", "max_file_size", "store")


def _load(adapter: Adapter, name: str) -> Any:
    try:
        return getattr(importlib.import_module(adapter.module), name)
    except ModuleNotFoundError as error:
        if not adapter.extra or str(error.name).startswith("lading"):
            raise
        raise InvalidProject(
            f"{adapter.factory} needs the package {error.name}, which is not installed.",
            hint=f"pip install 'lading[{adapter.extra}]'",
        ) from error


def choose(kinds: Mapping[str, Any], kind: object, document: Document, at: Loc, what: str) -> Any:
    """The adapter of that name, or InvalidProject with its place and the nearest name."""
    if isinstance(kind, str) and kind in kinds:
        return kinds[kind]
    near = difflib.get_close_matches(str(kind), kinds, 1)
    hint = f' – did you mean "{near[0]}"?' if near else f"; there are {', '.join(sorted(kinds))}"
    raise InvalidProject(problems=[document.problem(f'there is no {what} "{kind}"{hint}', *at, "type")])


def _options(
    adapter: Adapter, document: Document, at: Loc, extra: Mapping[str, Any] | None = None
) -> BaseModel:
    section: Any = document.data
    for key in at:
        section = section[key]
    own = {key: value for key, value in section.items() if key not in _OURS}
    model: type[BaseModel] = _load(adapter, adapter.options)
    return validate(model, document, at, {**own, **(extra or {})})


def open_format(document: Document, version: str) -> Format:
    """The format of an export; ``version`` is its contract's, for formats that carry it."""
    at: Loc = ("format",)
    if "format" not in document.data:
        return format_of({"type": "parquet"})
    section = document.data["format"]
    adapter = choose(FORMATS, section.get("type"), document, at, "format")
    extra = {"schema_version": version} if section.get("schema_version_column") else None
    made: Format = _load(adapter, adapter.factory)(_options(adapter, document, at, extra))
    return made


def format_of(section: Mapping[str, Any]) -> Format:
    """The format that a manifest describes. Raises ValueError for one that this version does not know."""
    if section.get("type") not in FORMATS:
        raise ValueError(f"this version does not know the format {section.get('type')!r}")
    adapter = FORMATS[section["type"]]
    own = {key: value for key, value in section.items() if key not in _OURS}
    made: Format = _load(adapter, adapter.factory)(_load(adapter, adapter.options).model_validate(own))
    return made


def open_transforms(document: Document) -> list[Transform]:
    """The transforms of an export, in their order. Raises InvalidProject with file and line."""
    made: list[Transform] = []
    for index, entry in enumerate(document.data.get("transforms", ())):
        at: Loc = ("transforms", index)
        if not isinstance(entry, Mapping) or len(entry) != 1:
            raise InvalidProject(
                problems=[document.problem("a transform is a mapping of its one name to its settings", *at)]
            )
        name, value = next(iter(entry.items()))
        if name not in TRANSFORMS:
            near = difflib.get_close_matches(str(name), TRANSFORMS, 1)
            hint = f' – did you mean "{near[0]}"?' if near else f"; there are {', '.join(TRANSFORMS)}"
            raise InvalidProject(
                problems=[document.problem(f'there is no transform "{name}"{hint}', *at, name)]
            )
        module, factory = TRANSFORMS[name]
        try:
            made.append(getattr(importlib.import_module(module), factory).parse(value))
        except ValueError as error:
            raise InvalidProject(problems=[document.problem(f"{name}: {error}", *at, name)]) from error
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
                raise InvalidProject(_missing("store", name, self._files.settings.stores))
            self._stores[name] = self._open_store(self._files.document, ("stores", name))
        return self._stores[name]

    def _open_store(self, document: Document, at: Loc) -> Store:
        section: Any = document.data
        for key in at:
            section = section[key]
        return open_store(document, at, str(section["url"]), self._files.root, self._files.settings)

    def source(self, name: str) -> Source:
        if name not in self._sources:
            connections = self._files.settings.connections
            if name not in connections:
                raise InvalidProject(_missing("connection", name, connections))
            document, at = self._files.document, ("connections", name)
            section = connections[name]
            adapter = choose(SOURCES, section.get("type"), document, at, "kind of connection")
            make, options = _load(adapter, adapter.factory), _options(adapter, document, at)
            if adapter.needs == "store" and not isinstance(section.get("store"), str):
                problem = document.problem(f"connections.{name}.store is missing: it names a store", *at)
                raise InvalidProject(problems=[problem])
            if adapter.needs == "store":
                self._sources[name] = make(options, self.store(section["store"]))
            elif adapter.needs == "root":
                self._sources[name] = make(options, self._files.root)
            else:
                self._sources[name] = make(options)
        return self._sources[name]

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


def _missing(what: str, name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    hint = (
        f' – did you mean "{near[0]}"?'
        if near
        else (f"; there are {', '.join(sorted(known))}" if known else "")
    )
    return f'lading.yaml has no {what} "{name}"{hint}'


def open_store(document: Document, at: Loc, url: str, root: Path, settings: Any) -> Store:
    """The store of a section: a folder, memory, or a bucket behind limits and retry."""
    if url.startswith("memory://"):
        from lading.stores.memory import MemoryStore

        return MemoryStore(url)
    scheme = url.partition("://")[0] if "://" in url else "file"
    if scheme == "file":
        from lading.stores.local import LocalStore

        adapter = Adapter("lading.stores.local", "LocalStore", "LocalOptions")
        local: Any = _options(adapter, document, at)
        return LocalStore(local.folder(root), durable=local.durable)
    from lading.stores.limit import LimitOptions, LimitStore
    from lading.stores.object import ObjectStore
    from lading.stores.retry import RetryOptions, RetryStore

    bucket: Any = _options(Adapter("lading.stores.object_options", "", "ObjectOptions"), document, at)
    limit = LimitOptions.model_validate(settings.limit)
    retry = RetryOptions.model_validate(settings.retry)
    return RetryStore(LimitStore(ObjectStore(bucket), **limit.model_dump()), **retry.model_dump())


def open_url(url: str) -> Store:
    """A store by its URL alone, with the provider's own credentials: for `lading verify URL`."""
    if "://" not in url or url.startswith("file://"):
        from lading.stores.local import LocalStore

        path = Path(url.removeprefix("file://"))
        if not path.is_dir():
            raise InvalidProject(f"There is no folder {path}.")
        return LocalStore(path)
    from pydantic import ValidationError

    from lading.stores.object import ObjectStore
    from lading.stores.object_options import ObjectOptions
    from lading.stores.retry import RetryStore

    try:
        return RetryStore(ObjectStore(ObjectOptions.model_validate({"url": url})), initial=1.0, maximum=10.0)
    except ValidationError as error:
        raise InvalidProject(f"{error.errors(include_url=False, include_input=False)[0]['msg']}") from None


def open_keys(files: ProjectSettings) -> Keys:
    """The keyring. Raises InvalidProject where the project has none."""
    section = files.settings.keys
    if section is None:
        raise InvalidProject(
            problems=[
                Problem(files.document.path, 0, "hmac_sha256 needs a keyring: keys: {url: file://./keys}")
            ]
        )
    unknown = sorted(set(section) - {"url"})
    url = section.get("url")
    if unknown or not isinstance(url, str) or not url.startswith("file://"):
        raise InvalidProject(
            problems=[files.document.problem("keys takes a url of a folder, such as file://./keys", "keys")]
        )
    from lading.keys.file import FileKeyring

    return FileKeyring(files.root / url.removeprefix("file://"))
