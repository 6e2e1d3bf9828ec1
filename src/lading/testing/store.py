"""What every store promises. A store's test file subclasses `StoreSuite` and provides the fixture ``store``.

::

    class TestMemoryStore(StoreSuite):
        @pytest.fixture
        def store(self) -> MemoryStore:
            return MemoryStore()
"""

from __future__ import annotations

import threading
import urllib.request
from collections.abc import Callable

import pytest

from lading.errors import ObjectExists, ObjectNotFound, StoreDenied
from lading.ports import Copier, Linker, Prober, Store, Swapper

LARGE = 20 * 1024 * 1024  # more than two parts of a multipart upload


class StoreSuite:
    """The conformance suite. ``store`` must be empty at the start of each test."""

    names = (
        "plain",
        "a/b/c",
        "tenant=UA/2013/01/01/000000_7f3b4e5a-a1/_manifest.json",
        "with space/ünï/100%25/a+b&c=d;e,f",
        "a%2Fb/%2E%2E",
        "x" * 200 + "/" + "y" * 200,
    )

    @pytest.mark.parametrize("name", names)
    def test_what_was_put_is_read_back(self, store: Store, name: str) -> None:
        store.put(name, b"\x00first\xff")
        assert store.get(name) == b"\x00first\xff"
        assert [info.name for info in store.list()] == [name]

    def test_a_put_replaces_and_an_object_may_be_empty(self, store: Store) -> None:
        store.put("a", b"one")
        store.put("a", b"")
        assert store.get("a") == b""
        assert [(info.name, info.size) for info in store.list()] == [("a", 0)]

    def test_a_version_changes_with_the_bytes(self, store: Store) -> None:
        store.put("a", b"one")
        (before,) = store.list()
        store.put("a", b"two")
        (after,) = store.list()
        assert before.version
        assert before.version != after.version

    def test_what_is_not_there_is_not_found(self, store: Store) -> None:
        store.put("folder/a", b"1")
        for name in ("nothing", "folder", "folder/a/b", "no/such/folder"):
            with pytest.raises(ObjectNotFound):
                store.get(name)
            with pytest.raises(ObjectNotFound):
                store.read(name).read()

    def test_a_create_fails_if_the_object_is_there_and_leaves_it_alone(self, store: Store) -> None:
        store.put("a/b", b"first", create=True)
        with pytest.raises(ObjectExists):
            store.put("a/b", b"second", create=True)
        assert store.get("a/b") == b"first"
        store.delete("a/b")
        store.put("a/b", b"third", create=True)
        assert store.get("a/b") == b"third"

    def test_of_many_creates_exactly_one_wins(self, store: Store) -> None:
        for name in ("race", "new/folder/race"):
            outcomes = together(16, lambda i, name=name: store.put(name, b"%d" % i, create=True))  # type: ignore[misc]
            winners = [i for i, outcome in enumerate(outcomes) if outcome is None]
            assert len(winners) == 1
            assert all(isinstance(outcome, ObjectExists) for outcome in outcomes if outcome is not None)
            assert store.get(name) == b"%d" % winners[0]

    def test_a_list_is_by_string_prefix_in_the_order_of_bytes(self, store: Store) -> None:
        names = [
            "a",
            "a-b",
            "ab/c",
            "ab/d/e",
            "ab0",
            "abc",
            "b/ab",
            "z",
            "Z",
            "é",
            "\N{CJK UNIFIED IDEOGRAPH-4E00}/x",
        ]
        for name in names:
            store.put(name + "!", b"1")
        ordered = sorted((name + "!" for name in names), key=str.encode)
        for prefix in ("", "a", "ab", "ab/", "ab/d", "abc", "b/a", "nothing", "no/such/folder/", "é"):
            assert [info.name for info in store.list(prefix)] == [n for n in ordered if n.startswith(prefix)]

    def test_a_listed_object_has_its_size_and_time(self, store: Store) -> None:
        store.put("a", b"12345")
        (info,) = store.list("a")
        assert info.size == 5
        assert info.modified is not None
        assert info.modified.tzinfo is not None

    def test_a_delete_can_be_repeated(self, store: Store) -> None:
        store.put("a/b", b"1")
        store.delete("a/b")
        store.delete("a/b")
        store.delete("never/was")
        assert list(store.list()) == []
        with pytest.raises(ObjectNotFound):
            store.get("a/b")

    def test_an_upload_exists_only_after_finish(self, store: Store) -> None:
        upload = store.write("a/b")
        upload.write(b"one")
        upload.write(memoryview(b"two"))
        assert list(store.list()) == []
        with pytest.raises(ObjectNotFound):
            store.get("a/b")
        upload.finish()
        assert store.get("a/b") == b"onetwo"
        upload.abort()
        assert store.get("a/b") == b"onetwo"

    def test_an_upload_may_be_empty_and_replaces(self, store: Store) -> None:
        store.put("a", b"before")
        store.write("a").finish()
        assert store.get("a") == b""

    def test_an_aborted_upload_leaves_nothing(self, store: Store) -> None:
        for size in (0, 10, LARGE):
            upload = store.write("folder/a")
            upload.write(bytes(size))
            upload.abort()
            upload.abort()
            assert list(store.list()) == []
            with pytest.raises(StoreDenied):
                upload.write(b"more")
            with pytest.raises(StoreDenied):
                upload.finish()

    def test_a_large_upload_arrives_whole(self, store: Store) -> None:
        block = bytes(range(256)) * 4096 + b"odd"
        upload = store.write("large")
        written = bytearray()
        while len(written) < LARGE:
            upload.write(block)
            written += block
        upload.finish()
        assert store.get("large") == written
        assert next(store.list()).size == len(written)

    def test_many_open_uploads_do_not_stand_in_each_others_way(self, store: Store) -> None:
        uploads = [store.write(f"u{i}") for i in range(6)]
        for i, upload in enumerate(uploads):
            upload.write(b"%d" % i * (9 * 1024 * 1024))
        store.put("between", b"1")
        for upload in reversed(uploads):
            upload.finish()
        assert [info.name for info in store.list()] == ["between", *(f"u{i}" for i in range(6))]

    def test_a_download_can_seek(self, store: Store) -> None:
        data = bytes(range(256)) * 20_000
        store.put("a", data)
        file = store.read("a")
        assert file.read(10) == data[:10]
        assert file.seek(-8, 2) == len(data) - 8
        assert file.read() == data[-8:]
        assert file.read(1) == b""
        assert file.seek(3_000_000) == 3_000_000
        assert file.read(70_000) == data[3_000_000:3_070_000]
        assert file.seek(-70_000, 1) == 3_000_000
        assert file.tell() == 3_000_000
        assert file.read() == data[3_000_000:]
        file.close()

    @pytest.mark.parametrize(
        "name", ["", "/a", "a/", "a//b", "../a", "a/../b", "./a", "a/..", "a\0b", "\ud800"]
    )
    def test_a_name_that_is_none_is_refused(self, store: Store, name: str) -> None:
        for act in (
            lambda: store.put(name, b"1"),
            lambda: store.put(name, b"1", create=True),
            lambda: store.get(name),
            lambda: store.read(name),
            lambda: store.write(name),
            lambda: store.delete(name),
        ):
            with pytest.raises(StoreDenied):
                act()
        assert list(store.list()) == []

    def test_a_copy_stands_alone(self, store: Store) -> None:
        if not isinstance(store, Copier):
            pytest.skip("this store does not copy")
        store.put("a", b"one")
        store.put("there/already", b"old")
        for target in ("new/folder/b", "there/already"):
            store.copy("a", target)
            store.copy("a", target)
            assert store.get(target) == b"one"
        store.put("a", b"two")
        store.delete("a")
        assert store.get("new/folder/b") == b"one"
        with pytest.raises(ObjectNotFound):
            store.copy("a", "c")
        assert [info.name for info in store.list()] == ["new/folder/b", "there/already"]

    def test_a_probed_write_leaves_nothing_and_replaces_nothing(self, store: Store) -> None:
        if not isinstance(store, Prober):
            pytest.skip("this store cannot be probed without writing")
        store.put("folder/a", b"1")
        for name in ("folder/a", "folder/b", "new/folder/c"):
            store.probe_write(name)
            store.probe_write(name)
        assert [info.name for info in store.list()] == ["folder/a"]
        assert store.get("folder/a") == b"1"

    def test_a_link_is_read_without_credentials(self, store: Store) -> None:
        if not isinstance(store, Linker):
            pytest.skip("this store signs no links")
        for name in ("tenant=UA/2013/a_b-c.zip", "tenant=a%2Fb/c d/ü.zip"):
            store.put(name, b"1")
            try:
                link = store.link(name, 60)
            except StoreDenied:  # rather than a link that does not work
                assert "%" in store.url + name
                continue
            with urllib.request.urlopen(link, timeout=30) as answer:
                assert answer.read() == b"1"

    def test_a_swap_needs_what_it_expects(self, store: Store) -> None:
        if not isinstance(store, Swapper):
            pytest.skip("this store does not swap")
        assert not store.swap("p/latest", b"0", b"1")
        assert store.swap("p/latest", None, b"1")
        assert not store.swap("p/latest", None, b"2")
        assert not store.swap("p/latest", b"0", b"2")
        assert store.swap("p/latest", b"1", b"2")
        assert store.get("p/latest") == b"2"
        assert [info.name for info in store.list()] == ["p/latest"]

    def test_no_swap_is_lost_among_many(self, store: Store) -> None:
        if not isinstance(store, Swapper):
            pytest.skip("this store does not swap")
        swapper: Swapper = store
        store.put("count", b"0")

        def increment(_: int) -> None:
            while True:
                seen = store.get("count")
                if swapper.swap("count", seen, b"%d" % (int(seen) + 1)):
                    return

        assert together(8, increment) == [None] * 8
        assert store.get("count") == b"8"

    def test_the_url_is_for_people(self, store: Store) -> None:
        assert "://" in store.url
        assert "@" not in store.url


def together(count: int, act: Callable[[int], object]) -> list[BaseException | None]:
    """Runs ``act(0) … act(count - 1)`` in threads that start at the same moment; what each raised, or None."""
    barrier = threading.Barrier(count)
    outcomes: list[BaseException | None] = [None] * count

    def run(index: int) -> None:
        barrier.wait()
        try:
            act(index)
        except Exception as error:  # noqa: BLE001 - what it raised is the answer
            outcomes[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes
