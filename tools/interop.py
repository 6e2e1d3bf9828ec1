"""Gets engines that read Iceberg tables, for `make interop`: Spark with Iceberg's runtime, and ClickHouse (chdb).

Spark and ClickHouse come as wheels into an environment of their own, Iceberg's runtime as a Maven artifact, by Maven
itself, and is checked against the sum below.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import venv
from pathlib import Path

FOLDER = Path(__file__).parents[1] / ".interop"
WHEELS = ["pyspark==4.0.5", "chdb==4.4.0"]
ARTIFACT = "org.apache.iceberg:iceberg-spark-runtime-4.0_2.13:1.10.0"
SUM = "0480f1248e0a8b50ae2a730d7ad3e1a727351c362ca63f4a0c35182087a49323"
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy"


def main() -> None:
    venv.create(FOLDER, with_pip=True)
    subprocess.run([FOLDER / "bin/pip", "install", "--quiet", *WHEELS], check=True)
    subprocess.run(
        ["mvn", "-q", "-B", COPY, f"-Dartifact={ARTIFACT}", f"-DoutputDirectory={FOLDER}"],
        check=True,
        cwd=FOLDER,
    )
    (jar,) = FOLDER.glob("iceberg-spark-runtime-*.jar")
    if hashlib.sha256(jar.read_bytes()).hexdigest() != SUM:
        jar.unlink()
        raise SystemExit(f"{jar.name} is not what was expected.")
    print(f"Engines for `make interop` are in {FOLDER}")


if __name__ == "__main__":
    sys.exit(main())
