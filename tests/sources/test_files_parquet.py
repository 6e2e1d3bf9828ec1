from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lading.ports import ObjectInfo
from lading.sources.files_parquet import ParquetFiles
from lading.sources.files_records import Tally, Wanted


class Watched(io.BytesIO):
    """Counts how often it is read, and its last bytes; ``most``: bytes at once."""

    reads = 0
    most = 0
    ends = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.reads += 1
        self.most = max(self.most, len(data))
        self.ends += self.tell() == len(self.getbuffer())
        return data


# D21: what is held does not grow with the number of parts
def test_a_footer_is_read_once_for_all_parts_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"n": range(4000)}), path, row_group_size=100)
    file = Watched(path.read_bytes())
    kind, info = ParquetFiles(), ObjectInfo("a.parquet", path.stat().st_size)
    columns = kind.look(file, info, []).columns
    assert columns is not None
    wanted = Wanted(info, columns, frozenset(), frozenset({"n"}), 1 << 20)
    once = file.ends
    batches = [batch for group in range(40) for batch in kind.read(file, wanted, [group], Tally())]
    assert [value for batch in batches for value in batch.column("n").to_pylist()] == list(range(4000))
    assert file.ends == once > 0


def test_columns_with_much_between_them_are_not_fetched_with_it() -> None:
    wide = {f"c{n}": [f"{n} {row}" * 5 for row in range(1000)] for n in range(40)}
    out = io.BytesIO()
    pq.write_table(pa.table(wide), out, compression="none", use_dictionary=False)
    file, info = Watched(out.getvalue()), ObjectInfo("a.parquet", len(out.getvalue()))
    kind = ParquetFiles()
    found = kind.look(file, info, []).columns
    assert found is not None
    columns = found[::2]
    names = {column.name for column in columns}
    file.most = 0
    batches = kind.read(file, Wanted(info, columns, frozenset(), frozenset(names), 80_000), [0], Tally())
    assert pa.Table.from_batches(batches).to_pydict() == {n: wide[n] for n in wide if n in names}
    assert 0 < file.most < len(out.getvalue()) // 2


# Of a bucket, each reading is a request.
def test_neighbouring_columns_of_a_row_group_are_fetched_together() -> None:
    wide = {f"c{n}": [f"{n} {row}" * 5 for row in range(3000)] for n in range(40)}
    out = io.BytesIO()
    pq.write_table(pa.table(wide), out, compression="none", use_dictionary=False)
    for names, most in ((set(wide), 1), ({"c0", "c1", "c2", "c20", "c39"}, 3)):
        file, info = Watched(out.getvalue()), ObjectInfo("a.parquet", len(out.getvalue()))
        kind = ParquetFiles()
        found = kind.look(file, info, []).columns
        assert found is not None
        columns = tuple(column for column in found if column.name in names)
        before = file.reads
        batches = kind.read(
            file, Wanted(info, columns, frozenset(), frozenset(names), 16 << 20), [0], Tally()
        )
        assert pa.Table.from_batches(batches).to_pydict() == {n: wide[n] for n in wide if n in names}
        assert file.reads - before <= most + 1  # and the file's first bytes, as Arrow opens it


# Each flip in a process of its own: some end it inside of Arrow, where no error can be caught.
FLIPPED = """
import collections, io, json, os, sys
import pyarrow as pa, pyarrow.parquet as pq
from lading.ports import ObjectInfo
from lading.sources.files_parquet import ParquetFiles
from lading.sources.files_records import Tally, Wanted

table = pa.table({"at": pa.array(range(50), pa.timestamp("us", "UTC")), "id": range(50), "t": ["A"] * 50})
out = io.BytesIO()
pq.write_table(table, out, write_page_checksum=True, row_group_size=20)
whole = out.getvalue()
ends = len(whole) - 8
begins = ends - int.from_bytes(whole[ends : ends + 4], "little")

def outcome(data):
    kind, info = ParquetFiles(), ObjectInfo("a.parquet", len(data))
    try:
        look = kind.look(io.BytesIO(data), info, ())
        wanted = Wanted(info, look.columns, frozenset(), frozenset(c.name for c in look.columns), 1 << 20)
        groups = [group.index for group in look.groups]
        return sum(batch.num_rows for batch in kind.read(io.BytesIO(data), wanted, groups, Tally()))
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        return "refused"

found = collections.Counter()
for place in range(begins, ends, int(sys.argv[1])):
    for bit in range(8):
        child = os.fork()
        if not child:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            data = whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :]
            os._exit({50: 0, "refused": 3}.get(outcome(data), 2))
        found[os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])] += 1
print(json.dumps(found))
"""


@pytest.mark.slow
def test_a_flipped_bit_in_a_footer_loses_no_row() -> None:
    done = subprocess.run([sys.executable, "-c", FLIPPED, "3"], check=True, capture_output=True, text=True)
    found = {int(code): count for code, count in json.loads(done.stdout).items()}
    assert found.pop(-6, 0) < found[3] / 10  # Arrow ended the process
    assert found.keys() == {0, 3}
    assert min(found.values()) > 300
