"""The doctor's findings: one for each thing it checked, with advice where something is wrong."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"
    """It works, but probably not as wanted, or it could not be checked."""
    UNKNOWN = "unknown"
    """It could not be asked: of the account, where a permission or a service is missing."""
    FAIL = "fail"
    """Runs or requests fail."""


@dataclass(frozen=True)
class Finding:
    """One thing that was checked.

    :param area: what it belongs to: ``packages``, ``fleet files``, ``AWS, <fleet>``, ``account, <fleet>``, ``Airflow``.
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
        return Finding(self.name, Level.WARN, what, advice)

    def unknown(self, what: str, advice: str) -> Finding:
        return Finding(self.name, Level.UNKNOWN, what, advice)

    def fail(self, what: str, advice: str) -> Finding:
        return Finding(self.name, Level.FAIL, what, advice)
