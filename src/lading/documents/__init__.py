"""YAML files with their line numbers: loading, variables, and validation errors that say where.

YAML 1.2 (``NO`` is a string), one document a file, plain data only. Tags of any other kind, merge keys, duplicate keys
and aliases that expand without measure are refused.
"""

from lading.documents.quantities import Duration, Size, parse_duration, parse_size, show_duration
from lading.documents.reading import Document, Loc, load, parse
from lading.documents.validation import (
    NAME,
    Findings,
    Name,
    check_name,
    expand,
    explained,
    known_keys,
    nearest,
    unknown,
    unknown_key,
    validate,
    worded,
)

__all__ = [
    "Document", "Loc", "load", "parse", "expand", "validate", "known_keys", "unknown_key", "explained", "nearest",
    "unknown", "Findings", "NAME", "Name", "check_name", "Size", "Duration", "parse_size", "parse_duration",
    "show_duration", "worded",
]  # fmt: skip
