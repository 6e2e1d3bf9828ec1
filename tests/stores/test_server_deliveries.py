# D1 D2 D7 D10 S2
"""Whole projects whose journal and destination are buckets: run, verified and read as a recipient would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas
import pytest
from bucket_servers import ACCOUNT, ACCOUNT_KEY, BUCKET, REGION, BucketServer
from delivered import make_project
from pyarrow import fs

ROWS = 40
RUNS = 4  # two customers in two months
LADING = [sys.executable, "-c", "from lading.__main__ import run; run()"]


@dataclass
class Shop:
    """A project over one Parquet file, with a folder of its own in the bucket."""

    root: Path
    server: BucketServer
    path: str

    def settings(self, lake: Mapping[str, Any] | None = None) -> None:
        """``lake``: the store that is delivered to, in place of one in the bucket."""
        path = self.root / "lading.yaml"
        settings = json.loads(path.read_text())
        settings["stores"]["lake"] = lake or self.server.store(f"{self.path}/lake")
        settings["stores"]["journal"] = self.server.store(f"{self.path}/journal")
        settings["retry"] = {"attempts": 2, "initial": 0.1}
        path.write_text(json.dumps(settings))

    def lading(self, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        told = subprocess.run(
            [*LADING, *words],
            cwd=self.root,
            env={**os.environ, **environ},
            capture_output=True,
            text=True,
        )
        for secret in self.server.secrets:
            assert secret not in told.stdout + told.stderr
        return told

    def run(self, export: str) -> tuple[int, list[dict[str, Any]]]:
        told = self.lading("run", export, "--json")
        results = json.loads(told.stdout)
        assert isinstance(results, list), told.stdout
        return told.returncode, results

    def recipient(self) -> dict[str, str]:
        """The environment of somebody who knows the URL and has credentials of their own."""
        given = self.server.settings
        if self.server.scheme == "az":
            return {
                "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
                "AZURE_STORAGE_ACCOUNT_KEY": ACCOUNT_KEY,
                "AZURE_STORAGE_ENDPOINT": given["endpoint"],
                "AZURE_ALLOW_HTTP": "true",
            }
        return {
            "AWS_ACCESS_KEY_ID": given["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": given["secret_access_key"],
            "AWS_REGION": REGION,
            "AWS_ENDPOINT_URL": given["endpoint"],
            "AWS_ALLOW_HTTP": "true",
        }

    def files(self) -> fs.FileSystem:
        """The bucket by Arrow's own clients, which are the providers' C++ libraries."""
        given = self.server.settings
        if self.server.scheme == "az":
            where = given["endpoint"].removeprefix("http://").partition("/")[0]
            return fs.AzureFileSystem(
                ACCOUNT,
                account_key=ACCOUNT_KEY,
                blob_storage_authority=where,
                blob_storage_scheme="http",
                dfs_storage_authority=where,
                dfs_storage_scheme="http",
            )
        return fs.S3FileSystem(
            access_key=given["access_key_id"],
            secret_key=given["secret_access_key"],
            region=REGION,
            scheme="http",
            endpoint_override=given["endpoint"].removeprefix("http://"),
        )


@pytest.fixture
def shop(server: BucketServer, tmp_path: Path) -> Shop:
    shop = Shop(make_project(tmp_path / "shop"), server, tmp_path.name)
    shop.settings()
    return shop


def test_a_delivery_is_run_verified_and_read_from_a_bucket(shop: Shop) -> None:
    code, results = shop.run("to_lake")
    assert (code, {r["status"] for r in results}, len(results)) == (0, {"succeeded"}, RUNS)
    assert sum(r["rows"] for r in results) == ROWS
    code, results = shop.run("to_lake")
    assert (code, {r["status"] for r in results}) == (0, {"skipped"})

    url = f"{shop.server.scheme}://{BUCKET}/{shop.path}/lake"
    report = shop.lading("verify", url, "--deep", "--json", **shop.recipient())
    assert report.returncode == 0, report.stderr
    found = json.loads(report.stdout)
    assert (found["ok"], found["deliveries"], found["rows"]) == (True, RUNS, ROWS)

    listed = shop.lading("files", url, "--json", **shop.recipient())
    paths = [name.partition("://")[2] for name in json.loads(listed.stdout)]
    assert len(paths) == found["files"]
    frame = pandas.concat(pandas.read_parquet(path, filesystem=shop.files()) for path in paths)
    assert sorted(frame["id"]) == list(range(ROWS))
    assert all(amount == Decimal(n) / 4 for n, amount in zip(frame["id"], frame["amount"], strict=True))


def test_a_full_refresh_moves_its_pointer_in_a_bucket(shop: Shop) -> None:
    code, first = shop.run("whole")
    assert (code, {r["status"] for r in first}) == (0, {"succeeded"})
    again = shop.lading("run", "whole", "--revise", "--reason", "sent twice", "--json")
    assert again.returncode == 0, again.stderr
    pointers = [
        json.loads(shop.files().open_input_stream(info.path).read())
        for info in shop.files().get_file_info(fs.FileSelector(f"{BUCKET}/{shop.path}/lake", recursive=True))
        if info.base_name == "latest.json"
    ]
    assert sorted(p["tenant"] for p in pointers) == ["a", "b"]
    assert {p["revision"] for p in pointers} == {1}


def test_a_bucket_that_may_only_be_read_ends_a_run_before_anything_is_written(
    server_with_a_reader: BucketServer, tmp_path: Path
) -> None:
    shop = Shop(make_project(tmp_path / "shop"), server_with_a_reader, tmp_path.name)
    shop.settings(server_with_a_reader.store(f"{shop.path}/lake", server_with_a_reader.read_only))
    code, results = shop.run("to_lake")
    assert (code, {r["status"] for r in results}) == (5, {"failed"})
    assert all("403" in r["error"] and "_probe" in r["error"] for r in results)


def test_a_wrong_secret_ends_a_run_with_the_documented_code_and_leaves_nothing(shop: Shop) -> None:
    lake = shop.server.store(f"{shop.path}/lake", shop.server.wrong_secret)
    shop.settings(lake)
    code, results = shop.run("to_lake")
    assert (code, {r["status"] for r in results}) == (5, {"failed"})
    assert all("403" in r["error"] for r in results)
    listing = shop.files().get_file_info(fs.FileSelector(f"{BUCKET}/{shop.path}/lake", allow_not_found=True))
    assert listing == []
    shop.settings()
    code, results = shop.run("to_lake")
    assert (code, sum(r["rows"] for r in results)) == (0, ROWS)
