"""Starts the containers of an endpoint's variants, and starts one again that has died."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Executor, ThreadPoolExecutor

from local.sagemaker.container_spec import ContainerSpec
from local.sagemaker.endpoints.containers import ModelContainer, new_instance
from local.sagemaker.endpoints.model_cache import ModelCache
from local.sagemaker.endpoints.model_client import ModelClient
from local.sagemaker.endpoints.variants import Served, Variant
from local.sagemaker.reach import Server

CONTAINERS_AT_ONCE = 4


class FleetStarter:
    """Starts containers.

    :param server: the server they belong to.
    :param closing: set when the server is shutting down.
    :param loads: threads that fetch and extract the models of multi-model containers.
    """

    def __init__(self, server: Server, closing: threading.Event, loads: Executor) -> None:
        self._server = server
        self._closing = closing
        self._loads = loads

    def start(self, specs: Sequence[tuple[ContainerSpec, float]], region: str) -> list[Variant]:
        """Start all containers of an endpoint; they answer when this returns.

        :param specs: container and weight of its variant, for each container.
        :param region: region of the endpoint.
        :raises ContainerFailed: when one does not start; none runs then.
        """
        instances = {spec.variant: new_instance() for spec, _ in specs}
        variants: dict[str, Variant] = {}
        with ThreadPoolExecutor(CONTAINERS_AT_ONCE, thread_name_prefix="container") as pool:
            started = [
                (weight, pool.submit(self._serve, spec, region, instances[spec.variant]))
                for spec, weight in specs
            ]
        failed = [error for _, each in started if (error := each.exception()) is not None]
        for weight, each in started:
            if each.exception() is None:
                served = each.result()
                spec = served.container.spec
                variant = variants.setdefault(spec.variant, Variant(spec.variant, weight, {}))
                variant.served[spec.hostname] = served
        if failed:
            for variant in variants.values():
                variant.drain(0.0)
            raise failed[0]
        return list(variants.values())

    def again(self, dead: ModelContainer, region: str) -> Served:
        """Start another container of what one ran that has died, on the same instance.

        :raises ContainerFailed: when it does not start.
        """
        return self._serve(dead.spec, region, dead.instance)

    def _serve(self, spec: ContainerSpec, region: str, instance: str) -> Served:
        container = ModelContainer(self._server, spec, region, instance, self._closing)
        client = ModelClient(container.port)
        return Served(container, client, self._cache(container, client, region))

    def _cache(self, container: ModelContainer, client: ModelClient, region: str) -> ModelCache | None:
        if not container.spec.multi_model:
            return None
        return ModelCache(
            container,
            client=client,
            s3=self._server.aws.client("s3", region),
            workers=self._loads,
            settings=self._server.settings,
        )
