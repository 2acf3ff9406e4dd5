"""How long tasks wait between tries."""

from __future__ import annotations

from datetime import timedelta

from city_fleet.orchestration.fleet_dags import backing_off


def test_pauses_double_up_to_half_an_hour_and_none_gets_shorter() -> None:
    short, long = backing_off(timedelta(seconds=60)), backing_off(timedelta(hours=2))
    assert (short["retry_delay"], short["retry_exponential_backoff"]) == (timedelta(seconds=60), 2.0)
    assert short["max_retry_delay"] == timedelta(minutes=30)
    assert long["retry_delay"] == long["max_retry_delay"] == timedelta(hours=2)
