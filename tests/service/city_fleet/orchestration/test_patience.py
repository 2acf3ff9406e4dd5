"""What passes costs no try: tasks against a local SageMaker that refuses, storms, goes away and comes back."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred
from botocore.exceptions import ClientError, EndpointConnectionError, ReadTimeoutError

from city_fleet.approval import reconcile
from city_fleet.champions import breaker
from city_fleet.config import Breaker
from city_fleet.errors import Busy, PlatformError, PublishError
from city_fleet.orchestration.patience import passes
from city_fleet.state import objects
from tests.service.city_fleet.orchestration.city_tasks import test_city_operators
from tests.service.city_fleet.orchestration.city_tasks.test_city_operators import CityRun
from tests.support.desk import Desk
from tests.support.factors import KEYS, create_endpoint
from tests.support.local_sagemaker import LocalSageMaker

connection = test_city_operators.connection
supervisor = test_city_operators.supervisor
no_night = test_city_operators.no_night


@pytest.fixture(scope="module", autouse=True)
def endpoint(aws: LocalSageMaker) -> str:
    return create_endpoint(aws)


@pytest.fixture
def auto(aws: LocalSageMaker, tmp_path: Path) -> Desk:
    return Desk(aws, tmp_path, approval="auto")


@pytest.fixture(autouse=True)
def no_faults(aws: LocalSageMaker) -> Iterator[None]:
    yield
    order(aws)


def order(aws: LocalSageMaker, *faults: dict[str, Any]) -> None:
    """Turn on these faults of the local SageMaker and no others."""
    request = urllib.request.Request(
        f"{aws.url}/_local/faults", json.dumps({"faults": list(faults)}).encode(), method="PUT"
    )
    urllib.request.urlopen(request, timeout=10)


def resumed(run: CityRun, task_id: str, waits: TaskDeferred) -> Any:
    """Let a task come back after its wait, as Airflow does."""
    return run.task(task_id, str(waits.method_name), event={"turn": True}, **(waits.kwargs or {}))


def client_error(code: str, status: int = 400) -> ClientError:
    answer: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(answer, "PutObject")


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def test_what_passes_and_what_does_not(subtests: pytest.Subtests) -> None:
    refused = EndpointConnectionError(endpoint_url="x")
    cases: list[tuple[Exception, bool]] = [
        (client_error("ThrottlingException"), True),
        (client_error("ResourceLimitExceeded"), True),
        (client_error("ConditionalRequestConflict", 409), True),
        (client_error("ServiceUnavailable", 503), True),
        (client_error("Whatever", 500), True),
        (refused, True),
        (ReadTimeoutError(endpoint_url="x"), True),
        (Busy("others"), True),
        (
            caused(PublishError("the endpoint does not answer"), client_error("ModelNotReadyException", 429)),
            True,
        ),
        (caused(PublishError("the endpoint does not answer"), client_error("ModelError", 424)), False),
        (caused(AirflowFailException("no"), refused), False),
        (client_error("AccessDenied", 403), False),
        (client_error("PreconditionFailed", 412), False),
        (PlatformError("a trigger was refused"), False),
        (ValueError(), False),
    ]
    for error, passing in cases:
        with subtests.test(f"{error!r} {error.__cause__!r}"):
            assert passes(error) is passing


# An error of AWS itself is waited out in the other tests of this file.
@pytest.mark.parametrize("fault", ["slow_down", "dropped_connection"])
def test_every_task_of_a_city_waits_out_a_storm_and_then_does_its_work_once(
    aws: LocalSageMaker, auto: Desk, fault: str
) -> None:
    run = CityRun(auto, 1.1, 1)
    operation = "s3:*" if fault == "slow_down" else "*"
    for task_id in ("decide", "register", "publish", "record"):
        if task_id != "register" or operation == "*":
            order(aws, {"kind": fault, "operation": operation})
            with pytest.raises(TaskDeferred) as waits:
                run.task(task_id)
            assert type(waits.value.trigger).__name__ == "TurnTrigger"
            order(aws)
            resumed(run, task_id, waits.value)
        else:
            run.task(task_id)
    assert run.results["publish"]["outcome"] == "live"
    assert auto.pointer is not None
    assert auto.pointer.sequence == 1
    assert [record["outcome"] for record in records_of(auto)] == ["live"]


def test_a_host_that_is_gone_is_waited_out(auto: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    run = CityRun(auto, 1.1, 1)
    there = json.loads(json.dumps(run.results))
    value = {"conn_type": "aws", "login": "local", "password": "local"}
    gone = {"endpoint_url": "http://127.0.0.1:9", "region_name": "us-east-1"}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps({**value, "extra": gone}))
    with pytest.raises(TaskDeferred) as waits:
        run.task("decide")
    assert waits.value.kwargs["refusals"] == 1
    with pytest.raises(TaskDeferred) as again:
        resumed(run, "decide", waits.value)
    assert again.value.kwargs["refusals"] == 2
    assert again.value.kwargs["refused_since"] == waits.value.kwargs["refused_since"]
    assert run.results == there


def test_patience_ends_with_a_sentence_that_names_city_task_and_setting(
    aws: LocalSageMaker, auto: Desk
) -> None:
    run = CityRun(auto, 1.1, 1)
    order(aws, {"kind": "internal_error", "operation": "s3:*"})
    long_ago = datetime.now(UTC) - timedelta(seconds=auto.plan.city.capacity_wait_seconds + 1)
    with pytest.raises(PlatformError, match=rf"City '{auto.slug}', task decide: .*capacity_wait_seconds"):
        run.task("decide", "resume", event={"turn": True}, refused_since=long_ago.isoformat(), refusals=9)


def test_a_crowd_at_the_live_pointer_ends_nothing(
    aws: LocalSageMaker, auto: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = CityRun(auto, 1.1, 1)
    run.judge()
    monkeypatch.setattr(objects.rounds, "__defaults__", (0.3,))
    for _ in range(2):
        order(aws, {"kind": "conditional_conflict", "probability": 1.0})
        with pytest.raises(TaskDeferred) as waits:
            run.task("publish")
        order(aws)
    assert auto.pointer is None
    assert resumed(run, "publish", waits.value)["outcome"] == "live"


def test_seven_conflicts_in_ten_go_unnoticed(aws: LocalSageMaker, auto: Desk) -> None:
    order(aws, {"kind": "conditional_conflict", "probability": 0.7})
    run = CityRun(auto, 1.1, 1)
    record = run.run()
    assert record["outcome"] == "live"
    assert auto.pointer is not None


def test_a_night_is_not_called_stopped_before_that_is_stored(
    aws: LocalSageMaker, auto: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    for city in ("a", "b", "c"):
        breaker.mark(auto.s3, KEYS, "20140101T000000Z", city, ["unfit"])
    rule = Breaker(max_failed_share=0.1, minimum_sample=3)
    order(aws, {"kind": "conditional_conflict", "probability": 1.0})
    monkeypatch.setattr(objects.rounds, "__defaults__", (0.3,))
    with pytest.raises(Busy):
        breaker.stop_or_read(auto.s3, KEYS, "20140101T000000Z", rule)
    order(aws, {"kind": "conditional_conflict", "probability": 0.7})
    monkeypatch.undo()
    stopped = breaker.stop_or_read(auto.s3, KEYS, "20140101T000000Z", rule)
    assert stopped == breaker.read(auto.s3, KEYS, "20140101T000000Z")
    assert stopped is not None


def test_a_version_that_was_deleted_names_the_task_to_clear(auto: Desk) -> None:
    run = CityRun(auto, 1.1, 1)
    run.judge()
    auto.planned.aws.sagemaker.delete_model_package(ModelPackageName=run.results["register"]["package_arn"])
    with pytest.raises(AirflowFailException, match=r"was deleted.*Clear the task 'register'"):
        run.task("publish")


def test_a_report_that_is_gone_names_the_task_to_clear(auto: Desk) -> None:
    run = CityRun(auto, 1.1, 1)
    bucket, key = run.results["preprocess"]["outputs"]["report"].removeprefix("s3://").split("/", 1)
    auto.s3.delete_object(Bucket=bucket, Key=f"{key}city={auto.slug}/status.json")
    with pytest.raises(AirflowFailException, match="clear the task 'preprocess' with everything downstream"):
        run.task("decide")


def test_a_run_that_ends_after_its_record_was_written_says_so(auto: Desk) -> None:
    """After an outage a person clears the tasks that failed; the record's task had succeeded, and is left alone."""
    run = CityRun(auto, 1.1, 1)
    run.judge()
    context = run.context("record")
    context["ti"].states["publish"] = "failed"
    context["task"].execute(context)
    (first,) = records_of(auto)
    assert (first["outcome"], first["failed_task"]) == ("failed", "publish")
    run.results["record"] = {}
    run.task("publish")
    outcomes = [record["outcome"] for record in records_of(auto)]
    assert sorted(outcomes) == ["failed", "live"]
    newest = max(records_of(auto), key=lambda record: record["finished_at"])
    assert (newest["outcome"], newest["failed_task"]) == ("live", None)
    assert newest["target_model"] == auto.pointer.target_model  # type: ignore[union-attr]


def records_of(desk: Desk) -> list[dict[str, Any]]:
    prefix = f"{KEYS.records_prefix()}{desk.slug}/"
    listed = desk.s3.list_objects_v2(Bucket=KEYS.bucket, Prefix=prefix).get("Contents", [])
    return [
        json.loads(desk.s3.get_object(Bucket=KEYS.bucket, Key=item["Key"])["Body"].read()) for item in listed
    ]


@pytest.mark.usefixtures("supervisor")
def test_a_question_and_its_answer_wait_out_an_outage(aws: LocalSageMaker, tmp_path: Path) -> None:
    run = CityRun(Desk(aws, tmp_path, approval="manual"), 1.1, 1)
    run.judge()
    order(aws, {"kind": "internal_error", "operation": "*"})
    with pytest.raises(TaskDeferred) as waits:
        run.task("approve")
    order(aws)
    assert type(waits.value.trigger).__name__ == "TurnTrigger"
    with pytest.raises(TaskDeferred) as asks:
        resumed(run, "approve", waits.value)
    assert type(asks.value.trigger).__name__ == "ApprovalTrigger"
    order(aws, {"kind": "internal_error", "operation": "*"})
    with pytest.raises(TaskDeferred) as again:
        test_city_operators.answer(run, "Approve", "fine")
    order(aws)
    assert again.value.kwargs["held"]["chosen_options"] == ["Approve"]
    resumed(run, "approve", again.value)
    assert run.end()["outcome"] == "live"


def test_what_reconcile_can_not_do_for_now_is_left_to_the_next_look(
    aws: LocalSageMaker, tmp_path: Path
) -> None:
    desk = Desk(aws, tmp_path, approval="manual")
    run = CityRun(desk, 1.1, 1)
    run.judge()
    desk.elsewhere(run.version, "Approved", ApprovalDescription="by script")
    order(aws, {"kind": "internal_error", "operation": "s3:GetObject", "name": f"*/live/{desk.slug}*"})
    looked = reconcile.run(desk.planned.aws, desk.fleet, now=datetime.now(UTC) + timedelta(hours=1))
    order(aws)
    assert (looked.problems, looked.left) == ([], 1)
    reconcile.run(desk.planned.aws, desk.fleet, now=datetime.now(UTC) + timedelta(hours=1))
    assert desk.pointer is not None
