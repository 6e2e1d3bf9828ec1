"""What is read from PostgreSQL is read from the newest version and from the oldest that this machine has.

`LADING_TEST_POSTGRES=all` asks for each version between them too.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from servers import EMBEDDED, Postgres, embedded, found, started

_FOUND = found()
_ALL = os.environ.get("LADING_TEST_POSTGRES") == "all"
_OTHERS = [pytest.param(version, marks=pytest.mark.slow) for version in sorted(_FOUND)[: None if _ALL else 1]]


@pytest.fixture(scope="session", params=[EMBEDDED, *_OTHERS], ids=lambda version: f"pg{version}")
def postgres(request: pytest.FixtureRequest) -> Iterator[Postgres]:
    """A server of each version for the whole session: leave no roles, settings or load behind."""
    if request.param == EMBEDDED:
        yield from embedded()
        return
    with started(_FOUND[request.param], request.param) as server:
        yield server


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    """Of a new, empty database, which is gone after the test."""
    url = postgres.database()
    yield url
    postgres.drop(url)
