# D17, correction 3: masks are made under keys that stay what they are and where they are
from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from subprocess import PIPE

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lading.errors import Refused, StoreDenied
from lading.keys.file import FileKeyring, file_name
from lading.testing.keys import KeysSuite, Open

posix = pytest.mark.skipif(os.name != "posix", reason="permission bits are POSIX's")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keys"


class TestFileKeyring(KeysSuite):
    @pytest.fixture
    def open_keys(self, folder: Path) -> Open:
        return lambda: FileKeyring(folder)


@posix
def test_files_and_folder_are_for_their_owner_only_whatever_the_umask(folder: Path) -> None:
    before = os.umask(0)
    try:
        FileKeyring(folder).tenant_key("UA")
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()] == [0o600]


@posix
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_file_that_others_may_use_is_refused(folder: Path, mode: int) -> None:
    FileKeyring(folder).tenant_key("UA")
    (path,) = folder.iterdir()
    path.chmod(mode)
    with pytest.raises(StoreDenied, match="chmod 600"):
        FileKeyring(folder).tenant_key("UA")


@posix
def test_a_folder_that_others_may_write_is_refused(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o770)
    with pytest.raises(StoreDenied, match="chmod 700"):
        FileKeyring(folder).tenant_key("UA")
    assert not list(folder.iterdir())


def damaged_records() -> list[tuple[str, bytes | dict[str, object]]]:
    return [
        ("empty", b""),
        ("cut off", b'{"version": 1, "key_id": "5f3'),
        ("not text", b"\xff\xfe\x00"),
        ("a list", b"[1]"),
        ("another type", {"key": 5}),
        ("not base64", {"key": "!!!!"}),
        ("too short", {"key": "AAAA"}),
        ("another key", {"key": "A" * 43 + "="}),
        ("another name", {"key_id": "0" * 16}),
        ("another tenant's", {"tenant": "DL"}),
        ("a later version", {"version": 2}),
    ]


@pytest.mark.parametrize(("what", "change"), damaged_records(), ids=[what for what, _ in damaged_records()])
def test_a_damaged_key_is_refused_and_never_replaced(
    folder: Path, what: str, change: bytes | dict[str, object]
) -> None:
    FileKeyring(folder).tenant_key("UA")
    (path,) = folder.iterdir()
    record = json.loads(path.read_text())
    damaged = change if isinstance(change, bytes) else json.dumps({**record, **change}).encode()
    path.write_bytes(damaged)
    with pytest.raises(Refused) as refusal:
        FileKeyring(folder).tenant_key("UA")
    assert refusal.value.hint
    assert record["key"] not in str(refusal.value)
    assert path.read_bytes() == damaged
    assert [p.name for p in folder.iterdir()] == [path.name]


RACER = """
import sys
from pathlib import Path
from lading.keys.file import FileKeyring

keys = FileKeyring(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
print([keys.tenant_key(str(tenant)).hex() for tenant in range(20)], flush=True)
"""


def test_processes_that_race_for_new_tenants_get_the_same_keys(folder: Path) -> None:
    command = [sys.executable, "-c", RACER, str(folder)]
    racers = [subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True) for _ in range(4)]
    assert [racer.stdout and racer.stdout.readline() for racer in racers] == ["ready\n"] * 4
    for racer in racers:
        assert racer.stdin
        racer.stdin.write("go\n")
        racer.stdin.flush()
    answers = [racer.communicate(timeout=60)[0] for racer in racers]
    assert len(set(answers)) == 1
    assert len(list(folder.iterdir())) == 20


def test_a_killed_writers_draft_is_no_key(folder: Path) -> None:
    folder.mkdir(mode=0o700)
    (folder / ".new-0123456789abcdef").write_bytes(b'{"version"')
    assert len(FileKeyring(folder).tenant_key("UA")) == 32


def test_a_folder_in_the_place_of_a_key_is_an_error_of_ours(folder: Path) -> None:
    (folder / file_name("UA")).mkdir(parents=True)
    folder.chmod(0o700)
    with pytest.raises(Exception, match="key file") as failure:
        FileKeyring(folder).tenant_key("UA")
    assert type(failure.value).__module__ == "lading.errors"


RESERVED = {"con", "prn", "aux", "nul", *(f"{n}{i}" for n in ("com", "lpt") for i in range(10))}


@given(st.text(st.characters()), st.text(st.characters()))
def test_names_are_safe_everywhere_and_differ_even_where_case_is_folded(one: str, other: str) -> None:
    name = file_name(one)
    assert name.isascii()
    assert len(name) <= 200
    assert not set(name) & set('/\\:*?"<>| ')
    assert name == name.casefold()
    assert name.split(".")[0] not in RESERVED
    assert (file_name(other) == name) == (one == other)


@given(st.text(max_size=400))
def test_names_differ_where_tenants_differ_by_case_alone(tenant: str) -> None:
    for other in (tenant.upper(), tenant.lower(), tenant.swapcase()):
        assert (file_name(other) == file_name(tenant)) == (other == tenant)


def test_the_keyring_does_not_show_keys_it_has_read(folder: Path) -> None:
    keys = FileKeyring(folder)
    key = keys.tenant_key("UA")
    (path,) = folder.iterdir()
    for text in (json.loads(path.read_text())["key"], key.hex(), repr(key)[2:-1]):
        assert text not in repr(keys)
