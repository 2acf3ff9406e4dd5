"""The results of a pass of retiring, for each city and in total, as data and as sentences. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from city_fleet.retiring.retire import Deletion, Plan
from city_fleet.retiring.retire_facts import Rule

_UNITS = ("B", "kB", "MB", "GB", "TB")


@dataclass(frozen=True)
class CityReport:
    """What a pass did with a city, or would do.

    :param plan: what stays and why, and the marks; None when the city could not be read.
    :param deletion: what was deleted.
    :param marked: how many models and run folders were marked by this pass.
    :param problem: a sentence about what went wrong; empty when nothing did.
    :param passes: what went wrong passes by itself: AWS was not there, or others wrote at the same time.
    """

    city: str
    plan: Plan | None = None
    deletion: Deletion = field(default_factory=Deletion)
    marked: int = 0
    problem: str = ""
    passes: bool = False

    @property
    def waiting(self) -> int:
        """Return how many models and run folders are marked and have to wait."""
        return len(self.plan.waiting()) if self.plan else 0

    def totals(self) -> Totals:
        gone = Deletion() if self.problem else self.deletion
        return Totals(
            cities=int(not self.city.startswith("_")),  # the job of a cohort is no city's
            problems=int(bool(self.problem)),
            models=gone.models,
            runs=gone.runs,
            versions=len(gone.package_arns),
            objects=len(gone.model_keys) + len(gone.run_keys) + len(gone.known_keys),
            size_bytes=gone.size_bytes,
            marked=self.marked,
            waiting=self.waiting,
        )

    def fate(self, rule: Rule) -> dict[str, str]:
        """Return what becomes of each model and run folder, in words, by its key below the fleet."""
        if self.plan is None:
            return {}
        words = {unit: f"stays: {reason}" for unit, reason in self.plan.kept.items()}
        words |= dict.fromkeys(self.plan.going, "goes")
        for unit, mark in self.plan.waiting().items():
            words[unit] = f"not needed since {_day(mark.since)}; goes from {_day(mark.since + rule.grace)} on"
        return dict(sorted(words.items()))

    def to_dict(self, rule: Rule) -> dict[str, Any]:
        counts = {name: count for name, count in asdict(self.totals()).items() if name != "cities"}
        return {"city": self.city, **counts, "problem": self.problem or None, "units": self.fate(rule)}


@dataclass(frozen=True)
class Totals:
    """What a pass did with many cities.

    :param versions: deleted from the registry.
    :param objects: deleted from S3.
    :param marked: models and run folders marked by this pass; ``waiting``: all that wait for the end of their grace
        period.
    """

    cities: int = 0
    problems: int = 0
    models: int = 0
    runs: int = 0
    versions: int = 0
    objects: int = 0
    size_bytes: int = 0
    marked: int = 0
    waiting: int = 0

    def __add__(self, other: Totals) -> Totals:
        mine, theirs = asdict(self), asdict(other)
        return Totals(**{name: mine[name] + theirs[name] for name in mine})

    def sentence(self, *, dry_run: bool = False) -> str:
        """Return the counts as a sentence without its full stop."""
        deleted, marked = ("would delete", "would mark") if dry_run else ("deleted", "marked")
        if self.objects or self.versions:
            gone = (
                f"{deleted} {count(self.models, 'model')}, {count(self.runs, 'run')} and "
                f"{count(self.versions, 'version')}: {count(self.objects, 'object')}, {size(self.size_bytes)}"
            )
        else:
            gone = f"{deleted} nothing"
        return f"{gone}; {marked} {self.marked}; {self.waiting} wait for the end of their grace period"


def count(number: int, noun: str) -> str:
    """Return ``1 model``, ``2 models``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def size(size_bytes: float) -> str:
    """Return a number of bytes for people: ``1.2 MB``."""
    for unit in _UNITS:
        if size_bytes < 1000 or unit == _UNITS[-1]:
            break
        size_bytes /= 1000
    return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"


def _day(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M")
