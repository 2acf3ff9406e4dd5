"""What the answers of a challenger and of its champion were worth, as live scores have it."""

from __future__ import annotations

from dataclasses import dataclass

from city_fleet.state.challengers import Challenger


@dataclass(frozen=True)
class Score:
    """A row of live scores, as far as trials look at it."""

    key: str
    role: str
    error: float | None
    target_model: str
    at: str
    step: int = 1


def of_trial(trial: Challenger, key: str, role: str, error: float) -> Score:
    """Return a row of one of the two models of a trial."""
    model = trial.model.target_model if role == "challenger" else trial.champion
    return Score(key, role, error, model, trial.since)


def score_rows(trial: Challenger, *, challenger: float, champion: float, periods: int = 12) -> list[Score]:
    """Return rows of some periods in which both models erred by about so much."""
    return [
        of_trial(trial, f"2014-{number + 1:02}-01", role, error + number % 2 / 100)
        for number in range(periods)
        for role, error in (("challenger", challenger), ("champion", champion))
    ]
