"""The lives of contracts' versions, in the journal.

::

    contracts/<name>/<major>/<channel>/
        0001.json                     a step: the state, who decided it, when, why, about which document
        acknowledged/<consumer>.json  who knows of the version's end

A step is created under the number after the last one that was seen, so that of two who decide at once one wins.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote

from lading.contract.lifecycle import Life, Step
from lading.errors import InProgress, IntegrityError
from lading.export.identity import instant
from lading.export.interval import parse_instant
from lading.export.layout import segment
from lading.journal.log import Journal


@dataclass(frozen=True, slots=True)
class Lives:
    """Of one journal."""

    journal: Journal

    def read(self, name: str, major: int, channel: str) -> Life:
        """Raises IntegrityError where steps are missing or damaged."""
        path = _path(name, major, channel)
        numbers: list[str] = []
        consumers: list[str] = []
        for info in self.journal.store.list(path):
            rest = info.name.removeprefix(path).removesuffix(".json")
            if rest.startswith("acknowledged/"):
                consumers.append(str(self.journal.get(info.name)["consumer"]))
            else:
                numbers.append(rest)
        if sorted(numbers) != [f"{number:04d}" for number in range(1, len(numbers) + 1)]:
            raise IntegrityError(
                f"The journal has lost steps of {name}@{major} on the channel {channel}.",
                hint="Restore the journal from its backup.",
            )
        steps = [_step(self.journal.get(f"{path}{number}.json"), name) for number in sorted(numbers)]
        return Life(f"{name}@{major}", channel, tuple(steps), frozenset(consumers))

    def majors(self, name: str, channel: str) -> frozenset[int]:
        """The majors of a dataset of which anything is recorded."""
        prefix = f"contracts/{segment(name)}/"
        found = (info.name.removeprefix(prefix).split("/") for info in self.journal.store.list(prefix))
        return frozenset(int(major) for major, at, *_ in found if unquote(at) == channel)

    def take(self, life: Life, step: Step) -> Life:
        """Records a step after those of ``life``. Raises InProgress where somebody else was first."""
        name, _, major = life.name.partition("@")
        record: dict[str, Any] = {
            **asdict(step),
            "at": instant(step.at),
            "sunset": instant(step.sunset) if step.sunset else None,
        }
        number = len(life.steps) + 1
        if not self.journal.create(f"{_path(name, int(major), life.channel)}{number:04d}.json", record):
            raise InProgress(
                f"Somebody else has decided about {life.name} meanwhile.",
                hint="Look at lading contract list, then call it again.",
            )
        return Life(life.name, life.channel, (*life.steps, step), life.acknowledged)

    def acknowledge(self, life: Life, consumer: str, by: str) -> None:
        """Records that a consumer knows of a version's end. The first record stands."""
        name, _, major = life.name.partition("@")
        self.journal.create(
            f"{_path(name, int(major), life.channel)}acknowledged/{segment(consumer)}.json",
            {"consumer": consumer, "by": by, "at": instant(self.journal.now())},
        )


def _path(name: str, major: int, channel: str) -> str:
    return f"contracts/{segment(name)}/{major}/{segment(channel)}/"


def _step(record: Any, name: str) -> Step:
    try:
        moments: dict[str, datetime | None] = {
            key: parse_instant(record[key]) if record[key] else None for key in ("at", "sunset")
        }
        return Step(**{**record, **moments})
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(f"The journal's record of a step of {name} is damaged.") from error
