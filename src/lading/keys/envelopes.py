"""A data key for every file, wrapped for the tenant whose file it is: for formats that encrypt from within."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Mapping
from typing import Any

from lading.export.layout import Names
from lading.keys.identity import KEY_BYTES
from lading.manifest import canonical
from lading.ports import Encrypting, FileKey, Format, Sink, Types, WrappedKey, Wrapper, Writer

Unwrap = Callable[[WrappedKey], bytes]


class Envelopes:
    """`ports.Encryption`. ``bound``: a file opens only for who names its tenant, contract, run and name, too."""

    suffix = ""

    def __init__(self, wrapper: Wrapper, encryption: str, *, bound: bool) -> None:
        """``encryption``: what the format calls its own."""
        self._wrapper, self._bound = wrapper, bound
        self.record: Mapping[str, str] = {
            "type": encryption,
            "binding": "bound" if bound else "portable",
            "key_wrapping": wrapper.wrapping,
        }

    def key_id(self, tenant: str) -> str:
        return self._wrapper.key_id(tenant)

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
        assert isinstance(format, Encrypting)
        key, record = self._new(names, file)
        return format.encrypted(key).open(sink, schema, types, memory, limit), record

    def _new(self, names: Names, file: str) -> tuple[FileKey, Mapping[str, str]]:
        key = secrets.token_bytes(KEY_BYTES)
        wrapped = self._wrapper.wrap(names.tenant, key)
        record = {"key_id": wrapped.key_id, "wrapped_key": base64.b64encode(wrapped.data).decode("ascii")}
        if not self._bound:
            return FileKey(key), record
        bound_to = canonical([names.tenant, names.entity, names.run_id, file])
        return FileKey(key, bound_to), {**record, "aad_prefix": bound_to.decode()}


def opened(record: Mapping[str, Any], manifest: Mapping[str, Any], file: str, unwrap: Unwrap) -> FileKey:
    """The key of a file, by what its manifest says of it. Raises Refused where ``unwrap`` does, and ValueError for what
    says other of the file than the manifest around it."""
    wrapped = WrappedKey(record["key_id"], base64.b64decode(record["wrapped_key"], validate=True))
    told = record.get("aad_prefix")
    if told is None:
        return FileKey(unwrap(wrapped))
    bound_to = canonical([manifest["tenant"], manifest["contract"]["name"], manifest["run_id"], file])
    if told.encode() != bound_to:
        raise ValueError("its aad_prefix names another tenant, contract, run or file")
    return FileKey(unwrap(wrapped), bound_to)
