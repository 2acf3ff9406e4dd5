"""Says that a fleet's settings are those of before, because its file can't be used now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from city_fleet.errors import FleetFileError


@dataclass(frozen=True)
class LastGood:
    """That a fleet's settings are the last that could be used, since its file can't be used now.

    :param made_at: when that form of the file was made, in UTC.
    :param error: what is wrong with the file.
    """

    made_at: str
    error: FleetFileError

    @property
    def sentence(self) -> str:
        """What every place says that works with these settings."""
        first = self.error.errors[0]
        more = len(self.error.errors) - 1
        others = f" (and {more} more; `./fleet lint` lists them)" if more else ""
        return (
            f"Built from the last good form of {self.made_at}, because {self.error.file} has a mistake: "
            f"{first}{others}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the same as JSON-ready data."""
        return {"made_at": self.made_at, "mistakes": [error.to_dict() for error in self.error.errors]}
