"""Where the models of one city are kept and served: what every move of a live pointer needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from city_fleet.naming import Keys
from city_fleet.state import shared_endpoints
from city_fleet.state.live_pointer import ServedModel
from city_fleet.state.model_address import Address, address_of
from city_fleet.state.objects import ObjectStore

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_sagemaker import SageMakerClient
    from types_boto3_sagemaker_runtime import SageMakerRuntimeClient


class Clients(Protocol):
    """The boto3 clients that decisions need; tasks, commands and tests each make their own."""

    @property
    def s3(self) -> S3Client: ...

    @property
    def sagemaker(self) -> SageMakerClient: ...

    @property
    def runtime(self) -> SageMakerRuntimeClient: ...


@dataclass(frozen=True)
class Home:
    """Where a model is to be served.

    :param endpoint: name of the shared endpoint; empty for the fleet's own.
    :param in_container: whether it has a container of its own there.
    """

    endpoint: str = ""
    in_container: bool = False


#: Says where a model is to be served, by the algorithm that has made it and the image that it was made in; the image
#: is asked for only where it matters.
HomeOf = Callable[[str, Callable[[], str]], Home]


def _on_the_fleets_own(algorithm: str, image: Callable[[], str]) -> Home:
    return Home()


@dataclass(frozen=True)
class CityContext:
    """One city of one fleet, and the clients to reach it with. Its settings may be broken, or gone.

    :param keys: the fleet's S3 layout.
    :param endpoint: name of the fleet's own shared endpoint, which models without another one are on.
    :param group: name of the city's model package group.
    :param home_of: says which of the fleet's endpoints serves a model.
    """

    aws: Clients
    keys: Keys
    endpoint: str
    group: str
    slug: str
    home_of: HomeOf = field(default=_on_the_fleets_own, kw_only=True)

    @property
    def objects(self) -> ObjectStore:
        return ObjectStore(self.aws.s3, self.keys.bucket)

    def address_of(self, model: ServedModel) -> Address:
        """Return where a model of the city answers now.

        :raises PlatformError: what says which SageMaker endpoint serves can't be read.
        :raises EndpointClosed: none does, by ``endpoint.hours``.
        """
        shared = shared_endpoints.read(self.objects, self.keys)
        name = model.endpoint or self.endpoint
        if name in shared:
            shared[name].refuse_closed(name)
        return address_of(model, shared, self.endpoint)
