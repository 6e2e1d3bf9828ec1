from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import PurePosixPath
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.export.layout import FileType, Layout, Names, PartitionColumn, segment

NAMES = Names(
    "prod", "nyc-flights", "flights", "UA", 1, datetime(2013, 1, 1, tzinfo=UTC), "7f3b4e5a" + "0" * 24, 1
)
PARQUET = FileType("parquet", "snappy", "parquet")
CSV = FileType("csv", "gz", "csv.gz")
DEVICES = ("con", "nul", "aux", "prn", "com1", "lpt9")
texts = (
    st.text(max_size=40)
    | st.text(alphabet="._/% aA\\~-=é", max_size=6)
    | st.sampled_from(["CON", "nul.txt", "..", ""])
)


# D5
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("UA", "UA"),
        ("a-b.c_d~", "a-b.c_d~"),
        ("../x", "%2E.%2Fx"),
        (".", "%2E"),
        ("..", "%2E%2E"),
        ("", "%65mpty"),
        ("a/b", "a%2Fb"),
        ("a\\b", "a%5Cb"),
        ("k=v", "k%3Dv"),
        ("50%", "50%25"),
        ("Köln", "K%C3%B6ln"),
        ("_hidden", "%5Fhidden"),
        (".hidden", "%2Ehidden"),
        ("end.", "end%2E"),
        ("end ", "end%20"),
        ("CON", "%43ON"),
        ("nul.txt", "%6Eul.txt"),
        ("console", "console"),
        ("__HIVE_DEFAULT_PARTITION__", "%5F_HIVE_DEFAULT_PARTITION__"),
        ("a\nb\x00", "a%0Ab%00"),
    ],
)
def test_a_segment_is_one_safe_name(text: str, expected: str) -> None:
    assert segment(text) == expected


# D5
@given(texts)
def test_a_segment_never_leaves_its_place(text: str) -> None:
    made = segment(text)
    assert made not in ("", ".", "..")
    assert not set(made) & set('/\\:*?"<>| ')
    assert made[0] not in "._"
    assert made[-1] not in ". "
    assert made.split(".")[0].lower() not in DEVICES
    assert made.isascii()


# D5
@given(texts, texts)
def test_different_texts_have_different_segments(one: str, other: str) -> None:
    assert (segment(one) == segment(other)) == (one == other)


@given(st.text(min_size=1, max_size=60))
def test_a_short_segment_reads_back(text: str) -> None:
    if len(segment(text)) <= 200 and text.isprintable():
        assert unquote(segment(text)) == text


# D5
@given(st.text(min_size=150, max_size=400), st.text(min_size=150, max_size=400), st.integers(100, 200))
def test_long_texts_stay_apart_and_fit_a_file_system(one: str, other: str, limit: int) -> None:
    assert len(segment(one, limit)) <= limit + 3
    assert (segment(one, limit) == segment(other, limit)) == (one == other)


def test_a_cut_text_is_no_other_text() -> None:
    cut = segment("é" * 300)
    assert 201 <= len(cut) <= 203
    assert segment(unquote(cut)) != cut
    assert segment(cut) != cut


@given(st.text(min_size=1), st.text(min_size=1))
def test_no_tenant_lies_in_the_folder_of_another(one: str, other: str) -> None:
    for layout in (Layout(), Layout("dated", tenanted=True), Layout("svc002")):
        first, second = (layout.folder(replace(NAMES, tenant=tenant)) for tenant in (one, other))
        assert first.startswith(second) == (one == other)


def test_a_is_no_prefix_of_a_slash_b() -> None:
    first, second = (Layout("svc002").folder(replace(NAMES, tenant=tenant)) for tenant in ("a", "a/b"))
    assert first.split("/")[0] == "a"
    assert second.split("/")[0] == "a%2Fb"


LAKE_RUN = "prod/nyc-flights/flights/tenant=UA/2013/01/01/000000_7f3b4e5a-a1/"


# D5, D6, S6
@pytest.mark.parametrize(
    ("layout", "folder", "file", "second", "controls"),
    [
        (
            Layout(),
            LAKE_RUN,
            "flights_20130101_000000_7f3b4e5a_001.parquet",
            "flights_20130101_000000_7f3b4e5a_002-003.parquet",
            ["_SUCCESS", "_FAILURE_a1", "_manifest.json", "_SHA256SUMS", "_metadata/x.parquet.json", None, None],
        ),
        (
            Layout("dated"),
            "prod/nyc-flights/flights/2013/01/01/000000_7f3b4e5a-a1/",
            "flights_20130101_000000_7f3b4e5a_001.parquet.snappy",
            "flights_20130101_000000_7f3b4e5a_002-003.parquet.snappy",
            ["SUCCESS", "FAILURE", "manifest_20130101_000000.json", "SHA256SUMS", "x.parquet.metadata.json",
             "x.parquet.sha256", None],
        ),
        (
            Layout("svc002"),
            f"UA/v1/2013-01-01/hour=00/7f3b4e5a{'0' * 24}-a1/",
            "export.flights.20130101.parquet",
            "export.flights.20130101.002-003.parquet",
            ["SUCCESS", "FAILURE", "manifest_20130101_000000.json", "SHA256SUMS", "x.parquet.metadata.json",
             "x.parquet.sha256", "export.flights.20130101.json"],
        ),
        (
            Layout("custom", "{env}/{tenant}/{yyyymmdd}/{HHMMSS}.{run}.{attempt}", "{entity}-v{major}-{file}"),
            "prod/UA/20130101/000000.7f3b4e5a.1/",
            "flights-v1-001.parquet",
            "flights-v1-002-003.parquet",
            ["_SUCCESS", "_FAILURE_a1", "_manifest.json", "_SHA256SUMS", "_metadata/x.parquet.json", None, None],
        ),
    ],
)  # fmt: skip
def test_a_preset_names_everything(
    layout: Layout, folder: str, file: str, second: str, controls: list[str | None]
) -> None:
    assert layout.folder(NAMES) == folder
    assert layout.data_file(NAMES, 0, 1, 1, PARQUET) == file
    assert layout.data_file(NAMES, 1, 3, 2, PARQUET) == second
    x = "x.parquet"
    assert controls == [layout.success(), layout.failure(NAMES), layout.manifest(NAMES), layout.sums(),
                        layout.metadata(x), layout.checksum(x), layout.record(NAMES)]  # fmt: skip


# D6
def test_endings_name_format_and_compression() -> None:
    assert Layout("dated").data_file(NAMES, 0, 1, 1, CSV).endswith("_001.csv.gz")
    assert Layout("dated").data_file(NAMES, 0, 1, 1, FileType("jsonl", "", "jsonl")).endswith("_001.jsonl")
    assert Layout("svc002").data_file(NAMES, 0, 2, 1, CSV) == "export.flights.20130101.002.csv.gz"


def test_a_dated_run_of_an_export_with_tenants_has_a_folder_for_each() -> None:
    assert Layout("dated", tenanted=True).folder(NAMES) == (
        "prod/nyc-flights/flights/tenant=UA/2013/01/01/000000_7f3b4e5a-a1/"
    )


@pytest.mark.parametrize(
    ("layout", "pointer"),
    [
        (Layout(), "prod/nyc-flights/flights/tenant=UA/flights_full/latest.json"),
        (Layout("dated"), "prod/nyc-flights/flights/flights_full/latest.json"),
        (Layout("dated", tenanted=True), "prod/nyc-flights/flights/tenant=UA/flights_full/latest.json"),
        (Layout("svc002"), "UA/v1/flights_full/latest.json"),
    ],
)
def test_the_pointer_belongs_to_export_and_tenant(layout: Layout, pointer: str) -> None:
    assert layout.pointer(NAMES, "flights_full") == pointer


# Every attempt has a folder of its own, in every layout.
@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([NAMES.run_id, "7f3b4e5b" * 4]))
def test_no_attempt_lies_in_the_folder_of_another(one: int, other: int, run: str) -> None:
    custom = Layout("custom", "{tenant}/{yyyymmdd}{HHMMSS}/{run}{attempt}{HH}")
    for layout in (Layout(), Layout("dated"), Layout("svc002"), custom):
        first = layout.folder(replace(NAMES, attempt=one))
        second = layout.folder(replace(NAMES, attempt=other, run_id=run))
        assert first.startswith(second) == ((one, NAMES.run_id) == (other, run))


# A thousand runs of an hour may well begin with the same eight digits.
@given(st.integers(0, 3599), st.integers(0, 3599), st.text("0123456789abcdef", min_size=24, max_size=24))
def test_no_two_runs_share_a_folder_whatever_their_ids_begin_with(one: int, other: int, rest: str) -> None:
    custom = Layout("custom", "{tenant}/{yyyymmdd}{HHMMSS}/{run}{attempt}")
    run_id = NAMES.run_id[:8] + rest
    for layout in (Layout(), Layout("dated"), Layout("svc002"), custom):
        first = replace(NAMES, start=NAMES.start + timedelta(seconds=one))
        second = replace(NAMES, start=NAMES.start + timedelta(seconds=other), run_id=run_id)
        if one != other and run_id != NAMES.run_id:
            assert layout.folder(first) != layout.folder(second)
            assert not layout.attempts(first)[1].fullmatch(layout.folder(second))


def test_a_partition_column_may_be_called_like_a_runs_id() -> None:
    by = (PartitionColumn("run_id"),)
    layout = Layout("custom", "{tenant}/{yyyymmdd}{HHMMSS}/{run}{attempt}/{run_id}", partition_by=by)
    assert layout.folder(NAMES) + layout.partition_folder(["x"]) == "UA/20130101000000/7f3b4e5a1/x/"


# D5
def test_partitions_are_folders_inside_the_run() -> None:
    layout = Layout(partition_by=(PartitionColumn("origin"), PartitionColumn("flight_id", 100)))
    assert layout.partition_folder(["EWR", 7]) == "origin=EWR/shard=07/"
    assert layout.partition_folder([None, 99]) == "origin=__HIVE_DEFAULT_PARTITION__/shard=99/"
    assert layout.partition_folder(["../x", 0]) == "origin=%2E.%2Fx/shard=00/"
    assert Layout().partition_folder([]) == ""
    for wrong in (100, -1, "7"):
        with pytest.raises(ValueError, match="is no shard of 100"):
            layout.partition_folder(["EWR", wrong])
    with pytest.raises(ValueError, match="2 partition values are needed, not 1"):
        layout.partition_folder(["EWR"])


@pytest.mark.parametrize(
    ("value", "folder"),
    [
        (True, "x=true/"),
        (7, "x=7/"),
        (Decimal("1.50"), "x=1.50/"),
        (Decimal("1E+3"), "x=1000/"),
        (date(2013, 1, 1), "x=2013-01-01/"),
        (datetime(2013, 1, 1, 6, tzinfo=UTC), "x=2013-01-01T06%3A00%3A00Z/"),
        (datetime(2013, 1, 1, 6), "x=2013-01-01T06%3A00%3A00/"),
        ("", "x=%65mpty/"),
    ],
)
def test_a_partition_value_is_text(value: object, folder: str) -> None:
    assert Layout(partition_by=(PartitionColumn("x"),)).partition_folder([value]) == folder


@pytest.mark.parametrize("value", [1.5, b"x", Decimal("NaN"), [1]])
def test_a_value_without_exact_text_makes_no_partition(value: object) -> None:
    with pytest.raises(TypeError, match="cannot make partitions"):
        Layout(partition_by=(PartitionColumn("x"),)).partition_folder([value])


@given(st.text(min_size=1, max_size=90), st.none() | st.text(max_size=300), st.none() | st.text(max_size=300))
def test_partition_folders_are_distinct_and_fit(column: str, one: str | None, other: str | None) -> None:
    layout = Layout(partition_by=(PartitionColumn(column),))
    first, second = layout.partition_folder([one]), layout.partition_folder([other])
    assert (first == second) == (one == other)
    assert len(first) <= 256
    assert len(PurePosixPath(first).parts) == 1


# D5
def test_a_custom_path_may_name_its_partitions() -> None:
    by = (PartitionColumn("id", 100), PartitionColumn("sensor.type"))
    layout = Layout(
        "custom",
        "{entity}/{tenant}/{yyyy}/{MM}{dd}{HHMMSS}-{run}-{attempt}/{shard}/type-{sensor.type}",
        partition_by=by,
    )
    assert layout.folder(NAMES) == "flights/UA/2013/0101000000-7f3b4e5a-1/"
    assert layout.partition_folder([7, "a b"]) == "07/type-a%20b/"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            "{env}/{run}-a{attempt}",
            "must hold {tenant}, {run} and {attempt} before any partition: {tenant} is missing",
        ),
        ("{tenant}/{region}/{run}/{attempt}", "before any partition: {run} is missing"),
        ("{tenant}{run}/{attempt}", "must give {tenant}, and each column, a folder of its own"),
        ("{tenant}/{yyyymmdd}{HHMMSS}{run}{attempt}/{region}/x", None),
        ("{yyyy}/{tenant}/{MM}/{dd}/{HHMMSS}/{run}{attempt}/{region}/x", None),
        ("{tenant}/{run}-a{attempt}/{region}", "must hold the run's whole start before any partition"),
        ("{tenant}/{yyyymmdd}{HH}{run}{attempt}/{region}", "must hold the run's whole start"),
        ("{tenant}/{yyyy}{MM}{HHMMSS}{run}{attempt}/{region}", "must hold the run's whole start"),
        ("{tenant}/{yyyymmdd}{run}{attempt}/{region}/{HHMMSS}", "must hold the run's whole start"),
        (
            "{tenant}/{yyyymmdd}{HHMMSS}{run}{attempt}/x{region}/{env}",
            "must hold every column of partition_by once",
        ),
        ("/{tenant}/{run}{attempt}", "no part of it may be empty"),
        ("../{tenant}/{run}{attempt}", "begin with"),
        ("a b/{tenant}/{run}{attempt}", "may hold letters, digits"),
        ("nul/{tenant}/{run}{attempt}", "may hold letters, digits"),
        ("{tenant}/{run}{attempt}/{minute}", "does not know {minute}; it may hold {HH}"),
        ("{tenant}/{run}{attempt}/{open", "may hold letters, digits"),
    ],
)
def test_a_custom_path_keeps_runs_apart(path: str, message: str | None) -> None:
    by = (PartitionColumn("region"),)
    if message is None:
        assert Layout("custom", path, partition_by=by).partition_folder(["x"]) == "x/x/"
        return
    with pytest.raises(ValueError, match=r"^(must|may|does)") as caught:
        Layout("custom", path, partition_by=by)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", ["{entity}", "_{file}", "{file}/x", "{file}.", "{tenant}_{file}"])
def test_a_custom_name_keeps_files_apart(name: str) -> None:
    with pytest.raises(ValueError):
        Layout("custom", name=name)


def test_columns_of_one_name_make_no_partitions() -> None:
    with pytest.raises(ValueError, match='partition_by names "shard" twice'):
        Layout(partition_by=(PartitionColumn("a", 10), PartitionColumn("b", 10)))


@pytest.mark.parametrize("change", [{"run_id": "XYZ"}, {"attempt": 0}, {"start": datetime(2013, 1, 1)}])
def test_names_are_complete(change: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        replace(NAMES, **change)  # type: ignore[arg-type]
