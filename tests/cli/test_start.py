from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest

from lading.proof import Report


# M7
def test_init_makes_a_project_that_runs_at_once(
    lading: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = lading("init", "My Shop")
    assert made.code == 0
    assert "cd 'My Shop'" in made.err
    monkeypatch.chdir(tmp_path / "My Shop")
    assert lading("validate").out.startswith("ok: my_shop: 1 export, 1 contract, 0 tenants")
    assert lading("run", "orders_drop").out.endswith("6 succeeded\n")
    assert lading("verify", "deliveries", "--deep").code == 0


def test_init_never_overwrites(lading: Any, tmp_path: Path) -> None:
    (tmp_path / "exports").mkdir()
    (tmp_path / "exports" / "orders_drop.yaml").write_text("mine")
    told = lading("init", str(tmp_path), "--json")
    assert told.code == 2
    assert "orders_drop.yaml: exists already" in told.json["error"]["message"]
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["orders_drop.yaml"]


def test_init_says_of_a_project_that_it_is_one_and_writes_nothing(lading: Any, tmp_path: Path) -> None:
    assert lading("init", str(tmp_path / "shop")).code == 0
    again = lading("init", str(tmp_path / "shop"))
    assert again.code == 2
    assert again.err == (
        f"error: {tmp_path / 'shop'} is a project already: nothing was written.\n"
        "hint: Name another folder: lading init DIR.\n"
    )


def test_init_says_what_it_made(lading: Any, tmp_path: Path) -> None:
    told = lading("init", str(tmp_path / "new"), "--name", "shop", "--json").json
    assert (told["name"], told["export"], told["variables"], told["ignore"]) == (
        "shop",
        "orders_drop",
        [],
        [],
    )
    assert all((tmp_path / "new" / name).is_file() for name in told["files"])


# M10
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--name", "Not A Name"], "--name: "),
        (["--connection", "postgresql://h/d"], "'--connection': needs --table"),
        (["--table", "public.flights"], "OPS_DATABASE_URL in the environment"),
        (["--table", "public.flights", "--connection", " "], "URL is empty, so it names no database"),
    ],
)
def test_init_refuses_what_it_cannot_use(
    lading: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], expected: str
) -> None:
    monkeypatch.delenv("OPS_DATABASE_URL", raising=False)
    told = lading("init", str(tmp_path / "new"), *words)
    assert told.code == 2
    assert expected in told.err
    assert not (tmp_path / "new").exists()


def test_init_takes_no_empty_variable_for_a_database(
    lading: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPS_DATABASE_URL", "")
    told = lading("init", str(tmp_path / "new"), "--table", "public.flights")
    assert told.code == 2
    assert "URL is empty, so it names no database" in told.err
    assert not (tmp_path / "new").exists()


def test_a_git_folder_s_own_ignore_file_is_left_alone(lading: Any, tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("keys/\n*.log\n")
    told = lading("init", str(tmp_path))
    assert told.code == 0
    assert (tmp_path / ".gitignore").read_text() == "keys/\n*.log\n"
    assert "add to it: *.keys /journal/ /deliveries/ /catalogue.db .env" in told.err


def test_validate_warns_of_what_is_not_classified(lading: Any, project: Path, replace: Any) -> None:
    replace("contracts/orders.v1.odcs.yaml", ", classification: confidential", "")
    told = lading("validate")
    assert told.code == 0
    assert "warning: contracts/orders.v1.odcs.yaml: not classified" in told.err
    found = lading("validate", "--json").json
    assert (found["ok"], found["exports"], len(found["warnings"])) == (True, ["orders_drop"], 1)


def test_the_demo_s_story_and_its_verdict_are_told(
    lading: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lading.demo as story

    report = Report(deliveries=1)

    def demo(folder: Path, say: Any) -> Report:
        say("\nFirst run")
        return report

    monkeypatch.setattr(story, "demo", demo)
    assert lading("demo", str(tmp_path)).out == "\nFirst run\n"
    told = lading("demo", str(tmp_path), "--json")
    assert told.err == "\nFirst run\n"
    assert told.json["verified"]["ok"] is True
    report.problems.append(object())  # type: ignore[arg-type]
    assert lading("demo", str(tmp_path)).code == 6


def test_what_to_do_next_can_be_pasted_whatever_the_folder_is_called(lading: Any, tmp_path: Path) -> None:
    folder = tmp_path / "it's a shop"
    told = lading("init", str(folder))
    (line,) = (line for line in told.err.splitlines() if line.startswith("  cd "))
    assert shlex.split(line) == ["cd", str(folder)]
