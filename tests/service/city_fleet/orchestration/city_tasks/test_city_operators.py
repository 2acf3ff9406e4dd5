"""The tasks from the decision on, against a real registry, bucket and endpoint: how a run may end, and what it leaves.

Airflow's side is the little that a task asks of it: results of earlier tasks, a run, a connection. The same tasks with
a real scheduler and a real form are in tests/e2e.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import DownstreamTasksSkipped, TaskDeferred
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import CreateHITLDetailPayload
from airflow.sdk.execution_time.context import OutletEventAccessors

from city_fleet import naming
from city_fleet.approval import approvals
from city_fleet.champions import breaker, moves
from city_fleet.champions.approval_states import Event, ModelState
from city_fleet.champions.release import newest_record
from city_fleet.orchestration.city_dags import city_dags
from city_fleet.state import known_values, registry
from city_fleet.state.author import Author
from city_fleet.state.objects import ObjectStore
from tests.support.desk import Desk
from tests.support.factors import ACTUAL, KEYS, create_endpoint
from tests.support.local_sagemaker import LocalSageMaker

STATUS = {
    "status": "ready",
    "recent_missing_share": {"y": 0.0},
    "extremes": {"y": {"period": "2013-01-01", "value": 1.0, "median": 1.0, "deviations": 2.0}},
}


@pytest.fixture(scope="module", autouse=True)
def endpoint(aws: LocalSageMaker) -> str:
    return create_endpoint(aws)


@pytest.fixture(autouse=True)
def connection(aws: LocalSageMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = {"endpoint_url": aws.url, "region_name": "us-east-1"}
    value = {"conn_type": "aws", "login": "local", "password": "local", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(value))


@pytest.fixture(autouse=True)
def no_night(aws: LocalSageMaker) -> None:
    """All cities of these tests are of one fleet, whose nights they share."""
    s3 = aws.client("s3")
    listed = s3.list_objects_v2(Bucket=KEYS.bucket, Prefix="factors/laptop/state/breaker/").get(
        "Contents", []
    )
    for item in listed:
        s3.delete_object(Bucket=KEYS.bucket, Key=item["Key"])


@pytest.fixture
def auto(aws: LocalSageMaker, tmp_path: Path) -> Desk:
    return Desk(aws, tmp_path, approval="auto")


@pytest.fixture
def manual(aws: LocalSageMaker, tmp_path: Path) -> Desk:
    return Desk(aws, tmp_path, approval="manual")


@dataclass
class DagRun:
    run_id: str
    logical_date: datetime
    start_date: datetime = field(default_factory=lambda: datetime.now(UTC))
    triggering_user_name: str | None = "ann"


@dataclass
class OperatorTaskInstance:
    """What a task asks of Airflow about itself and the tasks before it."""

    task: Any
    results: dict[str, Any]
    id: uuid.UUID = field(default_factory=uuid.uuid4)
    map_index: int = -1
    try_number: int = 1
    states: dict[str, str] = field(default_factory=dict)

    def xcom_pull(self, *, task_ids: str, key: str = "return_value") -> Any:
        return self.results.get(task_ids if key == "return_value" else f"{task_ids}/{key}")

    def xcom_push(self, *, key: str, value: Any) -> None:
        name = self.task.task_id
        self.results[name if key == "return_value" else f"{name}/{key}"] = json.loads(json.dumps(value))

    def get_task_states(self, *, dag_id: str, run_ids: list[str]) -> dict[str, Any]:
        return {run_ids[0]: self.states}


class CityRun:
    """One run of a city, whose jobs are over: its tasks from the decision on, one by one.

    :param factor: the trained model; 1.0 makes no error.
    :param month: of 2014, the run's as_of.
    """

    def __init__(self, desk: Desk, factor: float, month: int, *, force: bool = False) -> None:
        self.desk = desk
        (self.dag,) = city_dags(Path(desk.fleet.path).parent, only=desk.plan.dag_id)
        self.dag_run = DagRun(f"manual__{uuid.uuid4().hex}", datetime(2014, month, 1, tzinfo=UTC))
        self.force = force
        self.results: dict[str, Any] = {}
        self.skipped: set[str] = set()
        self.asked: list[Any] = []
        self.train(factor, month)

    def train(self, factor: float, month: int) -> None:
        candidate, holdout = self.desk.train(factor, month, status=None)
        folder = f"factors/laptop/runs/{self.desk.slug}/{uuid.uuid4().hex}/"
        self.put(f"{folder}city={self.desk.slug}/status.json", STATUS)
        self.put(f"{folder}holdout.json", holdout)
        job = {"status": "Completed", "instance_type": "ml.m5.large", "billable_seconds": 1}
        self.results |= {
            # What this run is about: its own model.
            "preprocess/run": {"key": naming.digest(self.dag_run.run_id), "champion": None},
            "preprocess": {
                **job,
                "step": "preprocess",
                "job": "p",
                "outputs": {"report": KEYS.uri(folder)},
                "manifest_uri": KEYS.uri(f"{folder}manifest.json"),
            },
            "train": {**job, "step": "train", "job": "t", "artifact_uri": candidate.artifact_uri},
        }
        self.evaluation = {
            **job,
            "step": "evaluate",
            "job": "e",
            "evaluation_uri": KEYS.uri(f"{folder}evaluation.json"),
            "holdout_uri": KEYS.uri(f"{folder}holdout.json"),
        }
        self.artifact_sha256, self.holdout = candidate.artifact_sha256, holdout
        self.evaluate()

    def evaluate(self) -> None:
        """Judge the model against the champion of this moment, as the evaluation job does."""
        metrics = self.desk.judge(self.holdout).metrics
        report = {
            "holdout": {"last": "2013-12-01"},
            "as_of": naming.as_of_stamp(self.dag_run.logical_date),
            "rows": len(ACTUAL),
            "artifact_sha256": self.artifact_sha256,
            "features": ["x", "y"],
            "challenger": {**metrics["challenger"], "rows_trained": 100},
            "naive": metrics["naive"],
            "champion": None,
            "drift": {"x": 0.1},
        }
        pointer = self.desk.pointer
        if pointer is not None:
            champion = {"target_model": pointer.target_model, "as_of": pointer.as_of, **pointer.metrics}
            etag = self.desk.s3.head_object(Bucket=KEYS.bucket, Key=KEYS.live(self.desk.slug))["ETag"]
            report["champion"] = {**champion, "etag": etag, "rows_trained": 100}
        self.put(naming.split_uri(self.evaluation["evaluation_uri"])[1], report)
        self.results["evaluate"] = {**self.evaluation, "report": report}

    def put(self, key: str, value: Any) -> None:
        self.desk.s3.put_object(Bucket=KEYS.bucket, Key=key, Body=json.dumps(value).encode())

    def context(self, task_id: str) -> dict[str, Any]:
        task = self.dag.get_task(task_id)
        states = dict.fromkeys(self.results, "success")
        ti = OperatorTaskInstance(task, self.results, states=states)
        return {
            "ti": ti,
            "task_instance": ti,
            "task": task,
            "dag_run": self.dag_run,
            "outlet_events": OutletEventAccessors(),
            "params": {"force": self.force, "as_of": None},
        }

    def task(self, task_id: str, method: str = "execute", **arguments: Any) -> Any:
        """Run a task; its result is kept, and a branch's other way is skipped."""
        context = self.context(task_id)
        try:
            result = getattr(context["task"], method)(context, **arguments)
        except DownstreamTasksSkipped as skip:
            self.skipped |= {task if isinstance(task, str) else task[0] for task in skip.tasks}
            return self.results.get(task_id)
        if result is not None:
            self.results[task_id] = json.loads(json.dumps(result))
        return self.results.get(task_id)

    def judge(self) -> None:
        self.task("decide")
        self.task("register")

    def end(self) -> Any:
        """Go on after the gate, or after the person, and return the run's record."""
        goes = self.results["register"]["proceed"] and "publish" not in self.skipped
        self.task("publish" if goes else "keep_champion")
        self.task("record")
        return newest_record(self.desk.planned, self.version)

    def run(self) -> Any:
        self.judge()
        return self.end()

    @property
    def version(self) -> registry.ModelPackage:
        return self.desk.version(self.results["register"]["package_arn"])

    @property
    def state(self) -> ModelState:
        return self.desk.state(self.version.arn)


def test_a_good_model_goes_live_and_everything_is_kept(auto: Desk) -> None:
    run = CityRun(auto, 1.1, 1)
    run.judge()
    assert run.state is ModelState.WAITING
    assert not run.version.waits_for_person
    record = run.end()
    assert record["outcome"] == "live"
    assert record["reasons"][0].startswith("MAPE 10.0% on 4 held-out rows beats the naive")
    assert run.state is ModelState.LIVE
    assert run.version.settled_status == "Approved"
    lineage = run.version.metadata
    by = f"factors.{auto.slug}/{run.dag_run.run_id}"
    expected = {
        "fleet": "factors",
        "city": auto.slug,
        "as_of": "20140101T000000Z",
        "preprocess_job": "p",
        "train_job": "t",
        "evaluate_job": "e",
        "data_until": "2013-12-01",
        "dag_run": run.dag_run.run_id,
        "decided_event": "release",
        "decided_by": by,
        "evaluation_uri": run.evaluation["evaluation_uri"],
    }
    assert expected.items() <= lineage.items()
    assert auto.answer() == pytest.approx(1.1)
    assert breaker.count(auto.s3, KEYS, "20140101T000000Z").judged >= 1


def test_a_bad_model_is_registered_as_rejected_and_kept_away(auto: Desk) -> None:
    run = CityRun(auto, 3.0, 1)
    record = run.run()
    assert record["outcome"] == "held"
    assert "does not beat the naive forecast" in record["reasons"][0]
    assert run.state is ModelState.HELD
    assert auto.pointer is None


def test_a_model_that_its_parent_beats_is_held_and_what_is_known_says_who_answers(
    aws: LocalSageMaker, tmp_path: Path
) -> None:
    (tmp_path / "parent").mkdir()
    parent = Desk(aws, tmp_path / "parent", approval="auto")
    city = Desk(aws, tmp_path, approval="auto", parent=parent.slug)
    known = {
        "format_version": 1, "city": city.slug, "as_of": "20140101T000000Z", "frequency": "month",
        "known_until": "2013-12-01", "columns": ["y"], "first": "2013-12-01", "rows": [[1.0]],
    }  # fmt: skip
    body = known_values.with_parent(json.dumps(known).encode(), parent.slug, 12)
    read = known_values.parse(body, "it", city.slug, "20140101T000000Z")
    known_values.keep(ObjectStore(city.s3, KEYS.bucket), KEYS, read, body)

    def run_against(mape: float, factor: float, month: int) -> Any:
        run = CityRun(city, factor, month)
        report = run.results["evaluate"]["report"]
        own = report["challenger"]["mape"]
        theirs = {"parent": {"mape": mape}, "champion": {"mape": 0.1}, "rows": 4}
        report["parent"] = {
            "city": parent.slug, "rows": 4, "mape": mape, "challenger": {"mape": own}, "champion": theirs,
        }  # fmt: skip
        run.put(naming.split_uri(run.evaluation["evaluation_uri"])[1], report)
        return run.run()

    def beaten() -> str | None:
        found = known_values.newest_copy(city.s3, KEYS, city.slug)
        assert found is not None
        return found.beaten

    # Nothing of the city serves, and nothing of its parent either.
    record = run_against(0.05, 1.1, 1)
    assert record["outcome"] == "held"
    assert record["reasons"][0].startswith(
        f"MAPE 10.0% is worse than its parent {parent.slug}'s 5.0% on 4 rows"
    )
    assert record["served_by"] is None
    assert CityRun(parent, 1.1, 1).run()["served_by"] == parent.slug
    assert run_against(0.05, 1.1, 1)["served_by"] == parent.slug
    assert beaten() is None, "there is no champion"
    assert run_against(0.2, 1.1, 2)["served_by"] == city.slug
    champion = city.pointer
    assert champion is not None
    # The champion is as bad as the new model: its parent answers, until another model of the city goes live.
    record = run_against(0.05, 1.1, 3)
    assert (record["outcome"], record["served_by"], beaten()) == ("held", parent.slug, champion.target_model)
    assert run_against(0.2, 1.05, 4)["served_by"] == city.slug
    store = ObjectStore(city.s3, KEYS.bucket)
    said = [
        json.loads(found.body)
        for item in known_values.copies(store, KEYS, city.slug)
        if (found := store.get(item.key)) is not None
    ]
    assert {(each["compared"], each["beaten"]) for each in said} == {
        (None, None),
        ("20140301T000000Z", champion.target_model),
        ("20140401T000000Z", None),
    }


def test_bad_data_hold_a_model_that_is_good_in_itself(auto: Desk) -> None:
    run = CityRun(auto, 1.0, 1)
    folder = naming.split_uri(run.results["preprocess"]["outputs"]["report"])[1]
    wild = {**STATUS, "extremes": {"y": {**STATUS["extremes"]["y"], "deviations": 2000}}}  # type: ignore[index]
    run.put(f"{folder}city={auto.slug}/status.json", wild)
    record = run.run()
    assert record["outcome"] == "held"
    assert "2,000 robust standard deviations from its median" in record["reasons"][0]


def test_a_retry_registers_and_publishes_nothing_twice(auto: Desk) -> None:
    run = CityRun(auto, 1.1, 1)
    run.judge()
    first = run.version.arn
    assert run.task("register")["package_arn"] == first
    run.task("publish")
    pointer = auto.pointer
    assert run.task("publish")["outcome"] == "live"
    assert auto.pointer == pointer
    assert len(registry.versions(auto.sagemaker, auto.plan.package_group)) == 1
    run.evaluate()
    run.judge()  # a person clears the evaluation of the model that serves
    assert run.version.arn == first
    assert run.end()["outcome"] == "live"
    assert run.state is ModelState.LIVE


@pytest.mark.parametrize(("better", "outcome"), [(False, "superseded"), (True, "held")])
def test_a_model_that_served_may_be_rolled_back_to_whatever_its_run_finds_later(
    auto: Desk, better: bool, outcome: str
) -> None:
    run = CityRun(auto, 1.1, 3)
    assert run.run()["outcome"] == "live"
    auto.go_live(1.05, 2 if better else 4)
    run.evaluate()
    del run.results["publish"]
    run.judge()  # a person has cleared the run, and another model serves by now
    assert run.state is ModelState.REPLACED
    assert run.end()["outcome"] == outcome
    assert run.state is ModelState.REPLACED
    assert auto.look().decided == []
    move = moves.rollback(auto.context(), Author("bob"))
    assert move.after is not None
    assert move.after.package_arn == run.version.arn


def test_a_model_that_is_judged_anew_and_passes_gets_a_version_that_can_wait(auto: Desk) -> None:
    run = CityRun(auto, 1.1, 1)
    auto.go_live(1.05, 1)
    run.evaluate()
    run.judge()
    held = run.version.arn
    assert run.state is ModelState.HELD
    auto.s3.delete_object(Bucket=KEYS.bucket, Key=KEYS.live(auto.slug))
    run.evaluate()
    run.judge()
    assert run.version.arn != held
    assert run.state is ModelState.WAITING
    assert auto.state(held) is ModelState.HELD
    assert run.end()["outcome"] == "live"


def test_what_a_person_has_rejected_stays_rejected_when_it_is_judged_anew(manual: Desk) -> None:
    run = CityRun(manual, 1.1, 1)
    run.judge()
    manual.decide(run.version, Event.REJECT)
    run.judge()
    assert run.results["register"]["proceed"] is False
    record = run.end()
    assert (record["outcome"], record["reasons"]) == ("held", ["rejected by ann: looked at the map"])


# The breaker


def stop_night(desk: Desk, month: int) -> str:
    stamp = naming.as_of_stamp(datetime(2014, month, 1, tzinfo=UTC))
    for number in range(3):
        breaker.mark(desk.s3, desk.plan.keys, stamp, f"{desk.slug}_{number}", ("poisoned",))
    return stamp


def test_a_stopped_night_leaves_the_model_waiting_and_the_run_ends(auto: Desk) -> None:
    stamp = stop_night(auto, 12)
    run = CityRun(auto, 1.1, 12)
    record = run.run()
    assert record["outcome"] == "pending"
    assert record["reasons"] == [
        "3 of the 4 challengers judged so far in the night 20141201T000000Z are unfit, so the rest of that night "
        "awaits approval"
    ]
    assert auto.pointer is None
    version = run.version
    assert (version.status, version.status_reason) == ("PendingManualApproval", record["reasons"][0])
    assert version.waits_for_person
    deadline = naming.parse_as_of(version.metadata[registry.EXPIRES_AT])
    assert timedelta(hours=71) < deadline - datetime.now(UTC) <= timedelta(hours=72)
    # A person approves this city alone: it goes live, and its record says so.
    assert auto.decide(version, Event.APPROVE).outcome == "live"
    after = newest_record(auto.planned, version)
    assert after is not None
    assert (after["outcome"], after["decided_by"]) == ("live", "ann")
    night = breaker.read(auto.s3, auto.plan.keys, stamp)
    assert night is not None
    assert night.state == breaker.TRIPPED


def test_a_night_that_a_person_approves_goes_on_and_one_that_is_rejected_does_not(auto: Desk) -> None:
    for month, state, outcome in ((11, breaker.REJECTED, "held"), (12, breaker.APPROVED, "live")):
        stamp = stop_night(auto, month)
        assert CityRun(auto, 1.1, month).run()["outcome"] == "pending"
        breaker.settle(auto.s3, auto.plan.keys, stamp, state, by="ann", note="a known gap")
        record = CityRun(auto, 1.0 + month / 1000, month).run()
        assert record["outcome"] == outcome
        assert record["reasons"][0] == f"{state} by ann: a known gap"


def test_a_forced_run_goes_through_a_stopped_night(auto: Desk) -> None:
    stop_night(auto, 12)
    run = CityRun(auto, 3.0, 12, force=True)
    record = run.run()
    assert record["outcome"] == "live"
    name = f"{auto.plan.dag_id}/{run.dag_run.run_id}"
    assert run.version.status_reason == f"approved by ann: forced run {name}"
    assert run.state is ModelState.LIVE
    pointer = auto.pointer
    assert pointer is not None
    assert (pointer.moved_by, pointer.reason) == ("ann", f"forced run {name}")


def test_a_forced_run_that_nobody_has_started_goes_by_its_own_name(auto: Desk) -> None:
    run = CityRun(auto, 3.0, 12, force=True)
    run.dag_run.triggering_user_name = None
    run.run()
    name = f"{auto.plan.dag_id}/{run.dag_run.run_id}"
    assert run.version.status_reason == f"approved by {name}: forced"


def test_only_a_model_that_is_unfit_in_itself_counts_for_the_night(auto: Desk) -> None:
    """Losing against the champion is everyday life: on the Texas data every second model does."""
    auto.go_live(1.01, 1)
    CityRun(auto, 1.1, 12).run()
    assert breaker.count(auto.s3, auto.plan.keys, "20141201T000000Z") == breaker.Count(1, 0)
    CityRun(auto, 3.0, 12).run()
    assert breaker.count(auto.s3, auto.plan.keys, "20141201T000000Z") == breaker.Count(1, 1)
    older = CityRun(auto, 3.0, 11)
    auto.go_live(1.0, 12)
    older.evaluate()
    older.run()
    assert breaker.count(auto.s3, auto.plan.keys, "20141101T000000Z") == breaker.Count(0, 0)


def test_data_that_are_refused_count_as_unfit(auto: Desk) -> None:
    run = CityRun(auto, 1.1, 12)
    run.judge()
    context = run.context("record")
    context["ti"].states = {"preprocess": "failed"}
    run.results["preprocess/failed_job"] = {
        **run.results["preprocess"],
        "status": "Failed",
    }
    context["task"].execute(context)
    assert breaker.count(auto.s3, auto.plan.keys, "20141201T000000Z") == breaker.Count(1, 1)


# Asking a person


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Airflow's other end of a task: takes the question, and the answer to it."""
    asked: list[Any] = []

    class Supervisor:
        def send(self, msg: Any) -> None:
            asked.append(msg)

    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", Supervisor(), raising=False)
    return asked


def ask(run: CityRun) -> TaskDeferred:
    with pytest.raises(TaskDeferred) as deferred:
        run.task("approve")
    return deferred.value


def answer(run: CityRun, option: str, note: str = "") -> Any:
    event = {
        "chosen_options": [option],
        "params_input": {"note": note},
        "responded_at": datetime.now(UTC),
        "responded_by_user": {"id": "1", "name": "ann"},
        "timedout": False,
    }
    return run.task("approve", "execute_complete", event=event)


def test_the_question_shows_what_a_person_needs_to_decide(manual: Desk, supervisor: list[Any]) -> None:
    manual.go_live(1.2, 1)
    run = CityRun(manual, 1.1, 2)
    run.judge()
    waiting = ask(run)
    (question,) = [message for message in supervisor if isinstance(message, CreateHITLDetailPayload)]
    assert question.subject == f"May a new model of {manual.slug} go live?"
    assert question.options == ["Approve", "Reject"]
    assert "| 4 held-out rows | new model | serves now | last known value |" in question.body
    assert "| MAPE | 10.0% | 20.0% |" in question.body
    assert "beats the naive forecast" in question.body
    assert f"`./fleet approve {manual.slug}`" in question.body
    path, arguments = waiting.trigger.serialize()
    assert path == "city_fleet.orchestration.city_tasks.approve_trigger.ApprovalTrigger"
    assert arguments["package_arn"] == run.version.arn
    assert arguments["expires_at"] == run.version.metadata[registry.EXPIRES_AT]
    record = newest_record(manual.planned, run.version)
    assert record is not None
    assert record["outcome"] == "pending"
    assert record["reasons"][0].startswith("awaits approval until ")


@pytest.mark.usefixtures("supervisor")
def test_an_approval_in_airflow_is_written_to_the_registry_and_published(manual: Desk) -> None:
    run = CityRun(manual, 1.1, 1)
    run.judge()
    ask(run)
    answer(run, "Approve", "fine")
    assert run.skipped == {"keep_champion"}
    assert (run.state, run.version.status_reason) == (ModelState.APPROVED, "approved by ann: fine")
    record = run.end()
    assert (record["outcome"], record["reasons"][0]) == ("live", "approved by ann: fine")
    pointer = manual.pointer
    assert pointer is not None
    assert pointer.moved_by == f"{manual.plan.dag_id}/{run.dag_run.run_id}"
    assert pointer.reason == "approved by ann: fine"
    assert run.version.settled_status == "Approved"


@pytest.mark.usefixtures("supervisor")
def test_a_rejection_in_airflow_keeps_the_champion(manual: Desk) -> None:
    run = CityRun(manual, 1.1, 1)
    run.judge()
    ask(run)
    answer(run, "Reject", "not in June")
    assert run.skipped == {"publish"}
    record = run.end()
    assert (record["outcome"], record["reasons"]) == ("held", ["rejected by ann: not in June"])
    assert run.state is ModelState.REJECTED


@pytest.mark.usefixtures("supervisor")
@pytest.mark.parametrize(
    "event", [{"chosen_options": ["Approve"], "responded_by_user": None}, {"expired": True}]
)
def test_what_is_answered_about_another_citys_model_ends_no_wait(manual: Desk, event: dict[str, Any]) -> None:
    """SQLite reuses the numbers of triggers: an event of an old one can reach the task of a new one."""
    run = CityRun(manual, 1.1, 1)
    run.judge()
    ask(run)
    other = run.version.arn.replace("/1", "/2")
    with pytest.raises(TaskDeferred) as again:
        run.task("approve", "execute_complete", event={**event, "package_arn": other})
    assert again.value.trigger.package_arn == run.version.arn
    assert (run.state, manual.pointer) == (ModelState.WAITING, None)


@pytest.mark.usefixtures("supervisor")
def test_a_decision_elsewhere_ends_the_wait(manual: Desk) -> None:
    run = CityRun(manual, 1.1, 1)
    run.judge()
    ask(run)
    manual.elsewhere(run.version, "Approved", ApprovalDescription="by script")
    run.task("approve", "execute_complete", event={"decided": True})
    assert run.end()["reasons"][0] == "approved by an unnamed person in the registry: by script"
    assert run.state is ModelState.LIVE


@pytest.mark.usefixtures("supervisor")
def test_nobody_answers(manual: Desk) -> None:
    run = CityRun(manual, 1.1, 1)
    run.judge()
    ask(run)
    run.task("approve", "execute_complete", event={"expired": True})
    record = run.end()
    assert (record["outcome"], record["reasons"]) == (
        "held",
        ["expired: no decision within 72 hours"],
    )
    assert run.state is ModelState.EXPIRED


@pytest.mark.usefixtures("supervisor")
def test_tonights_model_takes_the_place_of_last_nights(manual: Desk) -> None:
    last_night = CityRun(manual, 1.1, 1)
    last_night.judge()
    ask(last_night)
    tonight = CityRun(manual, 1.05, 2)
    tonight.judge()
    last_night.task("approve", "execute_complete", event={"decided": True})
    record = last_night.end()
    assert record["outcome"] == "superseded"
    assert record["reasons"] == ["superseded by version 2, which was made as of 20140201T000000Z"]
    ask(tonight)
    answer(tonight, "Approve")
    assert tonight.end()["outcome"] == "live"


@pytest.mark.usefixtures("supervisor")
def test_an_answer_to_a_model_that_was_superseded_meanwhile_comes_too_late(manual: Desk) -> None:
    run = CityRun(manual, 1.1, 1)
    run.judge()
    ask(run)
    CityRun(manual, 1.05, 2).judge()
    answer(run, "Approve")
    assert run.end()["outcome"] == "superseded"
    assert manual.pointer is None


@pytest.mark.usefixtures("supervisor")
def test_a_held_model_of_tonight_leaves_last_nights_question_open(manual: Desk) -> None:
    run = CityRun(manual, 1.1, 1)
    run.judge()
    ask(run)
    CityRun(manual, 3.0, 2).run()
    assert run.state is ModelState.WAITING


@pytest.mark.usefixtures("supervisor")
def test_a_list_that_was_too_old_lets_the_task_wait_on(manual: Desk) -> None:
    run = CityRun(manual, 1.1, 1)
    run.judge()
    ask(run)
    with pytest.raises(TaskDeferred):
        run.task("approve", "execute_complete", event={"decided": True})


@pytest.mark.usefixtures("supervisor")
def test_a_retry_finds_what_was_decided_and_asks_nobody(manual: Desk) -> None:
    run = CityRun(manual, 1.1, 1)
    run.judge()
    ask(run)
    approvals.write(manual, run.version, ModelState.WAITING, Event.APPROVE, Author("bob"))
    run.task("approve")
    assert run.skipped == {"keep_champion"}
    assert run.end()["outcome"] == "live"


def test_a_question_that_was_marked_as_answered_publishes_nothing(manual: Desk) -> None:
    """Airflow lets a person mark any task as a success; that is no approval."""
    run = CityRun(manual, 1.1, 1)
    record = run.run()
    assert (record["outcome"], record["reasons"]) == ("pending", ["it has not been approved yet"])
    assert manual.pointer is None


@pytest.mark.usefixtures("supervisor")
def test_a_forced_run_asks_nobody(manual: Desk) -> None:
    run = CityRun(manual, 3.0, 1, force=True)
    run.judge()
    run.task("approve")
    assert run.end()["outcome"] == "live"
    assert run.state is ModelState.LIVE
    assert run.version.status_reason.startswith("approved by ann: forced run ")
