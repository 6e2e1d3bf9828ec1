"""Signing keys in a folder: private, numbered, OpenSSH's own."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lading.errors import InProgress, InvalidProject, Refused, StoreDenied
from lading.keys.signing import FileSigner, new_signing_key
from lading.testing.signer import Open, SignerSuite

posix = pytest.mark.skipif(os.name != "posix", reason="permission bits are POSIX's")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "signing"


class TestFileSigner(SignerSuite):
    @pytest.fixture
    def open_signer(self, folder: Path) -> Open:
        new_signing_key(folder)
        return lambda: FileSigner(folder)


def test_the_newest_key_signs_and_older_ones_stay(folder: Path) -> None:
    keys = set()
    for number in range(1, 12):
        assert new_signing_key(folder) == f"{number:04}"
        keys.add(FileSigner(folder).public_key)
    assert len(keys) == len(list(folder.iterdir())) == 11


def test_a_signer_that_is_open_keeps_its_key(folder: Path) -> None:
    new_signing_key(folder)
    signer = FileSigner(folder)
    before = signer.public_key
    new_signing_key(folder)
    assert signer.public_key == before != FileSigner(folder).public_key


def test_two_that_make_a_key_at_once_never_replace_one(folder: Path) -> None:
    def make(_: int) -> str | None:
        try:
            return new_signing_key(folder)
        except InProgress:
            return None

    with ThreadPoolExecutor(8) as pool:
        made = [name for name in pool.map(make, range(32)) if name]
    assert sorted(made) == sorted(path.name for path in folder.iterdir())


def test_without_a_key_it_says_how_to_make_one(folder: Path) -> None:
    with pytest.raises(InvalidProject, match="lading signing new"):
        FileSigner(folder).sign(b"")


@posix
def test_a_folder_that_may_not_be_listed_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new_signing_key(folder)

    def refuse(path: Path) -> Iterator[Path]:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(StoreDenied, match="may not be read"):
        FileSigner(folder).sign(b"")


def test_keys_are_for_their_owner_alone(folder: Path) -> None:
    path = folder / new_signing_key(folder)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    path.chmod(0o640)
    with pytest.raises(StoreDenied, match="chmod 600"):
        FileSigner(folder).sign(b"")
    path.chmod(0o600)
    folder.chmod(0o770)
    with pytest.raises(StoreDenied, match="chmod 700"):
        FileSigner(folder).sign(b"")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"secret-not-a-key"])
def test_a_damaged_key_is_refused_and_never_shown(folder: Path, content: bytes) -> None:
    path = folder / new_signing_key(folder)
    path.write_bytes(content)
    with pytest.raises(Refused, match="no OpenSSH private key") as caught:
        FileSigner(folder).sign(b"")
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not here")
@pytest.mark.parametrize("arguments", [["-t", "rsa", "-N", ""], ["-t", "ed25519", "-N", "a passphrase"]])
def test_keys_that_cannot_be_used_are_refused(folder: Path, arguments: list[str]) -> None:
    folder.mkdir(parents=True, mode=0o700)
    subprocess.run(["ssh-keygen", "-q", *arguments, "-f", folder / "0001"], check=True)
    with pytest.raises(Refused, match=r"Ed25519 key|passphrase"):
        FileSigner(folder).sign(b"")
