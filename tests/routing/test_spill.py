"""Rows that wait on disk come back as they went, and leave nothing behind."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pyarrow as pa
import pytest

from lading.errors import StoreFull
from lading.routing.spill import Spill, scratch


def rows(*numbers: int) -> pa.RecordBatch:
    return pa.record_batch({"n": list(numbers)})


def test_rows_come_back_in_the_order_they_went_key_by_key(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "lane")
    for n in range(5):
        spill.add("a", rows(n, n + 10))
        spill.add("b", rows(-n))
    assert "a" in spill
    assert [n for batch in spill.take("a") for n in batch["n"].to_pylist()] == [
        0,
        10,
        1,
        11,
        2,
        12,
        3,
        13,
        4,
        14,
    ]
    assert "a" not in spill
    assert "b" in spill
    assert list(spill.take("a")) == []
    assert len(list((tmp_path / "lane").iterdir())) == 1


def test_spilled_rows_are_for_their_owner_alone(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "lane")
    spill.add("a", rows(1))
    (path,) = (tmp_path / "lane").iterdir()
    assert path.stat().st_mode & 0o077 == 0


def test_a_full_disk_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spill = Spill(tmp_path / "lane")

    def full(*_: object, **__: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(StoreFull, match="No space left") as raised:
        spill.add("a", rows(1))
    assert "TMPDIR" in (raised.value.hint or "")


def test_the_scratch_folder_is_removed_whatever_happens() -> None:
    with pytest.raises(KeyError), scratch() as folder:
        (folder / "lane0").mkdir()
        (folder / "lane0/x").write_bytes(b"1")
        assert folder.stat().st_mode & 0o077 == 0
        raise KeyError
    assert not folder.exists()
