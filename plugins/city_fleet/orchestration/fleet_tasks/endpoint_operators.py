"""Airflow operators of the fleet's ``_endpoint`` DAG: bring each shared multi-model endpoint to its wanted state.

Names follow from content (endpoint_requests.py), so each operator looks first and creates only what is missing; running
the DAG twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.operators.sagemaker import (
    SageMakerEndpointConfigOperator,
    SageMakerEndpointOperator,
    SageMakerModelOperator,
)
from airflow.sdk.exceptions import AirflowException, AirflowFailException
from botocore.exceptions import ClientError

from city_fleet import aws_errors, naming
from city_fleet.config import Fleet
from city_fleet.config.endpoint_section import OWN
from city_fleet.errors import Busy, OtherInstallation
from city_fleet.orchestration import spans
from city_fleet.orchestration.console_pages import say_links
from city_fleet.orchestration.fleet_tasks.fleet_operator import PatientTask
from city_fleet.orchestration.patience import patient
from city_fleet.orchestration.run_context import refuse_old_layout, upstream
from city_fleet.orchestration.task_clients import AIOBOTOCORE_IS_INSTALLED, CLIENT_SETTINGS, TaskClients
from city_fleet.outgoing_text import printable
from city_fleet.plan import REAPER_PURPOSE, endpoint_name
from city_fleet.serving import (
    endpoint_change,
    endpoint_requests,
    endpoint_scaling,
    endpoint_state,
    scaling_requests,
    warming,
)
from city_fleet.state import serving_code, shared_endpoints
from city_fleet.state.objects import ObjectStore
from city_fleet.state.shared_endpoints import ServingEndpoint
from city_fleet.views.consoles import ConsolePages

if TYPE_CHECKING:
    from airflow.sdk import Context

MODEL = "model"
ENDPOINT_CONFIG = "endpoint_config"
ENDPOINT = "endpoint"


def task_of(task_id: str, endpoint: str) -> str:
    """Return the id of the task of one of the fleet's endpoints: those of the fleet's own bear no name.

    With a hyphen, which no name holds: an endpoint may be called ``config``.
    """
    return f"{task_id}-{endpoint}" if endpoint else task_id


def _described(describe: Callable[[str], Any], name: str) -> dict[str, Any] | None:
    """Return a resource's description, or None where there is none."""
    try:
        return dict(describe(name))
    except ClientError as error:
        if aws_errors.is_missing(error):
            return None
        raise


class SharedModelOperator(PatientTask, SageMakerModelOperator):
    """The container that serves every city: the image, the serving code and the prefix of the artifacts."""

    overwrite_rtif_after_execution = True

    def __init__(self, *, fleet: Fleet, endpoint: str = OWN, **kwargs: Any) -> None:
        super().__init__(config={}, botocore_config=CLIENT_SETTINGS, **kwargs)
        self.fleet = fleet
        self.endpoint = endpoint

    @patient
    def execute(self, context: Context) -> dict[str, Any]:
        keys = self.fleet.keys
        bundle = endpoint_state.serving_bundle(self.fleet, self.endpoint)
        s3 = TaskClients(self.aws_conn_id, self.region_name, self.fleet.kms_key).s3
        refuse_old_layout(s3, keys)
        bundle.ensure_uploaded(s3, keys)
        self.config = endpoint_state.wanted_model(self.fleet, bundle, self.endpoint)
        name = self.config["ModelName"]
        if _described(self.hook.describe_model, name):
            self.log.info("Model %s is there already", name)
        else:
            super().execute(context)
        return {"model_name": name}


class SharedEndpointConfigOperator(PatientTask, SageMakerEndpointConfigOperator):
    """Instance type, count and the one model of the shared endpoint."""

    overwrite_rtif_after_execution = True

    def __init__(self, *, fleet: Fleet, endpoint: str = OWN, **kwargs: Any) -> None:
        super().__init__(config={}, botocore_config=CLIENT_SETTINGS, **kwargs)
        self.fleet = fleet
        self.endpoint = endpoint

    @patient
    def execute(self, context: Context) -> dict[str, Any]:
        self.config = endpoint_requests.endpoint_config_request(
            self.fleet,
            self.endpoint,
            model_name=upstream(context, task_of(MODEL, self.endpoint))["model_name"],
        )
        name = self.config["EndpointConfigName"]
        if _described(self.hook.describe_endpoint_config, name):
            self.log.info("Endpoint configuration %s is there already", name)
        else:
            super().execute(context)
        return {"endpoint_config_name": name}


class SharedEndpointOperator(PatientTask, SageMakerEndpointOperator):
    """The shared endpoint, created, updated or replaced until one is in service with the wanted configuration."""

    overwrite_rtif_after_execution = True

    def __init__(self, *, fleet: Fleet, endpoint: str = OWN, **kwargs: Any) -> None:
        super().__init__(
            config={},
            botocore_config=CLIENT_SETTINGS,
            # Without aiobotocore, which the provider's trigger needs, the task waits in its worker.
            deferrable=AIOBOTOCORE_IS_INSTALLED,
            check_interval=fleet.defaults.waiter_delay_seconds,
            # An endpoint that has not settled by then has failed in a way SageMaker does not report.
            max_ingestion_time=endpoint_change.most_seconds(fleet.endpoint_settings(endpoint)),
            **kwargs,
        )
        self.fleet = fleet
        self.endpoint = endpoint
        self.settings = fleet.endpoint_settings(endpoint)
        #: Name of the shared endpoint, whichever SageMaker endpoint serves for it.
        self.shared = endpoint_name(fleet, endpoint)

    @patient
    def execute(self, context: Context) -> dict[str, Any]:
        config = self._wanted_config(context)
        name, serves = self._target(config)
        self.config = endpoint_requests.endpoint_request(
            self.fleet, self.endpoint, endpoint_config_name=config
        )
        self.config["EndpointName"] = name
        say_links(context, endpoint=ConsolePages.of(self.hook.conn).shared_endpoint(name))
        found = _described(self.hook.describe_endpoint, name)
        if found is not None:
            try:
                endpoint_state.refuse_other(self.hook.conn, self.fleet, found)
            except OtherInstallation as error:
                raise AirflowFailException(str(error)) from error
        if name != serves.name:
            self.log.info("Endpoint %s serves on; %s is to take over from it", serves.name, name)
            making = ServingEndpoint(name=name, config=config)
            shared_endpoints.begin(self._store(), self.fleet.keys, self.shared, making, serves)
        if found is None:
            self.operation = "create"
        elif found["EndpointStatus"] in endpoint_change.UNDER_WAY:
            # An earlier try has asked for it, whose wait was lost, or somebody else has asked for something.
            raise Busy(f"Endpoint {name} is {found['EndpointStatus']}")
        elif found["EndpointStatus"] == "Failed":
            # A failed endpoint takes no update; it serves nothing, so deleting it loses nothing.
            self.log.warning(
                "Endpoint %s has failed (%s); creating it anew", name, found.get("FailureReason")
            )
            self.hook.conn.delete_endpoint(EndpointName=name)
            self.hook.get_waiter("endpoint_deleted").wait(EndpointName=name)
            self.operation = "create"
        elif found["EndpointConfigName"] != self.config["EndpointConfigName"]:
            self.operation = "update"
            self.config.pop("Tags")
            deployment = endpoint_change.deployment_config(self.settings.deployment)
            if deployment:
                self.config["DeploymentConfig"] = deployment
            self._prepare_scaled(found)
        elif found["EndpointStatus"] == "InService":
            self.log.info("Endpoint %s serves with %s already", name, found["EndpointConfigName"])
            return self._result(context, found)
        else:
            reason = printable(found.get("FailureReason") or "SageMaker gives no reason")
            raise AirflowException(
                f"Endpoint {name} is {found['EndpointStatus']} ({reason}); a retry looks again"
            )
        super().execute(context)
        return self._result(context, self.hook.describe_endpoint(name))

    @patient
    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        name, serves = self._target(self._wanted_config(context))
        found = _described(self.hook.describe_endpoint, name) or {}
        status = found.get("EndpointStatus", "gone")
        if status in endpoint_change.UNDER_WAY:
            # The wait was lost, for example in an outage.
            raise Busy(f"Endpoint {name} is {status}")
        if (event or {}).get("status") == "success" or status == "InService":
            return self._result(context, found)
        # The event has the waiter's words only. A retry creates an endpoint that has failed anew.
        said = f"{found.get('FailureReason') or 'it gives no reason'} ({(event or {}).get('message', 'no event')})"
        if status == "Failed" and name != serves.name:
            # It bills nothing and serves nothing; its name is free for the retry.
            self.hook.conn.delete_endpoint(EndpointName=name)
            said += f". It is deleted, and {serves.name} serves on"
        raise AirflowException(f"Endpoint {name} is {status}. SageMaker says: {printable(said)}")

    def _wanted_config(self, context: Context) -> str:
        return str(upstream(context, task_of(ENDPOINT_CONFIG, self.endpoint))["endpoint_config_name"])

    def _result(self, context: Context, description: dict[str, Any]) -> dict[str, Any]:
        """Return what the task leaves, once the endpoint is what was asked for.

        :raises AirflowFailException: it is not: an update was rolled back, which a retry would only repeat.
        """
        wrong = endpoint_state.shortcoming(
            self.hook.conn,
            description,
            config=self._wanted_config(context),
            model=upstream(context, task_of(MODEL, self.endpoint))["model_name"],
        )
        if description["EndpointStatus"] == "InService":
            # One whose update was rolled back goes on serving, and so goes on scaling.
            self._scale(description)
        if wrong is not None:
            raise AirflowFailException(printable(wrong))
        name = description["EndpointName"]
        serving = ServingEndpoint(
            name=name,
            config=description["EndpointConfigName"],
            algorithms=serving_code.served(self.hook.conn, name),
        )
        _, serves = self._target(serving.config)
        if name == serves.name:
            shared_endpoints.note(self._store(), self.fleet.keys, self.shared, serving)
        else:
            self._warm(serves.name, name)
            shared_endpoints.take_over(self._store(), self.fleet.keys, self.shared, serving)
            self.log.info(
                "Endpoint %s serves from now on. Callers read so within %d minutes; then the DAG %s deletes %s",
                name,
                endpoint_change.KEPT_AFTER.total_seconds() / 60,
                naming.fleet_dag_id(self.fleet.fleet, REAPER_PURPOSE),
                serves.name,
            )
        told = {
            "cityfleet.fleet": self.fleet.fleet, "cityfleet.environment": self.fleet.environment,
            "cityfleet.endpoint": self.shared, "cityfleet.served_before": serves.name, "cityfleet.serves": name,
            "cityfleet.config_before": serves.config, "cityfleet.config": serving.config,
        }  # fmt: skip
        spans.emit(context, spans.since(spans.begun(context), "cityfleet.endpoint", told))
        said = shared_endpoints.read(self._store(), self.fleet.keys)[self.shared]
        if self.settings.hours is not None or said.closed is not None:
            shared_endpoints.open_again(self._store(), self.fleet.keys, self.shared)
        return {
            "endpoint": description["EndpointName"],
            "endpoint_config_name": description["EndpointConfigName"],
            "status": description["EndpointStatus"],
        }

    def _prepare_scaled(self, found: dict[str, Any]) -> None:
        """Have an update keep the number of instances that scaling has reached, and SageMaker accept it."""
        if self.settings.scaling is not None:
            self.config["RetainAllVariantProperties"] = True
        described = _described(self.hook.describe_endpoint_config, found["EndpointConfigName"]) or {}
        types = {each.get("InstanceType") for each in described.get("ProductionVariants", [])}
        if types == {self.settings.instance_type}:
            return
        scales = self.settings.scaling is not None
        if endpoint_scaling.release(self._clients().scaling, found["EndpointName"], scales=scales):
            self.log.info("Scaling pauses: SageMaker changes the instance type of no scalable target")

    def _scale(self, description: dict[str, Any]) -> None:
        """Have an endpoint in service scale as the fleet file says, before it takes over from another one."""
        name, wanted = description["EndpointName"], self.settings.scaling
        scaling, sagemaker = self._clients().scaling, self.hook.conn
        if wanted is None:
            if endpoint_scaling.end(scaling, sagemaker, description, self.settings.instance_count):
                self.log.info("Endpoint %s scales no more: %d instances", name, self.settings.instance_count)
            return
        _, serves = self._target(description["EndpointConfigName"])
        if name != serves.name:
            now = endpoint_scaling.instances(_described(self.hook.describe_endpoint, serves.name) or {})
            more = scaling_requests.count_to_keep(now, endpoint_scaling.instances(description), wanted)
            if more is not None:
                self.log.info("Endpoint %s gets %d instances, as many as serve now", name, more)
                endpoint_scaling.grow(sagemaker, name, more)
        if endpoint_scaling.register(scaling, name, wanted):
            self.log.info(
                "Endpoint %s scales from %d to %d instances from now on",
                name,
                wanted.min_instances,
                wanted.max_instances,
            )

    def _target(self, config: str) -> tuple[str, ServingEndpoint]:
        """Return the name of the SageMaker endpoint that is to have a configuration, and what serves now."""
        said = shared_endpoints.read(self._store(), self.fleet.keys).get(self.shared)
        serves = ServingEndpoint(name=self.shared) if said is None else said.serving
        found = _described(self.hook.describe_endpoint, serves.name)
        if said is None and found is not None:
            serves = replace(serves, config=found["EndpointConfigName"])
        return endpoint_change.target(self.shared, said, found, config, self.settings.change), serves

    def _warm(self, serves: str, to: str) -> None:
        """Have the endpoint that is to take over answer with the champions' models."""
        clients = self._clients()
        own = endpoint_name(self.fleet)
        switching = warming.Switching(shared=self.shared, own=own, serves=serves, to=to)
        done = warming.warm(clients, self.fleet.keys, switching, self.settings.warm_models)
        self.log.info(
            "Endpoint %s answers with %d models as they answered when they were trained; %d were not asked and are "
            "loaded by their first request",
            to,
            done.models,
            done.left,
        )
        for said in done.unwell:
            self.log.warning("Neither endpoint answers as it should for %s", printable(said))

    def _store(self) -> ObjectStore:
        return ObjectStore(self._clients().s3, self.fleet.bucket)

    def _clients(self) -> TaskClients:
        return TaskClients(self.aws_conn_id, self.region_name, self.fleet.kms_key)
