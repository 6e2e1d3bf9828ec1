from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.documents import parse, validate
from lading.errors import InvalidProject
from lading.export.definition import Export, definition_hash
from lading.export.interval import parse_instant
from lading.export.sections import LateColumn

# The export of the public surface, as far as this version goes.
FULL = """\
name: flights_drop
contract: flights@1
source: {connection: ops, table: public.flights}
tenants: {column: carrier, discover: true}
channel: drop
destination: lake
copies: [archive]
mode: append
window:
  column: scheduled_hour
  clock: event
  every: 1 month
  start: 2013-01-01
  end: 2014-02-01
  late: {column: inserted_at}
  safety_lag: 0s
immutable_rows: false
deletes: none
schedule: {cron: "0 */6 * * *", timezone: UTC}
layout: {preset: lake, partition_by: [origin, {column: equipment_id, shards: 100}]}
format: {type: parquet, compression: snappy, max_file_size: 512MB, row_group_rows: 122880}
types: portable
unknown_columns: ignore
transforms:
  - mask: {email: hmac_sha256}
  - exclude: [password_hash]
checks:
  - unique: [flight_id]
"""
SHORT = """\
name: a
contract: flights@1
source: {connection: ops, table: public.flights}
destination: lake
"""
WINDOW = "window: {column: c, clock: transaction, start: 2013-01-01"


def export(text: str) -> Export:
    return validate(Export, parse(text.encode(), "exports/a.yaml"))


def problems(text: str) -> list[str]:
    with pytest.raises(InvalidProject) as caught:
        export(text)
    return [str(problem).removeprefix("exports/a.yaml:") for problem in caught.value.problems]


def test_the_documented_export_is_read() -> None:
    found = export(FULL)
    assert (found.contract_name, found.contract_major) == ("flights", 1)
    assert found.window is not None
    assert found.window.start == parse_instant("2013-01-01")
    assert found.window.late == LateColumn(column="inserted_at")
    assert found.tenants is not None
    assert found.tenants.discover
    assert found.format["max_file_size"] == "512MB"
    assert found.paths().partition_folder(["EWR", 7]) == "origin=EWR/shard=07/"
    assert found.schedule is not None
    assert found.schedule.schedule().cron == "0 */6 * * *"


# D7
def test_every_mode_reads_with_what_it_needs() -> None:
    assert export(SHORT + "mode: full_refresh\nkeep: 3\n").format == {"type": "parquet"}
    assert export(SHORT + f"mode: append\n{WINDOW}, every: 1h}}\n").paths().preset == "lake"
    incremental = export(SHORT + f"mode: incremental\nmerge_key: id\n{WINDOW}, lookback: 24h}}\n")
    assert incremental.merge_key == ("id",)
    assert incremental.incremental
    assert export(
        SHORT + f"mode: continuous\nmerge_key: [id, x]\n{WINDOW}}}\nschedule: {{every: 15m}}\n"
    ).incremental


# M10, D7
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mode: append\n", ["5: append needs a window with every: the grid of its intervals"]),
        (f"mode: append\n{WINDOW}}}\n", ["6: append needs window.every: the grid of its intervals"]),
        (f"mode: incremental\n{WINDOW}}}\n",
         ["5: incremental needs merge_key: the columns by which the recipient merges"]),
        ("mode: incremental\nmerge_key: [id]\n", ["5: incremental needs a window"]),
        ("mode: incremental\nmerge_key: [id, id]\n", ["6: merge_key must not name a column twice"]),
        (f"mode: incremental\nmerge_key: [id]\n{WINDOW}, every: 1h}}\n",
         ["7: window.every belongs to append: the schedule says where incremental intervals end"]),
        (f"mode: full_refresh\n{WINDOW}}}\n", ["6: full_refresh takes no window: it delivers everything"]),
        (f"mode: append\n{WINDOW}, every: 1h, lookback: 1h}}\nmerge_key: [a]\n",
         ["6: window.lookback belongs to incremental: append would deliver rows twice",
          "7: merge_key belongs to incremental"]),
        (f"mode: append\n{WINDOW}, every: 1h, late: ignore}}\n",
         ["6: window.late belongs to the event clock: on transaction time no row is late"]),
        ("mode: append\nwindow:\n  column: c\n  clock: event\n  start: 2013-01-01\n  every: 1h\n",
         ['8: the event clock needs window.late: "ignore", or {column: …} that says when a row arrived, so that late '
          "rows become additions"]),
        (f"mode: append\n{WINDOW}, every: 1h, timezone: Europe/Berlin}}\n",
         ["6: window.timezone must be UTC, as which times without a zone are read: for any other zone make the column "
          "a timestamptz, or read it by a query that makes it one"]),
        (f"mode: append\n{WINDOW}, every: 1 month, end: 2013-01-15}}\n",
         ["6: window.end must be the end of an interval: whole steps of window.every after window.start, since an "
          "interval is never shortened"]),
        (f"mode: append\n{WINDOW}, every: 1 month, end: 2013-01-01}}\n", ["6: window.end must lie after window.start"]),
        (f"mode: append\n{WINDOW}, every: 1 fortnight}}\n",
         ["6: window.every must be a step, such as 15m, 1 hour, 1 day, 1 week, 1 month, 1 quarter or 1 year"]),
        (f"mode: append\n{WINDOW.replace('2013-01-01', '2013-02-30')}, every: 1h}}\n",
         ["6: window.start must be a time that exists, not 2013-02-30"]),
        ("mode: full_refresh\nchannel: sync\n",
         ["6: the channel sync is not available in this version; use drop, bundle, snapshot or audit"]),
        ("mode: full_refresh\nencryption: {key: tenant}\nformat: {type: csv}\n",
         ["6: csv files are encrypted to the recipient's own key alone: write key: recipient"]),
        ("mode: full_refresh\nencryption: {key: recipient, binding: bound}\nformat: {type: csv}\n",
         ["6: binding is of parquet files, and these are csv"]),
        ("mode: full_refresh\nencryption: {key: tenant}\nlayout: {partition_by: [origin]}\n",
         ["7: folders of the values of origin would tell what encryption hides; shards do not"]),
        ("mode: full_refresh\ndeletes: {column: deleted_at}\n",
         ["6: deletes other than none are not available in this version"]),
        (f"mode: append\n{WINDOW}, every: 1h}}\nkeep: 3\n",
         ["7: keep belongs to full_refresh: an expired interval would be missing for good"]),
        ("mode: full_refresh\nimmutable_rows: true\n",
             ["6: immutable_rows belongs to append: in the other modes rows that were delivered may change"]),
        (f"mode: append\n{WINDOW.replace('transaction', 'event')}, late: ignore, every: 1h}}\nimmutable_rows: true\n",
             ["7: immutable_rows needs the transaction clock: on the event clock rows may still arrive after an "
              "interval was read"]),
        (f"mode: append\n{WINDOW}, every: 1h}}\nimmutable_rows: true\ntenants: {{column: carrier}}\n",
             ["7: immutable_rows cannot be had together with tenants or layout.partition_by: their files span the "
              "parts"]),
        (f"mode: append\n{WINDOW}, every: 1h}}\nimmutable_rows: true\nlayout: {{partition_by: [origin]}}\n",
             ["7: immutable_rows cannot be had together with tenants or layout.partition_by: their files span the "
              "parts"]),
        (f"mode: append\n{WINDOW}, every: 1h}}\nimmutable_rows: true\nchecks: [{{ordered: {{column: at}}}}]\n",
             ["7: immutable_rows cannot be had together with the check ordered: all rows are one part then"]),
        ("mode: full_refresh\nformt: {}\n", ['6: unknown key "formt" – did you mean "format"?']),
        ("mode: full_refresh\nformat: {compression: zstd}\n",
         ["6: format.type is missing: it names the format, such as parquet"]),
        ("mode: full_refresh\ncopies: [lake]\n", ["6: copies must not name the destination again"]),
        ("mode: full_refresh\nschedule: {cron: 0 6 * *}\n",
         ['6: schedule.cron must be five cron fields: minute, hour, day, month, weekday, such as "0 */6 * * *"']),
        ("mode: full_refresh\nschedule: {every: 1h, timezone: UTC}\n", ["6: schedule: timezone belongs to cron"]),
        ("mode: full_refresh\nschedule: {cron: 0 6 * * *, timezone: Mars}\n",
         ['6: schedule.timezone must be a time zone such as UTC or Europe/Berlin, not "Mars"']),
        ("mode: full_refresh\nlayout:\n  path: '{tenant}/{run}'\n",
         ["7: layout.path must hold {tenant}, {run} and {attempt} before any partition: {attempt} is missing"]),
        ("mode: full_refresh\nlayout:\n  preset: lake\n  name: '{file}'\n",
         ["7: layout takes a preset, or a path and a name, not both"]),
        ("mode: full_refresh\nlayout: {partition_by: [a, {column: b, shards: 1}]}\n",
         ["6: layout.partition_by[1].shards must be at least 2"]),
        ("mode: full_refresh\nlayout: {preset: lakes}\n",
         ['6: layout.preset must be one of lake, dated, svc002, not "lakes" – did you mean "lake"?']),
        ("mode: full_refresh\nlayout: {partition_by: origin}\n",
         ["6: layout.partition_by must be a list, such as [origin] or [{column: c, shards: 100}]"]),
        ("mode: full_refresh\nlayout: {partition_by: {column: c, shards: 100}}\n",
         ["6: layout.partition_by must be a list, such as [origin] or [{column: c, shards: 100}]"]),
        ("mode: full_refresh\nformat: {type: csv, max_file_size: soon}\n",
         ["6: format.max_file_size must be a size, such as 256MB or 64MiB"]),
        ("mode: full_refresh\nformat: {type: csv, max_file_size: -1}\n",
         ["6: format.max_file_size must be a size, and no size is negative"]),
        ("mode: full_refresh\nformat: {type: csv, max_file_size: 0}\n",
         ["6: format.max_file_size must be at least 10kB, such as 512MB: a smaller file would hold less of the rows "
          "than of what comes with each file"]),
        ("mode: full_refresh\nformat:\n  type: csv\n  max_file_size: 512\n",
         ["8: format.max_file_size must be at least 10kB, such as 512MB: a smaller file would hold less of the rows "
          "than of what comes with each file; 512 alone is so many bytes"]),
        ("mode: full_refresh\nlayout: {partition_by: [a, a]}\n", ['6: layout.partition_by names "a" twice']),
        ("mode: full_refresh\nlayout: {name: x}\n", ["6: layout.name must hold {file}, the file's number"]),
        (f"mode: incremental\nmerge_key: id\n{WINDOW.replace('transaction', 'event')}, late: {{column: d}}}}\n",
         ["7: incremental makes no additions: take the arrival column as window.column"]),
        ("mode: fullrefresh\n",
         ['5: mode must be one of append, incremental, full_refresh, continuous, not "fullrefresh" – did you mean '
          '"full_refresh"?']),
    ],
)  # fmt: skip
def test_a_wrong_definition_is_refused_in_plain_words(text: str, expected: list[str]) -> None:
    assert problems(SHORT + text) == expected


# M10
@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("{connection: ops, table: public.flights}", "{connection: ops}",
         "3: source: give exactly one of table, query and files"),
        ("{connection: ops, table: public.flights}", "{connection: ops, query: ../x.sql}",
         "3: source.query must be a relative path, without .."),
        ("flights@1", "flights", "2: contract must be a contract's name and major version, such as flights@1"),
        ("name: a", "name: A/b",
         '1: name: "A/b" cannot be a name: use 1 to 63 lower-case letters, digits, "-" and "_", '
         "and begin with a letter or digit"),
        ("destination: lake", "destnation: lake", "1: destination is missing"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_in_plain_words(old: str, new: str, expected: str) -> None:
    assert problems(SHORT.replace(old, new) + "mode: full_refresh\n")[0] == expected


def test_the_hash_covers_what_decides_the_bytes() -> None:
    base = definition_hash(export(FULL), "c")
    same = [
        ("copies: [archive]\n", ""),
        ("*/6", "*/4"),
        ("end: 2014-02-01", "end: 2015-02-01"),
        ("lake\n", "other\n"),
    ]
    other = [("snappy", "zstd"), ("hmac_sha256", "null"), ("portable", "exact"), ("[origin,", "[dest,"),
             ("public.flights", "public.flights2"), ("{column: inserted_at}", "ignore"), ("carrier", "airline"),
             ("122880", "9007199254740993")]  # fmt: skip
    for old, new in same:
        assert definition_hash(export(FULL.replace(old, new, 1)), "c") == base, new
    hashes = {definition_hash(export(FULL.replace(old, new, 1)), "c") for old, new in other}
    assert (
        len(
            hashes
            | {base, definition_hash(export(FULL), "d"), definition_hash(export(FULL), "c", "SELECT 1")}
        )
        == 11
    )


@given(st.integers(), st.integers())
def test_whole_numbers_of_any_size_are_told_apart(one: int, other: int) -> None:
    base = export(SHORT + "mode: full_refresh\n")
    hashes = [
        definition_hash(base.model_copy(update={"format": {"type": "x", "n": number}}), "c")
        for number in (one, other)
    ]
    assert (hashes[0] == hashes[1]) == (one == other)
