"""Contracts: what a dataset promises, and what follows from it for its source and its data.

A document of the Open Data Contract Standard, v3.1 or v3.2, with one schema. It is checked against the standard as a
whole; what follows from it:

``name`` and ``version``
    Exports call it ``name@1``, by its major version, and deliver under the newest version that is no draft. Several
    versions may stand beside each other, each in a file of its own; none may break an earlier one of its major
    (`docs/contract-versions.md`).
``properties``: ``name`` and ``physicalName``
    What recipients get the column as, and what the source calls it.
``logicalType`` and ``physicalType``
    The source's type must carry it without loss, or the run is refused. What is promised as a string is read as the
    source's own text.
``required``, ``primaryKey``, ``unique``
    The checks ``not_null`` and ``unique``; columns of delivered files allow no NULL where the contract does not.
``logicalTypeOptions``
    ``minimum`` and ``maximum``, for integers also ``exclusiveMinimum`` and ``exclusiveMaximum``: the check ``range``.
    ``pattern``, ``minLength`` and ``maxLength``: the check ``regex``.
``enum``
    The check ``in``.
``quality`` of type ``library``
    ``nullValues``, ``missingValues``, ``duplicateValues`` and ``invalidValues`` of which there may be none, and
    ``rowCount`` of full refreshes. With ``severity: warning`` they only warn.
``classification``
    Whose statistics may be told, and under which protection a column may leave; without one it counts as restricted.
``tags``
    ``personal`` or ``pii``: the column is about a person, whatever its classification.
``slaProperties``: ``freshness``
    What ``lading status`` holds the last delivery against.
``slaProperties``: ``freshness``, ``latency`` and ``frequency``
    ``lading validate`` refuses a schedule that cannot hold them, however fast the runs are. It does not hold an export
    against them whose ``window`` has an ``end``: that delivers history. ``lading run`` delivers all the same: what is
    late helps more than nothing.

Options of types and quality rules that no check judges are listed in the manifest, as promised and not checked. Other
``slaProperties`` are neither judged nor listed.
"""

from lading.contract.checks import contract_checks, unmapped_quality
from lading.contract.model import Contract, ContractField, LogicalType, QualityRule, Sla, SlaProperty
from lading.contract.odcs import load_contract, read_contract

__all__ = [
    "Contract", "ContractField", "LogicalType", "QualityRule", "Sla", "SlaProperty",
    "load_contract", "read_contract", "contract_checks", "unmapped_quality",
]  # fmt: skip
