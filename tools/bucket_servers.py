"""Installs servers of object stores for tests: `tools/bucket_servers.py versitygw azurite`; minio takes minutes longer.

They come by Go and npm, in fixed versions. What cannot be had here or takes too long is said and left out. Where they
go is said in tests/support/servers.py.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

GO = {
    "versitygw": "github.com/versity/versitygw/cmd/versitygw@v1.8.0",
    "minio": "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c",
}
NPM = {"azurite": "azurite@3.35.0"}  # later ones want Node 22
SECONDS = 240

sys.path.append(str(Path(__file__).parent.parent / "tests" / "support"))


def main(names: list[str]) -> None:
    from servers import FOLDER

    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: install(name, FOLDER), names))


def install(name: str, folder: Path) -> None:
    made, command, environ = _how(name, folder)
    if made.exists():
        return
    if shutil.which(command[0]) is None:
        print(f"{name}: there is no {command[0]} here")
        return
    folder.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(command, env={**os.environ, **environ}, check=True, timeout=SECONDS, stdout=sys.stderr)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        print(f"{name}: {error}")
        return
    print(made)


def _how(name: str, folder: Path) -> tuple[Path, list[str], dict[str, str]]:
    """Its program, and the command and environment that make it."""
    if name in NPM:
        options = ["--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
        command = ["npm", "install", "--prefix", str(folder / name), *options, NPM[name]]
        return folder / name / "node_modules/.bin" / f"{name}-blob", command, {}
    return folder / "bin" / name, ["go", "install", GO[name]], {"GOBIN": str(folder / "bin")}


if __name__ == "__main__":
    main(sys.argv[1:])
