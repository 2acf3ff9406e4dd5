"""Who makes a change that people may ask about later. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Author:
    """Who decides, and why.

    :param by: ``<dag id>/<run id>`` or the name of a person.
    :param note: in their own words; may be empty.
    """

    by: str
    note: str = ""

    def sentence(self, what: str) -> str:
        """Return ``approved by ann: looks good``."""
        return f"{what} by {self.by}" + (f": {self.note}" if self.note else "")
