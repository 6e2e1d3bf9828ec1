"""The whole story: roll forward, plan, claim, read, seal, publish. Protocols only; adapters are handed in."""

from lading.run.job import Binding, Job, Result
from lading.run.story import preview, run

__all__ = ["Binding", "Job", "Result", "preview", "run"]
