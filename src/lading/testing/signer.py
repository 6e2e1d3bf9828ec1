"""What every signer must do."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from lading.ports import Signer

Open = Callable[[], Signer]


class SignerSuite:
    """A test class of an adapter derives from this and has a pytest fixture ``open_signer``: a function that opens the
    same signer anew each time it is called, as a new process would."""

    def test_its_public_key_verifies_what_it_signs(self, open_signer: Open) -> None:
        signer = open_signer()
        key = Ed25519PublicKey.from_public_bytes(signer.public_key)
        for message in (b"", b"a manifest", bytes(1 << 20)):
            key.verify(signer.sign(message), message)

    def test_a_message_has_one_signature(self, open_signer: Open) -> None:
        first, second = open_signer(), open_signer()
        assert first.public_key == second.public_key
        assert first.sign(b"a") == first.sign(b"a") == second.sign(b"a") != first.sign(b"b")

    def test_threads_may_sign_at_once(self, open_signer: Open) -> None:
        signer = open_signer()
        with ThreadPoolExecutor(8) as pool:
            assert len(set(pool.map(signer.sign, [b"a"] * 64))) == 1
