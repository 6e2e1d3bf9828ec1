"""Keys that wrap data keys, in a folder: rotated without rewriting, destroyed for good."""

# S10, D12
from __future__ import annotations

import base64
import json
import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.keywrap import aes_key_unwrap

from lading.errors import Refused, StoreDenied
from lading.keys.wrapping import FileWrapper, unwrapped
from lading.ports import WrappedKey
from lading.testing.wrapper import KEY, Open, Unwrap, WrapperSuite

posix = pytest.mark.skipif(os.name != "posix", reason="permission bits are POSIX's")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "wrapping"


class TestFileWrapper(WrapperSuite):
    @pytest.fixture
    def open_wrapper(self, folder: Path) -> Open:
        return lambda: FileWrapper(folder)

    @pytest.fixture
    def unwrap(self, folder: Path) -> Unwrap:
        return lambda tenant, wrapped: unwrapped(wrapped, FileWrapper(folder).tenant_keys(tenant))


def opened(folder: Path, tenant: str, wrapped: WrappedKey) -> bytes:
    return unwrapped(wrapped, FileWrapper(folder).tenant_keys(tenant))


def test_after_a_rotation_new_keys_wrap_and_old_ones_still_open(folder: Path) -> None:
    wrapped = []
    for _ in range(12):
        wrapped.append(FileWrapper(folder).wrap("UA", KEY))
        assert FileWrapper(folder).rotate("UA") not in {found.key_id for found in wrapped}
    assert len({found.key_id for found in wrapped}) == 12
    assert all(opened(folder, "UA", found) == KEY for found in wrapped)
    assert FileWrapper(folder).wrap("UA", KEY).key_id not in {found.key_id for found in wrapped}


def test_a_process_that_runs_on_wraps_under_the_newest_key_and_stops_when_it_is_destroyed(
    folder: Path,
) -> None:
    ours, theirs = FileWrapper(folder), FileWrapper(folder)
    first = ours.wrap("UA", KEY)
    assert theirs.rotate("UA") == (second := ours.wrap("UA", KEY)).key_id != first.key_id
    theirs.rotate("UA")
    theirs.rotate("UA")
    assert ours.wrap("UA", KEY).key_id == theirs.wrap("UA", KEY).key_id != second.key_id
    theirs.destroy("UA")
    with pytest.raises(Refused, match="were destroyed"):
        ours.wrap("UA", KEY)


def test_a_rotation_leaves_other_tenants_alone(folder: Path) -> None:
    wrapper = FileWrapper(folder)
    # Names that end alike, and one that looks like another's second key.
    before = {tenant: wrapper.wrap(tenant, KEY).key_id for tenant in ("a", "aa", "a.1", "a.2", "ba")}
    wrapper.rotate("a")
    after = {tenant: FileWrapper(folder).wrap(tenant, KEY).key_id for tenant in before}
    assert [tenant for tenant in before if before[tenant] != after[tenant]] == ["a"]


def test_what_destroyed_keys_wrapped_is_never_opened_again_and_none_is_made(folder: Path) -> None:
    wrapper = FileWrapper(folder)
    wrapped = [wrapper.wrap("UA", KEY)]
    wrapper.rotate("UA")
    wrapped.append(wrapper.wrap("UA", KEY))
    other = wrapper.wrap("AA", KEY)
    assert wrapper.destroy("UA") == 2
    for found in wrapped:
        with pytest.raises(Refused, match="cannot be opened"):
            opened(folder, "UA", found)
    for again in (wrapper, FileWrapper(folder)):
        with pytest.raises(Refused, match="were destroyed"):
            again.wrap("UA", KEY)
        with pytest.raises(Refused, match="were destroyed"):
            again.rotate("UA")
    assert wrapper.destroy("UA") == 0
    assert opened(folder, "AA", other) == KEY


@posix
def test_keys_are_for_their_owner_alone(folder: Path) -> None:
    wrapped = FileWrapper(folder).wrap("UA", KEY)
    (path,) = folder.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    path.chmod(0o644)
    with pytest.raises(StoreDenied, match="chmod 600"):
        opened(folder, "UA", wrapped)


def test_a_damaged_key_is_refused_and_not_replaced(folder: Path) -> None:
    FileWrapper(folder).wrap("UA", KEY)
    (path,) = folder.iterdir()
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "key": base64.b64encode(bytes(32)).decode()}))
    with pytest.raises(Refused, match="is damaged"):
        FileWrapper(folder).wrap("UA", KEY)
    assert json.loads(path.read_text())["key_id"] == record["key_id"]


def test_a_standard_library_of_others_opens_what_is_wrapped(folder: Path) -> None:
    wrapper = FileWrapper(folder)
    wrapped = wrapper.wrap("UA", KEY)
    (key,) = wrapper.tenant_keys("UA")
    assert aes_key_unwrap(key, wrapped.data) == KEY


def test_destroying_also_removes_what_a_killed_process_left(folder: Path) -> None:
    wrapper = FileWrapper(folder)
    wrapper.wrap("UA", KEY)
    wrapper.wrap("UAX", KEY)
    path = next(path for path in folder.iterdir() if json.loads(path.read_text())["tenant"] == "UA")
    draft = folder / f".new-0123456789abcdef-{path.name}"
    draft.write_bytes(path.read_bytes())
    wrapper.destroy("UA")
    assert not draft.exists()
    assert sum(path.stat().st_size > 0 for path in folder.iterdir()) == 1


def test_a_key_that_comes_back_from_a_backup_stays_destroyed(folder: Path, tmp_path: Path) -> None:
    wrapper = FileWrapper(folder)
    wrapper.wrap("UA", KEY)
    (path,) = folder.iterdir()
    kept = path.read_bytes()
    wrapper.destroy("UA")
    path.write_bytes(kept)
    path.chmod(0o600)
    assert FileWrapper(folder).tenant_keys("UA") == []
    with pytest.raises(Refused, match="were destroyed"):
        FileWrapper(folder).copy("UA", tmp_path / "copy")
    with pytest.raises(Refused, match="were destroyed"):
        FileWrapper(folder).wrap("UA", KEY)


@pytest.mark.parametrize("what", ["rotate", "destroy"])
def test_a_tenant_that_nobody_encrypts_for_is_refused_and_leaves_nothing(folder: Path, what: str) -> None:
    with pytest.raises(Refused, match="has no key"):
        getattr(FileWrapper(folder), what)("typo")
    assert not folder.exists()
    FileWrapper(folder).wrap("typo", KEY)


@posix
def test_folders_above_are_for_their_owner_too_whatever_the_umask(folder: Path) -> None:
    before = os.umask(0o002)
    try:
        FileWrapper(folder).wrap("UA", KEY)
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
