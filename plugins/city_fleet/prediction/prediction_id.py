"""What a prediction is called, so that a caller can say later what really happened: ``<slug>.<stamp>.<random>``.

City and moment stand in it, so that what was captured of a prediction is found without a search through all. Standard
library only, as the Lambda function carries this module.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from city_fleet import clock, naming
from city_fleet.errors import BadRequest, show_value

EXAMPLE = "austin.20150801T061500Z.5f0c2a9b41de"
PATTERN = r"[a-z0-9_]{1,100}\.[0-9]{8}T[0-9]{6}Z\.[0-9a-f]{12}"
_FORM = re.compile(PATTERN)
_RANDOM_BYTES = 6


@dataclass(frozen=True)
class PredictionId:
    """A prediction's id, taken apart.

    :param city: slug of the city that was asked about.
    :param moment: when it was asked for, to the second; UTC.
    """

    text: str
    city: str
    moment: datetime


def new(city: str, moment: datetime) -> str:
    """Return an id that no other prediction has.

    :param city: a slug.
    :param moment: with a zone.
    """
    return f"{city}.{clock.stamp(moment)}.{secrets.token_hex(_RANDOM_BYTES)}"


def read(value: Any) -> PredictionId:
    """Read what a caller sends as an id.

    :raises BadRequest: it is none.
    """
    if isinstance(value, str) and _FORM.fullmatch(value):
        city, stamp, _ = value.split(".")
        try:
            if naming.is_slug(city):
                return PredictionId(value, city, clock.parse(stamp))
        except ValueError:
            pass  # a day that no calendar has
    raise BadRequest(
        f"prediction_id: got {show_value(value)}; allowed: the prediction_id of an answer, such as {EXAMPLE!r}.",
        mistakes=[],
    )
