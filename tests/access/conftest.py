from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
from destinations import Make, bucket_project


@pytest.fixture
def make(tmp_path: Path) -> Make:
    return partial(bucket_project, tmp_path / "shop")
