"""Proving deliveries from their bytes alone: no journal, no source, no project.

What is caught: any changed, missing, extra, renamed or truncated object inside a delivery's folder, an edited manifest
or marker, a delivery without its marker, a delivery that stands there twice, and a pointer that does not lead to the
newest complete delivery beside it. An edit that rewrites files, sums, manifest and marker consistently is caught where
the manifests are signed and the keys that may sign are given. What is not caught: a delivery that is gone as a whole.
"""

from lading.proof.checks import Deep, Problem, Report, verify
from lading.proof.found import Delivery
from lading.proof.readers import current

__all__ = ["Deep", "Delivery", "Problem", "Report", "current", "verify"]
