"""The base class of every section of the fleet file, and the checks that several sections share."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from city_fleet.config.value_types import Problem, refuse
from city_fleet.errors import show_value


class Section(BaseModel):
    """Base of every part of the fleet file: frozen, and an unknown key is a mistake."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


S = TypeVar("S", bound=Section)


def repeated(field: str, values: tuple[object, ...]) -> list[Problem]:
    """Return one problem for each value of a list that stands earlier in it too.

    :param field: the list's field, relative to the section.
    """
    return [
        Problem(f"{show_value(value)} a second time", "each value once", path=(field, index))
        for index, value in enumerate(values)
        if value in values[:index]
    ]


def out_of_order(lowest: float | None, highest: float | None) -> list[Problem]:
    """Return the problem of a ``max`` that is not above its ``min``; no problem where one of them is missing."""
    if lowest is None or highest is None or lowest < highest:
        return []
    return [Problem(show_value(highest), f"a number above min ({lowest:g})", path=("max",))]


def or_refuse(section: S, problems: list[Problem]) -> S:
    """Return the section, or refuse it with all its problems."""
    if problems:
        raise refuse(*problems)
    return section
