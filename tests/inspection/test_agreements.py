"""What a contract agrees on about time, and a schedule that cannot hold it: correction 11."""

# S13
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from delivered import make_project

from lading import Project
from lading.errors import InvalidProject

APPEND = {"mode": "append"}
FULL = {"mode": "full_refresh", "window": None}


def problems(
    root: Path, agreed: dict[str, str], window: dict[str, Any], sections: dict[str, Any]
) -> list[str]:
    """What validate says of one export, where the contract agrees on spans of time."""
    make_project(root)
    for name in ("to_dated", "to_svc", "whole"):
        (root / f"exports/{name}.yaml").unlink()
    contract = root / "contracts/orders.v1.odcs.yaml"
    spans = [
        {"property": name, "value": value.split()[0], "unit": value.split()[1]}
        for name, value in agreed.items()
    ]
    contract.write_text(json.dumps({**json.loads(contract.read_text()), "slaProperties": spans}))
    export = root / "exports/to_lake.yaml"
    base = {"column": "at", "clock": "event", "late": "ignore", "start": "2024-01-01"}
    shape = {**json.loads(export.read_text()), "window": {**base, **window}, **sections}
    export.write_text(json.dumps({name: value for name, value in shape.items() if value is not None}))
    try:
        Project.load(root).validate()
    except InvalidProject as error:
        return [problem.reason for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("agreed", "window", "sections"),
    [
        # Hourly, and sixty minutes: the interval alone uses them up.
        ({"freshness": "60 minutes"}, {"every": "1 hour"}, APPEND),
        ({"freshness": "60 minutes"}, {"every": "15m"}, APPEND | {"schedule": {"cron": "0 * * * *"}}),
        ({"freshness": "20 minutes"}, {"every": "15m", "safety_lag": "5m"}, APPEND),
        ({"latency": "1 hour"}, {"every": "1 hour"}, APPEND),
        ({"frequency": "59 minutes"}, {"every": "15m"}, APPEND | {"schedule": {"every": "1 hour"}}),
        ({"freshness": "30 days"}, {"every": "1 month"}, APPEND),
        # By day only: the night is too long.
        ({"freshness": "2 hours"}, {"every": "15m"}, APPEND | {"schedule": {"cron": "0 9-17 * * *"}}),
        # On weekdays only.
        ({"freshness": "2 days"}, {"every": "1 day"}, APPEND | {"schedule": {"cron": "0 3 * * 1-5"}}),
        ({"freshness": "24 hours"}, {}, FULL),
        ({"freshness": "1 week"}, {}, FULL | {"schedule": {"every": "1 week"}}),
    ],
)
def test_a_schedule_that_cannot_hold_what_is_agreed_is_refused(
    tmp_path: Path, agreed: dict[str, str], window: dict[str, Any], sections: dict[str, Any]
) -> None:
    (reason,) = problems(tmp_path / "shop", agreed, window, sections)
    assert f"agree on a {next(iter(agreed))} of" in reason
    assert "deliver more often" in reason


@pytest.mark.parametrize(
    ("agreed", "window", "sections"),
    [
        ({}, {"every": "1 year"}, APPEND),
        ({"freshness": "61 minutes"}, {"every": "1 hour"}, APPEND),
        ({"freshness": "60 minutes"}, {"every": "15m"}, APPEND | {"schedule": {"cron": "*/15 * * * *"}}),
        ({"frequency": "1 hour"}, {"every": "15m"}, APPEND | {"schedule": {"every": "1 hour"}}),
        ({"freshness": "25 hours"}, {}, FULL),
        ({"freshness": "4 days"}, {"every": "1 day"}, APPEND | {"schedule": {"cron": "0 3 * * 1-5"}}),
        # History, which ends: nobody waits for what is newest.
        ({"freshness": "1 hour"}, {"every": "1 month", "end": "2024-03-01"}, APPEND),
    ],
)
def test_one_that_can_is_not(
    tmp_path: Path, agreed: dict[str, str], window: dict[str, Any], sections: dict[str, Any]
) -> None:
    assert problems(tmp_path / "shop", agreed, window, sections) == []


def test_a_run_is_not_refused_for_it(tmp_path: Path) -> None:
    """Late is better than never."""
    root = tmp_path / "shop"
    assert problems(root, {"freshness": "1 minute"}, {"every": "1 month"}, APPEND)
    assert {result.status for result in Project.load(root).run("to_lake")} == {"succeeded"}
