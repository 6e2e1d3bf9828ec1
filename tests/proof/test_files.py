"""What a reader is told to open: only complete deliveries, each row once, in order."""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from delivered import Objects, lay_out, store_of
from worlds import JANUARY, Hooked, World, ids, orders, snapshot, some_orders, under

from lading import files
from lading.errors import IntegrityError
from lading.manifest import canonical
from lading.plan import Asked, Clock, Standing
from lading.proof import current
from lading.proof.found import is_manifest
from lading.recipient import duckdb_query
from lading.run import Job, run


def opened(folder: Path) -> Counter[int]:
    """The ids in the JSON lines that are to be opened."""
    return Counter(
        json.loads(line)["id"] for name in files(str(folder)) for line in Path(name).read_text().splitlines()
    )


def test_all_files_of_complete_deliveries_in_the_order_of_their_names(tmp_path: Path) -> None:
    w = World(some_orders())
    run(w.job())
    found = files(str(lay_out(snapshot(w.lake), tmp_path)))
    assert found == sorted(found)
    assert len(found) == len([n for n in snapshot(w.lake) if n.endswith(".jsonl")])
    assert files(f"file://{tmp_path}/") == [f"file://{name}" for name in found]
    assert opened(tmp_path) == Counter(w.table["id"].to_pylist())


def test_a_half_published_delivery_is_absent(tmp_path: Path) -> None:
    w = World(some_orders(months=1, customers="ab"))
    run(w.job())
    whole = snapshot(w.lake)
    lay_out({n: d for n, d in whole.items() if not ("tenant=a" in n and n.endswith("_SUCCESS"))}, tmp_path)
    assert {n for n in files(str(tmp_path)) if "tenant=a" in n} == set()
    assert opened(tmp_path) == Counter({3: 1, 4: 1, 5: 1})


def test_a_delivery_whose_manifest_is_gone_is_missed_and_not_passed_over(objects: Objects) -> None:
    manifests = [name for name in objects if is_manifest(posixpath.basename(name))]
    assert manifests
    for gone in manifests:
        left = store_of({name: data for name, data in objects.items() if name != gone})
        with pytest.raises(IntegrityError, match="the success marker stands without its manifest"):
            current(left)


def test_a_delivery_that_is_being_removed_is_passed_over(tmp_path: Path) -> None:
    w = World(some_orders(months=1, customers="ab"))
    run(w.job())

    def removed(operation: str, name: str) -> None:
        if operation == "get" and "tenant=a" in name:
            for each in [n for n in snapshot(w.lake) if "tenant=a" in n]:
                w.lake.delete(each)

    found = current(Hooked(w.lake, removed))
    assert {delivery.manifest["tenant"] for delivery in found} == {"b"}


def test_after_a_revision_only_the_revision_is_opened(tmp_path: Path) -> None:
    w = World(some_orders())
    run(w.job())
    w.table = orders([(100, "a", JANUARY, JANUARY)])
    run(w.job(), Asked(start=JANUARY, end=JANUARY.replace(month=2), revise=True, reason="wrong"))
    found = opened(lay_out(snapshot(w.lake), tmp_path))
    assert found == ids(w.lake)
    assert {n for n in found if n < 9 or n == 100} == {100}
    assert sum(found.values()) == 1 + 9


def test_additions_are_opened_beside_what_they_add_to(tmp_path: Path) -> None:
    late = JANUARY + timedelta(hours=5)
    w = World(orders([(1, "a", JANUARY, JANUARY)]), now=datetime(2024, 2, 2, tzinfo=UTC))
    run(w.job(late=True))
    w.now = datetime(2024, 2, 20, tzinfo=UTC)
    w.table = orders([(1, "a", JANUARY, JANUARY), (2, "a", late, datetime(2024, 2, 10, tzinfo=UTC))])
    run(w.job(late=True))
    assert opened(lay_out(snapshot(w.lake), tmp_path)) == Counter({1: 1, 2: 1})


MAJOR_2 = {"id": "orders", "name": "orders", "version": "2.0.0", "sha256": "0" * 64}


def under_major_2(world: World, late: bool = False) -> Job:
    job = world.job(late=late)

    def standing(clock: Clock, upto: datetime | None) -> Standing:
        return replace(job.standing(clock, upto), major=2)

    return replace(under(job, major=2, contract=MAJOR_2), standing=standing)


def test_a_backfill_under_a_new_major_replaces_what_the_old_one_delivered(tmp_path: Path) -> None:
    w = World(some_orders())
    run(w.job())
    run(under_major_2(w), Asked(start=JANUARY, end=JANUARY.replace(month=2), backfill=True))
    found = opened(lay_out(snapshot(w.lake), tmp_path))
    assert found == ids(w.lake) == Counter(w.table["id"].to_pylist())
    majors = {(d.place[0].month, d.manifest["contract"]["version"][0]) for d in current(w.lake)}
    assert majors == {(1, "2"), (2, "1"), (3, "1"), (4, "1")}


def test_additions_go_on_under_a_new_major_and_hide_nothing(tmp_path: Path) -> None:
    late = JANUARY + timedelta(hours=5)
    w = World(orders([(1, "a", JANUARY, JANUARY)]), now=datetime(2024, 2, 2, tzinfo=UTC))
    run(w.job(late=True))
    w.now = datetime(2024, 2, 20, tzinfo=UTC)
    w.table = orders([(1, "a", JANUARY, JANUARY), (2, "a", late, datetime(2024, 2, 10, tzinfo=UTC))])
    run(under_major_2(w, late=True))
    assert opened(lay_out(snapshot(w.lake), tmp_path)) == Counter({1: 1, 2: 1})


def test_no_statement_makes_one_type_of_two(tmp_path: Path) -> None:
    w = World(some_orders(months=2, customers="a"))
    run(w.job())
    lay_out(snapshot(w.lake), tmp_path)
    assert "UNION" not in duckdb_query(str(tmp_path))
    named = sorted(tmp_path.rglob("_manifest.json"))[0]
    manifest = json.loads(named.read_text())
    manifest["schema"][0]["type"] = "double"
    data = canonical(manifest)
    named.write_bytes(data)
    success = json.loads((named.parent / "_SUCCESS").read_text())
    success["manifest_sha256"] = hashlib.sha256(data).hexdigest()
    (named.parent / "_SUCCESS").write_bytes(canonical(success))
    with pytest.raises(
        ValueError, match=r"column 'id' is (double|int64) in some deliveries and (int64|double)"
    ):
        duckdb_query(str(tmp_path))


def test_going_back_to_an_older_major_hides_nothing(tmp_path: Path) -> None:
    late, january = JANUARY + timedelta(hours=5), JANUARY.replace(month=2)
    w = World(orders([(1, "a", JANUARY, JANUARY)]), now=datetime(2024, 2, 2, tzinfo=UTC))
    run(w.job(late=True))
    run(under_major_2(w, late=True), Asked(start=JANUARY, end=january, backfill=True))
    w.now = datetime(2024, 2, 20, tzinfo=UTC)
    w.table = orders([(1, "a", JANUARY, JANUARY), (2, "a", late, datetime(2024, 2, 10, tzinfo=UTC))])
    run(w.job(late=True))
    assert opened(lay_out(snapshot(w.lake), tmp_path)) == Counter({1: 1, 2: 1})


def test_of_full_refreshes_only_what_the_pointer_names_is_opened(pointed: Objects, tmp_path: Path) -> None:
    lay_out(pointed, tmp_path)
    for name in (n for n in pointed if n.endswith("latest.json")):
        pointer = json.loads(pointed[name])
        folder = posixpath.dirname(posixpath.normpath(f"{posixpath.dirname(name)}/{pointer['manifest']}"))
        beside = posixpath.dirname(posixpath.dirname(name))
        here = [f for f in files(str(tmp_path)) if f.startswith(f"{tmp_path}/{beside}/2024/06")]
        assert here
        assert all(f.startswith(f"{tmp_path}/{folder}/") for f in here)


def test_one_projects_pointer_hides_nothing_of_another_environment(tmp_path: Path) -> None:
    for environment in ("prod", "staging"):
        w = World(some_orders(months=1, customers="a"))
        run(w.job(mode="full_refresh", environment=environment))
        lay_out(snapshot(w.lake), tmp_path)
    assert {name.removeprefix(f"{tmp_path}/").split("/")[0] for name in files(str(tmp_path))} == {
        "prod",
        "staging",
    }


def test_a_copied_delivery_is_opened_once(tmp_path: Path) -> None:
    w = World(some_orders(months=1))
    run(w.job())
    lay_out(snapshot(w.lake), tmp_path)
    lay_out(snapshot(w.lake), tmp_path / "copy")
    assert opened(tmp_path) == Counter(w.table["id"].to_pylist())


def test_every_row_of_every_layout_is_opened_once(project: Path) -> None:
    found: Counter[tuple[str, int]] = Counter()
    for name in files(str(project / "lake")):
        if name.endswith(".parquet"):
            layout = "svc002" if "/hour=" in name else "lake"
            found.update((layout, n) for n in pq.read_table(name, partitioning=None)["id"].to_pylist())
    assert found == Counter((layout, n) for layout in ("lake", "svc002") for n in range(40))


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"manifest_sha256":"0"}', b'{"status":"SUCCESS"}', b"[" * 100_000]
)
def test_a_marker_that_is_not_the_manifests_refuses_rather_than_lose_rows(
    objects: Objects, tmp_path: Path, body: bytes
) -> None:
    name = next(n for n in objects if n.endswith("SUCCESS"))
    lay_out({**objects, name: body}, tmp_path)
    with pytest.raises(IntegrityError, match="does not match the manifest"):
        files(str(tmp_path))


@pytest.mark.parametrize("body", [b"", b"[]", b'{"run_id":"x"}'])
def test_a_pointer_that_is_none_refuses(pointed: Objects, tmp_path: Path, body: bytes) -> None:
    name = next(n for n in pointed if n.endswith("latest.json"))
    lay_out({**pointed, name: body}, tmp_path)
    with pytest.raises(IntegrityError, match=r"latest\.json is damaged"):
        files(str(tmp_path))


def test_an_empty_folder_has_nothing_to_open(tmp_path: Path) -> None:
    assert files(str(tmp_path)) == []
