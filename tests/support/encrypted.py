"""A project whose deliveries are encrypted, and what a recipient does with them without Lading."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pyarrow.parquet.encryption as pe
from delivered import make_project

JANUARY, FEBRUARY, MARCH = (datetime(2024, month, 1, tzinfo=UTC) for month in (1, 2, 3))


def encrypted(root: Path, binding: str | None = None, **sections: Any) -> Path:
    make_project(root)
    settings = root / "lading.yaml"
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "keys": {"url": "file://./keys"}}))
    export = root / "exports/to_lake.yaml"
    encryption = {"key": "tenant"} | ({"binding": binding} if binding else {})
    shape = {**json.loads(export.read_text()), "layout": {"preset": "lake"}, "encryption": encryption}
    export.write_text(json.dumps(shape | sections))
    return root


def manifests(root: Path, tenant: str = "*") -> list[Path]:
    return sorted((root / "lake").glob(f"**/tenant={tenant}/**/_manifest.json"))


def read(path: Path, key: bytes, prefix: bytes | None) -> Any:
    return pq.read_table(
        path, decryption_properties=pe.create_decryption_properties(footer_key=key, aad_prefix=prefix)
    )
