"""What is turned on and goes nowhere is said by the doctor; what is off is not."""

from __future__ import annotations

from typing import Any

import pytest

from city_fleet.doctor.findings import Level
from city_fleet.doctor.observe_checks import check

OFF = {
    "traces": False,
    "traces_exporter": "otlp",
    "traces_address": False,
    "metrics": [],
    "lineage": False,
    "installed": [],
}
PROVIDER = "airflow.providers.openlineage"


def said(**changes: Any) -> list[str]:
    """The warnings."""
    found = list(check({**OFF, **changes}))
    assert [each.level for each in found][-1:] == [Level.OK]
    assert all(each.advice for each in found[:-1])
    return [each.what for each in found[:-1]]


def test_what_is_off_is_not_spoken_of() -> None:
    assert list(check(OFF)) == []


def test_what_goes_nowhere_is_a_warning(subtests: pytest.Subtests) -> None:
    for changes, words in (
        ({"traces": True}, ["traces are on and have no address"]),
        ({"traces": True, "traces_address": True}, []),
        ({"traces": True, "traces_exporter": "console"}, []),
        ({"metrics": ["statsd_on"]}, ["[metrics] statsd_on is on, and the package statsd is not installed"]),
        ({"metrics": ["statsd_on"], "installed": ["statsd"]}, []),
        ({"metrics": ["otel_on"]}, []),
        # Airflow sends by one of them.
        ({"metrics": ["statsd_datadog_enabled", "statsd_on"], "installed": ["datadog"]}, []),
        ({"lineage": True}, ["OpenLineage has an address, and its provider is not installed"]),
        ({"lineage": True, "installed": [PROVIDER]}, []),
    ):
        with subtests.test(str(changes)):
            found = said(**changes)
            assert len(found) == len(words)
            assert all(each.startswith(word) for each, word in zip(found, words, strict=True)), found


def test_what_is_on_is_named_in_one_line() -> None:
    everything = {"traces": True, "traces_address": True, "metrics": ["statsd_on"], "lineage": True}
    (found,) = check({**OFF, **everything, "installed": ["statsd", PROVIDER]})
    assert found.what == "it shows others what it does: traces, metrics by StatsD, lineage"
