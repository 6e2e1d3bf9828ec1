# D1
from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lading.errors import ObjectNotFound, StoreDenied, StoreFull, StoreUnavailable
from lading.ports import LinkLister, Store
from lading.stores import local, unfinished
from lading.stores.limit import LimitStore
from lading.stores.local import LocalOptions, LocalStore
from lading.stores.memory import MemoryStore
from lading.stores.retry import RetryStore
from lading.stores.within import Within
from lading.testing.faults import Faults
from lading.testing.store import StoreSuite, together


class TestLocalStore(StoreSuite):
    @pytest.fixture
    def store(self, tmp_path: Path) -> LocalStore:
        return LocalStore(tmp_path / "root")


class TestWithoutUnnamedFiles(StoreSuite):
    """As on file systems without O_TMPFILE."""

    @pytest.fixture
    def store(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalStore:
        monkeypatch.setattr(local, "supports_unnamed", lambda folder: False)
        return LocalStore(tmp_path / "root", durable=False)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "root", durable=False)


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_killed_writer_leaves_nothing_behind(tmp_path: Path) -> None:
    code = (
        "import sys; from lading.stores.local import LocalStore\n"
        "upload = LocalStore(sys.argv[1]).write('folder/a')\n"
        "upload.write(bytes(1000000)); print('ready', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGKILL)
    if not unfinished.supports_unnamed(str(tmp_path)):
        pytest.skip("this file system has no unnamed files")
    assert files(tmp_path) == ["folder"]


def test_a_temporary_name_is_no_object_and_goes_with_a_failed_put(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "supports_unnamed", lambda folder: False)
    store = LocalStore(tmp_path)
    upload = store.write("a")
    (temporary,) = files(tmp_path)
    assert temporary.startswith(f".lading-tmp-{os.getpid()}-")
    assert list(store.list()) == []
    with pytest.raises(StoreDenied):
        store.get(temporary)
    upload.abort()
    store.put("folder/x", b"1")
    with pytest.raises(StoreDenied):
        store.put("folder", b"1")
    assert files(tmp_path) == ["folder", "folder/x"]


def test_a_name_that_is_an_object_and_a_folder_is_refused(store: LocalStore) -> None:
    store.put("a/b", b"1")
    for create in (False, True):
        with pytest.raises(StoreDenied, match="both an object and a folder"):
            store.put("a", b"2", create=create)
        with pytest.raises(StoreDenied, match="both an object and a folder"):
            store.put("a/b/c/d", b"2", create=create)
    with pytest.raises(StoreDenied, match="both an object and a folder"):
        store.copy("a/b", "a")
    with pytest.raises(StoreDenied, match="both an object and a folder"):
        store.write("a/b/c")
    upload = store.write("a")
    with pytest.raises(StoreDenied, match="both an object and a folder"):
        upload.finish()
    store.delete("a")
    assert store.get("a/b") == b"1"


def test_a_name_too_long_for_the_file_system_is_refused(store: LocalStore) -> None:
    with pytest.raises(StoreDenied, match="255 bytes"):
        store.put("é" * 200, b"1")
    with pytest.raises(StoreDenied, match="255 bytes"):
        store.put("x" * 256 + "/a", b"1", create=True)


def test_folders_that_became_empty_go(store: LocalStore, tmp_path: Path) -> None:
    store.put("a/b/c/d", b"1")
    store.put("a/x", b"1")
    store.delete("a/b/c/d")
    assert files(tmp_path / "root") == ["a", "a/x"]
    store.delete("a/x")
    assert files(tmp_path) == ["root"]


def test_puts_and_deletes_of_one_folder_race_safely(store: LocalStore) -> None:
    def act(index: int) -> None:
        for turn in range(150):
            name = f"deep/folder/{index}"
            store.put(name, b"%d" % turn, create=turn % 2 == 0)
            if turn % 3 == 0:
                store.copy(name, f"deep/other/{index}")
                store.delete(f"deep/other/{index}")
            assert store.get(name) == b"%d" % turn
            list(store.list("deep/"))
            store.delete(name)

    assert together(4, act) == [None] * 4
    assert list(store.list()) == []


def test_a_copy_shares_the_bytes_until_one_is_replaced(store: LocalStore, tmp_path: Path) -> None:
    store.put("a", b"one")
    store.copy("a", "b")
    assert (tmp_path / "root/a").samefile(tmp_path / "root/b")
    store.put("a", b"two")
    assert store.get("b") == b"one"


def test_a_file_system_without_links_copies_and_refuses_to_create(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(source: str, path: str) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM), path)

    monkeypatch.setattr(unfinished, "link", no_link)
    store = LocalStore(tmp_path)
    store.put("a", b"one")
    store.put("a", b"two")
    store.copy("a", "b/c")
    assert store.get("b/c") == b"two"
    with pytest.raises(StoreDenied, match="without hard links"):
        store.put("d", b"1", create=True)
    assert [info.name for info in store.list()] == ["a", "b/c"]
    assert files(tmp_path) == ["a", "b", "b/c"]


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, StoreFull),
        (errno.EDQUOT, StoreFull),
        (errno.EROFS, StoreDenied),
        (errno.EACCES, StoreDenied),
        (errno.EPERM, StoreDenied),
        (errno.EIO, StoreUnavailable),
        (errno.ESTALE, StoreUnavailable),
        (errno.EMFILE, StoreUnavailable),
        (errno.ENOENT, ObjectNotFound),
    ],
)
def test_what_the_system_says_becomes_a_stores_error(number: int, expected: type[Exception]) -> None:
    error = unfinished.translate(OSError(number, os.strerror(number)), "cannot read x", reading=True)
    assert type(error) is expected


def test_a_full_disk_is_said_to_be_full() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    with (
        Path("/dev/full").open("wb", buffering=0) as file,
        pytest.raises(StoreFull),
        unfinished.explained("writing"),
    ):
        file.write(b"1")


def test_a_folder_without_permission_is_denied(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    tmp_path.chmod(0o500)
    with pytest.raises(StoreDenied, match="permissions"):
        LocalStore(tmp_path / "root").put("a", b"1")


def test_links_that_lead_elsewhere_are_not_listed_as_folders(store: LocalStore, tmp_path: Path) -> None:
    store.put("a", b"1")
    (tmp_path / "root" / "loop").symlink_to(tmp_path / "root")
    (tmp_path / "root" / "broken").symlink_to(tmp_path / "nowhere")
    assert [info.name for info in store.list()] == ["a"]


def test_links_that_a_listing_leaves_out_can_be_asked_for(store: LocalStore, tmp_path: Path) -> None:
    for name in ("a", "b/c", "b/d/e"):
        store.put(name, b"1")
    root = tmp_path / "root"
    for name, target in (("b/loop", root), ("b/d/broken", tmp_path / "nowhere"), ("file", root / "a")):
        (root / name).symlink_to(target)
    assert "file" in [info.name for info in store.list()]
    outer: Store
    for outer in (store, RetryStore(store), LimitStore(RetryStore(store)), Faults().wrap(store)):
        assert isinstance(outer, LinkLister)
        assert list(outer.links()) == list(outer.links("b/")) == ["b/d/broken", "b/loop"]
        assert list(outer.links("b/l")) == ["b/loop"]
        assert list(outer.links("nowhere/")) == []
        within = Within(outer, "b/")
        assert isinstance(within, LinkLister)
        assert list(within.links()) == ["d/broken", "loop"]
        assert list(within.links("d/")) == ["d/broken"]
    for other in (RetryStore(MemoryStore()), Within(MemoryStore(), "b/"), Faults().wrap(MemoryStore())):
        assert not isinstance(other, LinkLister)


def test_a_listing_outlives_what_vanishes_meanwhile(store: LocalStore) -> None:
    for i in range(5):
        store.put(f"{i}/a", b"1")
    listing = store.list()
    assert next(listing).name == "0/a"
    for i in range(1, 4):
        store.delete(f"{i}/a")
    assert [info.name for info in listing] == ["4/a"]


@pytest.mark.parametrize(
    ("url", "folder"),
    [
        ("file://./deliveries", "/base/deliveries"),
        ("file:///abs/x%20y", "/abs/x y"),
        ("./deliveries", "/base/deliveries"),
        ("/abs", "/abs"),
    ],
)
def test_a_relative_url_lies_in_the_project(url: str, folder: str) -> None:
    assert LocalOptions(url=url).folder(Path("/base")) == Path(folder)


def test_a_pipe_is_no_object_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    store = LocalStore(tmp_path)
    assert list(store.list()) == []
    for read in (store.get, store.read):
        with pytest.raises(ObjectNotFound):
            read("pipe")
