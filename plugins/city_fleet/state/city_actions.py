"""What the fleet has done about a city's model by itself, and why: among the notes of its live scores.

Pure but for :func:`keep`; standard library and a boto3 S3 client only.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

from city_fleet.naming import Keys
from city_fleet.state import live_scores
from city_fleet.state.live_scores import LiveScores

if TYPE_CHECKING:
    from city_fleet.state.objects import ObjectStore

ALARM, RETRAIN, ROLLBACK, REFUSED = "alarm", "retrain", "rollback", "no_rollback"
#: Kept of a city, the newest.
MOST = 40
_LONGEST = 600
_NOTE = "actions"


@dataclass(frozen=True)
class Action:
    """One thing that was done, or was not done and said.

    :param at: when; ISO 8601, UTC.
    :param kind: ``alarm``, ``retrain``, ``rollback``, or ``no_rollback`` (one that was asked for and refused).
    :param sentence: why, with its numbers, without its full stop.
    :param by: ``<dag id>/<run id>``; each run does one thing of a kind once.
    """

    at: str
    kind: str
    sentence: str
    by: str


_NAMES = tuple(each.name for each in fields(Action))


def of(scores: LiveScores) -> tuple[Action, ...]:
    """Return what was done about a city, oldest first. What can't be read among it is left out."""
    kept: Any = scores.notes.get(_NOTE)
    return tuple(
        Action(**{name: each[name][:_LONGEST] for name in _NAMES})
        for each in (kept if isinstance(kept, list) else [])
        if isinstance(each, dict) and all(isinstance(each.get(name), str) for name in _NAMES)
    )


def with_action(scores: LiveScores, action: Action) -> LiveScores:
    """Return the scores with one more action; those of a run that is repeated stay as they are."""
    before = of(scores)
    if any((each.kind, each.by) == (action.kind, action.by) for each in before):
        return scores
    short = Action(action.at, action.kind, action.sentence[:_LONGEST], action.by)
    return scores.with_notes(**{_NOTE: [asdict(each) for each in (*before, short)[-MOST:]]})


def keep(store: ObjectStore, keys: Keys, city: str, action: Action) -> None:
    """Write down what was done about a city.

    :raises BrokenScores: its scores can't be believed.
    :raises Busy: others got in the way for a minute.
    """
    live_scores.update(store, keys, city, lambda scores: with_action(scores, action))
