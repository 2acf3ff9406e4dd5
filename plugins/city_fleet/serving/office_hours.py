"""Whether a shared endpoint with hours is to be there, and what is to be done about it. Pure.

Hours are those of a place's clocks: an endpoint that opens at seven does so in summer and in winter. A time that a
clock leaps over is read as if it had not leapt yet; of one that it shows twice, the first opens and the second closes.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from enum import Enum
from zoneinfo import ZoneInfo

from city_fleet import clock
from city_fleet.config.hours_section import DAYS, Hours
from city_fleet.serving.endpoint_change import UNDER_WAY
from city_fleet.state.shared_endpoints import Closed, SharedEndpoint

#: How long before its hours an endpoint is made: it takes some minutes, and is looked at every five.
AHEAD = timedelta(minutes=20)
#: Callers believe for half a minute what they have read. One that can't reach S3 meanwhile gets the endpoint's error.
CALLERS_KNOW_AFTER = timedelta(minutes=2)
_WEEK = timedelta(days=8)
_IN_SERVICE = "InService"


class Do(Enum):
    """What is to be done about a shared endpoint."""

    NOTHING = "nothing"
    #: Something is under way; the next look sees further.
    WAIT = "wait"
    #: Note that it is closed.
    CLOSE = "close"
    #: Delete the SageMaker endpoint of one that is noted as closed.
    DELETE = "delete"
    #: Make the SageMaker endpoint again.
    CREATE = "create"
    #: Note that it is open.
    OPEN = "open"
    #: It was made again, and has failed.
    MEND = "mend"


def spans(hours: Hours, now: datetime) -> list[tuple[datetime, datetime]]:
    """Return when an endpoint is open, a week back and ahead: (opening, closing), UTC, in their order.

    Hours that begin where others end are one span: nothing closes between them.
    """
    found: list[tuple[datetime, datetime]] = []
    for opening, closing in _days(hours, now):
        if found and found[-1][1] >= opening:
            found[-1] = (found[-1][0], max(closing, found[-1][1]))
        elif closing > opening:
            found.append((opening, closing))
    return found


def _days(hours: Hours, now: datetime) -> Iterator[tuple[datetime, datetime]]:
    zone = ZoneInfo(hours.time_zone)
    first = (now - _WEEK).astimezone(zone).date()
    last = (now + _WEEK).astimezone(zone).date()
    opens = time.fromisoformat(hours.open)
    whole = hours.close == "24:00"
    closes = time(0) if whole else time.fromisoformat(hours.close)
    day = first
    while day <= last:
        if DAYS[day.weekday()] in hours.days:
            end = day + timedelta(days=1) if whole or closes <= opens else day
            closings = [datetime.combine(end, closes.replace(fold=fold), tzinfo=zone) for fold in (0, 1)]
            yield (
                datetime.combine(day, opens, tzinfo=zone).astimezone(UTC),
                max(each.astimezone(UTC) for each in closings),
            )
        day += timedelta(days=1)


def is_open(hours: Hours, now: datetime) -> bool:
    """Tell whether an instant is within the hours; that of closing is not."""
    return any(opening <= now < closing for opening, closing in spans(hours, now))


def next_opening(hours: Hours, now: datetime) -> datetime:
    """Return the first opening after an instant, by the clocks of the hours' time zone."""
    return min(opening for opening, _ in spans(hours, now) if opening > now).astimezone(
        ZoneInfo(hours.time_zone)
    )


def last_closing(hours: Hours, now: datetime) -> datetime:
    """Return the last closing up to an instant, UTC."""
    return max(closing for _, closing in spans(hours, now) if closing <= now)


def share_open(hours: Hours | None) -> float:
    """Return for which part of a week an endpoint is there, with the time ahead of its openings; clocks that change
    are left out.

    :param hours: None where it never closes.
    """
    if hours is None:
        return 1.0
    week = timedelta(days=7)
    # Any week in which no clock changes: UTC's never do.
    now = datetime(2024, 1, 10, tzinfo=UTC)
    there = timedelta()
    for opening, closing in spans(hours.model_copy(update={"time_zone": "UTC"}), now):
        begin, end = max(opening - AHEAD, now - week / 2), min(closing, now + week / 2)
        there += max(end - begin, timedelta())
    return min(there / week, 1.0)


def is_wanted(hours: Hours | None, said: SharedEndpoint | None, now: datetime) -> bool:
    """Tell whether an endpoint is to be there: within its hours, shortly before them, or because somebody opened it.

    :param hours: None where it never closes.
    :param said: what is noted of it.
    """
    if hours is None or is_open(hours, now) or is_open(hours, now + AHEAD):
        return True
    return said is not None and said.opened != "" and clock.parse(said.opened) >= last_closing(hours, now)


def to_do(hours: Hours | None, said: SharedEndpoint | None, status: str | None, now: datetime) -> Do:
    """Return what is to be done about a shared endpoint.

    :param hours: None where it never closes.
    :param said: what is noted of it.
    :param status: of the SageMaker endpoint that serves; None where it is not there.
    """
    wanted = is_wanted(hours, said, now)
    making = said is not None and said.making is not None
    if said is None or said.closed is None:
        if wanted or status is None:
            return Do.NOTHING
        return Do.WAIT if making or _changes(status) else Do.CLOSE
    if status is None:
        return Do.CREATE if wanted else Do.NOTHING
    if _changes(status):
        return Do.WAIT
    if wanted:
        return Do.OPEN if status == _IN_SERVICE else Do.MEND
    known = now - clock.parse(said.closed.since) >= CALLERS_KNOW_AFTER
    return Do.DELETE if known and not making else Do.WAIT


def closed(hours: Hours, said: Closed | None, now: datetime) -> Closed:
    """Return what is noted of an endpoint that is closed.

    :param said: what is noted already: it stays closed, and opens when the hours of now say.
    """
    since = clock.iso(now) if said is None else said.since
    return Closed(since, clock.iso(next_opening(hours, now)), hours.time_zone)


def _changes(status: str) -> bool:
    return status in (*UNDER_WAY, "Deleting")
