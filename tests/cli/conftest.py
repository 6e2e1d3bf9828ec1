"""A project of sample files, and the command line called in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lading import scaffold
from lading.cli import main


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout; anything beside it is an error."""
        return json.loads(self.out)


Lading = Callable[..., Said]


@pytest.fixture
def lading(capsys: pytest.CaptureFixture[str]) -> Lading:
    def call(*words: str) -> Said:
        capsys.readouterr()
        code = main(words)
        told = capsys.readouterr()
        return Said(code, told.out, told.err)

    return call


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The sample project, as the current folder: three months, two shops, seven orders."""
    scaffold.write(tmp_path, scaffold.sample("shop"))
    settings = tmp_path / "lading.yaml"
    quick = settings.read_text().replace('"file://./deliveries"', '"file://./deliveries", durable: false')
    settings.write_text(quick.replace('"file://./journal"', '"file://./journal", durable: false'))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def replace(project: Path) -> Callable[[str, str, str], None]:
    """Changes a file of the project."""

    def change(name: str, old: str, new: str) -> None:
        text = (project / name).read_text()
        assert old in text
        (project / name).write_text(text.replace(old, new))

    return change
