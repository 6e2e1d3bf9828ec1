"""The whole story: roll forward, plan, claim, read, seal, publish. Protocols only; adapters are handed in."""

from lading.run.follow import follow
from lading.run.job import Binding, Job, Result
from lading.run.preview import preview
from lading.run.story import run

__all__ = ["Binding", "Job", "Result", "follow", "preview", "run"]
