"""Files and data keys for a recipient's own public key, in age's format: https://age-encryption.org/v1

Nobody here can open them again: the private key is the recipient's.
"""

from __future__ import annotations

import hashlib
import io
import queue
import tempfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import IO, Any

from lading.errors import InvalidProject, Refused
from lading.export.layout import Names
from lading.ports import Download, FileStats, Format, Sink, Types, WrappedKey, Writer

EXTRA = "Install Lading with its extra: pip install '.[age]' in the checkout."
SUFFIX = "age"
_HEADER = 2_048  # bytes that come before the first chunk, at most: a stanza, and one that means nothing
_CHUNK, _TAG = 64 << 10, 16


def public_key(text: str) -> Any:
    """Raises ValueError for what is no ``age1…``, and InvalidProject where pyrage is not installed."""
    pyrage = _pyrage()
    try:
        return pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError as error:
        raise ValueError("is no public key of age: age1…, as age-keygen tells it") from error


def _pyrage() -> Any:
    try:
        import pyrage
    except ModuleNotFoundError as error:
        raise InvalidProject("age needs the package pyrage, which is not installed.", hint=EXTRA) from error
    return pyrage


def age_key_id(key: str) -> str:
    """A public key's name in manifests: the first 16 hex digits of SHA-256 over its text."""
    return hashlib.sha256(key.encode()).hexdigest()[:16]


class Recipients:
    """Tenants' public keys."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._keys = dict(keys)

    def require(self, tenants: Iterable[str]) -> None:
        """Raises Refused, with all of ``tenants`` that have no key."""
        lacking = [repr(tenant) for tenant in sorted(set(tenants)) if tenant not in self._keys]
        if not lacking:
            return
        one = len(lacking) == 1
        raise Refused(
            f"Tenant {lacking[0]} has no public key, and files for it are encrypted to its own."
            if one
            else f"Tenants {', '.join(lacking)} have no public keys, and files for each are encrypted to its own.",
            hint=f"Put age: age1… into {'its file' if one else 'the file of each'} in tenants/.",
        )

    def of(self, tenant: str) -> tuple[str, Any]:
        """The key's id, and the key. Raises Refused for a tenant without one."""
        self.require((tenant,))
        text = self._keys[tenant]
        return age_key_id(text), public_key(text)


class AgeWrapper:
    """Wraps data keys to the recipient's public key (`ports.Wrapper`)."""

    wrapping = "age"

    def __init__(self, recipients: Recipients) -> None:
        self._recipients = recipients

    def key_id(self, tenant: str) -> str:
        return self._recipients.of(tenant)[0]

    def wrap(self, tenant: str, key: bytes) -> WrappedKey:
        name, recipient = self._recipients.of(tenant)
        return WrappedKey(name, _pyrage().encrypt(key, [recipient]))


class AgeStreams:
    """Whole files as age streams to the recipient's public key (`ports.Encryption`)."""

    suffix = SUFFIX
    record: Mapping[str, str] = {"type": "age"}

    def __init__(self, recipients: Recipients) -> None:
        self._recipients = recipients

    def key_id(self, tenant: str) -> str:
        return self._recipients.of(tenant)[0]

    def open(
        self,
        format: Format,
        sink: Sink,
        schema: Any,
        types: Types,
        memory: int,
        limit: int | None,
        *,
        names: Names,
        file: str,
    ) -> tuple[Writer, Mapping[str, str]]:
        name, recipient = self._recipients.of(names.tenant)
        stream = AgeSink(sink, recipient)
        try:
            writer = format.open(stream, schema, types, memory, _within(limit))
        except BaseException:
            stream.abort()
            raise
        return _Writer(writer, stream), {"key_id": name}


class AgeSealer:
    """Anything as an age stream to the recipient's public key (`ports.Sealer`)."""

    suffix = SUFFIX

    def __init__(self, recipients: Recipients) -> None:
        self._recipients = recipients

    def key_id(self, tenant: str) -> str:
        return self._recipients.of(tenant)[0]

    def seal(self, sink: Sink, tenant: str) -> AgeSink:
        return AgeSink(sink, self._recipients.of(tenant)[1])


def _within(limit: int | None) -> int | None:
    """How large a file may be so that its stream has at most ``limit`` bytes."""
    if limit is None:
        return None
    room = max(1, limit - _HEADER)
    return max(1, room - (room // (_CHUNK + _TAG) + 1) * _TAG)


class AgeSink:
    """Encrypts what is written on its way to ``sink``, in a thread of its own: age reads, and does not take."""

    def __init__(self, sink: Sink, recipient: Any) -> None:
        self._blocks: queue.Queue[bytes | None] = queue.Queue(2)
        self._out = _Out(sink)
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._encrypt, args=(recipient,), name="age", daemon=True)
        self._thread.start()

    def write(self, data: bytes | memoryview) -> int:
        """Raises what the sink raised."""
        self._put(bytes(data))
        return len(data)

    def finish(self) -> None:
        self._put(None)
        self._thread.join()
        self._raise()

    def abort(self) -> None:
        """Ends the thread, and writes nothing more. Never raises."""
        self._out.stopped = True
        while self._thread.is_alive():
            with suppress(queue.Full):
                self._blocks.put(None, timeout=0.05)
            self._thread.join(0.05)

    def _put(self, block: bytes | None) -> None:
        taken = block == b""  # which would be the end
        while not taken:
            self._raise()
            with suppress(queue.Full):  # the thread may have failed meanwhile
                self._blocks.put(block, timeout=0.5)
                taken = True

    def _raise(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _encrypt(self, recipient: Any) -> None:
        try:
            _pyrage().encrypt_io(_Blocks(self._blocks), self._out, [recipient])
        except BaseException as error:  # noqa: BLE001 -- it is raised where the stream is written
            self._failure = error
        # age wraps what the sink raised, and passes over what it raised for the last bytes.
        self._failure = self._out.failure or self._failure


class _Blocks(io.RawIOBase):
    """What was put into a queue, as a file that is read."""

    def __init__(self, blocks: queue.Queue[bytes | None]) -> None:
        self._blocks = blocks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        if not self._rest:
            block = self._blocks.get()
            if block is None:
                return b""
            self._rest = memoryview(block)
        taken, self._rest = self._rest[:size], self._rest[size:]
        return bytes(taken)


class _In(io.RawIOBase):
    """A file that remembers what it raised: age makes an error of its own of it."""

    def __init__(self, file: Download) -> None:
        self._file = file
        self.failure: BaseException | None = None

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        try:
            return self._file.read(size)
        except BaseException as error:
            self.failure = error
            raise


class _Out(io.RawIOBase):
    """A sink that remembers what it raised."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self.failure: BaseException | None = None
        self.stopped = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        if self.stopped:
            return len(data)
        try:
            self._sink.write(data)
        except BaseException as error:
            self.failure = error
            raise
        return len(data)


class _Writer:
    """A format's writer whose file is a stream."""

    def __init__(self, writer: Writer, stream: AgeSink) -> None:
        self._writer, self._stream = writer, stream

    def append(self, batch: Any) -> int:
        return self._writer.append(batch)

    @property
    def size(self) -> int:
        return self._writer.size

    def finish(self) -> FileStats:
        try:
            stats = self._writer.finish()
            self._stream.finish()
        except BaseException:
            self._stream.abort()
            raise
        return stats

    def abort(self) -> None:
        self._stream.abort()
        self._writer.abort()


# --- for recipients ------------------------------------------------------------------------------------------------

_ASK = (
    "None that --tenant-key gives opens it: give this tenant's too, or ask the sender for which public key it was "
    "encrypted."
)


def identities(text: str) -> list[Any]:
    """The private keys in a file that age-keygen wrote. Raises Refused for one without any."""
    pyrage = _pyrage()
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    try:
        found = [pyrage.x25519.Identity.from_str(line) for line in lines]
    except pyrage.IdentityError:
        found = []
    if not found:
        raise Refused("A file of keys holds no private key of age: AGE-SECRET-KEY-1…")
    return found


def opened_key(wrapped: WrappedKey, held: Sequence[Any]) -> bytes:
    """The data key. Raises Refused where none of the private keys opens it."""
    pyrage = _pyrage()
    try:
        return bytes(pyrage.decrypt(wrapped.data, list(held)))
    except pyrage.DecryptError as error:
        raise Refused(
            f"The key {wrapped.key_id} is not here: what it wrapped cannot be opened.",
            hint=_ASK if held else "Give the private key of age by --tenant-key.",
        ) from error


class _Clear:
    """A file in the clear, to be read, and no more than that."""

    def __init__(self, file: IO[bytes]) -> None:
        self.read, self.seek, self.tell, self.close = file.read, file.seek, file.tell, file.close


def opened_stream(file: Download, held: Sequence[Any], spill: int = 64 << 20) -> Download:
    """The file in the clear, in memory or, beyond ``spill`` bytes, in a temporary file. Raises Refused."""
    pyrage = _pyrage()
    clear = tempfile.SpooledTemporaryFile(spill)  # noqa: SIM115 -- the caller closes it
    source, target = _In(file), _Out(clear)
    try:
        try:
            pyrage.decrypt_io(source, target, list(held))
        finally:
            # age wraps what these raised, and passes over what was raised for the last bytes.
            if failure := source.failure or target.failure:
                raise failure
        clear.seek(0)
    except BaseException as error:
        clear.close()
        if error in (source.failure, target.failure) or not isinstance(error, pyrage.DecryptError | OSError):
            raise
        raise Refused(
            "The file cannot be opened: it was changed, or none of the keys is its own.", hint=_ASK
        ) from error
    return _Clear(clear)
