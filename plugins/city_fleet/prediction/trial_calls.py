"""A challenger on trial is asked in the champion's place, or beside it, and never at the cost of an answer.

As a canary it has a part of the request's time; whatever it does not answer by then, or cannot, the champion does. As
a shadow it is asked at the same time as the champion and waited for by nobody. Both run in threads that are bounded: a
call to AWS can't be taken back, only left alone. The Lambda carries this module.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from city_fleet import outgoing_text
from city_fleet.errors import PredictError, ServingError
from city_fleet.prediction import observation
from city_fleet.prediction.challenger_cache import Trials
from city_fleet.prediction.deadline import Deadline
from city_fleet.prediction.endpoint_answer import Prediction
from city_fleet.prediction.model_question import Asked
from city_fleet.prediction.trial_tally import Tallies
from city_fleet.state.challengers import Challenger
from city_fleet.state.live_pointer import LivePointer
from city_fleet.state.observed import CHALLENGER, Observed

log = outgoing_text.logger(__name__)

#: A canary has so long, and at most half of what is left: the other half is the champion's.
CANARY_SECONDS = 5.0
#: Challengers that are asked at the same time, by one process.
CANARIES_AT_ONCE, SHADOWS_AT_ONCE = 16, 4


@dataclass(frozen=True)
class Tried:
    """What a challenger was asked, for one request.

    :param prediction_id: of the request's answer, whoever gives it.
    :param ask: asks it within a deadline. Raises PredictError.
    """

    trial: Challenger
    asked: Asked
    prediction_id: str
    ask: Callable[[Deadline], Prediction]


class TrialCalls:
    """Asks challengers for one predictor.

    :param tell: is told of every answer and failure that the caller does not see.
    """

    def __init__(self, trials: Trials, tell: Callable[[Observed], None]) -> None:
        self.tallies = Tallies()
        self._trials = trials
        self._tell = tell
        self._canaries = threading.BoundedSemaphore(CANARIES_AT_ONCE)
        self._shadows = threading.BoundedSemaphore(SHADOWS_AT_ONCE)

    def of(
        self, champion: LivePointer, asked: Asked, prediction_id: str, deadline: Deadline
    ) -> Challenger | None:
        """Return the challenger that is to be asked for a request; None for most."""
        trial = self._trials.of(champion, deadline)
        if trial is None or not trial.takes(str(asked.caller or prediction_id)):
            return None
        return None if self.tallies.of(trial).fallen else trial

    def canary(self, tried: Tried, champion: Callable[[], Prediction], deadline: Deadline) -> Prediction:
        """Return the challenger's answer, or the champion's where that can't.

        :param champion: asks it. Raises PredictError.
        """
        started = time.perf_counter()
        answer = self._in_time(tried, deadline.at_most(min(CANARY_SECONDS, deadline.left() / 2)))
        if isinstance(answer, Prediction):
            self._count(tried.trial, failed=False)
            return answer
        taken = (time.perf_counter() - started) * 1000
        instead = (
            champion()
        )  # where it can't either it is about the request, or the endpoint, and no one's failure
        if answer is not None:
            self._failed(tried, answer, taken)
        return instead

    def shadow(self, tried: Tried, champion: Callable[[], Prediction], deadline: Deadline) -> Prediction:
        """Return the champion's answer, and have the challenger asked at the same time; nobody waits for it."""
        if not self._shadows.acquire(blocking=False):
            self.tallies.skip(tried.trial)
            return champion()
        ended, answered = threading.Event(), [False]
        own = deadline.at_most(
            deadline.seconds
        )  # it notes what was asked last, and the champion is asked meanwhile

        def work() -> None:
            try:
                begun = time.time()
                answer = _asked(tried, own)
                ended.wait(deadline.seconds)
                # Lambda freezes a process between its calls: what an answer took then says nothing.
                if answered[0] and time.time() - begun <= deadline.seconds:
                    self._noted(tried, answer, (time.time() - begun) * 1000)
            except Exception:
                log.exception("A challenger in the shadow was asked, and could not be noted")
            finally:
                self._shadows.release()

        _start(work, f"shadow-{tried.trial.city}", self._shadows)
        try:
            answer = champion()
            answered[0] = True
            return answer
        finally:
            ended.set()

    def _in_time(self, tried: Tried, deadline: Deadline) -> Prediction | PredictError | None:
        """Ask a challenger, and leave it alone when the time is up; None where too many are under way."""
        if not self._canaries.acquire(blocking=False):
            self.tallies.skip(tried.trial)
            return None
        found: list[Prediction | PredictError] = []

        def work() -> None:
            try:
                found.append(_asked(tried, deadline))
            finally:
                self._canaries.release()

        worker = _start(work, f"canary-{tried.trial.city}", self._canaries)
        if worker is None:
            return None
        worker.join(deadline.left())
        return found[0] if found else deadline.missed()

    def _noted(self, tried: Tried, answer: Prediction | PredictError, latency_ms: float) -> None:
        if isinstance(answer, PredictError):
            self._failed(tried, answer, latency_ms)
            return
        self._count(tried.trial, failed=False)
        self._tell(replace(observation.of(tried.asked, answer, latency_ms), shadow=True))

    def _failed(self, tried: Tried, error: PredictError, latency_ms: float) -> None:
        """Count a failure that the champion has made good."""
        trial = tried.trial
        seen = observation.of(tried.asked, error, latency_ms)
        self._tell(
            replace(
                seen,
                city=trial.city,
                prediction_id=tried.prediction_id,
                target_model=trial.model.target_model,
                package_version=trial.version,
                role=CHALLENGER,
                shadow=True,
            )
        )
        self._count(trial, failed=True, why=str(error))

    def _count(self, trial: Challenger, *, failed: bool, why: str = "") -> None:
        if self.tallies.count(trial, failed=failed):
            tally = self.tallies.of(trial)
            log.warning(
                "City %r: challenger %s falls back to the champion in this process: %d of its %d calls failed, the "
                "last one: %s",
                trial.city,
                trial.model.target_model,
                tally.failed,
                tally.calls,
                why,
            )


def _asked(tried: Tried, deadline: Deadline) -> Prediction | PredictError:
    try:
        return tried.ask(deadline)
    except PredictError as error:
        return error
    except Exception as error:
        log.exception("A challenger could not be asked")
        return ServingError(f"city {tried.trial.city!r}: {type(error).__name__}", city=tried.trial.city)


def _start(work: Callable[[], None], name: str, slots: threading.BoundedSemaphore) -> threading.Thread | None:
    """Start a thread that gives its slot back at its end; None where there is none to be had."""
    worker = threading.Thread(target=work, name=name, daemon=True)
    try:
        worker.start()
    except RuntimeError:
        slots.release()
        log.warning("There is no thread to ask a challenger in")
        return None
    return worker
