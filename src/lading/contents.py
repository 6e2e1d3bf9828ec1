"""What is in the data files of a delivery, by its manifest: their rows, and a statement that reads them.

Loading it loads Arrow, which a proof of bytes does not need.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from lading.assemble import format_of, known_services, open_service
from lading.documents import Document, load
from lading.errors import Failed, IntegrityError, InvalidProject, Refused, counted
from lading.formats.duckdb_sql import query
from lading.formats.statistics import Statistics
from lading.formats.type_names import parse_type
from lading.keys.age import AgeStreams, AgeWrapper, identities, opened_key, opened_stream
from lading.keys.envelopes import Unwrap, opened
from lading.keys.remote import Naming, RemoteWrapper
from lading.keys.wrapping import FileWrapper, read_keys, unwrapped
from lading.manifest import SEALED, canonical
from lading.ports import LOGICAL, ColumnStats, Download, Encrypting, Format, Store


def select(manifest: Mapping[str, Any], names: Sequence[str]) -> str:
    """What reads these files in DuckDB. Raises ValueError where it cannot, or would change a value."""
    if _encryption(manifest)["type"] != "none":
        raise ValueError("the files are encrypted: DuckDB needs the key of each, see docs/encryption.md")
    return query(format_of(manifest["format"]), schema_of(manifest), names)


def schema_of(manifest: Mapping[str, Any]) -> pa.Schema:
    """The Arrow schema that a manifest describes."""
    return pa.schema(
        pa.field(
            column["name"],
            parse_type(column["type"]),
            bool(column["nullable"]),
            {LOGICAL: column["logical"].encode()} if column.get("logical") else None,
        )
        for column in manifest["schema"]
    )


@dataclass(frozen=True, slots=True)
class Held:
    """What a recipient opens files with: the keys in copies of a keyring, private keys of age, and services that hold
    keys, by what manifests call them."""

    keys: Sequence[bytes] = ()
    identities: Sequence[Any] = ()
    services: Mapping[str, RemoteWrapper] = field(default_factory=dict)

    def unwrap(self, wrapping: str, tenant: str) -> Unwrap:
        """Opens data keys of a tenant. Raises ValueError for a kind that this version does not know, and Refused for
        keys in a service that nobody named."""
        if wrapping == FileWrapper.wrapping:
            return lambda wrapped: unwrapped(wrapped, self.keys)
        if wrapping == AgeWrapper.wrapping:
            return lambda wrapped: opened_key(wrapped, self.identities)
        if wrapping in self.services:
            return partial(self.services[wrapping].unwrap, tenant)
        if wrapping in (service := known_services()):
            raise Refused(f"Its keys are in {service[wrapping]}, which --tenant-key does not name.")
        raise ValueError(f"this version does not know the wrapping {wrapping!r}")


def read_held(paths: Sequence[Path]) -> Held:
    """Keys in files that `lading keys copy` or age-keygen wrote, or which name the service that holds them, as
    `keys.wrap` does. Raises Refused for what is neither."""
    keys: list[bytes] = []
    held: list[Any] = []
    services: dict[str, RemoteWrapper] = {}
    for path in paths:
        try:
            text = path.read_text("utf-8", errors="replace")
        except OSError as error:
            raise InvalidProject(f"The file of keys {path} cannot be read: {error.strerror}.") from error
        if "AGE-SECRET-KEY-" in text:
            held += identities(text)
        elif (document := _of_service(path)) is not None:
            service, _ = open_service(document, ())
            services[service.wrapping] = RemoteWrapper(service, Naming(None, {}, longest=0))
        else:
            keys += read_keys(text, str(path))
    return Held(keys, held, services)


def _of_service(path: Path) -> Document | None:
    try:
        document = load(path, path.parent)
    except InvalidProject:
        return None
    return document if isinstance(document.data, Mapping) and "type" in document.data else None


def _encryption(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    return manifest.get("encryption") or {"type": "none"}


@contextmanager
def _in_the_clear(
    store: Store, name: str, manifest: Mapping[str, Any], entry: Mapping[str, Any], held: Held
) -> Iterator[tuple[Format, Download]]:
    """A data file, and the format that reads it. Raises ValueError for what this version does not know, and Refused
    where none of the keys opens it."""
    format, encryption = format_of(manifest["format"]), _encryption(manifest)
    with closing(store.read(name)) as file:
        if encryption["type"] in ("none", SEALED):
            yield format, file
        elif encryption["type"] == AgeStreams.record["type"]:
            with closing(_stream(file, held)) as clear:
                yield format, clear
        elif isinstance(format, Encrypting) and encryption["type"] == format.encryption:
            unwrap = held.unwrap(encryption["key_wrapping"], manifest["tenant"])
            yield format.encrypted(opened(entry["encryption"], manifest, entry["name"], unwrap)), file
        else:
            raise ValueError(f"this version does not know the encryption {encryption['type']!r}")


def opened_bundle(file: Download, held: Held) -> Download:
    """A bundle that is encrypted as a whole, in the clear. Raises Refused where none of the keys opens it."""
    return _stream(file, held)


def _stream(file: Download, held: Held) -> Download:
    if not held.identities:
        raise Refused(
            "It is encrypted, and no private key of age is given that could open it.",
            hint="Give one by --tenant-key.",
        )
    return opened_stream(file, held.identities)


def check_rows(
    store: Store, name: str, manifest: Mapping[str, Any], entry: Mapping[str, Any], held: Held
) -> Iterator[str]:
    """What is wrong with a data file's rows, though its bytes are those that the manifest names."""
    try:
        schema = schema_of(manifest)
        statistics, rows = Statistics(schema), 0
        with _in_the_clear(store, name, manifest, entry, held) as (reader, file):
            for batch in reader.scan(file, schema):
                statistics.observe(batch)
                rows += batch.num_rows
    except Refused as error:
        # Mostly a key that its reader lacks: no word here may sound as if somebody had changed the file.
        yield f"is encrypted for tenant {manifest['tenant']!r}, and its rows were not read: {error}"
        return
    except (
        Failed,
        IntegrityError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        EOFError,
        gzip.BadGzipFile,
        zlib.error,
        pa.ArrowException,
    ) as error:
        yield f"cannot be read as the manifest describes it: {error}"
        return
    if rows != entry["rows"]:
        yield f"holds {counted(rows, 'row')} where the manifest says {entry['rows']}"
    yield from _compared(statistics.result(), entry["columns"])


def _compared(found: Mapping[str, ColumnStats], told: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Columns whose statistics differ. Those of classified columns are not told, and None says nothing."""
    for column in sorted(told.keys() - found.keys()):
        yield f"column {column} is not there, and the manifest tells of it"
    for column, here in found.items():
        there = told.get(column)
        if there is None:
            continue
        if there.get("nulls") != here.nulls:
            yield f"column {column} has {counted(here.nulls, 'NULL')} where the manifest says {there.get('nulls')}"
        # As the manifest's JSON spells them: whole numbers beyond 2^53 - 1 are text there.
        spelt = json.loads(canonical({"min": here.min, "max": here.max}))
        for side in ("min", "max"):
            if there.get(side) is not None and there[side] != spelt[side]:
                yield f"column {column}: its {side} is not what the manifest says"
