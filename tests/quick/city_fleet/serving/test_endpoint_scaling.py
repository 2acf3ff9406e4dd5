"""What Application Auto Scaling is asked for, what differs from it, and what a failure on the way leaves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

from city_fleet.config.scaling_section import Scaling
from city_fleet.errors import Busy
from city_fleet.serving import endpoint_scaling
from city_fleet.serving.scaling_requests import count_to_keep
from city_fleet.state.scalable_targets import Registered, difference, tracking

WANTED = Scaling(min_instances=2, max_instances=8, invocations_per_instance=600)
RIGHT = Registered((2, 8), {**tracking(WANTED), "DisableScaleIn": False}, ("by-hand",))


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (RIGHT, None),
        (Registered(), "is no scalable target"),
        (replace(RIGHT, limits=(1, 8)), "scales from 1 to 8 instances, not from 2 to 8"),
        (replace(RIGHT, tracking=None), "has no scaling policy city-fleet, so that"),
        (
            replace(RIGHT, tracking={**tracking(WANTED), "TargetValue": 70.0}),
            "has the scaling policy city-fleet with TargetValue 70.0, not 600.0",
        ),
    ],
)
def test_every_difference_is_said(found: Registered, said: str | None) -> None:
    told = difference(found, WANTED)
    assert told is None if said is None else str(told).startswith(said)


@pytest.mark.parametrize(("serves", "made", "more"), [(1, 2, None), (2, 2, None), (5, 2, 5), (20, 2, 8)])
def test_the_endpoint_that_takes_over_has_as_many_instances(serves: int, made: int, more: int | None) -> None:
    assert count_to_keep(serves, made, WANTED) == more


class Client:
    """A client whose calls end in one error, but for those that it is told to answer."""

    def __init__(self, error: str | Exception, **answers: Any) -> None:
        self.error, self.answers = error, answers

    def __getattr__(self, name: str) -> Any:
        def call(**request: Any) -> Any:
            if name in self.answers:
                return self.answers[name]
            if isinstance(self.error, Exception):
                raise self.error
            raise ClientError({"Error": {"Code": self.error, "Message": "no"}}, name)

        return call


def test_a_target_that_is_not_known_yet_is_waited_for() -> None:
    client: Any = Client(
        "ObjectNotFoundException",
        describe_scalable_targets={"ScalableTargets": []},
        register_scalable_target={},
    )
    with pytest.raises(Busy, match="not known as a scalable target yet"):
        endpoint_scaling.register(client, "texas", WANTED)


def test_who_can_not_look_and_does_not_scale_is_not_stopped() -> None:
    denied: Any = Client("AccessDeniedException")
    nowhere: Any = Client(EndpointConnectionError(endpoint_url="https://application-autoscaling"))
    for client in (denied, nowhere):
        assert not endpoint_scaling.end(client, client, {"EndpointName": "texas"}, 1)
        assert not endpoint_scaling.release(client, "texas", scales=False)
        for needed in (
            lambda asked: endpoint_scaling.register(asked, "texas", WANTED),
            lambda asked: endpoint_scaling.release(asked, "texas", scales=True),
        ):
            with pytest.raises((ClientError, EndpointConnectionError)):
                needed(client)


def test_an_endpoint_that_gets_instances_takes_over_when_it_has_them() -> None:
    starting: Any = Client(
        "x",
        update_endpoint_weights_and_capacities={},
        describe_endpoint={"EndpointStatus": "Updating"},
    )
    with pytest.raises(Busy, match="texas is Updating: it gets 5 instances, as many as serve now"):
        endpoint_scaling.grow(starting, "texas", 5)
