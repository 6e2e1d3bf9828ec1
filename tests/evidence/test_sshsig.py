"""SSH signatures: made and read as OpenSSH does, and nothing changed passes."""

from __future__ import annotations

import base64
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from lading.evidence.sshsig import MANIFESTS, PublicKey, armored, message, verified

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = PublicKey(KEY.public_key().public_bytes_raw())
openssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not here")


def signed(data: bytes, namespace: str = MANIFESTS) -> bytes:
    return armored(PUBLIC, namespace, KEY.sign(message(namespace, data)))


@given(data=st.binary(max_size=2000), namespace=st.text("abc-@.", min_size=1))
def test_what_is_signed_is_verified_and_its_key_told(data: bytes, namespace: str) -> None:
    file = signed(data, namespace)
    assert verified(file, namespace, data) == PUBLIC
    assert file == signed(data, namespace)


@settings(deadline=None)
@given(data=st.data())
def test_a_changed_byte_of_the_file_or_of_what_it_signs_is_refused(data: st.DataObject) -> None:
    signature = signed(b"a manifest")
    at = data.draw(st.integers(0, len(signature) - 1))
    changed = bytearray(signature)
    changed[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError):
        verified(bytes(changed), MANIFESTS, b"a manifest")
    other = data.draw(st.binary(max_size=40).filter(lambda text: text != b"a manifest"))
    with pytest.raises(ValueError, match="is no signature by SHA256:"):
        verified(signature, MANIFESTS, other)


@given(file=st.binary(max_size=400))
def test_what_is_no_signature_is_refused(file: bytes) -> None:
    with pytest.raises(ValueError, match="is not an SSH signature"):
        verified(file, MANIFESTS, b"")


def test_a_signature_for_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match="is a signature for 'file', not for lading-manifest"):
        verified(signed(b"a", "file"), MANIFESTS, b"a")


def test_the_same_signature_in_other_white_space_is_refused() -> None:
    file = signed(b"a")
    lines = file.decode().split("\n")
    joined = "\n".join([lines[0], "".join(lines[1:-2]), *lines[-2:]]).encode()
    for changed in (joined, file + b"\n", file.rstrip(), file.replace(b"\n", b"\r\n")):
        with pytest.raises(ValueError):
            verified(changed, MANIFESTS, b"a")


@pytest.mark.parametrize(
    "encoded",
    [
        "AAAA", "no base64!", "",
        base64.b64encode(PUBLIC.blob + b"\0").decode(),
        base64.b64encode(PUBLIC.blob[:-1]).decode(),
        base64.b64encode(PUBLIC.blob.replace(b"ssh-ed25519", b"ssh-ed25518")).decode(),
    ],
)  # fmt: skip
def test_what_is_no_ed25519_key_is_refused(encoded: str) -> None:
    with pytest.raises(ValueError):
        PublicKey.parse(encoded)


# D11
@openssh
def test_openssh_verifies_what_is_signed_here(tmp_path: Path) -> None:
    (tmp_path / "signers").write_text(f'shop namespaces="{MANIFESTS}" {PUBLIC.line}\n')
    (tmp_path / "a.sig").write_bytes(signed(b"a manifest"))
    command = ["ssh-keygen", "-Y", "verify", "-f", "signers", "-I", "shop", "-n", MANIFESTS, "-s", "a.sig"]
    good = subprocess.run(command, cwd=tmp_path, input=b"a manifest", capture_output=True)
    assert good.returncode == 0
    assert PUBLIC.fingerprint in good.stdout.decode()
    assert subprocess.run(command, cwd=tmp_path, input=b"another", capture_output=True).returncode != 0


@openssh
def test_what_openssh_signs_is_verified_here_and_is_the_very_same_file(tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    signed = subprocess.run(
        ["ssh-keygen", "-Y", "sign", "-f", key, "-n", MANIFESTS], input=b"a", capture_output=True, check=True
    ).stdout
    public = verified(signed, MANIFESTS, b"a")
    assert key.with_suffix(".pub").read_text().startswith(public.line)
    listed = subprocess.run(["ssh-keygen", "-l", "-f", key], capture_output=True, text=True, check=True)
    assert public.fingerprint in listed.stdout
