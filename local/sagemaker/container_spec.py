"""What a production variant of an endpoint runs, as data: made by the operations, stored, and started from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

DEFAULT_STARTUP_SECONDS = 120.0


@dataclass(frozen=True)
class ContainerSpec:
    """One container of a production variant.

    :param endpoint: name of the endpoint.
    :param variant: name of the variant.
    :param image: URI of the image.
    :param model_data_url: prefix of the artifacts of a multi-model container, else one artifact.
    :param multi_model: whether the container loads models on request.
    :param hostname: what a request names it by where its variant has several; empty where it has this one alone.
    :param cache_models: ModelCacheSetting: keep models loaded after a request.
    :param instance_type: what its variant counts as for the account's quotas; one process serves, whatever the count.
    :param startup_seconds: how long ``/ping`` may take to answer.
    """

    endpoint: str
    variant: str
    image: str
    model_data_url: str
    multi_model: bool
    cache_models: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)
    startup_seconds: float = DEFAULT_STARTUP_SECONDS
    instance_type: str = ""
    instance_count: int = 1
    hostname: str = ""

    @property
    def name(self) -> str:
        """What SageMaker's messages call it."""
        return self.hostname or "primary"
