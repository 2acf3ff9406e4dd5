"""The settings file of a run (docs/steps.md), read once for all three steps.

It comes from a bucket: what is in it is checked before it is used, and a mistake is named with its file and field.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from calendar_grid import parse_as_of
from job_failure import JobFailure, quoted

FORMAT_VERSION = 1
MOST_BYTES = 32 << 20
MOST_CITIES = 10_000
MOST_FILES = 1_000_000
_SLUG = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*")


class Section:
    """An object of the settings, whose members are read with their checks.

    :param value: what the file holds there.
    :param name: what it is called in messages; ends before the member's name.
    :param spelled: member → what it is called instead, as by an argument of the command line.
    """

    def __init__(self, value: Any, name: str, spelled: Mapping[str, str] | None = None) -> None:
        if not isinstance(value, dict):
            raise JobFailure(f"{name.rstrip('.: ')}: got {_shown(value)}; allowed: an object.")
        self._value = value
        self._name = name
        self._spelled = spelled or {}

    @property
    def members(self) -> list[str]:
        """The names of the members that are there."""
        return list(self._value)

    def where(self, member: str) -> str:
        """Return what a member is called in messages."""
        return self._spelled.get(member, f"{self._name}{member}")

    def refuse(self, member: str, allowed: str) -> JobFailure:
        """Return the failure about a member."""
        return JobFailure(f"{self.where(member)}: got {_shown(self._value.get(member))}; allowed: {allowed}.")

    def get(self, member: str) -> Any:
        """Return a member as it is; None where it is not there."""
        return self._value.get(member)

    def text(self, member: str, default: str | None = None) -> str:
        """Return a text that is not empty; without a default it has to be there."""
        value = self._value.get(member, default)
        if not isinstance(value, str) or not value or len(value) > 1000:
            raise self.refuse(member, "text of 1 to 1000 characters")
        return value

    def optional_text(self, member: str) -> str | None:
        """Return a text, or None."""
        return None if self._value.get(member) is None else self.text(member)

    def choice(self, member: str, allowed: Sequence[str], default: str | None = None) -> str:
        """Return one of some words."""
        value = self._value.get(member, default)
        if value not in allowed:
            raise self.refuse(member, f"one of {', '.join(allowed)}")
        return str(value)

    def whole(self, member: str, default: int, least: int = 0) -> int:
        """Return a whole number."""
        value = self._value.get(member, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise self.refuse(member, f"a whole number of at least {least}")
        return value

    def flag(self, member: str) -> bool:
        """Return a truth value; false where it is not there."""
        value = self._value.get(member, False)
        if not isinstance(value, bool):
            raise self.refuse(member, "true or false")
        return value

    def number(self, member: str) -> float | None:
        """Return a number, or None."""
        value = self._value.get(member)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self.refuse(member, "a number")
        return float(value)

    def share(self, member: str, default: float) -> float:
        """Return a share of the rows: above 0 and below 1."""
        value = self.number(member) if self._value.get(member) is not None else default
        if value is None or not 0 < value < 1:
            raise self.refuse(member, "a number above 0 and below 1")
        return value

    def items(self, member: str, most: int) -> list[Any]:
        """Return a list; an empty one where it is not there."""
        value = self._value.get(member)
        value = [] if value is None else value
        if not isinstance(value, list) or len(value) > most:
            raise self.refuse(member, f"a list of up to {most}")
        return value

    def texts(self, member: str, most: int = 10_000) -> list[str]:
        """Return a list of texts."""
        items = self.items(member, most)
        if not all(isinstance(item, str) and item for item in items):
            raise self.refuse(member, "a list of texts")
        return items

    def section(self, member: str) -> Section:
        """Return an object within."""
        spelled = {
            name.removeprefix(f"{member}."): text
            for name, text in self._spelled.items()
            if name.startswith(f"{member}.")
        }
        return Section(self._value.get(member), f"{self.where(member)}.", spelled)

    def sections(self, member: str, most: int) -> list[Section]:
        """Return a list of objects."""
        where = self.where(member)
        return [Section(item, f"{where}[{at}].") for at, item in enumerate(self.items(member, most))]


@dataclass(frozen=True)
class Candidate:
    """An algorithm that is tried, with its hyperparameters."""

    algorithm: str
    hyperparameters: Mapping[str, Any]


@dataclass(frozen=True)
class ChampionSettings:
    """The model that serves."""

    target_model: str
    etag: str
    as_of: str


@dataclass(frozen=True)
class ParentSettings:
    """The model of the city's parent that serves.

    :param city: slug of the parent.
    """

    city: str
    target_model: str
    as_of: str


@dataclass(frozen=True)
class CitySettings:
    """What is asked for one city.

    :param dataset: the section of the fleet file, checked by the step that uses it.
    :param where: what the section is called in messages.
    :param metric: what the gate compares, where candidates are compared; None for the loss of the task.
    :param refit: whether the model of a series that serves learns the periods that have judged it.
    :param rolling: whether a model of a series is judged from several origins, so that training needs the test part; of
        a job of all steps, where no channel says so: the member ``refit`` is there.
    :param champion: None where nothing serves yet.
    :param children: of a parent: the cities whose rows are pooled; empty for others.
    :param parent: None where the city has none, or nothing of it serves.
    :param spelled: field of the dataset → the argument it was given by, where it came by hand.
    :param raw_uri: where the files of the city's folder came from; None for ``city=<slug>/`` of the run's.
    :param files: their names, the newest last; None where that makes no difference.
    """

    city: str
    dataset: Mapping[str, Any]
    where: str
    candidates: tuple[Candidate, ...] = ()
    seed: int = 0
    metric: str | None = None
    refit: bool = False
    rolling: bool = False
    champion: ChampionSettings | None = None
    children: tuple[str, ...] = ()
    parent: ParentSettings | None = None
    spelled: Mapping[str, str] | None = None
    raw_uri: str | None = None
    files: tuple[str, ...] | None = None

    @property
    def ordered(self) -> bool:
        """Whether later rows of the tables are later ones; those of a table without a time are in no order."""
        return self.dataset.get("kind") != "table" or self.dataset.get("time") is not None

    def dataset_section(self) -> Section:
        """Return the dataset's fields, to be read with their checks."""
        return Section(dict(self.dataset), self.where, self.spelled)


@dataclass(frozen=True)
class JobSettings:
    """The settings of a run.

    :param as_of: as it is written in keys.
    :param raw_uri: where the cities' folders of raw data are; ends in a slash.
    :param cities: slug → its settings, in the file's order.
    :param keep_tables: of a job of all steps: whether the tables are among its results.
    :param max_runtime_seconds: of a job of all steps: when SageMaker stops it; None where nobody says.
    """

    as_of: str
    raw_uri: str
    cities: Mapping[str, CitySettings]
    keep_tables: bool = True
    max_runtime_seconds: float | None = None

    @property
    def moment(self) -> datetime:
        """as_of as an instant, in UTC."""
        return parse_as_of(self.as_of)


def read_job_settings(path: Path) -> JobSettings:
    """Read settings.json.

    :param path: the file, or the folder that holds it under its usual name.
    :raises JobFailure: naming the file and the field that is not as it has to be.
    """
    if path.is_dir():
        path /= "settings.json"
    try:
        if path.stat().st_size > MOST_BYTES:
            raise JobFailure(f"{path}: allowed: at most {MOST_BYTES} bytes.")
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise JobFailure(f"{path}: missing; the settings of the run have to be there.") from None
    except (ValueError, RecursionError) as error:
        raise JobFailure(f"{path}: not JSON ({quoted(str(error))}).") from None
    top = Section(value, f"{path.name}: ")
    if top.get("format_version") != FORMAT_VERSION:
        raise top.refuse("format_version", str(FORMAT_VERSION))
    as_of = top.text("as_of")
    try:
        parse_as_of(as_of)
    except ValueError:
        raise top.refuse("as_of", "a UTC time written as 20140101T000000Z") from None
    cities = [_city(section) for section in top.sections("cities", MOST_CITIES)]
    by_slug = {city.city: city for city in cities}
    if not cities or len(by_slug) != len(cities):
        raise JobFailure(f"{top.where('cities')}: got {len(cities)}; allowed: at least 1, each once.")
    raw_uri = top.text("raw_uri").rstrip("/") + "/"
    seconds = top.number("max_runtime_seconds")
    if seconds is not None and seconds <= 0:
        raise top.refuse("max_runtime_seconds", "a number of seconds above 0, or null")
    keep_tables = top.get("keep_tables") is None or top.flag("keep_tables")
    return JobSettings(as_of, raw_uri, by_slug, keep_tables, seconds)


def _city(section: Section) -> CitySettings:
    slug = section.text("city")
    if not _SLUG.fullmatch(slug):
        raise section.refuse("city", "a slug such as fort_worth")
    dataset = section.section("dataset")
    candidates = []
    for item in section.sections("candidates", 100):
        hyperparameters = item.get("hyperparameters") or {}
        if not isinstance(hyperparameters, dict):
            raise item.refuse("hyperparameters", "an object")
        candidates.append(Candidate(item.text("algorithm"), hyperparameters))
    champion = None
    if section.get("champion") is not None:
        there = section.section("champion")
        champion = ChampionSettings(there.text("target_model"), there.text("etag"), there.text("as_of"))
    return CitySettings(
        city=slug,
        dataset=section.get("dataset"),
        where=dataset.where(""),
        candidates=tuple(candidates),
        seed=section.whole("seed", 0),
        metric=section.optional_text("metric"),
        refit=section.flag("refit"),
        rolling=section.get("refit") is not None,
        champion=champion,
        children=_children(section, slug),
        parent=_parent(section),
        raw_uri=section.optional_text("raw_uri"),
        files=None if section.get("files") is None else tuple(section.texts("files", MOST_FILES)),
    )


def _children(section: Section, slug: str) -> tuple[str, ...]:
    found = tuple(section.texts("children", MOST_CITIES))
    if len(set(found)) < len(found) or slug in found or not all(map(_SLUG.fullmatch, found)):
        raise section.refuse("children", "slugs of other cities, each once")
    return found


def _parent(section: Section) -> ParentSettings | None:
    if section.get("parent") is None:
        return None
    there = section.section("parent")
    slug = there.text("city")
    if not _SLUG.fullmatch(slug):
        raise there.refuse("city", "a slug such as texas")
    return ParentSettings(slug, there.text("target_model"), there.text("as_of"))


def _shown(value: Any) -> str:
    try:
        return quoted(json.dumps(value, ensure_ascii=False))
    except (TypeError, ValueError, RecursionError):
        return quoted(repr(value))
