# D11 S2
"""What `lading destination policy` grants, on a server that enforces it: it is enough, and nothing is too much."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from bucket_servers import BucketServer, add_account, s3_client
from delivered import make_project

from lading import Project, StoreDenied
from lading.errors import InvalidProject
from lading.plan import Asked
from lading.run import run
from lading.stores.object import ObjectStore
from lading.stores.object_options import ObjectOptions

JANUARY, FEBRUARY = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC)
ACCOUNT = {"access_key_id": "LADINGEXPORTER", "secret_access_key": "a-s3cret-of-the-exporter"}
OWN_PATH = {"path": "out/{tenant}/{yyyymmdd}_{HHMMSS}_{run}-a{attempt}"}


@pytest.fixture(scope="session")
def exporter(versitygw: BucketServer) -> Mapping[str, Any]:
    """The settings of a store for an account that may do nothing until a policy says so."""
    add_account(versitygw.settings["endpoint"], ACCOUNT)
    return {**versitygw.settings, **ACCOUNT}


@dataclass
class Grounds:
    """A project whose exporter has nothing but what is granted, and the bucket's owner beside it."""

    root: Path
    owner: Any
    settings: Mapping[str, Any]
    bucket: str
    stores: tuple[str, ...] = ("lake",)
    exports: tuple[str, ...] = ()
    wishes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        make_project(self.root)
        path = self.root / "lading.yaml"
        settings = json.loads(path.read_text())
        for store in self.stores:
            settings["stores"][store] = {"url": f"s3://{self.bucket}/{store}", **self.settings}
        settings["retry"] = {"attempts": 1}
        path.write_text(json.dumps(settings))
        for file in (self.root / "exports").iterdir():
            if file.stem not in self.exports:
                file.unlink()
        self.owner.create_bucket(Bucket=self.bucket)

    def change(self, export: str, **sections: Any) -> None:
        path = self.root / f"exports/{export}.yaml"
        path.write_text(json.dumps({**json.loads(path.read_text()), **sections}))

    @property
    def project(self) -> Project:
        return Project.load(self.root)

    def granted(self) -> list[dict[str, Any]]:
        """The statements of the role, of every store that is in the bucket."""
        told = [self.project.destination_policy(store, **self.wishes) for store in self.stores]
        return [each for one in told for each in one["documents"][0]["document"]["Statement"]]

    def grant(self, without: str | None = None) -> None:
        """The role's statements, word for word, as a policy of the bucket for the exporter's account."""
        statements = [
            {**each, "Principal": {"AWS": [ACCOUNT["access_key_id"]]}}
            for each in self.granted()
            if each["Action"] != [without]
        ]
        policy = {"Version": "2012-10-17", "Statement": statements}
        self.owner.put_bucket_policy(Bucket=self.bucket, Policy=json.dumps(policy))

    def statuses(self, export: str, **asked: Any) -> set[str]:
        return {result.status for result in self.project.run(export, **asked)}

    def names(self) -> list[str]:
        pages = self.owner.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        return [each["Key"] for page in pages for each in page.get("Contents", ())]

    def unfinished(self) -> list[str]:
        found = self.owner.list_multipart_uploads(Bucket=self.bucket)
        return [each["Key"] for each in found.get("Uploads", ())]


@pytest.fixture
def grounds(versitygw: BucketServer, exporter: Mapping[str, Any], tmp_path: Path) -> Any:
    def make(**given: Any) -> Grounds:
        owner = s3_client(versitygw.settings["endpoint"])
        bucket = "granted-" + tmp_path.name.replace("_", "-").lower()[-50:].strip("-")
        return Grounds(tmp_path / "shop", owner, exporter, bucket, **given)

    return make


def client_of(settings: Mapping[str, Any]) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=settings["endpoint"],
        region_name=settings["region"],
        aws_access_key_id=settings["access_key_id"],
        aws_secret_access_key=settings["secret_access_key"],
    )


def actions(grounds: Grounds) -> set[str]:
    return {action for each in grounds.granted() for action in each["Action"]}


def test_appended_deliveries_are_written_by_who_can_read_none_of_them(grounds: Any) -> None:
    shop = grounds(exports=("to_lake", "to_svc"), wishes={"write_only": True})
    assert actions(shop) == {"s3:PutObject", "s3:AbortMultipartUpload"}
    shop.grant()
    assert shop.statuses("to_lake") == shop.statuses("to_svc") == {"succeeded"}
    assert shop.unfinished() == []
    client = client_of(shop.settings)
    for name in shop.names():
        with pytest.raises(ClientError, match="AccessDenied"):
            client.get_object(Bucket=shop.bucket, Key=name)
    for elsewhere in ("lake/x", "lake/test/shop/other/x", "journal/x", "x"):
        with pytest.raises(ClientError, match="AccessDenied"):
            client.put_object(Bucket=shop.bucket, Key=elsewhere, Body=b"")
    with pytest.raises(ClientError, match="AccessDenied"):
        client.list_objects_v2(Bucket=shop.bucket)


def test_without_the_right_to_put_nothing_is_delivered(grounds: Any) -> None:
    shop = grounds(exports=("to_lake",))
    shop.grant(without="s3:PutObject")
    assert shop.statuses("to_lake") == {"failed"}
    assert shop.names() == []


def test_without_the_right_to_give_uploads_up_they_stay_unfinished(grounds: Any) -> None:
    shop = grounds(exports=("to_lake",))
    shop.grant(without="s3:AbortMultipartUpload")
    shop.statuses("to_lake")
    assert shop.unfinished()


@pytest.mark.parametrize("without", [None, "s3:ListBucket", "s3:DeleteObject"])
def test_what_a_failed_run_wrote_goes_by_listing_and_deleting(grounds: Any, without: str | None) -> None:
    shop = grounds(exports=("to_lake",))
    shop.change("to_lake", checks=[{"unique": ["customer"]}])
    shop.grant(without=without)
    assert shop.statuses("to_lake") == {"failed"}
    data = [name for name in shop.names() if name.endswith(".parquet")]
    assert bool(data) == (without is not None)
    client = client_of(shop.settings)
    for elsewhere in ("", "lake/", "lake/test/shop/other/", "journal/"):
        with pytest.raises(ClientError, match="AccessDenied"):
            client.list_objects_v2(Bucket=shop.bucket, Prefix=elsewhere)


def test_a_full_refresh_that_may_not_read_its_pointer_is_not_delivered(grounds: Any) -> None:
    shop = grounds(exports=("whole",))
    shop.grant(without="s3:GetObject")
    assert shop.statuses("whole") == {"failed"}


@pytest.mark.parametrize("layout", [{"preset": "dated"}, {"preset": "svc002"}, OWN_PATH])
def test_a_full_refresh_reads_its_pointer_and_no_more(grounds: Any, layout: Mapping[str, str]) -> None:
    shop = grounds(exports=("whole",))
    shop.change("whole", layout=layout)
    shop.grant()
    assert shop.statuses("whole") == {"succeeded"}
    assert shop.statuses("whole", revise=True, reason="sent twice") == {"succeeded"}
    client, read = client_of(shop.settings), []
    for name in shop.names():
        try:
            client.get_object(Bucket=shop.bucket, Key=name)
        except ClientError:
            continue
        read.append(name.rpartition("/")[2])
    allowed = ("latest.json", "manifest_") if layout == {"preset": "svc002"} else ("latest.json",)
    assert read
    assert all(name.startswith(allowed) for name in read)


@pytest.mark.parametrize("without", [None, "s3:GetObject"])
def test_finished_parts_are_copied_by_who_may_read_them(grounds: Any, without: str | None) -> None:
    shop = grounds(exports=("to_lake",))
    shop.change(
        "to_lake",
        immutable_rows=True,
        tenants=None,
        layout={"preset": "lake"},
        source={"connection": "incoming", "table": "orders"},
        window={"column": "at", "clock": "transaction", "every": "1 month", "start": "2024-01-01"},
    )
    shop.grant(without=without)
    store = ObjectStore(ObjectOptions(url=f"s3://{shop.bucket}/lake", **shop.settings))
    folder = "test/shop/orders/tenant=default/2024/01/01/000000_0a1b2c3d-a"
    store.put(f"{folder}1/part.parquet", b"rows")
    if without is None:
        store.copy(f"{folder}1/part.parquet", f"{folder}2/part.parquet")
        return
    with pytest.raises(StoreDenied, match="403"):
        store.copy(f"{folder}1/part.parquet", f"{folder}2/part.parquet")


def test_deliveries_expire_by_what_is_granted(grounds: Any) -> None:
    shop = grounds(exports=("whole",))
    shop.change("whole", keep=1)
    path = shop.root / "lading.yaml"
    path.write_text(json.dumps({**json.loads(path.read_text()), "lease": "1s"}))
    shop.grant()
    assert shop.statuses("whole") == {"succeeded"}
    first = set(shop.names())
    for number in range(3):
        assert shop.statuses("whole", revise=True, reason=f"again {number}") == {"succeeded"}
        time.sleep(1.1)  # a lease
    assert {name for name in first if not name.endswith("latest.json")}.isdisjoint(shop.names())


@pytest.mark.parametrize("mode", ["append", "full_refresh", "incremental"])
def test_tables_are_made_and_changed_by_what_is_granted_and_by_nothing_less(
    versitygw: BucketServer, exporter: Mapping[str, Any], tmp_path: Path, mode: str
) -> None:
    pytest.importorskip("pyiceberg", reason="the extra iceberg is not installed")
    from tables import Clocked, Shop, row

    owner, bucket = s3_client(versitygw.settings["endpoint"]), f"tables-{mode.replace('_', '-')}"
    owner.create_bucket(Bucket=bucket)
    shop = Shop(tmp_path, lake={"url": f"s3://{bucket}/lake", **exporter})
    window = {"column": "at", "clock": "event", "late": "ignore", "start": "2024-01-01"}
    shop.export(
        mode=mode,
        window={"append": {**window, "every": "1 month", "end": "2024-04-01"}, "incremental": window}.get(
            mode
        ),
        merge_key=["id"] if mode == "incremental" else None,
        keep=1 if mode == "full_refresh" else None,
    )
    shop.orders([row(n, "ab"[n % 2]) for n in range(10)])
    statements = shop.project().destination_policy("lake")["documents"][0]["document"]["Statement"]

    def grant(without: str | None = None) -> None:
        left = [
            {**each, "Principal": {"AWS": [ACCOUNT["access_key_id"]]}}
            for each in statements
            if each["Action"] != [without]
        ]
        policy = {"Version": "2012-10-17", "Statement": left}
        owner.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))

    def delivered(now: datetime, reason: str = "") -> set[str]:
        job, asked = shop.project().job("orders_table"), Asked()
        if reason and mode == "append":
            asked = Asked(start=JANUARY, end=FEBRUARY, revise=True, reason=reason)
        elif reason and mode == "full_refresh":
            asked = Asked(revise=True, reason=reason)
        return {result.status for result in run(replace(job, source=Clocked(job.source, now)), asked)}  # type: ignore[arg-type]

    grant(without="s3:GetObject")
    assert "failed" in delivered(FEBRUARY)
    grant()
    assert "failed" not in delivered(FEBRUARY)
    shop.orders([row(n, "ab"[n % 2], amount=n + 7, month=1 + n // 10) for n in range(12)])
    assert delivered(datetime(2024, 3, 1, tzinfo=UTC), "mended") == {"succeeded"}
    client = client_of(exporter)
    for elsewhere in ("lake/x", "lake/_iceberg/other/x", "lake/test/shop/other/x", "x"):
        with pytest.raises(ClientError, match="AccessDenied"):
            client.put_object(Bucket=bucket, Key=elsewhere, Body=b"")
    with pytest.raises(InvalidProject, match="--write-only"):
        shop.project().destination_policy("lake", write_only=True)


def test_a_journal_is_created_read_and_listed_by_who_can_delete_nothing_of_it(grounds: Any) -> None:
    shop = grounds(exports=("to_lake",), stores=("journal",))
    shop.grant()
    assert shop.statuses("to_lake") == {"succeeded"}
    assert shop.statuses("to_lake") == {"skipped"}
    client = client_of(shop.settings)
    for name in shop.names():
        with pytest.raises(ClientError, match="AccessDenied"):
            client.delete_object(Bucket=shop.bucket, Key=name)


@pytest.mark.parametrize("without", ["s3:PutObject", "s3:ListBucket"])
def test_a_journal_that_may_not_be_listed_or_written_stops_a_run_at_once(grounds: Any, without: str) -> None:
    shop = grounds(exports=("to_lake",), stores=("journal",))
    shop.grant(without=without)
    with pytest.raises(StoreDenied, match="403"):
        shop.statuses("to_lake")


def test_a_journal_that_may_not_be_read_lets_nothing_through(grounds: Any) -> None:
    shop = grounds(exports=("to_lake",), stores=("journal",))
    shop.grant(without="s3:GetObject")
    assert shop.statuses("to_lake") == {"failed"}


def test_a_store_is_tried_with_what_is_granted(grounds: Any) -> None:
    shop = grounds(exports=("to_lake",), stores=("lake", "journal"))
    shop.grant()
    assert [f.what for f in shop.project.test_store("journal") if not f.ok] == []
    refused = [f.what for f in shop.project.test_store("lake") if not f.ok]
    assert "read" in refused
    assert not {"write", "upload", "delete"} & set(refused)
    assert shop.names() == []
