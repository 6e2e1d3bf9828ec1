"""Whatever the keys, the batches and the budget: every row goes out once, in order, to its own key."""

from __future__ import annotations

import gc
import tempfile
import threading
import tracemalloc
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lading.errors import DataRefused, InvalidProject, StoreFull
from lading.ports import FileNumber, Written
from lading.routing import router as routing
from lading.routing.keys import Cutter, Key, PartitionColumn
from lading.routing.router import MOST_PARTITIONS, OPEN_WRITERS, Router

SCHEMA = pa.schema([("n", pa.int64()), ("tenant", pa.string()), ("region", pa.string()), ("id", pa.int64())])
PARTITIONS = (PartitionColumn("region", "region"), PartitionColumn("shard", "id", 7))
Row = tuple[int, str, str | None, int]


class File:
    """A writer that keeps its rows; ``size`` is what they weigh."""

    def __init__(self, place: Place, key: Key, number: FileNumber, version: int = 0) -> None:
        self.place, self.key, self.number, self.version = place, key, number, version
        self.limit = place.limit
        self.rows: list[Row] = []
        self.size = 0
        self.state = "open"

    def append(self, batch: pa.RecordBatch) -> int:
        assert self.state == "open"
        taken = batch.num_rows
        while taken > (not self.rows) and self.size + batch.slice(0, taken).nbytes > self.limit:
            taken -= 1
        self.rows.extend(tuple(row.values()) for row in batch.slice(0, taken).to_pylist())
        self.size += batch.slice(0, taken).nbytes if taken else 0
        return int(taken)

    def finish(self) -> Written:
        assert self.state == "open"
        self.state = "finished"
        name = f"{self.key}/{self.number.lane}-{self.number.sequence}"
        return Written(name, len(self.rows), self.size, "0" * 64, {}, {})

    def abort(self) -> None:
        assert self.state == "open"
        self.state = "aborted"


class Place:
    """Where files are opened, of at most ``limit`` bytes; notes how many are open at once."""

    def __init__(self, limit: float = float("inf")) -> None:
        self.limit = limit
        self.files: list[File] = []
        self.most_open = 0

    def open(self, key: Key, version: int, number: FileNumber, memory: int) -> File:
        file = File(self, key, number, version)
        self.files.append(file)
        self.most_open = max(self.most_open, sum(f.state == "open" for f in self.files))
        return file

    def rows(self, version: int = 0) -> dict[Key, list[Row]]:
        """Of one version, by key, in the order of the files' numbers."""
        found: dict[Key, list[Row]] = defaultdict(list)
        for file in sorted(self.files, key=lambda f: f.number.sequence):
            assert file.state == "finished"
            if file.version == version:
                found[file.key].extend(file.rows)
        return dict(found)


def router(place: Place, spill: Path, *, budget: int = 1 << 20, **changes: Any) -> Router:
    settings: dict[str, Any] = {
        "lane": 0,
        "lanes": 1,
        "budget": budget,
        "spill": spill / "lane0",
        "admit": lambda tenants: set(tenants),
        **changes,
    }
    cutter = settings.pop("cutter", Cutter("tenant", PARTITIONS))
    transform = settings.pop("transform", lambda tenant, batch: [batch])
    return Router(cutter, settings.pop("open_file", place.open), transform, **settings)


def batches(rows: Sequence[Row], sizes: Sequence[int]) -> list[pa.RecordBatch]:
    made, at, index = [], 0, 0
    while at < len(rows):
        size = sizes[index % len(sizes)]
        columns = zip(*rows[at : at + size], strict=True)
        made.append(
            pa.record_batch(
                [pa.array(c, f.type) for c, f in zip(columns, SCHEMA, strict=True)], schema=SCHEMA
            )
        )
        at, index = at + size, index + 1
    return made


def expected(rows: Sequence[Row]) -> dict[Key, list[Row]]:
    found: dict[Key, list[Row]] = defaultdict(list)
    for row in rows:
        found[Key(row[1], (row[2], row[3] % 7))].append(row)
    return dict(found)


@settings(max_examples=80, deadline=None)
@given(
    data=st.lists(
        st.tuples(
            st.sampled_from(["a", "b", "a/b", "", "é"]),
            st.sampled_from([None, "", "north", "__HIVE_DEFAULT_PARTITION__"]),
            st.integers(-(2**63), 2**63 - 1),
        ),
        max_size=120,
    ),
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=4),
    budget=st.sampled_from([64, 500, 4_000, 1 << 20]),
    max_file_size=st.sampled_from([None, 1, 200, 5_000]),
)
def test_every_row_goes_out_once_in_order_and_to_its_key(
    data: list[tuple[str, str | None, int]], sizes: list[int], budget: int, max_file_size: int | None
) -> None:
    rows = [(n, *row) for n, row in enumerate(data)]
    place = Place(max_file_size or float("inf"))
    with tempfile.TemporaryDirectory() as folder:
        lane = router(place, Path(folder), budget=budget)
        for batch in batches(rows, sizes):
            lane.feed(batch)
        lane.finish()
        assert not list(Path(folder, "lane0").iterdir())
    assert place.rows() == expected(rows)
    assert place.most_open <= OPEN_WRITERS
    for tenant, (tally,) in lane.tallies.items():
        count = sum(row[1] == tenant for row in rows)
        assert tally.read == tally.written == sum(file.rows for file in tally.files) == count
    assert sum(len(tally.files) for (tally,) in lane.tallies.values()) == len(place.files)


@pytest.mark.parametrize("budget", [1_000, 1 << 22])
def test_more_keys_than_open_writers_lose_nothing(tmp_path: Path, budget: int) -> None:
    tenants = [f"t{n:03}" for n in range(5 * OPEN_WRITERS)]
    rows = [(n, tenants[n * 7 % len(tenants)], None, n) for n in range(4_000)]
    place = Place()
    lane = router(place, tmp_path, budget=budget, cutter=Cutter("tenant", ()))
    for batch in batches(rows, [333]):
        lane.feed(batch)
    lane.finish()
    assert place.most_open <= OPEN_WRITERS
    found = {key.tenant: [row[0] for row in kept] for key, kept in place.rows().items()}
    assert found == {tenant: [row[0] for row in rows if row[1] == tenant] for tenant in tenants}


def test_a_negative_number_has_the_shard_that_counts_from_above(tmp_path: Path) -> None:
    numbers = [-1, -7, -8, 0, 6, 7, -(2**63), 2**63 - 1]
    place = Place()
    lane = router(place, tmp_path, cutter=Cutter(None, (PartitionColumn("shard", "id", 7),)))
    lane.feed(batches([(0, "a", None, n) for n in numbers], [100])[0])
    lane.finish()
    assert {key.partition[0]: sorted(r[3] for r in rows) for key, rows in place.rows().items()} == {
        shard: sorted(n for n in numbers if n % 7 == shard) for shard in {n % 7 for n in numbers}
    }


def test_whole_numbers_beyond_63_bits_have_their_shard() -> None:
    numbers = [0, 2**63 - 1, 2**63, 2**64 - 1, None]
    shard = PartitionColumn("shard", "id", 7)
    batch = pa.record_batch({"id": pa.array(numbers, pa.uint64())})
    assert shard.values(batch).to_pylist() == [None if n is None else n % 7 for n in numbers]


def cut_by_hand(rows: Sequence[tuple[Any, ...]]) -> list[tuple[tuple[Any, ...], list[int]]]:
    """By a row's values, which rows have them; NULL comes first, then texts."""
    found: dict[tuple[Any, ...], list[int]] = defaultdict(list)
    for n, row in enumerate(rows):
        found[row].append(n)
    return sorted(found.items(), key=lambda group: [(value is not None, value or "") for value in group[0]])


def cut(rows: Sequence[tuple[Any, ...]], *, tenant: bool) -> list[tuple[tuple[Any, ...], list[int]]]:
    names = [f"c{n}" for n in range(len(rows[0]))]
    columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
    batch = pa.record_batch([*columns, pa.array(range(len(rows)))], [*names, "row"])
    partitions = [PartitionColumn(name, name) for name in names[tenant:]]
    return [
        (((key.tenant,) if tenant else ()) + key.partition, piece.column("row").to_pylist())
        for key, piece in Cutter("c0" if tenant else None, partitions).cut(batch)
    ]


@settings(max_examples=100, deadline=None)
@given(
    rows=st.integers(1, 9).flatmap(
        lambda width: st.lists(
            st.tuples(
                *[st.sampled_from(["", "a", "b", "c"]), *[st.sampled_from([None, "", "a", "b"])] * width]
            ),
            min_size=1,
            max_size=60,
        )
    ),
    tenant=st.booleans(),
)
def test_a_batch_is_cut_by_the_values_of_its_rows(rows: list[tuple[Any, ...]], tenant: bool) -> None:
    assert cut(rows, tenant=tenant) == cut_by_hand(rows)


@pytest.mark.parametrize("tenant", [True, False])
@pytest.mark.parametrize(("columns", "distinct"), [(2, 2_000), (6, 1_700), (9, 200), (40, 50), (64, 2)])
def test_a_row_keeps_its_tenant_and_partition_however_many_there_could_be(
    columns: int, distinct: int, tenant: bool
) -> None:
    """Columns to the power of their values goes beyond what any integer of Arrow holds."""
    rows = [tuple(f"v{(n + c) % distinct:05}" for c in range(columns)) for n in range(3_000)]
    assert cut(rows, tenant=tenant) == cut_by_hand(rows)


def test_shards_of_what_is_no_whole_number_are_refused_by_name() -> None:
    batch = pa.record_batch({"id": ["x"]})
    with pytest.raises(InvalidProject, match="id is string, and shards need an integer"):
        list(Cutter(None, (PartitionColumn("shard", "id", 7),)).cut(batch))


def test_a_null_tenant_is_refused_with_the_count(tmp_path: Path) -> None:
    batch = pa.record_batch({"tenant": ["a", None, None], "n": [1, 2, 3]})
    lane = router(Place(), tmp_path, cutter=Cutter("tenant", ()))
    with pytest.raises(DataRefused, match="Column tenant: 2 rows have no tenant"):
        lane.feed(batch)
    lane.abort()


def test_rows_of_tenants_that_are_not_admitted_are_left_out_and_counted(tmp_path: Path) -> None:
    asked: list[list[str]] = []

    def admit(tenants: Sequence[str]) -> set[str]:
        asked.append(list(tenants))
        return set(tenants) - {"b"}

    place = Place()
    lane = router(place, tmp_path, cutter=Cutter("tenant", ()), admit=admit)
    for batch in batches([(n, "abc"[n % 3], None, n) for n in range(30)], [7]):
        lane.feed(batch)
    lane.finish()
    assert {key.tenant for key in place.rows()} == {"a", "c"}
    assert lane.left_out == 10
    assert asked == [["a", "b", "c"]]


def test_rows_are_transformed_tenant_by_tenant_and_may_be_dropped(tmp_path: Path) -> None:
    def transform(tenant: str, batch: pa.RecordBatch) -> list[pa.RecordBatch]:
        assert set(batch["tenant"].to_pylist()) == {tenant}
        return [batch.slice(0, 0) if tenant == "b" else batch]

    place = Place()
    lane = router(place, tmp_path, budget=200, cutter=Cutter("tenant", ()), transform=transform)
    for batch in batches([(n, "ab"[n % 2], None, n) for n in range(40)], [6]):
        lane.feed(batch)
    lane.finish()
    assert {key.tenant for key in place.rows()} == {"a"}
    (tally,) = lane.tallies["b"]
    assert (tally.read, tally.written, tally.files) == (20, 0, [])


@given(
    data=st.lists(
        st.tuples(st.sampled_from(["a", "b", "c"]), st.sampled_from([None, "north"])), max_size=120
    ),
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=4),
    budget=st.sampled_from([64, 500, 4_000, 1 << 20]),
    max_file_size=st.sampled_from([None, 1, 200]),
)
def test_versions_of_a_tenants_rows_hold_the_same_rows_each_in_files_of_its_own(
    data: list[tuple[str, str | None]], sizes: list[int], budget: int, max_file_size: int | None
) -> None:
    def transform(tenant: str, batch: pa.RecordBatch) -> list[pa.RecordBatch]:
        other = pa.RecordBatch.from_arrays([pa.nulls(batch.num_rows), batch["id"]], ["weightless", "id"])
        return [batch.select(["id", "tenant"]), other][: 1 if tenant == "a" else 2]

    rows = [(n, *row, n) for n, row in enumerate(data)]
    place = Place(max_file_size or float("inf"))
    with tempfile.TemporaryDirectory() as folder:
        lane = router(place, Path(folder), budget=budget, transform=transform, versions=2)
        for batch in batches(rows, sizes):
            lane.feed(batch)
        lane.finish()
        assert not list(Path(folder, "lane0").iterdir())
    wanted = expected(rows)
    assert place.rows() == {key: [row[:2] for row in each] for key, each in wanted.items()}
    second = {key: [(None, row[0]) for row in each] for key, each in wanted.items() if key.tenant != "a"}
    assert place.rows(version=1) == second
    assert place.most_open <= 2 * OPEN_WRITERS
    for tenant, tallies in lane.tallies.items():
        count = sum(row[1] == tenant for row in rows)
        assert [tally.written for tally in tallies] == [count] * (1 if tenant == "a" else 2)
        assert all(tally.read == sum(file.rows for file in tally.files) == count for tally in tallies)


def test_a_full_file_is_followed_by_the_next(tmp_path: Path) -> None:
    most = 4_000
    place = Place(most)
    lane = router(place, tmp_path, cutter=Cutter(None, ()))
    for batch in batches([(n, "a", None, n) for n in range(3_000)], [700]):
        lane.feed(batch)
    lane.finish()
    assert [file.number.sequence for file in place.files] == list(range(1, len(place.files) + 1))
    assert all(most * 7 // 8 <= file.size <= most for file in place.files[:-1])
    assert [row[0] for row in place.rows()[Key("default")]] == list(range(3_000))


@pytest.mark.parametrize("keys", [1, 5, 200])
def test_what_waits_never_holds_more_than_the_budget(tmp_path: Path, keys: int) -> None:
    """Bytes of Arrow's pool after each batch; the writers here keep none."""

    class Counting(File):
        def append(self, batch: pa.RecordBatch) -> int:
            self.size += batch.nbytes
            return int(batch.num_rows)

    budget, rows_per_batch = 1 << 20, 1_000
    place = Place()
    lane = router(
        place,
        tmp_path,
        budget=budget,
        cutter=Cutter("tenant", ()),
        open_file=lambda key, version, number, memory: Counting(place, key, number),
    )
    gc.collect()
    before, most, weight = pa.total_allocated_bytes(), 0, 0
    for begin in range(200):
        ids = pa.array(range(begin * rows_per_batch, (begin + 1) * rows_per_batch), pa.int64())
        tenants = pa.array([f"t{n % keys}" for n in range(rows_per_batch)])
        batch = pa.record_batch([ids, tenants], names=["n", "tenant"])
        weight = max(weight, batch.nbytes)
        lane.feed(batch)
        del ids, tenants, batch
        most = max(most, pa.total_allocated_bytes() - before)
    # Half of the budget waits; cutting a batch orders a copy of it.
    assert most <= budget // 2 + 4 * weight
    lane.finish()
    assert sum(tally.read for (tally,) in lane.tallies.values()) == 200 * rows_per_batch


def test_an_abort_aborts_every_open_writer(tmp_path: Path) -> None:
    place = Place()
    lane = router(place, tmp_path, cutter=Cutter("tenant", ()))
    for tenant in "abc":  # a chunk each, so that they get writers at once
        lane.feed(pa.record_batch({"tenant": [tenant] * 2, "text": ["x" * (5 << 20)] * 2}))
    assert [file.state for file in place.files] == ["open"] * 3
    lane.abort()
    assert [file.state for file in place.files] == ["aborted"] * 3


def failing(place: Place, after: int) -> Callable[[Key, FileNumber, int], File]:
    class Full(File):
        def append(self, batch: pa.RecordBatch) -> int:
            if sum(len(file.rows) for file in place.files) + batch.num_rows > after:
                raise StoreFull("the disk is full")
            return super().append(batch)

    def open_file(key: Key, version: int, number: FileNumber, memory: int) -> File:
        file = Full(place, key, number)
        place.files.append(file)
        return file

    return open_file


def test_after_a_failing_writer_an_abort_leaves_none_open(tmp_path: Path) -> None:
    place = Place()
    lane = router(place, tmp_path, cutter=Cutter("tenant", ()), open_file=failing(place, 25))
    for batch in batches([(n, "abc"[n % 3], None, n) for n in range(60)], [10]):
        lane.feed(batch)
    with pytest.raises(StoreFull):
        lane.finish()
    lane.abort()
    assert {file.state for file in place.files} == {"finished", "aborted"}


def one_column(values: Sequence[int], tenant: str = "a") -> pa.RecordBatch:
    return pa.record_batch(
        {"tenant": [tenant] * len(values), "region": ["r"] * len(values), "id": pa.array(values, pa.int64())}
    )


BY_ID = (PartitionColumn("region", "region"), PartitionColumn("id", "id"))


def test_too_many_partitions_of_a_tenant_are_refused_before_a_file_is_begun(tmp_path: Path) -> None:
    place = Place()
    lane = router(place, tmp_path, budget=1 << 30, cutter=Cutter("tenant", BY_ID))
    lane.feed(one_column(range(MOST_PARTITIONS)))  # as many as there may be
    lane.feed(one_column(range(MOST_PARTITIONS), "b"))
    with pytest.raises(
        DataRefused, match=r"tenant 'a' .* 10,000 partitions.*column id gives 10,001"
    ) as refused:
        lane.feed(one_column([MOST_PARTITIONS]))
    assert "{column: id, shards: 100}" in (refused.value.hint or "")
    assert place.files == []
    lane.abort()


def test_too_many_partitions_of_all_tenants_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routing, "MOST_KEYS", 20)
    lane = router(Place(), tmp_path, cutter=Cutter("tenant", BY_ID))
    lane.feed(one_column(range(15)))
    with pytest.raises(DataRefused, match="all tenants together would have more than 20 partitions"):
        lane.feed(one_column(range(6), "b"))
    lane.abort()


def test_many_tenants_without_partitions_are_no_partitions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routing, "MOST_KEYS", 20)
    monkeypatch.setattr(routing, "MOST_PARTITIONS", 5)
    place = Place()
    lane = router(place, tmp_path, cutter=Cutter("tenant", ()))
    lane.feed(batches([(n, f"t{n}", None, n) for n in range(50)], [50])[0])
    lane.finish()
    assert len(place.files) == 50


def test_what_is_held_of_a_key_is_bounded(tmp_path: Path) -> None:
    """Beside its rows: with ten visits each, all waiting, and after they have gone to disk."""
    keys, visits = 2_000, 10
    lane = router(Place(), tmp_path, budget=1 << 30, cutter=Cutter("tenant", BY_ID))
    made = [one_column(range(keys)) for _ in range(visits)]
    gc.collect()
    tracemalloc.start()
    try:
        for batch in made:
            lane.feed(batch)
        waiting = tracemalloc.get_traced_memory()[0]
        lane._budget = 0  # the next batch moves all of them on
        lane.feed(made[0])
        gc.collect()
        spilled = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert waiting < keys * (1_500 + visits * 250)
    assert spilled < keys * 2_000
    lane.abort()


def test_small_files_are_written_side_by_side_and_count_in_the_order_of_their_keys(tmp_path: Path) -> None:
    place = Place()
    together = threading.Barrier(OPEN_WRITERS, timeout=60)

    class Meeting(File):
        def finish(self) -> Written:
            if self.number.sequence == 1:
                together.wait()  # passes only when as many are being finished at once
            return super().finish()

    def open_file(key: Key, version: int, number: FileNumber, memory: int) -> File:
        file = Meeting(place, key, number)
        place.files.append(file)
        return file

    regions = [f"r{n:02}" for n in range(OPEN_WRITERS)]
    rows = [(n, "ba"[n % 2], regions[n // 2 * 3 % OPEN_WRITERS], n) for n in range(320)]
    cutter = Cutter("tenant", (PARTITIONS[0],))
    lane = router(place, tmp_path, cutter=cutter, open_file=open_file)
    for batch in batches(rows, [50]):
        lane.feed(batch)
    lane.finish()
    assert len(place.files) == len({(row[1], row[2]) for row in rows}) == 2 * OPEN_WRITERS
    for tenant in "ab":
        names = [file.name for file in lane.tallies[tenant][0].files]
        assert names == sorted(names)
    found = {(key.tenant, key.partition[0]): kept for key, kept in place.rows().items()}
    assert found == {pair: [r for r in rows if (r[1], r[2]) == pair] for pair in found}


def test_when_one_of_many_small_files_fails_none_stays_open(tmp_path: Path) -> None:
    place = Place()
    lane = router(place, tmp_path, cutter=Cutter("tenant", ()), open_file=failing(place, 60))
    lane.feed(batches([(n, f"t{n % 40}", None, n) for n in range(200)], [200])[0])
    with pytest.raises(StoreFull):
        lane.finish()
    lane.abort()
    assert {file.state for file in place.files} <= {"finished", "aborted"}
    assert len(place.files) <= 60 // 5 + OPEN_WRITERS
