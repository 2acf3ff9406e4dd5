"""What observers are told of a prediction, from what was asked and answered. Pure.

Standard library only, as the Lambda function carries this module.
"""

from __future__ import annotations

import operator
from typing import Any

from city_fleet import clock
from city_fleet.errors import PredictError, show_value
from city_fleet.prediction.endpoint_answer import Prediction
from city_fleet.prediction.live_cache import MAX_CITY_LENGTH
from city_fleet.prediction.model_question import NO_FEATURES, Asked, slug_of
from city_fleet.state.observed import Observed

# All that is asked but the city, and nothing of who asks.
_GIVEN = ("features", "top_k", "horizon", "history", "ahead")
_values_given = operator.attrgetter(*_GIVEN)


def of(asked: Asked, answer: Prediction | PredictError, latency_ms: float) -> Observed:
    """Return what there is to know of one prediction.

    :param latency_ms: of a failure; an answer has its own.
    """
    given = _given(asked)
    if isinstance(answer, Prediction):
        return Observed(
            answer.prediction_id,
            answer.city,
            clock.parse_zulu(answer.prediction_id.split(".")[1]),
            given,
            200,
            answer.to_dict(),
            answer.latency_ms,
            target_model=answer.target_model,
            package_version=answer.package_version,
            role=answer.role,
            cold=answer.cold,
        )
    # In brackets: what is no text is no city, whatever it looks like.
    city = slug_of(asked.city) if isinstance(asked.city, str) else f"({show_value(asked.city)})"
    return Observed(
        "",
        city[:MAX_CITY_LENGTH],
        clock.utc_now(),
        given,
        answer.status,
        {},
        round(latency_ms, 1),
        error=f"{type(answer).__name__}: {answer.message}",
    )


def _given(asked: Asked) -> dict[str, Any]:
    """Return what the caller gave besides the city, and nothing of who that is."""
    given = zip(_GIVEN, _values_given(asked), strict=True)
    return {name: value for name, value in given if value is not None and value is not NO_FEATURES}
