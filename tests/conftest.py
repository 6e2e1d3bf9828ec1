"""Real PostgreSQL servers for tests: one embedded, and Debian's where its contrib types are needed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings
from servers import DEBIAN, Postgres, embedded, found, started

# How long an example takes is the machine's business: the first one also loads what it uses.
settings.register_profile("lading", deadline=None)
settings.load_profile("lading")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """An embedded PostgreSQL for the whole session: leave no roles, settings or load behind."""
    yield from embedded()


@pytest.fixture
def doomed_postgres() -> Iterator[Postgres]:
    """An embedded PostgreSQL that the test may stop."""
    yield from embedded()


@pytest.fixture(scope="session")
def debian_postgres() -> Iterator[Postgres]:
    """PostgreSQL 15 with Debian's contrib modules: citext, hstore, xml."""
    if 15 not in found():
        pytest.skip(f"no PostgreSQL in {DEBIAN}, so its contrib types cannot be tried")
    with started(DEBIAN, 15) as server:
        yield server
