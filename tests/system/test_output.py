"""What a run writes to its own output: nothing. That belongs to whoever called it."""

from __future__ import annotations

from typing import Any

import pytest

RUN = """
import sys, lading
results = lading.Project.load(sys.argv[1]).run("slow")
assert [r.rows for r in results] == [2000], results
"""


@pytest.mark.slow
def test_a_long_reading_prints_nothing(place: Any):
    place.sql(
        "create table fast as select i::bigint id from generate_series(1, 2000) i",
        "create view slow as select id from fast where pg_sleep(0.001) is not null",
    )
    place.contract("slow", {"id": "integer"})
    place.export("slow", "slow")
    with place.python(RUN, str(place.root)) as child:
        output, error = child.communicate(timeout=120)
    assert child.returncode == 0, error
    assert (output, error) == ("", "")
