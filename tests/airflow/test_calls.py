"""The table of calls in docs/internals/jobs.md is what a city's run really asks of AWS."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.client import BaseClient

from tests.support.iam_policies import Policy
from tests.support.paths import ROOT
from tests.support.recorded_calls import kept_recording

PAGE = ROOT / "docs" / "internals" / "jobs.md"
ROW = re.compile(r"\| `(?P<operation>[a-z0-9-]+:\w+)` \| (?P<calls>\d+) \| (?P<steps>[^|]+) \|")
MOST_OF_SAGEMAKER = 16


@pytest.fixture(scope="module")
def counted(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Calls by step of one run of one city with real operators, real jobs and a champion to compare with.

    ``asked`` is every request of its tasks, those of the run before and of the endpoint's DAG too.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(ROOT / "bench"), *sys.path])
        patch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "aws://")
        patch.setenv("CITY_FLEET_WAITER_DELAY_SECONDS", "1")  # and put back afterwards
        import city_run

        patch.setattr(city_run, "POLL_SECONDS", 1)

        asked: list[tuple[str, str, dict[str, Any]]] = []
        make = BaseClient._make_api_call

        def call(client: Any, operation: str, params: dict[str, Any]) -> Any:
            asked.append((client.meta.service_model.service_name, operation, params))
            return make(client, operation, params)

        with city_run.running() as server:
            patch.setattr(BaseClient, "_make_api_call", call)
            with kept_recording():
                _, counts, results = city_run.run_city(server)
            assert results["publish"]["outcome"] == "live"
            counts.asked = asked
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
    assert written == rows, "docs/internals/jobs.md should say:\n" + "\n".join(rows)


def test_a_citys_run_stays_within_its_allowance(counted: Any) -> None:
    calls = sum(counted.calls.values(), start=type(counted.polls)())
    of_sagemaker = sum(count for operation, count in calls.items() if operation.startswith("sagemaker:"))
    assert of_sagemaker <= MOST_OF_SAGEMAKER
    assert set(counted.polls) == {"sagemaker:ListProcessingJobs", "sagemaker:ListTrainingJobs"}


def test_airflows_policy_allows_every_request_of_a_run(counted: Any) -> None:
    """By action and by resource: names of jobs, keys of the bucket, prefixes of lists, the role that is handed on."""
    policy = Policy(
        ROOT / "docs" / "policies" / "airflow.json",
        BUCKET="city-fleet",
        FLEET="texas_housing",
        ENVIRONMENT="laptop",
        NAMES="texas-housing--laptop",
        ROLE="city-fleet",
        QUEUE="texas-housing--laptop--arrivals",
    )
    of_others = {"CreateBucket", "HeadBucket", "CreateRole"}  # the bench lays down data and role before
    denied = {
        what
        for service, operation, params in counted.asked
        if operation not in of_others and "/raw/" not in str(params.get("Key", ""))
        for what in policy.denied(service, operation, params)
    }
    assert denied == set()
    assert {"s3:PutObject", "iam:PassRole", "sagemaker:AddTags", "sagemaker:CreateEndpoint"} <= policy.used
