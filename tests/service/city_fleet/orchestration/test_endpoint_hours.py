"""An endpoint closes and opens by its hours, on the local SageMaker: nobody asks it meanwhile, and publishing waits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, TaskDeferred

from city_fleet import clock
from city_fleet.champions import containers
from city_fleet.config import Fleet, load_fleet
from city_fleet.doctor import aws_checks
from city_fleet.doctor.findings import Level
from city_fleet.errors import EndpointClosed, EndpointUnderWay, NotReady
from city_fleet.orchestration.fleet_tasks.fleet_operator import FleetOperator
from city_fleet.orchestration.fleet_tasks.hours_operator import KEEP_HOURS, KeepHoursOperator
from city_fleet.orchestration.patience import patient
from city_fleet.prediction.deadline import Deadline
from city_fleet.prediction.endpoint_cache import Endpoints
from city_fleet.serving import endpoint_hours, endpoint_state
from city_fleet.serving.office_hours import Do
from city_fleet.state import shared_endpoints
from city_fleet.state.objects import ObjectStore
from city_fleet.state.shared_endpoints import Closed, ServingEndpoint, SharedEndpoint
from city_fleet.views import fleet_facts
from tests.service.city_fleet.orchestration.test_endpoint_switch import SHARED, Installation
from tests.support.factors import ENDPOINT, KEYS, City, create_endpoint
from tests.support.fleets import SMALL
from tests.support.local_sagemaker import LocalSageMaker, running_server
from tests.support.waiting import wait_until

#: In a week: by the clocks of callers it is closed then, whenever this runs.
DAY = (datetime.now(UTC) + timedelta(days=7)).replace(hour=0, minute=0, second=0, microsecond=0)
NIGHT, MORNING = DAY + timedelta(hours=20), DAY + timedelta(days=1, hours=7)
MINUTE = timedelta(minutes=1)


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSageMaker]:
    """A server of its own: its endpoint goes."""
    with running_server(tmp_path_factory.mktemp("aws")) as server, pytest.MonkeyPatch.context() as patch:
        server.client("s3").create_bucket(Bucket=KEYS.bucket)
        extra = {"endpoint_url": server.url, "region_name": "us-east-1"}
        value = {"conn_type": "aws", "login": "local", "password": "local", "extra": extra}
        patch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(value))
        yield server


@pytest.fixture(scope="module")
def city(aws: LocalSageMaker) -> City:
    create_endpoint(aws)
    city = City(aws, "austin")
    city.go_live(2.0, 1)
    return city


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    hours = {"open": "07:00", "close": "20:00", "time_zone": "UTC"}
    text = SMALL.replace("fleet: small", "fleet: factors\nenvironment: laptop")
    text = text.replace("role/small", "role/city-fleet").replace("small-data", KEYS.bucket)
    text += f"endpoint: {json.dumps({'name': ENDPOINT, 'hours': hours})}\ncities: {{austin: }}\n"
    path: Path = tmp_path_factory.mktemp("fleet") / "factors.yaml"
    path.write_text(text, encoding="utf-8")
    return load_fleet(path, {})


class Place:
    """The fleet's endpoint, looked at as its ``_hours`` DAG does, and by those who need it."""

    def __init__(self, city: City, fleet: Fleet) -> None:
        self.city, self.fleet = city, fleet
        #: SageMaker endpoints that were there again.
        self.readied: list[str] = []
        self.sagemaker, self.store = city.sagemaker, ObjectStore(city.s3, KEYS.bucket)

    def look(self, now: datetime) -> Do:
        ready = self.readied.append
        return endpoint_hours.look(self.sagemaker, self.store, self.fleet, "", now, ready=ready).did

    def said(self) -> shared_endpoints.SharedEndpoint:
        return shared_endpoints.read(self.store, KEYS)[ENDPOINT]

    def status(self) -> str | None:
        found = self.sagemaker.list_endpoints(NameContains=ENDPOINT)["Endpoints"]
        return found[0]["EndpointStatus"] if found else None

    def ask(self) -> str:
        """Return where an application asks for the city's prediction."""
        pointer = self.city.pointer
        assert pointer is not None
        return (
            Endpoints(self.city.s3, KEYS, ENDPOINT, ttl_seconds=0).address_of(pointer, Deadline(5)).endpoint
        )

    def closed(self) -> None:
        """Look until the endpoint is gone."""
        assert self.look(NIGHT) is Do.CLOSE
        assert self.look(NIGHT + MINUTE) is Do.WAIT  # not every caller knows
        assert self.status() == "InService"
        assert self.look(NIGHT + 10 * MINUTE) is Do.DELETE
        wait_until(lambda: self.status() is None, 60, "the endpoint is gone")


@pytest.fixture
def place(city: City, fleet: Fleet) -> Place:
    return Place(city, fleet)


def finding(place: Place) -> Any:
    clients = {"s3": place.city.s3, "sagemaker": place.sagemaker}
    (found,) = aws_checks._endpoints(
        aws_checks.Area("SageMaker"), place.fleet, lambda name: clients[name], "123456789012", {}
    )
    return found


class Publishing(FleetOperator):
    """A task that publishes."""

    work: Any

    @patient
    def execute(self, context: Any) -> Any:
        return self.work()


def test_another_installations_endpoint_is_left_alone(place: Place) -> None:
    arn = place.sagemaker.describe_endpoint(EndpointName=ENDPOINT)["EndpointArn"]
    tags = {"city-fleet:fleet": "others", "city-fleet:environment": "laptop"}
    place.sagemaker.add_tags(
        ResourceArn=arn, Tags=[{"Key": key, "Value": value} for key, value in tags.items()]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "city_fleet.orchestration.fleet_tasks.hours_operator.datetime",
            type("Then", (), {"now": staticmethod(lambda zone: NIGHT)}),
        )
        with pytest.raises(AirflowException, match="others"):
            KeepHoursOperator(task_id=KEEP_HOURS, fleet=place.fleet).execute({"params": {}})
    assert place.status() == "InService"
    assert ENDPOINT not in shared_endpoints.read(place.store, KEYS)
    place.sagemaker.delete_tags(ResourceArn=arn, TagKeys=list(tags))


def test_an_endpoint_closes_at_night_and_what_was_trained_goes_live_when_it_opens(place: Place) -> None:
    city = place.city
    assert place.look(NIGHT - MINUTE) is Do.NOTHING
    place.closed()
    assert place.said().serving.config == ENDPOINT
    assert place.look(NIGHT + 20 * MINUTE) is Do.NOTHING

    with pytest.raises(NotReady) as refused:
        place.ask()
    opening = f"{MORNING:%Y-%m-%d} 07:00 UTC"
    assert str(refused.value) == f"Endpoint 'factors' is closed until {opening}, by endpoint.hours."
    left = (MORNING - datetime.now(UTC)).total_seconds()
    assert refused.value.retry_after_seconds == pytest.approx(left, abs=60)
    assert (finding(place).level, finding(place).what) == (
        Level.OK,
        f"endpoint 'factors' is closed until {opening}, by endpoint.hours",
    )

    trained, holdout = city.train(3.0, 2)
    decision = city.judge(holdout)
    task = Publishing(task_id="publish", fleet=place.fleet)
    task.work = lambda: city.publish(trained, holdout, decision)
    with pytest.raises(EndpointClosed) as shut:
        task.work()
    assert clock.parse(shut.value.until) == MORNING
    with pytest.raises(TaskDeferred) as waits:
        task.execute({})
    # However long that is, it is none of what a task may be refused for.
    assert clock.parse(waits.value.kwargs["refused_since"]) == MORNING
    assert waits.value.timeout is not None
    assert city.pointer is not None
    assert city.pointer.as_of < trained.model.as_of

    assert place.look(MORNING - 15 * MINUTE) is Do.CREATE
    assert place.look(MORNING - 15 * MINUTE) in (Do.WAIT, Do.OPEN)
    wait_until(lambda: place.status() == "InService", 60, "the endpoint is in service")
    if place.said().closed is not None:
        assert place.look(MORNING - 10 * MINUTE) is Do.OPEN
    assert place.ask() == ENDPOINT
    task.execute({})
    assert city.answer() == 3.0
    assert place.readied[-1:] == [place.said().serving.name], "it scales before callers are told"
    assert place.look(MORNING) is Do.NOTHING


def test_a_person_opens_an_endpoint_that_is_closed(place: Place) -> None:
    assert place.status() == "InService"
    shared_endpoints.open_again(place.store, KEYS, ENDPOINT)
    place.closed()
    (said,) = fleet_facts.closed_endpoints(place.fleet, place.store)
    assert said.startswith(f"Endpoint {ENDPOINT!r} is closed until {MORNING:%Y-%m-%d} 07:00 UTC"), said

    def opened() -> bool:
        try:
            endpoint_hours.put_back(place.sagemaker, place.store, place.fleet, "")
        except EndpointUnderWay:
            return False
        return True

    assert not opened()
    wait_until(opened, 60, "the endpoint is in service")
    assert place.said().closed is None
    assert place.ask() == ENDPOINT
    found = place.sagemaker.describe_endpoint(EndpointName=ENDPOINT)
    endpoint_state.refuse_other(place.sagemaker, place.fleet, found)


def test_no_container_is_brought_up_on_an_endpoint_that_is_closed(place: Place) -> None:
    pointer = place.city.pointer
    assert pointer is not None
    housed = replace(pointer, endpoint="factors--own", route=containers.route_of(pointer))
    shut = Closed(clock.iso(NIGHT), clock.iso(MORNING), "UTC")
    said = SharedEndpoint(serving=ServingEndpoint(name="own"), template={"image": ""}, closed=shut)
    shared_endpoints.change(place.store, KEYS, "factors--own", lambda _: said)
    with pytest.raises(EndpointClosed, match="'factors--own' is closed until"):
        containers.bring_up(place.city.context(), housed)
    after = shared_endpoints.read(place.store, KEYS)["factors--own"]
    assert (after.making, after.wanted) == (None, {})


def test_the_endpoint_dag_opens_what_is_closed_and_hours_leave_it_open(
    aws: LocalSageMaker, city: City, tmp_path: Path
) -> None:
    here = Installation(aws, tmp_path)
    hours = {"open": "07:00", "close": "20:00", "time_zone": "UTC"}
    fleet = here.fleet(change="update", hours=hours)
    assert here.run(fleet)["endpoint"] == SHARED
    assert here.said().opened
    shut = Closed(clock.now_iso(), clock.iso(MORNING), "UTC")
    shared_endpoints.change(
        here.store, KEYS, SHARED, lambda said: None if said is None else replace(said, closed=shut, opened="")
    )
    here.sagemaker.delete_endpoint(EndpointName=SHARED)
    wait_until(lambda: SHARED not in here.there(), 60, "the endpoint is gone")
    assert here.run(fleet)["status"] == "InService"
    assert here.said().closed is None
    # Somebody has opened it since it closed last, if it is closed now.
    assert endpoint_hours.look(here.sagemaker, here.store, fleet, "", datetime.now(UTC)).did is Do.NOTHING
