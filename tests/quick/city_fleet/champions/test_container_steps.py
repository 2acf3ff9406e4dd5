"""How models come to containers of their own: which endpoint is made for whom, and what becomes of what was begun."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from city_fleet.champions import container_requests, container_steps
from city_fleet.champions.container_requests import Housed
from city_fleet.errors import PublishError
from city_fleet.naming import Keys
from city_fleet.state import shared_endpoints
from city_fleet.state.shared_endpoints import ServingEndpoint, SharedEndpoint

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = Keys("b", "f", "e")
TAGS = [{"Key": "city-fleet:fleet", "Value": "f"}]
TEMPLATE: dict[str, Any] = {
    "image": "",
    "container": {"Environment": {"SAGEMAKER_PROGRAM": "inference.py"}},
    "model": {"ExecutionRoleArn": "role", "Tags": TAGS},
    "variant": {"InstanceType": "ml.m5.large", "InitialInstanceCount": 1},
    "config": {"Tags": TAGS},
    "algorithms": {"xgboost": "1a2b3c4d"},
}
START = SharedEndpoint(serving=ServingEndpoint(name="f--e"), template=TEMPLATE)


def model(name: str) -> Housed:
    return Housed(f"{name}-0123456789ab", f"{name}/20140101T000000Z-0123456789ab.tar.gz", "i")


def make(models: Mapping[str, Housed]) -> ServingEndpoint:
    requests = container_requests.requests_of(TEMPLATE, KEYS, "f--e", models)
    return container_requests.serving_of(requests, models, {}, NOW.isoformat())


def announce(said: SharedEndpoint, name: str, *live: str, later: timedelta = timedelta()) -> SharedEndpoint:
    serving = [model(each) for each in live]
    return container_steps.announced(said, model(name), serving, make, NOW + later)


def served(said: SharedEndpoint) -> SharedEndpoint:
    assert said.making is not None
    after = container_steps.taken_over(said, said.making.name, NOW)
    assert after is not None
    return after


def names(endpoint: ServingEndpoint | None) -> list[str]:
    assert endpoint is not None
    return [each.split("-")[0] for each in sorted(endpoint.containers)]


def test_models_that_come_while_one_endpoint_is_made_share_the_next() -> None:
    said = announce(START, "a")
    first = said.making
    for name in "bcd":
        said = announce(said, name)
    assert names(first) == ["a"]
    assert said.making == first
    said = served(said)
    assert (said.serving.name, said.making, list(said.wanted)) == (
        first.name if first else "",
        None,
        [model(each).hostname for each in "bcd"],
    )
    said = served(announce(said, "b", "a"))
    assert names(said.serving) == ["a", "b", "c", "d"]
    assert not said.wanted
    assert (
        announce(said, "c", "a", "b") != said
    )  # whoever is there already does not announce: bring_up looks first


def test_an_endpoint_replaced_answers_for_pointers_that_have_not_moved() -> None:
    first = served(announce(START, "a"))
    second = served(announce(first, "b"))
    (old, own) = second.replaced
    assert (second.answering(model("a").hostname), own.name) == (old.name, "f--e")
    assert (
        second.answering() == "f--e"
    )  # a model that is loaded, as before the endpoint was one of containers
    needed = container_steps.taken_over(second, old.name, NOW + timedelta(hours=1))
    assert needed is not None
    assert needed.serving == second.serving
    assert needed.replaced[0].until == (NOW + timedelta(hours=1)).isoformat()
    assert container_steps.taken_over(second.with_leaving(old.name), old.name, NOW) is None


def test_what_nobody_goes_on_with_makes_room_and_answers_nobody() -> None:
    begun = announce(START, "a")
    lost = begun.making
    assert lost is not None
    late = announce(begun, "b", later=timedelta(hours=3))
    assert names(late.making) == ["b"]  # a was asked for too long ago
    assert [(each.name, each.leaving) for each in late.replaced] == [(lost.name, True)]
    assert late.answering(model("a").hostname) == "f--e"
    kept = announce(begun, "a", later=timedelta(hours=1))
    assert announce(kept, "b", later=timedelta(hours=2)).making == kept.making


def test_after_a_failure_the_next_endpoint_is_made_without_those_that_may_be_to_blame() -> None:
    said = announce(announce(START, "a"), "b")
    assert said.making is not None
    said = container_steps.failed(said, said.making.name, NOW).without([said.making.name])
    assert (said.making, said.wanted, said.replaced) == (None, {}, ())
    assert names(announce(said, "b").making) == ["b"]
    assert container_steps.failed(said, "another", NOW) == said


def test_a_sixteenth_model_is_refused_and_waiting_ones_come_after_those_that_serve() -> None:
    live = [f"m{number}" for number in range(14)]
    said = announce(announce(START, "x"), "y")
    said = announce(served(said), "z", *live)
    assert len(names(said.making)) == 15
    assert "z" in names(said.making)
    with pytest.raises(PublishError, match="15 containers at most, and 16 models"):
        announce(START, "z", *live, "m14")


def test_a_single_model_has_a_twin_because_sagemaker_wants_two_containers() -> None:
    models = {each.hostname: each for each in [model("a")]}
    request = container_requests.requests_of(TEMPLATE, KEYS, "f--e", models).model
    one, twin = request["Containers"]
    assert twin == {**one, "ContainerHostname": container_requests.TWIN}
    assert request["InferenceExecutionConfig"] == {"Mode": "Direct"}
    assert one["ModelDataUrl"] == "s3://b/f/e/models/a/20140101T000000Z-0123456789ab.tar.gz"
    with pytest.raises(PublishError, match="run the fleet's _endpoint DAG"):
        container_requests.requests_of({"container": 1}, KEYS, "f--e", models)


def test_the_object_keeps_all_of_it() -> None:
    said = announce(served(announce(START, "a")), "b", "a")
    body = shared_endpoints._bytes({"f--e": replace(said, replaced=said.replaced)})
    assert shared_endpoints.parse(body, "here") == {"f--e": said}
