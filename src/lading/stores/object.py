"""A store in a bucket: S3, Google Cloud Storage, Azure Blob, through `obstore`.

A small object is one conditional or plain PUT. A large upload is sent in parts by a thread of its own, with at most
five parts in memory; it exists when its last part is confirmed. What a killed process leaves of one is invisible, but
costs money until a lifecycle rule of the bucket ends it.
"""

from __future__ import annotations

import contextlib
import io
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from lading.errors import ObjectExists, ObjectNotFound, StoreDenied
from lading.ports import Download, ObjectInfo
from lading.stores.names import check_name, check_prefix
from lading.stores.object_errors import translate
from lading.stores.object_options import Clients, ObjectOptions, connect

T = TypeVar("T")
CONCURRENT_PARTS = 2
READ_BUFFER = 1024 * 1024


class ObjectStore:
    """Objects in a bucket. A Copier, a Linker, a Prober and a Swapper.

    A failed call is not repeated here (`lading.stores.retry` does that), but a failed part of an upload is, since
    nobody above could.
    """

    def __init__(self, options: ObjectOptions) -> None:
        self.url = options.url
        self._clients: Clients = connect(options)
        self._part_size = options.part_size
        self._ordered = options.provider != "az"  # Azure's order depends on the account's kind of namespace

    def put(self, name: str, data: bytes, *, create: bool = False) -> None:
        check_name(name)
        mode = "create" if create else "overwrite"
        self._call(
            f"cannot write {self._of(name)}",
            lambda: self._clients.writes.put(name, data, mode=mode, use_multipart=False),
        )

    def get(self, name: str) -> bytes:
        return self._fetch(name)[0]

    def write(self, name: str) -> ObjectUpload:
        check_name(name)
        return ObjectUpload(self._clients.uploads, name, f"cannot write {self._of(name)}", self._part_size)

    def read(self, name: str) -> Download:
        check_name(name)
        doing = f"cannot read {self._of(name)}"
        meta = self._call(doing, lambda: self._clients.reads.head(name))
        return io.BufferedReader(_File(self._clients.reads, name, doing, meta), READ_BUFFER)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        listing = self._list(check_prefix(prefix))
        return listing if self._ordered else iter(sorted(listing, key=lambda info: info.name.encode()))

    def delete(self, name: str) -> None:
        check_name(name)
        try:
            self._call(f"cannot delete {self._of(name)}", lambda: self._clients.reads.delete(name))
        except ObjectNotFound:
            return

    def copy(self, source: str, target: str) -> None:
        check_name(source), check_name(target)
        self._call(
            f"cannot copy {self._of(source)} to {target}", lambda: self._clients.writes.copy(source, target)
        )

    def probe_write(self, name: str) -> None:
        """Begins an upload, sends a part or two and gives it up: that takes the permission and the key of a write, no
        permission to delete, and leaves nothing that anybody sees."""
        check_name(name)

        def act() -> None:
            # The second byte is asked for when the first is on its way, the third when that has been answered.
            parts = iter((b"0", b"1"))

            def given_up() -> Iterator[bytes]:
                yield from parts
                raise _Cancelled

            with contextlib.suppress(_Cancelled):
                self._clients.writes.put(
                    name, given_up(), use_multipart=True, chunk_size=1, max_concurrency=1
                )

        self._call(f"cannot write {self._of(name)}", act)

    def link(self, name: str, seconds: int) -> str:
        """Signed with the store's own credentials: those of a session end it when they end."""
        check_name(name)

        def act() -> str:
            import obstore

            return obstore.sign(self._clients.reads, "GET", name, timedelta(seconds=seconds))

        doing = f"cannot sign a link to {self._of(name)}"
        url = self._call(doing, act)
        path = urlsplit(url).path
        # object_store signs the path as it stands in the URL, and Azure compares what it stands for.
        if not self._ordered and unquote(path) != path:
            raise StoreDenied(
                f"{doing}: Azure refuses links to names with characters that a URL escapes",
                hint="Hand over the file itself, or deliver to another kind of bucket.",
            )
        return url

    def swap(self, name: str, expected: bytes | None, data: bytes) -> bool:
        if expected is None:
            try:
                self.put(name, data, create=True)
            except ObjectExists:
                return False
            return True
        try:
            found, meta = self._fetch(name)
            if found != expected:
                return False
            return self._replace(name, data, meta)
        except ObjectNotFound:
            return False

    def _replace(self, name: str, data: bytes, meta: Any) -> bool:
        from obstore.exceptions import PreconditionError

        mode = {key: meta[key] for key in ("e_tag", "version") if meta[key] is not None}

        def act() -> bool:
            try:
                self._clients.writes.put(name, data, mode=mode, use_multipart=False)
            except PreconditionError:
                return False
            return True

        return self._call(f"cannot swap {self._of(name)}", act)

    def _fetch(self, name: str) -> tuple[bytes, Any]:
        check_name(name)

        def act() -> tuple[bytes, Any]:
            result = self._clients.reads.get(name)
            return bytes(result.bytes()), result.meta

        return self._call(f"cannot read {self._of(name)}", act)

    def _list(self, prefix: str) -> Iterator[ObjectInfo]:
        doing = f"cannot list {self._of(prefix)}"
        folder, _, start = prefix.rpartition("/")
        # Listings go by folder, so what stands in it before the prefix is jumped over.
        offset = prefix[:-1] if len(start) > 1 else None
        chunks = self._call(
            doing, lambda: iter(self._clients.reads.list(folder or None, offset=offset, chunk_size=1000))
        )
        last = b""
        while (chunk := self._call(doing, lambda: next(chunks, None))) is not None:
            for meta in chunk:
                name = meta["path"].encode()
                if self._ordered and name < last:
                    raise StoreDenied(f"{doing}: the service does not list names in order")
                last = name
                if meta["path"].startswith(prefix):
                    version = meta["e_tag"] or meta["version"] or ""
                    yield ObjectInfo(meta["path"], meta["size"], version, meta["last_modified"])
                elif self._ordered and name > prefix.encode():
                    return

    def _of(self, name: str) -> str:
        return f"{name} in {self.url}" if name else self.url

    def _call(self, doing: str, act: Callable[[], T]) -> T:
        return _call(doing, act)


class ObjectUpload:
    """An object being written; see `lading.ports.Upload`. One that fits into a part is sent whole, at the end."""

    def __init__(self, client: Any, name: str, doing: str, part_size: int) -> None:
        self._client, self._name, self._doing, self._part_size = client, name, doing, part_size
        self._buffer = bytearray()
        self._parts: _Parts | None = None
        self._ended = False

    def write(self, data: bytes | memoryview) -> None:
        self._check()
        view = memoryview(data).cast("B")
        while len(view):
            if len(self._buffer) == self._part_size:
                self._send()
            room = self._part_size - len(self._buffer)
            self._buffer += view[:room]
            view = view[room:]

    def finish(self) -> None:
        self._check()
        try:
            if self._parts is None:
                data = bytes(self._buffer)
                _call(self._doing, lambda: self._client.put(self._name, data, use_multipart=False))
            else:
                self._send()
                self._parts.finish()
            self._ended = True
        finally:
            self.abort()

    def abort(self) -> None:
        if not self._ended and self._parts is not None:
            self._parts.abort()
        self._ended, self._parts, self._buffer = True, None, bytearray()

    def _send(self) -> None:
        if self._parts is None:
            self._parts = _Parts(self._client, self._name, self._doing, self._part_size)
        part, self._buffer = bytes(self._buffer), bytearray()
        self._parts.send(part)

    def _check(self) -> None:
        if self._ended:
            raise StoreDenied(f"{self._doing}: the upload has ended already")


class _Cancelled(Exception):
    """The upload was aborted."""


class _Parts:
    """A multipart upload in a thread, which takes the parts from here one by one.

    obstore ends the upload at the service when the iterator that it reads from raises.
    """

    def __init__(self, client: Any, name: str, doing: str, part_size: int) -> None:
        self._client, self._name, self._doing, self._part_size = client, name, doing, part_size
        self._changed = threading.Condition()
        self._waiting: bytes | None = None
        self._closed = self._cancelled = self._done = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"upload {name}", daemon=True)
        self._thread.start()

    def send(self, part: bytes) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting is None or self._done)
            self._raise()
            self._waiting = part
            self._changed.notify_all()

    def finish(self) -> None:
        self._end(cancelled=False)
        self._raise()

    def abort(self) -> None:
        self._end(cancelled=True)

    def __iter__(self) -> Iterator[bytes]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting is not None or self._closed)
                if self._cancelled:
                    raise _Cancelled
                part, self._waiting = self._waiting, None
                self._changed.notify_all()
            if part is None:
                return
            yield part

    def _run(self) -> None:
        try:
            self._client.put(
                self._name,
                iter(self),
                use_multipart=True,
                chunk_size=self._part_size,
                max_concurrency=CONCURRENT_PARTS,
            )
        except BaseException as error:  # noqa: BLE001 - it is raised again in the thread that writes
            self._error = error
        with self._changed:
            self._done, self._waiting = True, None
            self._changed.notify_all()

    def _end(self, *, cancelled: bool) -> None:
        with self._changed:
            self._closed, self._cancelled = True, cancelled
            self._changed.notify_all()
        self._thread.join()

    def _raise(self) -> None:
        if isinstance(self._error, Exception):
            raise translate(self._error, self._doing) from None
        if self._error is not None:
            raise self._error


class _File(io.RawIOBase):
    """An object being read by ranges, all of one version of it."""

    def __init__(self, client: Any, name: str, doing: str, meta: Any) -> None:
        super().__init__()
        self._client, self._name, self._doing, self._meta = client, name, doing, meta
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self._range(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def readall(self) -> bytes:
        return self._range(self._meta["size"])

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._meta["size"]}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def _range(self, size: int) -> bytes:
        end = min(self._position + size, self._meta["size"])
        if end <= self._position:
            return b""
        options: dict[str, Any] = {"range": (self._position, end)}
        if self._meta["e_tag"]:
            options["if_match"] = self._meta["e_tag"]
        data = _call(self._doing, lambda: bytes(self._client.get(self._name, options=options).bytes()))
        self._position += len(data)
        return data


def _call(doing: str, act: Callable[[], T]) -> T:
    from obstore.exceptions import BaseError

    try:
        return act()
    except (BaseError, OSError, ValueError) as error:
        # Without the cause: its text holds the request, whose URL may carry a signature.
        raise translate(error, doing) from None
