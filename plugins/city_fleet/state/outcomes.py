"""What came of a run, of a decision about a model, or of moving a live pointer. Standard library only."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Outcome(StrEnum):
    """What came of something; its text stands in run records, in the index and in what commands print.

    A run ends as one of the first group. A decision about a registered model has an outcome of the first two groups,
    a move of the live pointer one of the last.
    """

    #: The run's model serves.
    LIVE = "live"
    #: The gate, the champion of the moment or a pin keeps the model from serving.
    HELD = "held"
    #: The run's model is tried beside the champion; the trial's end decides.
    ON_TRIAL = "on_trial"
    #: A newer model of the city has taken its place.
    SUPERSEDED = "superseded"
    #: The model awaits approval.
    PENDING = "pending"
    #: A task failed, or the run was stopped; of a command: the city could not be dealt with.
    FAILED = "failed"
    #: The city has too few usable periods to train on.
    TOO_LITTLE_DATA = "too_little_data"

    #: A person does not want the model.
    REJECTED = "rejected"
    #: It was not approved in time.
    EXPIRED = "expired"
    #: A person rejected the model that serves; it serves on until it is rolled back.
    ALERT = "alert"
    #: The decision does not apply to a model in this state.
    REFUSED = "refused"

    #: The live pointer was moved.
    MOVED = "moved"
    #: The live pointer was removed.
    REMOVED = "removed"
    #: A dry run: what would have been done.
    PLANNED = "planned"
    #: There was nothing to do.
    UNCHANGED = "unchanged"


@dataclass(frozen=True)
class Decided:
    """What came of a decision about one version.

    :param outcome: of the first two groups of :class:`Outcome`, ``planned`` or ``unchanged``.
    :param reasons: sentences for people.
    :param live: target model that serves afterwards, where it was looked at.
    :param moved: this has moved the live pointer; False where it served before.
    """

    city: str
    version: int
    outcome: Outcome
    reasons: tuple[str, ...]
    live: str | None = None
    moved: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return what people read; whether it was this that moved the pointer matters to the run alone."""
        kept = {**asdict(self), "reasons": list(self.reasons)}
        del kept["moved"]
        return kept
