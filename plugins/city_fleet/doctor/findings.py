"""What the doctor finds: one line per thing it looked at, and what to do where it is not well."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum


class Level(StrEnum):
    """How well it is."""

    OK = "ok"
    WARN = "warn"
    """It works, but hardly as wanted, or it could not be looked at."""
    FAIL = "fail"
    """Runs or requests fail."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    :param area: what it belongs to: ``packages``, ``fleet files``, ``AWS, <fleet>``, ``Airflow``.
    :param what: a sentence: what was found.
    :param advice: a sentence or command: what to do; empty where all is well.
    """

    area: str
    level: Level
    what: str
    advice: str = ""

    def to_dict(self) -> dict[str, str]:
        return asdict(self)


@dataclass(frozen=True)
class Area:
    """Makes the findings of one area."""

    name: str

    def ok(self, what: str) -> Finding:
        return Finding(self.name, Level.OK, what)

    def warn(self, what: str, advice: str) -> Finding:
        """Return that it works, but hardly as wanted."""
        return Finding(self.name, Level.WARN, what, advice)

    def fail(self, what: str, advice: str) -> Finding:
        """Return that runs or requests fail."""
        return Finding(self.name, Level.FAIL, what, advice)
