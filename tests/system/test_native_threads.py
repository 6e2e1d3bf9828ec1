"""Whatever reads leaves no thread of a library's behind, not where it fails or ends early either: one that has still to
read by Python, or to let go of what is Python's, while the interpreter ends, aborts a process that has said its error.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")

BEGIN = """
import io, os, sys, time
import duckdb, numpy, pyarrow as pa, pyarrow.csv, pyarrow.parquet
from lading.errors import DataRefused, SchemaMismatch
from lading.formats import arrow, csv, jsonl, parquet
from lading.ports import Dataset, Newest, Query
from lading.sources import files_newest
from lading.sources.files import FilesOptions, FilesSource
from lading.stores.memory import MemoryStore

def threads():
    found = set()
    for name in os.listdir("/proc/self/task"):
        try:
            if "jemalloc" not in open(f"/proc/self/task/{name}/comm").read():
                found.add(name)
        except FileNotFoundError:  # it has ended
            pass
    return found

def source(name, data, **options):
    store = MemoryStore()
    store.put(name, data)
    return FilesSource(FilesOptions(**options), store), Dataset(files=name)

def begun(reading):
    return next(iter(reading.read(reading.survey().parts[0])))

TABLE = pa.table({"id": list(range(50_000)), "note": [str(i) for i in range(50_000)]})
def stored():
    out = io.BytesIO()
    pa.parquet.write_table(TABLE, out, row_group_size=20_000)
    return out.getvalue()

LINES = b"id,note\\n" + b"1,x\\n" * 3_000_000
SCHEMA = pa.schema([("id", pa.int64()), ("note", pa.string())])
pa.enable_signal_handlers(False)  # they have a thread of their own, which needs nothing of Python
before = threads()
"""
END = """
until = time.monotonic() + 5
while threads() - before and time.monotonic() < until:
    time.sleep(0.02)
sys.exit(len(threads() - before))
"""

READERS = {
    "csv source without a column": """
files, dataset = source("a.csv", b"x,y\\n1,2\\n", columns={"id": "int64"})
try:
    files.describe(dataset, "exact")
except SchemaMismatch:
    pass
""",
    "csv source with a bad row": """
files, dataset = source("a.csv", b"x,y\\n1,2\\n3\\n")
with files.open(Query(dataset, ("x",))) as reading:
    try:
        begun(reading)
    except DataRefused:
        pass
""",
    "parquet source": """
files, dataset = source("a.parquet", stored())
with files.open(Query(dataset, ("id", "note"))) as reading:
    begun(reading)
""",
    "newest": """
def failing():
    for number, batch in enumerate(TABLE.select(["id", "id", "id"]).rename_columns(["k0", "o", "p"]).to_batches(1_000)):
        if number == 10:
            raise DataRefused("bad")
        yield batch
try:
    with files_newest.kept(Newest(("id",), "id"), failing(), 100_000_000):
        pass
except DataRefused:
    pass
""",
    "csv scan": "next(csv.CsvFormat().scan(io.BytesIO(LINES), SCHEMA))",
    "parquet scan": "next(parquet.ParquetFormat().scan(io.BytesIO(stored()), SCHEMA))",
}


@pytest.mark.parametrize("name", READERS)
def test_a_reading_that_ends_early_leaves_no_thread_behind(name: str) -> None:
    code = BEGIN + READERS[name] + END
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stderr) == (0, "")
