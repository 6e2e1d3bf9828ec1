"""What readers of files share: what a file shows before it is read, streams cut at the ends of records, a tally."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from lading.errors import DataRefused, counted
from lading.ports import Download, ObjectInfo, Range
from lading.sources.files_types import Column
from lading.sources.files_values import Refuse
from lading.sources.findings import held

BATCH_ROWS = 65_536
_BLOCK = 8 * 1024 * 1024  # bytes of text looked at together, at least a record
_MOST = (1 << 31) - (1 << 20)  # bytes of one record: Arrow counts the bytes of text in 32 bits


@dataclass(frozen=True, slots=True)
class Group:
    """A piece of a file that can be read alone. Text has one."""

    index: int
    bytes: int  # not compressed, where that is known
    rows: int | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """What a file shows before it is read. ``columns`` is None for a file that has no rows and names no columns."""

    columns: tuple[Column, ...] | None
    groups: tuple[Group, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is read of a file: its own columns. ``known``: the names of all columns of the dataset."""

    file: ObjectInfo
    columns: tuple[Column, ...]
    as_text: frozenset[str]  # columns of which any value will do, since its text is what arrives
    known: frozenset[str]
    batch_bytes: int  # about how large a batch may be


class Kind(Protocol):
    """A format of files."""

    alike: bool  # False: looking at a file reads it whole, so only the first one with rows tells the columns

    def look(self, file: Download, info: ObjectInfo, ranges: Sequence[Range]) -> Look:
        """Groups that hold no row of ``ranges``, by proof, are left out. Raises SchemaMismatch, DataRefused, and for a
        file that is damaged OSError and ArrowException."""
        ...

    def read(
        self, file: Download, wanted: Wanted, groups: Sequence[int], tally: Tally
    ) -> Iterator[pa.RecordBatch]:
        """Batches that hold at least the wanted columns, of their `Column.type`. Raises as `look` does, DataRefused
        too; messages begin with a verb, since the caller names the file."""
        ...


@dataclass
class Tally:
    """What may not be there, counted over a part: (column, what it holds) -> how many."""

    file: str = ""
    found: dict[tuple[str, str], int] = field(default_factory=dict)
    hints: dict[str, None] = field(default_factory=dict)
    files: dict[str, None] = field(default_factory=dict)

    def add(self, column: str, what: str, count: int, hint: str = "") -> None:
        """``column`` may be empty: then whole rows are meant."""
        if count:
            self.found[column, what] = self.found.get((column, what), 0) + count
            self.files[self.file] = None
            if hint:
                self.hints[hint] = None

    def of(self, column: str) -> Refuse:
        return lambda count, what: self.add(column, what, count)

    def error(self) -> DataRefused:
        names = list(self.files)
        where = names[0] if len(names) == 1 else f"{names[0]} and {counted(len(names) - 1, 'more file')}"
        said = [held(column, what, count) for (column, what), count in self.found.items()]
        return DataRefused(f"{where}: {'; '.join(said)}.", hint=" ".join(self.hints) or None)


class Handle:
    """A download as Arrow wants files: it asks whether they are closed, and may close them more than once."""

    def __init__(self, file: Download) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell
        self.closed = False

    def close(self) -> None:
        """The download is closed by who opened it."""
        self.closed = True


def plain_bytes(file: Download, info: ObjectInfo, codec: str) -> Any:
    """The file's bytes, decompressed: ``codec`` is gz, zst or nothing. A damaged or short file ends in OSError."""
    if codec and not info.size:
        raise OSError("no bytes are no compressed stream, not even of none")
    source = pa.PythonFile(Handle(file), mode="r")
    return pa.CompressedInputStream(source, {"gz": "gzip", "zst": "zstd"}[codec]) if codec else source


def records(stream: Any, last_end: Callable[[bytes], int], block: int = _BLOCK) -> Iterator[bytes]:
    """Whole records, about ``block`` bytes together; a longer record comes alone or as the last of its block.

    ``last_end(data)`` is where the last record that ends in ``data`` ends, and 0 where none does. The last bytes of the
    stream are a record whatever they end with.
    """
    held = b""
    while more := stream.read(max(block, len(held))):
        held += more
        end = last_end(held)
        if end:
            yield held[:end]
            held = held[end:]
        if len(held) > _MOST:
            raise DataRefused(
                "has a record larger than 2 GiB.", hint="Is the end of a line or a quote missing?"
            )
    if held:
        yield held


def slices(batch: pa.RecordBatch, size: int) -> Iterator[pa.RecordBatch]:
    """Pieces of about ``size`` bytes and at most `BATCH_ROWS` rows."""
    if not batch.num_rows:
        return
    pieces = max(-(-batch.num_rows // BATCH_ROWS), -(-batch.nbytes // size), 1)
    step = max(1, -(-batch.num_rows // pieces))
    for start in range(0, batch.num_rows, step):
        yield batch.slice(start, step)
