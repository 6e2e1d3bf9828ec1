from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from lading.errors import InvalidProject
from lading.settings import load_settings

# The file of the public surface.
FULL = """\
name: nyc-flights
environment: prod
connections:
  ops: {type: postgres, url: "${OPS_DATABASE_URL}"}
stores:
  lake:    {url: "file://./deliveries", protected: true}
  journal: {url: "file://./journal"}
journal: journal
keys:  {url: "file://./keys"}
lease: 60s
buffer_memory: 256MB
"""
ENVIRON = {"OPS_DATABASE_URL": "postgresql://me:s3cret@db/ops"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "lading.yaml").write_text(FULL)
    (tmp_path / "tenants").mkdir()
    return tmp_path


def problems(root: Path, text: str | None = None, environ: dict[str, str] | None = None) -> list[str]:
    if text is not None:
        (root / "lading.yaml").write_text(text)
    with pytest.raises(InvalidProject) as caught:
        load_settings(root, ENVIRON if environ is None else environ)
    assert "s3cret" not in str(caught.value)
    return list(map(str, caught.value.problems)) or [str(caught.value)]


def test_the_documented_file_is_read(root: Path) -> None:
    found = load_settings(root, ENVIRON).settings
    assert (found.name, found.environment, found.journal) == ("nyc-flights", "prod", "journal")
    assert found.connections["ops"]["url"] == "postgresql://me:s3cret@db/ops"
    assert (found.lease, found.buffer_memory) == (timedelta(seconds=60), 256_000_000)
    assert found.protected("lake")
    assert not found.protected("journal")


# M7
def test_what_is_shown_of_settings_holds_no_secret(root: Path) -> None:
    assert "s3cret" not in repr(load_settings(root, ENVIRON))


# M7
def test_variables_override_the_file_and_flags_override_them(root: Path) -> None:
    environ = ENVIRON | {"LADING_ENVIRONMENT": "staging", "LADING_LEASE": "5m", "LADING_OTHER": "x"}
    found = load_settings(root, environ, {"environment": "dev", "buffer_memory": None}).settings
    assert (found.environment, found.lease, found.buffer_memory) == ("dev", timedelta(minutes=5), 256_000_000)


# M7
@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"LADING_LEASE": "soon"}, "LADING_LEASE: must be a duration, such as 60s, 15m, 24h, 7d or PT1H"),
        ({"LADING_LEASE": "0s"}, "LADING_LEASE: must be between 1s and 24h"),
        (
            {"LADING_JOURNAL": "nowhere"},
            'LADING_JOURNAL: journal names no store: there is no "nowhere" in stores',
        ),
    ],
)
def test_a_wrong_override_is_named(root: Path, environ: dict[str, str], expected: str) -> None:
    assert problems(root, environ=ENVIRON | environ) == [expected]


# M7, M10
@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("lease:", "leese:", 'lading.yaml:10: unknown key "leese" – did you mean "lease"?'),
        ("OPS_DATABASE_URL", "NOT_SET", "lading.yaml:4: the environment variable NOT_SET is not set"),
        ("256MB", "1MB", "lading.yaml:11: buffer_memory must be at least 16000000"),
        ("  lake: ", "  ops: ",
         'lading.yaml:6: "ops" is in connections already; all three sections share one namespace'),
        ("type: postgres, ", "", "lading.yaml:4: connections.ops.type is missing"),
        ("file://./deliveries", "",
         "lading.yaml:6: stores.lake.url is missing"),
        ("journal: journal", "journal: jurnal",
         'lading.yaml:8: journal names no store: there is no "jurnal" in stores – did you mean "journal"?'),
        ("protected: true", "protected: maybe", "lading.yaml:6: stores.lake.protected must be true or false"),
        ("environment: prod", "environment: Prod/1",
         'lading.yaml:2: environment: "Prod/1" cannot be a name: use 1 to 63 lower-case letters, digits, "-" and "_", '
         "and begin with a letter or digit"),
        ("environment: prod\n", "", "lading.yaml:1: environment is missing"),
        ("lake:    {", "lake: [", "lading.yaml:6: is not valid YAML: expected ',' or ']', but got '}'"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_line(root: Path, old: str, new: str, expected: str) -> None:
    assert problems(root, FULL.replace(old, new, 1)) == [expected]


def test_a_project_without_its_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(InvalidProject) as caught:
        load_settings(tmp_path, {})
    assert str(caught.value) == "lading.yaml: there is no such file"


def test_tenants_are_read_by_the_name_that_the_data_writes(root: Path) -> None:
    (root / "tenants" / "ua.yaml").write_text("tenant: UA\ndestination: lake\ncontract_major: 2\n")
    (root / "tenants" / "no.yaml").write_text("tenant: NO\nactive: false\n")
    tenants = load_settings(root, ENVIRON).tenants
    assert sorted(tenants) == ["NO", "UA"]
    assert (tenants["UA"].destination, tenants["UA"].contract_major, tenants["NO"].active) == (
        "lake",
        2,
        False,
    )


# M10
def test_all_files_are_checked_at_once(root: Path) -> None:
    (root / "tenants" / "a.yaml").write_text("tenant: A\nactve: false\n")
    (root / "tenants" / "b.yaml").write_text("tenant: B\n")
    (root / "tenants" / "c.yaml").write_text("\ntenant: B\n")
    assert problems(root, FULL.replace("lease", "leese")) == [
        'lading.yaml:10: unknown key "leese" – did you mean "lease"?',
        'tenants/a.yaml:2: unknown key "actve" – did you mean "active"?',
        'tenants/c.yaml:2: "B" is in tenants/b.yaml already',
    ]
