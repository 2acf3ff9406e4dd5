"""Airflow operator of the fleet's ``_endpoint`` DAG for an endpoint on which each model has a container of its own.

The containers themselves come with the models: publishing makes them. This task says what they are made with, and where
models serve already, has them made anew when that has changed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from city_fleet.champions import containers
from city_fleet.config import Fleet
from city_fleet.config.endpoint_section import OWN
from city_fleet.orchestration.fleet_tasks.fleet_operator import FleetOperator
from city_fleet.orchestration.patience import patient
from city_fleet.orchestration.run_context import refuse_old_layout
from city_fleet.orchestration.task_clients import TaskClients
from city_fleet.plan import ENDPOINT_PURPOSE, endpoint_name
from city_fleet.serving import container_template, endpoint_hours, endpoint_state
from city_fleet.state import shared_endpoints
from city_fleet.state.context import CityContext
from city_fleet.state.objects import ObjectStore
from city_fleet.state.shared_endpoints import ServingEndpoint, SharedEndpoint

if TYPE_CHECKING:
    from airflow.sdk import Context


class SharedContainersOperator(FleetOperator):
    """What the containers of an endpoint are made with, and the endpoint itself where models serve on it.

    Returns ``{endpoint, endpoint_config_name, status}``; ``status`` is empty while no model has gone live.
    """

    def __init__(self, *, fleet: Fleet, endpoint: str = OWN, **kwargs: Any) -> None:
        super().__init__(fleet=fleet, **kwargs)
        self.endpoint = endpoint

    @patient
    def execute(self, context: Context) -> dict[str, Any]:
        fleet, keys = self.fleet, self.fleet.keys
        aws = TaskClients(self.aws_conn_id, fleet.region, fleet.kms_key)
        refuse_old_layout(aws.s3, keys)
        bundle = endpoint_state.serving_bundle(fleet, self.endpoint)
        bundle.ensure_uploaded(aws.s3, keys)
        template = container_template.template_of(fleet, bundle, self.endpoint)
        name = endpoint_name(fleet, self.endpoint)

        def noted(before: SharedEndpoint | None) -> SharedEndpoint:
            said = before or SharedEndpoint(serving=ServingEndpoint(name=name))
            serving = (
                said.serving
                if said.serving.containers
                else replace(said.serving, algorithms=template["algorithms"])
            )
            return replace(said, serving=serving, template=template)

        store = ObjectStore(aws.s3, fleet.bucket)
        shared_endpoints.change(store, keys, name, noted)
        endpoint_hours.put_back(aws.sagemaker, store, fleet, self.endpoint)
        place = CityContext(aws, keys, endpoint_name(fleet), "", ENDPOINT_PURPOSE)
        serving = containers.make_anew(place, name)
        if serving is None:
            self.log.info("No model serves on %s yet; the first that goes live brings its container up", name)
            return {"endpoint": name, "endpoint_config_name": "", "status": ""}
        if fleet.endpoint_settings(self.endpoint).hours is not None:
            shared_endpoints.open_again(store, keys, name)
        self.log.info("Endpoint %s serves with %d containers", serving.name, len(serving.containers))
        return {"endpoint": serving.name, "endpoint_config_name": serving.config, "status": "InService"}
