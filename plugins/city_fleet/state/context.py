"""Where the models of one city are kept and served: what every move of a live pointer needs."""

from __future__ import annotations

from dataclasses import dataclass

from city_fleet.naming import Keys
from city_fleet.state.clients import Clients
from city_fleet.state.objects import ObjectStore


@dataclass(frozen=True)
class CityContext:
    """One city of one fleet, and the clients to reach it with. Its settings may be broken, or gone.

    :param keys: the fleet's S3 layout.
    :param endpoint: name of the fleet's shared endpoint.
    :param group: name of the city's model package group.
    :param slug: the city's.
    """

    aws: Clients
    keys: Keys
    endpoint: str
    group: str
    slug: str

    @property
    def objects(self) -> ObjectStore:
        """Return the objects of the fleet's bucket."""
        return ObjectStore(self.aws.s3, self.keys.bucket)
