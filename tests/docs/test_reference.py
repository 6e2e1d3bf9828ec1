"""docs/reference.md says what the code does, and leaves out no command and no adapter."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from typer.main import get_command

import lading
from lading import errors
from lading.assemble import FORMATS, SOURCES, TRANSFORMS
from lading.cli.app import app
from lading.cli.failures import EXIT_CODES
from lading.transforms.checks import KINDS

TOOL = Path(__file__).parents[2] / "tools" / "reference.py"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reference", TOOL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["reference"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def headings(tool: ModuleType) -> set[str]:
    return {line.lstrip("# ") for line in tool.PAGE.read_text("utf-8").splitlines() if line.startswith("#")}


def test_the_page_is_what_the_code_says(tool: ModuleType) -> None:
    assert tool.PAGE.read_text("utf-8") == tool.page(), "run python tools/reference.py"


def test_every_command_is_on_the_page(headings: set[str]) -> None:
    assert {f"lading {name}" for name in get_command(app).commands} <= headings  # type: ignore[attr-defined]


def test_every_adapter_is_on_the_page(headings: set[str]) -> None:
    assert {f"type: {name}" for name in SOURCES} <= headings
    assert {f"format: {name}" for name in FORMATS} <= headings
    assert set(TRANSFORMS) <= headings
    assert {f"check: {name}" for name in KINDS} <= headings
    assert {"A folder: file://", "A bucket: s3://, gs://, az://", "retry", "limit"} <= headings


def test_every_exit_code_is_on_the_page(tool: ModuleType) -> None:
    text = tool.PAGE.read_text("utf-8")
    assert all(f"| {code} | {meaning} |" in text for code, meaning in EXIT_CODES.items())


def test_every_error_is_on_the_page_and_can_be_imported_but_those_that_are_handled_inside(
    tool: ModuleType,
) -> None:
    tree = {n for n, e in vars(errors).items() if isinstance(e, type) and issubclass(e, errors.LadingError)}
    inside = {"ObjectNotFound", "ObjectExists", "Fenced", "Lost"}
    assert {name for name in tree if hasattr(lading, name)} == tree - inside
    assert all(getattr(lading, name) is getattr(errors, name) for name in tree - inside)
    assert all(name in tool.PAGE.read_text("utf-8") for name in tree)


def test_links_lead_somewhere(tool: ModuleType, headings: set[str]) -> None:
    import re

    anchors = {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]*)\)", tool.PAGE.read_text("utf-8"))) <= anchors


def test_a_page_that_is_behind_is_told(
    tool: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tool, "PAGE", tmp_path / "docs" / "reference.md")
    assert tool.main(["--check"]) == 1
    assert "run python tools/reference.py" in capsys.readouterr().err
    assert tool.main([]) == 0
    assert tool.main(["--check"]) == 0
