"""Fleet-wide DAGs: each looks after all cities of a fleet."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import DAG, Asset, AssetWatcher, BaseOperator, Param

from city_fleet import naming, plan
from city_fleet.config import Fleet
from city_fleet.config.endpoint_section import MULTI_CONTAINER
from city_fleet.config.parts import EVERY_CITY, NO_CITY
from city_fleet.config.usable_fleets import Fetch, no_fetch, usable_fleets
from city_fleet.orchestration import assets
from city_fleet.orchestration.broken_dags import built_or_broken, told
from city_fleet.orchestration.fleet_tasks import arrivals_operators as arrivals
from city_fleet.orchestration.fleet_tasks import digest_operators as digests
from city_fleet.orchestration.fleet_tasks import endpoint_operators as endpoint
from city_fleet.orchestration.fleet_tasks.announce_operator import ANNOUNCE, AnnounceMovesOperator
from city_fleet.orchestration.fleet_tasks.arrivals_trigger import ArrivalsTrigger
from city_fleet.orchestration.fleet_tasks.cities_operator import PULL, PullCitiesOperator
from city_fleet.orchestration.fleet_tasks.compile_operator import COMPILE, CompileOperator
from city_fleet.orchestration.fleet_tasks.containers_operator import SharedContainersOperator
from city_fleet.orchestration.fleet_tasks.forecasts_operator import WRITE, WriteForecastsOperator
from city_fleet.orchestration.fleet_tasks.hours_operator import KEEP_HOURS, KeepHoursOperator
from city_fleet.orchestration.fleet_tasks.monitor_operators import (
    ALERT,
    LOOK,
    RETRAIN,
    ROLLBACK,
    AlertOperator,
    LookOperator,
    RollbackOperator,
)
from city_fleet.orchestration.fleet_tasks.reaper_operator import REAP, ReapOperator
from city_fleet.orchestration.fleet_tasks.reconcile_operator import RECONCILE, ReconcileOperator, notify
from city_fleet.orchestration.fleet_tasks.retire_operator import RETIRE, TIME_LIMIT_SECONDS, RetireOperator
from city_fleet.orchestration.fleet_tasks.sweep_operator import SWEEP, SweepEndpointsOperator
from city_fleet.orchestration.fleet_tasks.trials_operator import TRIALS, LookAfterTrialsOperator
from city_fleet.orchestration.timetables import FleetTimetable

#: Tasks that only read and write a few small objects; more than this is a hang.
SHORT_TASK_TIMEOUT = timedelta(minutes=15)
_LONGEST_RETRY_DELAY = timedelta(minutes=30)
# Two looks of the reaper, the time between them, and a retry; a look of reconcile, and a retry.
_CARE_RUN_TIMEOUT = timedelta(hours=1)
# A pass of retiring ends by itself at its time limit; it then has to wait for the cities that are under way.
_RETIRE_MARGIN = timedelta(hours=1)
# Ten thousand cities whose models must all be loaded take an hour or two.
_FORECASTS_TIMEOUT = timedelta(hours=4)
# What is there now is looked at, whatever days the fleet's schedule is about.
_LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
# In the fleet file cities are the cities themselves.
_SECTIONS = {plan.CITIES_PURPOSE: "city_list"}
# Endpoints open and close by their own clocks; what is between two looks is paid for, or made so much earlier.
_EVERY_FIVE_MINUTES = "*/5 * * * *"


def fleet_dags(folder: Path, only: str | None = None, fetch: Fetch = no_fetch) -> Iterator[DAG]:
    """Yield the fleet-wide DAGs of every fleet file in a folder, or of its last good form where it can't be used.

    :param only: build just this DAG id (Airflow's parsing context while a task starts).
    :param fetch: asked for last good forms that this machine lacks.
    """
    # Only what such a DAG does is about the cities.
    for fleet in usable_fleets(folder, NO_CITY if only is None else EVERY_CITY, fetch=fetch):
        if isinstance(fleet, Fleet):
            for purpose, build in _BUILDERS.items():
                if purpose in _absent(fleet):
                    continue
                dag_id = naming.fleet_dag_id(fleet.fleet, purpose)
                if only in (None, dag_id):
                    dag = built_or_broken(partial(build, dag_id, fleet), dag_id, fleet.fleet)
                    yield told(dag, fleet, starts=only is not None)


def _absent(fleet: Fleet) -> set[str]:
    """Return the purposes for which a fleet has no DAG."""
    has = {
        plan.ARRIVALS_PURPOSE: fleet.events.queue is not None,
        plan.CITIES_PURPOSE: fleet.city_list.source is not None,
        plan.FORECASTS_PURPOSE: fleet.forecasts.schedule is not None,
        plan.MONITOR_PURPOSE: fleet.monitor.schedule is not None,
        plan.HOURS_PURPOSE: any(fleet.endpoint_settings(name).hours for name in fleet.endpoint_names),
    }
    return {purpose for purpose, there in has.items() if not there}


def _endpoint_dag(dag_id: str, fleet: Fleet) -> DAG:
    with DAG(
        dag_id=dag_id,
        description=f"Create or update the shared endpoint of {fleet.fleet}",
        doc_md=(
            f"Brings the shared endpoint of fleet `{fleet.fleet}`, and each of `endpoints`, to the state that the "
            "fleet file describes.\n\n"
            "Run it once when a fleet starts and after a change of the endpoint's settings, image or `inference.py`. "
            "Publishing a model never needs it. Running it twice changes nothing."
        ),
        schedule=None,
        start_date=instant(fleet.start_date),
        catchup=False,
        max_active_runs=1,
        tags=[
            naming.fleet_tag(fleet.fleet),
            naming.environment_tag(fleet.environment),
            "endpoint",
            *fleet.tags,
        ],
        default_args={
            "owner": fleet.owner,
            "retries": 2,
            **backing_off(timedelta(seconds=30)),
            "region_name": fleet.region,
        },
        auto_register=False,  # else one whose tasks can't be built would be registered too
    ) as dag:
        for name in fleet.endpoint_names:
            _endpoint_chain(fleet, name)
    return dag


def _endpoint_chain(fleet: Fleet, name: str) -> None:
    """Add the tasks of one of a fleet's endpoints; the chains of several run side by side."""
    if fleet.endpoint_settings(name).kind == MULTI_CONTAINER:
        # An endpoint is made within it, whose minutes are waited for in the triggerer.
        SharedContainersOperator(
            task_id=endpoint.task_of(endpoint.ENDPOINT, name),
            fleet=fleet,
            endpoint=name,
            execution_timeout=SHORT_TASK_TIMEOUT,
        )
        return
    model = endpoint.SharedModelOperator(
        task_id=endpoint.task_of(endpoint.MODEL, name),
        fleet=fleet,
        endpoint=name,
        execution_timeout=SHORT_TASK_TIMEOUT,
    )
    config = endpoint.SharedEndpointConfigOperator(
        task_id=endpoint.task_of(endpoint.ENDPOINT_CONFIG, name),
        fleet=fleet,
        endpoint=name,
        execution_timeout=SHORT_TASK_TIMEOUT,
    )
    serves = endpoint.SharedEndpointOperator(
        task_id=endpoint.task_of(endpoint.ENDPOINT, name), fleet=fleet, endpoint=name
    )
    model >> config >> serves


def _reaper_dag(dag_id: str, fleet: Fleet) -> DAG:
    with _care_dag(
        dag_id,
        fleet,
        plan.REAPER_PURPOSE,
        retries=1,
        retry_minutes=1,
        description=f"Stop jobs of {fleet.fleet} that no task waits for any more",
        doc_md=(
            f"Looks for SageMaker jobs of fleet `{fleet.fleet}` and of this installation's environment that have been "
            f"in progress for {fleet.reaper.grace_minutes} minutes or more, and stops those whose task instance "
            "waits for them no longer: it has ended, was deleted, waits for a newer job, or was cleared and is not "
            "scheduled. The task log says which and why.\n\n"
            "A job is ours by its tags. Two installations of Airflow that share an AWS account and region therefore "
            "need different values of `environment`: each would take the other's jobs for its own orphans.\n\n"
            "Its task `sweep_endpoints` deletes SageMaker endpoints that another one has replaced, and `challengers` "
            "ends trials of challengers that are over or lost, and makes live what has won.\n\n"
            "Run it with `dry_run` to see what it would stop and delete. It starts unpaused."
        ),
        dagrun_timeout=_CARE_RUN_TIMEOUT,
        # A safety net must not have to be switched on.
        is_paused_upon_creation=False,
        params=_dry_run("Say what would be stopped, and stop nothing."),
    ) as dag:
        ReapOperator(task_id=REAP, fleet=fleet, execution_timeout=SHORT_TASK_TIMEOUT)
        SweepEndpointsOperator(task_id=SWEEP, fleet=fleet, execution_timeout=SHORT_TASK_TIMEOUT)
        LookAfterTrialsOperator(task_id=TRIALS, fleet=fleet, execution_timeout=SHORT_TASK_TIMEOUT)
    return dag


def _digest_dag(dag_id: str, fleet: Fleet) -> DAG:
    with _care_dag(
        dag_id,
        fleet,
        plan.DIGEST_PURPOSE,
        retries=2,
        retry_minutes=2,
        description=f"One message per night about {fleet.fleet}",
        doc_md=(
            "Says what the night's runs came to: live, held and failed by cause, what waits for approval, and who is "
            "served by an old model. The message stands in the log of `compose` and goes out by the notifiers of the "
            f"fleet file. `./fleet digest --fleet {fleet.fleet}` shows the same.\n\n"
            "Run it with `night` for an earlier night. A night without any run or tick sends nothing."
        ),
        params={
            "night": Param(
                None,
                type=["null", "string"],
                title="Night",
                description="A moment of the night (2014-01-01), as the as_of of its runs. Empty: the last one.",
            )
        },
    ) as dag:
        compose = digests.ComposeOperator(
            task_id=digests.COMPOSE, fleet=fleet, execution_timeout=SHORT_TASK_TIMEOUT
        )
        _notify(fleet, compose, digests.NOTIFY)
    return dag


def _notify(fleet: Fleet, of: BaseOperator, name: str) -> None:
    """Have the message of a task sent by the digest's notifiers, and what is in it for owners by theirs.

    :param name: with which the names of the tasks begin.
    """
    everybody = [(None, each) for each in fleet.digest.notifiers]
    owners = [(owner, each) for owner, theirs in fleet.digest.owners.items() for each in theirs]
    for prefix, sent in ((name, everybody), (f"{name}_owner", owners)):
        for number, (owner, each) in enumerate(sent, start=1):
            whose = "" if owner is None else f"_{re.sub('[^0-9A-Za-z_.-]', '_', owner)}"
            of >> digests.NotifyOperator(
                task_id=f"{prefix}_{number}{whose}",
                notifier=each.notifier,
                arguments=each.arguments,
                of=of.task_id,
                owner=owner,
                execution_timeout=SHORT_TASK_TIMEOUT,
            )


def _retire_dag(dag_id: str, fleet: Fleet) -> DAG:
    rule = fleet.retire
    with _care_dag(
        dag_id,
        fleet,
        plan.RETIRE_PURPOSE,
        retries=1,
        retry_minutes=5,
        description=f"Delete models, runs and versions of {fleet.fleet} that nothing needs any more",
        doc_md=(
            f"Keeps of each city of fleet `{fleet.fleet}` the model that serves, {rule.keep_predecessors} that a "
            f"rollback could return to, the newest {rule.keep_newest}, whatever waits for approval, and all that "
            f"served within {rule.grace_days} days. The rest is marked, and deleted by a later pass when nothing has "
            f"needed it for {rule.grace_days} days: its artifact below `models/`, the folder of its run, and "
            + (
                "its version in the registry. "
                if rule.delete_packages
                else "not its version in the registry. "
            )
            + "Raw data, run records and the history are never touched.\n\n"
            f"Run it with `dry_run`, or `./fleet retire --dry-run --fleet {fleet.fleet}`, to see what it would do. It "
            "is paused until it is switched on."
        ),
        params=_dry_run("Say what would be marked and deleted, and change nothing."),
    ) as dag:
        limit = timedelta(seconds=TIME_LIMIT_SECONDS) + _RETIRE_MARGIN
        RetireOperator(task_id=RETIRE, fleet=fleet, execution_timeout=limit)
    return dag


def _reconcile_dag(dag_id: str, fleet: Fleet) -> DAG:
    rolls_back = fleet.reconcile.on_live_rejected == "rollback"
    with _care_dag(
        dag_id,
        fleet,
        plan.RECONCILE_PURPOSE,
        retries=1,
        retry_minutes=1,
        description=f"Carry out what people have decided about models of {fleet.fleet}",
        doc_md=(
            f"Looks in the registry for models of `{fleet.fleet}` that were approved or rejected: in the "
            "console, by a script, or by a command that did not come to its end. What was approved is published; what "
            "has waited longer than `approval_expires_hours` counts as rejected. When a model that serves is rejected, "
            f"its city is {'rolled back and ' if rolls_back else ''}named by this DAG's run, which fails, and "
            "by the digest's notifiers.\n\nIts task `compile` keeps in S3 what the fleet file says, for machines that "
            "meet the file when it is broken.\n\nIt starts unpaused."
        ),
        dagrun_timeout=_CARE_RUN_TIMEOUT,
        is_paused_upon_creation=False,
    ) as dag:
        CompileOperator(task_id=COMPILE, fleet=fleet, execution_timeout=SHORT_TASK_TIMEOUT)
        ReconcileOperator(
            task_id=RECONCILE,
            fleet=fleet,
            execution_timeout=SHORT_TASK_TIMEOUT,
            on_failure_callback=notify,
        )
        if fleet.events.assets:
            announce = AnnounceMovesOperator(
                task_id=ANNOUNCE,
                fleet=fleet,
                outlets=[assets.live_alias(fleet)],
                execution_timeout=SHORT_TASK_TIMEOUT,
            )
            # However the look ends; and that it has failed must still show.
            dag.get_task(RECONCILE) >> announce.as_teardown()
    return dag


def _arrivals_dag(dag_id: str, fleet: Fleet) -> DAG:
    events, queue = fleet.events, fleet.events.queue or ""
    uri = naming.arrivals_asset(fleet.region, queue)
    trigger = ArrivalsTrigger(
        queue=queue,
        bucket=fleet.bucket,
        fleet=fleet.fleet,
        region_name=fleet.region,
        quiet_seconds=events.quiet_seconds,
        longest_seconds=events.longest_seconds,
        elsewhere=fleet.raw_elsewhere(),
    )
    with DAG(
        dag_id=dag_id,
        description=f"Retrain the cities of {fleet.fleet} whose raw data have changed",
        doc_md=(
            f"Waits for the SQS queue `{queue}`, which S3 notifies of files below `raw/`, and updates the assets of "
            f"their cities. A burst has ended when nothing has come for {events.quiet_seconds} seconds, or "
            f"{events.longest_seconds} seconds after its begin. Messages are deleted when the runs are certain.\n\n"
            "It starts unpaused. While it is paused, messages wait in the queue."
        ),
        schedule=[Asset(name=uri, uri=uri, watchers=[AssetWatcher(name=dag_id, trigger=trigger)])],
        start_date=_LONG_AGO,
        catchup=False,
        max_active_runs=1,
        tags=[
            naming.fleet_tag(fleet.fleet),
            naming.environment_tag(fleet.environment),
            plan.ARRIVALS_PURPOSE,
            *fleet.tags,
        ],
        default_args={
            "owner": fleet.owner,
            "retries": 3,
            "execution_timeout": SHORT_TASK_TIMEOUT,
            **backing_off(timedelta(seconds=10)),
        },
        is_paused_upon_creation=False,
        auto_register=False,
    ) as dag:
        announce = arrivals.AnnounceArrivalsOperator(
            task_id=arrivals.ANNOUNCE, fleet=fleet, outlets=[assets.raw_alias(fleet)]
        )
        announce >> arrivals.DeleteMessagesOperator(task_id=arrivals.DELETE, fleet=fleet)
    return dag


def _cities_dag(dag_id: str, fleet: Fleet) -> DAG:
    with _care_dag(
        dag_id,
        fleet,
        plan.CITIES_PURPOSE,
        retries=2,
        retry_minutes=2,
        description=f"Bring the list of cities of {fleet.fleet} up to date",
        doc_md=(
            "Copies the list of cities from `city_list.source` into the CSV that the fleet file names, which alone "
            "counts; new cities have DAGs at the next look, and cities that are gone have none. A list without many "
            "of them is refused. Where workers have fleet files of their own nothing is written: the task fails when "
            "the list has changed, so that somebody brings it in.\n\n"
            f"`./fleet cities --pull --fleet {fleet.fleet}` does the same."
        ),
        params={
            "yes": Param(
                False,
                type=["boolean", "null"],
                title="Yes",
                description="Take a list that lacks more cities than city_list.most_removed.",
            )
        },
    ) as dag:
        PullCitiesOperator(task_id=PULL, fleet=fleet, execution_timeout=SHORT_TASK_TIMEOUT)
    return dag


def _forecasts_dag(dag_id: str, fleet: Fleet) -> DAG:
    with _care_dag(
        dag_id,
        fleet,
        plan.FORECASTS_PURPOSE,
        retries=2,
        retry_minutes=5,
        description=f"Write the night's forecasts of {fleet.fleet} as one table",
        doc_md=(
            f"Asks every city of `{fleet.fleet}` for its forecast, by the model that serves it now, and writes the "
            f"answers as one Parquet object below `{fleet.keys.uri(fleet.keys.forecasts_prefix())}`: a folder per "
            "night, which is replaced where it is there. A city without a forecast has a row that says why; where none "
            f"has one the task fails, and the table of before stays. `./fleet forecasts --write --fleet {fleet.fleet}` "
            "does the same.\n\n"
            "Schedule it behind the night's runs. It is paused until it is switched on."
        ),
    ) as dag:
        WriteForecastsOperator(task_id=WRITE, fleet=fleet, execution_timeout=_FORECASTS_TIMEOUT)
    return dag


def _monitor_dag(dag_id: str, fleet: Fleet) -> DAG:
    with _care_dag(
        dag_id,
        fleet,
        plan.MONITOR_PURPOSE,
        retries=2,
        retry_minutes=5,
        description=f"Look whether the models of {fleet.fleet} are still right",
        doc_md=(
            f"Holds the tables of forecasts below `{fleet.keys.uri(fleet.keys.forecasts_prefix())}` against what has "
            "become known since, and says which cities' models are no longer right: by `decay` of the fleet file. "
            "New alarms go out by the digest's notifiers; where `decay.action` is `retrain`, the city's run is "
            "started, once for each alarm; where it is `rollback`, the city returns to an earlier model that was "
            "clearly better, and is pinned there. Where half of the cities alarm in one look it is the feed, and "
            "neither is done.\n\n"
            "Schedule it behind the tables of forecasts. Of tables, outcomes are held against captured predictions. "
            "It is paused until it is switched on."
        ),
    ) as dag:
        look = LookOperator(task_id=LOOK, fleet=fleet, execution_timeout=_FORECASTS_TIMEOUT)
        alert = AlertOperator(task_id=ALERT, fleet=fleet, execution_timeout=SHORT_TASK_TIMEOUT)
        look >> alert
        _notify(fleet, alert, digests.NOTIFY)
        # Always there: which cities' action it is is known only where the cities are.
        rollback = RollbackOperator(task_id=ROLLBACK, fleet=fleet, execution_timeout=_FORECASTS_TIMEOUT)
        look >> rollback
        _notify(fleet, rollback, f"{digests.NOTIFY}_{ROLLBACK}")
        # A repeated look names the same runs, which are there already.
        TriggerDagRunOperator.partial(
            task_id=RETRAIN, skip_when_already_exists=True, execution_timeout=SHORT_TASK_TIMEOUT
        ).expand_kwargs(look.output)
    return dag


def _hours_dag(dag_id: str, fleet: Fleet) -> DAG:
    with _care_dag(
        dag_id,
        fleet,
        plan.HOURS_PURPOSE,
        every=_EVERY_FIVE_MINUTES,
        retries=1,
        retry_minutes=1,
        description=f"Close and open the shared endpoints of {fleet.fleet} by their hours",
        doc_md=(
            f"Deletes each shared endpoint of fleet `{fleet.fleet}` when its `hours` close it, and makes it again "
            "ahead of its opening. Its configuration and models stay. While it is closed predictions are refused with "
            "the time of its opening, and models that are to go live wait for it.\n\n"
            f"Run the DAG `{naming.fleet_dag_id(fleet.fleet, plan.ENDPOINT_PURPOSE)}` to open all until they close "
            "next. While this DAG is paused nothing opens and nothing closes. It starts unpaused."
        ),
        dagrun_timeout=_CARE_RUN_TIMEOUT,
        is_paused_upon_creation=False,
    ) as dag:
        KeepHoursOperator(task_id=KEEP_HOURS, fleet=fleet, execution_timeout=SHORT_TASK_TIMEOUT)
    return dag


def _care_dag(
    dag_id: str,
    fleet: Fleet,
    purpose: str,
    *,
    retries: int,
    retry_minutes: int,
    every: str | None = None,
    **settings: Any,
) -> DAG:
    """Return an empty DAG that looks after what is there now, by the schedule of its section of the fleet file.

    :param purpose: name of the section, or what stands for it in ``_SECTIONS``; the DAG's tag.
    :param every: its schedule, where no section has one.
    :param settings: more arguments of the DAG.
    """
    schedule: str | None = every or getattr(fleet, _SECTIONS.get(purpose, purpose)).schedule
    delays = backing_off(timedelta(minutes=retry_minutes))
    return DAG(
        dag_id=dag_id,
        schedule=None if schedule is None else FleetTimetable(schedule),
        start_date=_LONG_AGO,
        catchup=False,
        max_active_runs=1,
        tags=[naming.fleet_tag(fleet.fleet), naming.environment_tag(fleet.environment), purpose, *fleet.tags],
        default_args={"owner": fleet.owner, "retries": retries, **delays},
        auto_register=False,
        **settings,
    )


def backing_off(retry_delay: timedelta) -> dict[str, Any]:
    """Return the arguments of tasks that are tried again after pauses that double, half an hour at most.

    :param retry_delay: the first pause; a longer one than half an hour stays as it is.
    """
    return {
        "retry_delay": retry_delay,
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": max(retry_delay, _LONGEST_RETRY_DELAY),
    }


def _dry_run(description: str) -> dict[str, Param]:
    return {"dry_run": Param(False, type=["boolean", "null"], title="Dry run", description=description)}


def instant(day: Any) -> datetime | None:
    """Return a day of the fleet file as Airflow wants it."""
    return None if day is None else naming.parse_as_of(day.isoformat())


_BUILDERS: dict[str, Callable[[str, Fleet], DAG]] = {
    plan.ENDPOINT_PURPOSE: _endpoint_dag,
    plan.REAPER_PURPOSE: _reaper_dag,
    plan.DIGEST_PURPOSE: _digest_dag,
    plan.RETIRE_PURPOSE: _retire_dag,
    plan.RECONCILE_PURPOSE: _reconcile_dag,
    plan.ARRIVALS_PURPOSE: _arrivals_dag,
    plan.CITIES_PURPOSE: _cities_dag,
    plan.FORECASTS_PURPOSE: _forecasts_dag,
    plan.HOURS_PURPOSE: _hours_dag,
    plan.MONITOR_PURPOSE: _monitor_dag,
}
