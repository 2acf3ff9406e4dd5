"""The dataset section of a table: rows that stand for themselves, with columns of any kind and any task."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from city_fleet.config.data_section import DataSection, Time
from city_fleet.config.name_types import Column, RawText, TimeFormat
from city_fleet.config.section import Section, or_refuse, out_of_order, repeated
from city_fleet.config.value_types import Duration, Number, Problem, Range
from city_fleet.errors import show_value

Task = Literal["regression", "binary", "multiclass"]
ColumnKind = Literal["number", "boolean", "category", "date"]
TableTransform = Literal["none", "log"]
PartShare = Annotated[float, Range(False, 0.01, 0.8)]
_MOST_KEPT_BACK = 0.9


class TableTarget(Section):
    """The column to predict."""

    column: Column
    """Column of the raw data."""
    min: Number | None = None
    """Smallest possible value of a regression's target; a smaller one stops the city's run."""
    max: Number | None = None
    """Largest possible value of a regression's target; a larger one stops the city's run."""
    transform: TableTransform = "none"
    """What the model of a regression learns instead of the value itself; predictions are always values again."""

    @property
    def transform_argument(self) -> str:
        """The transform as the job scripts spell it."""
        return self.transform

    @model_validator(mode="after")
    def _check(self) -> TableTarget:
        problems = out_of_order(self.min, self.max)
        if self.transform != "none" and self.min is not None and self.min <= 0:
            allowed = f"a number above 0, because target.transform is {self.transform}"
            problems.append(Problem(show_value(self.min), allowed, path=("min",)))
        return or_refuse(self, problems)


class TableColumn(Section):
    """A column that the model sees."""

    column: Column
    """Column of the raw data."""
    kind: ColumnKind
    """What its cells are: number, boolean, category or date."""
    min: Number | None = None
    """Smallest possible value of a number; a smaller one stops the city's run."""
    max: Number | None = None
    """Largest possible value of a number; a larger one stops the city's run."""
    most: Annotated[int, Range(True, 1, 1000)] = 50
    """Categories that have a place of their own, the most frequent ones; all others count as one."""
    format: TimeFormat | None = None
    """strptime format of a date; null reads ISO 8601."""

    @model_validator(mode="after")
    def _check(self) -> TableColumn:
        problems = out_of_order(self.min, self.max)
        of_kind = {"number": ("min", "max"), "category": ("most",), "date": ("format",)}
        for kind, names in of_kind.items():
            for name in names:
                given = name in self.model_fields_set and getattr(self, name) is not None
                if kind != self.kind and given:
                    allowed = f"nothing, because the column is no {kind} but a {self.kind}"
                    problems.append(Problem(show_value(getattr(self, name)), allowed, path=(name,)))
        return or_refuse(self, problems)


class Table(DataSection):
    """Rows that stand for themselves: orders, houses, flights."""

    kind: Literal["table"]
    """series: one row per period, and the next one is predicted. table: rows that stand for themselves."""
    task: Task = "regression"
    """What a model does: regression predicts a number, binary one of two classes, multiclass one of several."""
    target: TableTarget
    """The column to predict."""
    positive: RawText | None = None
    """Of a binary task: the class whose probability counts; null takes the later one by sorting."""
    time: Time | None = None
    """Where a row's moment stands; null where rows have none."""
    available_after: Duration = Duration()
    """How long after its moment a row is known; a run sees only rows known by its as_of."""
    key: Column | None = None
    """Column that tells rows apart, with a value of its own in each; null goes by file and row."""
    columns: Annotated[tuple[TableColumn, ...], Field(min_length=1, max_length=2000)] | None = None
    """Columns that the model sees; null takes all others, their kinds as the training part shows them."""
    ignore: tuple[Column, ...] = ()
    """Columns that the model does not see, where columns is null."""
    weight: Column | None = None
    """Column with the weight of each row in training, above 0; null weighs all alike."""
    minimum_rows: Annotated[int, Range(True, 10)] = 100
    """Rows a city needs; with fewer its run ends as too_little_data."""
    validation_share: PartShare = 0.15
    """Share of the rows that choose between models and stop the training early."""
    holdout_share: PartShare = 0.15
    """Share of the rows kept back to judge the model: the newest, or without a time a stable draw."""

    @model_validator(mode="after")
    def _check(self) -> Table:
        problems = repeated("ignore", self.ignore) + self._of_the_task() + self._of_the_columns()
        kept_back = self.validation_share + self.holdout_share
        if kept_back > _MOST_KEPT_BACK:
            got = f"{self.holdout_share:g}, with validation_share {kept_back:g} together"
            allowed = f"at most {_MOST_KEPT_BACK} together, so that rows are left to train on"
            problems.append(Problem(got, allowed, path=("holdout_share",)))
        if self.time is None and self.available_after != Duration():
            allowed = "P0D, or a time: without one a row has no moment to count from"
            problems.append(Problem(str(self.available_after), allowed, path=("available_after",)))
        return or_refuse(self, problems)

    def _of_the_task(self) -> list[Problem]:
        problems = []
        if self.task != "regression":
            for name, none in (("min", None), ("max", None), ("transform", "none")):
                value = getattr(self.target, name)
                if value != none:
                    allowed = f"nothing, because the task is {self.task}: its target is a class"
                    problems.append(Problem(show_value(value), allowed, path=("target", name)))
        if self.positive is not None and self.task != "binary":
            allowed = f"null, because the task is {self.task}"
            problems.append(Problem(show_value(self.positive), allowed, path=("positive",)))
        return problems

    def _of_the_columns(self) -> list[Problem]:
        """Return the problems of columns that have two uses."""
        problems = []
        uses = {self.target.column: "the target"}
        if self.city_column is not None:
            uses[self.city_column] = "the city's name"
        for use, column in (("the key", self.key), ("the weight", self.weight)):
            if column is not None and column in uses:
                got, path = f"{column!r}, {uses[column]}", (use.removeprefix("the "),)
                problems.append(Problem(got, "another column", path=path))
            elif column is not None:
                uses[column] = use
        for index, each in enumerate(self.columns or ()):
            if each.column in uses:
                got = f"{each.column!r}, {uses[each.column]}"
                problems.append(Problem(got, "another column", path=("columns", index, "column")))
            else:
                uses[each.column] = "a second time"
        if self.columns is not None and self.ignore:
            allowed = "nothing, because columns says which the model sees"
            problems.append(Problem(show_value(self.ignore[0]), allowed, path=("ignore", 0)))
        if self.target.column in self.ignore:
            at = self.ignore.index(self.target.column)
            problems.append(Problem("the target's column", "another column", path=("ignore", at)))
        return problems

    @property
    def value_columns(self) -> tuple[str, ...]:
        """The columns whose values a model learns from, as far as the section names them."""
        return (self.target.column, *(each.column for each in self.columns or ()))

    def columns_named(self) -> list[tuple[tuple[str | int, ...], str]]:
        """Return every column that the section names, with the field that names it."""
        found: list[tuple[tuple[str | int, ...], str]] = self.city_named()
        for index, column in enumerate(self.time.columns if self.time else ()):
            found.append((("time", "columns", index), column))
        found.append((("target", "column"), self.target.column))
        for name, other in (("key", self.key), ("weight", self.weight)):
            if other is not None:
                found.append(((name,), other))
        for index, each in enumerate(self.columns or ()):
            found.append((("columns", index, "column"), each.column))
        return found + [(("ignore", index), column) for index, column in enumerate(self.ignore)]
