"""Names of tables: pure functions of whose rows a table holds, in letters that every catalogue and engine takes."""

from __future__ import annotations

import hashlib
import re

FOLDER = "_iceberg"
"""Where tables lie in a store: no layout has a name that begins so, for `segment` and custom paths never do."""

_LIMIT = 180


def table_name(entity: str, major: int, tenant: str) -> str:
    """``orders_v1__acme``: lower-case letters, digits and ``_``, since some catalogues fold case.

    In a tenant, any other byte of its UTF-8 is ``_`` and two hex digits (``Acme`` is ``_41cme``), so that two tenants
    of one contract never share a table. What is longer is cut and ends in ``_z`` and the SHA-256 of the tenant; an
    empty tenant is ``_z``. Of a contract's name only ``-`` becomes ``_``.
    """
    data = tenant.encode("utf-8", "surrogatepass")
    plain = "".join(chr(b) if chr(b) in "abcdefghijklmnopqrstuvwxyz0123456789" else f"_{b:02x}" for b in data)
    if not plain:
        plain = "_z"
    elif len(plain) > _LIMIT - 66:
        head = re.sub(r"_[0-9a-f]?$", "", plain[: _LIMIT - 66])
        plain = f"{head}_z{hashlib.sha256(data).hexdigest()}"
    return f"{entity.replace('-', '_')}_v{major}__{plain}"


def namespace_of(project: str, environment: str) -> str:
    """The namespace of a project's tables in one environment, where the catalogue names none."""
    return f"{project}_{environment}".replace("-", "_")
