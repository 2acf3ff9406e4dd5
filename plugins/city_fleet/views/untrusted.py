"""Members of what jobs have left in the bucket, which may be anything: what is not as it should be is nothing. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from city_fleet.outgoing_text import one_line

_LONGEST_NAME = 80


def members(value: Any) -> Mapping[str, Any]:
    """Return an object's members; none of what is no object."""
    return value if isinstance(value, Mapping) else {}


def member(value: Any, name: str) -> Mapping[str, Any]:
    """Return the members of an object's member."""
    return members(members(value).get(name))


def text(value: Any, longest: int = _LONGEST_NAME) -> str:
    """Return a value as a text of one line."""
    return one_line(str(value))[:longest] if value is not None else ""
