"""The shipped example, run whole: generated, validated, delivered, proven, read as a recipient would."""

# D16, D17, D18, D6

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import json
import re
import shutil
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lading import Project, files, verify
from lading.run import Result

EXAMPLE = Path(__file__).parents[2] / "examples/analytics-platform"
EXPORTS = {
    "reddit_posts": "reddit_diagnostic_posts",
    "youtube_videos": "youtube_repair_videos",
    "sensor_telemetry": "sensor_telemetry",
    "billing_transactions": "billing_transactions",
    "feature_store": "feature_store",
    "users": "users",
}


def generator() -> Any:
    spec = importlib.util.spec_from_file_location("make_data", EXAMPLE / "make_data.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Delivered:
    """The example in a folder of its own, after every export ran once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        shutil.copytree(
            EXAMPLE, root, ignore=shutil.ignore_patterns("data", "deliveries", "archive", "journal", "keys")
        )
        generator().make(root / "data")
        self.results: dict[str, list[Result]] = {name: self.project.run(name) for name in EXPORTS}

    @property
    def project(self) -> Project:
        return Project.load(self.root)

    def folder(self, export: str) -> Path:
        return self.root / "deliveries/prod/diagnosticpro_prod" / EXPORTS[export]

    def manifests(self, export: str) -> list[dict[str, Any]]:
        return [
            json.loads(path.read_bytes()) for path in sorted(self.folder(export).rglob("manifest_*.json"))
        ]

    def source(self, pattern: str) -> Any:
        return pa.concat_tables(pq.read_table(path) for path in sorted((self.root / "data").glob(pattern)))

    def parquet(self, export: str) -> Any:
        return pa.concat_tables(
            pq.read_table(name, partitioning=None) for name in files(str(self.folder(export)))
        )

    def lines(self, export: str) -> list[dict[str, Any]]:
        found = []
        for name in files(str(self.folder(export))):
            with gzip.open(name, "rt", encoding="utf-8") as file:
                found.extend(json.loads(line) for line in file)
        return found


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Delivered:
    return Delivered(tmp_path_factory.mktemp("example") / "analytics-platform")


def test_the_data_are_the_same_every_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        generator().make(tmp_path / name)
    for path in (tmp_path / "one").rglob("*.parquet"):
        other = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert pq.read_table(path).equals(pq.read_table(other))


def test_the_project_is_valid_and_warns_only_of_what_it_must(delivered: Delivered) -> None:
    warnings = delivered.project.validate()
    assert all("account, amount" in warning for warning in warnings)


def test_every_export_succeeds_and_a_second_call_delivers_nothing(delivered: Delivered) -> None:
    for name, results in delivered.results.items():
        assert results, name
        assert {result.status for result in results} == {"succeeded"}, name
    before = Counter(path for path in (delivered.root / "deliveries").rglob("*") if path.is_file())
    for name in ("reddit_posts", "youtube_videos", "sensor_telemetry"):
        assert {result.status for result in delivered.project.run(name)} == {"skipped"}
    assert Counter(path for path in (delivered.root / "deliveries").rglob("*") if path.is_file()) == before


@pytest.mark.parametrize("store", ["deliveries", "archive"])
def test_every_delivery_is_proven_row_by_row(delivered: Delivered, store: str) -> None:
    report = verify(str(delivered.root / store), deep=True)
    assert report.record()["problems"] == []
    assert report.rows


def test_names_are_those_of_the_specification(delivered: Delivered) -> None:  # D6
    endings = {
        "reddit_posts": "parquet.snappy",
        "youtube_videos": "jsonl.gz",
        "sensor_telemetry": "parquet.zstd",
        "billing_transactions": "parquet.gzip",
        "feature_store": "parquet.snappy",
        "users": "jsonl.gz",
    }
    for export, ending in endings.items():
        entity = EXPORTS[export]
        name = re.compile(rf"{entity}_(\d{{8}})_(\d{{6}})_[0-9a-f]{{8}}_\d{{3}}\.{re.escape(ending)}")
        found = files(str(delivered.folder(export)))
        assert found
        for file in map(Path, found):
            match = name.fullmatch(file.name)
            assert match, file.name
            inside = file.relative_to(delivered.folder(export)).parts
            assert "".join(inside[:3]) == match[1]
            assert inside[3].startswith(f"{match[2]}_")
            assert file.with_name(f"{file.name}.metadata.json").is_file()
            digest = hashlib.sha256(file.read_bytes()).hexdigest()
            assert file.with_name(f"{file.name}.sha256").read_text().split() == [digest, file.name]
    for folder in {path.parent for path in delivered.root.glob("deliveries/**/SUCCESS")}:
        assert len(list(folder.glob("manifest_*_*.json"))) == 1


@pytest.mark.parametrize("export", ["reddit_posts", "sensor_telemetry"])
def test_appended_rows_are_the_sources_rows_once(delivered: Delivered, export: str) -> None:
    key = {"reddit_posts": "post_id", "sensor_telemetry": "reading_id"}[export]
    source = delivered.source(f"{EXPORTS[export]}/*.parquet").sort_by(key)
    found = delivered.parquet(export).sort_by(key)
    assert found.to_pylist() == source.select(found.column_names).to_pylist()


def test_posts_scraped_later_follow_as_an_addition(tmp_path: Path) -> None:
    late = Delivered(tmp_path / "analytics-platform")
    path = late.root / "data/reddit_diagnostic_posts/2025-09-15.parquet"
    row = pq.read_table(path).slice(0, 1).to_pylist()[0] | {
        "post_id": "t3_late",
        "scraped_at": datetime.now(UTC),
    }
    pq.write_table(
        pa.Table.from_pylist([row], pq.read_schema(path)), path.with_name("2025-09-15-late.parquet")
    )
    results = [result for result in late.project.run("reddit_posts") if result.status == "succeeded"]
    assert [(result.revision, result.rows) for result in results] == [(1, 1)]
    assert Counter(late.parquet("reddit_posts")["post_id"].to_pylist()).most_common(1)[0][1] == 1
    assert verify(str(late.root / "deliveries"), deep=True).ok


def test_videos_keep_their_lists_and_their_nulls(delivered: Delivered) -> None:
    source = {row["video_id"]: row for row in delivered.source("youtube_repair_videos.parquet").to_pylist()}
    found = {row["video_id"]: row for row in delivered.lines("youtube_videos")}
    inside = {k: r for k, r in source.items() if r["upload_time"] < datetime(2025, 9, 17, tzinfo=UTC)}
    assert found.keys() == inside.keys()
    for video, row in found.items():
        assert row["tags"] == source[video]["tags"]
        assert row["transcript"] == source[video]["transcript"]


def test_telemetry_lies_in_folders_of_its_hour_shard_and_kind(delivered: Delivered) -> None:  # D5
    for name in files(str(delivered.folder("sensor_telemetry"))):
        table = pq.read_table(name, partitioning=None)
        shard, kind = Path(name).parts[-3:-1]
        assert {f"shard={n % 100:02}" for n in table["equipment_id"].to_pylist()} == {shard}
        assert {f"sensor_type={s}" for s in table["sensor_type"].to_pylist()} == {kind}
        hour = Path(name).parts[-4][:2]
        assert {f"{moment:%H}" for moment in table["timestamp"].to_pylist()} == {hour}
        column = pq.ParquetFile(name).metadata.row_group(0).column(0)
        assert column.compression == "ZSTD"
        assert "DELTA_BINARY_PACKED" in column.encodings


def test_of_a_corrected_booking_only_the_newer_lines_are_delivered(delivered: Delivered) -> None:  # D7
    (manifest,) = delivered.manifests("billing_transactions")
    found = delivered.parquet("billing_transactions")
    keys = Counter(zip(found["transaction_id"].to_pylist(), found["line"].to_pylist(), strict=True))
    assert set(keys.values()) == {1}
    assert found.num_rows == 120
    assert manifest["rows"]["superseded"] == 12
    assert sum(found["amount"].to_pylist()) == 0
    assert next(r["amount"] for r in found.to_pylist() if r["transaction_id"] == "tx000010") == pytest.approx(
        20.50
    )
    assert {file["name"].split("/")[0] for file in manifest["files"]} == {"transaction_month=2025-09"}
    copies = list((delivered.root / "archive").rglob("*.parquet.gzip"))
    assert [path.read_bytes() for path in copies] == [
        Path(name).read_bytes() for name in files(str(delivered.folder("billing_transactions")))
    ]


def test_features_carry_the_version_of_their_contract(delivered: Delivered) -> None:  # D2
    found = delivered.parquet("feature_store")
    assert set(found["_schema_version"].to_pylist()) == {"2.1.0"}
    assert found.num_rows == 200
    assert found["feature_value"].null_count == 8


def test_users_are_only_those_who_agreed_and_masked(delivered: Delivered) -> None:  # D17
    source = {row["user_id"]: row for row in delivered.source("users.parquet").to_pylist()}
    found = {row["user_id"]: row for row in delivered.lines("users")}
    agreed = {user for user, row in source.items() if row["data_sharing_consent"] is True}
    assert found.keys() == agreed
    (manifest,) = delivered.manifests("users")
    assert manifest["rows"]["filtered"] == len(source) - len(agreed)
    text = json.dumps(list(found.values()))
    for user, row in found.items():
        assert row.keys() == source[user].keys() - {"password_hash", "security_questions"}
        assert re.fullmatch("[0-9a-f]{64}", row["email"])
        assert row["email"] != hashlib.sha256(source[user]["email"].encode()).hexdigest()
        assert row["phone"] == "*" * (len(source[user]["phone"]) - 4) + source[user]["phone"][-4:]
        assert row["ip_address"] != source[user]["ip_address"]
        for secret in ("email", "phone", "password_hash"):
            assert source[user][secret] not in text
    assert {(p["column"], p["action"].partition(":")[0]) for p in manifest["policy"]} >= {
        ("email", "hmac_sha256"),
        ("phone", "mask_except_last_4"),
        ("ip_address", "truncate_last_octet"),
        ("password_hash", "excluded"),
        ("security_questions", "excluded"),
        ("data_sharing_consent", "consent"),
    }
    pointer = json.loads((delivered.folder("users") / "users/latest.json").read_bytes())
    assert pointer["run_id"] == manifest["run_id"]


BROKEN: list[tuple[str, str, dict[str, Any], str]] = [
    ("reddit_posts", "reddit_diagnostic_posts/2025-09-16", {"subreddit": "aww"}, "in(subreddit)"),
    ("reddit_posts", "reddit_diagnostic_posts/2025-09-16", {"content": "short"}, "regex(content)"),
    ("reddit_posts", "reddit_diagnostic_posts/2025-09-16", {"post_id": "t3_160001"}, "unique(post_id)"),
    ("youtube_videos", "youtube_repair_videos", {"video_id": "not an id"}, "regex(video_id)"),
    ("youtube_videos", "youtube_repair_videos", {"title": None}, "not_null(title)"),
    ("sensor_telemetry", "sensor_telemetry/2025-09-16T01", {"value": 5000.0}, "range(value)"),
    ("sensor_telemetry", "sensor_telemetry/2025-09-16T01", {"equipment_id": 0}, "range(equipment_id)"),
    (
        "sensor_telemetry",
        "sensor_telemetry/2025-09-16T01",
        {"timestamp": datetime(2025, 9, 16, 1, tzinfo=UTC)},
        "ordered(",
    ),
    ("billing_transactions", "billing_transactions", {"currency": "DOGE"}, "in(currency)"),
    ("billing_transactions", "billing_transactions", {"amount": Decimal("9.99")}, "balance(amount by"),
    ("billing_transactions", "billing_transactions", {"approved_by": None}, "not_null(approved_by)"),
    ("feature_store", "feature_store", {"feature_version": None}, "not_null(feature_version)"),
    ("users", "users", {"email": "nobody"}, "regex(email)"),
    ("users", "users", {"data_sharing_consent": None}, "not_null(data_sharing_consent)"),
]


@pytest.mark.parametrize(("export", "file", "change", "check"), BROKEN, ids=lambda v: str(v)[:40])
def test_a_row_that_breaks_a_promise_delivers_nothing(
    tmp_path: Path, export: str, file: str, change: dict[str, Any], check: str
) -> None:  # D18
    root = tmp_path / "analytics-platform"
    shutil.copytree(
        EXAMPLE, root, ignore=shutil.ignore_patterns("data", "deliveries", "archive", "journal", "keys")
    )
    generator().make(root / "data")
    path = root / f"data/{file}.parquet"
    table = pq.read_table(path)
    rows = table.to_pylist()
    pq.write_table(pa.Table.from_pylist([*rows[:-1], rows[-1] | change], table.schema), path)
    failed = [result for result in Project.load(root).run(export) if result.status == "failed"]
    assert failed
    assert check in (failed[0].error or "")
    assert failed[0].exit_code == 5
