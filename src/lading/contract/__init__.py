"""Contracts: what a dataset promises, and what follows from it for its source and its data."""

from lading.contract.checks import contract_checks, unmapped_quality
from lading.contract.model import Contract, ContractField, LogicalType, QualityRule, Sla, SlaProperty
from lading.contract.odcs import load_contract, read_contract

__all__ = [
    "Contract", "ContractField", "LogicalType", "QualityRule", "Sla", "SlaProperty",
    "load_contract", "read_contract", "contract_checks", "unmapped_quality",
]  # fmt: skip
