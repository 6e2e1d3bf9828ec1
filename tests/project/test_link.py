"""Links to bundles: made when they are asked for, for a while, noted, and only of what stands."""

# S3 S11
from __future__ import annotations

import json
import logging
import os
import pwd
import socket
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from delivered import bundled
from moto.server import ThreadedMotoServer
from typer.testing import CliRunner

from lading import Project
from lading.cli.app import app
from lading.errors import IntegrityError, InvalidProject, Refused, StoreDenied

SECRET = "v3ry-s3cret-k3y"
WINDOW = {
    "column": "at",
    "clock": "event",
    "late": "ignore",
    "every": "1 month",
    "start": "2024-01-01",
    "end": "2024-02-01",
}
ONE = {"start": datetime(2024, 1, 1, tzinfo=UTC), "tenants": ["a"]}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(endpoint: str, request: pytest.FixtureRequest) -> Any:
    options = {"aws_access_key_id": "A", "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
    name = f"b{abs(hash(request.node.name))}"
    made = boto3.resource("s3", endpoint_url=endpoint, **options).Bucket(name)
    made.create()
    return made


@pytest.fixture
def project(bucket: Any, endpoint: str, tmp_path: Path) -> Project:
    root = bundled(tmp_path / "shop", window=WINDOW)
    settings = json.loads((root / "lading.yaml").read_text())
    settings["stores"]["lake"] = {
        "url": f"s3://{bucket.name}/lake",
        "endpoint": endpoint,
        "region": "us-east-1",
        "access_key_id": "AKIAEXAMPLE",
        "secret_access_key": SECRET,
        "allow_http": True,
    }
    (root / "lading.yaml").write_text(json.dumps(settings))
    return Project.load(root)


def delivered(project: Project, **asked: Any) -> str:
    found = {r.tenant: r for r in project.run("to_lake", **asked) if r.interval.start.month == 1}
    assert {r.status for r in found.values()} == {"succeeded"}
    return found["a"].run_id


def test_a_link_gives_the_bundle_to_whoever_has_it_and_is_noted(project: Project, bucket: Any) -> None:
    run_id = delivered(project)
    before = datetime.now(UTC)
    link = project.link(run_id[:12])
    assert parse_qs(urlsplit(link["url"]).query)["X-Amz-Expires"] == ["900"]
    with urllib.request.urlopen(link["url"]) as answer:
        data = answer.read()
    (name,) = [o.key for o in bucket.objects.all() if run_id[:8] in o.key and o.key.endswith(".zip")]
    assert link["object"].endswith(name)
    assert data == bucket.Object(name).get()["Body"].read()
    until = datetime.fromisoformat(link["expires"])
    assert timedelta(minutes=15) <= until - before < timedelta(minutes=16)
    project.link(run_id, expires=timedelta(hours=24))
    first, second = [record for record in project.audit_log() if record["event"] == "linked"]
    assert {key: first[key] for key in link.keys() - {"url"}} == {k: v for k, v in link.items() if k != "url"}
    assert "@" in first["by"]
    assert second["expires"] > first["expires"]
    told = json.dumps(project.audit_log())
    for secret in (SECRET, "Signature", "X-Amz"):
        assert secret not in told


def test_who_made_a_link_is_the_account_and_not_what_the_environment_says(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = delivered(project)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(name, "mallory")
    project.link(run_id)
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_001)  # a container's user, who has no name
    project.link(run_id)
    monkeypatch.undo()
    noted = [record["by"] for record in project.audit_log() if record["event"] == "linked"]
    account = pwd.getpwuid(os.getuid()).pw_name
    assert noted == [f"{account}@{socket.gethostname()}", f"4000000001@{socket.gethostname()}"]


def test_the_command_prints_the_link_alone(project: Project) -> None:
    run_id, folder = delivered(project), str(project.files.root)
    done = CliRunner().invoke(app, ["--project", folder, "link", run_id, "--expires", "1h"])
    (line,) = done.stdout.splitlines()
    assert "X-Amz-Expires=3600" in line
    told = CliRunner().invoke(app, ["--project", folder, "link", run_id, "--json"])
    assert json.loads(told.stdout)["run_id"] == run_id
    log = CliRunner().invoke(app, ["--project", folder, "approvals", "--log"])
    assert log.stdout.count("linked") == 2


@pytest.mark.parametrize("expires", [timedelta(0), timedelta(hours=24, seconds=1), timedelta(days=-1)])
def test_a_link_lasts_a_day_at_most(project: Project, expires: timedelta) -> None:
    run_id = delivered(project)
    with pytest.raises(InvalidProject, match="works for a second at least and 24 hours at most"):
        project.link(run_id, expires=expires)
    assert project.audit_log() == []


def test_what_was_replaced_has_no_link_but_what_replaces_it_has(project: Project) -> None:
    old = delivered(project)
    new = delivered(project, revise=True, reason="corrected", **ONE)
    with pytest.raises(Refused, match=f"was replaced by {new}"):
        project.link(old)
    assert project.link(new)["run_id"] == new


def test_a_bundle_that_is_gone_or_changed_has_none(project: Project, bucket: Any) -> None:
    run_id = delivered(project)
    (name,) = [o.key for o in bucket.objects.all() if run_id[:8] in o.key and o.key.endswith(".zip")]
    bucket.Object(name).put(Body=b"other")
    with pytest.raises(IntegrityError, match="is not what was delivered there"):
        project.link(run_id)
    bucket.Object(name).delete()
    with pytest.raises(IntegrityError, match="is not what was delivered there"):
        project.link(run_id)
    assert project.audit_log() == []


def test_a_failed_run_has_none(project: Project) -> None:
    export = project.files.root / "exports/to_lake.yaml"
    shape = json.loads(export.read_text())
    export.write_text(json.dumps({**shape, "checks": [{"row_count": {"min": 1_000_000}}]}))
    failed = Project.load(project.files.root)
    run_id = next(r.run_id for r in failed.run("to_lake") if r.status == "failed")
    with pytest.raises(Refused, match="is failed, and only what is published has links"):
        failed.link(run_id)


def test_folders_and_local_stores_have_none(tmp_path: Path) -> None:
    project = Project.load(bundled(tmp_path / "shop", window=WINDOW))
    run_id = delivered(project)
    with pytest.raises(StoreDenied, match="signs no links: only buckets do"):
        project.link(run_id)
    dropped = next(r.run_id for r in project.run("to_dated"))
    with pytest.raises(InvalidProject, match="is a folder of files, and only a bundle has links"):
        project.link(dropped)
    assert project.audit_log() == []
