"""`verify --deep`: rows, types and statistics, where every sum has been rewritten to agree."""

from __future__ import annotations

import gzip
import hashlib
import json
import posixpath
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from delivered import lay_out, store_of
from worlds import JANUARY, World, orders, snapshot, some_orders

from lading import verify
from lading.assemble import format_of
from lading.channels.drop import Destination, DropChannel
from lading.contents import Held, check_rows
from lading.export.layout import Layout, Names
from lading.manifest import canonical, marker, sums
from lading.ports import LOGICAL, FileNumber, Format
from lading.run import run
from lading.stores.local import LocalStore
from lading.testing.format import SCHEMA, sample

FORMATS = [
    {"type": "parquet", "compression": "zstd"},
    {"type": "csv", "compression": "gzip"},
    {"type": "jsonl", "compression": "gzip"},
    {"type": "arrow"},
]
NAMES = Names("test", "shop", "orders", "a", 1, datetime(2024, 1, 1, tzinfo=UTC), "0123456789abcdef", 1)


def columns_of(schema: Any) -> list[dict[str, Any]]:
    return [
        {"name": f.name, "type": str(f.type), "nullable": f.nullable,
         "logical": (f.metadata or {}).get(LOGICAL, b"").decode() or None}
        for f in schema
    ]  # fmt: skip


def deliver(folder: Path, format: Format, section: dict[str, Any], types: str, batches: list[Any]) -> Path:
    """One delivery of these batches, published by the real channel under a manifest of the least that proves it."""
    layout = Layout()
    store = LocalStore(folder, durable=False)
    channel = DropChannel([Destination("lake", store)], layout, format, types, export="orders_drop")  # type: ignore[arg-type]
    writer = channel.open(NAMES, FileNumber(0, 1, 1), {}, SCHEMA, 1 << 22)
    for batch in batches:
        writer.append(batch)
    written = writer.finish()

    def bill(uri: str) -> dict[str, Any]:
        counts = {
            "read": written.rows,
            "written": written.rows,
            "filtered": 0,
            "rejected": 0,
            "superseded": 0,
        }
        return {
            "project": "shop", "environment": "test", "export": "orders_drop", "tenant": "a",
            "run_id": NAMES.run_id, "revision": 0, "kind": "full", "supersedes": [],
            "contract": {"version": "1.0.0"}, "destination": {"uri": uri},
            "export_timestamp": "2024-01-02T00:00:00Z",
            "interval": {"start": "2024-01-01T00:00:00Z", "end": "2024-02-01T00:00:00Z"},
            "rows": counts, "files": [written.record()], "format": section,
            "schema": columns_of(format.schema(SCHEMA, types)),  # type: ignore[arg-type]
        }  # fmt: skip

    channel.publish(channel.prepare(NAMES, bill, [written]), lambda: False)
    return folder


@pytest.mark.parametrize("types", ["portable", "exact"])
@pytest.mark.parametrize("section", FORMATS, ids=lambda s: s["type"])
def test_honest_files_of_every_type_pass(tmp_path: Path, section: dict[str, Any], types: str) -> None:
    format = format_of(section)
    deliver(tmp_path, format, section, types, [sample(400), sample(50)])
    report = verify(str(tmp_path), deep=True)
    assert report.record()["problems"] == []
    assert report.rows == 450


@pytest.mark.parametrize("section", FORMATS, ids=lambda s: s["type"])
def test_a_delivery_of_no_rows_passes(tmp_path: Path, section: dict[str, Any]) -> None:
    deliver(tmp_path, format_of(section), section, "portable", [])
    assert verify(str(tmp_path), deep=True).ok


def test_whole_numbers_that_json_cannot_hold_pass(tmp_path: Path) -> None:
    batch = sample(2).set_column(0, SCHEMA.field("id"), pa.array([2**53, -(2**60)], pa.int64()))
    deliver(tmp_path, format_of(FORMATS[0]), FORMATS[0], "portable", [batch])
    assert verify(str(tmp_path), deep=True).record()["problems"] == []


def test_every_row_of_a_real_run_passes_in_every_format(tmp_path: Path) -> None:
    for section in FORMATS:
        w = World(some_orders(months=1))
        format = format_of(section)
        channel = DropChannel(
            [Destination("lake", w.lake)], Layout(), format, "portable", export="orders_drop"
        )
        run(w.job(channel=channel, format_name=section["type"], format_options=section))
        folder = lay_out(snapshot(w.lake), tmp_path / section["type"])
        report = verify(str(folder), deep=True)
        assert report.record()["problems"] == []
        assert report.rows == 9


# --- consistent edits


def rewritten(folder: Path, edit: Callable[[dict[str, Any]], object], data: bytes | None = None) -> str:
    """Edits a manifest, and the data if given, and puts every sum and the marker right again. The data file's name."""
    (path,) = folder.rglob("_manifest.json")
    manifest = json.loads(path.read_bytes())
    edit(manifest)
    (file,) = manifest["files"]
    if data is not None:
        (path.parent / file["name"]).write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        file.update(bytes=len(data), sha256=digest, checksum=f"sha256:{digest}")
    sidecar = next(s for s in manifest["sidecars"] if s["name"] == "_SHA256SUMS")
    text = sums([file]).encode()
    (path.parent / "_SHA256SUMS").write_bytes(text)
    sidecar.update(bytes=len(text), sha256=hashlib.sha256(text).hexdigest())
    body = canonical(manifest)
    path.write_bytes(body)
    success = marker(path.name, body, manifest["rows"]["written"], manifest["export_timestamp"])
    (path.parent / "_SUCCESS").write_bytes(canonical(success))
    return posixpath.join(path.parent.relative_to(folder).as_posix(), file["name"])


def lines(folder: Path) -> list[bytes]:
    (path,) = folder.rglob("*.jsonl")
    return path.read_bytes().splitlines(keepends=True)


@pytest.fixture
def delivery(tmp_path: Path) -> Path:
    """One delivery of three rows as JSON lines, from a real run."""
    at = JANUARY
    w = World(orders([(1, "a", at, at), (2, "a", at, at), (5, "a", at, None)]))
    month = JANUARY.replace(month=2)
    w.bound = month
    run(w.job())
    return lay_out(snapshot(w.lake), tmp_path)


def test_nothing_edited_nothing_found(delivery: Path) -> None:
    rewritten(delivery, lambda m: None)
    assert verify(str(delivery), deep=True).record()["problems"] == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda rows: rows[:2], "holds 2 rows where the manifest says 3"),
        (lambda rows: [*rows, rows[0]], "holds 4 rows where the manifest says 3"),
        (lambda rows: [rows[0], rows[1], rows[2].replace(b'"id":5', b'"id":7')], "column id: its max"),
        (lambda rows: [rows[0].replace(b'"id":1', b'"id":0'), *rows[1:]], "column id: its min"),
        (lambda rows: [rows[0].replace(b'"id":1', b'"id":"x"'), *rows[1:]], "cannot be read"),
        (lambda rows: [rows[0].replace(b'"id"', b'"di"'), *rows[1:]], "cannot be read"),
        (lambda rows: [rows[0][:20], *rows[1:]], "cannot be read"),
        (lambda rows: [b"\xff\xfe\n", *rows], "cannot be read"),
    ],
)
def test_rows_that_no_longer_fit_are_caught_though_every_sum_agrees(
    delivery: Path, change, told: str
) -> None:
    name = rewritten(delivery, lambda m: None, b"".join(change(lines(delivery))))
    assert verify(str(delivery)).ok
    problems = verify(str(delivery), deep=True).problems
    assert {p.object for p in problems} == {name}
    assert any(told in p.problem for p in problems)


def _column(name: str, /, **changes: Any) -> Callable[[dict[str, Any]], object]:
    return lambda m: next(c for c in m["schema"] if c["name"] == name).update(changes)


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (_column("id", type="bool"), "cannot be read"),
        (_column("at", type="int32"), "cannot be read"),
        (_column("at", type="no such type"), "cannot be read"),
        (_column("id", name="identity"), "cannot be read"),
        (lambda m: m.update(format={"type": "parquet"}), "cannot be read"),
        (lambda m: m.update(format={"type": "papyrus"}), "papyrus"),
        (lambda m: m.update(format=[]), "cannot be read"),
        (lambda m: m.update(schema=None), "cannot be read"),
        (lambda m: m["files"][0]["columns"]["id"].update(nulls=1), "0 NULLs where the manifest says 1"),
        (
            lambda m: m["files"][0]["columns"].update(gone={"min": 1, "max": 1, "nulls": 0}),
            "gone is not there",
        ),
    ],
)
def test_a_manifest_that_describes_other_rows_is_caught(delivery: Path, edit, told: str) -> None:
    name = rewritten(delivery, edit)
    assert verify(str(delivery)).ok
    problems = verify(str(delivery), deep=True).problems
    assert {p.object for p in problems} == {name}
    assert any(told in p.problem for p in problems)


def test_wrong_types_of_a_parquet_file_are_caught(tmp_path: Path) -> None:
    deliver(tmp_path, format_of(FORMATS[0]), FORMATS[0], "exact", [sample(5)])
    name = rewritten(tmp_path, _column("small", type="int16"))
    (problem,) = verify(str(tmp_path), deep=True).problems
    assert problem.object == name
    assert "types are not those that the manifest names" in problem.problem


@pytest.mark.parametrize("data", [b"no gzip at all", gzip.compress(b"id\n1\n")[:-9]], ids=["none", "cut"])
def test_a_damaged_compressed_file_is_a_problem_of_its_own(data: bytes) -> None:
    """Whoever may write to the store can also write a file that does not decompress, with a manifest that fits it."""
    store = store_of({"a.csv.gz": data})
    column = {"name": "id", "type": "int64", "nullable": False, "logical": None}
    manifest = {"format": {"type": "csv", "compression": "gzip"}, "schema": [column]}
    entry = {"name": "a.csv.gz", "rows": 1, "columns": {}}
    (told,) = check_rows(store, "a.csv.gz", manifest, entry, Held())
    assert "cannot be read as the manifest describes it" in told
