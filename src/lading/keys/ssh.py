"""A person's own SSH key, by OpenSSH's program: agents, passphrases and security tokens work as they do elsewhere."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from lading.errors import InvalidProject, sentence
from lading.evidence.sshsig import APPROVALS

PROGRAM = "ssh-keygen"


def signing_with(key: str | os.PathLike[str]) -> Callable[[bytes], bytes]:
    """Signs approvals with the private key in a file, or with the one that the agent has for a file ``.pub``.

    What is returned gives the signature's file for a document, and raises InvalidProject where OpenSSH does not sign.
    Raises InvalidProject for a file that cannot be read, so that this is told also where nothing is to be signed.
    """
    _require_readable(Path(key))

    def sign(document: bytes) -> bytes:
        command = [PROGRAM, "-Y", "sign", "-n", APPROVALS, "-f", os.fspath(key)]
        try:
            done = subprocess.run(command, input=document, capture_output=True, check=False)
        except FileNotFoundError as error:
            raise InvalidProject(
                f"{PROGRAM} is not here, which signs approvals.",
                hint="Install OpenSSH's client, or sign on another machine: docs/protection.md says how.",
            ) from error
        if done.returncode:
            told = done.stderr.decode(errors="replace").strip().splitlines()
            raise InvalidProject(
                f"{PROGRAM} did not sign: {sentence(told[-1] if told else 'it said nothing')}"
            )
        return done.stdout

    return sign


def _require_readable(key: Path) -> None:
    # OpenSSH takes a private key that only the agent has by its name too, from the file .pub beside it.
    public = Path(f"{key}.pub")
    try:
        (public if public.exists() and not key.exists() else key).open("rb").close()
    except OSError as error:
        raise InvalidProject(
            f"The key {key} cannot be read: {error.strerror}.",
            hint="--key names the file of your private key, or its .pub file where the agent holds it.",
        ) from error
