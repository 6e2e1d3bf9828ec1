"""Whatever SSH key a person has, its signatures are checked, and nothing changed passes."""

# S11
from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from lading.evidence.owners import Owners
from lading.evidence.sshkeys import PersonKey, string
from lading.evidence.sshsig import APPROVALS, MANIFESTS, verified, verified_person

openssh = pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not here")
KINDS = {
    "ed25519": ["-t", "ed25519"],
    "rsa": ["-t", "rsa", "-b", "2048"],
    "p256": ["-t", "ecdsa", "-b", "256"],
    "p384": ["-t", "ecdsa", "-b", "384"],
    "p521": ["-t", "ecdsa", "-b", "521"],
}
TEXT = b"what is approved\n"


def made(tmp_path: Path, kind: str) -> tuple[Path, PersonKey]:
    path = tmp_path / kind
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-f", path, *KINDS[kind]], check=True)
    return path, PersonKey.parse(path.with_suffix(".pub").read_text())


def signed(path: Path, data: bytes = TEXT, *options: str) -> bytes:
    command = ["ssh-keygen", "-Y", "sign", "-n", APPROVALS, "-f", str(path), *options]
    return subprocess.run(command, input=data, capture_output=True, check=True).stdout


@openssh
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("digest", ["sha512", "sha256"])
def test_a_signature_by_any_kind_of_key_is_checked_as_openssh_made_it(
    tmp_path: Path, kind: str, digest: str
) -> None:
    path, key = made(tmp_path, kind)
    file = signed(path, TEXT, "-O", f"hashalg={digest}")
    assert verified_person(file, APPROVALS, TEXT) == key
    listed = subprocess.run(
        ["ssh-keygen", "-l", "-f", path], capture_output=True, text=True, check=True
    ).stdout
    assert key.fingerprint in listed
    with pytest.raises(ValueError, match="is no signature by SHA256:"):
        verified_person(file, APPROVALS, TEXT + b"!")
    with pytest.raises(ValueError, match="is a signature for 'lading-approval'"):
        verified_person(file, MANIFESTS, TEXT)


@openssh
@pytest.mark.parametrize("kind", KINDS)
def test_no_byte_of_a_signature_can_be_changed(tmp_path: Path, kind: str) -> None:
    path, _ = made(tmp_path, kind)
    file = signed(path)
    lines = file.decode().split("\n")
    blob = bytearray(base64.b64decode("".join(lines[1:-2])))
    for at in range(0, len(blob), 3):
        changed = bytearray(blob)
        changed[at] ^= 1
        text = base64.b64encode(changed).decode()
        body = [text[n : n + 70] for n in range(0, len(text), 70)]
        with pytest.raises(ValueError):
            # Another key that would verify is as bad: whose it is, is looked up by its bytes.
            key = verified_person("\n".join([lines[0], *body, *lines[-2:]]).encode(), APPROVALS, TEXT)
            raise (
                ValueError
                if key.blob != PersonKey.parse(path.with_suffix(".pub").read_text()).blob
                else AssertionError
            )


@openssh
def test_people_s_keys_of_other_kinds_sign_no_manifests(tmp_path: Path) -> None:
    path, _ = made(tmp_path, "p256")
    with pytest.raises(ValueError, match="by an Ed25519 key"):
        verified(signed(path), APPROVALS, TEXT)


# --- keys in security tokens, whose signatures are made here as PROTOCOL.u2f describes them

APPLICATION = b"ssh:"


def token(flags: int, kind: str) -> tuple[PersonKey, bytes, bytes]:
    """A token's key, the signature's blob over a message, and the message."""
    message, told = b"message", bytes([flags]) + (7).to_bytes(4, "big")
    data = hashlib.sha256(APPLICATION).digest() + told + hashlib.sha256(message).digest()
    if kind == "ed25519":
        own = Ed25519PrivateKey.from_private_bytes(bytes(32))
        name = b"sk-ssh-ed25519@openssh.com"
        public, raw = string(own.public_key().public_bytes_raw()), own.sign(data)
    else:
        other: Any = ec.derive_private_key(12345, ec.SECP256R1())
        name = b"sk-ecdsa-sha2-nistp256@openssh.com"
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        point = other.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        public = string(b"nistp256") + string(point)
        r, s = decode_dss_signature(other.sign(data, ec.ECDSA(hashes.SHA256())))
        raw = b"".join(string(n.to_bytes(33, "big")) for n in (r, s))
    key = PersonKey.parse(
        f"{name.decode()} {base64.b64encode(string(name) + public + string(APPLICATION)).decode()}"
    )
    return key, string(name) + string(raw) + told, message


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
def test_a_token_s_signature_counts_where_somebody_touched_it(kind: str) -> None:
    key, signature, message = token(1, kind)
    key.verify(signature, message)
    with pytest.raises(ValueError):
        key.verify(signature, b"another")
    with pytest.raises(ValueError):
        key.verify(signature[:-1] + b"\x08", message)  # the counter is signed
    untouched, signature, message = token(0, kind)
    with pytest.raises(ValueError):
        untouched.verify(signature, message)


# --- what is no key


@pytest.mark.parametrize(
    "line",
    [
        "", "ssh-ed25519", "ssh-dss AAAAB3NzaC1kc3M=", "ssh-ed25519 AAAA", "ssh-ed25519 no-base64!",
        "ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIAOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4",
    ],
)  # fmt: skip
def test_what_is_no_public_key_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"is no public key|is a damaged|is another kind"):
        PersonKey.parse(line)


@openssh
def test_a_short_rsa_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "short"
    subprocess.run(["ssh-keygen", "-q", "-N", "", "-t", "rsa", "-b", "1024", "-f", path], check=True)
    with pytest.raises(ValueError, match="fewer than 2048 bits"):
        PersonKey.parse(path.with_suffix(".pub").read_text())


def test_one_private_key_is_one_person_s_however_its_public_key_is_written(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    def line(name: bytes, *parts: bytes) -> str:
        return f"{name.decode()} {base64.b64encode(b''.join(map(string, (name, *parts)))).decode()}"

    n = rsa.generate_private_key(65537, 2048).public_key().public_numbers().n
    mpint = b"\0" + n.to_bytes(256, "big")
    point: Any = ec.derive_private_key(12345, ec.SECP256R1()).public_key()
    whole, short = (
        point.public_bytes(Encoding.X962, form)
        for form in (PublicFormat.UncompressedPoint, PublicFormat.CompressedPoint)
    )
    raw = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key().public_bytes_raw()
    curve = b"ecdsa-sha2-nistp256"
    for one, other in (
        (line(b"ssh-rsa", b"\1\0\1", mpint), line(b"ssh-rsa", b"\1\0\1", b"\0\0\0" + mpint)),
        (line(b"ssh-rsa", b"\1\0\1", mpint), line(b"ssh-rsa", b"\1\1", mpint)),
        (line(curve, b"nistp256", whole), line(curve, b"nistp256", short)),
        (line(b"ssh-ed25519", raw), line(b"sk-ssh-ed25519@openssh.com", raw, APPLICATION)),
    ):
        assert PersonKey.parse(one).identity == PersonKey.parse(other).identity
        with pytest.raises(ValueError, match="this key is ada's already"):
            Owners.model_validate({"people": {"ada": one, "bob": other}})
