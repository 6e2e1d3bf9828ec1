"""A small job made of in-memory parts: orders of three customers on a monthly or open-ended window."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lading.channels.audit import AuditChannel
from lading.channels.drop import Destination, DropChannel
from lading.export.consistency import RECORDS
from lading.export.interval import grid, parse_every
from lading.export.layout import Layout
from lading.formats.chained import ChainedFormat
from lading.formats.jsonl import JsonlFormat, JsonlOptions
from lading.history import Terms
from lading.journal.log import Journal
from lading.keys.memory import MemoryKeyring
from lading.manifest import sha256
from lading.plan import Clock, Standing
from lading.ports import Bound, CheckResult, Dataset, Store
from lading.proof import current
from lading.run import Binding, Job
from lading.run.job import Version, Window
from lading.sources.memory import MemorySource
from lading.stores.memory import MemoryStore
from lading.transforms.select import Select

NOTHING = b"{}"
JANUARY = datetime(2024, 1, 1, tzinfo=UTC)
UTC_US = pa.timestamp("us", "UTC")
SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("customer", pa.string()),
        pa.field("at", UTC_US),
        pa.field("arrived", UTC_US),
    ]
)


def orders(rows: list[tuple[int, str | None, datetime, datetime]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [[], [], [], []]
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA)


def some_orders(months: int = 2, per_customer: int = 3, customers: str = "abc") -> pa.Table:
    rows = []
    for month in range(months):
        at = JANUARY.replace(month=month + 1)
        for customer in customers:
            for n in range(per_customer):
                rows.append((len(rows), customer, at + timedelta(hours=n), at + timedelta(hours=n)))
    return orders(rows)


@dataclass
class World:
    """What stays when a process dies: the table, the stores, the clock of the source."""

    table: pa.Table
    journal: Store = field(default_factory=lambda: MemoryStore("memory://journal"))
    lake: Store = field(default_factory=lambda: MemoryStore("memory://lake"))
    now: datetime = datetime(2024, 6, 1, tzinfo=UTC)
    bound: datetime | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def copy(self) -> World:
        """What would stand if it went on otherwise from here."""
        other = replace(self, journal=MemoryStore(self.journal.url), lake=MemoryStore(self.lake.url))
        for mine, theirs in ((self.journal, other.journal), (self.lake, other.lake)):
            for name, data in snapshot(mine).items():
                theirs.put(name, data)
        return other

    def job(
        self,
        *,
        journal: Store | None = None,
        lake: Store | None = None,
        mode: str = "append",
        tenants: bool = True,
        discover: bool = True,
        listed: tuple[str, ...] = (),
        inactive: tuple[str, ...] = (),
        late: bool = False,
        pointer: bool = False,
        lease: float = 0.05,
        keep: int | None = None,
        audit: bool = False,
        beside: bool = False,
        merged: bool = False,
        **changes: Any,
    ) -> Job:
        source = MemorySource(
            _Live(self),
            known_to=lambda: Bound(self.now, self.bound or self.now),
            rows_per_part=4,
            rows_per_batch=2,
            **self.extra,
        )
        every = parse_every("1 month")
        intervals = tuple(grid(JANUARY, every, last=datetime(2024, 5, 1, tzinfo=UTC)))
        format = JsonlFormat(JsonlOptions(compression="gzip" if audit else "none"))
        window = None
        if mode == "append":
            window = Window("at", "event" if late else "transaction", "arrived" if late else None)
        elif mode == "incremental":
            window = Window("arrived", "transaction")

        def standing(clock: Clock, upto: datetime | None) -> Standing:
            tick = None
            if mode == "full_refresh":
                day = clock.now.replace(hour=0, minute=0, second=0, microsecond=0)
                tick = next(grid(day, parse_every("1 day"), until=day + timedelta(days=1), last=None))
            return Standing(
                terms=Terms(
                    mode,
                    "customer" if tenants else None,
                    window.column if window else None,
                    window.arrival if window else None,
                ),
                major=1,
                beside=2 if beside else None,
                clock="event" if late else "transaction",
                grid=intervals if mode == "append" else (),
                start=JANUARY,
                tick=tick,
                discover=discover and tenants,
                listed=listed if tenants else ("default",),
                inactive=frozenset(inactive),
                merged=merged,
            )

        binding = Binding(
            columns=tuple(SCHEMA.names),
            as_text=frozenset(),
            read=SCHEMA,
            output=SCHEMA,
            recipient=[{"name": f.name, "type": str(f.type), "nullable": f.nullable} for f in SCHEMA],
            policy=[],
            transforms=(),
            notices=(),
            open_columns=frozenset({"id"}),
        )
        if beside:
            fewer = Select(("id", "customer"))
            other = replace(
                binding, output=fewer.bind(SCHEMA), recipient=binding.recipient[:2], transforms=(fewer,)
            )
            binding = replace(binding, beside=other)
        records = Journal(journal or self.journal, lease=lease)
        layout = Layout("custom", path=_BY_MAJOR) if beside else Layout(tenanted=tenants)
        channel: DropChannel
        if audit:
            channel = AuditChannel(
                [Destination("lake", lake or self.lake)],
                Layout(tenanted=tenants, only_file=RECORDS),
                ChainedFormat(JsonlOptions(compression="gzip")),
                "portable",
                export="orders_drop",
                signer=Signing,
                journal=records,
                evidence=evidence_of,
            )
        else:
            channel = DropChannel(
                [Destination("lake", lake or self.lake)],
                layout,
                format,
                "portable",
                export="orders_drop",
                pointer=pointer or mode == "full_refresh",
            )
        of_version = {key: changes.pop(key) for key in list(changes) if key in Version.__slots__}
        job = Job(
            project="shop",
            environment="test",
            export="orders_drop",
            entity="orders",
            mode=mode,
            types="portable",
            own=Version(
                definition=sha256(NOTHING) if audit else "0" * 64,
                contract={
                    "id": "orders",
                    "name": "orders",
                    "version": "1.0.0",
                    "sha256": sha256(NOTHING) if audit else "0" * 64,
                },
                major=1,
                channel=channel,
                checks=lambda *_: [],
            ),
            source=source,
            dataset=Dataset(table="orders"),
            origin={"connection": "memory", "table": "orders"},
            journal=records,
            keys=MemoryKeyring(),
            binding=lambda: binding,
            standing=standing,
            tenant_column="customer" if tenants else None,
            window=window,
            format_name="jsonl",
            codec=format.codec,
            format_options={"type": "jsonl", "compression": "gzip", "chained": True} if audit else {},
            in_one=audit,
            keep=keep,
        )
        if beside:
            other = {**job.own.contract, "version": "2.0.0"}
            job = replace(job, beside=replace(job.own, major=2, contract=other))
        return replace(under(job, **of_version), **changes)


_BY_MAJOR = "v{major}/tenant={tenant}/{yyyy}/{MM}/{dd}/{HHMMSS}_{run}-a{attempt}"


def under(job: Job, **changes: Any) -> Job:
    """The job with other settings of the major that it delivers."""
    return replace(job, own=replace(job.own, **changes))


class Signing:
    """A key in memory."""

    _key = Ed25519PrivateKey.from_private_bytes(b"shop".ljust(32, b"."))

    @property
    def public_key(self) -> bytes:
        return self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)


def evidence_of(manifest: Mapping[str, Any]) -> list[tuple[str, bytes]]:
    """What the small job's manifest names: it has no files."""
    return [("definition.json", NOTHING), ("contract.yaml", NOTHING)]


class _Live(dict[str, pa.Table]):
    """The world's table as it is when it is read, not when the job was made."""

    def __init__(self, world: World) -> None:
        super().__init__(orders=world.table)
        self._world = world

    def get(self, name: str, default: Any = None) -> Any:
        return self._world.table if name == "orders" else default


class Broken:
    """A check over all rows that no rows can pass."""

    def bind(self, schema: Any) -> None: ...
    def observe(self, batch: Any) -> None: ...
    def close(self) -> None: ...
    def result(self) -> CheckResult:
        return CheckResult("row_count(min)", False, "fail", 1, "0 rows")


class Hooked:
    """A store that tells what is about to happen to it, so that a test can hold a process still there."""

    def __init__(self, store: Store, hook: Callable[[str, str], object]) -> None:
        self._store, self._hook, self.url = store, hook, store.url
        for operation in (
            "copy",
            "swap",
            "probe_write",
        ):  # what isinstance sees; from Python 3.12 on no __getattr__
            if hasattr(store, operation):
                setattr(self, operation, self.__getattr__(operation))

    def __getattr__(self, operation: str) -> Any:
        act = getattr(self._store, operation)

        def call(name: str = "", *args: Any, **options: Any) -> Any:
            self._hook(operation, name)
            return act(name, *args, **options)

        return call


class Held:
    """A process that stops before a chosen call on a store until it is let go."""

    def __init__(self, at: Callable[[str, str], bool]) -> None:
        self._at, self._reached, self._go, self._used = at, threading.Event(), threading.Event(), False
        self.results: list = []

    def hook(self, operation: str, name: str) -> None:
        if not self._used and self._at(operation, name):
            self._used = True
            self._reached.set()
            assert self._go.wait(30)

    @contextmanager
    def running(self, work: Callable[[], list]) -> Iterator[None]:
        """Inside the block the process stands still; it goes on to its end afterwards."""
        thread = threading.Thread(target=lambda: self.results.extend(work()), daemon=True)
        thread.start()
        assert self._reached.wait(30)
        try:
            yield
        finally:
            self.go(thread)

    def go(self, thread: threading.Thread | None = None) -> None:
        self._go.set()
        if thread is not None:
            thread.join(30)


def creates(part: str) -> Callable[[str, str], bool]:
    return lambda operation, name: operation == "put" and part in name


def ids(store: Store, prefix: str = "", major: int | None = None) -> Counter[int]:
    """The ids in the current deliveries, as a recipient would read them."""
    found: Counter[int] = Counter()
    for delivery in current(store, prefix, major=major):
        for file in delivery.manifest["files"]:
            text = store.get(f"{delivery.folder}/{file['name']}").decode()
            found.update(json.loads(line)["id"] for line in text.splitlines())
    return found


def snapshot(store: Store) -> dict[str, bytes]:
    return {info.name: store.get(info.name) for info in list(store.list())}
