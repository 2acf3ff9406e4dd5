"""Rolling back a city whose model is no longer right: to which earlier model, by the numbers, and why to none.

An earlier model is better where its forecasts were off by clearly less. Where both have forecast the same periods those
alone count. Where they have not, an earlier model may look better only because it served in quieter times, so it counts
only against a model that was wrong from its first forecasts on. Clients are passed in.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from city_fleet.champions import moves
from city_fleet.champions.served import Destination, walk_back
from city_fleet.errors import ArtifactError, PointerMoved
from city_fleet.monitoring import decay
from city_fleet.state import city_actions, live, live_scores
from city_fleet.state.author import Author
from city_fleet.state.context import CityContext
from city_fleet.state.live_pointer import LivePointer
from city_fleet.state.live_scores import Scored
from city_fleet.state.observed import CHAMPION

#: An earlier model's mean error is at most this share of that of the model that serves.
BETTER = 0.8
#: Earlier states of the pointer that are looked at; those behind are too old to be trusted.
MOST_STATES = 20
_SAID = 3


@dataclass(frozen=True)
class Compared:
    """Whether an earlier model was better.

    :param sentence: with the numbers; without a full stop.
    """

    better: bool
    sentence: str


@dataclass(frozen=True)
class Done:
    """What was done about a city.

    :param kind: ``rollback`` or ``no_rollback``.
    """

    city: str
    kind: str
    sentence: str


def of_model(rows: Iterable[Scored], target_model: str) -> list[Scored]:
    """Return of each period the forecast of one model that served last before it, by period."""
    return decay.nearest(row for row in rows if row.role == CHAMPION and row.target_model == target_model)


def blame(own: Sequence[Scored], since: str, patience: int) -> str | None:
    """Return why the model that serves is not to be blamed for an alarm; None where it is.

    :param own: of :func:`of_model`, that of the model that serves.
    :param since: key of the alarm's first period.
    """
    wrong = [row for row in own if row.key >= since]
    if len(wrong) >= patience:
        return None
    return (
        f"of the model that serves {len(wrong)} forecasts since {since} are known, and decay.patience is {patience}: "
        "the alarm is about the one before"
    )


def compare(own: Sequence[Scored], theirs: Sequence[Scored], since: str, patience: int) -> Compared:
    """Hold an earlier model against the one that serves. Pure.

    :param own: of :func:`of_model`, that of the model that serves; ``theirs``: of the earlier one.
    """
    if len(theirs) < patience:
        return Compared(False, f"{len(theirs)} of its forecasts are known, and decay.patience is {patience}")
    wrong = [row for row in own if row.key >= since]
    mine = {row.key: row for row in wrong}
    both = [row for row in theirs if row.key in mine]
    if len(both) >= patience:
        what = f"of the same {len(both)} periods"
        return _held(both, [mine[row.key] for row in both], what)
    right = len(own) - len(wrong)
    if right >= patience:
        return Compared(
            False,
            f"the model that serves was right for {right} periods before {since}, so it is the city that has changed, "
            "and no forecasts of the earlier model since then are known",
        )
    newest = theirs[-decay.SHOWN :]
    return _held(newest, wrong, f"of its newest {len(newest)} periods")


def _held(theirs: Sequence[Scored], mine: Sequence[Scored], what: str) -> Compared:
    rows = (*theirs, *mine)
    in_shares = all(row.share is not None for row in rows)

    def mean(of: Sequence[Scored]) -> float:
        return statistics.fmean((row.share if in_shares else abs(row.error or 0)) or 0.0 for row in of)

    def shown(value: float) -> str:
        return f"{value:.1%}" if in_shares else f"{value:.4g}"

    old, new = mean(theirs), mean(mine)
    better = old <= BETTER * new and old < new
    said = f"its forecasts {what} were off by {shown(old)} on average, those of the model that serves by {shown(new)}"
    return Compared(better, said if better else f"{said}, which is not clearly better")


def roll_back(city: CityContext, by: str, *, limit: float, patience: int) -> Done:
    """Roll a city back to the nearest earlier model that was clearly better, and pin it there; or say why not.

    A city that a person has pinned stays, and so does one that was rolled back before, which is pinned too.

    :param by: ``<dag id>/<run id>``; repeated by the same run it finds its own move.
    :param limit: of ``decay``, as ``patience`` is.
    :raises BrokenScores: the city's scores can't be believed.
    :raises PublishError: there is no live pointer that can be read, or the endpoint does not answer with the model.
    :raises PlatformError: what is needed can't be reached; it may be repeated.
    """
    current = moves.serving(city).pointer
    if current.moved_by == by and current.move == live.ROLLBACK:
        return Done(city.slug, city_actions.ROLLBACK, current.reason)
    rows = live_scores.read(city.objects, city.keys, city.slug).known
    alarm = decay.judge(rows, limit, patience)
    if alarm is None:
        return _refused(
            city, "its forecasts are right; a column is not, and an earlier model reads the same one"
        )
    why_not = blame(of_model(rows, current.target_model), alarm.since, patience)
    if current.pinned:
        why_not = f"it is pinned, by {current.moved_by}"
    if why_not is not None:
        return _refused(city, why_not)
    state, said = _better(city, current, rows, alarm.since, patience)
    if state is None:
        return _refused(city, said or "nothing served before it that was not rolled back from")
    reason = f"no longer right since {alarm.since}; {said}"
    order = moves.Rollback(Destination(sequence=state.sequence), over=current)
    try:
        moves.rollback(city, Author(by, reason), order)
    except PointerMoved:
        return _refused(city, "another model went live meanwhile, or a person has pinned it")
    return Done(
        city.slug, city_actions.ROLLBACK, f"from {current.target_model} to {state.target_model}: {reason}"
    )


def _better(
    city: CityContext, current: LivePointer, rows: Sequence[Scored], since: str, patience: int
) -> tuple[LivePointer | None, str]:
    """Return the nearest earlier state whose model was clearly better and may serve, and the numbers.

    Where there is none, what stands against the nearest ones.
    """
    own, said = of_model(rows, current.target_model), list[str]()
    earlier = walk_back(current, moves.kept_newest_first(city, current, said))
    for state in islice(earlier, MOST_STATES):
        found = compare(own, of_model(rows, state.target_model), since, patience)
        if not found.better:
            said.append(f"{state.target_model}: {found.sentence}")
            continue
        try:
            moves.load_usable(city, state, claim=False)
        except ArtifactError as error:
            said.append(f"{state.target_model}: {error}")
            continue
        return state, found.sentence
    return None, "; ".join(said[:_SAID])


def _refused(city: CityContext, why: str) -> Done:
    return Done(city.slug, city_actions.REFUSED, why)
