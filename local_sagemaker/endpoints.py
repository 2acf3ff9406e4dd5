"""Endpoints: the operations, and the manager that starts, swaps and stops what they serve with.

States follow the AWS documentation of DescribeEndpoint: Creating, InService, Updating, Deleting, Failed. A
failed update leaves the old containers in service; FailureReason tells why.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx

from local_sagemaker.containers import ContainerFailed, ContainerSpec, ModelContainer
from local_sagemaker.endpoint_specs import container_specs, describe_variants
from local_sagemaker.errors import ValidationException, not_found
from local_sagemaker.listing import list_page
from local_sagemaker.model_cache import ModelCache
from local_sagemaker.operations import operation
from local_sagemaker.runner import now, shorten
from local_sagemaker.store import AlreadyExists, Document, NotFound
from local_sagemaker.tags import check_tags
from local_sagemaker.variants import LiveEndpoint, Variant, in_parallel

if TYPE_CHECKING:
    from local_sagemaker.server import Server

KIND = "endpoint"
IN_PROGRESS = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")
SHUTDOWN_GRACE_SECONDS = 2.0
STARTING_AT_ONCE = 4
LOADING_AT_ONCE = 8

log = logging.getLogger(__name__)


@operation("CreateEndpoint")
def create_endpoint(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Create an endpoint from an endpoint configuration."""
    name, config = request["EndpointName"], request["EndpointConfigName"]
    arn = server.arn(KIND, name)
    if server.store.get(KIND, name) is not None:
        raise ValidationException(f'Cannot create already existing endpoint "{arn}".')
    specs = container_specs(server, name, config)
    moment = now()
    document: Document = {
        "EndpointName": name,
        "EndpointArn": arn,
        "EndpointConfigName": config,
        "EndpointStatus": "Creating",
        "CreationTime": moment,
        "LastModifiedTime": moment,
        "_region": server.region,
        "_tags": check_tags(request.get("Tags", [])),
    }
    try:
        server.store.insert(KIND, name, document)
    except AlreadyExists:
        raise ValidationException(f'Cannot create already existing endpoint "{arn}".') from None
    server.endpoints.deploy(name, config, specs)
    return {"EndpointArn": arn}


@operation("DescribeEndpoint")
def describe_endpoint(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Everything about one endpoint."""
    document = server.store.get(KIND, request["EndpointName"])
    if document is None:
        raise not_found("endpoint", server.arn(KIND, request["EndpointName"]))
    return document


@operation("ListEndpoints")
def list_endpoints(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Endpoints, filtered and sorted, a page at a time."""
    return list_page(
        "ListEndpoints", request, server.store.list(KIND), name="EndpointName", status="EndpointStatus"
    )


@operation("UpdateEndpoint")
def update_endpoint(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Move an endpoint to another configuration: new containers first, then the old ones are drained."""
    name, config = request["EndpointName"], request["EndpointConfigName"]
    if request.get("RetainAllVariantProperties") or request.get("RetainDeploymentConfig"):
        raise ValidationException(
            "RetainAllVariantProperties and RetainDeploymentConfig: the local SageMaker does not support "
            "them; "
            "leave them out."
        )
    _settled(server, name)
    specs = container_specs(server, name, config)

    def change(document: Document) -> None:
        _check_settled(document)
        if document["EndpointStatus"] == "Failed":
            raise ValidationException(
                f'Cannot update failed endpoint "{document["EndpointArn"]}"; delete it.'
            )
        moment = now()
        document.pop("FailureReason", None)
        document.update(
            EndpointStatus="Updating",
            LastModifiedTime=moment,
            PendingDeploymentSummary={"EndpointConfigName": config, "StartTime": moment},
        )

    document = _change(server, name, change)
    server.endpoints.deploy(name, config, specs)
    return {"EndpointArn": document["EndpointArn"]}


@operation("DeleteEndpoint")
def delete_endpoint(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Delete an endpoint; its configuration and models stay."""
    name = request["EndpointName"]

    def change(document: Document) -> None:
        _check_settled(document)
        document.update(EndpointStatus="Deleting", LastModifiedTime=now())

    _change(server, name, change)
    server.endpoints.delete(name)
    return {}


def _settled(server: Server, name: str) -> None:
    document = server.store.get(KIND, name)
    if document is None:
        raise not_found("endpoint", server.arn(KIND, name))
    _check_settled(document)


def _check_settled(document: Document) -> None:
    if document["EndpointStatus"] in IN_PROGRESS:
        raise ValidationException(f'Cannot update in-progress endpoint "{document["EndpointArn"]}".')


def _change(server: Server, name: str, change: Callable[[Document], None]) -> Document:
    try:
        return server.store.update(KIND, name, change)
    except NotFound:
        raise not_found("endpoint", server.arn(KIND, name)) from None


class EndpointManager:
    """Starts and stops what endpoints serve with. Operations return at once; threads of its own do the work.

    :param server: the server it belongs to.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._live: dict[str, LiveEndpoint] = {}
        self._lock = threading.Lock()
        self._closed = False
        self._deployments = ThreadPoolExecutor(STARTING_AT_ONCE, thread_name_prefix="endpoint")
        self._loads = ThreadPoolExecutor(LOADING_AT_ONCE, thread_name_prefix="load")
        # Connections are kept: to open one costs more than a prediction. trust_env: no proxy to ourselves.
        self.http = httpx.AsyncClient(
            trust_env=False,
            timeout=None,  # noqa: S113  # every call has its own
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=256, keepalive_expiry=600),
        )

    def live(self, name: str) -> LiveEndpoint | None:
        """An endpoint that answers, None when there is none of that name.

        :param name: its name.
        """
        return self._live.get(name)

    def deploy(self, name: str, config: str, specs: list[tuple[ContainerSpec, float]]) -> None:
        """Bring an endpoint into service with new containers; returns at once.

        :param name: its name.
        :param config: name of its new endpoint configuration.
        :param specs: container and weight of each variant.
        """
        self._deployments.submit(self._deploy, name, config, specs)

    def delete(self, name: str) -> None:
        """Stop an endpoint's containers and forget it; returns at once.

        :param name: its name.
        """
        with self._lock:
            live = self._live.pop(name, None)

        def work() -> None:
            if live is not None:
                live.drain()
            self._server.store.delete(KIND, name)

        self._deployments.submit(work)

    def shutdown(self) -> None:
        """Stop all containers and wait for them."""
        with self._lock:
            self._closed = True
            live = list(self._live.values())
            self._live.clear()
        in_parallel([partial(endpoint.drain, SHUTDOWN_GRACE_SECONDS) for endpoint in live])
        self._deployments.shutdown(wait=True, cancel_futures=True)
        self._loads.shutdown(wait=False, cancel_futures=True)

    def _deploy(self, name: str, config: str, specs: list[tuple[ContainerSpec, float]]) -> None:
        document = self._server.store.get(KIND, name)
        if document is None:
            return
        try:
            live = LiveEndpoint(config, document["_region"], self._start(specs, document["_region"]))
        except Exception as error:
            if not isinstance(error, ContainerFailed):
                log.exception("endpoint %s", name)
            self._settle(name, None, [], str(error))
            return
        with self._lock:
            closed = self._closed
            previous = self._live.get(name)
            if not closed:
                self._live[name] = live
        if closed:
            live.drain(SHUTDOWN_GRACE_SECONDS)
            return
        self._settle(name, config, specs, None)
        if previous is not None:
            previous.drain()

    def _start(self, specs: list[tuple[ContainerSpec, float]], region: str) -> list[Variant]:
        variants: list[Variant] = []
        try:
            for spec, weight in specs:
                container = ModelContainer(self._server, spec, region)
                variants.append(Variant(spec.variant, weight, container, self._cache(container, region)))
        except BaseException:
            for variant in variants:
                variant.drain(0.0)
            raise
        return variants

    def _cache(self, container: ModelContainer, region: str) -> ModelCache | None:
        if not container.spec.multi_model:
            return None
        settings = self._server.settings
        return ModelCache(
            container,
            http=self.http,
            s3=self._server.aws.client("s3", region),
            workers=self._loads,
            limit=settings.max_loaded_models,
            load_timeout_seconds=settings.model_load_timeout_seconds,
        )

    def _settle(
        self, name: str, config: str | None, specs: list[tuple[ContainerSpec, float]], reason: str | None
    ) -> None:
        """Write how a deployment ended.

        :param config: the configuration now in service; None when the deployment failed.
        :param reason: why it failed.
        """

        def change(document: Document) -> None:
            updating = document.pop("PendingDeploymentSummary", None) is not None
            document["LastModifiedTime"] = now()
            if config is not None:
                document["EndpointStatus"] = "InService"
                document["EndpointConfigName"] = config
                document["ProductionVariants"] = describe_variants(self._server, config, specs)
                return
            document["EndpointStatus"] = "InService" if updating else "Failed"
            document["FailureReason"] = shorten(reason or "")

        self._server.store.update(KIND, name, change)
