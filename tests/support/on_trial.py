"""A city with a challenger on trial, asked as an application asks it: a real endpoint, and what observers were told."""

from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from typing import Any

from city_fleet import clock
from city_fleet.prediction.challenger_cache import Trials
from city_fleet.prediction.endpoint_cache import Endpoints
from city_fleet.prediction.known_cache import KnownCopies
from city_fleet.prediction.live_cache import LivePointers
from city_fleet.prediction.model_question import Asked
from city_fleet.prediction.predict import Prediction, Predictor
from city_fleet.state import challengers, live
from city_fleet.state.challengers import Challenger
from city_fleet.state.live_pointer import LivePointer, ServedModel
from city_fleet.state.objects import ObjectStore
from city_fleet.state.observed import Observed
from tests.support.aws_calls import Calls, client
from tests.support.serving import KEYS, Serving, city_name

SECONDS = 20.0


class OnTrial:
    """A city whose champion is model 0 and whose challenger is model 1, as an application asks it.

    :param models: others: of one city the challenger's pointer, and the champion's, which is live.
    :param known: what is known of the city, for its forecasts by name.
    :param changes: of the trial.
    """

    def __init__(
        self,
        serving: Serving,
        way: str,
        share: float,
        *,
        models: tuple[LivePointer, LivePointer] | None = None,
        known: KnownCopies | None = None,
        **changes: Any,
    ) -> None:
        self.serving = serving
        self.city = city_name() if models is None else models[0].city
        other, self.champion = models or (serving.publish(self.city, 1), serving.publish(self.city, 0))
        model = ServedModel(**{each.name: getattr(other, each.name) for each in fields(ServedModel)})
        now = clock.utc_now()
        self.trial = Challenger(
            **{
                "model": model,
                "version": 1,
                "way": way,
                "share": share,
                "champion": self.champion.target_model,
                "sequence": self.champion.sequence,
                "since": clock.iso(now),
                "until": clock.iso(now + timedelta(days=1)),
                "by": "ann",
                **changes,
            }
        )
        self.store = ObjectStore(serving.s3, KEYS.bucket)
        challengers.change(self.store, KEYS, lambda found: found.begun(self.trial))
        self.seen: list[Observed] = []
        s3, runtime = client(serving.server, "s3"), client(serving.server, "sagemaker-runtime")
        self.calls = Calls(s3, runtime)
        self.predictor = Predictor(
            LivePointers(s3, KEYS),
            runtime,
            Endpoints(serving.s3, KEYS, serving.endpoint),
            observers=(self.seen.append,),
            known=known,
            trials=Trials(s3, KEYS),
        )
        self.row, self.of_champion = serving.expected(0)

    def ask(self, times: int, **members: Any) -> list[Prediction]:
        answers = self.predictor.predict_many([Asked(self.city, self.row, **members)] * times, SECONDS)
        assert all(isinstance(answer, Prediction) for answer in answers), answers
        return answers  # type: ignore[return-value]

    def callers(self, each: int) -> list[str]:
        """Return so many callers whom the challenger answers, and as many whom the champion does."""
        numbers = [str(number) for number in range(1000)]
        return [
            caller
            for taken in (True, False)
            for caller in [name for name in numbers if self.trial.takes(name) is taken][:each]
        ]

    @property
    def pointer(self) -> LivePointer:
        found = live.read(self.serving.s3, KEYS, self.city)
        assert found is not None
        return found.pointer

    @property
    def tally(self) -> tuple[int, int, bool]:
        assert self.predictor.trials is not None
        found = self.predictor.trials.tallies.of(self.trial)
        return found.calls, found.failed, found.fallen

    def is_as_before(self) -> bool:
        return self.pointer == self.champion
