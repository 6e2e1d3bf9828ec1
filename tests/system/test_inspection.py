"""What `validate` refuses, and every command that loads an export: before anything is opened or written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lading import InvalidProject, Project
from lading.cli import main

CONTRACT = {
    "id": {"logicalType": "integer"},
    "contact": {"logicalType": "string", "physicalName": "email"},
    "city": "string",
    "weight": "number",
    "at": {"logicalType": "timestamp"},
    "local": {"logicalType": "timestamp", "logicalTypeOptions": {"timezone": False}},
    "day": "date",
}
WINDOW = {
    "column": "at",
    "clock": "transaction",
    "every": "1 day",
    "start": "2024-01-01",
    "end": "2024-01-03",
}


@pytest.fixture
def shop(new_place: Any) -> Any:
    """A project whose database is nowhere: whoever connects fails."""
    place = new_place("postgresql://nobody@127.0.0.1:1/none")
    place.contract("people", CONTRACT, key=["id"])
    place.export("drop", "people")
    place.load().validate()
    return place


def refused(place: Any, export: str = "drop") -> list[str]:
    """The problems, which `validate`, `run`, `plan` and `preview` tell alike, having written nothing."""
    with pytest.raises(InvalidProject) as caught:
        place.load().validate()
    assert caught.value.exit_code == 2
    told = [str(problem) for problem in caught.value.problems]
    assert told
    for command in (Project.run, Project.plan, Project.preview):
        with pytest.raises(InvalidProject) as again:
            command(place.load(), export)
        assert [str(problem) for problem in again.value.problems] == told
    assert not (place.root / "journal").exists()
    assert not place.lake.exists()
    return told


def line(place: Any, name: str, text: str) -> int:
    lines = (place.root / name).read_text().splitlines()
    return next(number for number, each in enumerate(lines, 1) if text in each)


# --- connections and stores


@pytest.mark.parametrize(
    ("connection", "at", "expected"),
    [
        ({"type": "postgrs", "url": "${DB}"}, "type", 'no kind of connection "postgrs" – did you mean "postgres"?'),
        ({"type": "postgres"}, "ops", "connections.ops.url is missing"),
        ({"type": "postgres", "url": "${DB}", "lock_timout": 3}, "lock_timout", 'did you mean "lock_timeout"?'),
        ({"type": "postgres", "url": "${DB}", "lock_timeout": 0}, "lock_timeout", "must be more than 0"),
        ({"type": "postgres", "url": "${DB}", "protected": True}, "protected", 'unknown key "protected"'),
        ({"type": "postgres", "url": "mysql://x"}, "ops", "neither a postgresql:// URL nor"),
        ({"type": "postgres", "url": ""}, '"url": ""', "connections.ops.url must name a database, and is empty"),
        ({"type": "postgres", "url": "  "}, '"url": "  "', "connections.ops.url must name a database, and is empty"),
        ({"type": "files"}, "ops", "connections.ops.store is missing"),
        ({"type": "files", "store": "lak"}, "lak", 'there is no store "lak" – did you mean "lake"?'),
        ({"type": "files", "store": "lake", "delimiter": ";;"}, "delimiter", "delimiter"),
        ({"type": "embedded"}, "ops", "connections.ops.folder is missing"),
    ],
)  # fmt: skip
def test_a_connection_is_held_against_its_adapter_without_connecting(
    shop: Any, connection: dict[str, Any], at: str, expected: str
):
    shop.settings(connections={"ops": connection})
    (told,) = refused(shop)
    assert told.startswith(f"lading.yaml:{line(shop, 'lading.yaml', at)}: ")
    assert expected in told


def test_an_embedded_server_is_not_started_to_look_at_its_settings(shop: Any):
    shop.settings(connections={"ops": {"type": "embedded", "folder": "./postgres"}})
    shop.load().validate()
    assert not (shop.root / "postgres").exists()


@pytest.mark.parametrize(
    ("store", "at", "expected"),
    [
        ({"url": "file://./lake", "durabel": False}, "durabel", 'did you mean "durable"?'),
        ({"url": "memory://lake", "durable": False}, '"durable"', 'unknown key "durable"'),
        ({"url": "file://./lake", "max_file_size": "1MB"}, "max_file_size", 'unknown key "max_file_size"'),
        ({"url": "s33://bucket"}, "s33", "a URL such as s3://bucket/prefix"),
        ({"url": "s3://bucket", "part_size": 1}, "part_size", "part_size must be at least"),
    ],
)
def test_a_store_is_held_against_its_adapter_without_connecting(
    shop: Any, store: dict[str, Any], at: str, expected: str
):
    shop.settings(stores={"lake": store, "journal": {"url": "file://./journal"}})
    (told,) = refused(shop)
    assert told.startswith(f"lading.yaml:{line(shop, 'lading.yaml', at)}: ")
    assert expected in told


def test_limits_retries_and_keys_are_judged_with_the_rest(shop: Any):
    shop.settings(limit={"requests_per_secnd": 5}, retry={"attempts": 0}, keys={"url": "vault://x"})
    with pytest.raises(InvalidProject) as caught:
        shop.load().validate()
    told = "\n".join(map(str, caught.value.problems))
    assert 'did you mean "requests_per_second"?' in told
    assert "keys takes a url of a folder" in told


def test_a_mask_by_key_needs_a_keyring(shop: Any):
    settings = shop.root / "lading.yaml"
    document = json.loads(settings.read_text())
    del document["keys"]
    settings.write_text(json.dumps(document))
    shop.export("drop", "people", transforms=[{"mask": {"email": "hmac_sha256"}}])
    (told,) = refused(shop)
    assert "hmac_sha256 needs a keyring" in told


# --- sizes


@pytest.mark.parametrize("size", [0, -1, "9kB", 512])
def test_a_file_holds_more_than_its_own_description(shop: Any, size: Any):
    shop.export("drop", "people", format={"type": "csv", "max_file_size": size})
    with pytest.raises(InvalidProject, match=r"format\.max_file_size must be") as caught:
        shop.load()
    assert caught.value.problems[0].line == line(shop, "exports/drop.yaml", "max_file_size")


@pytest.mark.parametrize(
    "format",
    [
        {"type": "parquet", "row_group_rows": 1},
        {"type": "arrow", "batch_rows": 99},
        {"type": "parquet", "row_group_rows": 0},
    ],
)
def test_a_group_of_rows_is_larger_than_what_describes_it(shop: Any, format: dict[str, Any]):
    shop.export("drop", "people", format=format)
    (told,) = refused(shop)
    assert "_rows must be" in told
    assert told.startswith(f"exports/drop.yaml:{line(shop, 'exports/drop.yaml', '_rows')}: ")


def test_a_misspelt_size_is_told_the_key_that_every_format_takes(shop: Any):
    shop.export("drop", "people", format={"type": "csv", "max_filesize": "1GB"})
    (told,) = refused(shop)
    assert 'unknown key "max_filesize" – did you mean "max_file_size"?' in told


# --- checks

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"uniqe": ["id"]}, 'there is no check "uniqe" – did you mean "unique"?'),
    ({"unique": ["id"], "on_violation": "wran"}, 'on_violation is fail or warn, not "wran" – did you mean "warn"?'),
    ({"regex": {"city": "("}}, "regex: city: the pattern '(' is not valid RE2"),
    ({"range": {"weight": [5, 1]}}, "range: weight: 5 lies above 1"),
    ({"range": {"weight": ["a", "b"]}}, "is neither a date nor a time"),
    ({"range": {"city": [1, 2]}}, "range(city): a column of type string has no range"),
    ({"range": {"id": ["2024-01-01", None]}}, "range(id): str '2024-01-01' does not fit"),
    ({"in": {"id": ["a"]}}, "in(id): str 'a' does not fit"),
    ({"in": {"city": []}}, "in: city: write a list of values"),
    ({"regex": {"id": "^1"}}, "regex(id): a column of type int64 is no text"),
    ({"freshness": {"column": "at", "max_age": "1 fortnight"}}, "freshness.max_age: '1 fortnight' is no duration"),
    ({"freshness": {"column": "city", "max_age": "1h"}}, "tells no time"),
    ({"freshness": {"column": "at", "max_ag": "1h"}}, 'freshness has no setting "max_ag" – did you mean "max_age"?'),
    ({"row_count": {"min": 5, "max": 1}}, "row_count: max is less than min"),
    ({"distribution": {"column": "city", "expect": {"Oslo": [50, 100]}}}, "a share lies between 0 and 1"),
    ({"distribution": {"column": "city", "mean": [0, 1]}}, "have no mean"),
    ({"ordered": {"column": "at", "by": 5}}, "ordered.by must be a list"),
    ({"balance": {"column": "city"}}, "cannot be added exactly"),
]  # fmt: skip


@pytest.mark.parametrize(("check", "expected"), WRONG, ids=str)
def test_a_wrong_check_is_refused_at_load_and_leaves_nothing_behind(
    shop: Any, check: dict[str, Any], expected: str
):
    shop.export("drop", "people", checks=[{"row_count": {"min": 1}}, check])
    (told,) = refused(shop)
    name = next(key for key in check if key != "on_violation")
    first = line(shop, "exports/drop.yaml", f'"{name}"') if name != "row_count" else 0
    assert expected in told
    assert int(told.split(":")[1]) in (first, first - 1) or name == "row_count"


@pytest.mark.parametrize(
    "check",
    [
        {"range": {"weight": [0.5, 2.25]}},
        {"balance": {"column": "weight"}},
        {"in": {"weight": ["1.5"]}},  # a number without limits may arrive as text
        {"range": {"at": ["2024-01-01", "2024-02-01T00:00:00"]}},
        {"range": {"id": [-(2**40), 2**80]}},
        {"regex": {"note": "^x"}},  # a column that the contract does not name
        {"ordered": {"column": "id", "by": ["email"]}},
    ],
    ids=str,
)
def test_a_check_that_may_fit_its_source_is_not_refused_by_the_contract_alone(shop: Any, check: Any):
    shop.export("drop", "people", checks=[check])
    shop.load().validate()


# --- columns


@pytest.mark.parametrize(
    ("sections", "at", "expected"),
    [
        ({"transforms": [{"mask": {"citty": "hash_sha256"}}]}, "citty",
         'mask: there is no column "citty" here – did you mean "city"?'),
        ({"transforms": [{"mask": {"contact": "hash_sha256"}}]}, '"contact"',
         'the contract\'s "contact" is called "email" in the source: write that'),
        ({"transforms": [{"mask": {"city": "hmac"}}]}, '"mask"',
         'mask: city: there is no action "hmac" – did you mean "hmac_sha256"?'),
        ({"transforms": [{"exclude": "city"}]}, "exclude", "exclude takes a list of columns"),
        ({"transforms": [{"mask": []}]}, "mask", "mask takes a mapping of columns"),
        ({"transforms": [{"masc": {}}]}, "masc", 'there is no transform "masc" – did you mean "mask"?'),
        ({"transforms": [{"select": ["id", "citty"]}]}, "citty", 'select: there is no column "citty" here'),
        ({"transforms": [{"rename": {"city": "town"}}, {"mask": {"city": "null"}}]}, '"null"',
         'it was renamed, and is called "town" by then'),
        ({"transforms": [{"exclude": ["city"]}, {"mask": {"city": "hash_sha256"}}]}, "hash_sha256", "it is excluded"),
        ({"layout": {"partition_by": ["citty"]}}, "citty", '"citty" is not delivered as it is'),
        ({"layout": {"partition_by": [{"column": "city", "shards": 4}]}}, '"column": "city"',
         "shards are of whole numbers"),
        ({"tenants": {"column": "city", "discover": True}, "transforms": [{"mask": {"city": "hash_sha256"}}]},
         '"column"', "names folders and manifests as the tenant"),
        ({"mode": "append", "window": {**WINDOW, "column": "weight"}}, '"column"',
         "a window needs a timestamp or a date"),
        ({"mode": "append", "window": {**WINDOW, "column": "local"}}, '"column": "local"',
         "or, where it is set by now() at time zone 'UTC', say window.timezone: UTC"),
        ({"mode": "append", "window": {**WINDOW, "column": "day"}}, '"column": "day"',
         "or, where it is set by (now() at time zone 'UTC')::date, say window.timezone: UTC"),
        ({"mode": "append", "window": {**WINDOW, "clock": "event", "late": {"column": "day"}}}, '"column": "day"',
         "say window.late.timezone: UTC"),
        ({"mode": "append", "window": {**WINDOW, "column": "day", "timezone": "UTC", "every": "1 hour"}}, "every",
         'a date is never cut: window.every must be whole days, such as 1 day'),
        ({"mode": "append", "window": {**WINDOW, "column": "day", "clock": "event", "late": "ignore",
                                       "start": "2024-01-01T06:00:00Z", "end": "2024-01-03T06:00:00Z"}}, "start",
         "a date is never cut: window.start must be a midnight in UTC"),
        ({"unknown_columns": "refuse", "checks": [{"not_null": ["citty"]}]}, "citty",
         'names no column "citty" – did you mean "city"?'),
    ],
    ids=str,
)  # fmt: skip
def test_a_column_that_can_only_be_wrong_is_refused_with_its_line(
    shop: Any, sections: dict[str, Any], at: str, expected: str
):
    shop.export("drop", "people", **sections)
    (told,) = refused(shop)
    assert expected in told
    assert told.count("mask:") <= 1
    assert told.count("exclude") <= 1 or "excluded" in told
    lines = (shop.root / "exports/drop.yaml").read_text().splitlines()
    assert at in lines[int(told.split(":")[1]) - 1], told


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"checks": [{"not_null": ["citty"]}]}, 'names no column "citty" – did you mean "city"?'),
        ({"checks": [{"not_null": ["note"]}]}, 'names no column "note".'),
        ({"transforms": [{"exclude": ["pasword"]}]}, 'names no column "pasword".'),
        ({"tenants": {"column": "citty", "discover": True}}, 'did you mean "city"?'),
        ({"mode": "incremental", "merge_key": ["idd"],
          "window": {"column": "at", "clock": "transaction", "start": "2024-01-01"}},
         'merge_key: contracts/people.v1.odcs.yaml names no column "idd"'),
    ],
    ids=str,
)  # fmt: skip
def test_a_column_that_only_the_source_may_have_is_a_warning(shop: Any, sections: Any, expected: str):
    shop.export("drop", "people", **sections)
    (told,) = shop.load().validate()
    assert expected in told
    assert told.startswith("exports/drop.yaml:")
    assert told.endswith("A run is refused where the source has none.")


def test_columns_by_which_rows_are_chosen_may_stand_outside_of_the_contract(shop: Any):
    late = {**WINDOW, "clock": "event", "late": {"column": "inserted_on"}}
    shop.export("drop", "people", mode="append", window=late, tenants={"column": "region", "discover": True})
    assert shop.load().validate() == []


def test_every_wrong_transform_and_check_is_told_at_once(shop: Any):
    shop.export(
        "drop",
        "people",
        transforms=[{"masc": {}}, {"exclude": "city"}, {"mask": {"city": "hash"}}],
        checks=[{"uniqe": ["id"]}, {"regex": {"city": "("}}],
    )
    assert len(refused(shop)) == 5


# --- tenants, names, folders


def test_tenants_that_nobody_lists_or_discovers_are_refused(shop: Any):
    shop.export("drop", "people", tenants={"column": "city"})
    (told,) = refused(shop)
    assert "no tenant is known" in told
    assert "discover: true" in told
    (shop.root / "tenants").mkdir()
    (shop.root / "tenants" / "oslo.yaml").write_text("tenant: Oslo\n")
    shop.load().validate()


def test_a_misspelt_export_is_told_the_nearest(shop: Any):
    with pytest.raises(InvalidProject, match=r'There is no export "drp" – did you mean "drop"\?'):
        shop.load().run("drp")


@pytest.mark.parametrize("layout", [{}, {"preset": "dated"}, {"preset": "svc002"}])
def test_exports_that_share_a_folder_are_named_with_the_cure(shop: Any, layout: dict[str, Any]):
    shop.export("drop", "people", layout=layout)
    shop.export("other", "people", layout=layout)
    (told,) = shop.load().validate()
    for part in ("exports/drop.yaml", "exports/other.yaml", '"lake"', "layout.path", "a store of its own"):
        assert part in told
    assert "test/shop/people/" in told or layout == {"preset": "svc002"}


@pytest.mark.parametrize(
    "changes",
    [
        {"destination": "apart"},
        {"layout": {"path": "{env}/other/tenant={tenant}/{yyyymmdd}/{HHMMSS}_{run}-a{attempt}"}},
    ],
)
def test_exports_that_a_path_or_a_store_keeps_apart_are_no_news(shop: Any, changes: dict[str, Any]):
    shop.settings(
        stores={
            "lake": {"url": "file://./lake"},
            "apart": {"url": "file://./apart"},
            "journal": {"url": "file://./journal"},
        }
    )
    shop.export("other", "people", **changes)
    assert shop.load().validate() == []


def test_two_names_of_one_store_are_one_place(shop: Any):
    shop.settings(
        stores={
            "lake": {"url": "file://./lake"},
            "same": {"url": "file://./lake/"},
            "journal": {"url": "file://./journal"},
        }
    )
    shop.export("other", "people", destination="same")
    (told,) = shop.load().validate()
    assert "exports/other.yaml" in told


@pytest.mark.parametrize("example", ["nyc-flights", "analytics-platform"])
def test_the_examples_hold_nothing_to_refuse(example: str, monkeypatch: pytest.MonkeyPatch):
    root = Path(__file__).parents[2] / "examples" / example
    monkeypatch.chdir(root)
    assert main(["validate"]) == 0
    told = Project.load(root).validate()
    assert [each for each in told if "delivered as they are" not in each] == []


def test_a_contract_s_status_that_is_none_is_told(shop: Any):
    path = shop.root / "contracts/people.v1.odcs.yaml"
    path.write_text(path.read_text().replace('"active"', '"actve"'))
    told = shop.load().validate()
    assert [each for each in told if "status" in each] == [
        f"contracts/people.v1.odcs.yaml:{line(shop, 'contracts/people.v1.odcs.yaml', 'actve')}: "
        'status "actve" is none that is known – did you mean "active"?'
    ]
