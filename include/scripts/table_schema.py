"""What a table holds: its features with their kinds and categories, its task and its classes.

preprocess.py writes it beside every table, training carries it in the artifact, and inference.py reads a request by it:
the same encodings on all three sides, learned from the training part alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy as np

from series_layout import SeriesLayout
from target_transform import TargetTransform

FORMAT_VERSION = 1
KINDS = ("number", "boolean", "category", "date")
REGRESSION, BINARY, MULTICLASS = TASKS = ("regression", "binary", "multiclass")
SERIES, TABLE = DATA_KINDS = ("series", "table")
LEADING = {
    SERIES: ("period", "target", "label", "naive", "seasonal", "drift", "lead", "ahead"),
    TABLE: ("example", "target", "label", "weight"),
}
#: Leading column of a parent's tables, behind the period: whose row it is. The one column beside it that is text.
MEMBER = "member"
#: What every table of a series has of them, in front; the others are read by name, and may be missing or more.
LEAST_LEADING = LEADING[SERIES][:4]
_LEADING_NAME = re.compile(r"[a-z][a-z_]{0,29}")
_MOST_LEADING = 20
#: Class number of a row whose class the training part does not hold.
UNKNOWN_CLASS = -1
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Feature:
    """A column of the model's rows.

    :param kind: one of :data:`KINDS`.
    :param categories: of a category: those that have a number of their own; all others share the next one.
    """

    name: str
    kind: str = "number"
    categories: tuple[str, ...] = ()
    _places: Mapping[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_places", {name: at for at, name in enumerate(self.categories)})

    def encode(self, value: object) -> float:
        """Turn a raw value into the number that stands in the feature's column.

        :param value: None where missing; a number, a truth value, a category's text, or an ISO 8601 date.
        :return: NaN where missing.
        :raises ValueError: for a value of another kind; says what is allowed.
        """
        if value is None:
            return math.nan
        if self.kind == "category":
            if not isinstance(value, str):
                raise ValueError("text")
            return float(self._places.get(value, len(self.categories)))
        if self.kind == "boolean":
            if isinstance(value, bool):
                return float(value)
            raise ValueError("true or false")
        if self.kind == "date":
            try:
                return float((date.fromisoformat(value) - _EPOCH).days)  # type: ignore[arg-type]
            except (TypeError, ValueError):
                raise ValueError("a date such as 2015-07-31") from None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError("a number")
        return float(value)

    def decode(self, number: float) -> float | bool | str | None:
        """Turn a column's number back into a raw value that :meth:`encode` turns into it.

        :param number: NaN where missing.
        :return: None where missing; for a category without a number of its own some text that none of those has.
        """
        if math.isnan(number):
            return None
        if self.kind == "boolean":
            return number != 0
        if self.kind == "date":
            return (_EPOCH + timedelta(days=round(number))).isoformat()
        if self.kind == "category":
            place = int(number)
            return self.categories[place] if 0 <= place < len(self.categories) else self._other()
        return float(number)

    def _other(self) -> str:
        text = "other"
        while text in self._places:
            text += "_"
        return text

    def to_json(self) -> dict[str, Any]:
        """Write the feature as a member of schema.json."""
        more = {"categories": list(self.categories)} if self.kind == "category" else {}
        return {"name": self.name, "kind": self.kind, **more}


@dataclass(frozen=True)
class Baseline:
    """The prediction of every row without a model.

    :param name: as a sentence says it, for example ``median``.
    :param values: one number for a regression, a probability for each class otherwise.
    """

    name: str
    values: tuple[float, ...]


@dataclass(frozen=True)
class Schema:
    """What a table holds.

    :param kind: :data:`SERIES` or :data:`TABLE`.
    :param task: one of :data:`TASKS`.
    :param as_of: as it is written in keys.
    :param transform: what the model learns instead of the target.
    :param classes: of a classification, in the order of its numbers; a binary task's positive class is the last.
    :param baseline: None for a series, whose rows bring their own.
    :param layout: of a series: what its rows are made of; None of a table, and in artifacts of earlier versions.
    :param members: of a parent: the cities whose rows are pooled; empty for others.
    :param series_leading: of a series: the columns before its features, where they are not today's usual ones; without
        that of the member.
    """

    kind: str
    task: str
    city: str
    as_of: str
    target: str
    transform: TargetTransform
    features: tuple[Feature, ...]
    classes: tuple[str, ...] = ()
    baseline: Baseline | None = None
    layout: SeriesLayout | None = None
    members: tuple[str, ...] = ()
    series_leading: tuple[str, ...] = LEADING[SERIES]

    @property
    def leading(self) -> tuple[str, ...]:
        """The columns of a table before its features."""
        names = self.leading_numbers
        return (names[0], MEMBER, *names[1:]) if self.members else names

    @property
    def leading_numbers(self) -> tuple[str, ...]:
        """The same without the member: the row's name, and numbers."""
        return self.series_leading if self.kind == SERIES else LEADING[self.kind]

    @property
    def names(self) -> list[str]:
        """The features' names, in order."""
        return [feature.name for feature in self.features]

    def to_json(self) -> dict[str, Any]:
        """Write schema.json, or the ``schema`` of model.json."""
        baseline = self.baseline
        return {
            "format_version": FORMAT_VERSION,
            "kind": self.kind,
            "task": self.task,
            "city": self.city,
            "as_of": self.as_of,
            "target": self.target,
            # Of a model that answers the target itself the rows are still made as the city's are.
            "transform": (self.layout or self).transform.to_json(),
            "leading": list(self.leading),
            "features": [feature.to_json() for feature in self.features],
            "classes": list(self.classes) if self.task != REGRESSION else None,
            "positive": self.classes[-1] if self.task == BINARY else None,
            "baseline": None
            if baseline is None
            else {"name": baseline.name, "values": list(baseline.values)},
            "layout": None if self.layout is None else self.layout.to_json(),
            **({"members": list(self.members)} if self.members else {}),
        }

    @classmethod
    def from_json(cls, value: Any) -> Schema:
        """Read a schema without trusting it: an artifact comes from a bucket.

        :raises ValueError: naming the member that is not as preprocess.py writes it.
        """
        try:
            if value["format_version"] != FORMAT_VERSION:
                raise ValueError(
                    f"format_version: got {value['format_version']!r}; allowed: {FORMAT_VERSION}"
                )
            baseline, layout = value.get("baseline"), value.get("layout")
            target, transform = _text(value, "target"), TargetTransform.from_json(value["transform"])
            schema = cls(
                kind=_one_of(value, "kind", DATA_KINDS),
                task=_one_of(value, "task", TASKS),
                city=_text(value, "city"),
                as_of=_text(value, "as_of"),
                target=target,
                transform=transform,
                layout=None if layout is None else SeriesLayout.from_json(layout, target, transform),
                features=tuple(_feature(item) for item in _list(value, "features", 32_767)),
                classes=_texts(value, "classes", 100_000) if value.get("classes") is not None else (),
                baseline=None
                if baseline is None
                else Baseline(_text(baseline, "name"), tuple(map(float, _list(baseline, "values", 100_000)))),
                members=_texts(value, "members", 10_000) if value.get("members") is not None else (),
                series_leading=_leading(value),
            )
        except KeyError as error:
            raise ValueError(f"{error} is missing") from None
        except (TypeError, AttributeError, OverflowError) as error:
            raise ValueError(str(error)) from None
        if not schema.features:
            raise ValueError("features: got none; allowed: at least 1")
        needed = {REGRESSION: (0, 0), BINARY: (2, 2), MULTICLASS: (2, 100_000)}[schema.task]
        if not needed[0] <= len(schema.classes) <= needed[1]:
            raise ValueError(f"classes: got {len(schema.classes)} for task {schema.task}")
        return schema


@dataclass(frozen=True)
class Table:
    """A part of a city's data, as the algorithms see it.

    :param rows: names of the rows: a period's ISO date, or an example.
    :param target: rows; in the target's own unit, or the class's number.
    :param label: rows; what a model learns.
    :param weight: rows; 1 where the settings name no weight.
    :param values: rows × features of float64; NaN where missing.
    :param baselines: of a series: name → the naive forecast of each row.
    :param members: of a parent: whose row each is; empty for others.
    """

    schema: Schema
    rows: list[str]
    target: np.ndarray
    label: np.ndarray
    weight: np.ndarray
    values: np.ndarray
    baselines: Mapping[str, np.ndarray] = field(default_factory=dict)
    members: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)


def _leading(value: Any) -> tuple[str, ...]:
    """Read the columns before the features of a series: other versions have more of them, or fewer."""
    if value["kind"] != SERIES or "leading" not in value:
        return LEADING[SERIES]
    found = tuple(name for name in _texts(value, "leading", _MOST_LEADING) if name != MEMBER)
    if found[: len(LEAST_LEADING)] != LEAST_LEADING or not all(
        _LEADING_NAME.fullmatch(name) for name in found
    ):
        raise ValueError(f"leading: allowed: {', '.join(LEAST_LEADING)}, and more names of small letters")
    return found


def _feature(value: Any) -> Feature:
    kind = _one_of(value, "kind", KINDS)
    return Feature(
        _text(value, "name"), kind, _texts(value, "categories", 100_000) if kind == "category" else ()
    )


def _one_of(value: Any, name: str, allowed: tuple[str, ...]) -> str:
    if value[name] not in allowed:
        raise ValueError(f"{name}: got {str(value[name])[:50]!r}; allowed: {', '.join(allowed)}")
    return str(value[name])


def _text(value: Any, name: str) -> str:
    if not isinstance(value[name], str) or not 1 <= len(value[name]) <= 1000:
        raise ValueError(f"{name}: allowed: text of up to 1000 characters")
    return str(value[name])


def _list(value: Any, name: str, most: int) -> list[Any]:
    if not isinstance(value[name], list) or len(value[name]) > most:
        raise ValueError(f"{name}: allowed: a list of up to {most}")
    return list(value[name])


def _texts(value: Any, name: str, most: int) -> tuple[str, ...]:
    texts = _list(value, name, most)
    if not all(isinstance(text, str) and len(text) <= 1000 for text in texts) or len(set(texts)) != len(
        texts
    ):
        raise ValueError(f"{name}: allowed: different texts of up to 1000 characters")
    return tuple(texts)
