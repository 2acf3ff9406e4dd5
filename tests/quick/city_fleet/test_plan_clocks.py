"""Which moments a run may be about: a worker's clock may be behind, and a schedule may have ended."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest

from city_fleet.plan import CityPlan
from tests.support.fleets import austin


def test_an_as_of_may_be_as_far_ahead_as_clocks_differ_and_no_further() -> None:
    now = datetime.now(UTC)
    assert austin().check_as_of(now + timedelta(minutes=5)) > now
    with pytest.raises(ValueError, match="lies in the future"):
        austin().check_as_of(now + timedelta(minutes=20))


def scheduled(**settings: Any) -> CityPlan:
    plan = austin()
    return CityPlan(plan.fleet, plan.city.model_copy(update=settings))


@pytest.mark.parametrize(
    ("settings", "moment", "last"),
    [
        ({"schedule": "@monthly", "end_date": date(2015, 8, 15)}, datetime(2026, 11, 26, tzinfo=UTC), (2015, 8, 1)),
        ({"schedule": "@monthly", "end_date": date(2015, 8, 1)}, datetime(2015, 8, 2, tzinfo=UTC), (2015, 8, 1)),
        # The schedule goes on, or has no end, or there is none.
        ({"schedule": "@monthly", "end_date": date(2015, 8, 15)}, datetime(2015, 8, 15, 23, tzinfo=UTC), None),
        ({"schedule": "@monthly", "end_date": None}, datetime(2026, 11, 26, tzinfo=UTC), None),
        ({"schedule": None, "end_date": date(2015, 8, 15)}, datetime(2026, 11, 26, tzinfo=UTC), None),
        ({"schedule": "@daily", "end_date": date(9999, 12, 31)}, datetime(2026, 11, 26, tzinfo=UTC), None),
        # It is still the last day in UTC.
        (
            {"schedule": "@daily", "end_date": date(2015, 8, 15)},
            datetime(2015, 8, 16, 1, tzinfo=timezone(timedelta(hours=5))),
            None,
        ),
    ],
)  # fmt: skip
def test_the_last_tick_counts_once_the_schedule_has_ended(
    settings: dict[str, Any], moment: datetime, last: tuple[int, int, int] | None
) -> None:
    assert scheduled(**settings).last_moment(moment) == (last and datetime(*last, tzinfo=UTC))
