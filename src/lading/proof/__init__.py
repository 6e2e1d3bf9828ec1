"""Proving deliveries from their bytes alone: no journal, no source, no project.

What is caught: any changed, missing, extra, renamed or truncated object inside a delivery's folder, an edited manifest
or marker, a delivery without its marker, a delivery that stands there twice, and a pointer that does not lead to the
newest complete delivery beside it. What is not: an edit that rewrites files, sums, manifest and marker consistently,
and a delivery that is gone as a whole. Only a signature shows the first, hence ``signed`` is False.
"""

from lading.proof.checks import Deep, Problem, Report, verify
from lading.proof.found import Delivery
from lading.proof.readers import current

__all__ = ["Deep", "Delivery", "Problem", "Report", "current", "verify"]
