"""What an export's sections say together: where one contradicts another, or would have no effect beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lading.documents import Loc, parse_size
from lading.export.sections import LateColumn

if TYPE_CHECKING:
    from lading.export.definition import Export

# Beside each file come its checksum, its metadata and its own footer: together some kB. Smaller ones are mostly these.
LEAST_FILE_SIZE = 10_000

RECORDS = "records.jsonl.gz"
"""The one data file of an audit package."""

Finding = tuple[Loc, str]


def findings(export: Export) -> list[Finding]:
    """Each with its place in the file."""
    found = [
        *_unavailable(export),
        *_mode_findings(export),
        *_immutable_findings(export),
        *_encryption_findings(export),
        *_snapshot_findings(export),
        *_audit_findings(export),
        *_bundle_findings(export),
        *_beside_findings(export),
    ]
    if not isinstance(export.format.get("type"), str):
        found.append((("format",), "format.type is missing: it names the format, such as parquet"))
    if (size := _file_size_finding(export.format.get("max_file_size"))) is not None:
        found.append((("format", "max_file_size"), f"format.max_file_size {size}"))
    if export.destination in export.copies:
        found.append((("copies",), "copies must not name the destination again"))
    return found


def _file_size_finding(value: object) -> str | None:
    """What is wrong with a `max_file_size`; None where nothing is."""
    if value is None:
        return None
    try:
        size = parse_size(value)
    except ValueError as error:
        return str(error)
    if size >= LEAST_FILE_SIZE:
        return None
    unit = f"; {value} alone is so many bytes" if isinstance(value, int) and value > 0 else ""
    return (
        "must be at least 10kB, such as 512MB: a smaller file would hold less of the rows than of what comes with "
        f"each file{unit}"
    )


def _unavailable(export: Export) -> list[Finding]:
    """What the definition may say but this version cannot do: refused, rather than accepted and ignored."""
    found: list[Finding] = []
    if export.channel not in ("drop", "bundle", "snapshot", "audit"):
        reason = f"the channel {export.channel} is not available in this version; use drop, bundle, snapshot or audit"
        found.append((("channel",), reason))
    if export.deletes != "none":
        found.append((("deletes",), "deletes other than none are not available in this version"))
    return found


def _snapshot_findings(export: Export) -> list[Finding]:
    """What a table cannot have, and what only a table has."""
    if export.channel != "snapshot":
        reason = "sort_by belongs to the channel snapshot: it is the order that a table declares"
        return [(("sort_by",), reason)] if export.sort_by else []
    found: list[Finding] = []
    if export.format.get("type", "parquet") != "parquet":
        found.append(
            (("format", "type"), "the tables of the channel snapshot hold Parquet files: write parquet")
        )
    if export.encryption is not None:
        reason = (
            "no engine opens tables of encrypted files: encrypt the store (server_side_encryption) instead"
        )
        found.append((("encryption",), reason))
    if export.copies:
        reason = "a table is in one catalogue: make another export for another place"
        found.append((("copies",), reason))
    if any(column.shards for column in export.layout.columns):
        reason = "shards partition no table: name the column alone, or leave it out"
        found.append((("layout", "partition_by"), reason))
    return found


def _encryption_findings(export: Export) -> list[Finding]:
    encryption = export.encryption
    if encryption is None:
        given = "encryption" in export.model_fields_set
        return [(("encryption",), "encryption is empty: write encryption: {key: tenant}")] if given else []
    found: list[Finding] = []
    kind = export.format.get("type", "parquet")
    if kind != "parquet" and encryption.key == "tenant":
        reason = f"{kind} files are encrypted to the recipient's own key alone: write key: recipient"
        found.append((("encryption", "key"), reason))
    if kind != "parquet" and encryption.binding is not None:
        found.append((("encryption", "binding"), f"binding is of parquet files, and these are {kind}"))
    told = [column.column for column in export.layout.columns if column.shards is None]
    if told:
        reason = f"folders of the values of {told[0]} would tell what encryption hides; shards do not"
        found.append((("layout", "partition_by"), reason))
    return found


def _audit_findings(export: Export) -> list[Finding]:
    """An audit package is one file of chained records in a folder of names that its verifier knows."""
    if export.channel != "audit":
        return []
    layout, found = export.layout, list[Finding]()
    if export.mode != "append":
        reason = (
            f"the channel audit takes append: what {export.mode} delivers replaces what was delivered before"
        )
        found.append((("mode",), reason))
    if (export.format.get("type"), export.format.get("compression")) != ("jsonl", "gzip"):
        reason = "the channel audit takes format: {type: jsonl, compression: gzip}"
        found.append((("format",), reason))
    if "max_file_size" in export.format:
        reason = "max_file_size cannot be had in the channel audit: the chain of a package is one file"
        found.append((("format", "max_file_size"), reason))
    if layout.partition_by:
        reason = "partition_by cannot be had in the channel audit: the chain of a package is one file"
        found.append((("layout", "partition_by"), reason))
    if layout.preset not in (None, "lake") or layout.name is not None:
        key = "name" if layout.name is not None else "preset"
        reason = f"the channel audit takes preset: lake, or a path: its files are called {RECORDS} and so on"
        found.append((("layout", key), reason))
    if export.immutable_rows:
        reason = "immutable_rows has no use in the channel audit: its one file spans the parts"
        found.append((("immutable_rows",), reason))
    return found


def _bundle_findings(export: Export) -> list[Finding]:
    """What a bundle has no use for."""
    if export.channel != "bundle":
        return []
    found: list[Finding] = []
    if export.sealed and export.encryption is not None and export.encryption.binding is not None:
        reason = "binding is of files that are encrypted one by one: this bundle is encrypted as a whole"
        found.append((("encryption", "binding"), reason))
    if export.mode == "full_refresh" and export.layout.preset == "svc002":
        reason = (
            "svc002 has one latest.json for all environments of a tenant, and a bundle's cannot tell whose it "
            "is: take lake or dated"
        )
        found.append((("layout", "preset"), reason))
    return found


def _beside_findings(export: Export) -> list[Finding]:
    """Two majors of one dataset, in places that nobody takes for one."""
    beside = export.beside
    if beside is None:
        given = "beside" in export.model_fields_set
        return [(("beside",), "beside is empty: write beside: {contract: NAME@MAJOR}")] if given else []
    found: list[Finding] = []
    if export.channel != "drop":
        found.append((("beside",), "beside is of the channel drop: the others take an export for each major"))
    own, other = export.versions()
    if own.contract_name != other.contract_name:
        reason = f"must be another major of {own.contract_name}: two datasets are two exports"
        found.append((("beside", "contract"), reason))
    elif own.contract_major == other.contract_major:
        found.append((("beside", "contract"), f"is the export's own contract, {own.contract}"))
    if beside.layout is not None and beside.layout.partition_by:
        reason = "is the export's own, for both majors: leave it out here"
        found.append((("beside", "layout", "partition_by"), reason))
    if export.immutable_rows:
        reason = "immutable_rows has no use together with beside: files of two majors span the parts"
        found.append((("immutable_rows",), reason))
    return found


def _mode_findings(export: Export) -> list[Finding]:
    """What belongs to each mode, and what would have no effect in it."""
    mode, window = export.mode, export.window
    found: list[Finding] = []

    def wrong(reason: str, *loc: str) -> None:
        found.append((loc, reason))

    if mode == "full_refresh":
        if window is not None:
            wrong("full_refresh takes no window: it delivers everything", "window")
    elif window is None:
        wrong(
            f"{mode} needs a window" + (" with every: the grid of its intervals" if mode == "append" else ""),
            "mode",
        )
    elif mode == "append":
        if window.every is None:
            wrong("append needs window.every: the grid of its intervals", "window")
        if window.lookback is not None:
            wrong(
                "window.lookback belongs to incremental: append would deliver rows twice",
                "window",
                "lookback",
            )
    else:
        for key in ("every", "end"):
            if getattr(window, key) is not None:
                wrong(
                    f"window.{key} belongs to append: the schedule says where {mode} intervals end",
                    "window",
                    key,
                )
        if isinstance(window.late, LateColumn):
            wrong(f"{mode} makes no additions: take the arrival column as window.column", "window", "late")

    if export.incremental and export.merge_key is None:
        wrong(f"{mode} needs merge_key: the columns by which the recipient merges", "mode")
    if not export.incremental and export.merge_key is not None:
        wrong("merge_key belongs to incremental", "merge_key")
    if mode != "full_refresh" and export.keep is not None:
        wrong("keep belongs to full_refresh: an expired interval would be missing for good", "keep")
    return found


def _immutable_findings(export: Export) -> list[Finding]:
    """Why parts could not be used again in another snapshot, or would never be."""
    if not export.immutable_rows:
        return []
    window = export.window
    reasons = {
        "belongs to append: in the other modes rows that were delivered may change": export.mode != "append",
        "needs the transaction clock: on the event clock rows may still arrive after an interval was read": (
            window is not None and window.clock != "transaction"
        ),
        "belongs to a table, whose key proves the order of its rows: a query has none": (
            export.source.query is not None
        ),
        "belongs to a table: files that did not change are used again as it is": export.source.files
        is not None,
        "cannot be had together with tenants or layout.partition_by: their files span the parts": (
            export.tenants is not None or bool(export.layout.partition_by)
        ),
        "cannot be had together with the check ordered: all rows are one part then": any(
            "ordered" in check for check in export.checks
        ),
    }
    return [(("immutable_rows",), f"immutable_rows {reason}") for reason, holds in reasons.items() if holds]
