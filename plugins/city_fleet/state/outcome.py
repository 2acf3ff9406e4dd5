"""What came of a decision or a run. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Decided:
    """What came of a decision about one version.

    :param outcome: ``live``, ``held``, ``rejected``, ``expired``, ``superseded``, ``alert`` (the model that serves was
        rejected), ``refused`` (the decision has no say) or ``unchanged``.
    :param reasons: sentences for people.
    :param live: target model that serves afterwards, where it was looked at.
    """

    city: str
    version: int
    outcome: str
    reasons: tuple[str, ...]
    live: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready data."""
        return {
            "city": self.city,
            "version": self.version,
            "outcome": self.outcome,
            "reasons": list(self.reasons),
            "live": self.live,
        }
