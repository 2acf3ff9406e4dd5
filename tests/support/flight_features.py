"""A ``features.py`` of one's own, as a data scientist writes it for one city (docs/steps.md)."""

from __future__ import annotations

from typing import Any


def features(frame: Any, context: Any) -> Any:
    """Add whether a flight leaves in the evening, when the delays of the day have added up."""
    assert (context.city, context.kind, context.task) == ("boston", "table", "binary")
    frame["evening"] = frame["hour"] >= 17
    return frame
