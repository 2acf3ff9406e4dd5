"""A challenger's forecasts by its city's name, kept to be compared with the champion's of the same periods. Pure.

The champion's come from the night's table; without the challenger's beside them, a trial of a city that is asked for
forecasts alone would have nothing to compare.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from city_fleet import clock
from city_fleet.prediction.endpoint_answer import Prediction
from city_fleet.state.challengers import Challenger
from city_fleet.state.live_scores import LiveScores, Scored
from city_fleet.state.observed import CHALLENGER

#: A night apart, and some hours less, as looks come at any time.
_EVERY = timedelta(hours=20)


def is_due(trial: Challenger, scores: LiveScores, now: datetime) -> bool:
    """Tell whether a challenger is to be asked for its forecast: it has one, and gave none for a night."""
    mine = (
        row for row in scores.rows if row.role == CHALLENGER and row.target_model == trial.model.target_model
    )
    last = max((clock.parse(row.at) for row in mine if row.step), default=None)
    return bool(trial.model.forecast) and (last is None or now - last >= _EVERY)


def rows_of(trial: Challenger, answer: Prediction, now: datetime) -> list[Scored]:
    """Return what is written down of a challenger's forecast, a row per period."""
    steps = () if answer.forecast is None else answer.forecast.forecasts
    return [
        Scored(
            key=step["period"],
            step=step["step"],
            role=CHALLENGER,
            target_model=trial.model.target_model,
            at=clock.iso(now),
            predicted=step["prediction"],
        )
        for step in steps
    ]
