"""Age: to a recipient's own public key, as streams of whole files and as data keys."""

# S2, S10, D12
from __future__ import annotations

import io
import shutil
import subprocess
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lading.errors import Refused, StoreFull, StoreUnavailable
from lading.keys.age import (
    AgeSink,
    AgeStreams,
    AgeWrapper,
    Recipients,
    _within,
    age_key_id,
    identities,
    opened_key,
    opened_stream,
    public_key,
)
from lading.ports import WrappedKey
from lading.testing.format import Sink
from lading.testing.keys import KeysSuite
from lading.testing.wrapper import KEY, Open, Unwrap, WrapperSuite

pyrage: Any = pytest.importorskip("pyrage", reason="the extra age is not installed")
OURS = pyrage.x25519.Identity.generate()
PUBLIC = str(OURS.to_public())


@pytest.fixture(scope="module")
def held() -> dict[str, Any]:
    return {tenant: pyrage.x25519.Identity.generate() for tenant in (*KeysSuite.TENANTS, "new")}


class TestAgeWrapper(WrapperSuite):
    @pytest.fixture
    def open_wrapper(self, held: dict[str, Any]) -> Open:
        return lambda: AgeWrapper(Recipients({tenant: str(key.to_public()) for tenant, key in held.items()}))

    @pytest.fixture
    def unwrap(self, held: dict[str, Any]) -> Unwrap:
        return lambda tenant, wrapped: opened_key(wrapped, [held[tenant]])


def sealed(blocks: list[bytes], recipient: str = PUBLIC) -> bytes:
    out = Sink()
    stream = AgeSink(out, public_key(recipient))
    for block in blocks:
        stream.write(block)
    stream.finish()
    return out.data


@settings(deadline=None, max_examples=40)
@given(blocks=st.lists(st.binary(max_size=300) | st.integers(0, 200_000).map(bytes), max_size=8))
def test_a_stream_is_opened_by_its_recipient(blocks: list[bytes]) -> None:
    file = sealed(blocks)
    with closing(opened_stream(io.BytesIO(file), [OURS])) as clear:
        assert clear.read() == b"".join(blocks)
    with pytest.raises(Refused):
        opened_stream(io.BytesIO(file), [pyrage.x25519.Identity.generate()])


def test_a_changed_or_cut_stream_is_refused() -> None:
    file = sealed([bytes(200_000)])
    for at in (0, 30, 100, len(file) // 2, len(file) - 1):
        changed = bytearray(file)
        changed[at] ^= 1
        with pytest.raises(Refused):
            opened_stream(io.BytesIO(bytes(changed)), [OURS])
    for cut in (0, 100, 70_000, len(file) - 1):
        with pytest.raises(Refused):
            opened_stream(io.BytesIO(file[:cut]), [OURS])


def test_what_is_too_large_for_memory_is_opened_on_disk() -> None:
    with closing(opened_stream(io.BytesIO(sealed([bytes(5_000)])), [OURS], spill=1_000)) as clear:
        assert clear.read() == bytes(5_000)


def test_a_store_out_of_reach_is_the_error_that_the_reader_sees() -> None:
    class Gone(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise StoreUnavailable("gone")

    with pytest.raises(StoreUnavailable, match="gone"):
        opened_stream(Gone(), [OURS])


def test_a_full_store_is_the_error_that_the_writer_sees() -> None:
    stream = AgeSink(Sink(limit=100_000), public_key(PUBLIC))
    with pytest.raises(StoreFull, match="the disk is full"):
        for _ in range(100):
            stream.write(bytes(50_000))
    stream.abort()
    last = AgeSink(Sink(limit=10), public_key(PUBLIC))
    last.write(b"a")
    with pytest.raises(StoreFull):
        last.finish()


def test_an_abort_ends_the_thread_and_writes_nothing_more() -> None:
    out = Sink()
    stream = AgeSink(out, public_key(PUBLIC))
    for _ in range(5):
        stream.write(bytes(100_000))
    stream.abort()
    before = out.data
    assert not stream._thread.is_alive()
    assert out.data == before
    stream.abort()


@pytest.mark.parametrize("limit", [1, 2_000, 2_100, 70_000, 500_000])
def test_a_stream_stays_below_its_greatest_size(limit: int) -> None:
    room = _within(limit)
    assert room is not None
    for _ in range(20):
        assert room == 1 or len(sealed([bytes(room)])) <= limit


def test_a_tenant_without_a_public_key_is_refused() -> None:
    with pytest.raises(Refused, match="has no public key"):
        AgeWrapper(Recipients({"a": PUBLIC})).wrap("b", KEY)
    with pytest.raises(Refused, match="has no public key"):
        AgeStreams(Recipients({})).open(
            None, None, None, None, 0, None, names=SimpleNamespace(tenant="b"), file="x"
        )  # type: ignore[arg-type]


OTHER_END = PUBLIC[:-1] + ("q" if PUBLIC[-1] != "q" else "p")


@pytest.mark.parametrize(
    "text", ["", "age1", f"{PUBLIC}x", OTHER_END], ids=["none", "cut", "long", "changed"]
)
def test_what_is_no_public_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no public key of age"):
        public_key(text)


@pytest.mark.parametrize(
    "text", ["", "# nothing", "AGE-SECRET-KEY-1NONE", PUBLIC], ids=["none", "comment", "damaged", "public"]
)
def test_what_holds_no_private_key_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(Refused) as caught:
        identities(text)
    assert "1NONE" not in str(caught.value)


def test_keys_are_read_from_the_file_that_age_keygen_writes() -> None:
    held = identities(f"# created: 2026-11-22T10:00:00Z\n# public key: {PUBLIC}\n{OURS}\n")
    assert opened_key(AgeWrapper(Recipients({"a": PUBLIC})).wrap("a", KEY), held) == KEY
    with pytest.raises(Refused):
        opened_key(WrappedKey(age_key_id(PUBLIC), b"nothing"), held)


@pytest.mark.skipif(shutil.which("age") is None, reason="the tool age is not here")
def test_the_standard_tool_opens_a_stream(tmp_path: Path) -> None:
    (tmp_path / "key.txt").write_text(f"{OURS}\n")
    (tmp_path / "file.age").write_bytes(sealed([b"a,b\n1,2\n", bytes(200_000)]))
    told = subprocess.run(
        ["age", "-d", "-i", "key.txt", "file.age"], cwd=tmp_path, capture_output=True, check=True
    )
    assert told.stdout == b"a,b\n1,2\n" + bytes(200_000)
