"""The table of calls in docs/jobs.md is what a city's run really asks of AWS."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "jobs.md"
ROW = re.compile(r"\| `(?P<operation>[a-z0-9-]+:\w+)` \| (?P<calls>\d+) \| (?P<steps>[^|]+) \|")
MOST_OF_SAGEMAKER = 16


@pytest.fixture(scope="module")
def counted(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Calls by step of one run of one city with real operators, real jobs and a champion to compare with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(ROOT / "bench"), *sys.path])
        patch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "aws://")
        patch.setenv("CITY_FLEET_WAITER_DELAY_SECONDS", "2")
        import city_run

        with city_run.running() as server:
            _, counts, results = city_run.run_city(server)
            assert results["publish"]["outcome"] == "live"
            yield counts


def test_the_table_of_calls_is_true(counted: Any) -> None:
    real: dict[str, dict[str, int]] = {}
    for step, counter in counted.calls.items():
        for operation, count in counter.items():
            real.setdefault(operation, {})[step] = count
    rows = sorted(
        f"| `{operation}` | {sum(steps.values())} | {', '.join(f'{step} {n}' for step, n in steps.items())} |"
        for operation, steps in real.items()
    )
    written = sorted(match[0] for match in ROW.finditer(PAGE.read_text()))
    assert written == rows, "docs/jobs.md should say:\n" + "\n".join(rows)


def test_a_citys_run_stays_within_its_allowance(counted: Any) -> None:
    calls = sum(counted.calls.values(), start=type(counted.polls)())
    of_sagemaker = sum(count for operation, count in calls.items() if operation.startswith("sagemaker:"))
    assert of_sagemaker <= MOST_OF_SAGEMAKER
    assert set(counted.polls) == {"sagemaker:ListProcessingJobs", "sagemaker:ListTrainingJobs"}
