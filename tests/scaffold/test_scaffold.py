from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading import scaffold
from lading.cli import main
from lading.contract import load_contract
from lading.documents import check_name, parse
from lading.errors import InvalidProject, SchemaMismatch
from lading.project import Project

EVERY_TYPE = """
create type mood as enum ('a', 'b');
create domain positive as int check (value > 0);
create type pair as (a int, b text);
create table "Every Type" (
    id bigint primary key, code varchar(5) not null unique, b bool, i2 smallint, i4 integer, o oid, f4 real,
    f8 double precision, n numeric, n1 numeric(15,2), n2 numeric(50,3), n3 numeric(5,-2), t text, ch char(3), nm name,
    by bytea, d date, ti time, ti3 time(3), ttz timetz, ts timestamp, ts3 timestamp(3), tz timestamptz not null,
    iv interval, u uuid, js json, jb jsonb, m mood, p positive, pr pair, ai int[], at text[], au uuid[], aj jsonb[],
    an numeric(40,2)[], ats timestamptz[], ab bytea[], mo money, ip inet, bi bit(3), pt point, tv tsvector,
    rg int4range, "null" int, "a: b # c" text, "Ünï" text, "y" int, "dollar${X}" int
);
insert into "Every Type" (id, code, tz, n2, ttz, ai, jb) values (1, 'x', now(), 1.5, '10:00+02', '{1,2}', '[1]');
create table pairs (a int not null, b int not null, c int not null unique, d int unique, primary key (b, a));
"""


def database(postgres: Any) -> str:
    import psycopg

    url: str = postgres.database()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(EVERY_TYPE)
    return url


# M7
def classify(folder: Path) -> None:
    """As the comment on every field asks for."""
    (path,) = (folder / "contracts").iterdir()
    lines = path.read_text().splitlines()
    path.write_text(
        "\n".join(re.sub("# classification: .*", "classification: internal", line) for line in lines)
    )


@pytest.mark.slow
def test_a_live_table_becomes_a_project_that_runs(
    postgres: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    url = database(postgres)
    folder = tmp_path / "new"
    assert main(["init", str(folder), "--connection", url, "--table", 'public."Every Type"']) == 0
    assert "export OPS_DATABASE_URL=" in capsys.readouterr().err
    assert all(url not in path.read_text() for path in folder.rglob("*") if path.is_file())
    monkeypatch.setenv("OPS_DATABASE_URL", url)
    monkeypatch.chdir(folder)
    # S10: nothing leaves before somebody has classified it.
    assert main(["validate"]) == 2
    assert "id (not classified, so treated as Restricted), code (not" in capsys.readouterr().err
    assert main(["run", "every_type_full"]) == 3
    contract = load_contract(folder / "contracts" / "every_type.v1.odcs.yaml")
    classify(folder)
    assert main(["validate"]) == 0
    assert main(["run", "every_type_full"]) == 0
    assert main(["verify", "deliveries", "--deep"]) == 0
    assert [f.name for f in contract.fields][-2:] == ["y", "dollar${X}"]
    assert all(f.logical_type and f.physical_type and not f.classification for f in contract.fields)
    assert {f.name for f in contract.fields if f.required} == {"id", "code", "tz"}
    assert (contract.primary_key, {f.name for f in contract.fields if f.unique}) == (("id",), {"code"})


@pytest.mark.slow
def test_the_environment_s_url_will_do_and_keys_keep_the_table_s_order(
    postgres: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = database(postgres)
    monkeypatch.setenv("OPS_DATABASE_URL", url)
    assert main(["init", str(tmp_path), "--table", "public.pairs", "--name", "shop"]) == 0
    contract = load_contract(tmp_path / "contracts" / "pairs.v1.odcs.yaml")
    # The catalogue's key of fewest columns; one that may be NULL is no key.
    assert contract.primary_key == ("c",)
    assert not [f.name for f in contract.fields if f.unique]
    classify(tmp_path)
    assert Project.load(tmp_path).plan("pairs_full").something


@pytest.mark.slow
def test_a_table_that_is_not_there_leaves_nothing_behind(postgres: Any, tmp_path: Path) -> None:
    url = postgres.database()
    with pytest.raises(SchemaMismatch, match="no table"):
        scaffold.described("shop", url, "public.absent")
    assert main(["init", str(tmp_path / "new"), "--connection", url, "--table", "public.absent"]) == 5
    assert not (tmp_path / "new").exists()


# M7
@pytest.mark.parametrize("url", ["postgresql://me:s3cret@127.0.0.1:1/db", "mysql://me:s3cret@h/db"])
def test_a_password_is_never_told(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", str(tmp_path / "new"), "--connection", url, "--table", "public.t", "--json"]) in (
        2,
        4,
    )
    told = capsys.readouterr()
    assert "s3cret" not in told.out + told.err


def test_a_key_of_several_columns_is_in_the_table_s_order() -> None:
    schema = pa.schema([pa.field(name, pa.int64(), nullable=False) for name in "abc"])
    text = scaffold.contract("t", "public.t", schema, [frozenset("ca"), frozenset("abc")])
    fields = parse(text.encode(), "x").data["schema"][0]["properties"]
    assert [(f["name"], f.get("primaryKeyPosition")) for f in fields] == [("a", 1), ("b", None), ("c", 2)]


def test_nothing_is_written_where_one_file_exists(tmp_path: Path) -> None:
    (tmp_path / "lading.yaml").write_text("mine")
    with pytest.raises(InvalidProject) as caught:
        scaffold.write(tmp_path, scaffold.sample("shop"))
    assert "nothing was written" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["lading.yaml"]


# M7
def test_keys_journal_and_deliveries_stay_out_of_git(tmp_path: Path) -> None:
    made = scaffold.write(tmp_path, scaffold.sample("shop"))
    assert ".gitignore" in made.files
    ignored = (tmp_path / ".gitignore").read_text().splitlines()
    assert {"/keys/", "/journal/", "/deliveries/"} <= set(ignored)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidProject, match="Cannot write into"):
        scaffold.write(tmp_path / "file" / "below", scaffold.sample("shop"))


@given(st.text())
def test_a_name_is_found_for_any_folder(text: str) -> None:
    name = scaffold.project_name(text, given=False)
    assert check_name(name) == name
    assert check_name(f"{name}_full")


@given(st.text())
def test_any_text_survives_as_a_scalar(text: str) -> None:
    assert parse(f"{{key: {scaffold.scalar(text)}}}".encode("utf-8", "surrogatepass"), "x").data == {
        "key": text
    }
