"""What is paid for once, whoever runs it: real operators, real jobs, and an Airflow that is thrown away."""

from __future__ import annotations

import asyncio
import html
import pkgutil
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import httpx
import pytest
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerRegisterModelVersionOperator
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

from city_fleet import clock, plan
from city_fleet.champions import moves
from city_fleet.config.budget_section import Budget
from city_fleet.errors import BrokenPointer, JobError, PlatformError
from city_fleet.jobs.sagemaker_jobs import PROCESSING, TRAINING
from city_fleet.naming import Keys
from city_fleet.night import budget as budget_of
from city_fleet.orchestration.budget_trigger import BudgetTrigger
from city_fleet.orchestration.city_tasks.shown_request import shown_request
from city_fleet.orchestration.run_notes import NOTE
from city_fleet.orchestration.task_links import LINKS
from city_fleet.plan import EVALUATE, PREPROCESS, TRAIN
from city_fleet.state import budget_question, live
from city_fleet.state.author import Author
from city_fleet.state.budget_question import BudgetNight
from city_fleet.state.objects import ObjectStore
from tests.support.nights import NIGHT, Database, Night, Town, town
from tests.support.waiting import wait_until

CITIES = ("austin", "waco", "tyler", "dallas", "abilene", "victoria")
JOBS = len(plan.JOB_STEPS)
_moments = count(1)


@pytest.fixture(scope="module")
def texas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    folder = tmp_path_factory.mktemp("town")
    with town(folder, *CITIES) as found:
        yield found


@pytest.fixture
def moment(texas: Town) -> Iterator[datetime]:
    """An as_of of the test's own: its runs are about nothing that another test has paid for."""
    yield NIGHT + next(_moments) * timedelta(days=31)
    texas.stop_all()


def jobs_since(texas: Town, city: str, before: dict[str, str]) -> list[str]:
    return sorted(set(texas.jobs(city)) - set(before))


def wait_for(texas: Town, kind: Any, job: str, *statuses: str) -> None:
    client = texas.aws.client("sagemaker")
    wait_until(lambda: kind.status(kind.describe(client, job)) in statuses, 60, f"{job} is {statuses}")


async def event_of(trigger: BudgetTrigger) -> Any:
    return (await anext(aiter(trigger.run()))).payload


def follow(night: Night, task_id: str, then: str = "") -> dict[str, str]:
    """Return what a person sees who clicks a task's links in Airflow, by the links' members.

    :param then: and then what is called so on the page that the link leads to.
    """
    seen = {}
    clicked = {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    for member, address in (night.value(task_id, LINKS) or {}).items():
        answer = httpx.get(address, headers=clicked, trust_env=False)
        assert answer.status_code == 200, (task_id, member, answer.text)
        if then and (found := re.search(rf'<a href="([^"]*{then}[^"]*)">', answer.text)):
            answer = httpx.get(httpx.URL(address).join(found[1]), headers=clicked, trust_env=False)
        seen[member] = html.unescape(answer.text)
    return seen


@pytest.mark.parametrize(
    ("city", "reached"),
    [("austin", PREPROCESS), ("waco", EVALUATE), ("dallas", None)],
)
def test_a_lost_database_costs_nothing_and_changes_nothing(
    texas: Town, city: str, reached: str | None
) -> None:
    """Half a night, and the same night again under another id: whichever task it had come to."""
    half = texas.night(Database(), city, "scheduled__2014-01-01T00:00:00+00:00")
    half.go(reached)
    if reached == PREPROCESS:
        half.start(TRAIN)
        assert follow(half, TRAIN).keys() == {"job", "log", "output"}  # while it runs
    before = texas.jobs(city)
    pointer = texas.pointer(city)

    again = texas.night(Database(), city, "manual__after")
    record = again.go()

    after = texas.jobs(city)
    assert set(before) <= set(after)
    assert list(after.values()) == ["Completed"] * JOBS, after
    assert again.key == half.key
    # The champion is part of an evaluation's name, and by now it may be the run's own model.
    if reached is None:
        assert [again.job(step) for step in plan.JOB_STEPS] == [half.job(step) for step in plan.JOB_STEPS]
    assert len(texas.versions(city)) == 1
    assert [(each["outcome"], each["as_of"]) for each in texas.records(city)] == [
        (record["outcome"], "20140101T000000Z")
    ]
    live = record["outcome"] == "live"
    assert live == (texas.pointer(city) is not None)
    # A run that is live has no mark in Airflow's grid.
    assert (again.value(plan.RECORD, NOTE) == "") == live
    shown = {task.task_id: follow(again, task.task_id) for task in again.dag.tasks}
    assert '"ProcessingJobStatus": "Completed"' in shown[EVALUATE]["job"]
    assert again.job(EVALUATE) in shown[EVALUATE]["log"]
    assert f"city={city}/" in follow(again, EVALUATE, "evaluation/")["output"]
    assert again.value(plan.REGISTER)["package_arn"] in shown[plan.REGISTER]["package"]
    assert f'"outcome": "{record["outcome"]}"' in shown[plan.RECORD]["output"]
    ended, other = (plan.PUBLISH, plan.KEEP_CHAMPION) if live else (plan.KEEP_CHAMPION, plan.PUBLISH)
    assert shown[ended].keys() == {"package", "output"}
    assert shown[plan.GATE] == shown[other] == {}
    if live:
        assert again.value(plan.PUBLISH)["target_model"] in shown[plan.PUBLISH]["output"]
    if pointer is not None:
        assert texas.pointer(city) == pointer


def test_corrected_data_and_changed_settings_are_new_runs(texas: Town, moment: datetime) -> None:
    database, before = Database(), texas.jobs("victoria")
    first = texas.night(database, "victoria", "scheduled__1", moment)
    first.finish(PREPROCESS)

    ((name, content),) = texas.raw("victoria").items()
    *lines, _ = content.decode().splitlines()
    texas.put_raw("victoria", name, "\n".join(lines).encode())
    corrected = texas.night(database, "victoria", "manual__corrected", moment)
    corrected.finish(PREPROCESS)
    assert corrected.key != first.key
    assert corrected.job(PREPROCESS) != first.job(PREPROCESS)

    changed = texas.night(database, "victoria", "manual__deeper", moment)
    changed.change(dataset={"holdout_periods": 6})
    changed.finish(PREPROCESS)
    assert changed.key not in {first.key, corrected.key}
    assert len(jobs_since(texas, "victoria", before)) == 3

    # On what its jobs run makes no other run of it.
    larger = texas.night(database, "victoria", "manual__larger", moment)
    larger.change(processing={"instance_type": "ml.m5.4xlarge"}, gate={"tolerance": 0.5})
    larger.finish(PREPROCESS)
    assert larger.job(PREPROCESS) == corrected.job(PREPROCESS)


def test_what_is_nearly_a_param_is_refused_before_anything_is_paid_for(texas: Town, moment: datetime) -> None:
    before = texas.jobs("abilene")
    night = texas.night(Database(), "abilene", "manual__slip", moment)
    for slip, meant in (("as_off", "as_of"), ("As-Of", "as_of"), ("forced", "force"), ("repeats", "repeat")):
        night.dag_run.conf = {"ticket": "D-17", slip: "2014-01-01"}
        with pytest.raises(AirflowFailException, match=f"'{slip}', .* was '{meant}' meant"):
            night.start(PREPROCESS)
    assert texas.jobs("abilene") == before
    # "source" has more in common with "force" than meets the eye.
    night.dag_run.conf = {"ticket": "D-17", "source": "sales", "as_of": None}
    night.finish(PREPROCESS)
    assert len(jobs_since(texas, "abilene", before)) == 1


def test_a_click_on_trigger_is_about_the_end_of_the_schedule_and_a_second_one_is_free(texas: Town) -> None:
    """It was about today, of data that end in 2015: each click was paid for, and superseded what came after it."""
    before, database = texas.jobs("victoria"), Database()
    for click in ("manual__first", "manual__second"):
        night = texas.night(database, "victoria", click)
        night.dag_run.run_type, night.dag_run.logical_date = "manual", datetime.now(UTC)
        night.finish(PREPROCESS)
        assert night.value(PREPROCESS, "run")["as_of"] == "20150801T000000Z"
    assert len(jobs_since(texas, "victoria", before)) == 1


def test_a_job_is_shown_before_it_runs_as_it_runs_then(texas: Town, moment: datetime) -> None:
    city, s3 = texas.plan("abilene"), texas.aws.client("s3")
    shown = {step: shown_request(city, s3, "manual__shown", moment, step) for step in plan.JOB_STEPS}
    before = texas.jobs("abilene")
    night = texas.night(Database(), "abilene", "manual__shown", moment)
    night.go(EVALUATE)
    names = [shown[TRAIN]["TrainingJobName"]]
    names += [shown[step]["ProcessingJobName"] for step in (PREPROCESS, EVALUATE)]
    assert sorted(names) == jobs_since(texas, "abilene", before)


def test_a_task_that_is_tested_by_itself_leaves_no_record(
    texas: Town, moment: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = "__airflow_temporary_run_2026-01-01T00:00:00+00:00__"
    before, records = texas.jobs("abilene"), texas.records("abilene")
    # Where the DAG is on, the scheduler takes the run up beside the test.
    with pytest.raises(AirflowFailException, match=r"airflow dags pause \S+\.abilene"):
        texas.night(Database(), "abilene", run_id, moment).start(PREPROCESS)
    assert texas.jobs("abilene") == before

    monkeypatch.setenv("AIRFLOW_TEST_MODE", "True")
    with pytest.raises(AirflowFailException, match=r"Name a run that has come so far"):
        texas.night(Database(), "abilene", run_id, moment).start(TRAIN)
    night = texas.night(Database(), "abilene", run_id, moment)
    night.finish(PREPROCESS)
    assert night.start(plan.RECORD) == {"record_uri": None, "outcome": "failed"}
    assert texas.records("abilene") == records
    # What the test has paid for, the run takes up.
    monkeypatch.delenv("AIRFLOW_TEST_MODE")
    texas.night(Database(), "abilene", "scheduled__later", moment).finish(PREPROCESS)
    assert len(jobs_since(texas, "abilene", before)) == 1


def test_a_clear_is_paid_for_once_and_a_retry_never(texas: Town, moment: datetime) -> None:
    night = texas.night(Database(), "austin", "scheduled__1", moment)
    night.go(TRAIN)
    first = night.key, night.job(PREPROCESS), night.job(TRAIN)
    before = texas.jobs("austin")

    night.retry(PREPROCESS)
    night.retry(TRAIN)
    night.go(TRAIN)
    assert (night.key, night.job(PREPROCESS), night.job(TRAIN)) == first
    assert texas.jobs("austin") == before

    night.clear(PREPROCESS, TRAIN)
    night.go(TRAIN)
    second = night.key, night.job(PREPROCESS), night.job(TRAIN)
    assert not set(first) & set(second)
    assert jobs_since(texas, "austin", before) == sorted(second[1:])
    night.retry(PREPROCESS)
    night.retry(TRAIN)
    night.go(TRAIN)
    assert (night.key, night.job(PREPROCESS), night.job(TRAIN)) == second

    night.clear(TRAIN)
    night.finish(TRAIN)
    assert night.key == second[0]
    assert night.job(TRAIN) == second[2].removesuffix("-1") + "-2"

    # Who comes later, perhaps because Airflow's database is lost, joins the newest of all that.
    before = texas.jobs("austin")
    later = texas.night(Database(), "austin", "manual__later", moment)
    later.go(TRAIN)
    assert (later.key, later.job(TRAIN)) == (night.key, night.job(TRAIN))
    assert texas.jobs("austin") == before


def test_a_run_that_the_endpoint_could_not_answer_with_pays_for_nothing(
    texas: Town, moment: datetime
) -> None:
    before = texas.jobs("abilene")
    night = texas.night(Database(), "abilene", "manual__forest", moment)
    night.change(algorithm={"name": "forest"})
    with pytest.raises(
        PlatformError, match=r"lacks the algorithm forest; it has: .*xgboost.*Nothing was paid for"
    ):
        night.start(PREPROCESS)
    assert texas.jobs("abilene") == before


def test_an_evaluation_asked_for_again_is_the_same_however_the_champions_pointer_was_written_anew(
    texas: Town, moment: datetime
) -> None:
    database, s3 = Database(), texas.aws.client("s3")
    texas.night(database, "waco", "manual__champion").go()
    night = texas.night(database, "waco", "manual__pinned", moment)
    night.go(EVALUATE)
    first = night.job(EVALUATE)
    current = live.read(s3, texas.fleet.keys, "waco")
    assert current is not None
    pinned = moves.state_after(
        current.pointer, current.pointer, kind=live.PROMOTE, author=Author("ann"), pinned=True
    )
    live.move(s3, texas.fleet.keys, pinned, current)
    night.clear(EVALUATE)
    night.finish(EVALUATE)
    assert night.job(EVALUATE) == first.removesuffix("-1") + "-2", "another request has another name"


def test_the_param_repeat_pays_again_once_and_force_does_not(texas: Town, moment: datetime) -> None:
    database = Database()
    first = texas.night(database, "waco", "scheduled__1", moment)
    first.go()
    before = texas.jobs("waco")
    forced = texas.night(database, "waco", "manual__forced", moment, force=True)
    forced.go()
    assert texas.jobs("waco") == before
    assert forced.key == first.key

    repeated = texas.night(database, "waco", "manual__repeated", moment, repeat=True)
    repeated.go(PREPROCESS)
    repeated.retry(PREPROCESS)
    repeated.go(TRAIN)
    assert repeated.key != first.key
    assert len(jobs_since(texas, "waco", before)) == 2
    # A try that has lost its memory as well finds the repetition that it has asked for.
    database.stores.clear()
    repeated.retry(PREPROCESS)
    repeated.go(PREPROCESS)
    assert len(jobs_since(texas, "waco", before)) == 2


def test_two_runs_at_once_share_their_jobs_and_both_end_well(texas: Town, moment: datetime) -> None:
    database, before, versions = Database(), texas.jobs("tyler"), len(texas.versions("tyler"))
    one = texas.night(database, "tyler", "scheduled__1", moment)
    two = texas.night(database, "tyler", "manual__1", moment)
    for step in plan.JOB_STEPS:
        assert isinstance(one.start(step), TaskDeferred)
        two.start(step)
        assert two.job(step) == one.job(step)
        for each in (one, two):
            if step in each.waiting:
                each.finish(step)
    ends = [night.go() for night in (one, two)]
    assert ends[0] == ends[1]
    assert len(jobs_since(texas, "tyler", before)) == JOBS
    assert len(texas.versions("tyler")) == versions + 1
    assert len([each for each in texas.records("tyler") if each["run_key"] == one.key]) == 1


def test_two_runs_that_register_at_the_same_moment_make_one_version(
    texas: Town, moment: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, versions = Database(), len(texas.versions("dallas"))
    one = texas.night(database, "dallas", "scheduled__1", moment)
    two = texas.night(database, "dallas", "manual__1", moment)
    for each in (one, two):
        each.go(plan.DECIDE)
    stock = SageMakerRegisterModelVersionOperator.execute

    def late(*arguments: Any, **keywords: Any) -> str:
        monkeypatch.undo()
        one.finish(plan.REGISTER)
        return str(stock(*arguments, **keywords))

    monkeypatch.setattr(SageMakerRegisterModelVersionOperator, "execute", late)
    assert two.finish(plan.REGISTER)["package_arn"] == one.value(plan.REGISTER)["package_arn"]
    assert len(texas.versions("dallas")) == versions + 1


def test_a_clear_leaves_the_job_to_the_run_that_shares_it(texas: Town, moment: datetime) -> None:
    database = Database()
    one, two = (texas.night(database, "abilene", run_id, moment) for run_id in ("scheduled__1", "manual__1"))
    for night in (one, two):
        night.change(scripts=texas.slow_scripts())
    one.start(PREPROCESS)
    two.start(PREPROCESS)
    shared = one.job(PREPROCESS)
    one.clear(PREPROCESS)
    one.start(PREPROCESS)
    assert one.job(PREPROCESS) != shared
    assert texas.jobs("abilene")[shared] == "InProgress"
    # The other one alone is left; when it is cleared as well, nobody wants the job.
    two.clear(PREPROCESS)
    two.start(PREPROCESS)
    wait_for(texas, PROCESSING, shared, "Stopping", "Stopped")


def test_a_job_that_was_stopped_under_another_run_is_started_once_more(texas: Town, moment: datetime) -> None:
    database = Database()
    one, two = (texas.night(database, "victoria", run_id, moment) for run_id in ("scheduled__1", "manual__1"))
    for night in (one, two):
        night.go(PREPROCESS)
    for night in (one, two):
        night.change(scripts=texas.slow_scripts())
    one.start(TRAIN)
    two.start(TRAIN)
    first = one.job(TRAIN)
    TRAINING.stop(texas.aws.client("sagemaker"), first)
    for night in (one, two):
        with pytest.raises(JobError):
            night.finish(TRAIN)
        night.retry(TRAIN)
    for night in (one, two):
        night.start(TRAIN)
    assert one.job(TRAIN) == two.job(TRAIN) == first.removesuffix("-1") + "-2"


def test_data_that_change_before_a_job_has_read_them_are_another_run(texas: Town, moment: datetime) -> None:
    """Nobody takes up what the job has left that read them, though it completed."""
    ((name, content),) = texas.raw("dallas").items()
    header, *rows = content.splitlines()
    texas.put_raw("dallas", "more.csv", header)
    changes = {
        "replaced": lambda: texas.put_raw("dallas", "more.csv", b"\n".join([header, rows[0]])),
        "taken away": lambda: texas.remove_raw("dallas", "more.csv"),
    }
    night = texas.night(Database(), "dallas", "scheduled__1", moment)
    for change, make in changes.items():
        night.before_create = make
        with pytest.raises(
            PlatformError, match=f"City 'dallas': s3://.*more.csv was {change} after the run "
        ):
            night.finish(PREPROCESS)
        failed = night.job(PREPROCESS)
        night.before_create = lambda: None
        night.retry(PREPROCESS)
        night.finish(PREPROCESS)
        assert night.job(PREPROCESS) != failed
        night.clear(PREPROCESS)
    assert list(texas.raw("dallas")) == [name]


def test_a_file_that_arrives_after_the_run_has_begun_is_not_read(texas: Town, moment: datetime) -> None:
    """The job gets the files that the run is about, and no others: what comes later changes nothing."""
    ((_, content),) = texas.raw("waco").items()
    night = texas.night(Database(), "waco", "scheduled__1", moment)
    night.before_create = lambda: texas.put_raw("waco", "later.csv", content.splitlines()[0] + b"\nnonsense")
    try:
        night.finish(PREPROCESS)
    finally:
        texas.remove_raw("waco", "later.csv")


@pytest.mark.parametrize("who", ["worker", "triggerer"])
def test_a_kill_leaves_the_job_to_the_run_that_shares_it(
    texas: Town, moment: datetime, who: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database()
    one, two = (texas.night(database, "waco", run_id, moment) for run_id in ("scheduled__1", "manual__1"))
    for night in (one, two):
        night.change(scripts=texas.slow_scripts())
    operator = one.operator(PREPROCESS)
    with pytest.raises(TaskDeferred) as deferral:
        operator.execute(one.context(PREPROCESS))
    ti = one.context(PREPROCESS)["ti"]
    trigger: Any = deferral.value.trigger
    trigger.task_instance = ti
    monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", staticmethod(ti.get_task_states))

    def kill() -> None:
        if who == "worker":
            operator._kill._look()
        else:
            asyncio.run(trigger.on_kill())

    two.start(PREPROCESS)
    job = two.job(PREPROCESS)
    database.states[one.place(PREPROCESS)] = "failed"
    kill()
    assert texas.jobs("waco")[job] == "InProgress"
    database.states[two.place(PREPROCESS)] = "failed"
    kill()
    wait_for(texas, PROCESSING, job, "Stopping", "Stopped")


def test_a_run_that_fails_before_it_has_begun_has_a_record_and_pays_nothing(
    texas: Town, moment: datetime
) -> None:
    before, s3, keys = texas.jobs("victoria"), texas.aws.client("s3"), texas.fleet.keys
    s3.put_object(Bucket=keys.bucket, Key=keys.live("victoria"), Body=b"{}")
    night = texas.night(Database(), "victoria", "scheduled__1", moment)
    with pytest.raises(BrokenPointer):
        night.finish(PREPROCESS)
    assert night.finish(plan.RECORD)["outcome"] == "failed"
    s3.delete_object(Bucket=keys.bucket, Key=keys.live("victoria"))
    assert texas.jobs("victoria") == before
    night.retry(PREPROCESS)
    night.finish(PREPROCESS)
    assert night.value(PREPROCESS)["data_status"] == "ready"


def test_a_night_beyond_the_budget_waits_for_a_person_and_pays_nothing_until_then(
    texas: Town, moment: datetime, capsys: pytest.CaptureFixture[str]
) -> None:
    before, keys = texas.jobs("austin"), texas.fleet.keys
    store = ObjectStore(texas.aws.client("s3"), keys.bucket)
    # Less than a run costs by the model of ./fleet plan, and less than a fleet file may say.
    budget = Budget.model_construct(night=0.0001, month=None)

    def night(name: str) -> Night:
        found = texas.night(Database(), "austin", name, moment)
        operator = found.dag.get_task(PREPROCESS)
        fleet = operator.plan.fleet.model_copy(update={"budget": budget})
        operator.plan = replace(operator.plan, fleet=fleet)
        return found

    first, second = night("manual__budget_1"), night("manual__budget_2")
    try:
        for each in (first, second):
            waits = each.start(PREPROCESS)
            assert isinstance(waits, TaskDeferred)
            assert isinstance(waits.trigger, BudgetTrigger)
            path, arguments = waits.trigger.serialize()
            assert pkgutil.resolve_name(path)(**arguments).serialize() == (path, arguments)
        asked = budget_question.read(store, keys)
        assert asked is not None
        assert (asked.asks, asked.judging_since) == (True, "")
        assert "budget.night is 0.0001" in asked.sentence
        assert jobs_since(texas, "austin", before) == []
        # Nobody answers the second: it fails with what to do, and without a retry.
        trigger = BudgetTrigger(**{**arguments, "until": clock.iso(datetime.now(UTC) - timedelta(seconds=1))})
        with pytest.raises(AirflowFailException, match=r"Nobody has allowed .*\./fleet cost --allow-night"):
            second.operator(PREPROCESS).budget_answered(
                second.context(PREPROCESS), asyncio.run(event_of(trigger))
            )
        assert jobs_since(texas, "austin", before) == []
        budget_question.allow(store, keys, asked.night, Author("ann", "new cities"), datetime.now(UTC))
        first.finish(PREPROCESS)
        assert "; allowed by ann: new cities" in capsys.readouterr().out, "the task's log says who"
        assert len(jobs_since(texas, "austin", before)) == 1
        # Others of the night begin at once.
        third = night("manual__budget_3")
        third.finish(PREPROCESS)
        after = budget_question.read(store, keys)
        assert after is not None
        assert (after.at, after.told.endswith("allowed by ann: new cities")) == (asked.at, True)
    finally:
        store.client.delete_object(Bucket=keys.bucket, Key=keys.budget())


def test_a_budget_that_cannot_be_judged_stops_no_run_and_one_judge_is_enough(
    texas: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, s3, now = texas.fleet.keys, texas.aws.client("s3"), datetime.now(UTC)
    store = ObjectStore(s3, keys.bucket)
    fleet = texas.fleet.model_copy(update={"budget": Budget(night=100, month=1000)})
    night = budget_of.Night(now - timedelta(hours=1), now + timedelta(hours=23))
    try:
        _, mine = budget_question.claim(store, keys, night.stamp, fleet.budget.limits, now)
        assert mine
        assert budget_of.ask(fleet, s3, night, now) is None, "another process judges it"
        found = budget_of.ask(fleet, s3, night, now + timedelta(minutes=11))
        assert found is not None, "it has died"
        assert (found.verdict, found.figures["runs"]) == ("within", 1)
        monkeypatch.setenv("CITY_FLEET_FLEETS", str(texas.fleets))
        (texas.fleets / "prices.json").write_text("{", encoding="utf-8")
        unknown = budget_of.ask(fleet, s3, night, now + timedelta(hours=2))
        assert unknown is not None
        assert (unknown.verdict, unknown.asks) == ("unknown", False)
        assert "prices.json" in unknown.told
        other = BudgetNight(night=night.stamp, limits=fleet.budget.limits)
        store.put(keys.budget(), other.to_json(Keys(keys.bucket, "ohio", "laptop")))
        refused = budget_of.ask(fleet, s3, night, now)
        assert refused is not None
        assert "belongs to fleet 'ohio'" in refused.told
    finally:
        (texas.fleets / "prices.json").unlink(missing_ok=True)
        store.client.delete_object(Bucket=keys.bucket, Key=keys.budget())
