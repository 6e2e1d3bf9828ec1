"""The four governed channels, delivered from the flights of a month and opened as their recipients would."""

from __future__ import annotations

import base64
import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lading.errors import IntegrityError
from lading.project import Project
from lading.run import Result

EXPORTS: Mapping[str, str] = {
    "snapshot": "flights_table",
    "drop": "flights_customer",
    "bundle": "flights_partner",
    "audit": "flights_audit",
}
AIRLINE = "UA"

Say = Callable[[str], object]


def prepare(folder: Path, examples: Path) -> Project:
    """Makes the example project in a new ``folder``, with the flights of January and a signing key."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    shutil.copytree(examples / "four-channels", folder)
    shutil.copytree(examples / "nyc-flights/contracts", folder / "contracts")
    for other in ("planes", "weather"):
        for path in (folder / "contracts").glob(f"{other}.*"):
            path.unlink()
    (folder / "incoming").mkdir()
    flights = pq.read_table(examples / "nyc-flights/data/flights.parquet")
    january = pc.less(flights["scheduled_hour"].cast("int64"), 1_359_676_800_000_000)
    pq.write_table(flights.filter(january), folder / "incoming/flights.parquet")
    Project.load(folder).new_signing_key()
    return Project.load(folder)


def tell(folder: Path, examples: Path, say: Say) -> list[Result]:
    """Delivers over every channel, and opens a delivery of each by public tools. Raises IntegrityError where one of
    them finds other than what was delivered."""
    project = prepare(folder, examples)
    say(f"\nThe four governed channels, in {folder}/: one month of the same flights, four ways")
    found: list[Result] = []
    for channel, export in EXPORTS.items():
        began = time.monotonic()
        results = project.run(export)
        if failed := [r for r in results if r.status != "succeeded"]:
            raise IntegrityError(f"{export}: {failed[0].error}")
        rows, count = sum(r.rows for r in results), len(results)
        say(
            f"  {channel:<9} lading run {export:<17} {count:>2} deliver{'y' if count == 1 else 'ies'}, {rows:,} rows "
            f"{time.monotonic() - began:5.1f} s"
        )
        say(f"            {_OPEN[channel](folder, project, results)}")
        found += results
    return found


def _delivered(results: Sequence[Result], tenant: str) -> tuple[Path, int]:
    """The folder of a tenant's delivery, and how many rows it has."""
    (result,) = (r for r in results if r.tenant == tenant)
    assert result.manifest is not None
    return Path(result.manifest.removeprefix("file://")).parent, result.rows


def _expect(what: str, found: int, rows: int) -> None:
    if found != rows:
        raise IntegrityError(f"{what} finds {found:,} rows, and {rows:,} were delivered.")


def _run(command: Sequence[str | Path], folder: Path, **options: Any) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False, **options)
    if done.returncode:
        told = (done.stdout + done.stderr).decode(errors="replace").strip()
        raise IntegrityError(f"{command[0]} refuses what was delivered: {told}")
    return str(done.stdout.decode(errors="replace"))


def _open_table(folder: Path, project: Project, results: Sequence[Result]) -> str:
    import duckdb

    try:
        wheels = [__import__(f"duckdb_extension_{name}") for name in ("avro", "iceberg")]
    except ModuleNotFoundError:
        return "not opened: DuckDB's extension for Iceberg is not installed here"
    _, rows = _delivered(results, AIRLINE)
    with sqlite3.connect(folder / "catalogue.db") as catalogue:
        query = "select metadata_location from iceberg_tables where table_name = ?"
        ((location,),) = catalogue.execute(query, (f"flights_v1__{_spelt(AIRLINE)}",)).fetchall()
    catalogue.close()
    config: dict[str, str | bool | int | float | list[str]] = {"allow_unsigned_extensions": True}
    with duckdb.connect(config=config) as connection:
        for wheel, name in zip(wheels, ("avro", "iceberg"), strict=True):
            place = Path(wheel.__path__[0]) / "extensions" / f"v{duckdb.__version__}"
            connection.execute(f"load '{place / name}.duckdb_extension'")
        ((found,),) = connection.execute("select count(*) from iceberg_scan(?)", [location]).fetchall()
    _expect("DuckDB", found, rows)
    return f"DuckDB's iceberg_scan counts {found:,} flights of {AIRLINE}"


def _spelt(tenant: str) -> str:
    from lading.export.tables import table_name

    return table_name("x", 1, tenant).partition("__")[2]


def _open_drop(folder: Path, project: Project, results: Sequence[Result]) -> str:
    import pyarrow.parquet as pq
    import pyarrow.parquet.encryption as pe
    from cryptography.hazmat.primitives.keywrap import aes_key_unwrap

    place, rows = _delivered(results, AIRLINE)
    keys = folder / f"{AIRLINE}.keys"
    project.copy_keys(AIRLINE, keys)
    sums = sorted(path.name for path in place.glob("*.parquet.sha256"))
    if shutil.which("sha256sum"):
        _run(["sha256sum", "--check", "--strict", *sums], place)
    known = {each["key_id"]: base64.b64decode(each["key"]) for each in json.loads(keys.read_text())["keys"]}
    (manifest,) = (json.loads(path.read_text()) for path in place.glob("manifest_*.json"))
    found = 0
    for file in manifest["files"]:
        told = file["encryption"]
        key = aes_key_unwrap(known[told["key_id"]], base64.b64decode(told["wrapped_key"]))
        opening = pe.create_decryption_properties(footer_key=key, aad_prefix=told["aad_prefix"].encode())
        found += pq.read_table(place / file["name"], decryption_properties=opening).num_rows
    _expect("pyarrow", found, rows)
    return f"sha256sum --check holds; pyarrow reads {found:,} flights with {AIRLINE}'s own key"


def _open_bundle(folder: Path, project: Project, results: Sequence[Result]) -> str:
    import zipfile

    import pyarrow.parquet as pq

    place, rows = _delivered(results, "default")
    (bundle,) = place.glob("*.zip")
    with tempfile.TemporaryDirectory() as scratch:
        inside = Path(scratch)
        if shutil.which("unzip"):
            _run(["unzip", "-q", bundle, "-d", inside], place)
        else:
            with zipfile.ZipFile(bundle) as archive:
                archive.extractall(inside)
        done = ["unzip"]
        if shutil.which("sha256sum"):
            _run(["sha256sum", "--check", "--strict", "SHA256SUMS"], inside)
            done.append("sha256sum --check")
        if shutil.which("ssh-keygen"):
            signers = folder / "ops/signers"
            name = ["-I", "four-channels", "-n", "lading-manifest", "-s", "manifest.json.sig"]
            data = (inside / "manifest.json").read_bytes()
            _run(["ssh-keygen", "-Y", "verify", "-f", signers.resolve(), *name], inside, input=data)
            done.append("ssh-keygen -Y verify")
        found = sum(pq.ParquetFile(path).metadata.num_rows for path in (inside / "data").rglob("*.parquet"))
    _expect("The bundle", found, rows)
    return f"{', '.join(done)} hold: {found:,} flights in {bundle.name}"


def _open_audit(folder: Path, project: Project, results: Sequence[Result]) -> str:
    place, rows = _delivered(results, "default")
    told = _run([sys.executable, "-I", "-S", "verify.py", "--key", (folder / "ops/signers").resolve()], place)
    checkpoint = json.loads((place / "_checkpoint.json").read_text())
    _expect("verify.py", checkpoint["records"]["count"], rows)
    verdict = told.strip().splitlines()[-1]
    return f"python -I verify.py: {verdict[verdict.index('all holds') :]}"


_OPEN: Mapping[str, Callable[[Path, Project, Sequence[Result]], str]] = {
    "snapshot": _open_table,
    "drop": _open_drop,
    "bundle": _open_bundle,
    "audit": _open_audit,
}
