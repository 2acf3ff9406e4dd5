"""Takes what callers say really happened, and keeps it in the bucket for the next look of the ``_monitor`` DAG.

The Lambda function carries this module. A store, live pointers and a rule are passed in.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import aws_errors, clock, naming, outgoing_text
from city_fleet.errors import BadRequest, NotReady, UnknownCity, show_value
from city_fleet.prediction import reported_outcomes
from city_fleet.prediction.deadline import Deadline
from city_fleet.prediction.live_cache import LivePointers
from city_fleet.prediction.reported_outcomes import EXAMPLE, ID, MEMBERS, Row
from city_fleet.state.objects import ObjectStore
from city_fleet.traffic_rules import CaptureRule

log = outgoing_text.logger(__name__)

MOST = 1000
EXAMPLE_OF_MANY = '{"outcomes": [{"prediction_id": …, "outcome": …}, …]}'
OF_SERIES = "its data are a series, so what came true is taken from them and not from here"
NOTHING_KEPT = "capture.share is 0, so no prediction is kept that an outcome could be held against"
_THREADS = 16
_RETRY_AFTER_SECONDS = 60


def is_meant(request: Any) -> bool:
    """Tell whether a request that is handed over as it is reports outcomes."""
    return isinstance(request, dict) and ("outcomes" in request or ID in request)


@dataclass(frozen=True)
class OutcomeInbox:
    """Where outcomes of a fleet's predictions arrive.

    :param store: of the fleet's bucket; its client writes with the fleet's key, and without retries of its own.
    :param rule: which predictions are kept; None for none.
    """

    store: ObjectStore
    keys: naming.Keys
    pointers: LivePointers
    rule: CaptureRule | None

    def take(self, request: Any, deadline: Deadline) -> dict[str, Any]:
        """Keep the outcomes of a request, all or none.

        :param request: one of :data:`EXAMPLE`, or :data:`EXAMPLE_OF_MANY`.
        :return: ``accepted``: how many, and ``not_kept``: of how many of them the prediction was not captured.
        :raises BadRequest: something of it is wrong; nothing was kept.
        :raises NotReady: S3 does not answer, or refuses: the same request may succeed later.
        :raises ServingError: a live pointer can't be read.
        """
        rows = _rows(request)
        rule = self.rule
        if rule is None:
            raise BadRequest(f"No outcome is taken: {NOTHING_KEPT}.", mistakes=[])
        now = clock.utc_now()
        # Once without asking for cities: what no id says needs no request.
        cities = {each.of.city for each in reported_outcomes.check(rows, now, lambda city: None).good}
        with ThreadPoolExecutor(_THREADS) as pool:
            refused = dict(
                zip(cities, pool.map(lambda city: self._wrong(city, rule, deadline), cities), strict=True)
            )
        checked = reported_outcomes.check(rows, now, refused.get)
        if checked.mistakes:
            raise BadRequest(checked.sentence, mistakes=[])
        key = self.keys.outcomes(now, secrets.token_hex(6))
        body = reported_outcomes.to_lines(checked.good)
        where = self.store.uri(key)
        try:
            deadline.call(f"S3 ({where})", lambda: self.store.put(key, body, reported_outcomes.CONTENT_TYPE))
        except (ClientError, BotoCoreError) as error:
            cure = ""
            if isinstance(error, ClientError) and aws_errors.is_denied(error):
                cure = ": give the function's role s3:PutObject there (./fleet deploy does)"
            log.warning("Outcomes can't be written to %s: %s%s", where, error, cure)
            raise NotReady(
                f"{len(checked.good)} outcomes could not be kept, none of them; send them again later.",
                retry_after_seconds=_RETRY_AFTER_SECONDS,
                attempts=1,
            ) from error
        not_kept = sum(not reported_outcomes.is_kept(each.of, rule.share) for each in checked.good)
        return {"status": 200, "accepted": len(checked.good), "not_kept": not_kept}

    def _wrong(self, city: str, rule: CaptureRule, deadline: Deadline) -> str | None:
        """Return why no outcome of a city's predictions is taken."""
        try:
            pointer = self.pointers.get(city, deadline)
        except UnknownCity as error:
            return error.message.rstrip(".")
        if not pointer.is_table:
            return f"city {city!r}: {OF_SERIES}"
        if rule.cities and city not in rule.cities:
            return f"capture.cities does not name city {city!r}, so none of its predictions is kept"
        return None


def _rows(request: Any) -> list[Row]:
    """:raises BadRequest: it is no request."""
    if not isinstance(request, Mapping):
        raise BadRequest(
            f"The request: got {show_value(request)}; allowed: an object, {EXAMPLE} or {EXAMPLE_OF_MANY}.",
            mistakes=[],
        )
    if "outcomes" not in request:
        return [("The request", {**request})]
    items = request["outcomes"]
    if len(request) > 1 or not isinstance(items, list) or not 1 <= len(items) <= MOST:
        got = show_value(items) if len(request) == 1 else f"'outcomes' and {len(request) - 1} other members"
        raise BadRequest(
            f"outcomes: got {got}; allowed: alone, a list of 1 to {MOST:,}, each with {' and '.join(MEMBERS)}: "
            f"{EXAMPLE_OF_MANY}.",
            mistakes=[],
        )
    return [(f"outcomes, item {number}", item) for number, item in enumerate(items, start=1)]
