"""pyiceberg's way to files, over a store of ours: credentials, endpoints, limits and retry are those of `stores:`.

Objects are created and never overwritten, and nothing is deleted when pyiceberg asks for it: it does so whenever a
catalogue says that a commit failed, and a catalogue may be wrong about that. What was written is noted instead, and
removed by `lading.channels.iceberg` once the table itself shows that it does not refer to it.
"""

from __future__ import annotations

import contextlib
import io
import threading
import uuid
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io import FileIO, InputFile, InputStream, OutputFile, OutputStream

from lading.errors import IntegrityError, ObjectExists, ObjectNotFound, StoreDenied
from lading.ports import Store

IMPLEMENTATION = "lading.channels.iceberg_io.StoreIO"
_KEY = "lading.files"
_PLACES: weakref.WeakValueDictionary[str, Files] = weakref.WeakValueDictionary()


@dataclass(slots=True)
class Noted:
    """Locations that were written on behalf of a commit, and those that pyiceberg wants deleted after it."""

    written: list[str] = field(default_factory=list)
    doomed: list[str] = field(default_factory=list)


class Files:
    """The objects of a store, by the locations that tables know them by: where the store is, then the name.

    Engines take a location letter by letter, so a bucket's URL stands there decoded; a folder's is so already.
    """

    def __init__(self, store: Store) -> None:
        url = store.url if store.url.startswith("file://") else unquote(store.url)
        self.store, self._root, self._key = store, url.rstrip("/") + "/", uuid.uuid4().hex
        self._own = threading.local()
        _PLACES[self._key] = self

    @property
    def properties(self) -> dict[str, str]:
        """What makes pyiceberg come here, in a catalogue's properties."""
        return {"py-io-impl": IMPLEMENTATION, _KEY: self._key}

    def io(self) -> StoreIO:
        return StoreIO({_KEY: self._key})

    @contextmanager
    def noted(self, noted: Noted) -> Iterator[None]:
        """Notes what is written meanwhile on behalf of this thread."""
        self._own.noted = noted
        try:
            yield
        finally:
            self._own.noted = None

    @property
    def notes(self) -> Noted | None:
        return getattr(self._own, "noted", None)

    def note(self, location: str) -> None:
        if self.notes is not None:
            self.notes.written.append(location)

    def location(self, name: str) -> str:
        return self._root + name

    def name(self, location: str) -> str:
        """Raises StoreDenied for what lies elsewhere."""
        if not location.startswith(self._root):
            raise StoreDenied(
                f"A table refers to {location}, which does not lie in the store {self._root}.",
                hint="Point the catalogue's store to where the table was made.",
            )
        return location.removeprefix(self._root)

    def open(self, location: str) -> Any:
        """An object as an Arrow file, read by ranges."""
        return pa.PythonFile(_Opened(self.store.read(self.name(location))), mode="r")


def parquet(file: Any, location: str, **options: Any) -> pq.ParquetFile:
    """Raises IntegrityError for what is no Parquet file."""
    with _read(location):
        # Without pre_buffer, which reads in threads of Arrow's: a merge that fails would leave them behind.
        return pq.ParquetFile(file, pre_buffer=False, page_checksum_verification=True, **options)


def batches(opened: pq.ParquetFile, location: str, rows: int, **options: Any) -> Iterator[pa.RecordBatch]:
    """The file's rows, so many at a time. Raises IntegrityError where they cannot be read."""
    with _read(location):
        yield from opened.iter_batches(rows, use_threads=False, **options)


@contextmanager
def _read(location: str) -> Iterator[None]:
    try:
        yield
    except MemoryError:  # of which Arrow has its own kind, and which tells nothing of the file
        raise
    except (pa.ArrowException, OSError) as error:
        # It is not taken for lost: whether there is a copy is not seen from here.
        raise IntegrityError(
            f"{location} cannot be read: it is not the file that was written there.",
            hint="Put it back as it was, from a copy, a version of the object or a backup, and run again. If there is "
            "none, and its interval can be delivered anew by --revise, delete it first: its rows come with the "
            "revision. Nothing but Lading may write into folders of deliveries.",
        ) from error


class StoreIO(FileIO):
    """Made by pyiceberg, from a catalogue's properties."""

    def __init__(self, properties: dict[str, str]) -> None:
        super().__init__(properties)
        self._files = _PLACES[properties[_KEY]]
        # Manifests are written in threads of pyiceberg's own, through what the publishing thread was given.
        self._noted = self._files.notes

    def new_input(self, location: str) -> InputFile:
        return _Input(self._files, location)

    def new_output(self, location: str) -> OutputFile:
        return _Output(self._files, location, self._noted)

    def delete(self, location: str | InputFile | OutputFile) -> None:
        """Nothing yet: see above."""
        if self._noted is not None:
            self._noted.doomed.append(location if isinstance(location, str) else location.location)


class _Opened(io.RawIOBase):
    """A download as the file object that Arrow's readers want."""

    def __init__(self, file: Any) -> None:
        super().__init__()
        self._file = file
        self.read, self.seek, self.tell = file.read, file.seek, file.tell  # type: ignore[method-assign]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


class _Input(InputFile):
    def __init__(self, files: Files, location: str) -> None:
        super().__init__(location)
        self._files = files

    def __len__(self) -> int:
        return len(self._bytes())

    def exists(self) -> bool:
        try:
            self._bytes()
        except IntegrityError:
            return False
        return True

    def open(self, seekable: bool = True) -> InputStream:
        """Metadata and manifests are small, and read as a whole."""
        return io.BytesIO(self._bytes())

    def _bytes(self) -> bytes:
        try:
            return self._files.store.get(self._files.name(self.location))
        except ObjectNotFound as error:
            raise IntegrityError(
                f"{self.location} is gone, and a table refers to it.",
                hint="Restore it from a backup of the store; nothing but Lading's own expiry may delete there.",
            ) from error


class _Output(OutputFile):
    def __init__(self, files: Files, location: str, noted: Noted | None) -> None:
        super().__init__(location)
        self._files, self._noted, self._size = files, noted, 0

    def __len__(self) -> int:
        return self._size

    def exists(self) -> bool:
        return self.to_input_file().exists()

    def to_input_file(self) -> InputFile:
        return _Input(self._files, self.location)

    def create(self, overwrite: bool = False) -> OutputStream:
        """``overwrite`` is not heeded: every name holds a random UUID."""
        return _Bytes(self)

    def put(self, data: bytes) -> None:
        self._size = len(data)
        name = self._files.name(self.location)
        if self._noted is not None:
            self._noted.written.append(self.location)
        try:
            self._files.store.put(name, data, create=True)
        except ObjectExists:
            # A request whose answer was lost was tried again.
            if self._files.store.get(name) != data:
                raise


class _Bytes(io.BytesIO):
    """An object being written: it is there once this is closed, unless by an exception."""

    def __init__(self, output: _Output) -> None:
        super().__init__()
        self._output = output

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            super().close()
        self.close()

    def close(self) -> None:
        if not self.closed:
            data = self.getvalue()
            super().close()
            self._output.put(data)


def remove(files: Files, locations: list[str]) -> None:
    """Deletes what no table refers to, as far as that is allowed: it takes room and is in nobody's way."""
    for location in locations:
        with contextlib.suppress(StoreDenied):
            files.store.delete(files.name(location))
