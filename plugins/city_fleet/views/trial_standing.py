"""How the trials of a fleet stand: what each challenger has answered so far, and what the comparison says of it."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from city_fleet.champions import trial_verdict
from city_fleet.errors import BrokenScores
from city_fleet.naming import Keys
from city_fleet.state import challengers, live_scores
from city_fleet.state.challengers import Challenger
from city_fleet.state.live_scores import LiveScores
from city_fleet.state.objects import ObjectStore
from city_fleet.state.observed import CHALLENGER

#: Trials whose scores one look reads; how others stand is not said.
_LOOKED_AT = 200
_READERS = 16


@dataclass(frozen=True)
class CityTrial:
    """A challenger that is tried beside its city's champion.

    :param trial: as it was begun.
    :param answers: of the challenger that are noted beside what came true, or wait for it; None where nobody looked.
    :param known: of these, those of which it is known what really happened.
    :param standing: ``better``, ``worse`` or ``undecided``; None where nobody looked.
    :param sentence: how the comparison stands, without its full stop.
    """

    trial: Challenger
    answers: int | None = None
    known: int | None = None
    standing: str | None = None
    sentence: str = ""

    @property
    def remark(self) -> str:
        """Return it as one remark beside a city's state."""
        trial = self.trial
        days = f"since {trial.since[:10]}, until {trial.until[:10]}"
        said = f"version {trial.version} is on trial {trial.sentence} {days}"
        return f"{said}: {self.sentence}" if self.sentence else said

    def to_dict(self) -> dict[str, Any]:
        trial = asdict(self.trial)
        model = trial.pop("model")
        return {
            "target_model": model["target_model"],
            **trial,
            "answers": self.answers,
            "known": self.known,
            "standing": self.standing,
            "sentence": self.sentence,
        }


def read(store: ObjectStore, keys: Keys) -> Mapping[str, CityTrial]:
    """Return the trials of an installation by city: one request, and one more for each trial.

    :raises OtherInstallation: what is on trial is another installation's.
    :raises PlatformError: it can't be read.
    """
    running = challengers.read(store, keys).running

    def one(trial: Challenger) -> CityTrial:
        try:
            return of(trial, live_scores.read(store, keys, trial.city))
        except BrokenScores as error:
            return CityTrial(trial, sentence=str(error).rstrip("."))

    if not running:
        return {}
    looked_at = dict(list(running.items())[:_LOOKED_AT])
    with ThreadPoolExecutor(_READERS, thread_name_prefix="trials") as pool:
        found = dict(zip(looked_at, pool.map(one, looked_at.values()), strict=True))
    return {city: found.get(city) or CityTrial(trial) for city, trial in running.items()}


def of(trial: Challenger, scores: LiveScores) -> CityTrial:
    """Return how a trial stands by its city's scores. Pure."""
    target = trial.model.target_model
    mine = [row for row in scores.rows if row.role == CHALLENGER and row.target_model == target]
    verdict = trial_verdict.compare(trial, scores.known)
    known = sum(row.actual is not None for row in mine)
    return CityTrial(trial, len(mine), known, verdict.kind, verdict.sentence)
