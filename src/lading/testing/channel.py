"""What every channel promises. A channel's test file subclasses `ChannelSuite` and provides the fixture ``place``.

::

    class TestMemoryChannel(ChannelSuite):
        @pytest.fixture
        def place(self) -> MemoryPlace:
            return MemoryPlace()
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

import pyarrow as pa
import pytest

from lading.export.identity import instant
from lading.export.layout import Names
from lading.ports import Channel, FileNumber, Reuser, Written

SCHEMA = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("text", pa.string())])
JANUARY = datetime(2024, 1, 1, tzinfo=UTC)
MEMORY = 1 << 22


class Place(Protocol):
    """Where a channel delivers to, and how a reader and the owner of the place look at it."""

    def channel(self) -> Channel:
        """A new object with the same settings, as another process would make it. It keeps a pointer, if it can."""
        ...

    def rows(self) -> Mapping[str, Sequence[int]]:
        """Run id -> the ids of its rows, for each run that a reader takes for complete."""
        ...

    def pointed(self) -> str | None:
        """The run that the pointer names; None where there is none."""
        ...

    def standing(self) -> set[str]:
        """The names of all that is kept there, visible or not."""
        ...

    def failures(self) -> list[Mapping[str, Any]]:
        """The bodies of the failure markers."""
        ...

    def deny_deletes(self) -> None:
        """Nothing can be deleted any more."""
        ...


@dataclass(frozen=True)
class Delivery:
    """A run to deliver: ``ids`` of its rows."""

    ids: tuple[int, ...] = (1, 2, 3)
    run: str = "0123456789abcdef"
    tenant: str = "a"
    start: datetime = JANUARY
    revision: int = 0
    attempt: int = 1

    @property
    def names(self) -> Names:
        return Names("test", "shop", "orders", self.tenant, 1, self.start, self.run, self.attempt)

    def write(self, channel: Channel, per_file: int = 2) -> list[Written]:
        """All rows, so many to a file."""
        cuts = range(0, max(len(self.ids), 1), per_file)
        written = []
        for sequence, begin in enumerate(cuts, start=1):
            writer = channel.open(self.names, FileNumber(0, sequence, 1), {}, SCHEMA, MEMORY)
            writer.append(batch(self.ids[begin : begin + per_file]))
            written.append(writer.finish())
        return written

    def commit(self, channel: Channel, files: Sequence[Written]) -> dict[str, object]:
        return channel.prepare(self.names, lambda uri: self.bill(uri, files), files)

    def bill(self, uri: str, files: Sequence[Written]) -> dict[str, Any]:
        count = len(self.ids)
        return {
            "project": "shop",
            "environment": "test",
            "export": "orders_drop",
            "tenant": self.tenant,
            "run_id": self.run,
            "revision": self.revision,
            "kind": "full",
            "supersedes": [],
            "export_timestamp": instant(JANUARY),
            "interval": {"start": instant(self.start), "end": instant(self.start.replace(year=2030))},
            "destination": {"uri": uri},
            "contract": {"id": "orders", "name": "orders", "version": "1.0.0", "sha256": "0" * 64},
            "encryption": {"type": "none"},
            "schema": [{"name": f.name, "type": str(f.type), "nullable": f.nullable} for f in SCHEMA],
            "rows": {"read": count, "written": count, "filtered": 0, "rejected": 0, "superseded": 0},
            "files": [file.record() for file in files],
        }

    def deliver(self, channel: Channel) -> str:
        return channel.publish(self.commit(channel, self.write(channel)), never)


def batch(ids: Sequence[int]) -> Any:
    texts = [None if n % 3 == 0 else f'row {n}, "quoted"' for n in ids]
    return pa.record_batch([pa.array(ids, pa.int64()), pa.array(texts, pa.string())], schema=SCHEMA)


def never() -> bool:
    """Nobody withdraws the run."""
    return False


def at_call(number: int) -> Callable[[], bool]:
    """Withdrawn from the ``number``-th time on that it is asked."""
    calls: Iterator[int] = iter(range(1, 1_000_000))
    return lambda: next(calls) >= number


class ChannelSuite:
    """The conformance suite. ``place`` must be empty at the start of each test."""

    def test_nothing_is_visible_before_it_is_published(self, place: Place) -> None:
        channel, run = place.channel(), Delivery()
        files = run.write(channel)
        assert place.rows() == {}
        commit = run.commit(channel, files)
        assert place.rows() == {}
        assert place.pointed() is None
        channel.publish(commit, never)
        assert set(place.rows()) == {run.run}

    @pytest.mark.parametrize("count", [0, 1, 7])
    def test_rows_come_back_exactly_once_and_in_order(self, place: Place, count: int) -> None:
        run = Delivery(tuple(range(count)))
        run.deliver(place.channel())
        assert {name: list(ids) for name, ids in place.rows().items()} == {run.run: list(run.ids)}

    def test_a_file_says_what_was_written(self, place: Place) -> None:
        channel, run = place.channel(), Delivery((3, 4, 5))
        writer = channel.open(run.names, FileNumber(0, 1, 1), {}, SCHEMA, MEMORY)
        before = writer.size
        writer.append(batch((3, 4)))
        writer.append(batch((5,)))
        written = writer.finish()
        assert writer.size >= before
        assert written.rows == 3
        assert len(written.sha256) == 64
        assert written.columns["text"].nulls == 1
        assert dict(written.partition) == {}

    def test_publishing_twice_changes_nothing(self, place: Place) -> None:
        channel, run = place.channel(), Delivery()
        commit = run.commit(channel, run.write(channel))
        first = channel.publish(commit, never)
        standing = place.standing()
        assert channel.publish(commit, never) == first
        assert place.channel().publish(commit, never) == first
        assert place.standing() == standing
        assert {name: list(ids) for name, ids in place.rows().items()} == {run.run: [1, 2, 3]}

    def test_another_process_publishes_from_the_commit_alone(self, place: Place) -> None:
        run, channel = Delivery(), place.channel()
        commit = json.loads(json.dumps(run.commit(channel, run.write(channel))))
        del channel
        url = place.channel().publish(commit, never)
        assert url == commit["manifest"]
        assert "://" in url
        assert {name: list(ids) for name, ids in place.rows().items()} == {run.run: [1, 2, 3]}

    def test_attempts_and_runs_share_no_folder(self, place: Place) -> None:
        channel, run = place.channel(), Delivery()
        others = [
            replace(run, attempt=2),
            replace(run, run="f" * 16),
            replace(run, tenant="b", run="b" * 16),
            replace(run, tenant="a/b", run="c" * 16),
        ]
        folders = [channel.folders(each.names) for each in (run, *others)]
        for index, mine in enumerate(folders):
            for other in folders[index + 1 :]:
                for destination in mine.keys() & other.keys():
                    first, second = mine[destination], other[destination]
                    assert not first.startswith(second)
                    assert not second.startswith(first)
                    assert first.endswith("/")
        assert channel.folders(run.names) == place.channel().folders(run.names)

    def test_a_folder_that_holds_anything_is_told_to_any_attempt_of_its_run(self, place: Place) -> None:
        channel, run = place.channel(), Delivery(attempt=12)
        folders = channel.folders(run.names)
        assert channel.standing(run.names) is None
        run.write(channel)
        for attempt in (12, 1, 2, 121):
            told = place.channel().standing(replace(run, attempt=attempt).names)
            assert told is not None
            assert "://" in told
            assert any(folder.rstrip("/") in told for folder in folders.values())
        assert channel.standing(replace(run, tenant="b", run="b" * 16).names) is None
        channel.discard(folders)
        assert channel.standing(run.names) is None

    def test_a_discard_takes_one_attempt_and_nothing_else(self, place: Place) -> None:
        channel, run = place.channel(), Delivery()
        second, other = replace(run, attempt=2), replace(run, tenant="b", run="b" * 16)
        run.write(channel)
        other.deliver(channel)
        without = place.standing() - self._of(place, channel, run)
        second_commit = second.commit(channel, second.write(channel))
        kept = place.standing()
        emptied = place.channel().discard(channel.folders(run.names))
        assert emptied.left == ()
        assert emptied.removed > 0
        assert without <= place.standing() < kept
        channel.publish(second_commit, never)
        assert {name: list(ids) for name, ids in place.rows().items()} == {
            run.run: [1, 2, 3],
            other.run: [1, 2, 3],
        }

    def _of(self, place: Place, channel: Channel, run: Delivery) -> set[str]:
        folders = tuple(channel.folders(run.names).values())
        return {name for name in place.standing() if any(folder in f"{name}/" for folder in folders)}

    def test_a_discard_can_be_repeated_and_asked_of_what_never_was(self, place: Place) -> None:
        channel, run = place.channel(), Delivery()
        assert channel.discard(channel.folders(run.names)).removed == 0
        run.deliver(channel)
        assert channel.discard(channel.folders(run.names)).removed > 0
        again = channel.discard(channel.folders(run.names))
        assert (again.removed, again.left) == (0, ())
        assert place.rows() == {}

    @pytest.mark.parametrize("asked", [1, 2])
    def test_a_withdrawn_run_leaves_nothing_and_moves_no_pointer(self, place: Place, asked: int) -> None:
        channel, before = place.channel(), Delivery()
        before.deliver(channel)
        standing, pointed = place.standing(), place.pointed()
        later = replace(before, run="e" * 16, start=JANUARY.replace(month=2))
        channel.publish(later.commit(channel, later.write(channel)), at_call(asked))
        assert place.standing() == standing
        assert place.pointed() == pointed
        assert set(place.rows()) == {before.run}

    def test_an_abort_leaves_nothing(self, place: Place) -> None:
        channel, run = place.channel(), Delivery()
        before = place.standing()
        empty = channel.open(run.names, FileNumber(0, 1, 1), {}, SCHEMA, MEMORY)
        writer = channel.open(run.names, FileNumber(0, 2, 1), {}, SCHEMA, MEMORY)
        writer.append(batch(range(5_000)))
        for each in (empty, writer):
            each.abort()
        assert place.standing() == before
        assert place.rows() == {}

    def test_a_failure_leaves_its_marker_and_no_success(self, place: Place) -> None:
        channel, run = place.channel(), Delivery()
        run.write(channel)
        channel.discard(channel.folders(run.names))
        body = {"status": "FAILURE", "error": "DataRefused", "retry_count": 0}
        channel.fail(run.names, body)
        channel.fail(run.names, body)
        assert [dict(found) for found in place.failures()] == [body]
        assert place.rows() == {}
        assert place.pointed() is None
        channel.discard(channel.folders(run.names))
        assert place.failures() == []

    def test_a_pointer_never_moves_backwards(self, place: Place) -> None:
        channel, first = place.channel(), Delivery()
        first.deliver(channel)
        if place.pointed() is None:
            pytest.skip("this channel keeps no pointer")
        assert place.pointed() == first.run
        newer = replace(first, run="e" * 16, start=JANUARY.replace(month=3))
        between = replace(first, run="d" * 16, start=JANUARY.replace(month=2))
        revised = replace(newer, run="f" * 16, revision=1)
        for run, expected in (
            (newer, newer),
            (between, newer),
            (first, newer),
            (revised, revised),
            (newer, revised),
        ):
            run.deliver(place.channel())
            assert place.pointed() == expected.run

    def test_files_of_an_attempt_are_copied_for_the_next(self, place: Place) -> None:
        channel, run = place.channel(), Delivery()
        if not isinstance(channel, Reuser):
            pytest.skip("this channel copies no files")
        files, again = run.write(channel), replace(run, attempt=2)
        sizes = {file.name: file.bytes for file in files}
        if channel.reuse(run.names, again.names, sizes):
            channel.discard(channel.folders(run.names))
            channel.publish(again.commit(channel, files), never)
            assert {name: list(ids) for name, ids in place.rows().items()} == {run.run: [1, 2, 3]}
        missing = replace(run, attempt=3)
        assert channel.reuse(missing.names, again.names, {"nothing": 0}) is False

    def test_a_file_of_another_size_than_it_was_written_with_is_not_copied_for_the_next(
        self, place: Place
    ) -> None:
        channel, run = place.channel(), Delivery()
        if not isinstance(channel, Reuser):
            pytest.skip("this channel copies no files")
        sizes = {file.name: file.bytes + 1 for file in run.write(channel)}
        assert channel.reuse(run.names, replace(run, attempt=2).names, sizes) is False

    def test_a_denied_delete_is_told_and_hides_nothing_else(self, place: Place) -> None:
        channel, run = place.channel(), Delivery()
        run.write(channel)
        place.deny_deletes()
        emptied = channel.discard(channel.folders(run.names))
        assert emptied.removed == 0
        assert {left.destination: left.folder for left in emptied.left} == dict(channel.folders(run.names))
        assert all(left.reason for left in emptied.left)
