"""Models in containers of their own, published and rolled back on a real endpoint of many."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest

from city_fleet.champions import answers, containers, moves, publish
from city_fleet.errors import EndpointUnderWay, PublishError
from city_fleet.prediction.endpoint_cache import Endpoints
from city_fleet.prediction.live_cache import LivePointers
from city_fleet.prediction.predict import Predictor
from city_fleet.serving import endpoint_change, endpoint_sweep, replaced_endpoints
from city_fleet.state import shared_endpoints
from city_fleet.state.author import Author
from city_fleet.state.context import CityContext, Home
from city_fleet.state.objects import ObjectStore
from city_fleet.state.shared_endpoints import ServingEndpoint, SharedEndpoint
from tests.support.archives import archive
from tests.support.aws_names import ROLE
from tests.support.factors import INFERENCE, KEYS, Aws, City
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.waiting import wait_until

T = TypeVar("T")
TAGS = [
    {"Key": "city-fleet:fleet", "Value": KEYS.fleet},
    {"Key": "city-fleet:environment", "Value": "laptop"},
]


class Housed(City):
    """A city whose models have containers of their own on one of the fleet's endpoints."""

    shared = ""

    def context(self, s3: Any = None, group: str = "", sagemaker: Any = None) -> CityContext:
        at = super().context(s3, group)
        aws = Aws(at.aws.s3, sagemaker or self.sagemaker, self.runtime)
        return replace(at, aws=aws, home_of=lambda algorithm, image: Home(self.shared, True))

    def answer(self) -> float:
        pointer = self.pointer
        assert pointer is not None
        at = self.context().address_of(pointer)
        return answers.invoke(self.runtime, at, [[1.0, None]])[0]


def patiently(work: Callable[[], T]) -> tuple[T, int]:
    """Do something as often as it has to wait for an endpoint; return how often that was, too."""
    end = time.monotonic() + 60
    for waits in range(10**6):
        try:
            return work(), waits
        except EndpointUnderWay:
            assert time.monotonic() < end
            time.sleep(0.05)
    raise AssertionError


def go_live(city: Housed, factor: float, month: int) -> tuple[publish.Publication, int]:
    """Train a model, and publish it; return how often that had to wait, too."""
    trained, holdout = city.train(factor, month)
    return patiently(lambda: city.publish(trained, holdout, city.judge(holdout)))


def noted(city: Housed) -> SharedEndpoint:
    return shared_endpoints.read(city.context().objects, KEYS)[city.shared]


def describe(city: Housed, **changes: Any) -> None:
    """Note what the containers are made with, as the fleet's _endpoint DAG does."""
    key = "factors/containers.tar.gz"
    city.s3.put_object(Bucket=KEYS.bucket, Key=key, Body=archive({"inference.py": INFERENCE.encode()}))
    environment = {"SAGEMAKER_PROGRAM": "inference.py", "SAGEMAKER_SUBMIT_DIRECTORY": KEYS.uri(key)}
    template = {
        "image": "",
        "container": {"Environment": {**environment, **changes}},
        "model": {"ExecutionRoleArn": ROLE, "Tags": TAGS},
        "variant": {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1},
        "config": {"Tags": TAGS},
        "algorithms": None,
    }

    def note(before: SharedEndpoint | None) -> SharedEndpoint:
        return replace(before or SharedEndpoint(serving=ServingEndpoint(name=city.shared)), template=template)

    shared_endpoints.change(city.context().objects, KEYS, city.shared, note)


@pytest.fixture
def two(aws: LocalSageMaker) -> tuple[Housed, Housed]:
    cities = (Housed(aws), Housed(aws))
    for city in cities:
        city.shared = f"factors--{cities[0].slug[:20]}"
    describe(cities[0])
    return cities


def test_each_model_that_goes_live_comes_to_an_endpoint_beside_the_one_that_serves(
    two: tuple[Housed, Housed],
) -> None:
    a, b = two
    published, waits = go_live(a, 1.1, 1)
    assert (published.moved, waits > 0) == (True, True)
    first = a.pointer
    assert first is not None
    assert first.endpoint == a.shared
    assert first.route["target_container"] == first.container == next(iter(noted(a).serving.containers))
    assert a.answer() == pytest.approx(1.1)

    go_live(b, 1.05, 1)
    assert (a.answer(), b.answer()) == (pytest.approx(1.1), pytest.approx(1.05))
    assert len(noted(a).serving.containers) == 2

    go_live(a, 1.01, 2)
    assert a.answer() == pytest.approx(1.01)
    # A caller that still believes the pointer of before is answered by the endpoint that was replaced.
    at = a.context().address_of(first)
    assert at.endpoint != noted(a).serving.name
    assert answers.invoke(a.runtime, at, [[1.0, None]])[0] == pytest.approx(1.1)

    # An application gets there by the pointer alone.
    pointers, endpoints = (
        LivePointers(a.s3, KEYS, ttl_seconds=0),
        Endpoints(a.s3, KEYS, "factors", ttl_seconds=0),
    )
    predictor = Predictor(pointers, a.runtime, endpoints)
    assert predictor.predict(a.slug, {"x": 1.0, "y": None}, 10).prediction == pytest.approx(1.01)

    back, waits = patiently(lambda: moves.rollback(a.context(), Author("ann", "")))
    assert (back.outcome, waits) == ("moved", 0)  # its container is there still
    assert predictor.predict(a.slug, {"x": 1.0, "y": None}, 10).prediction == pytest.approx(1.1)
    # The endpoint that it is on is kept; those before it, which nothing needs, are not.
    said, later = noted(a), datetime.now(UTC) + timedelta(hours=1)
    served = replaced_endpoints.served_on(a.s3, KEYS, a.shared, "factors", said)
    assert {each.city for each in served} == {a.slug, b.slug}
    needed = replaced_endpoints.needed(said, served)
    assert needed == {a.context().address_of(a.pointer or first).endpoint, said.serving.name}
    doomed = [each.name for each in said.replaced[1:]]
    assert [each.name for each in endpoint_change.to_delete(said, later, needed)] == doomed
    assert endpoint_change.to_delete(said, datetime.now(UTC), needed) == ()

    def look() -> endpoint_sweep.Swept:
        store = ObjectStore(a.s3, KEYS.bucket)
        return endpoint_sweep.sweep(a.sagemaker, store, KEYS, "factors", later)

    # The first look marks them, a later one deletes them.
    assert (look().deleted, len(look().left) <= len(doomed)) == ([], True)

    def clean() -> bool:
        look()
        return len(noted(a).replaced) == 1

    wait_until(clean, 60, "what nothing needs is gone")
    assert noted(a).replaced[0].name in needed
    assert (a.answer(), b.answer()) == (pytest.approx(1.1), pytest.approx(1.05))

    # Other serving code: what is live is made anew, together, and what serves never pauses.
    describe(a, EXTRA="1")
    serving, _ = patiently(lambda: containers.make_anew(a.context(), a.shared))
    assert serving is not None
    assert noted(a).serving == replace(serving, since=noted(a).serving.since)
    assert sorted(serving.containers) == sorted(each.pointer.container for each in two if each.pointer)
    assert (a.answer(), b.answer()) == (pytest.approx(1.1), pytest.approx(1.05))
    assert patiently(lambda: containers.make_anew(a.context(), a.shared))[1] == 0


class Dying:
    """A client whose n-th change dies before it, or after it."""

    def __init__(self, client: Any, name: str, *, after: bool) -> None:
        self._client, self._name, self._after = client, name, after
        self.exceptions = client.exceptions

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)
        if name != self._name:
            return call

        def dies(**request: Any) -> Any:
            self._name = ""
            if self._after:
                call(**request)
            raise KeyboardInterrupt

        return dies


def test_every_moment_is_safe_to_die_in(two: tuple[Housed, Housed]) -> None:
    a, b = two
    go_live(b, 1.05, 1)
    trained, holdout = a.train(1.1, 1)
    candidate = a.candidate(trained, holdout, a.judge(holdout))
    for name in ("create_model", "create_endpoint_config", "create_endpoint"):
        for after in (False, True):
            dying = Dying(a.sagemaker, name, after=after)
            with pytest.raises(KeyboardInterrupt):
                publish.prepare(a.context(sagemaker=dying), candidate)
    ready, _ = patiently(lambda: publish.prepare(a.context(), candidate))
    assert isinstance(ready, publish.Ready)
    # It died once more, before the pointer moved: the container is there, and nothing is made again.
    again, waits = patiently(lambda: publish.prepare(a.context(), candidate))
    assert isinstance(again, publish.Ready)
    assert waits == 0
    publish.commit(a.context(), again)
    assert (a.answer(), b.answer()) == (pytest.approx(1.1), pytest.approx(1.05))
    assert noted(a).making is None
    assert len(a.sagemaker.list_endpoints(NameContains=a.shared)["Endpoints"]) == 2


def test_an_endpoint_that_fails_says_so_and_leaves_what_serves(two: tuple[Housed, Housed]) -> None:
    a, b = two
    go_live(b, 1.05, 1)
    describe(a, SAGEMAKER_PROGRAM="no_such.py")
    with pytest.raises(PublishError, match="what served stays"):
        go_live(a, 1.1, 1)
    assert (noted(a).making, a.pointer, b.answer()) == (None, None, pytest.approx(1.05))
    describe(a)
    go_live(a, 1.1, 1)
    assert a.answer() == pytest.approx(1.1)


def test_without_the_endpoint_dag_nothing_can_be_made(aws: LocalSageMaker) -> None:
    city = Housed(aws)
    city.shared = f"factors--{city.slug[:20]}"
    with pytest.raises(PublishError, match=r"Run the DAG factors\._endpoint"):
        city.retrain(1.1, 1)
