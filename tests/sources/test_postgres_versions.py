"""The oldest version of PostgreSQL that is promised is one of those that are tried."""

from __future__ import annotations

import pytest
from servers import FOLDER, found, started

from lading.sources.postgres import PostgresOptions, PostgresSource


@pytest.mark.parametrize("version", [14, 15, 16, 17])
def test_the_tests_of_reading_run_on_each_version_that_is_there(version: int) -> None:
    if version not in found():
        pytest.skip(f"no PostgreSQL {version} in {FOLDER}: `tools/postgres.py` puts 14, 16 and 17 there")
    with started(found()[version], version) as server:
        said = PostgresSource(PostgresOptions(url=server.url)).test()
    assert said.startswith(f"PostgreSQL {version}.")
