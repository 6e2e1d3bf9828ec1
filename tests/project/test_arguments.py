"""What the Python face takes, and refuses before anything is read or written."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from lading import InvalidProject, Project, scaffold

JANUARY, FEBRUARY = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Orders of the shops berlin and lisbon, month by month."""
    scaffold.write(tmp_path, scaffold.sample("shop"))
    return Project.load(tmp_path)


Call = Callable[..., object]
TIMED: dict[str, Call] = {
    "run": lambda p, **given: p.run("orders_drop", **given),
    "plan": lambda p, **given: p.plan("orders_drop", **given),
    "backfill": lambda p, **given: p.backfill("orders_drop", **{"start": JANUARY, "end": FEBRUARY, **given}),
}


@pytest.mark.parametrize("call", TIMED)
@pytest.mark.parametrize("name", ["start", "end"])
@pytest.mark.parametrize(
    "moment", ["2024-01-01", date(2024, 1, 1), datetime(2024, 1, 1), 1704067200], ids=str
)
def test_a_moment_that_leaves_its_zone_open_is_refused(
    project: Project, call: str, name: str, moment: Any
) -> None:
    with pytest.raises(InvalidProject) as refused:
        TIMED[call](project, **{name: moment})
    assert refused.value.message.startswith(f"{name} must be a datetime with a time zone, and is ")
    assert refused.value.hint == f"For example {name}=datetime(2026, 7, 1, tzinfo=UTC)."
    assert not (project.files.root / "journal").exists()


@pytest.mark.parametrize("call", ["run", "plan"])
def test_as_of_leaves_no_zone_open_either(project: Project, call: str) -> None:
    with pytest.raises(InvalidProject, match="as_of must be a datetime with a time zone"):
        TIMED[call](project, as_of="2024-01-01")


def test_any_zone_names_its_instant(project: Project) -> None:
    ahead = timezone(timedelta(hours=1))
    outlook = project.plan(
        "orders_drop", start=JANUARY.astimezone(ahead), end=FEBRUARY.astimezone(ahead)
    ).record()
    assert [due["interval"]["start"] for due in outlook["due"]] == ["2024-01-01T00:00:00Z"]


NAMED: dict[str, Call] = {
    **TIMED,
    "preview": lambda p, **given: p.preview("orders_drop", **given),
}


@pytest.mark.parametrize("call", NAMED)
@pytest.mark.parametrize("tenants", ["berlin", [7]])
def test_one_name_alone_is_no_list_of_tenants(project: Project, call: str, tenants: Any) -> None:
    with pytest.raises(InvalidProject, match="tenants must be a list of texts") as refused:
        NAMED[call](project, tenants=tenants)
    assert 'tenants=["acme"]' in str(refused.value.hint)
    assert not (project.files.root / "journal").exists()


def test_whoever_follows_names_tenants_in_a_list_too(project: Project) -> None:
    path = project.files.root / "exports/orders_drop.yaml"
    head, _, rest = path.read_text().partition("mode: append\n")
    mode = "mode: continuous\nmerge_key: [order_id]\n"
    window = "window: {column: ordered_at, clock: transaction, start: 2024-01-01}\n"
    path.write_text(head + mode + window + rest[rest.index("format:") :])
    with pytest.raises(InvalidProject, match="tenants must be a list of texts"):
        next(iter(Project.load(project.files.root).follow("orders_drop", tenants="berlin")))
