"""Where the models of one city are kept and served: what every move of a live pointer needs."""

from __future__ import annotations

from dataclasses import dataclass
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
class CityContext:
    """One city of one fleet, and the clients to reach it with. Its settings may be broken, or gone.

    :param keys: the fleet's S3 layout.
    :param endpoint: name of the fleet's own shared endpoint, which models without another one are on.
    :param group: name of the city's model package group.
    """

    aws: Clients
    keys: Keys
    endpoint: str
    group: str
    slug: str

    @property
    def objects(self) -> ObjectStore:
        return ObjectStore(self.aws.s3, self.keys.bucket)

    def address_of(self, model: ServedModel) -> Address:
        """Return where a model of the city answers now.

        :raises PlatformError: what says which SageMaker endpoint serves can't be read.
        """
        return address_of(model, shared_endpoints.read(self.objects, self.keys), self.endpoint)
