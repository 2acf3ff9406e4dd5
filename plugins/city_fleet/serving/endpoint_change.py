"""What is to become of the SageMaker endpoints of a shared endpoint: which one changes, and which may go. Pure.

Two ways lead to another configuration. ``update`` is SageMaker's own: the endpoint keeps its name, and its new
instances begin with no model in memory. ``switch`` makes another endpoint beside the one that serves, and has it take
over when it has answered with the champions' models.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from city_fleet import clock, naming
from city_fleet.config.endpoint_change_section import Deployment
from city_fleet.config.endpoint_section import Endpoint
from city_fleet.state.shared_endpoints import ServingEndpoint, SharedEndpoint

SWITCH, UPDATE = "switch", "update"
#: SageMaker takes no other request about an endpoint meanwhile.
UNDER_WAY = ("Creating", "Updating", "SystemUpdating", "RollingBack")
#: Whoever asks believes what was read for 30 seconds, and where S3 does not answer for a quarter of an hour, after
#: which live pointers are believed no more either; the rest is for clocks that differ and requests under way.
KEPT_AFTER = timedelta(minutes=30)
#: A try of bringing an endpoint up waits for an hour, and warms it for half of one.
GIVEN_UP_AFTER = timedelta(hours=3)
_START_SECONDS = 3600
_SHORTEST_UPDATE_SECONDS = 600


def target(
    name: str, said: SharedEndpoint | None, serves: Mapping[str, Any] | None, config: str, change: str
) -> str:
    """Return the name of the SageMaker endpoint that is to have a configuration: the one that serves, or one beside it.

    :param name: of the shared endpoint.
    :param said: what is noted of it.
    :param serves: description of the SageMaker endpoint that serves; None where it is not there.
    :param config: name of the wanted endpoint configuration.
    :param change: of the endpoint section.
    """
    serving = name if said is None else said.serving.name
    if serves is None and said is not None and said.closed is not None:
        return serving  # it comes back under its name
    if serves is None or serves["EndpointStatus"] == "Failed":
        # Nothing is lost by taking the plain name: nothing serves.
        return name
    if change == UPDATE or serves["EndpointConfigName"] == config or serves["EndpointStatus"] in UNDER_WAY:
        return serving
    if said is not None:
        for before in said.replaced:
            if before.config == config and not before.leaving and not before.containers:
                return before.name  # the way back is short while it is kept
    # Of what serves as well: a name that was in use for a configuration may hold another one by now.
    return naming.endpoint_beside(name, naming.digest([config, serving]))


def to_delete(
    said: SharedEndpoint, now: datetime, needed: Collection[str] = frozenset()
) -> tuple[ServingEndpoint, ...]:
    """Return the SageMaker endpoints of a shared endpoint that nothing needs any more.

    They are those that were replaced long enough ago for every caller to have read so, and one that nobody goes on
    making.

    :param needed: names of those that hold models of live pointers in containers, as ``replaced_endpoints`` finds them.
    """
    making = said.making
    lost = making is not None and now - clock.parse(making.since) > GIVEN_UP_AFTER
    names = {said.serving.name, *needed} | ({making.name} if making is not None and not lost else set())
    old = [each for each in said.replaced if each.leaving or now - clock.parse(each.until) > KEPT_AFTER]
    if making is not None and lost:
        old = [making, *(each for each in old if each.name != making.name)]
    return tuple(each for each in old if each.name not in names)


def marked(
    said: SharedEndpoint, doomed: str, now: datetime, needed: Collection[str] = frozenset()
) -> SharedEndpoint:
    """Return the state in which an endpoint is being deleted, if it still may be; else the same state."""
    if doomed not in {each.name for each in to_delete(said, now, needed)}:
        return said
    if said.making is not None and said.making.name == doomed:
        said = said.given_up(now.isoformat())
    return said.with_leaving(doomed)


def deployment_config(deployment: Deployment) -> dict[str, Any]:
    """Return how UpdateEndpoint is to move the traffic; empty where SageMaker's own way will do."""
    if deployment == Deployment():
        return {}
    percent = {"Type": "CAPACITY_PERCENT", "Value": deployment.percent}
    wait = {"WaitIntervalInSeconds": deployment.wait_seconds}
    limit = {
        "MaximumExecutionTimeoutInSeconds": max(
            _SHORTEST_UPDATE_SECONDS, deployment.waiting_seconds + _START_SECONDS
        )
    }
    body: dict[str, Any]
    if deployment.kind == "rolling":
        body = {"RollingUpdatePolicy": {"MaximumBatchSize": percent, **wait, **limit}}
    else:
        step = {"canary": "CanarySize", "linear": "LinearStepSize"}.get(deployment.kind)
        routing = {"Type": deployment.kind.upper(), **wait, **({step: percent} if step else {})}
        body = {
            "BlueGreenUpdatePolicy": {
                "TrafficRoutingConfiguration": routing,
                "TerminationWaitInSeconds": deployment.termination_wait_seconds,
                **limit,
            }
        }
    if deployment.alarms:
        alarms = [{"AlarmName": each} for each in deployment.alarms]
        body["AutoRollbackConfiguration"] = {"Alarms": alarms}
    return body


def most_seconds(settings: Endpoint) -> int:
    """Return how long an endpoint may take until it has settled."""
    asked = settings.change == UPDATE and bool(deployment_config(settings.deployment))
    return _START_SECONDS + (settings.deployment.waiting_seconds if asked else 0)
