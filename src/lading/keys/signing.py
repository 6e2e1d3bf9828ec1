"""Signing keys in a folder: OpenSSH private keys, numbered. The one with the greatest number signs.

``0001``, ``0002``, …, each as `ssh-keygen -t ed25519` makes it, without a passphrase, readable by its owner only. Older
ones are kept for nothing but the record: what they signed is proven by their public keys.
"""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from lading.errors import InProgress, InvalidProject, Refused
from lading.keys.private import check_folder, create_private, read_private, told

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

_NAME = re.compile(r"[0-9]{4}")


class FileSigner:
    """Signs with the newest key in ``folder``, which is read when it is first needed.

    Raises InvalidProject where there is none, StoreDenied where folder or file let others in, Refused where the file is
    no such key.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __repr__(self) -> str:
        return f"FileSigner({str(self._folder)!r})"

    @cached_property
    def public_key(self) -> bytes:
        return self._key.public_key().public_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        return self._key.sign(message)

    @cached_property
    def _key(self) -> Ed25519PrivateKey:
        names = signing_keys(self._folder)
        if not names:
            raise InvalidProject(
                f"There is no signing key in {self._folder}.",
                hint="`lading signing new` makes one; where the project has one already, bring it there.",
            )
        path = self._folder / names[-1]
        with told(path):
            check_folder(self._folder)
            return _loaded(read_private(path), path)


def new_signing_key(folder: Path) -> str:
    """Makes the next key in the folder and returns its name. Raises InProgress where another process just did."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    name = f"{int(max(signing_keys(folder), default='0')) + 1:04}"
    data = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    path = folder / name
    with told(path):
        check_folder(folder)
        try:
            create_private(path, data)
        except FileExistsError as error:
            raise InProgress(
                f"Another process has just made the signing key {path}.",
                hint="`lading signing list` shows it.",
            ) from error
    return name


def signing_keys(folder: Path) -> list[str]:
    """The names of the keys in a folder, oldest first."""
    with told(folder):
        if not folder.is_dir():
            return []
        return sorted(path.name for path in folder.iterdir() if _NAME.fullmatch(path.name))


def _loaded(data: bytes, path: Path) -> Ed25519PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_ssh_private_key

    try:
        key = load_ssh_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        # Without the cause: nothing of a key's file belongs into an error.
        raise Refused(
            f"{path} is no OpenSSH private key that Lading can use, or it has a passphrase",
            hint='Make it with `lading signing new`, or with ssh-keygen -t ed25519 -N "".',
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        raise Refused(f"{path} is no Ed25519 key", hint="Make it with `lading signing new`.")
    return key
