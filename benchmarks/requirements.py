"""The figures that Lading has to reach, as ratios measured in one run, and whether it did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from benchmarks.cases import COPIES, TENANTS
from benchmarks.rounds import Results

Measured = Mapping[str, Mapping[str, Results]]  # case -> tool -> results

# case, peer, at most so many times its time
TIMES = (
    ("postgres-parquet", "DuckDB", 1.0),
    ("postgres-parquet", "COPY", 1.3),
    ("postgres-governed", "DuckDB", 1.35),
    ("postgres-csv-gz", "DuckDB", 0.2),
    ("parquet-csv-gz", "ClickHouse", 1.0),
    ("parquet-jsonl", "ClickHouse", 1.0),
    ("parquet-jsonl-gz", "ClickHouse", 0.8),
    ("parquet-masked", "DuckDB", 1.1),
)
# case, whose bytes
SIZES = (
    ("postgres-parquet", "DuckDB"),
    ("postgres-csv-gz", "DuckDB"),
    ("parquet-csv-gz", "ClickHouse"),
    ("parquet-jsonl-gz", "ClickHouse"),
    ("parquet-masked", "DuckDB"),
)
SIZE = 1.15
MEMORY = 400e6  # bytes
AT_ONE = "Lading, scale 1"  # beside Lading, where that has more rows
MEMORY_GROWTH, TIME_GROWTH = 1.10, 1.05
BUCKET, FIXED, DELIVERIES, HELP, VERIFY = 1.15, 30, 200, 0.150, 1.1


@dataclass(frozen=True)
class Row:
    case: str
    against: str
    figure: str
    target: str
    excess: (
        float | None
    )  # by which factor the target is missed: at most 1 where it is met; None: not measured

    @property
    def verdict(self) -> str:
        if self.excess is None:
            return "not measured"
        return "met" if self.excess <= 1 else f"**not met**, by {100 * (self.excess - 1):.1f} %"


def rows(measured: Measured) -> list[Row]:
    """One for each requirement that one run can show."""
    return [*_times(measured), *_sizes(measured), *_others(measured), *_memory(measured)]


def growth(measured: Measured, times: float) -> list[Row]:
    """How time and memory of Lading grow where there are ``times`` as many rows as at scale 1, in one run of both."""
    found = []
    for case, title in _titles().items():
        one, ten = _of(measured, case, AT_ONE), _of(measured, case, "Lading")
        time, peak = _ratio(ten, one, "wall"), _ratio(ten, one, "peak")
        found.append(_row(title, f"time, {times:g} × that at scale 1", time and time / times, TIME_GROWTH))
        # Less is no fault.
        found.append(_row(title, "peak memory at scale 1", peak, MEMORY_GROWTH))
    return found


def _titles() -> dict[str, str]:
    return {**{copy.name: copy.title for copy in COPIES}, "bucket": "upload to a bucket"}


def _times(measured: Measured) -> Iterator[Row]:
    for case, peer, target in TIMES:
        ratio = _ratio(_of(measured, case, "Lading"), _of(measured, case, peer), "wall")
        against = "the binary `COPY` limit" if peer == "COPY" else f"{peer}'s time"
        yield _row(_titles()[case], against, ratio, target)


def _sizes(measured: Measured) -> Iterator[Row]:
    for case, peer in SIZES:
        ratio = _ratio(_of(measured, case, "Lading"), _of(measured, case, peer), "written")
        yield _row(_titles()[case], f"{peer}'s bytes", ratio, SIZE)
    governed = _of(measured, "postgres-governed", "Lading")
    ratio = None
    if governed is not None:
        ratio = governed.median("written") / governed.median("same_rows")
    yield _row(_titles()["postgres-governed"], "DuckDB's bytes of the same masked rows", ratio, SIZE)


def _others(measured: Measured) -> Iterator[Row]:
    remote, local, upload = (
        _of(measured, "bucket", tool) for tool in ("Lading", "Lading, local", "obstore upload")
    )
    ratio = None
    if remote and local and upload:
        ratio = remote.median("wall") / (local.median("wall") + upload.median("cpu") / 2)
    yield _row(_titles()["bucket"], "the local run + half the CPU time of a bare upload", ratio, BUCKET)

    verify = _ratio(_of(measured, "verify", "Lading"), _of(measured, "verify", "openssl"), "wall")
    yield _row("`lading verify`", "`openssl dgst -sha256`, two at a time", verify, VERIFY)

    ms = _median(measured, "fixed", "Lading", "milliseconds")
    yield _plain("a run of one row, in one process", "", ms, "{:.1f} ms", f"≤ {FIXED} ms", ms and ms / FIXED)

    wall = _median(measured, "help", "Lading", "wall")
    yield _plain("`lading --help`", "", wall, "{:.3f} s", f"≤ {HELP} s", wall and wall / HELP)

    seconds, bare = (
        _median(measured, "tenants", "Lading", "wall"),
        _median(measured, "tenants", "obstore", "seconds"),
    )
    beside = f"bare writing: {TENANTS / bare:,.0f} deliveries a second" if bare else ""
    yield _plain(f"{TENANTS:,} tenants of ten rows", beside, seconds and TENANTS / seconds, "{:.0f} a second",
                 f"≥ {DELIVERIES} a second", seconds and DELIVERIES * seconds / TENANTS)  # fmt: skip


def _memory(measured: Measured) -> Iterator[Row]:
    for case, title in _titles().items():
        mine = _of(measured, case, "Lading")
        peak = max(mine.all("peak")) if mine else None
        target = f"≤ {MEMORY / 1e6:.0f} MB"
        yield _plain(title, "peak memory", peak and peak / 1e6, "{:.0f} MB", target, peak and peak / MEMORY)


def _of(measured: Measured, case: str, tool: str) -> Results | None:
    found = measured.get(case, {}).get(tool)
    return found if found is not None and found.samples else None


def _ratio(mine: Results | None, other: Results | None, figure: str) -> float | None:
    return mine.median(figure) / other.median(figure) if mine and other else None


def _row(case: str, against: str, ratio: float | None, target: float) -> Row:
    figure = "–" if ratio is None else f"{ratio:.3g} ×"
    return Row(case, against, figure, f"≤ {target:g} ×", ratio and ratio / target)


def _plain(
    case: str, against: str, figure: float | None, shown: str, target: str, excess: float | None
) -> Row:
    return Row(case, against, "–" if figure is None else shown.format(figure), target, excess)


def _median(measured: Measured, case: str, tool: str, figure: str) -> float | None:
    found = _of(measured, case, tool)
    return found.median(figure) if found else None
