"""JSON lines whose records are chained: gzip, one object a line, each with the SHA-256 of the line before.

::

    {"n":1,"previous":"<hash>","record":{…}}

``n`` counts from 1. ``previous`` is the SHA-256 of the previous line's bytes without its end; of the first line, the
seed that it was given: what binds the file to its run, or what nobody can guess. Hashes are of bytes as they stand, so
that a reader needs no canonical form. ``record`` is the row as `lading.formats.jsonl` writes it. The specification is
`docs/audit-package.md`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from typing import Any

from lading.errors import DataRefused, IntegrityError
from lading.evidence.verifier import LONGEST, ZEROS, Chain, lines_of
from lading.formats.compression import Counted, Stream, compressed
from lading.formats.jsonl import JsonlFormat, JsonlOptions
from lading.ports import Download, FileStats, Sink, Types, Writer

_RECORD = b'"record":'


class ChainedFormat:
    """Writes and reads chained JSON lines. ``seed`` is what the first line that is written names."""

    name, codec, suffix = "jsonl", "gz", "jsonl.gz"

    def __init__(self, options: JsonlOptions, seed: str = ZEROS) -> None:
        """Raises ValueError for a compression other than gzip."""
        if options.compression != "gzip":
            raise ValueError("chained lines are compressed by gzip")
        self._options, self._seed = options, seed
        self._lines = JsonlFormat(options.model_copy(update={"compression": "none"}))

    def of(self, seed: str) -> ChainedFormat:
        """The same format, for the file of this seed."""
        return ChainedFormat(self._options, seed)

    def schema(self, schema: Any, types: Types) -> Any:
        return self._lines.schema(schema, types)

    def open(self, sink: Sink, schema: Any, types: Types, memory: int, limit: int | None = None) -> Writer:
        if limit is not None:
            raise ValueError("a chain is one file, which has no greatest size")
        return ChainedWriter(self._lines, sink, schema, types, memory, self._seed)

    def notices(self) -> tuple[str, ...]:
        return self._lines.notices()

    def scan(self, file: Download, schema: Any) -> Iterator[Any]:
        """Raises IntegrityError as `JsonlFormat.scan`, and for lines that do not follow each other."""
        return self._lines.rows(_records(file), schema)


class ChainedWriter:
    def __init__(
        self, lines: JsonlFormat, sink: Sink, schema: Any, types: Types, memory: int, first: str
    ) -> None:
        self._out = Counted(sink)
        self._chain = _Links(compressed(self._out, "gzip"), first)
        self._writer = lines.open(self._chain, schema, types, memory)

    def append(self, batch: Any) -> int:
        return self._writer.append(batch)

    @property
    def size(self) -> int:
        return self._out.size

    def finish(self) -> FileStats:
        stats = self._writer.finish()
        self._chain.finish(stats.rows)
        return replace(stats, head=self._chain.head)

    def abort(self) -> None:
        self._writer.abort()
        self._out.detach()


class _Links:
    """The sink of plain lines: each is wrapped with its number and the hash of the one before."""

    def __init__(self, stream: Stream, first: str) -> None:
        self._stream, self.head = stream, first
        self._count = 0
        self._rest = b""

    def write(self, data: bytes | memoryview) -> int:
        *lines, self._rest = (self._rest + bytes(data)).split(b"\n")
        made, number, head = [], self._count, self.head
        for line in lines:
            number += 1
            link = b'{"n":%d,"previous":"%s",%s%s}' % (number, head.encode(), _RECORD, line)
            if len(link) > LONGEST:
                raise DataRefused(
                    f"a record makes a line of {len(link):,} bytes, and none of an audit package may pass {LONGEST:,}",
                    hint="Leave the column that is so long out, or deliver it over another channel.",
                )
            head = sha256(link).hexdigest()
            made.append(link)
        self._count, self.head = number, head
        if made:
            made.append(b"")
            self._stream.write(b"\n".join(made))
        return len(data)

    def finish(self, rows: int) -> None:
        if self._rest or self._count != rows:
            raise IntegrityError(f"{rows} rows made {self._count} lines")
        self._stream.finish()


def _records(file: Download) -> Iterator[bytes]:
    """The records of a file that holds together. Whose it is, and whether it is whole, its checkpoint says."""
    chain = Chain(None)
    try:
        with closing(lines_of(file.read)) as lines:
            for line in lines:
                chain.line(line)
                if chain.wrong or chain.last != chain.count:
                    what = chain.judge(chain.count, chain.head)
                    raise IntegrityError(what[0])
                yield line[line.index(_RECORD) + len(_RECORD) : -1]
    except ValueError as error:
        raise IntegrityError(str(error)) from error
