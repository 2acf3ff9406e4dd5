"""What served before: which earlier state of a live pointer a rollback goes to. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from city_fleet import clock, naming
from city_fleet.errors import PublishError
from city_fleet.state.live_pointer import LivePointer

_SEQUENCE = re.compile(r"\d{1,7}")


@dataclass(frozen=True)
class Destination:
    """Where ``--to`` leads: exactly one of the fields is set.

    :param sequence: of the city's history.
    :param target_model: as sent in TargetModel.
    :param as_of: the beginning of a stamp: a whole one, or its day.
    """

    sequence: int | None = None
    target_model: str | None = None
    as_of: str | None = None

    @classmethod
    def parse(cls, text: str) -> Destination:
        """Read what a person typed.

        :raises ValueError: with the text and what is allowed.
        """
        if _SEQUENCE.fullmatch(text):
            return cls(sequence=int(text))
        if text.endswith(".tar.gz"):
            naming.parse_target_model(text)
            return cls(target_model=text)
        try:
            return cls(as_of=clock.beginning_of_stamp(text))
        except ValueError:
            raise ValueError(
                f"got {text!r}; allowed: a sequence of `./fleet history` such as 3, a target model "
                "(<city>/<as_of>-<12 hex digits>.tar.gz), or an as_of such as 2014-01-01 or 20140101T060000Z"
            ) from None

    def matches(self, pointer: LivePointer) -> bool:
        """Tell whether a state of the pointer is the one that is meant."""
        if self.sequence is not None:
            return pointer.sequence == self.sequence
        if self.target_model is not None:
            return pointer.target_model == self.target_model
        return self.as_of is not None and pointer.as_of.startswith(self.as_of)

    def __str__(self) -> str:
        if self.sequence is not None:
            return f"sequence {self.sequence}"
        return self.target_model or f"as_of {self.as_of}"


def went_live_since(pointer: LivePointer, since: datetime) -> bool:
    """Tell whether the model of a state was published at an instant or later.

    :raises PublishError: the state does not say when.
    """
    try:
        return naming.parse_as_of(pointer.published_at) >= since
    except ValueError:
        raise PublishError(
            f"city {pointer.city!r}: sequence {pointer.sequence} says that its model was published at "
            f"{pointer.published_at!r}, which is not an instant"
        ) from None


def walk_back(
    current: LivePointer, earlier: Iterable[LivePointer], since: datetime | None = None
) -> Iterator[LivePointer]:
    """Yield the states that a rollback may return to, the nearest first.

    A state that brought a model back counts as the one it restored. So a second rollback goes further back, and
    none returns to a model that was rolled back from before.

    :param current: what serves.
    :param earlier: states of the pointer, newest first.
    :param since: leave out models published at this instant or later.
    """
    position = current.origin
    for state in earlier:
        if state.sequence >= position:
            continue
        position = state.origin
        if state.target_model == current.target_model or (since and went_live_since(state, since)):
            continue
        yield state
