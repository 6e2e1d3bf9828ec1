"""Real servers of object stores, each for a whole session, each test under a prefix of its own."""

from __future__ import annotations

from collections.abc import Iterator

import bucket_servers
import pytest
from bucket_servers import BucketServer


@pytest.fixture(scope="session")
def versitygw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BucketServer]:
    with bucket_servers.versitygw(tmp_path_factory.mktemp("versitygw")) as running:
        yield running


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BucketServer]:
    with bucket_servers.azurite(tmp_path_factory.mktemp("azurite")) as running:
        yield running


@pytest.fixture(scope="session")
def minio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BucketServer]:
    with bucket_servers.minio(tmp_path_factory.mktemp("minio")) as running:
        yield running


@pytest.fixture(scope="session", params=["versitygw", "azurite", "minio"])
def server(request: pytest.FixtureRequest) -> BucketServer:
    running: BucketServer = request.getfixturevalue(request.param)
    return running


@pytest.fixture(params=["versitygw", "azurite"])
def server_with_a_reader(request: pytest.FixtureRequest) -> BucketServer:
    """A server with somebody who may read and list, but not write."""
    running: BucketServer = request.getfixturevalue(request.param)
    return running


@pytest.fixture(params=["versitygw", "minio"])
def s3_server(request: pytest.FixtureRequest) -> BucketServer:
    running: BucketServer = request.getfixturevalue(request.param)
    return running
