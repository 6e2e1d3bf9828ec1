"""The protocols that adapters implement, and the plain values that pass through them.

Rows are `pyarrow.RecordBatch` from the reading to the format; bytes from the format to the store. A protocol asks for
as little as it can; what only some adapters can do is a small protocol of its own (`Copier`, `Swapper`).

Field metadata that travels with an Arrow schema (`bytes` keys and values):

``lading.native``
    The source's own name of the type, for messages and the manifest: ``numeric(15,2)``, ``timestamptz``.
``lading.logical``
    What a text or binary column holds where Arrow's type does not say: ``json``, ``uuid``, ``decimal``, ``interval``,
    ``enum``, ``xml``, ... Formats use it (a ``json`` column is embedded in JSON lines as it stands).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import pyarrow as pa

    from lading.export.layout import Names

Types = Literal["portable", "exact"]

NATIVE = b"lading.native"
LOGICAL = b"lading.logical"


# --- sources -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Dataset:
    """What an export reads: exactly one of the three is given."""

    table: str | None = None  # schema.name, as PostgreSQL writes it
    sql: str | None = None  # the text of a reviewed query: one SELECT
    files: str | None = None  # a name or glob inside the connection's store: flights/*.parquet


@dataclass(frozen=True, slots=True)
class Bound:
    """Up to when everything is known to have arrived, by the server's clock.

    ``at`` is None where it cannot be known (a standby, a foreign table, missing privileges); ``why`` says so.
    """

    now: datetime  # aware, UTC
    at: datetime | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Range:
    """``start <= column < end``; an open side is None. Rows where the column is NULL refuse the reading."""

    column: str
    start: datetime | None = None
    end: datetime | None = None


@dataclass(frozen=True, slots=True)
class Member:
    """``column`` is one of ``values``, compared as text."""

    column: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Newest:
    """Of the rows with equal ``key``, keep the one with the greatest ``order``; the others are superseded.

    Where ``by`` is given, the tenant column, rows whose texts of it differ never supersede each other, whatever their
    keys; those without one stand together. Superseded rows are counted by that text.
    """

    key: tuple[str, ...]
    order: str
    by: str | None = None


@dataclass(frozen=True, slots=True)
class Query:
    """One reading: which rows and columns, of what."""

    dataset: Dataset
    columns: tuple[str, ...]  # the source's names, in this order
    as_text: frozenset[str] = (
        frozenset()
    )  # columns that the contract declares a string, whatever the source has
    types: Types = "portable"
    ranges: tuple[Range, ...] = ()
    member: Member | None = None
    newest: Newest | None = None
    whole_parts: bool = False  # True: one part only, for what cannot be cut
    # About how large a batch may be. It changes no row, so it is no part of what a query is.
    batch_bytes: int = field(default=16 << 20, repr=False, compare=False)
    # How many parts are read side by side: they are to end together. It changes no row either.
    lanes: int = field(default=1, repr=False, compare=False)
    immutable: bool = (
        False  # the export says that these rows never change: a `Ranger` cuts parts for another reading
    )
    step: int | None = None  # immutable: rows in each part, as an earlier reading had it


@dataclass(frozen=True, slots=True)
class Part:
    """A unit of reading. ``index`` counts from 0; ``spec`` is the source's own, JSON-able, and says what to read."""

    index: int
    spec: Mapping[str, object] = field(default_factory=dict)
    rows: int | None = None  # estimated


@dataclass(frozen=True, slots=True)
class Survey:
    """What is known of a reading before its first row."""

    schema: pa.Schema  # of the batches that `Reading.read` yields: the query's columns, in its order
    parts: tuple[Part, ...]  # at least one
    rows: int | None = None  # estimated
    bytes: int | None = None  # estimated, in the source
    snapshot: str = ""  # the source's name for what is read, for the manifest
    version: str = ""  # of a replayable source: equal versions give equal rows, part by part
    step: int | None = None  # rows in each part but the last, of an immutable query; `rows` is then counted


@runtime_checkable
class Reading(Protocol):
    """One consistent snapshot of one query. ``read`` may be called from several threads, one part each."""

    replayable: bool  # can the same rows be read again later, part by part?
    # Sets of columns that the source proves unique and not NULL in these very rows: checks believe it without looking.
    unique_keys: frozenset[frozenset[str]]

    def survey(self) -> Survey: ...

    def read(self, part: Part) -> Iterator[pa.RecordBatch]:
        """The part's rows, in the survey's schema.

        Raises DataRefused for a value that its type cannot hold (column and count named), SourceUnavailable when the
        source goes away, SchemaMismatch when a column has gone since the survey.
        """
        ...

    def superseded(self) -> Mapping[str, int]:
        """Rows that `Query.newest` dropped in the parts read so far, by the text of its ``by`` column ("" without)."""
        ...


@runtime_checkable
class Source(Protocol):
    """Where rows come from."""

    def describe(self, dataset: Dataset, types: Types, as_text: frozenset[str] = frozenset()) -> pa.Schema:
        """All columns as they would arrive, with `NATIVE` and `LOGICAL` metadata.

        Raises SchemaMismatch where the dataset does not exist, or has two columns of one name but for case; a column
        whose type cannot be carried is left in with type ``pa.null()`` and the reason as its native type's metadata
        under ``lading.refused``, so that it only fails an export that wants it.
        """
        ...

    def unique_keys(self, dataset: Dataset) -> frozenset[frozenset[str]]:
        """Sets of columns that the source itself proves unique (primary keys, plain unique constraints, not null), as
        of now. Of the rows of a reading the `Reading` knows."""
        ...

    def bound(self, dataset: Dataset) -> Bound:
        """Up to when all rows of the dataset have arrived. It may be unknown for one dataset and known for another."""
        ...

    def open(self, query: Query) -> AbstractContextManager[Reading]: ...

    def test(self) -> str:
        """Connects, and says in one line what is there, without a secret."""
        ...


@runtime_checkable
class Ranger(Protocol):
    """A source that can cut immutable rows so that a later reading, in another snapshot, has the same parts."""

    def part_key(self, dataset: Dataset, window: str) -> tuple[str, ...]:
        """The columns in whose order rows are cut, the window column first.

        Raises SchemaMismatch, saying what is needed, where no order tells all rows apart.
        """
        ...


REFUSED = b"lading.refused"


# --- stores --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    name: str
    size: int
    version: str = ""  # etag, generation, or size and mtime: differs when the bytes differ
    modified: datetime | None = None


class Upload(Protocol):
    """An object being written. It exists for readers only after ``finish``. Ended by ``finish`` or ``abort``."""

    def write(self, data: bytes | memoryview) -> None: ...

    def finish(self) -> None: ...

    def abort(self) -> None:
        """Leaves nothing behind where that is possible. Never raises."""
        ...


class Download(Protocol):
    """An object being read: a seekable binary file."""

    def read(self, size: int = -1, /) -> bytes: ...

    def seek(self, offset: int, whence: int = 0, /) -> int: ...

    def tell(self) -> int: ...

    def close(self) -> None: ...


@runtime_checkable
class Store(Protocol):
    """Bytes by name. Names are relative to the store, parts joined by ``/``, already safe (see `lading.export.layout`).

    Errors: ObjectNotFound, ObjectExists, StoreDenied, StoreFull, StoreUnavailable, and no others. Thread-safe.
    """

    url: str  # for people, without secrets

    def put(self, name: str, data: bytes, *, create: bool = False) -> None:
        """Writes a small object whole. ``create``: raise ObjectExists, atomically, if it is there already."""
        ...

    def get(self, name: str) -> bytes: ...

    def write(self, name: str) -> Upload: ...

    def read(self, name: str) -> Download: ...

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Every object whose name starts with ``prefix`` (a plain string prefix), sorted by name as bytes."""
        ...

    def delete(self, name: str) -> None:
        """Deletes; an object that is not there is deleted already."""
        ...


@runtime_checkable
class Copier(Protocol):
    def copy(self, source: str, target: str) -> None:
        """Copies within the store, without the bytes passing through here. Overwrites."""
        ...


@runtime_checkable
class Prober(Protocol):
    def probe_write(self, name: str) -> None:
        """Raises what writing ``name`` would raise, as far as it shows without an object ever appearing."""
        ...


@runtime_checkable
class Swapper(Protocol):
    def swap(self, name: str, expected: bytes | None, data: bytes) -> bool:
        """Puts ``data`` only if the object now holds ``expected`` (None: is not there); says whether it did."""
        ...


@runtime_checkable
class Linker(Protocol):
    def link(self, name: str, seconds: int) -> str:
        """A URL by which whoever has it reads the object, without any credentials, for so long. It is a secret."""
        ...


@runtime_checkable
class LinkLister(Protocol):
    def links(self, prefix: str = "") -> Sequence[str]:
        """Names that start with ``prefix``, sorted, of what lies elsewhere and which `list` therefore leaves out, with
        all that may lie below."""
        ...


# --- formats -------------------------------------------------------------------------------------------------------


class Sink(Protocol):
    """Where a format's bytes go."""

    def write(self, data: bytes | memoryview) -> object: ...


@dataclass(frozen=True, slots=True)
class ColumnStats:
    """``min`` and ``max`` are JSON-able (numbers as they are if a double holds them exactly, else text; times in
    RFC 3339) and None where there are none; NaN never appears."""

    min: object
    max: object
    nulls: int


@dataclass(frozen=True, slots=True)
class FileStats:
    rows: int
    columns: Mapping[str, ColumnStats]
    head: str | None = None  # of a file whose lines are chained: the last line's SHA-256


class Writer(Protocol):
    """Encodes batches of one schema into one file."""

    def append(self, batch: pa.RecordBatch) -> int:
        """How many of the batch's rows went in, from its beginning: all of them, unless the file has a greatest size
        and is full: then it is to be finished. An empty file takes one row at least."""
        ...

    @property
    def size(self) -> int:
        """Bytes given to the sink so far; what is still buffered may add to it."""
        ...

    def finish(self) -> FileStats: ...

    def abort(self) -> None: ...


@runtime_checkable
class Format(Protocol):
    """How rows become bytes. ``name`` and ``codec`` make the file names: ``parquet`` + ``snappy``, ``csv`` + ``gz``."""

    name: str
    codec: str  # "" where there is none
    suffix: str  # of file names: parquet, csv.gz, jsonl, arrow

    def schema(self, schema: pa.Schema, types: Types) -> pa.Schema:
        """What a reader of the files will find, column by column. Raises SchemaMismatch, naming the column, for what
        the format cannot hold."""
        ...

    def open(
        self, sink: Sink, schema: pa.Schema, types: Types, memory: int, limit: int | None = None
    ) -> Writer:
        """``schema`` is that of the batches; ``memory`` bounds, in bytes, what the writer may buffer. The finished file
        has at most ``limit`` bytes, unless one row alone, or none, takes more."""
        ...

    def notices(self) -> tuple[str, ...]:
        """What recipients must be told, in the manifest's notices: a formula guard, int64 as strings."""
        ...

    def scan(self, file: Download, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Reads a file of this format back, ``schema`` being what `schema` returned. For `verify --deep`."""
        ...


@runtime_checkable
class Chaining(Format, Protocol):
    """A format whose lines are chained, each to the one before and the first to a seed."""

    def of(self, seed: str) -> Format:
        """The same format, for the file whose first line names ``seed``, a SHA-256 in hex, as the one before it."""
        ...


@dataclass(frozen=True, slots=True)
class FileKey:
    """What one file is encrypted under: 32 bytes, and what its readers must name beside them (authenticated data)."""

    key: bytes = field(repr=False)
    bound_to: bytes | None = None


@runtime_checkable
class Encrypting(Protocol):
    """A format whose files are encrypted from within."""

    encryption: str  # what the manifest calls it

    def encrypted(self, key: FileKey) -> Format:
        """The same format, for the file of this key."""
        ...


class Encryption(Protocol):
    """How an export's files are encrypted. Thread-safe."""

    suffix: str  # of files' names, behind the format's own; "" where there is none
    record: Mapping[str, str]  # what the manifest says of it

    def key_id(self, tenant: str) -> str:
        """The key that would be used now: what was encrypted under another is not used again. Raises Refused as `open`
        does."""
        ...

    def open(
        self,
        format: Format,
        sink: Sink,
        schema: pa.Schema,
        types: Types,
        memory: int,
        limit: int | None,
        *,
        names: Names,
        file: str,
    ) -> tuple[Writer, Mapping[str, str]]:
        """As `Format.open`, for a file of that name; and what the manifest says of the file, so that its recipient
        finds the key. Raises Refused for a tenant for whom nothing can be encrypted."""
        ...


class SealedSink(Sink, Protocol):
    """Ended by ``finish`` or ``abort``."""

    def finish(self) -> None: ...

    def abort(self) -> None:
        """Never raises."""
        ...


class Sealer(Protocol):
    """Encrypts bytes for a tenant on their way to a sink: what was written there can be opened by the tenant alone."""

    suffix: str  # of what is encrypted

    def key_id(self, tenant: str) -> str:
        """Raises Refused for a tenant for whom nothing can be encrypted."""
        ...

    def seal(self, sink: Sink, tenant: str) -> SealedSink: ...


# --- transforms and checks -----------------------------------------------------------------------------------------


class Keys(Protocol):
    """The keyring, as transforms see it."""

    def tenant_key(self, tenant: str) -> bytes:
        """32 bytes, the same for the same tenant, made at first use."""
        ...

    def key_id(self, tenant: str) -> str:
        """A name for the tenant's key that reveals nothing of it."""
        ...


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A data key that only the key called ``key_id`` opens."""

    key_id: str
    data: bytes


@runtime_checkable
class Wrapper(Protocol):
    """Wraps data keys for a tenant. Thread-safe."""

    wrapping: str  # what the manifest calls it

    def key_id(self, tenant: str) -> str:
        """The key that would wrap now. Raises Refused as `wrap` does."""
        ...

    def wrap(self, tenant: str, key: bytes) -> WrappedKey:
        """``key``: 32 bytes. Raises Refused for a tenant for whom nothing can be wrapped."""
        ...


@runtime_checkable
class Signer(Protocol):
    """Signs what is delivered, with an Ed25519 key (RFC 8032). Thread-safe."""

    @property
    def public_key(self) -> bytes:
        """32 bytes."""
        ...

    def sign(self, message: bytes) -> bytes:
        """64 bytes, the same for the same message."""
        ...


@dataclass(frozen=True, slots=True)
class PolicyAction:
    """What was done to a column, for the manifest: ``hmac_sha256``, ``excluded``, ``renamed from x``."""

    column: str
    action: str


@runtime_checkable
class Transform(Protocol):
    """A declared change of columns or rows. Vectorised, stateless, thread-safe."""

    def bind(self, schema: pa.Schema) -> pa.Schema:
        """The schema after it. Raises InvalidProject for an unknown column or a type that it cannot treat."""
        ...

    def apply(self, batch: pa.RecordBatch, key: Callable[[], bytes]) -> pa.RecordBatch:
        """One tenant's rows, transformed; ``key`` gives that tenant's key. Rows may be dropped (they are *filtered*),
        never added or re-ordered."""
        ...

    def policy(self) -> tuple[PolicyAction, ...]: ...


@dataclass(frozen=True, slots=True)
class CheckResult:
    name: str  # unique(flight_id)
    ok: bool
    on_violation: Literal["fail", "warn"]
    violations: int = 0
    detail: str = ""  # says what was found, never a value of a classified column


@runtime_checkable
class Check(Protocol):
    """A promise about the source's values, over all rows of a sweep. Thread-safe; ended by ``result`` or ``close``."""

    def bind(self, schema: pa.Schema) -> None: ...

    def observe(self, batch: pa.RecordBatch) -> None: ...

    def result(self) -> CheckResult: ...

    def close(self) -> None: ...


@runtime_checkable
class Additive(Protocol):
    """A check that needs of the rows it saw only how many there were of a kind: parts can be judged apart, and what was
    found in one need not be looked for again."""

    name: str

    def fresh(self) -> Check:
        """The same promise, bound as this one is, that has seen nothing yet."""
        ...

    def found(self) -> int | None:
        """What was counted so far; None where this one does need the rows."""
        ...

    def add(self, found: int) -> None:
        """Takes over what another one counted."""
        ...


@runtime_checkable
class Guarding(Protocol):
    """A check for what nobody may be told. What it has found in a part must not be kept with the part's statistics."""

    guards: bool


# --- channels ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Written:
    """A finished data file, as the manifest lists it. ``name`` is relative to the run's folder."""

    name: str
    rows: int
    bytes: int
    sha256: str
    partition: Mapping[str, str | int | None]
    columns: Mapping[str, ColumnStats]
    encryption: Mapping[str, str] | None = None  # how who has the tenant's key finds the file's
    head: str | None = None  # of a file whose lines are chained, see `FileStats`

    def record(self) -> dict[str, object]:
        columns = {n: {"min": c.min, "max": c.max, "nulls": c.nulls} for n, c in self.columns.items()}
        encryption = {} if self.encryption is None else {"encryption": dict(self.encryption)}
        head = {} if self.head is None else {"head": self.head}
        return {
            "name": self.name,
            "rows": self.rows,
            "bytes": self.bytes,
            "sha256": self.sha256,
            "checksum": f"sha256:{self.sha256}",
            "partition": dict(self.partition),
            "columns": columns,
            **encryption,
            **head,
        }


Document = Callable[[str], Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class FileNumber:
    """Where a file stands among those of its run and partition: lanes count from 0, files in a lane from 1."""

    lane: int
    sequence: int
    lanes: int


class FileWriter(Protocol):
    """One data file being written to a destination and its copies."""

    def append(self, batch: pa.RecordBatch) -> int:
        """How many rows went in; see `Writer.append`."""
        ...

    @property
    def size(self) -> int: ...

    def finish(self) -> Written: ...

    def abort(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Leftover:
    """Objects that should be gone and could not be deleted."""

    destination: str
    folder: str
    reason: str


@dataclass(frozen=True, slots=True)
class Emptied:
    """How many objects were deleted, and the folders where that is not allowed."""

    removed: int
    left: tuple[Leftover, ...]


@runtime_checkable
class Channel(Protocol):
    """A kind of delivery. Everything in it is idempotent but `open`, whose names belong to one attempt."""

    def folders(self, names: Names) -> Mapping[str, str]:
        """Destination -> the folder of this attempt there; announced in the journal before the first byte."""
        ...

    def open(
        self,
        names: Names,
        number: FileNumber,
        partition: Mapping[str, str | int | None],
        schema: pa.Schema,
        memory: int,
        limit: int | None = None,
    ) -> FileWriter:
        """A new data file. ``schema`` is that of its batches; ``memory`` bounds what may be buffered, in bytes, and
        ``limit`` the file itself, as in `Format.open`."""
        ...

    def prepare(self, names: Names, bill: Document, files: Sequence[Written]) -> dict[str, object]:
        """All that publishing needs, resolved and JSON-able: destinations, objects in order, marker, pointer; and
        ``manifest``, the URL where it will stand.

        ``bill`` gives the manifest's fields for the URL of the folder at a destination.
        """
        ...

    def publish(self, commit: Mapping[str, object], withdrawn: Callable[[], bool]) -> str:
        """From the commit alone. Returns where the manifest stands. The success marker comes last.

        ``withdrawn`` is asked before a marker is written and again after: if the run is being removed meanwhile, its
        folders are emptied and no pointer is touched.
        """
        ...

    def fail(self, names: Names, body: Mapping[str, object]) -> None:
        """Leaves a failure marker, where the destination allows it."""
        ...

    def pointed(self, commit: Mapping[str, object]) -> bool:
        """Whether a pointer still names this run's delivery: it may not go then."""
        ...

    def standing(self, names: Names) -> str | None:
        """The URL of a folder of this run that holds something, whichever attempt's it is; None where all are empty or
        cannot be listed."""
        ...

    def discard(self, folders: Mapping[str, str]) -> Emptied:
        """Deletes whatever stands in these folders, the success marker first."""
        ...


@runtime_checkable
class Preflight(Protocol):
    def check_writable(self, folders: Mapping[str, str]) -> None:
        """Raises where a destination does not take writing into its folder, as far as that shows beforehand."""
        ...


@runtime_checkable
class SchemaChecker(Protocol):
    def check_schema(self, names: Names, schema: pa.Schema) -> None:
        """Raises SchemaMismatch or StoreDenied where a run of batches in this schema could not be published, as far as
        that shows before a row is read."""
        ...


@dataclass(frozen=True, slots=True)
class Past:
    """What was delivered before a run, to its tenant under its major. ``published``: ids of runs. ``superseded``: the
    commits of those whose rows the run takes the place of."""

    published: tuple[str, ...] = ()
    superseded: tuple[Mapping[str, object], ...] = ()


@runtime_checkable
class Cumulative(Protocol):
    """A channel whose deliveries make one whole: a run is added to all that came before it, or not at all."""

    def check_past(self, names: Names, past: Past) -> None:
        """Raises IntegrityError or StoreDenied where the whole lacks a run that was published, or this one could not
        take the place of those that it supersedes, as far as that shows before a row is read."""
        ...

    def follow(self, commit: Mapping[str, object], past: Past) -> dict[str, object]:
        """What `Channel.prepare` made, with what publishing needs to know of the runs before this one."""
        ...


@runtime_checkable
class Releaser(Protocol):
    def release(self, commit: Mapping[str, object]) -> None:
        """Lets go of a delivery that shall expire, as far as readers of the newest one do not need it: `pointed` says
        whether it may go now."""
        ...


@runtime_checkable
class Rechecker(Protocol):
    def require_standing(self, commit: Mapping[str, object]) -> None:
        """Raises Lost where data files of a commit are gone, or have another size than was sealed, as far as
        a listing of its folders shows. What its destinations do not list is taken to stand."""
        ...


@runtime_checkable
class Reuser(Protocol):
    def reuse(self, before: Names, now: Names, files: Mapping[str, int]) -> bool:
        """Copies finished data files from an earlier attempt's folder into a new one's, at every destination.

        ``files``: how many bytes each has. False where that cannot be done: the store does not copy, or may not be
        listed, or the files are gone or have other sizes. What was copied until then may be written over.
        """
        ...
