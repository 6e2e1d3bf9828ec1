from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import lading as package
from lading.cli import console
from lading.cli.failures import EXIT_CODES, describe
from lading.errors import InvalidProject, LadingError, Problem, StoreUnavailable
from lading.project import Project

HEAVY = ("pyarrow", "duckdb", "polars", "pydantic", "rich", "obstore", "psycopg", "ruamel", "jsonschema")
COMMANDS = ("init", "demo", "validate", "plan", "run", "files", "preview", "verify", "backfill", "status", "runs",
            "show", "tables", "test-connection", "test-store")  # fmt: skip


def python(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


# typer itself reads a command's own options with pydantic.
@pytest.mark.parametrize(
    ("words", "needed"), [(["--help"], set()), (["--version"], set()), (["run", "--help"], {"pydantic"})]
)
def test_help_imports_nothing_that_is_slow(words: list[str], needed: set[str]) -> None:
    code = f"import sys\nfrom lading.cli import main\nmain({words})\nprint(*sys.modules, file=sys.stderr)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stderr
    assert not (set(HEAVY) - needed) & {name.partition(".")[0] for name in loaded.split()}
    assert "lading.project" not in loaded.split()


def test_a_proof_of_bytes_imports_nothing_that_reads_rows(tmp_path: Path) -> None:
    code = (
        f"import sys\nfrom lading.cli import main\nmain(['verify', {str(tmp_path)!r}])\nprint(*sys.modules)"
    )
    loaded = {name.partition(".")[0] for name in python(code).split()}
    assert "lading" in loaded
    assert not {"pyarrow", "numpy", "duckdb", "polars", "obstore", "psycopg"} & loaded


def test_importing_the_command_line_imports_no_command_s_needs() -> None:
    loaded = python("import sys, lading.cli\nprint(*sys.modules)").split()
    assert not set(HEAVY) & {name.partition(".")[0] for name in loaded}


def test_every_promised_command_is_there(lading: Any) -> None:
    told = lading("--help")
    assert told.code == 0
    for command in COMMANDS:
        assert f"\n  {command} " in told.out
        assert lading(command, "--help").code == 0
        assert "--json" in lading(command, "--help").out


def test_the_version_is_the_package_s(lading: Any) -> None:
    assert lading("--version").out == f"lading {package.__version__}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_can_complete(shell: str) -> None:
    words = [sys.executable, "-c", "from lading.cli import main; main([])"]
    environ = {**os.environ, "_LADING_COMPLETE": f"complete_{shell}", "COMP_WORDS": "lading test-", "COMP_CWORD": "1",
               "_TYPER_COMPLETE_ARGS": "lading test-", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}  # fmt: skip
    told = subprocess.run(words, env=environ, capture_output=True, text=True)
    assert "test-connection" in told.stdout
    assert "test-store" in told.stdout


# M10
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["run", "orders_drop", "--start", "yesterday"], "'--start': must be a date or an RFC 3339 time"),
        (["run", "orders_drop", "--end", "2024-02-30"], "'--end': must be a time that exists"),
        (["run", "orders_drop", "--start", "2024-02-01", "--end", "2024-02-01"], "'--end': must lie after --start"),
        (["plan", "orders_drop", "--as-of", "1"], "'--as-of': must be"),
        (["backfill", "orders_drop", "--start", "2024-01-01"], "Missing option '--end'"),
        (["run", "orders_drop", "--revise"], "'--revise': needs --reason"),
        (["run", "orders_drop", "--reason", "why"], "'--reason': belongs to --revise"),
        (["preview", "orders_drop", "--limit", "0"], "'--limit'"),
        (["files", "deliveries", "--format", "xml"], "'--format'"),
        (["run"], "Missing argument"),
        (["rn"], "No such command 'rn'"),
    ],
)  # fmt: skip
def test_a_wrong_flag_is_named_and_exits_with_2(
    lading: Any, project: Path, words: list[str], expected: str
) -> None:
    told = lading(*words)
    assert told.code == 2
    assert expected in told.err
    assert told.err.startswith("error: ")
    assert told.out == ""
    with_json = lading(*words, "--json")
    assert with_json.json["error"]["exit_code"] == 2
    assert expected in with_json.json["error"]["message"]


@pytest.mark.parametrize("words", [(), ("--environment", "dev")])
def test_without_a_command_there_is_help_and_exit_code_2(lading: Any, words: tuple[str, ...]) -> None:
    told = lading(*words)
    assert (told.code, told.out) == (2, "")
    assert told.err.startswith("Usage: lading [OPTIONS] COMMAND [ARGS]...")
    assert "error" not in told.err


def test_a_global_option_in_the_wrong_place_is_explained(lading: Any) -> None:
    told = lading("validate", "--project", "x")
    assert told.code == 2
    assert "stand before the command" in told.err


# M10
def test_an_invalid_project_is_told_problem_by_problem(lading: Any, project: Path, replace: Any) -> None:
    replace("exports/orders_drop.yaml", "contract: orders@1", "contract: order@1")
    replace("exports/orders_drop.yaml", "destination: lake", "destination: lak")
    told = lading("validate")
    assert told.code == 2
    assert 'exports/orders_drop.yaml:3: there is no contract "order@1"' in told.err.splitlines()[1]
    assert (
        'exports/orders_drop.yaml:6: there is no store "lak" – did you mean "lake"?' in told.err.splitlines()
    )
    error = lading("validate", "--json").json["error"]
    assert error["type"] == "InvalidProject"
    assert [(p["file"], p["line"]) for p in error["problems"]] == [
        ("exports/orders_drop.yaml", 3),
        ("exports/orders_drop.yaml", 6),
    ]


# M10
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("status: active", "status: [active"),  # no YAML
        ("logicalType: object", "logicalType: objekt"),
        ("version: 1.0.0", "version: one"),
        ("name: orders\n", "name: [orders]\n"),
        ("apiVersion: v3.1.0", "apiVersion: v2.0.0"),
    ],
)
def test_a_contract_with_a_mistake_is_not_told_as_one_that_is_missing(
    lading: Any, project: Path, replace: Any, old: str, new: str
) -> None:
    text = (project / "exports/orders_drop.yaml").read_text()
    (project / "exports/second.yaml").write_text(text.replace("name: orders_drop", "name: second"))
    replace("contracts/orders.v1.odcs.yaml", old, new)
    for command in (["validate"], ["plan", "orders_drop"], ["run", "second"]):
        told = lading(*command)
        assert told.code == 2
        assert "contracts/orders.v1.odcs.yaml" in told.err
        assert "there is no contract" not in told.err
    assert not (project / "deliveries").exists()


def test_a_broken_contract_refuses_its_own_exports_and_excuses_no_wrong_name(
    lading: Any, project: Path, replace: Any
) -> None:
    text = (project / "exports/orders_drop.yaml").read_text()
    other = (project / "contracts/orders.v1.odcs.yaml").read_text().replace("name: orders\n", "name: other\n")
    (project / "contracts/other.v1.odcs.yaml").write_text(other)
    for name, contract in (("third", "orders@2"), ("fourth", "other@1")):
        changed = text.replace("name: orders_drop", f"name: {name}").replace("orders@1", contract)
        (project / f"exports/{name}.yaml").write_text(changed)
    replace("contracts/orders.v1.odcs.yaml", "logicalType: object", "logicalType: objekt")
    assert 'exports/third.yaml:3: there is no contract "orders@2"' in lading("validate").err
    refused = lading("run", "orders_drop")
    assert refused.code == 2
    assert "there is no contract" not in refused.err
    assert lading("run", "third").code == 2
    assert not (project / "deliveries").exists()
    assert lading("plan", "fourth").code == 0


def test_without_a_project_it_says_where_one_was_looked_for(lading: Any, tmp_path: Path) -> None:
    told = lading("--project", str(tmp_path), "validate")
    assert told.code == 2
    assert str(tmp_path) in told.err
    assert "hint: " in told.err


# M7
def test_flags_override_the_project_s_settings(lading: Any, project: Path) -> None:
    told = lading(
        "--environment",
        "staging",
        "--lease",
        "5m",
        "--buffer-memory",
        "64MB",
        "plan",
        "orders_drop",
        "--json",
    )
    assert told.json["due"][0]["folders"]["lake"].startswith("staging/shop/orders/")
    wrong = lading("--lease", "soon", "plan", "orders_drop")
    assert wrong.code == 2
    assert wrong.err.startswith("error: --lease: must be a duration")
    assert "project's files" not in wrong.err
    told = lading("--buffer-memory", "1", "validate")
    assert (told.code, told.err) == (2, "error: --buffer-memory: must be at least 16000000\n")


def test_a_name_that_is_mistyped_is_answered_with_the_nearest(
    lading: Any, project: Path, replace: Any
) -> None:
    assert 'did you mean "orders_drop"?' in lading("run", "order_drop").err
    known = lading("run", "orders_drop", "--json").json[0]["run_id"]
    replace("exports/orders_drop.yaml", "discover: true", "discover: false")
    (project / "tenants").mkdir()
    (project / "tenants/lisbon.yaml").write_text("tenant: lisbon\n")
    assert 'did you mean "lisbon"?' in lading("run", "orders_drop", "--tenant", "lisbonn").err
    wrong = ("0" if known[7] != "0" else "1").join((known[:7], known[8:12]))
    assert f'did you mean "{known[:12]}"?' in lading("show", wrong).err


def test_an_unexpected_error_shows_no_value_of_the_data(
    lading: Any, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise KeyError("ada@example.com")

    monkeypatch.setattr(Project, "plan", broken)
    told = lading("plan", "orders_drop", "--json")
    assert told.code == 1
    assert told.json["error"]["type"] == "KeyError"
    assert "ada@example.com" not in told.out + told.err
    assert "LADING_DEBUG=1" in told.err
    monkeypatch.setenv("LADING_DEBUG", "1")
    assert "Traceback" in lading("plan", "orders_drop").err


def test_an_interrupted_command_exits_with_130(
    lading: Any, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Project, "plan", interrupted)
    assert lading("plan", "orders_drop").code == 130


def test_errors_carry_their_own_exit_code_and_hint(
    lading: Any, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object, **__: object) -> None:
        raise StoreUnavailable("The bucket does not answer.", hint="Wait.")

    monkeypatch.setattr(Project, "plan", away)
    told = lading("plan", "orders_drop", "--json")
    assert told.code == 4
    assert told.err == "error: The bucket does not answer.\nhint: Wait.\n"
    assert told.json == {
        "error": {
            "type": "StoreUnavailable", "message": "The bucket does not answer.", "hint": "Wait.", "exit_code": 4,
            "retryable": True, "problems": [],
        }
    }  # fmt: skip


def test_every_error_s_exit_code_is_documented() -> None:
    def tree(kind: type[LadingError]) -> set[int]:
        return {kind.exit_code}.union(*(tree(sub) for sub in kind.__subclasses__()))

    assert tree(LadingError) <= EXIT_CODES.keys()


def test_a_problem_with_a_message_of_its_own_tells_both() -> None:
    record = describe(InvalidProject("Two files.", problems=[Problem("a.yaml", 3, "is wrong")]))
    assert (record["message"], record["problems"]) == (
        "Two files.",
        [{"file": "a.yaml", "line": 3, "reason": "is wrong"}],
    )


def test_a_reader_that_goes_away_changes_nothing(project: Path) -> None:
    code = "from lading.cli import main; raise SystemExit(main(['run', 'orders_drop', '--json']))"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait() == 0


def test_what_steers_a_terminal_is_not_printed(capsys: pytest.CaptureFixture[str]) -> None:
    console.out("tenant \x1b[2J\u202e of \ud800")
    console.emit({"tenant": "\x1b[2J é \ud800"})
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "tenant \\x1b[2J\\u202e of \\ud800"
    assert json.loads(told[1]) == {"tenant": "\x1b[2J é \ud800"}
    assert told[1].isascii()


def test_json_holds_no_number_that_json_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    console.emit([float("nan"), float("inf"), 2**63, 0.1])
    assert capsys.readouterr().out == '["nan", "inf", 9223372036854775808, 0.1]\n'


def test_tables_are_aligned_and_leave_out_what_is_empty() -> None:
    assert console.table(("name", "rows", "error"), [("a", 5, None), ("bcd", 12345, None)]) == [
        "name    rows",
        "a          5",
        "bcd   12,345",
    ]
    assert console.table(("name",), []) == []


@pytest.mark.parametrize(
    ("count", "text"), [(None, ""), (0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (2 * 10**15, "2000.0 TB")]
)
def test_sizes_are_told_to_people(count: int | None, text: str) -> None:
    assert console.size(count) == text
