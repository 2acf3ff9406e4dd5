"""A prediction as it was asked for and answered: what metrics count, captures keep, and live scores are made of. Pure.

Standard library only, as the Lambda function carries this module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

#: Who answers: the model that the live pointer names, or one that is tried beside it.
CHAMPION, CHALLENGER = "champion", "challenger"


@dataclass(slots=True)
class Observed:
    """One prediction, or the failure to make it.

    Nobody changes one. It is not frozen since to make a frozen one takes five times as long, and every prediction
    makes one on its caller's time.

    :param prediction_id: see :mod:`city_fleet.prediction.prediction_id`; a challenger that shadows the champion has the
        id of the champion's answer.
    :param city: slug of the city that was asked about; what has none stands as the caller wrote it, shortened.
    :param at: when it was answered; with a zone.
    :param asked: what the caller gave besides the city: ``features``, or ``horizon``, ``history`` and ``ahead``.
    :param status: as HTTP has it; 200 of an answer.
    :param answer: what the caller got, ``prediction``, ``label``, ``forecasts`` …; empty of a failure.
    :param error: kind and sentence of a failure, ``"NotReady: …"``.
    :param target_model: the artifact that answered; empty where nobody was asked.
    :param package_version: its version in the model registry.
    :param role: :data:`CHAMPION` or :data:`CHALLENGER`.
    :param shadow: whether the caller got another answer than this one.
    :param latency_ms: from the start of the request to the answer.
    :param cold: whether the endpoint had to load the model first; None where nothing says it.
    :param masked: names whose values were left out, of what was asked and answered; None stands there.
    """

    prediction_id: str
    city: str
    at: datetime
    asked: Mapping[str, Any]
    status: int
    answer: Mapping[str, Any]
    latency_ms: float
    error: str = ""
    target_model: str = ""
    package_version: int | None = None
    role: str = CHAMPION
    shadow: bool = False
    cold: bool | None = None
    masked: tuple[str, ...] = ()


#: Is told of every prediction, in the thread that has made it; what it raises is logged, and nobody else's matter.
Observer = Callable[[Observed], None]
