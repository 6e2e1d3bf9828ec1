"""What is read from PostgreSQL is read from each version of it that this machine has."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from servers import EMBEDDED, Postgres, embedded, found, started

_FOUND = found()
_OTHERS = [pytest.param(version, marks=pytest.mark.slow) for version in _FOUND]


@pytest.fixture(scope="session", params=[EMBEDDED, *_OTHERS], ids=lambda version: f"pg{version}")
def postgres(request: pytest.FixtureRequest) -> Iterator[Postgres]:
    """A server of each version for the whole session: leave no roles, settings or load behind."""
    if request.param == EMBEDDED:
        yield from embedded()
        return
    with started(_FOUND[request.param], request.param) as server:
        yield server
