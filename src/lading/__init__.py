"""Lading delivers governed data exports: complete or not at all, masked, on time, with a bill of lading.

::

    project = lading.Project.load(".")
    for result in project.run("flights_drop", tenants=["UA"], on_event=print):
        print(result.status, result.rows, result.manifest)
    lading.verify("deliveries/prod")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lading.errors import (
        DataRefused,
        Failed,
        InProgress,
        IntegrityError,
        InvalidProject,
        KeysUnavailable,
        LadingError,
        NotDue,
        Refused,
        Retryable,
        SchemaMismatch,
        Shrunk,
        SourceDenied,
        SourceUnavailable,
        StoreDenied,
        StoreFull,
        StoreUnavailable,
    )
    from lading.project import Project
    from lading.proof import Report
    from lading.recipient import files, verify
    from lading.run import Result

__version__ = "0.1.0"

__all__ = [
    "Project",
    "Result",
    "Report",
    "verify",
    "files",
    "LadingError",
    "InvalidProject",
    "Refused",
    "Retryable",
    "InProgress",
    "NotDue",
    "SourceUnavailable",
    "StoreUnavailable",
    "StoreFull",
    "KeysUnavailable",
    "Failed",
    "DataRefused",
    "SchemaMismatch",
    "Shrunk",
    "StoreDenied",
    "SourceDenied",
    "IntegrityError",
    "__version__",
]

# Imported when they are first asked for, so that `import lading` and `lading --help` cost next to nothing.
_HOMES = {
    "Project": "lading.project",
    "Result": "lading.run",
    "Report": "lading.proof",
    "verify": "lading.recipient",
    "files": "lading.recipient",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(_HOMES.get(name, "lading.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
