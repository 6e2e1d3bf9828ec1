"""What `lading init` writes: a project that runs, with sample files or for a live PostgreSQL table.

Of a live table the contract holds what its catalogue says: every column with its types, NOT NULL as `required`, and a
key. Classification is left out, with a comment on every field, rather than given a default: who writes nothing has
classified nothing, so the field counts as Restricted, and nothing leaves until somebody decides. A default
that was written into the file would look like a decision. The first export delivers into a folder beside the project,
which `.gitignore` keeps out of Git.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lading.errors import InvalidProject, Problem
from lading.evidence.records import FOLDER, VERSIONS, shipped

if TYPE_CHECKING:
    import pyarrow as pa

VARIABLE = "OPS_DATABASE_URL"
IGNORED = ("/keys/", "*.keys", "/journal/", "/deliveries/", "/catalogue.db", ".env")


@dataclass(frozen=True, slots=True)
class Scaffold:
    """``files``: path inside the project -> text. ``variables``: what the environment must hold. ``unclassified``: the
    contract whose fields somebody has to classify."""

    files: Mapping[str, str]
    export: str
    variables: tuple[str, ...] = ()
    unclassified: str = ""


@dataclass(frozen=True, slots=True)
class Made:
    """``ignore``: lines that an existing .gitignore lacks."""

    files: tuple[str, ...]
    ignore: tuple[str, ...] = ()


def write(folder: Path, scaffold: Scaffold) -> Made:
    """Writes all files, or none where one of them exists already. Raises InvalidProject."""
    there = [name for name in scaffold.files if (folder / name).exists()]
    if "lading.yaml" in there:
        raise InvalidProject(
            f"{folder.resolve()} is a project already: nothing was written.",
            hint="Name another folder: lading init DIR.",
        )
    if there:
        raise InvalidProject(
            problems=[
                Problem(str(folder / name), 0, "exists already; nothing was written") for name in there
            ],
            hint="Name another folder: lading init DIR.",
        )
    try:
        for name, text in scaffold.files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        ignore = _ignore(folder / ".gitignore")
    except OSError as error:
        raise InvalidProject(f"Cannot write into {folder}: {error.strerror}.") from error
    if ignore is None:
        return Made((*scaffold.files, ".gitignore"))
    return Made(tuple(scaffold.files), ignore)


def _ignore(path: Path) -> tuple[str, ...] | None:
    """None: written. Else what the file that was there does not name."""
    if not path.exists():
        path.write_text("".join(f"{line}\n" for line in IGNORED), encoding="utf-8")
        return None
    held = {line.strip().strip("/") for line in path.read_text("utf-8", "replace").splitlines()}
    return tuple(line for line in IGNORED if line.strip("/") not in held)


def project_name(text: str, *, given: bool) -> str:
    """A name for paths and run ids; one that was given is taken as it is. Raises InvalidProject."""
    from lading.documents import check_name

    try:
        return check_name(text if given else _name(text))
    except ValueError as error:
        raise InvalidProject(f"--name: {error}" if given else str(error)) from None


def _name(text: str) -> str:
    """The nearest name of at most 50 characters: what is made of it may add some."""
    return re.sub(r"[^a-z0-9_-]+", "_", text.lower()).strip("_-")[:50].rstrip("_-") or "project"


# --- sample files --------------------------------------------------------------------------------------------------

_SETTINGS = """\
name: {name}
environment: dev                 # part of paths, run ids and manifests
connections:
{connection}
stores:
{stores}  lake: {{url: "file://./deliveries"}}        # or s3://bucket/prefix, gs://…, az://…
  journal: {{url: "file://./journal"}}        # the truth about runs: keep it
journal: journal
keys: {{url: "file://./keys"}}                # masks depend on it: back it up, never into Git
"""

_SAMPLE_CONNECTION = """\
  landing:                       # complete files that somebody else puts there
    type: files
    store: incoming
    immutable: true
    columns: {order_id: int64, shop: string, email: string, amount: "decimal(10,2)", ordered_at: timestamptz}"""

_SAMPLE_CONTRACT = """\
apiVersion: v3.1.0
kind: DataContract
id: {id}
name: orders
version: 1.0.0
status: active
description:
  purpose: Orders of the sample shops.
schema:
  - name: orders
    logicalType: object
    properties:
      - {{name: order_id, logicalType: integer, required: true, primaryKey: true, classification: internal}}
      - {{name: shop, logicalType: string, required: true, classification: internal}}
      - {{name: email, logicalType: string, classification: confidential, description: Masked before delivery.}}
      - {{name: amount, logicalType: number, physicalType: "decimal(10,2)", required: true, classification: internal}}
      - name: ordered_at
        logicalType: timestamp
        logicalTypeOptions: {{timezone: true}}
        required: true
        classification: internal
"""

_SAMPLE_EXPORT = """\
name: orders_drop
description: The orders of each shop, month by month.
contract: orders@1
source: {connection: landing, files: "orders/*.csv"}
tenants: {column: shop, discover: true}
destination: lake
mode: append
window:
  column: ordered_at
  clock: event                   # business time, not the time of writing
  every: 1 month
  start: 2024-01-01
  end: 2024-04-01                # without it, the grid goes on
  late: ignore
format: {type: parquet, compression: snappy}
transforms:
  - mask: {email: hmac_sha256}   # with a key for each shop
checks:
  - unique: [order_id]
  - range: {amount: [0, 10000]}
"""

_SAMPLE_DATA = {
    "2024-01": (
        "1,berlin,ada@example.com,19.90,2024-01-03T09:15:00Z",
        "2,berlin,grace@example.com,5.00,2024-01-17T12:00:00Z",
        "3,lisbon,alan@example.com,120.50,2024-01-31T23:59:59Z",
    ),
    "2024-02": (
        "4,lisbon,edsger@example.com,33.10,2024-02-01T00:00:00Z",
        "5,berlin,ada@example.com,8.75,2024-02-14T18:30:00Z",
    ),
    "2024-03": (
        "6,berlin,,64.00,2024-03-05T07:45:00Z",
        "7,lisbon,barbara@example.com,12.25,2024-03-30T21:05:00Z",
    ),
}


def sample(name: str) -> Scaffold:
    """A project that delivers a few orders from CSV files; needs no server."""
    header = "order_id,shop,email,amount,ordered_at"
    files = {
        "lading.yaml": _SETTINGS.format(
            name=name, connection=_SAMPLE_CONNECTION, stores='  incoming: {url: "file://./incoming"}\n'
        ),
        "contracts/orders.v1.odcs.yaml": _SAMPLE_CONTRACT.format(id=uuid.uuid4()),
        "exports/orders_drop.yaml": _SAMPLE_EXPORT,
        **_record_schemas(),
    }
    for month, rows in _SAMPLE_DATA.items():
        files[f"incoming/orders/{month}.csv"] = "\n".join((header, *rows, ""))
    return Scaffold(files, "orders_drop")


def _record_schemas() -> dict[str, str]:
    """What delivery records are held against, for who wants to see it, and to ask for more."""
    return {f"{FOLDER}/{version}.json": shipped(version) for version in VERSIONS.values()}


# --- a live table --------------------------------------------------------------------------------------------------

_LIVE_EXPORT = """\
name: {export}
contract: {entity}@1
source: {{connection: ops, table: {table}}}
destination: lake
mode: full_refresh               # the whole table as it stands when it is read, once a day (UTC)
keep: 3                          # deliveries that stay
# A table that grows is better delivered interval by interval, each row once:
# mode: append
# window: {{column: {window}, clock: transaction, every: 1 day, start: 2024-01-01}}
format: {{type: parquet, compression: snappy}}
# transforms:
#   - mask: {{email: hmac_sha256}}
#   - exclude: [password_hash]
"""


def described(name: str, url: str, table: str) -> Scaffold:
    """A project for a live PostgreSQL table. Connects, reads its catalogue and no row; the URL is written nowhere.

    Raises InvalidProject for a URL that is none, and SourceUnavailable, SourceDenied or SchemaMismatch where the table
    cannot be described.
    """
    try:
        from lading.sources.postgres import PostgresOptions, PostgresSource
    except ModuleNotFoundError as error:
        raise InvalidProject(
            f"A PostgreSQL table needs the package {error.name}, which is not installed.",
            hint="Install Lading with its extra: pip install '.[postgres]' in the checkout.",
        ) from error
    from lading.ports import Dataset

    if not url.strip():
        raise InvalidProject(
            "The connection's URL is empty, so it names no database.",
            hint=f"Give --connection URL, or set {VARIABLE}: postgresql://user@host/database.",
        )
    source, dataset = PostgresSource(PostgresOptions.model_validate({"url": url})), Dataset(table=table)
    schema = source.describe(dataset, "portable")
    entity = _name(table.replace('"', "").rpartition(".")[2])
    keys = list(source.unique_keys(dataset))
    export = f"{entity}_full"
    stamps = [f.name for f in schema if str(f.type) == "timestamp[us, tz=UTC]" and not f.nullable]
    connection = f'  ops: {{type: postgres, url: "${{{VARIABLE}}}"}}'
    promises = f"contracts/{entity}.v1.odcs.yaml"
    return Scaffold(
        {
            "lading.yaml": _SETTINGS.format(name=name, connection=connection, stores=""),
            promises: contract(entity, table, schema, keys),
            f"exports/{export}.yaml": _LIVE_EXPORT.format(
                export=export,
                entity=entity,
                table=scalar(table.replace("${", "$${")),
                window=scalar(stamps[0] if stamps else "created_at"),
            ),
            **_record_schemas(),
        },
        export,
        (VARIABLE,),
        promises,
    )


def contract(entity: str, table: str, schema: pa.Schema, keys: Sequence[frozenset[str]]) -> str:
    """A first ODCS v3.1 contract of a described table."""
    order = {field.name: index for index, field in enumerate(schema)}
    primary = min(keys, key=lambda key: (len(key), sorted(order[c] for c in key)), default=frozenset[str]())
    position = {column: i for i, column in enumerate(sorted(primary, key=order.__getitem__), 1)}
    lines = [
        "apiVersion: v3.1.0",
        "kind: DataContract",
        f"id: {uuid.uuid4()}",
        f"name: {entity}",
        "version: 1.0.0",
        "status: draft                    # active, once its owner has agreed",
        "schema:",
        f"  - name: {entity}",
        f"    physicalName: {scalar(table)}",
        "    logicalType: object",
        "    properties:",
        "      # A field without a classification counts as Restricted, and does not leave. Decide for each.",
    ]
    for field in schema:
        unique = frozenset({field.name}) in keys and field.name not in position
        lines.extend(_property(field, position.get(field.name), unique=unique))
    return "\n".join(lines) + "\n"


def _property(field: pa.Field, position: int | None, *, unique: bool) -> list[str]:
    from lading.contract.model import ContractField
    from lading.contract.types import fit
    from lading.ports import NATIVE

    native = (field.metadata or {}).get(NATIVE, b"").decode() or str(field.type)
    promise = logical(field)
    items = promise.get("items")
    judged = ContractField(
        field.name,
        logical_type=promise["logicalType"],
        physical_type=native,
        options=promise.get("logicalTypeOptions", {}),
        items=ContractField("items", logical_type=items["logicalType"]) if items else None,
    )
    if fit(judged, field).verdict == "refused":
        promise = {"logicalType": "string"}  # the source's own text holds every value
    lines = [f"name: {scalar(field.name)}", f"logicalType: {promise['logicalType']}"]
    if "logicalTypeOptions" in promise:
        options = ", ".join(f"{key}: {scalar(value)}" for key, value in promise["logicalTypeOptions"].items())
        lines.append(f"logicalTypeOptions: {{{options}}}")
    lines.append(f"physicalType: {scalar(native)}")
    if "items" in promise:
        lines.append(f"items: {{logicalType: {promise['items']['logicalType']}}}")
    if not field.nullable:
        lines.append("required: true")
    if position is not None:
        lines.extend(["primaryKey: true", f"primaryKeyPosition: {position}"])
    if unique:
        lines.append("unique: true")
    lines.append("# classification: public | internal | confidential | restricted")
    return [f"      - {lines[0]}", *(f"        {line}" for line in lines[1:])]


_TEXT_KINDS = {"decimal": "number", "json": "object", "timetz": "time", "array": "array"}


def logical(field: pa.Field) -> dict[str, Any]:
    """``{logicalType, logicalTypeOptions?, items?}`` of a source's column; what ODCS has no type for is a string."""
    import pyarrow as pa

    from lading.ports import LOGICAL

    kind, holds = field.type, (field.metadata or {}).get(LOGICAL, b"").decode()
    if holds == "uuid":
        return {"logicalType": "string", "logicalTypeOptions": {"format": "uuid"}}
    if pa.types.is_string(kind):
        return {"logicalType": _TEXT_KINDS.get(holds, "string")}
    if pa.types.is_timestamp(kind):
        return {"logicalType": "timestamp", "logicalTypeOptions": {"timezone": kind.tz is not None}}
    if pa.types.is_binary(kind):
        return {"logicalType": "string", "logicalTypeOptions": {"format": "binary"}}
    if pa.types.is_list(kind):
        inner = logical(kind.value_field)
        return {"logicalType": "array", "items": {"logicalType": inner["logicalType"]}}
    for is_kind, name in (
        (pa.types.is_boolean, "boolean"),
        (pa.types.is_integer, "integer"),
        (pa.types.is_decimal, "number"),
        (pa.types.is_floating, "number"),
        (pa.types.is_date, "date"),
        (pa.types.is_time, "time"),
    ):
        if is_kind(kind):
            return {"logicalType": name}
    return {"logicalType": "string"}


_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*(?: [A-Za-z0-9_]+)*")
_WORDS = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})


def scalar(value: object) -> str:
    """A YAML scalar; JSON's strings are among YAML's."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    return (
        text
        if _PLAIN.fullmatch(text) and text.lower() not in _WORDS
        else json.dumps(text, ensure_ascii=not text.isprintable())
    )
