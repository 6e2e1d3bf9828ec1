"""Where concrete adapters are named and put together. Nothing below this module knows which ones there are."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, SecretStr

from lading.contract import Contract
from lading.documents import Document, Loc, unknown, validate
from lading.errors import InvalidProject, Problem, Refused
from lading.evidence.signers import AllowedSigner, objection, read_signers
from lading.evidence.sshsig import CHECKPOINTS, MANIFESTS, PublicKey
from lading.export.definition import Export
from lading.export.layout import segment
from lading.export.tables import namespace_of
from lading.journal.log import Journal
from lading.ports import (
    Encrypting,
    Encryption,
    Format,
    Keys,
    Sealer,
    Signer,
    Source,
    Store,
    Transform,
    Wrapper,
)
from lading.settings import SIGNERS, ProjectSettings, Settings
from lading.transforms.lineage import needed, without

if TYPE_CHECKING:
    from lading.channels.catalogues import CatalogueOptions
    from lading.channels.iceberg import Tables
    from lading.keys.age import Recipients
    from lading.keys.remote import RemoteWrapper
    from lading.keys.wrapping import FileWrapper


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
# What wraps data keys, beside keys in a folder.
WRAPPERS: Mapping[str, Adapter] = {
    "aws": Adapter("lading.keys.aws", "AwsKms", "AwsOptions", extra="aws"),
    "azure": Adapter("lading.keys.azure", "AzureKeyVault", "AzureOptions", extra="azure"),
    "gcp": Adapter("lading.keys.gcp", "GoogleKms", "GcpOptions", extra="gcp"),
    "vault": Adapter("lading.keys.vault", "VaultTransit", "VaultOptions"),
}
CATALOGUES: Mapping[str, Adapter] = {
    "sql": Adapter("lading.channels.catalogues", "sql_tables", "SqlOptions", extra="iceberg"),
    "rest": Adapter("lading.channels.catalogues", "rest_tables", "RestOptions", extra="iceberg"),
    "glue": Adapter("lading.channels.catalogues", "glue_tables", "GlueOptions", extra="iceberg,aws"),
}
CHAINED = Adapter("lading.formats.chained", "ChainedFormat", "JsonlOptions")
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
        raise _missing(adapter, adapter.factory, error.name) from error


def _missing(adapter: Adapter, who: str, package: str | None) -> InvalidProject:
    return InvalidProject(
        f"{who} needs the package {package}, which is not installed.",
        hint=f"Install Lading with its extra: pip install '.[{adapter.extra}]' in the checkout.",
    )


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
    if document.data.get("channel") == "audit":
        adapter = CHAINED
    extra = {"schema_version": version} if section.get("schema_version_column") else None
    made: Format = _load(adapter, adapter.factory)(_options(adapter, document, at, _OF_FORMATS, extra))
    return made


def format_of(section: Mapping[str, Any]) -> Format:
    """The format that a manifest describes. Raises ValueError for one that this version does not know."""
    if section.get("type") not in FORMATS:
        raise ValueError(f"this version does not know the format {section.get('type')!r}")
    adapter = CHAINED if section.get("chained") else FORMATS[section["type"]]
    own = {key: value for key, value in section.items() if key not in (*_OF_FORMATS, "chained")}
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


class Versioned(NamedTuple):
    """An export under one of the majors that it delivers, as if it were the only one."""

    export: Export
    contract: Contract
    transforms: tuple[Transform, ...]


def versions(export: Export, document: Document, contracts: Mapping[str, Contract]) -> tuple[Versioned, ...]:
    """The export under each major that it delivers, its own first. Raises InvalidProject as `open_transforms`.

    What transforms do to a column that the other major alone promises is left out: its rows do not have it.
    """
    transforms = open_transforms(document)
    everyone = {f.column for each in export.versions() for f in contracts[each.contract].fields}
    found = []
    for each in export.versions():
        contract = contracts[each.contract]
        absent = everyone - {f.column for f in contract.fields} - set(needed(each, transforms))
        found.append(Versioned(each, contract, without(transforms, absent)))
    return tuple(found)


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
        self._tables: dict[str, Tables] = {}
        self._keys: Keys | None = None
        self._signers: dict[str, Signer] = {}
        self._wrapper: FileWrapper | RemoteWrapper | None = None

    def store(self, name: str) -> Store:
        """A store of lading.yaml, with retry and limits around it where it is reached over a network."""
        if name not in self._stores:
            self.store_options(name)
            self._stores[name] = self._open_store(self._files.document, ("stores", name))
        return self._stores[name]

    def store_terms(self, name: str) -> dict[str, Any]:
        """What lading.yaml says of a store, as JSON and without its secrets."""
        return _without_secrets(self.store_options(name))

    def connection_terms(self, name: str) -> dict[str, Any]:
        """What lading.yaml says of a connection, as JSON and without its secrets: of a database's URL the place."""
        _, options = self._connection(name)
        section = self._files.settings.connections[name]
        terms = {"type": section["type"], **_without_secrets(options)}
        if isinstance(url := getattr(options, "url", None), SecretStr):
            parts = urlsplit(url.get_secret_value())
            terms["place"] = (
                f"{parts.scheme}://{parts.hostname or ''}{parts.path}" if parts.scheme else "given"
            )
        if "store" in section:
            terms["store"] = {section["store"]: self.store_terms(section["store"])}
        return terms

    def catalogue_terms(self, name: str) -> dict[str, Any]:
        """What lading.yaml says of a catalogue, as JSON and without its secrets."""
        _, options = self._catalogue(name)
        kind = self._files.settings.catalogues[name]["type"]
        return {"type": kind, **_without_secrets(options)}

    def store_options(self, name: str) -> BaseModel:
        """What lading.yaml says of a store, its secrets included. Raises InvalidProject with the places."""
        stores = self._files.settings.stores
        if name not in stores:
            raise InvalidProject(f"{unknown('store', name, stores)}, in lading.yaml")
        return _store_options(self._files.document, ("stores", name), str(stores[name]["url"]))

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

    def catalogue(self, name: str) -> Tables:
        """The tables of a catalogue of lading.yaml. Nothing is connected to before it is asked."""
        if name not in self._tables:
            adapter, options = self._catalogue(name)
            store = self.store(self._files.settings.catalogues[name]["store"])
            memory = self._files.settings.buffer_memory
            self._tables[name] = _load(adapter, adapter.factory)(
                name, options, store, self._files.root, memory
            )
        return self._tables[name]

    def namespace(self, name: str) -> str:
        """Where a catalogue's tables stand in it."""
        settings = self._files.settings
        given = settings.catalogues[name].get("namespace")
        return str(given) if given is not None else namespace_of(settings.name, settings.environment)

    def catalogue_options(self, name: str) -> CatalogueOptions:
        """What lading.yaml says of a catalogue, its secrets included. Raises InvalidProject with the places."""
        return self._catalogue_section(name)[1]

    def _catalogue_section(self, name: str) -> tuple[Adapter, CatalogueOptions]:
        catalogues, at = self._files.settings.catalogues, ("catalogues", name)
        if name not in catalogues:
            raise InvalidProject(f"{unknown('catalogue', name, catalogues)}, in lading.yaml")
        document = self._files.document
        adapter: Adapter = choose(CATALOGUES, catalogues[name]["type"], document, at, "kind of catalogue")
        return adapter, cast("CatalogueOptions", _options(adapter, document, at, ("type",)))

    def _catalogue(self, name: str) -> tuple[Adapter, CatalogueOptions]:
        """The adapter of a catalogue, and its options. Raises InvalidProject with their places, also where what it
        needs is not installed."""
        from lading.channels.catalogues import SCHEMES

        adapter, options = self._catalogue_section(name)
        settings, document, at = self._files.settings, self._files.document, ("catalogues", name)
        kind = settings.catalogues[name]["type"]
        for package in ("pyiceberg", "boto3") if kind == "glue" else ("pyiceberg",):
            if importlib.util.find_spec(package) is None:
                raise _missing(adapter, f"A catalogue of type {kind}", package)
        store = options.store
        if store not in settings.stores:
            raise InvalidProject(
                problems=[document.problem(unknown("store", store, settings.stores), *at, "store")]
            )
        scheme = str(settings.stores[store]["url"]).partition("://")
        if scheme[1] and scheme[0] not in SCHEMES:
            reason = (
                f"no engine opens tables at {scheme[0]}://: write the store's url as s3://, gs:// or abfss://"
            )
            raise InvalidProject(problems=[document.problem(reason, "stores", store, "url")])
        return adapter, options

    def check_catalogue(self, name: str) -> None:
        """Raises InvalidProject where `catalogue` would, with the place. Connects to nothing."""
        with _placed(self._files.document, "catalogues", name):
            self._catalogue(name)

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
        within = Within(self.store(settings.journal), journal_folder(settings))
        return Journal(within, settings.lease.total_seconds())

    def keys(self) -> Keys:
        if self._keys is None:
            self._keys = open_keys(self._files)
        return self._keys

    def wrapper(self) -> FileWrapper | RemoteWrapper:
        """Who wraps data keys. Raises InvalidProject where the project has no keyring. Asks no service."""
        if self._wrapper is None:
            self._wrapper = open_wrapper(self._files)
        return self._wrapper

    def own_wrapper(self, verb: str, tenant: str) -> FileWrapper:
        """The keys in a folder, of which one is to be copied, rotated or destroyed. Raises Refused where it is a
        service's."""
        from lading.keys.remote import RemoteWrapper

        wrapper = self.wrapper()
        if isinstance(wrapper, RemoteWrapper):
            raise wrapper.elsewhere(verb, tenant)
        return wrapper

    def sealer(self) -> Sealer:
        """Who encrypts bundles to the tenants' own keys."""
        from lading.keys.age import AgeSealer

        return AgeSealer(self.recipients())

    def recipients(self) -> Recipients:
        from lading.keys.age import Recipients

        return Recipients({t: s.age for t, s in self._files.tenants.items() if s.age})

    def encryption(self, export: Export, format: Format) -> Encryption:
        """How the files of an export that asks for it are encrypted. Raises InvalidProject."""
        from lading.keys.age import AgeStreams, AgeWrapper
        from lading.keys.envelopes import Envelopes

        assert export.encryption is not None
        wrapper: Wrapper
        if export.encryption.key == "tenant":
            wrapper = self.wrapper()
        else:
            recipients = self.recipients()
            if not isinstance(format, Encrypting):
                return AgeStreams(recipients)
            wrapper = AgeWrapper(recipients)
        assert isinstance(format, Encrypting)
        return Envelopes(wrapper, format.encryption, bound=export.encryption.binding != "portable")

    def check_recipients(self) -> None:
        """Raises InvalidProject for public keys that are none, each with its file."""
        from lading.keys.age import public_key

        for tenant, settings in self._files.tenants.items():
            if settings.age is not None:
                document = self._files.tenant_documents[tenant]
                try:
                    public_key(settings.age)
                except ValueError as error:
                    raise InvalidProject(problems=[document.problem(f"age {error}", "age")]) from error

    def check_signing(self) -> None:
        """Raises InvalidProject for a wrong `signing`. Reads no key."""
        open_signing(self._files)

    def signer(self, *further: str) -> Signer:
        """Who signs manifests, and in these ``further`` namespaces. Raises what reading its key raises, and Refused
        where recipients do not go by it."""
        for namespace in (MANIFESTS, *further):
            if namespace not in self._signers:
                signer = self._signers.get(MANIFESTS) or open_signing(self._files)
                if why := self._objection(PublicKey(signer.public_key), namespace):
                    raise Refused(
                        f"A signature made now {why}: recipients go by {SIGNERS}.",
                        hint=self._towards_trust(namespace),
                    )
                self._signers[namespace] = signer
        return self._signers[MANIFESTS]

    def _towards_trust(self, namespace: str) -> str:
        if namespace != MANIFESTS:
            return f"Add {namespace} to the namespaces of its line there; `lading signing new` makes a key for both."
        new = "`lading signing new` makes a key and its line there"
        if (self._files.root / SIGNERS).exists():
            return f"{new}."
        # A list with a new key alone would prove nothing that was delivered before.
        return (
            f"Restore {SIGNERS} from Git: it lists the keys that signed what is delivered. "
            f"If there never was one, {new}."
        )

    def _objection(self, key: PublicKey, namespace: str) -> str | None:
        return objection(self.signers(), key, self._files.settings.name, datetime.now(UTC), namespace)

    def signers(self) -> tuple[AllowedSigner, ...]:
        """Who may sign manifests. Raises InvalidProject for a damaged list."""
        return read_signers(self._signers_text(), SIGNERS)

    def _signers_text(self) -> str:
        path = self._files.root / SIGNERS
        try:
            return path.read_text("utf-8") if path.exists() else ""
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidProject(problems=[Problem(SIGNERS, 0, "is no text that can be read")]) from error

    def new_signing_key(self) -> AllowedSigner:
        """Makes the next signing key, and adds it to those who may sign."""
        from lading.keys.signing import FileSigner, new_signing_key

        folder, path = _signing_folder(self._files), self._files.root / SIGNERS
        self.signers()
        # From the day's beginning: clocks of several machines differ.
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        text = self._signers_text()
        try:
            path.parent.mkdir(exist_ok=True)
            with path.open("a", encoding="utf-8") as file:
                name = new_signing_key(folder)
                key = PublicKey(FileSigner(folder).public_key)
                made = AllowedSigner(key, today, None, name, self._files.settings.name)
                file.write(f"{'' if not text or text.endswith(chr(10)) else chr(10)}{made.line()}\n")
        except OSError as error:
            raise InvalidProject(
                problems=[Problem(SIGNERS, 0, f"cannot be written: {error.strerror}")]
            ) from error
        return made


def _without_secrets(options: BaseModel) -> dict[str, Any]:
    secret = {key for key, value in options if isinstance(value, SecretStr)}
    return options.model_dump(mode="json", exclude_unset=True, exclude=secret)


def open_store(document: Document, at: Loc, url: str, root: Path, settings: Any) -> Store:
    """The store of a section: a folder, memory, or a bucket behind limits and retry."""
    options: Any = _store_options(document, at, url)
    if isinstance(options, MemoryOptions):
        from lading.stores.memory import MemoryStore

        return MemoryStore(url)
    if _scheme(url) == "file":
        from lading.stores.local import LocalStore

        return LocalStore(options.folder(root), durable=options.durable)
    from lading.stores.limit import LimitStore
    from lading.stores.object import ObjectStore
    from lading.stores.retry import RetryStore

    limit, retry = _limits(document, settings)
    return RetryStore(LimitStore(ObjectStore(options), **limit), **retry)


def _scheme(url: str) -> str:
    return url.partition("://")[0] if "://" in url else "file"


def journal_folder(settings: Settings) -> str:
    """Where the journal of this project in this environment lies in its store."""
    return f"{segment(settings.name)}/{segment(settings.environment)}/"


def _store_options(document: Document, at: Loc, url: str) -> BaseModel:
    """What a store's section says. Raises InvalidProject with the places of what is wrong."""
    places = {
        "memory": Adapter("lading.assemble", "", "MemoryOptions"),
        "file": Adapter("lading.stores.local", "LocalStore", "LocalOptions"),
    }
    bucket = Adapter("lading.stores.object_options", "", "ObjectOptions")
    return _options(places.get(_scheme(url), bucket), document, at, _OF_STORES)


def is_local(url: str) -> bool:
    """Whether what such a store holds goes with one machine, or with one process."""
    return _scheme(url) in ("file", "memory")


def _limits(document: Document, settings: Settings) -> tuple[dict[str, Any], dict[str, Any]]:
    """How hard stores may be driven, and how they are asked again."""
    from lading.stores.limit import LimitOptions
    from lading.stores.retry import RetryOptions

    limit = validate(LimitOptions, document, ("limit",), settings.limit)
    retry = validate(RetryOptions, document, ("retry",), settings.retry)
    return limit.model_dump(), retry.model_dump()


def open_keys(files: ProjectSettings) -> Keys:
    """The keyring, for masks. Raises InvalidProject where the project has none."""
    from lading.keys.file import FileKeyring

    return FileKeyring(_keyring(files, "hmac_sha256"))


def open_wrapper(files: ProjectSettings) -> FileWrapper | RemoteWrapper:
    """The keyring, for encryption: keys in its folder, or in a service. Raises InvalidProject where the project has
    none, and for a tenant's key that is none, or another's. Asks no service."""
    from lading.keys.remote import Naming, RemoteWrapper
    from lading.keys.wrapping import FileWrapper

    if "wrap" not in (files.settings.keys or {}):
        return FileWrapper(_keyring(files, "encryption") / "wrapping")
    service, options = open_service(files.document, ("keys", "wrap"))
    own: dict[str, str] = {}
    for tenant, settings in files.tenants.items():
        if (key := settings.kms_key) is not None:
            place = files.tenant_documents[tenant]
            try:
                service.check_key(key)
            except ValueError as error:
                raise InvalidProject(problems=[place.problem(f"kms_key {error}", "kms_key")]) from error
            if key in own.values():
                raise InvalidProject(
                    problems=[place.problem("kms_key is another tenant's: each has its own", "kms_key")]
                )
            own[tenant] = key
    return RemoteWrapper(
        service, Naming(options.key, own, longest=service.longest, folds_case=service.folds_case)
    )


def open_service(document: Document, at: Loc) -> tuple[Any, Any]:
    """A service that wraps keys (`lading.keys.remote.Service`), and its options. Asks it nothing."""
    section: Any = document.data
    for key in at:
        section = section[key]
    if not isinstance(section, Mapping):
        reason = f"{'.'.join(map(str, at))} takes a type and what that takes, such as {{type: aws}}"
        raise InvalidProject(problems=[document.problem(reason, *at)])
    adapter: Adapter = choose(WRAPPERS, section.get("type"), document, at, "service that wraps keys")
    options = _options(adapter, document, at, ("type",))
    with _placed(document, *at, "type"):
        return _load(adapter, adapter.factory)(options), options


def known_services() -> Mapping[str, str]:
    """What people call the services that wrap keys, by what manifests call them."""
    made = [_load(adapter, adapter.factory) for adapter in WRAPPERS.values()]
    return {service.wrapping: service.title for service in made}


def _keyring(files: ProjectSettings, what: str) -> Path:
    if files.settings.keys is None:
        reason = f"{what} needs a keyring: keys: {{url: file://./keys}}"
        raise InvalidProject(problems=[Problem(files.document.path, 0, reason)])
    folder = {name: value for name, value in files.settings.keys.items() if name != "wrap"}
    return _key_folder(files, "keys", folder, "keys")


def signed_beside(export: Export) -> tuple[str, ...]:
    """The namespaces that an export's channel signs in, beside that of manifests."""
    return (CHECKPOINTS,) if export.channel == "audit" else ()


def open_signing(files: ProjectSettings) -> Signer:
    """Who signs manifests. Raises InvalidProject where the project does not say."""
    from lading.keys.signing import FileSigner

    return FileSigner(_signing_folder(files))


def _signing_folder(files: ProjectSettings) -> Path:
    if files.settings.signing is None:
        raise InvalidProject(
            problems=[
                Problem(files.document.path, 0, "there is no signing: signing: {url: file://./keys/signing}")
            ]
        )
    return _key_folder(files, "signing", files.settings.signing, "keys/signing")


def _key_folder(files: ProjectSettings, name: str, section: Mapping[str, Any], path: str) -> Path:
    url = section.get("url")
    if set(section) != {"url"} or not isinstance(url, str) or not url.startswith("file://"):
        raise InvalidProject(
            problems=[
                files.document.problem(f"{name} takes a url of a folder, such as file://./{path}", name)
            ]
        )
    return files.root / url.removeprefix("file://")
