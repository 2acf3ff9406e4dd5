"""Which SageMaker endpoint gets a configuration, and which ones may go: for every state of the world."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from city_fleet.config import load_fleet
from city_fleet.config.endpoint_change_section import Deployment
from city_fleet.config.endpoint_section import Endpoint
from city_fleet.errors import Busy, FleetFileError
from city_fleet.serving.endpoint_change import (
    SWITCH,
    UPDATE,
    deployment_config,
    marked,
    most_seconds,
    target,
    to_delete,
)
from city_fleet.state.shared_endpoints import ServingEndpoint, SharedEndpoint
from tests.support.fleets import SMALL

NOW = datetime(2024, 3, 1, 12, tzinfo=UTC)
PLAIN = "texas"


def at(**ago: float) -> str:
    return (NOW - timedelta(**ago)).isoformat()


def described(config: str, status: str = "InService") -> dict[str, Any]:
    return {"EndpointConfigName": config, "EndpointStatus": status}


FIRST = ServingEndpoint(name=PLAIN, config="a", since=at(days=9))
SECOND = ServingEndpoint(name=f"{PLAIN}---1111111111", config="b", since=at(days=1))


def test_which_endpoint_gets_the_configuration(subtests: pytest.Subtests) -> None:
    alone = SharedEndpoint(serving=FIRST)
    replaced = replace(FIRST, until=SECOND.since)
    after = SharedEndpoint(serving=SECOND, replaced=(replaced,))
    beside = target(PLAIN, alone, described("a"), "b", SWITCH)
    cases = {
        "nothing was ever made": (None, None, "a", SWITCH, PLAIN),
        "nothing was noted, it serves so": (None, described("a"), "a", SWITCH, PLAIN),
        "it serves so": (alone, described("a"), "a", SWITCH, PLAIN),
        "an update is of itself": (alone, described("a"), "b", UPDATE, PLAIN),
        "an update of one beside": (after, described("b"), "c", UPDATE, SECOND.name),
        "it is gone": (after, None, "b", SWITCH, PLAIN),
        "it has failed": (after, described("b", "Failed"), "b", SWITCH, PLAIN),
        "it is changing": (alone, described("a", "Updating"), "b", SWITCH, PLAIN),
        "a mended rollback": (alone, described("a", "UpdateRollbackFailed"), "b", SWITCH, beside),
        "the one before is still there": (after, described("b"), "a", SWITCH, PLAIN),
    }
    for name, (said, serves, config, change, expected) in cases.items():
        with subtests.test(name):
            assert target(PLAIN, said, serves, config, change) == expected
    assert beside.startswith(f"{PLAIN}---")
    assert beside != target(PLAIN, alone, described("a"), "c", SWITCH), (
        "its name follows from what it serves with"
    )
    # An endpoint of that name may have been updated to something else since.
    assert target(PLAIN, after, described("c"), "b", SWITCH) != SECOND.name
    leaving = after.with_leaving(PLAIN)
    assert target(PLAIN, leaving, described("b"), "a", SWITCH) not in (PLAIN, SECOND.name)


def test_what_may_go(subtests: pytest.Subtests) -> None:
    def before(**ago: float) -> ServingEndpoint:
        return replace(FIRST, until=at(**ago))

    making = ServingEndpoint(name=f"{PLAIN}---2222222222", config="c", since=at(hours=1))
    cases: dict[str, tuple[SharedEndpoint, list[str]]] = {
        "callers may not know yet": (SharedEndpoint(serving=SECOND, replaced=(before(minutes=29),)), []),
        "all callers know": (SharedEndpoint(serving=SECOND, replaced=(before(minutes=31),)), [PLAIN]),
        "it is about to serve again": (
            SharedEndpoint(serving=SECOND, replaced=(before(days=1),), making=replace(making, name=PLAIN)),
            [],
        ),
        "it is being made": (SharedEndpoint(serving=FIRST, making=making), []),
        "nobody goes on making it": (
            SharedEndpoint(serving=FIRST, making=replace(making, since=at(hours=4))),
            [making.name],
        ),
        "no pointer names its containers": (
            SharedEndpoint(serving=SECOND, replaced=(replace(before(days=1), containers={"c": "m"}),)),
            [FIRST.name],
        ),
        "it serves": (SharedEndpoint(serving=FIRST, replaced=(before(days=1),)), []),
    }
    for name, (said, expected) in cases.items():
        with subtests.test(name):
            assert [each.name for each in to_delete(said, NOW)] == expected
            after = said
            for doomed in expected:
                after = marked(after, doomed, NOW)
                assert after.making is None
            assert [each.name for each in after.replaced if each.leaving] == expected
            assert marked(said, said.serving.name, NOW) == said


def test_what_is_being_made_is_never_forgotten() -> None:
    one, other = replace(SECOND, name="one", since=at(hours=2)), replace(SECOND, name="other", since=at())
    said = SharedEndpoint(serving=FIRST).begun(one)
    assert said.begun(replace(one, since=at())).replaced == ()
    said = said.begun(other)
    assert (said.making, [each.name for each in said.replaced]) == (other, ["one"])
    assert said.replaced[0].until == other.since
    taken = said.taken_over(other)
    assert (taken.serving, taken.making) == (other, None)
    assert [each.name for each in taken.replaced] == [PLAIN, "one"]
    with pytest.raises(Busy, match="Endpoint one is just being deleted"):
        taken.with_leaving("one").begun(one)


def test_how_an_update_moves_the_traffic() -> None:
    assert deployment_config(Deployment()) == {}
    assert most_seconds(Endpoint()) == 3600
    rolling = Deployment(kind="rolling", percent=25, wait_seconds=60, alarms=("high errors",))
    assert deployment_config(rolling) == {
        "RollingUpdatePolicy": {
            "MaximumBatchSize": {"Type": "CAPACITY_PERCENT", "Value": 25},
            "WaitIntervalInSeconds": 60,
            "MaximumExecutionTimeoutInSeconds": 3840,
        },
        "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "high errors"}]},
    }
    assert most_seconds(Endpoint(deployment=rolling)) == 3840
    linear = deployment_config(Deployment(kind="linear", percent=30, termination_wait_seconds=120))
    policy = linear["BlueGreenUpdatePolicy"]
    assert policy["TrafficRoutingConfiguration"]["LinearStepSize"]["Value"] == 30
    assert policy["MaximumExecutionTimeoutInSeconds"] == 4 * 300 + 120 + 3600


def test_what_does_not_go_together_is_refused(tmp_path: Path, subtests: pytest.Subtests) -> None:
    cases = {
        "{change: switch, deployment: {kind: canary}}": "nothing beside change: switch",
        "{deployment: {kind: rolling, termination_wait_seconds: 60}}": "0 with kind rolling",
        "{deployment: {kind: linear, wait_seconds: 3600}}": "36,000 seconds of waiting in all",
        "{deployment: {alarms: [a, a]}}": "each value once",
        "{change: swich}": "switch",
    }
    path = tmp_path / "small.yaml"
    for section, said in cases.items():
        with subtests.test(section):
            path.write_text(f"{SMALL}endpoint: {section}\ncities: {{austin: }}\n", encoding="utf-8")
            with pytest.raises(FleetFileError, match=said):
                load_fleet(path, {})
