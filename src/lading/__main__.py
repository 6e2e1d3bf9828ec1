"""The command `lading`, and `python -m lading`: a process of its own, set up as a whole before anything is loaded."""

from __future__ import annotations

import gc
import os
import sys
from importlib.abc import MetaPathFinder
from typing import NoReturn


class _WithoutPandas(MetaPathFinder):
    """Arrow would load pandas, where it is installed, only to ask whether a list is one of its series."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError("No module named 'pandas'", name="pandas")


def run() -> NoReturn:
    # Arrow reads it once, when it is loaded. Batches are made in one thread and freed in another; of its allocators,
    # jemalloc gives what was freed back soonest, so that what a process holds does not grow with what it has read.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system" if sys.platform == "win32" else "jemalloc")
    # So shall that of polars, which would keep it for half a second.
    os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:0,muzzy_decay_ms:0")
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")  # it would look for some in every package there is
    sys.meta_path.insert(0, _WithoutPandas())
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy brings it, nobody computes with it
    # Loading makes some two hundred thousand objects that stay: looking through them again and again finds nothing.
    gc.set_threshold(300_000, 20, 20)

    from lading.cli import main

    code = main()
    gc.freeze()  # the interpreter's last collection would go through everything once more
    sys.exit(code)


if __name__ == "__main__":
    run()
