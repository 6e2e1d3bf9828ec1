from __future__ import annotations

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from lading.ports import ObjectInfo
from lading.sources.files_parquet import ParquetFiles
from lading.sources.files_records import Tally, Wanted


class Watched(io.BytesIO):
    """Counts how often its last bytes are read."""

    ends = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
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
