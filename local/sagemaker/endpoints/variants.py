"""What an endpoint in service consists of: production variants with their containers and loaded models."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from functools import partial

from local.sagemaker.endpoints.containers import DRAIN_SECONDS, ModelContainer
from local.sagemaker.endpoints.model_cache import ModelCache
from local.sagemaker.endpoints.model_client import ModelClient
from local.sagemaker.endpoints.runtime_errors import ValidationError


class Variant:
    """A production variant in service.

    :param name: name of the variant.
    :param weight: its share of the traffic, relative to the other variants.
    :param container: the model server.
    :param client: client of the model server.
    :param cache: its loaded models; None for a container with one model of its own.
    """

    def __init__(
        self,
        name: str,
        weight: float,
        container: ModelContainer,
        client: ModelClient,
        cache: ModelCache | None,
    ) -> None:
        self.name = name
        self.weight = weight
        #: Replaced as one: a request that has begun goes on with what it has.
        self.serving = (container, client, cache)
        self.reviving = False
        self._users = 0
        self._changed = threading.Condition()

    @property
    def container(self) -> ModelContainer:
        """The model server."""
        return self.serving[0]

    @property
    def cache(self) -> ModelCache | None:
        """Its loaded models; None for a container with one model of its own."""
        return self.serving[2]

    def enter(self) -> None:
        """Keep the container from being stopped while a request is being answered."""
        with self._changed:
            self._users += 1

    def leave(self) -> None:
        """Note that a request has been answered."""
        with self._changed:
            self._users -= 1
            self._changed.notify_all()

    def drain(self, grace_seconds: float) -> None:
        """Wait for the requests that run, then stop the container. Blocks: not for the event loop's thread.

        :param grace_seconds: how long they may take.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._users == 0, grace_seconds)
        self.container.stop(grace_seconds)


class LiveEndpoint:
    """An endpoint that answers.

    :param config: name of its endpoint configuration.
    :param region: AWS region of the endpoint.
    :param variants: its production variants.
    """

    def __init__(self, config: str, region: str, variants: list[Variant]) -> None:
        self.config = config
        self.region = region
        self.variants = variants

    def choose(self, wanted: str | None) -> Variant:
        """The variant that answers a request: the one asked for, else one by weight.

        :param wanted: the request's TargetVariant, if it names one.
        :raises ValidationError: when there is no such variant.
        """
        if wanted is not None:
            for variant in self.variants:
                if variant.name == wanted:
                    return variant
            names = ", ".join(variant.name for variant in self.variants)
            raise ValidationError(f"Variant {wanted} not found; the endpoint has: {names}.")
        if len(self.variants) == 1:
            return self.variants[0]
        weights = [variant.weight for variant in self.variants]
        if not any(weights):
            raise ValidationError("All production variants of the endpoint have weight 0.")
        return random.choices(self.variants, weights)[0]  # noqa: S311  # traffic, not secrets

    def drain(self, grace_seconds: float = DRAIN_SECONDS) -> None:
        """Stop all containers, each after the requests that run.

        :param grace_seconds: how long they may take.
        """
        in_parallel([partial(variant.drain, grace_seconds) for variant in self.variants])


def in_parallel(calls: list[Callable[[], None]]) -> None:
    """Make several calls at once and wait for all.

    :param calls: what to call.
    """
    threads = [threading.Thread(target=call, daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
