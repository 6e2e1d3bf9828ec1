"""A bundle is streamed: a larger one takes no more memory to make or to prove. Peaks are those of real processes."""

# S3
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

MAKE = """
import re, sys
import pyarrow as pa
from pathlib import Path
from lading.channels.bundle import BundleChannel
from lading.channels.drop import Destination
from lading.export.layout import Layout
from lading.formats.jsonl import JsonlFormat, JsonlOptions
from lading.keys.age import AgeSealer, Recipients
from lading.ports import FileNumber
from lading.proof import verify
from lading.stores.local import LocalStore
from lading.testing.channel import Delivery, never

root, megabytes, recipient = sys.argv[1], int(sys.argv[2]), sys.argv[3]
sealer = AgeSealer(Recipients({"a": recipient})) if recipient else None
channel = BundleChannel(
    [Destination("lake", LocalStore(root, durable=False))], Layout(), JsonlFormat(JsonlOptions()), "portable",
    export="orders_drop", papers=lambda manifest: [("openapi.json", b"{}")], sealer=sealer,
)
schema = pa.schema([pa.field("text", pa.string())])
batch = pa.record_batch([pa.array(["x" * 1000] * 1000)], schema=schema)
run = Delivery(())
files = []
for part in range(2):
    writer = channel.open(run.names, FileNumber(0, part + 1, 1), {}, schema, 1 << 24)
    for _ in range(megabytes // 2):
        writer.append(batch)
    files.append(writer.finish())
rows = sum(file.rows for file in files)
told = {**run.bill("", files), "rows": {"read": rows, "written": rows, "filtered": 0, "rejected": 0, "superseded": 0}}
def bill(uri):
    return {**told, "destination": {"uri": uri}}
channel.publish(channel.prepare(run.names, bill, files), never)
report = verify(LocalStore(root))
assert report.ok, report.problems
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""


def peak(root: Path, megabytes: int, recipient: str) -> int:
    """Bytes that a process holds at most which makes and proves a bundle of so many of them."""
    command = [sys.executable, "-c", MAKE, str(root), str(megabytes), recipient]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    (bundle,) = [path for path in root.rglob("*") if path.suffix in (".zip", ".age")]
    assert bundle.stat().st_size > megabytes * 1_000_000
    bundle.unlink()
    return int(done.stdout) * 1024


@pytest.mark.parametrize("sealed", [False, True])
def test_a_bundle_ten_times_as_large_takes_no_more_memory(tmp_path: Path, sealed: bool) -> None:
    recipient = ""
    if sealed:
        pyrage = pytest.importorskip("pyrage", reason="the extra age is not installed")
        recipient = str(pyrage.x25519.Identity.generate().to_public())
    small, large = peak(tmp_path / "small", 80, recipient), peak(tmp_path / "large", 800, recipient)
    assert large < 1.10 * small
