"""What the documentation says, tried."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
NOT_OURS = {"demo", "dist", "build"}
PAGES = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part.startswith(".") or part in NOT_OURS for part in path.relative_to(ROOT).parts)
)
WORDS = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "docs/quickstart.md",
         "docs/architecture.md", "docs/manifest-format.md", "docs/contract-versions.md", "docs/delivery-records.md",
         "docs/destinations.md", "docs/bundle.md", "docs/audit-package.md",
         "examples/nyc-flights/README.md")  # fmt: skip


class Block(NamedTuple):
    page: str
    line: int
    language: str
    text: str


def blocks(path: Path) -> Iterator[Block]:
    """The fenced blocks of a page."""
    opened: Block | None = None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        fence = re.match(r"\s*```(.*)", line)
        if fence and opened is None:
            opened = Block(path.relative_to(ROOT).as_posix(), number, fence[1].strip(), "")
        elif fence and opened is not None:
            yield opened
            opened = None
        elif opened is not None:
            opened = opened._replace(text=opened.text + line + "\n")
    assert opened is None, f"{path}: a fence is not closed"


def prose(path: Path) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^\s*```.*?^\s*```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)


def anchors(path: Path) -> set[str]:
    """How GitHub names a page's headings."""
    headings = re.findall(r"^#+ (.*)$", prose(path), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# --- links ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_relative_link_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]*`", "", prose(path))):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        there = (path.parent / name).resolve() if name else path
        assert there.exists(), f"{target} leads nowhere"
        if anchor:
            assert anchor in anchors(there), f"{target}: there is no such heading"


def test_the_pages_that_belong_to_a_repository_are_there() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in PAGES}
    assert {*WORDS, "docs/commit-protocol.md", "docs/reference.md", "docs/decisions/README.md"} <= names


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs" / "decisions"
    listed = set(re.findall(r"\]\((\S+\.md)\)", (folder / "README.md").read_text(encoding="utf-8")))
    assert listed == {path.name for path in folder.glob("*.md")} - {"README.md"}


# --- yaml ----------------------------------------------------------------------------------------------------------

YAML = [block for name in WORDS for block in blocks(ROOT / name) if block.language == "yaml"]


@pytest.mark.parametrize("block", YAML, ids=lambda block: f"{block.page}:{block.line}")
def test_every_yaml_block_is_a_file_that_loads(block: Block, tmp_path: Path) -> None:
    from lading.assemble import Workshop, open_format, open_transforms
    from lading.contract import read_contract
    from lading.documents import expand, validate
    from lading.documents.reading import parse
    from lading.export.definition import Export
    from lading.settings import load_settings

    document = parse(block.text.encode(), "block.yaml")
    if document.data.get("kind") == "DataContract":
        assert read_contract(document).fields
    elif "contract" in document.data:
        assert validate(Export, expand(document, {})).destination
        open_format(document, "1.0.0")
        open_transforms(document)
    else:
        (tmp_path / "lading.yaml").write_text(block.text, encoding="utf-8")
        files = load_settings(tmp_path, {"OPS_DATABASE_URL": "postgresql://localhost/db"})
        for store in files.settings.stores:
            Workshop(files).store(store)


def test_contracts_and_exports_are_shown() -> None:
    assert {block.page for block in YAML} >= {"README.md", "docs/quickstart.md"}


_ID = "id: 9f7b5944-05f1-4f22-867f-93c20c69e79a"


def test_the_quickstart_shows_what_init_writes() -> None:
    from lading.scaffold import sample

    made = sample("shop").files
    page = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
    for name in ("contracts/orders.v1.odcs.yaml", "exports/orders_drop.yaml"):
        # Each project has an id of its own.
        assert f"```yaml\n{re.sub('(?m)^id: .*', _ID, made[name])}```" in page, name


def test_the_quickstart_names_every_folder_that_init_fills(tmp_path: Path) -> None:
    from lading.scaffold import sample, write

    listed = next(b.text for b in blocks(ROOT / "docs" / "quickstart.md") if b.text.startswith("shop/"))
    shown = {Path(line.split()[0]).relative_to("shop") for line in listed.splitlines()}
    made = {Path(name) for name in write(tmp_path, sample("shop")).files}
    assert shown <= made
    assert {path.parent for path in shown} == {path.parent for path in made}


# --- commands ------------------------------------------------------------------------------------------------------


def commands(path: Path) -> Iterator[list[str]]:
    """Every `lading …` of a page, in words: in shell blocks and in inline code."""
    lines = [
        line
        for block in blocks(path)
        if block.language in ("sh", "shell")
        for line in block.text.splitlines()
    ]
    lines += re.findall(r"`(lading [^`]+)`", prose(path))
    for line in lines:
        found = re.search(r"(?:^|[\s;&|(])lading (.*)", line)
        if found:
            words = shlex.split(found[1].split(" #")[0].replace("…", ""), comments=True)
            yield words[: next((i for i, word in enumerate(words) if word in (">", "|", "&&", ";")), None)]


@pytest.mark.parametrize("name", [*WORDS, "docs/snapshot.md"])
def test_every_command_shown_exists_with_its_options(name: str) -> None:
    from typer.main import get_command

    from lading.cli.app import app

    group: Any = get_command(app)
    everywhere = {option for p in group.params for option in p.opts} | {"--help"}
    for words in commands(ROOT / name):
        rest = list(words)
        while rest and rest[0].startswith("--"):
            option = rest.pop(0)
            assert option in everywhere, f"{words}: {option}"
            if option not in ("--help", "--version"):
                rest.pop(0)
        if not rest:
            continue
        command = group.commands.get(rest[0])
        if rest[1:] and hasattr(command, "commands"):
            command = command.commands.get(rest[1])
        assert command is not None, f"lading {' '.join(words)}: there is no such command"
        known = {option for p in command.params for option in p.opts} | {"--help"}
        for word in rest[1:]:
            if word.startswith("--"):
                assert word.partition("=")[0] in known, f"lading {' '.join(words)}: {word}"


def test_make_targets_that_are_shown_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    shown = {t for name in WORDS for t in re.findall(r"\bmake ([a-z-]+)(?=[`\s]*(?:\||#|`|\n))",
             (ROOT / name).read_text(encoding="utf-8"))}  # fmt: skip
    assert {"demo", "test", "check", "setup"} <= shown
    assert shown <= targets


# --- architecture --------------------------------------------------------------------------------------------------


def test_the_architecture_shows_the_layers_that_are_enforced() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    layers = "\n".join(settings["tool"]["importlinter"]["contracts"][0]["layers"])
    assert f"```text\n{layers}\n```" in (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def test_the_architecture_shows_the_folders_as_they_are() -> None:
    (drawn,) = [b for b in blocks(ROOT / "docs" / "architecture.md") if b.text.startswith("src/lading/\n")]
    named = {line.split()[0] for line in drawn.text.splitlines()[1:]}
    there = {
        f"{path.name}/" if path.is_dir() else path.name
        for path in (ROOT / "src" / "lading").iterdir()
        if path.suffix == ".py" or (path.is_dir() and any(path.glob("*.[pj]*")))
    }
    assert named == there - {"__init__.py", "__main__.py", "__pycache__/"}


def test_files_that_pages_name_are_there() -> None:
    for name in ("docs/architecture.md", "CONTRIBUTING.md", "docs/commit-protocol.md"):
        for path in re.findall(r"`((?:src|tests|docs|tools)/[\w./-]+)`", prose(ROOT / name)):
            assert (ROOT / path).exists() or "orc" in path, f"{name}: {path}"
    for path in re.findall(r"`((?:run|export|formats|sources|channels|transforms|engine|keys|documents)/[\w./-]*)`",
                           prose(ROOT / "docs" / "architecture.md")):  # fmt: skip
        assert (ROOT / "src" / "lading" / path).exists(), path


# --- end to end ----------------------------------------------------------------------------------------------------

CHANNELS = {
    "docs/snapshot.md": (),
    "docs/bundle.md": ("unzip", "sha256sum", "ssh-keygen"),
    "docs/audit-package.md": ("awk",),
}
"""Pages that go through a channel in the sample project, and the tools that they ask readers to have."""


def run_blocks(path: Path, folder: Path, first: str = "", **environ: str) -> str:
    """Runs the `sh` blocks of a page, in order, in one shell that ends at the first failure; gives its output."""
    script = "\n".join(["set -euo pipefail", first, *(b.text for b in blocks(path) if b.language == "sh")])
    venv = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, env={**os.environ, **environ, "PATH": venv},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]
    return done.stdout


def shown(path: Path) -> Iterator[Block]:
    """The `text` blocks of a page that show what the `sh` blocks before them print, under the same heading."""
    lines = path.read_text(encoding="utf-8").splitlines()
    found = list(blocks(path))
    for before, block in itertools.pairwise(found):
        between = lines[before.line + before.text.count("\n") + 1 : block.line - 1]
        if (before.language, block.language) == ("sh", "text") and not any(
            line.startswith("#") for line in between
        ):
            yield block


def missing(page: Iterable[str], printed: Iterable[str]) -> list[str]:
    """The first line of a page that was not printed after those before it. `…` stands for anything, and white space
    for any other."""
    told = (" ".join(line.split()) for line in printed)
    for line in page:
        pattern = ".*".join(re.escape(part) for part in " ".join(line.split()).split("…"))
        if not any(re.fullmatch(pattern, each) for each in told):
            return [line]
    return []


def with_extensions(home: Path) -> None:
    """A home in which DuckDB has its extension for Iceberg already, so that it asks no server for it."""
    import duckdb

    wheels = [
        pytest.importorskip(
            f"duckdb_extension_{name}", reason="DuckDB's extension for Iceberg is not installed"
        )
        for name in ("avro", "iceberg")
    ]
    with duckdb.connect() as connection:
        ((platform,),) = connection.execute("pragma platform").fetchall()
    version = f"v{duckdb.__version__}"
    place = home / ".duckdb" / "extensions" / version / platform
    place.mkdir(parents=True)
    for wheel in wheels:
        for file in (Path(wheel.__path__[0]) / "extensions" / version).glob("*.duckdb_extension"):
            shutil.copy(file, place)


def test_what_a_page_shows_must_have_been_printed_in_its_order() -> None:
    printed = ["rows  run", "   4  2cf1", "6 succeeded"]
    assert missing(["rows run", "4 2c…", "…succeeded"], printed) == []
    assert missing(["4 2cf1", "rows run"], printed) == ["rows run"]
    assert missing(["6 succeeded", "6 succeeded"], printed) == ["6 succeeded"]
    assert missing(["5 …"], printed) == ["5 …"]


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANNELS)
def test_a_channel_s_page_runs_in_the_sample_project_and_prints_what_it_shows(
    name: str, tmp_path: Path
) -> None:
    if lacking := [tool for tool in CHANNELS[name] if shutil.which(tool) is None]:
        pytest.skip(f"{name} asks for {', '.join(lacking)}, not found here")
    home = tmp_path / "home"
    if name == "docs/snapshot.md":
        pytest.importorskip("pyiceberg", reason="the extra iceberg is not installed")
        with_extensions(home)
    folder = tmp_path / "reader"
    folder.mkdir()
    told = run_blocks(ROOT / name, folder, HOME=str(home))
    page = [line for block in shown(ROOT / name) for line in block.text.splitlines()]
    assert len(page) >= 8
    assert missing(page, told.splitlines()) == [], told


@pytest.mark.slow
def test_the_quickstart_runs_from_top_to_bottom(tmp_path: Path, postgres: Any) -> None:
    import psycopg

    url = postgres.database()
    with psycopg.connect(url) as connection:
        connection.execute(
            next(b.text for b in blocks(ROOT / "docs" / "quickstart.md") if b.language == "sql")
        )
    told = run_blocks(ROOT / "docs" / "quickstart.md", tmp_path, OPS_DATABASE_URL=url)
    assert "ok: 6 deliveries, 6 files, 7 rows (unsigned: integrity only)" in told
    assert "orders_20240101_000000_2d32fa6a_001.parquet: OK" in told
    marker = next(
        line
        for b in blocks(ROOT / "docs" / "quickstart.md")
        for line in b.text.splitlines()
        if 'SUCCESS"' in line
    )
    assert missing([marker], re.sub("}(?=.)", "}\n", told).splitlines()) == []
    assert "2 skipped" in told
    assert "ok: 1 delivery, 1 file, 2 rows" in told
    found = run_blocks(ROOT / "docs" / "manifest-format.md", tmp_path / "shop")
    assert len(set(re.findall(r"[0-9a-f]{64}", found))) == 1


@pytest.mark.slow
def test_what_recipients_are_told_to_do_works(tmp_path: Path) -> None:
    told = run_blocks(ROOT / "README.md", tmp_path, first="lading demo > demo.txt")
    assert "_001.parquet: OK" in told
    assert "336913" in told
    assert "58792" in told
    shown = next(b.text for b in blocks(ROOT / "README.md") if b.text.startswith("An example project"))
    timeless = [re.sub(r"\d+\.\d+", "", line) for line in shown.splitlines() if line.strip() not in ("", "…")]
    printed = [re.sub(r"\d+\.\d+", "", line) for line in (tmp_path / "demo.txt").read_text().splitlines()]
    same = [re.sub(r"\s+", " ", line) for line in printed]
    assert [line for line in timeless if re.sub(r"\s+", " ", line) not in same] == []


@pytest.mark.slow
def test_the_example_s_page_runs(tmp_path: Path) -> None:
    told = run_blocks(ROOT / "examples" / "nyc-flights" / "README.md", tmp_path)
    assert "ok: 213 deliveries" in told
    assert "000000_6db7847a-a2" in told
    assert "58792" in told
