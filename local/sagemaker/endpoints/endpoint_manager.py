"""Starts, replaces and stops the model servers behind endpoints."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial

from local.sagemaker.endpoints import data_capture
from local.sagemaker.endpoints.containers import ContainerFailed
from local.sagemaker.endpoints.data_capture import DataCapture
from local.sagemaker.endpoints.endpoint_specs import Deployment, describe_variants, instances
from local.sagemaker.endpoints.fleet_start import FleetStarter
from local.sagemaker.endpoints.fleet_update import FleetUpdate
from local.sagemaker.endpoints.runtime_errors import ServiceUnavailable, ValidationError
from local.sagemaker.endpoints.traffic_shift import Interrupted, shift
from local.sagemaker.endpoints.variants import LiveEndpoint, Served, Variant, in_parallel
from local.sagemaker.errors import SageMakerError, shorten
from local.sagemaker.moments import now
from local.sagemaker.processes.archives import remove_tree
from local.sagemaker.reach import Server
from local.sagemaker.store import Document

KIND = "endpoint"
SHUTDOWN_GRACE_SECONDS = 2.0
STARTING_AT_ONCE = 4
LOADING_AT_ONCE = 8

log = logging.getLogger(__name__)


class EndpointManager:
    """Starts and stops the model servers of all endpoints. Its methods return at once; threads of its own do the work.

    :param server: the server it belongs to.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._live: dict[str, LiveEndpoint] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        remove_tree(server.data_dir / "endpoints")  # what a server that was killed has left
        self._deployments = ThreadPoolExecutor(STARTING_AT_ONCE, thread_name_prefix="endpoint")
        self._loads = ThreadPoolExecutor(LOADING_AT_ONCE, thread_name_prefix="load")
        self._starter = FleetStarter(server, self._closing, self._loads)

    def live(self, name: str) -> LiveEndpoint | None:
        """The endpoint in service of that name, or None.

        :param name: name of the endpoint.
        """
        return self._live.get(name)

    def absence(self, name: str) -> SageMakerError:
        """The error that InvokeEndpoint answers for an endpoint that is not in service.

        :param name: name of the endpoint.
        """
        document = self._server.store.get(KIND, name) or {}
        if "_deployed" in document and document["EndpointStatus"] in ("SystemUpdating", "Updating"):
            return ServiceUnavailable(f"Endpoint {name} is being started again. Please try again.")
        return ValidationError(f"Endpoint {name} of account {self._server.account_id} not found.")

    def enter(self, name: str, wanted: str | None) -> tuple[LiveEndpoint, Variant] | None:
        """Choose what answers a request, and keep it in service until the caller has left the variant.

        :param name: name of the endpoint.
        :param wanted: the request's TargetVariant, if it names one.
        :return: None when there is no such endpoint.
        :raises ValidationError: when it has no such variant.
        """
        # Under the lock, so that no update stops the container between the choice and the entry.
        with self._lock:
            current = self._live.get(name)
            if current is None:
                return None
            live = current.choose_fleet()
            variant = live.choose(wanted)
            variant.enter()
            return live, variant

    def deploy(self, name: str, deployment: Deployment) -> None:
        """Bring an endpoint into service with new containers; returns at once.

        :param name: name of the endpoint.
        :param deployment: what it is to run, and how it gets there.
        """
        packed = deployment.packed()
        self._server.store.update(KIND, name, lambda document: document.update(_deploying=packed))
        self._deployments.submit(self._deploy, name, deployment)

    def recover(self) -> None:
        """Bring back what an earlier server had in service, and go on with what it had begun; returns at once.

        Until an endpoint answers again it is SystemUpdating, as one on AWS whose instances are replaced.
        """
        for name, document in self._server.store.items(KIND):
            status = document["EndpointStatus"]
            if status == "Deleting":
                self._server.store.delete(KIND, name)
            elif status != "Failed":
                if "_deploying" not in document:
                    self._server.store.update(
                        KIND, name, lambda document: document.update(EndpointStatus="SystemUpdating")
                    )
                self._deployments.submit(self._recover, name, document)

    def share(self, name: str, shares: Mapping[str, tuple[float, int]]) -> None:
        """Change how an endpoint's traffic is shared among its variants, and how many instances each counts as.

        :param name: name of the endpoint.
        :param shares: new weight and number of instances by name of the variant.
        """
        live = self.live(name)
        for variant in live.variants if live else ():
            if variant.name in shares:
                variant.share(*shares[variant.name])
        if live:
            self._count(name, live)

    def revive(self, name: str, live: LiveEndpoint, variant: Variant, served: Served) -> None:
        """Start a container again after it died; returns at once. Models are loaded again on use.

        :param name: name of the endpoint.
        :param live: the endpoint as it was when the container was found dead.
        :param variant: the variant that the container is of.
        :param served: the container that has died.
        """
        hostname = served.container.spec.hostname
        with self._lock:
            if served.container.alive or hostname in variant.reviving or self._closing.is_set():
                return
            if variant.served[hostname] is not served:  # it has been replaced meanwhile
                return
            variant.reviving.add(hostname)
        self._deployments.submit(self._revive, name, live, variant, hostname)

    def delete(self, name: str) -> None:
        """Stop an endpoint's containers and forget it; returns at once.

        :param name: name of the endpoint.
        """
        with self._lock:
            live = self._live.pop(name, None)

        def work() -> None:
            if live is not None:
                live.drain()
            self._server.quotas.release((KIND, name))
            self._server.store.delete(KIND, name)

        self._deployments.submit(work)

    def shutdown(self) -> None:
        """Stop all containers and wait for them."""
        with self._lock:
            self._closing.set()
            live = [fleet for endpoint in self._live.values() for fleet in endpoint.fleets]
            self._live.clear()
        in_parallel([partial(fleet.drain, SHUTDOWN_GRACE_SECONDS) for fleet in live])
        self._deployments.shutdown(wait=True, cancel_futures=True)
        self._loads.shutdown(wait=False, cancel_futures=True)

    def _recover(self, name: str, document: Document) -> None:
        """Bring an endpoint back, then go on with its creation or update, if there was one."""
        try:
            deployments = [
                Deployment.unpacked(document[member])
                for member in ("_deployed", "_deploying")
                if member in document
            ]
        except (KeyError, TypeError, ValueError) as error:
            self._settle(name, None, f"The endpoint can't be read from the data folder: {error!r}")
            return
        if not deployments:
            self._settle(name, None, "The server was ended before it had begun to create the endpoint.")
        for number, deployment in enumerate(deployments, 1):
            self._deploy(name, deployment, settle=number == len(deployments))

    def _deploy(self, name: str, deployment: Deployment, settle: bool = True) -> None:
        begun = time.monotonic()
        document = self._server.store.get(KIND, name)
        if document is None:
            return
        region = document["_region"]
        self._closing.wait(self._server.settings.start_delay_seconds)
        try:
            variants = self._starter.start(deployment.specs, region)
            live = LiveEndpoint(deployment.config, region, variants, self._capture(name, deployment, region))
        except Exception as error:
            if self._closing.is_set():  # not its fault: the next server on this data folder tries again
                return
            if not isinstance(error, ContainerFailed):
                log.exception("endpoint %s", name)
            if settle:
                self._settle(name, None, str(error))
            return
        gradual = settle and not deployment.plan.at_once
        with self._lock:
            closed = self._closing.is_set()
            previous = self._live.get(name)
            if previous is not None and gradual and not closed:
                previous.shift = (live, 0.0)
            elif not closed:
                self._live[name] = live
        if closed:
            live.drain(SHUTDOWN_GRACE_SECONDS)
        elif previous is not None and gradual:
            # A thread of its own: it may take hours.
            threading.Thread(
                target=self._shift, args=(name, previous, live, deployment, begun), daemon=True
            ).start()
        else:
            if settle:
                self._settle(name, deployment, None)
            if previous is not None:
                previous.drain()

    def _capture(self, name: str, deployment: Deployment, region: str) -> DataCapture | None:
        if deployment.capture is None or not data_capture.is_on(deployment.capture):
            return None
        return DataCapture(self._server.aws.client("s3", region), name, deployment.capture)

    def _shift(
        self, name: str, old: LiveEndpoint, new: LiveEndpoint, deployment: Deployment, begun: float
    ) -> None:
        """Move the traffic from one fleet to the other as the update's policy says, or back."""
        plan = deployment.plan
        update = FleetUpdate(
            self._server,
            name,
            fleets=(old, new),
            specs=deployment.specs,
            alarms=plan.alarms,
            closing=self._closing,
        )
        try:
            reason = shift(plan, update, begun)
        except Interrupted:
            return  # the next server on this data folder begins the update anew
        except Exception as error:
            log.exception("endpoint %s", name)
            reason = f"The update was rolled back: {error!r}"
        with self._lock:
            if self._closing.is_set():
                return
            old.shift = None
            if reason is None:
                self._live[name] = new
        self._settle(name, deployment if reason is None else None, reason)
        (old if reason is None else new).drain()

    def _revive(self, name: str, live: LiveEndpoint, variant: Variant, hostname: str) -> None:
        dead = variant.served[hostname].container
        log.warning(
            "endpoint %s: the %s container of %s died and is started again",
            name,
            dead.spec.name,
            variant.name,
        )
        try:
            served = self._starter.again(dead, live.region)
        except ContainerFailed as error:
            log.warning("endpoint %s: %s", name, error)
            return
        finally:
            variant.reviving.discard(hostname)
        with self._lock:
            current = self._live.get(name)
            gone = current is None or live not in current.fleets
            if not gone:
                variant.served[hostname] = served
        (served.container if gone else dead).stop(0.0)

    def _count(self, name: str, live: LiveEndpoint | None) -> None:
        """Let the endpoint use what serves it of the quotas, and no more."""
        serving = [spec for variant in live.variants for spec in variant.specs] if live else []
        self._server.quotas.keep((KIND, name), instances(serving))

    def _settle(self, name: str, deployed: Deployment | None, reason: str | None) -> None:
        """Write into the endpoint's document how a deployment ended.

        :param deployed: what is now in service; None when the deployment failed.
        :param reason: why it failed.
        """
        live = self._live.get(name)
        self._count(name, live)

        def change(document: Document) -> None:
            if document["EndpointStatus"] == "SystemUpdating":
                document["EndpointStatus"] = "Failed" if deployed is None else "InService"
                if deployed is None:
                    document["FailureReason"] = shorten(reason or "")
                return
            document.pop("_deploying", None)
            updating = document.pop("PendingDeploymentSummary", None) is not None and name in self._live
            document["LastModifiedTime"] = now()
            if deployed is not None:
                document["EndpointStatus"] = "InService"
                document["EndpointConfigName"] = deployed.config
                document.pop("DataCaptureConfig", None)
                if deployed.capture is not None:
                    document["DataCaptureConfig"] = data_capture.summary(deployed.capture)
                document["_deployed"] = replace(deployed, policy=None).packed()
                document["ProductionVariants"] = describe_variants(
                    self._server, deployed.config, deployed.specs
                )
                return
            document["EndpointStatus"] = "InService" if updating else "Failed"
            document["FailureReason"] = shorten(reason or "")

        self._server.store.update(KIND, name, change)
