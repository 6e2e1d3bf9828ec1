"""Streams of bytes: counting, gzip (RFC 1952), Zstandard (RFC 8878).

The same bytes in give the same bytes out, however they were cut into writes: encoders see blocks of a fixed size, and
gzip's header carries neither a time nor a name.
"""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any, Literal, Protocol

import pyarrow as pa
from isal import isal_zlib

from lading.ports import Download, Sink

Compression = Literal["none", "gzip", "zstd"]
SUFFIXES: dict[str, str] = {"none": "", "gzip": "gz", "zstd": "zst"}

_BLOCK = 1 << 20
GZIP_LEVEL = 2  # of isal's 0 to 3


class Stream(Protocol):
    """Bytes on their way to a sink. Ended by ``finish``; dropped by letting go of it."""

    def write(self, data: Any) -> object: ...

    def flush(self) -> None:
        """Lets all that was written reach the sink."""
        ...

    def finish(self) -> None: ...


class Counted:
    """Hands bytes to a sink and counts them. Also the file object that pyarrow's writers want."""

    closed = False

    def __init__(self, sink: Sink) -> None:
        self._sink: Sink | None = sink
        self.size = 0

    def write(self, data: Any) -> int:
        """Passes on, or drops after `detach`."""
        view = memoryview(data)
        if self._sink is not None and view.nbytes:
            self._sink.write(view if view.format == "B" and view.ndim == 1 else view.cast("B"))
            self.size += view.nbytes
        return view.nbytes

    def detach(self) -> None:
        """From here on nothing reaches the sink: what an encoder still writes while it is torn down is dropped."""
        self._sink = None

    def finish(self) -> None:
        """Nothing is held back here."""

    def tell(self) -> int:
        return self.size

    def writable(self) -> bool:
        return True

    def flush(self) -> None:
        """Nothing is held back here."""

    def close(self) -> None:
        """The sink is its owner's to end."""


class Opened:
    """A download as the file object that pyarrow's readers want. Closing it is left to the download's owner."""

    closed = False

    def __init__(self, file: Download) -> None:
        self.read = file.read
        self.seek = file.seek
        self.tell = file.tell

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        """The download is its owner's to close."""


def arrow_file(file: Download) -> Any:
    """A download as an Arrow file."""
    return pa.PythonFile(Opened(file), mode="r")


class Blocks:
    """Cuts what is written into blocks of one size for an encoder, whose output may depend on how it is fed."""

    def __init__(
        self, encode: Callable[[Any], object], flush: Callable[[], object], end: Callable[[], object]
    ) -> None:
        self._encode, self._flush, self._end = encode, flush, end
        self._held = bytearray()

    def write(self, data: Any) -> None:
        view = memoryview(data).cast("B")
        start = 0
        if self._held:
            start = min(_BLOCK - len(self._held), len(view))
            self._held += view[:start]
            if len(self._held) < _BLOCK:
                return
            self._encode(self._held)
            self._held = bytearray()
        while len(view) - start >= _BLOCK:
            self._encode(view[start : start + _BLOCK])
            start += _BLOCK
        self._held += view[start:]

    def flush(self) -> None:
        if self._held:
            self._encode(self._held)
            self._held = bytearray()
        self._flush()

    def finish(self) -> None:
        if self._held:
            self._encode(self._held)
        self._end()


def compressed(out: Counted, compression: Compression, gzip_level: int = GZIP_LEVEL) -> Stream:
    """The stream that encodes into ``out``: one gzip member or one Zstandard frame."""
    if compression == "gzip":
        gzipped = isal_zlib.compressobj(gzip_level, isal_zlib.DEFLATED, 31)
        return Blocks(
            lambda block: out.write(gzipped.compress(block)),
            lambda: out.write(gzipped.flush(isal_zlib.Z_SYNC_FLUSH)),
            lambda: out.write(gzipped.flush()),
        )
    if compression == "zstd":
        framed = pa.CompressedOutputStream(pa.PythonFile(out, mode="w"), "zstd")
        return Blocks(framed.write, framed.flush, framed.close)
    return out


def fitting(compression: Compression, room: int) -> int:
    """How many bytes may be written after a flush (or the beginning) so that they and the stream's end certainly fit
    into ``room`` bytes, however badly they compress."""
    if compression == "gzip":
        # A Huffman code for the 286 symbols of RFC 1951 takes nine bits a byte at most; then headers, the flush, the
        # end and its trailer.
        return (room - 128) * 8 // 9
    if compression == "zstd":
        # RFC 8878, section 3.1.1.2: a block of up to 128 KiB that does not shrink is kept raw, under a header of three.
        return (room - 64) * 255 // 256
    return room


def decompressed(file: Download, compression: Compression) -> Any:
    """The plain bytes of a compressed file, as a binary file object that is read forwards."""
    if compression == "gzip":
        return gzip.GzipFile(fileobj=file)
    source = arrow_file(file)
    return pa.CompressedInputStream(source, "zstd") if compression == "zstd" else source
