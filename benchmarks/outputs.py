"""What a run left, held against the rows that it was to copy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from benchmarks.data import AMOUNTS, KEYS, Sums
from benchmarks.measuring import Broken

ENDINGS = {"parquet": (".parquet",), "csv": (".csv", ".csv.gz"), "jsonl": (".jsonl", ".jsonl.gz")}


@dataclass(frozen=True)
class Output:
    format: str
    table: str
    sums: Sums
    condition: str = "true"  # what holds for every row, in DuckDB's SQL
    rewrite: str = ""  # options of DuckDB's COPY that write the same rows again, to compare bytes

    def check(self, folder: Path) -> dict[str, float]:
        """Raises Broken unless the files under ``folder`` hold the rows; gives ``same_rows``, what DuckDB writes of
        them in bytes, where that is asked for."""
        files = data_files(folder, self.format)
        if not files:
            raise Broken("no file was written")
        with duckdb.connect() as connection:
            rows = self._rows(files)
            found = connection.execute(
                f"select count(*), sum({KEYS[self.table][0]}::hugeint), sum({AMOUNTS[self.table]}::decimal(38,2)), "
                f"count(*) filter (where ({self.condition}) is not true) from {rows}"
            ).fetchone()
            assert found is not None
            expected = (self.sums.rows, self.sums.keys, self.sums.amount, 0)
            if (int(found[0]), int(found[1] or 0), str(found[2]), int(found[3])) != expected:
                raise Broken(
                    f"rows, sum of keys, sum of amounts, rows that are not right: {found}, not {expected}"
                )
            if not self.rewrite:
                return {}
            again = folder / "again.duckdb"
            connection.execute(f"copy (from {rows}) to '{again}' ({self.rewrite})")
            size = again.stat().st_size
            again.unlink()
            return {"same_rows": size}

    def _rows(self, files: Sequence[Path]) -> str:
        names = ", ".join(f"'{path}'" for path in files)
        if self.format == "parquet":
            return f"read_parquet([{names}])"
        if self.format == "csv":
            return f"read_csv([{names}], header = true, all_varchar = true)"
        typed = ", ".join(f"{name}: 'VARCHAR'" for name in (KEYS[self.table][0], AMOUNTS[self.table]))
        return f"read_json([{names}], format = 'newline_delimited', columns = {{{typed}}})"


def data_files(folder: Path, format: str) -> list[Path]:
    """Files of rows; what a tool notes about its own work (`_dlt_…`, `_metadata`) is left out."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.name.endswith(ENDINGS[format])
        and not any(part.startswith("_") for part in path.relative_to(folder).parts)
    )


def written(folder: Path) -> int:
    """Bytes of all files under ``folder``, manifests and the like included."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
