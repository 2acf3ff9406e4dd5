"""The dataset section of the fleet file, which is of one of two kinds: a series or a table."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Tag

from city_fleet.config.series import Series
from city_fleet.config.table import Table

SERIES, TABLE = "series", "table"


def _kind(value: Any) -> str:
    """Return the kind of a section: a fleet file of before names none, and means a series."""
    kind = value.get("kind", SERIES) if isinstance(value, dict) else getattr(value, "kind", SERIES)
    return "null" if kind is None else str(kind)


Dataset = Annotated[Annotated[Series, Tag(SERIES)] | Annotated[Table, Tag(TABLE)], Discriminator(_kind)]
