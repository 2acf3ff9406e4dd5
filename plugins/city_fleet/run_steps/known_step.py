"""What is known of a city is kept where predictions look for it, whatever becomes of the run's model."""

from __future__ import annotations

from city_fleet import outgoing_text
from city_fleet.champions.planned_city import PlannedCity
from city_fleet.errors import BrokenKnown
from city_fleet.plan import Run
from city_fleet.state import known_values
from city_fleet.state.objects import read_uri

_log = outgoing_text.logger(__name__)


def keep_known(place: PlannedCity, run: Run, report: str) -> None:
    """Copy what a run's first step knows of the city.

    Scripts of before, and a team's own, write none. What can't be believed is left where it is: forecasts go on from
    what was known before, and say until when that reaches; no model need wait for it.

    :param report: URI of the folder of the city's report.
    """
    keys, uri, s3 = place.keys, report + known_values.KNOWN_FILE, place.aws.s3
    body = read_uri(s3, uri, known_values.MAX_BYTES)
    if body is None:
        return
    city = place.plan.city
    try:
        known = known_values.parse(body, uri, city.slug, run.stamp)
        if known.known_until is None:
            return  # nothing at all: what was known before says more
        if city.parent is not None and city.stale_periods is not None:
            # Who predicts knows no fleet file: it learns here whose model stands in.
            # What the last comparison has said counts until this run's own.
            before = known_values.newest_copy(s3, keys, city.slug)
            beaten = before.beaten if before is not None and before.parent == city.parent else None
            body = known_values.with_parent(body, city.parent, city.stale_periods, beaten)
            known = known_values.parse(body, uri, city.slug, run.stamp)
        key = known_values.keep(place.objects, keys, known, body)
    except BrokenKnown as error:
        _log.warning("%s. It is not kept", error)
        return
    _log.info("Known until %s; kept as %s", known.known_until, keys.uri(key))
