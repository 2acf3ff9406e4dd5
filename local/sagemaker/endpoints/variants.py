"""What an endpoint in service consists of: production variants with their containers and loaded models."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from local.sagemaker.container_spec import ContainerSpec
from local.sagemaker.endpoints.containers import DRAIN_SECONDS, ModelContainer
from local.sagemaker.endpoints.data_capture import DataCapture
from local.sagemaker.endpoints.model_cache import ModelCache
from local.sagemaker.endpoints.model_client import ModelClient
from local.sagemaker.endpoints.runtime_errors import ValidationError


@dataclass(eq=False)
class Served:
    """A container that answers.

    :param container: its model server.
    :param client: client of the model server.
    :param cache: its loaded models; None for a container with one model of its own.
    """

    container: ModelContainer
    client: ModelClient
    cache: ModelCache | None
    _warm_at: float | None = None

    def cold_seconds(self) -> float:
        """How long a request to a container with one model waits until that is loaded: it begins with the first one."""
        now = time.monotonic()
        if self._warm_at is None:
            self._warm_at = now + self.container.load_seconds()
        return max(0.0, self._warm_at - now)

    @property
    def name(self) -> str:
        """What SageMaker's messages call it."""
        return self.container.spec.name


class Variant:
    """A production variant in service.

    :param name: name of the variant.
    :param weight: its share of the traffic, relative to the other variants.
    :param served: its containers by hostname; one alone has an empty one.
    """

    def __init__(self, name: str, weight: float, served: Mapping[str, Served]) -> None:
        self.name = name
        self.weight = weight
        #: A container that died is replaced as a whole: a request that has begun goes on with what it has.
        self.served = dict(served)
        self.reviving: set[str] = set()
        self._users = 0
        self._changed = threading.Condition()

    @property
    def specs(self) -> list[ContainerSpec]:
        """What its containers run."""
        return [each.container.spec for each in self.served.values()]

    def share(self, weight: float, instance_count: int) -> None:
        """Take another share of the traffic, and count as so many instances from now on.

        :param weight: as of the constructor.
        :param instance_count: for the account's quotas; the process is one all the same.
        """
        self.weight = weight
        for each in self.served.values():
            each.container.spec = replace(each.container.spec, instance_count=instance_count)

    def choose(self, hostname: str | None, endpoint: str) -> Served:
        """The container that answers a request.

        :param hostname: the request's TargetContainerHostname, if it names one.
        :param endpoint: name of the endpoint.
        :raises ValidationError: when a container is named and there is one alone, or none is and there are several, or
            there is none of that name.
        """
        if len(self.served) == 1:
            if hostname is not None:
                raise ValidationError(
                    f"Endpoint {endpoint} is not configured for direct invocation of its containers and does not "
                    "support target container hostname header."
                )
            return next(iter(self.served.values()))
        names = ", ".join(self.served)
        if not hostname:
            raise ValidationError(
                f"Request is missing a target container hostname header. Endpoint {endpoint} is a multi-container "
                f"endpoint with direct invocation: name the container with TargetContainerHostname; it has: {names}."
            )
        if hostname not in self.served:
            raise ValidationError(f"Container {hostname} not found; endpoint {endpoint} has: {names}.")
        return self.served[hostname]

    def enter(self) -> None:
        """Keep the containers from being stopped while a request is being answered."""
        with self._changed:
            self._users += 1

    def leave(self) -> None:
        """Note that a request has been answered."""
        with self._changed:
            self._users -= 1
            self._changed.notify_all()

    def drain(self, grace_seconds: float) -> None:
        """Wait for the requests that run, then stop the containers. Blocks: not for the event loop's thread.

        :param grace_seconds: how long they may take.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._users == 0, grace_seconds)
        in_parallel([partial(each.container.stop, grace_seconds) for each in self.served.values()])


class LiveEndpoint:
    """An endpoint that answers: one fleet of instances, or for the time of an update two.

    :param config: name of its endpoint configuration.
    :param region: AWS region of the endpoint.
    :param variants: its production variants.
    :param capture: captures what they are asked and answer; None where nothing is captured.
    """

    def __init__(
        self, config: str, region: str, variants: list[Variant], capture: DataCapture | None = None
    ) -> None:
        self.config = config
        self.capture = capture
        self.region = region
        self.variants = variants
        #: The fleet that is about to take this one's place, and its share of the traffic, from 0 to 1.
        self.shift: tuple[LiveEndpoint, float] | None = None

    @property
    def fleets(self) -> list[LiveEndpoint]:
        """The fleets that may be asked."""
        return [self] if self.shift is None else [self, self.shift[0]]

    def choose_fleet(self) -> LiveEndpoint:
        """The fleet that answers a request: by the share of the traffic that has been shifted."""
        if self.shift is None:
            return self
        successor, share = self.shift
        return successor if random.random() < share else self  # noqa: S311  # traffic, not secrets

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
        """Stop all containers, each after the requests that run, and write what was captured of these.

        :param grace_seconds: how long they may take.
        """
        in_parallel([partial(variant.drain, grace_seconds) for variant in self.variants])
        if self.capture is not None:
            self.capture.close()


def in_parallel(calls: list[Callable[[], None]]) -> None:
    """Make several calls at once and wait for all.

    :param calls: what to call.
    """
    threads = [threading.Thread(target=call, daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
