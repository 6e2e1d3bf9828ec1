"""What is timed inside a process of its own: `python -m benchmarks.inside fixed|bare|upload …`; tells JSON."""

from __future__ import annotations

import json
import statistics
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

REPETITIONS = 50


def fixed(root: Path) -> dict[str, float]:
    """The run of the project in ``root``, again and again in a new lake: the median, in milliseconds."""
    import lading
    from benchmarks import projects

    taken = []
    for _ in range(REPETITIONS + 5):
        projects.put_aside(root)
        project = lading.Project.load(root)  # connections are opened here
        started = time.perf_counter()
        (result,) = project.run("copy")
        taken.append(time.perf_counter() - started)
        assert (result.status, result.rows) == ("succeeded", 1), result
    return {"milliseconds": 1000 * statistics.median(taken[5:])}


def bare(source: Path, target: Path) -> dict[str, float]:
    """Writes every file under ``source`` to a new folder in ``target``, one after the other, by obstore: in seconds."""
    import obstore
    from obstore.store import LocalStore

    objects = {
        str(path.relative_to(source)): path.read_bytes() for path in source.rglob("*") if path.is_file()
    }
    store = LocalStore(target / uuid.uuid4().hex, mkdir=True)
    started = time.perf_counter()
    for name, data in objects.items():
        obstore.put(store, name, data)
    return {"seconds": time.perf_counter() - started, "objects": len(objects)}


def upload(source: Path, endpoint: str) -> dict[str, float]:
    """Uploads every file under ``source`` by obstore, two at a time."""
    import obstore

    from benchmarks.bucket import Bucket

    store = Bucket("", endpoint).store()

    def put(path: Path) -> None:
        with path.open("rb") as file:
            obstore.put(store, f"bare/{path.relative_to(source)}", file)

    paths = [path for path in source.rglob("*") if path.is_file()]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(put, paths))
    return {"objects": len(paths)}


def main(what: str, *arguments: str) -> None:
    if what == "fixed":
        told = fixed(Path(arguments[0]))
    elif what == "bare":
        told = bare(Path(arguments[0]), Path(arguments[1]))
    else:
        told = upload(Path(arguments[0]), arguments[1])
    print(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
