from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.channels.drop import DropChannel
from lading.cli.progress import Watch
from lading.cli.run import exit_code
from lading.errors import InvalidProject
from lading.events import (
    CheckWarned,
    FileWritten,
    Noticed,
    Resting,
    RowsRead,
    SweepDone,
    SweepsDue,
    SweepStarted,
    Unexpected,
    Waiting,
)
from lading.export.interval import Interval
from lading.journal.log import Attempt, Claim
from lading.project import Project
from lading.run import Result
from lading.run.job import Status

JANUARY, FEBRUARY = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 2, 1, tzinfo=UTC)
FIELDS = ("run_id", "export", "tenant", "major", "interval", "revision", "status", "rows", "bytes", "files",
          "manifest", "duration_ms", "error")  # fmt: skip


def result(status: Status, code: int = 0) -> Result:
    return Result("0" * 32, "orders_drop", "a", 1, Interval(JANUARY, FEBRUARY), 0, status, exit_code=code)


# D15
def test_a_run_delivers_and_a_second_one_skips(lading: Any, project: Path) -> None:
    first = lading("run", "orders_drop", "--json")
    assert first.code == 0
    assert [tuple(record) for record in first.json] == [FIELDS] * 6
    assert {record["status"] for record in first.json} == {"succeeded"}
    assert sum(record["rows"] for record in first.json) == 7
    again = lading("run", "orders_drop", "--json")
    assert again.code == 0
    assert {record["status"] for record in again.json} == {"skipped"}
    assert {record["run_id"] for record in again.json} < {record["run_id"] for record in first.json}


def test_people_get_a_table_and_a_count(lading: Any, project: Path) -> None:
    told = lading("run", "orders_drop", "--tenant", "lisbon", "--start", "2024-01-01", "--end", "2024-02-01")
    assert told.code == 0
    header, line, count = told.out.splitlines()
    assert header.split()[:4] == ["interval", "tenant", "revision", "status"]
    assert line.startswith("2024-01-01/2024-02-01  lisbon")
    assert count == "1 succeeded"


def test_a_second_run_says_how_much_stands_already(lading: Any, project: Path) -> None:
    lading("run", "orders_drop")
    assert lading("run", "orders_drop").out.splitlines()[-1] == "2 skipped, 4 more delivered before"
    told = lading("run", "orders_drop", "--tenant", "lisbon")
    assert told.out.splitlines()[-1] == "1 skipped, 2 more delivered before"


def test_a_plan_names_the_folder_that_the_run_will_write_to(lading: Any, project: Path) -> None:
    def planned(*words: str) -> str:
        (due,) = lading(
            "plan", "orders_drop", "--start", "2024-01-01", "--end", "2024-02-01", *words, "--json"
        ).json["due"]
        return str(due["folders"]["lake"])

    unmet = planned()
    assert unmet == "dev/shop/orders/tenant={tenant}/2024/01/01/000000_{run}-a1/"
    named = planned("--tenant", "berlin")
    lading("run", "orders_drop", "--tenant", "berlin", "--start", "2024-01-01", "--end", "2024-02-01")
    assert (project / "deliveries" / named / "_SUCCESS").exists()
    # Attempts are counted by interval: the second reading of one is its second attempt, for whichever tenant.
    second = planned("--tenant", "lisbon")
    assert second.endswith("-a2/")
    lading("run", "orders_drop", "--tenant", "lisbon", "--start", "2024-01-01", "--end", "2024-02-01")
    assert (project / "deliveries" / second / "_SUCCESS").exists()


def test_nothing_due_is_no_failure(lading: Any, project: Path, replace: Any) -> None:
    replace("exports/orders_drop.yaml", "start: 2024-01-01", "start: 2124-01-01")
    replace("exports/orders_drop.yaml", "end: 2024-04-01", "end: 2124-04-01")
    assert lading("run", "orders_drop", "--json").json == []
    told = lading("run", "orders_drop")
    assert (told.code, told.out) == (0, "Nothing is due.\n")


def test_an_interval_asked_for_that_is_not_due_exits_with_4(lading: Any, project: Path, replace: Any) -> None:
    replace("exports/orders_drop.yaml", "  end: 2024-04-01", "  # end: 2024-04-01")
    told = lading("run", "orders_drop", "--start", "2124-01-01", "--end", "2124-02-01", "--json")
    assert told.code == 4
    assert {record["status"] for record in told.json} == {"not_due"}
    assert "not due: 2124-01-01/2124-02-01" in told.err


def test_a_failed_interval_among_others_is_partial(lading: Any, project: Path, replace: Any) -> None:
    replace("incoming/orders/2024-02.csv", "33.10", "99999.00")
    told = lading("run", "orders_drop", "--json")
    assert told.code == 7
    by_status = {record["status"] for record in told.json}
    assert by_status == {"succeeded", "failed"}
    assert "error: 2024-02-01/2024-03-01" in told.err
    assert "99999" not in told.err + told.out
    alone = lading("run", "orders_drop", "--start", "2024-02-01", "--end", "2024-03-01")
    assert alone.code == 5


# D15
def test_a_revision_supersedes_and_its_repeat_is_the_same(lading: Any, project: Path) -> None:
    lading("run", "orders_drop")
    words = (
        "run",
        "orders_drop",
        "--start",
        "2024-01-01",
        "--end",
        "2024-02-01",
        "--revise",
        "--reason",
        "late fix",
    )
    first = lading(*words, "--json")
    assert {(r["status"], r["revision"]) for r in first.json} == {("succeeded", 1)}
    assert {r["status"] for r in lading(*words, "--json").json} == {"skipped"}


# D15
def test_backfill_delivers_what_is_missing_between_two_instants(lading: Any, project: Path) -> None:
    lading("run", "orders_drop", "--start", "2024-02-01", "--end", "2024-03-01")
    told = lading("backfill", "orders_drop", "--start", "2024-01-01", "--end", "2024-04-01", "--json")
    assert told.code == 0
    done = {r["interval"]["start"][:7] for r in told.json if r["status"] == "succeeded"}
    assert done == {"2024-01", "2024-03"}


@pytest.fixture
def refreshed(project: Path) -> Path:
    """With an export of all orders, as of midnight."""
    export = (project / "exports/orders_drop.yaml").read_text()
    head, _, rest = export.partition("mode: append\n")
    text = head + "mode: full_refresh\n" + rest[rest.index("format:") :]
    (project / "exports/orders_full.yaml").write_text(text.replace("name: orders_drop", "name: orders_full"))
    return project


def test_as_of_delivers_the_latest_tick_and_shows_those_that_are_delivered(
    lading: Any, refreshed: Path
) -> None:
    now = datetime.now(UTC)
    today = now.replace(hour=0, minute=0, second=0, microsecond=0)
    past = lading("run", "orders_full", "--as-of", "2024-03-05T10:00:00Z")
    assert past.code == 2
    assert "--as-of: the tick 2024-03-05T00:00:00Z is past" in past.err
    assert not (refreshed / "deliveries").exists()
    ahead = lading("run", "orders_full", "--as-of", (now + timedelta(days=2)).isoformat(), "--json")
    assert ahead.code == 4
    assert ahead.json["error"]["type"] == "NotDue"
    told = lading("run", "orders_full", "--as-of", now.isoformat(), "--json")
    assert (told.code, {r["status"] for r in told.json}) == (0, {"succeeded"})
    assert datetime.fromisoformat(told.json[0]["interval"]["start"]) - today <= timedelta(days=1)
    assert lading("plan", "orders_full", "--as-of", "2024-03-05").code == 2


@pytest.mark.parametrize("command", ["run", "plan"])
def test_as_of_is_not_ignored_by_other_modes(lading: Any, project: Path, command: str) -> None:
    told = lading(command, "orders_drop", "--as-of", "2024-02-01")
    assert told.code == 2
    assert "--as-of belongs to full_refresh, and orders_drop is append" in told.err


def claimed(project: Path) -> Claim:
    job = Project.load(project).job("orders_drop")
    record = {"runs": [], "discover": True, "definition": job.definition,
              "interval": {"start": "2024-01-01T00:00:00Z", "end": "2024-02-01T00:00:00Z"},
              "bound": "2024-06-01T00:00:00Z", "at": "2024-06-01T00:00:00Z"}  # fmt: skip
    claim = job.journal.claim(Attempt("orders_drop", JANUARY, 1), record)
    assert claim is not None
    return claim


def test_no_wait_leaves_where_another_process_is_at_work(lading: Any, project: Path) -> None:
    with claimed(project):
        told = lading("run", "orders_drop", "--no-wait", "--json")
    assert told.code == 4
    assert told.json["error"]["type"] == "InProgress"
    assert not (project / "deliveries").exists()


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_who_waits_says_so_and_can_be_stopped(project: Path, stop: signal.Signals) -> None:
    code = "from lading.cli import main; raise SystemExit(main(['run', 'orders_drop', '--json']))"
    with (
        claimed(project),
        subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as running,
    ):
        assert running.stderr is not None
        assert running.stderr.readline().startswith("waiting: orders_drop 2024-01-01: ")
        running.send_signal(stop)
        out, err = running.communicate()
    assert running.returncode == 130
    assert err.splitlines() == [
        "error: Interrupted.",
        "hint: Nothing that was delivered is lost. Call it again, and it goes on from there.",
    ]
    assert json.loads(out)["error"]["exit_code"] == 130


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_run_whose_bucket_is_down_says_what_it_waits_for_and_ends_when_it_is_told_to(
    project: Path, replace: Any, stop: signal.Signals
) -> None:
    """Nothing of the attempt can be removed there now: the next run does it."""
    with socket.socket() as taken:  # bound and not listening: whoever comes is turned away
        taken.bind(("127.0.0.1", 0))
        bucket = f's3://outbox", endpoint: "http://127.0.0.1:{taken.getsockname()[1]}", allow_http: true, '
        bucket += 'region: us-east-1, access_key_id: a, secret_access_key: "b'
        replace("lading.yaml", 'file://./deliveries", durable: false', f'{bucket}"')
        code = "from lading.cli import main; raise SystemExit(main(['run', 'orders_drop']))"
        with subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as running:
            assert running.stderr is not None
            while not (line := running.stderr.readline()).startswith("waiting: "):
                assert line, "it ended before it had to wait"
            assert "Trying again in " in line
            running.send_signal(stop)
            _, err = running.communicate(timeout=120)  # its waits would take a quarter of an hour
    assert running.returncode == 130
    assert err.splitlines()[-2:] == [
        "error: Interrupted.",
        "hint: Nothing that was delivered is lost. Call it again, and it goes on from there.",
    ]
    assert "secret" not in err


def test_plan_writes_nothing_and_tells_by_its_exit_code(lading: Any, project: Path) -> None:
    told = lading("plan", "orders_drop", "--detailed-exitcode", "--json")
    assert told.code == 10
    assert [due["interval"]["start"][:10] for due in told.json["due"]] == [
        "2024-01-01",
        "2024-02-01",
        "2024-03-01",
    ]
    assert told.json["policy"] == [{"column": "email", "action": "hmac_sha256"}]
    assert not any((project / folder).exists() for folder in ("journal", "deliveries", "keys"))
    people = lading("plan", "orders_drop")
    assert people.code == 0
    assert "3 intervals due" in people.out
    assert "email   hmac_sha256" in people.out
    lading("run", "orders_drop")
    assert lading("plan", "orders_drop", "--detailed-exitcode").code == 0


def test_plan_tells_by_its_exit_code_that_late_rows_wait_to_be_looked_for(
    lading: Any, project: Path, replace: Any
) -> None:
    for month in ("2024-01", "2024-02", "2024-03"):
        path = project / f"incoming/orders/{month}.csv"
        header, *lines = path.read_text().splitlines()
        dated = [f"{line},2024-05-01T00:00:00Z" for line in lines]
        path.write_text("\n".join([f"{header},came", *dated, ""]))
    replace("lading.yaml", "ordered_at: timestamptz", "ordered_at: timestamptz, came: timestamptz")
    replace("exports/orders_drop.yaml", "late: ignore", "late: {column: came}")
    assert lading("run", "orders_drop").code == 0
    told = lading("plan", "orders_drop", "--detailed-exitcode", "--json")
    assert (told.code, told.json["due"], told.json["late"]) == (10, [], True)
    assert "A run will look for late rows of delivered intervals" in lading("plan", "orders_drop").out


def test_plan_says_which_intervals_it_asked_the_sizes_of(lading: Any, project: Path, replace: Any) -> None:
    said = "Sizes are those of the first 3 intervals"
    assert said not in lading("plan", "orders_drop").out
    replace("exports/orders_drop.yaml", "end: 2024-04-01", "end: 2024-05-01")
    assert said in lading("plan", "orders_drop").out


def test_plan_says_that_a_tenant_is_unknown_so_far(lading: Any, project: Path) -> None:
    lading("run", "orders_drop")
    told = lading("plan", "orders_drop", "--tenant", "nobody")
    assert told.code == 0
    assert "Unknown so far: nobody." in told.out
    assert "Unknown so far" not in lading("plan", "orders_drop", "--tenant", "berlin").out
    assert lading("run", "orders_drop", "--tenant", "nobody").code == 5
    assert not [path for path in (project / "deliveries").rglob("*") if "nobody" in str(path)]
    assert lading("status", "--json").json[0]["failures"] == 0


def test_a_range_without_an_interval_is_told_what_makes_the_grid(lading: Any, project: Path) -> None:
    told = lading("run", "orders_drop", "--start", "2024-01-02", "--end", "2024-01-09")
    assert told.code == 2
    assert "window.start, window.every and window.end of the export's file make the grid" in told.err


# --- what is said of many


def test_a_failure_is_said_once_with_its_tenants_counted(lading: Any, project: Path) -> None:
    shops = ["aa", "bb", "cc", "dd", "ee", "ff"]
    lines = [f"{20 + n},{shop},,1.00,2024-02-07T00:00:00Z" for n, shop in enumerate(shops)]
    with (project / "incoming/orders/2024-01.csv").open("a") as orders:
        orders.write("\n".join(line.replace("2024-02", "2024-01") for line in lines) + "\n")
    words = [word for shop in shops for word in ("--tenant", shop)]
    january = ("--start", "2024-01-01", "--end", "2024-02-01")
    assert lading("run", "orders_drop", *january, *words).code == 0
    with (project / "incoming/orders/2024-02.csv").open("a") as orders:
        orders.write("\n".join([*lines, "30,aa,,20000,2024-02-07T00:00:00Z", ""]))
    february = ("--start", "2024-02-01", "--end", "2024-03-01")
    told = lading("run", "orders_drop", *february, *words)
    (line,) = told.err.splitlines()
    assert line.startswith("error: 2024-02-01/2024-03-01 aa, bb, cc and 3 other tenants: Checks failed")
    assert len(lading("run", "orders_drop", *february, *words, "--json").json) == len(shops)


def test_intervals_that_are_not_due_are_one_line(lading: Any, project: Path, replace: Any) -> None:
    replace(
        "exports/orders_drop.yaml", "  end: 2024-04-01                # without it, the grid goes on\n", ""
    )
    lading("run", "orders_drop")
    told = lading("backfill", "orders_drop", "--start", "2024-01-01", "--end", "2100-01-01")
    assert told.code == 4
    (line,) = told.err.splitlines()
    assert re.match(r"not due: [0-9]{3} intervals from 20[0-9]{2}-[0-9]{2}-01 to 2100-01-01: ", line)
    assert "not_due" not in told.out
    assert re.search(r"[0-9]{3} not due", told.out.splitlines()[-1])
    planned = lading("plan", "orders_drop", "--start", "2024-01-01", "--end", "2100-01-01").out
    assert planned.count("not due yet: ") == 1


def test_without_a_terminal_progress_is_a_line_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    now = 0.0
    watch = Watch(lines=True, clock=lambda: now)
    silent = Watch(clock=lambda: now)

    def tell(event: Any, at: float) -> list[str]:
        nonlocal now
        now = at
        watch(event)
        silent(event)
        return capsys.readouterr().err.splitlines()

    assert tell(SweepsDue("orders_drop", 1055), 0) == []
    assert tell(SweepStarted("orders_drop", JANUARY, FEBRUARY, 1, 2, 10), 1) == []
    assert tell(RowsRead("orders_drop", 1, 10), 59.9) == []
    assert tell(RowsRead("orders_drop", 1500, 10), 60) == [
        "progress: orders_drop 2024-01-01 (interval 1 of 1,055), 1,501 rows read"
    ]
    assert tell(SweepDone("orders_drop", JANUARY, FEBRUARY, 2, 10), 61) == []
    assert tell(RowsRead("orders_drop", 1, 10), 119) == []
    assert tell(SweepStarted("orders_drop", FEBRUARY, FEBRUARY, 1, 2, 10), 300) == [
        "progress: orders_drop 2024-02-01 (interval 2 of 1,055), 1,502 rows read"
    ]


def test_late_rows_beyond_what_was_due_have_no_number(capsys: pytest.CaptureFixture[str]) -> None:
    watch = Watch(lines=True, clock=iter([0.0, 1.0, 2.0, 99.0, 99.0]).__next__)
    watch(SweepsDue("orders_drop", 1))
    watch(SweepDone("orders_drop", JANUARY, FEBRUARY, 2, 10))
    watch(SweepStarted("orders_drop", JANUARY, FEBRUARY, 1, 2, 10))
    assert capsys.readouterr().err == "progress: orders_drop 2024-01-01 (1 done), 0 rows read\n"


# --- exit codes


@pytest.mark.parametrize(
    ("results", "code"),
    [
        ([], 0),
        ([result("succeeded"), result("skipped")], 0),
        ([result("failed", 5), result("skipped")], 7),
        ([result("failed", 4), result("failed", 4)], 4),
        ([result("failed", 4), result("failed", 5)], 5),
        ([result("failed", 5), result("failed", 6)], 6),
        ([result("failed", 3), result("failed", 4)], 3),
        ([result("failed", 0)], 1),
        ([result("not_due", 4)], 4),
        ([result("not_due", 4), result("succeeded")], 4),
        ([result("not_due", 4), result("failed", 5)], 5),
    ],
)
def test_the_exit_code_tells_the_worst(results: list[Result], code: int) -> None:
    assert exit_code(results) == code


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ((), 5),
        (("--tenant", "lisbon"), 5),
        (("--start", "2024-03-01", "--end", "2024-04-01"), 5),
        (("--start", "2024-01-01", "--end", "2024-04-01"), 7),
    ],
)
def test_what_was_delivered_before_makes_a_failure_partial_only_where_it_was_asked_for(
    lading: Any, project: Path, words: tuple[str, ...], code: int
) -> None:
    lading("run", "orders_drop", "--start", "2024-01-01", "--end", "2024-03-01")
    with (project / "incoming/orders/2024-03.csv").open("a") as orders:
        orders.write("8,lisbon,,20000,2024-03-07T00:00:00Z\n")
    told = lading("run", "orders_drop", *words, "--json")
    assert told.code == code, told.err
    assert [r["status"] for r in told.json].count("failed") >= 1


def test_a_due_interval_that_is_delivered_beside_one_that_fails_is_partial(
    lading: Any, project: Path
) -> None:
    lading("run", "orders_drop", "--start", "2024-01-01", "--end", "2024-02-01")
    with (project / "incoming/orders/2024-03.csv").open("a") as orders:
        orders.write("8,lisbon,,20000,2024-03-07T00:00:00Z\n")
    assert lading("run", "orders_drop").code == 7


@given(st.lists(st.builds(result, st.sampled_from(get_args(Status)), st.integers(0, 6))))
def test_zero_means_that_everything_asked_for_stands(results: list[Result]) -> None:
    stands = all(each.status in ("succeeded", "skipped") for each in results)
    assert (exit_code(results) == 0) == stands
    assert exit_code(results) == exit_code(results[::-1])


# --- progress


def test_warnings_are_lines_on_stderr(lading: Any, project: Path, replace: Any) -> None:
    replace(
        "exports/orders_drop.yaml",
        "range: {amount: [0, 10000]}",
        "range: {amount: [0, 50]}\n    on_violation: warn",
    )
    told = lading("run", "orders_drop", "--json")
    assert told.code == 0
    assert len(told.json) == 6
    assert told.err.count("warning: orders_drop: range(amount): 1 violation: ") == 2


def test_without_a_terminal_there_are_no_bars(lading: Any, project: Path) -> None:
    assert lading("run", "orders_drop").err == ""


def test_a_pass_that_is_tried_again_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    watch = Watch()
    watch(Resting("orders_drop", 4.0, "The database is away."))
    assert watch.failing
    watch(Resting("orders_drop", 8.0, "No space left on device"))
    watch(Resting("orders_drop", 60.0))
    assert not watch.failing
    assert capsys.readouterr().err.splitlines() == [
        "warning: orders_drop: The database is away. Trying again in 4 s.",
        "warning: orders_drop: No space left on device. Trying again in 8 s.",
    ]


def test_what_every_pass_notices_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    watch = Watch()
    for notice in ("3 lack", "3 lack", "2 lack", "3 lack"):
        watch(Noticed("orders_drop", notice))
    assert capsys.readouterr().err.splitlines() == [
        "notice: orders_drop: 3 lack",
        "notice: orders_drop: 2 lack",
    ]


def test_the_traceback_of_an_unexpected_error_is_shown_to_whoever_asks_for_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, event = Watch(), Unexpected("orders_drop", ValueError("ada@example.com"))
    watch(event)
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("LADING_DEBUG", "1")
    watch(event)
    assert "ValueError: ada@example.com" in capsys.readouterr().err


def test_a_plan_says_what_waits_to_be_published(
    lading: Any, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("ada@example.com")

    with monkeypatch.context() as patched:
        patched.setattr(DropChannel, "publish", broken)
        told = lading("run", "orders_drop")
        assert told.code == 1
        assert "Committed, but not published yet: Unexpected: ValueError in publish.py:" in told.err
        assert "ada@example.com" not in told.out + told.err
    assert "Nothing is due before what is sealed is published" in lading("plan", "orders_drop").out
    assert lading("run", "orders_drop").code == 0
    assert "is sealed" not in lading("plan", "orders_drop").out


def test_once_belongs_to_continuous_exports(lading: Any, project: Path) -> None:
    told = lading("run", "orders_drop", "--once")
    assert told.code == 2
    assert "'--once'" in told.err
    with pytest.raises(InvalidProject, match="orders_drop is append"):
        Project.load(project).follow("orders_drop")


def test_waiting_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    watch = Watch()
    watch(Waiting("orders_drop", JANUARY, "pid 7 on \x1b[1mhost"))
    watch(CheckWarned("orders_drop", "unique(id)", 2, "2 rows"))
    watch(FileWritten("orders_drop", "a", "x.parquet", 1, 1))
    assert capsys.readouterr().err.splitlines() == [
        "waiting: orders_drop 2024-01-01: pid 7 on \\x1b[1mhost is at work on it",
        "warning: orders_drop: unique(id): 2 violations: 2 rows",
    ]


def test_a_bar_grows_with_rows_beyond_its_estimate() -> None:
    from rich.console import Console
    from rich.progress import Progress

    bars = Progress(console=Console(stderr=True, quiet=True))
    watch = Watch(bars)
    watch(RowsRead("orders_drop", 5, 10))  # before any sweep: not drawn
    watch(SweepStarted("orders_drop", JANUARY, FEBRUARY, 1, 2, 10))
    for _ in range(3):
        watch(RowsRead("orders_drop", 5, 100))
    (task,) = bars.tasks
    assert (task.completed, task.total, task.fields["bytes"]) == (15, 15, 300)
    watch(SweepStarted("orders_drop", FEBRUARY, FEBRUARY, 1, 2, None))
    assert [(each.completed, each.total) for each in bars.tasks] == [(0, None)]


def test_on_a_terminal_bars_are_drawn_and_stdout_stays_clean(project: Path) -> None:
    here, there = pty.openpty()
    environ = {**os.environ, "TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "100"}
    code = "from lading.cli import main; raise SystemExit(main(['run', 'orders_drop', '--json']))"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=there, env=environ, text=True
    ) as running:
        os.close(there)
        drawn = b""
        try:
            while block := os.read(here, 4096):
                drawn += block
        except OSError:
            pass  # Linux says EIO where the other side of a terminal is closed
        assert running.stdout is not None
        assert running.stdout.read().startswith("[{")
    os.close(here)
    assert b"orders_drop 2024-02-01 (interval 2 of 3)" in drawn
    assert b"rows" in drawn
    assert not re.search(rb"\x1b\[[0-9;]*(3[0-8]|9[0-7])[;m]", drawn)  # NO_COLOR
