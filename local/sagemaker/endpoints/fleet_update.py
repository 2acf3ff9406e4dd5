"""An update that moves the traffic step by step from one fleet of an endpoint to the other, and says where it is."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from local.sagemaker.container_spec import ContainerSpec
from local.sagemaker.endpoints.endpoint_specs import describe_variants
from local.sagemaker.endpoints.traffic_shift import Interrupted
from local.sagemaker.endpoints.variants import LiveEndpoint
from local.sagemaker.moments import now
from local.sagemaker.reach import Server
from local.sagemaker.services.alarms import ALARM, alarm_states
from local.sagemaker.store import Document

KIND = "endpoint"


class FleetUpdate:
    """The traffic of an endpoint that has two fleets; ``traffic_shift.Traffic`` describes it.

    :param server: the server it belongs to.
    :param name: name of the endpoint.
    :param fleets: the old one, in service, and the new one, which answers.
    :param specs: what the new one runs.
    :param alarms: names of those that are watched.
    :param closing: set when the server is shutting down.
    """

    def __init__(
        self,
        server: Server,
        name: str,
        *,
        fleets: tuple[LiveEndpoint, LiveEndpoint],
        specs: list[tuple[ContainerSpec, float]],
        alarms: Sequence[str],
        closing: threading.Event,
    ) -> None:
        self._server = server
        self._name = name
        self._old, self._new = fleets
        self._specs = specs
        self._alarms = alarms
        self._closing = closing

    def activate(self, share: float) -> None:
        """Let the new fleet have this share of the traffic; 0 takes it back."""
        self._old.shift = (self._new, share)
        variants = pending_variants(
            self._server, self._new.config, self._specs, "Baking" if share else "Deleting", share
        )

        def change(document: Document) -> None:
            document["PendingDeploymentSummary"] |= {"ProductionVariants": variants}

        self._server.store.update(KIND, self._name, change)

    def tripped(self) -> Sequence[str]:
        """Names of the update's alarms that are in ALARM."""
        states = alarm_states(self._new.region, self._alarms)
        return [name for name, state in states.items() if state == ALARM]

    def wait(self, seconds: float) -> None:
        """Wait.

        :raises Interrupted: when the server is about to end.
        """
        if self._closing.wait(seconds):
            raise Interrupted


def pending_variants(
    server: Server,
    config_name: str,
    specs: list[tuple[ContainerSpec, float]],
    status: str,
    share: float = 0.0,
) -> list[dict[str, Any]]:
    """Production variants of a fleet that comes into service, as PendingDeploymentSummary shows them.

    :param config_name: name of its endpoint configuration.
    :param specs: what it runs.
    :param status: of all its variants: Creating, Baking or Deleting.
    :param share: of its instances that have traffic.
    """
    types = {spec.variant: spec.instance_type for spec, _ in specs}
    return [
        {
            **variant,
            "InstanceType": types[variant["VariantName"]],
            "CurrentInstanceCount": round(share * variant["DesiredInstanceCount"]),
            "VariantStatus": [{"Status": status, "StartTime": now()}],
        }
        for variant in describe_variants(server, config_name, specs)
    ]
