"""The four governed channels, as the demo delivers them and as their recipients open them."""

# S1 S2 S3 S4 S16
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lading import verify
from lading.demo import examples
from lading.demo.channels import _OPEN, EXPORTS, prepare, tell
from lading.errors import IntegrityError

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]


def test_each_channel_is_opened_as_its_recipient_would(tmp_path: Path) -> None:
    lines: list[str] = []
    results = tell(tmp_path / "channels", examples(), lines.append)
    assert {r.status for r in results} == {"succeeded"}
    by_export = {export: sum(r.rows for r in results if r.export == export) for export in EXPORTS.values()}
    assert len(set(by_export.values())) == 1  # the same flights four ways
    told = "\n".join(lines)
    for words in ("iceberg_scan counts", "own key", "ssh-keygen -Y verify", "verify.py: "):
        assert words in told
    for store in ("lake", "customers", "partners", "auditors"):
        report = verify(str(tmp_path / "channels" / store), key=str(tmp_path / "channels/ops/signers"))
        assert (report.ok, report.signed) == (True, True), report.problems


@pytest.mark.parametrize("channel", ["drop", "bundle", "audit"])
def test_a_recipient_s_tool_notices_a_changed_delivery(tmp_path: Path, channel: str) -> None:
    project = prepare(tmp_path / "channels", examples())
    results = project.run(EXPORTS[channel])
    _OPEN[channel](tmp_path / "channels", project, results)
    tenant = "default" if channel in ("bundle", "audit") else "UA"
    (result,) = (r for r in results if r.tenant == tenant)
    assert result.manifest is not None
    folder = Path(result.manifest.removeprefix("file://")).parent
    (data,) = (path for path in folder.iterdir() if path.name.endswith((".parquet", ".zip", ".jsonl.gz")))
    changed = bytearray(data.read_bytes())
    changed[len(changed) // 2] ^= 1
    data.write_bytes(changed)
    (tmp_path / "channels/UA.keys").unlink(missing_ok=True)
    with pytest.raises(IntegrityError, match="refuses what was delivered"):
        _OPEN[channel](tmp_path / "channels", project, results)
    assert not verify(str(folder)).ok


@pytest.mark.parametrize("channel", EXPORTS)
def test_a_sample_of_each_channel_can_be_had(tmp_path: Path, channel: str) -> None:
    command = [
        sys.executable,
        "tools/export_sample.py",
        "--channel",
        channel,
        "--to",
        str(tmp_path / "sample"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():
        place = Path(line.removeprefix("file://"))
        assert place.exists(), line
    again = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.returncode == 1
    assert "error: " in again.stderr
