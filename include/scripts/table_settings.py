"""The settings of a table: rows of features and a target, one per example, of any task."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from calendar_grid import Duration
from job_failure import JobFailure, listed
from job_settings import CitySettings, Section
from preprocess_settings import read_duration
from raw_data import Limits
from series_rows import read_time
from table_schema import KINDS, REGRESSION, TASKS
from target_transform import TargetTransform
from time_columns import TimeColumns

#: Categories of a column that get a number of their own, where the settings do not say how many.
MOST_CATEGORIES = 50


@dataclass(frozen=True)
class ColumnSettings:
    """A column that the model sees.

    :param kind: one of :data:`table_schema.KINDS`; None to be told by the training part.
    :param limits: what a number may be.
    :param most: of a category: how many get a number of their own.
    :param format: of a date: strptime format; None for ISO 8601.
    """

    column: str
    kind: str | None = None
    limits: Limits = field(default_factory=Limits)
    most: int = MOST_CATEGORIES
    format: str | None = None


@dataclass(frozen=True)
class TableSettings:
    """The settings of a table, read and checked.

    :param as_of: rows known later do not exist.
    :param available_after: a row is known at its moment plus this.
    :param task: one of :data:`table_schema.TASKS`.
    :param limits: what the target of a regression may be.
    :param positive: of a binary task: the class that is asked for; None for the last by its text.
    :param time: how a row says its moment; None where rows have none.
    :param key: column that names an example; None where nothing does.
    :param columns: None for all but those that have another part.
    :param ignore: columns that are none of the model's.
    :param weight: column with a row's weight; None where all weigh the same.
    :param minimum_rows: usable rows needed.
    :param validation_share: of the rows; so much before the holdout validates.
    :param holdout_share: of the rows; the model never sees these.
    """

    as_of: datetime
    available_after: Duration
    task: str
    target: str
    limits: Limits
    transform: TargetTransform
    positive: str | None
    time: TimeColumns | None
    key: str | None
    columns: tuple[ColumnSettings, ...] | None
    ignore: frozenset[str]
    weight: str | None
    minimum_rows: int
    validation_share: float
    holdout_share: float

    @property
    def reserved(self) -> dict[str, str]:
        """Columns that have another part than being a feature → which."""
        time = self.time.columns if self.time else ()
        parts = [(self.target, "the target"), *((name, "time") for name in time)]
        parts += [(name, part) for name, part in ((self.key, "key"), (self.weight, "weight")) if name]
        return dict(parts)

    @property
    def needed(self) -> list[str]:
        """Columns that every file has to have."""
        return list(dict.fromkeys([*self.reserved, *(each.column for each in self.columns or ())]))


def read_table_settings(city: CitySettings, as_of: datetime) -> TableSettings:
    """Check the settings of a table against each other.

    :raises JobFailure: naming the field, what was got and what is allowed.
    """
    dataset = city.dataset_section()
    target = dataset.section("target")
    task = dataset.choice("task", TASKS, REGRESSION)
    name = target.text("column")
    transform = TargetTransform(target.choice("transform", ("none", "log"), "none"))
    for member in ("min", "max", "transform"):
        if task != REGRESSION and target.get(member) not in (None, "none"):
            raise target.refuse(member, f"nothing, since the classes of a {task} task are no numbers")
    if dataset.get("positive") is not None and task != "binary":
        raise dataset.refuse("positive", "nothing, unless task is binary")
    settings = TableSettings(
        as_of=as_of,
        available_after=read_duration(dataset, "available_after", "P0D"),
        task=task,
        target=name,
        limits=Limits(target.number("min"), target.number("max"), transform.needs_positive_target),
        transform=transform,
        positive=dataset.optional_text("positive"),
        time=_time(dataset),
        key=dataset.optional_text("key"),
        columns=None
        if dataset.get("columns") is None
        else tuple(_column(each) for each in dataset.sections("columns", 10_000)),
        ignore=frozenset(dataset.texts("ignore")),
        weight=dataset.optional_text("weight"),
        minimum_rows=dataset.whole("minimum_rows", 100, 1),
        validation_share=dataset.share("validation_share", 0.15),
        holdout_share=dataset.share("holdout_share", 0.15),
    )
    _check(dataset, settings)
    return settings


def _check(dataset: Section, settings: TableSettings) -> None:
    if settings.validation_share + settings.holdout_share >= 1:
        raise dataset.refuse("holdout_share", "less than 1 together with validation_share")
    names = [each.column for each in settings.columns or ()]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise JobFailure(f"{dataset.where('columns')}: {listed(twice)} is there twice; allowed: once.")
    for name in names:
        part = settings.reserved.get(name) or ("ignored" if name in settings.ignore else None)
        # The key and the time may well be features too, where somebody asks for it by name.
        if part in ("the target", "weight", "ignored"):
            raise JobFailure(
                f"{dataset.where('columns')}: column '{name}' is {part}; allowed: another column."
            )
    if settings.columns == ():
        raise dataset.refuse("columns", "at least one column, or null for all")
    if settings.target in settings.ignore:
        raise dataset.refuse("ignore", f"other columns than the target '{settings.target}'")


def _time(dataset: Section) -> TimeColumns | None:
    if dataset.get("time") is None:
        return None
    return read_time(dataset, "day")


def _column(column: Section) -> ColumnSettings:
    kind = None if column.get("kind") is None else column.choice("kind", KINDS)
    return ColumnSettings(
        column=column.text("column"),
        kind=kind,
        limits=Limits(column.number("min"), column.number("max")),
        most=column.whole("most", MOST_CATEGORIES, 1) if column.get("most") is not None else MOST_CATEGORIES,
        format=column.optional_text("format"),
    )
