"""Container images by name and version, from the project's own dated table (``config/image_table.py``)."""

from __future__ import annotations

import re
from functools import cache

from botocore.loaders import create_loader

from city_fleet.config import Algorithm, Fleet
from city_fleet.config.endpoint_section import OWN, endpoint_of
from city_fleet.config.image_table import LACKS, managed_images, usable_versions
from city_fleet.errors import ConfigError, list_names, nearest_match

#: The model server's repository and version, as include/model_server/Dockerfile says to push it.
OWN_IMAGE = "city-fleet-model-server:1"


def image_uri(algorithm: Algorithm, region: str) -> str:
    """Return the ECR URI of an algorithm's image.

    :param algorithm: ``image`` is a full URI (it holds a ``/``), or a framework's name such as ``xgboost`` that is
        looked up with ``version``.
    :raises ConfigError: the table knows no such version, or not in this region.
    """
    in_full = "/" in algorithm.image
    return algorithm.image if in_full else _retrieve(algorithm.image, algorithm.version, region)


def serving_image_uri(fleet: Fleet, endpoint: str = OWN) -> str:
    """Return the ECR URI of the image that serves the models of one of a fleet's endpoints.

    :param fleet: ``image`` of the endpoint is ``managed``, the image that trains (XGBoost's where sklearn does: it
        answers with every algorithm); ``own``, the model server's in the account of the fleet's role; or a full URI.
    :param endpoint: a name of ``endpoints``, or "" for the fleet's own. In the image of ``managed`` the cities of a
        named one train: the first of them, or where it has none yet, what ``images`` names.
    :raises ConfigError: as :func:`image_uri`.
    """
    settings = fleet.endpoint_settings(endpoint)
    chosen = settings.image
    if chosen == "managed":
        trains = _training(fleet, endpoint)
        if "xgboost" in LACKS.get(trains.image, ()):
            return _retrieve("xgboost", usable_versions("xgboost")[-1], fleet.region)
        return image_uri(trains, fleet.region)
    if chosen == "own":
        account = fleet.role.split(":")[4]
        return f"{account}.dkr.ecr.{fleet.region}.{_dns_suffix(fleet.region)}/{OWN_IMAGE}"
    return chosen


def _training(fleet: Fleet, endpoint: str) -> Algorithm:
    """Return the algorithm section by which the cities of an endpoint train.

    Cities of one endpoint may differ in the version of the image; that of the defaults goes first, then by slug.
    """
    defaults = fleet.defaults.algorithm
    if endpoint == OWN or endpoint_of(defaults, fleet.endpoints) == endpoint:
        return defaults
    for city in fleet.cities.values():
        if fleet.endpoint_of(city) == endpoint:
            return city.algorithm
    images = fleet.endpoints[endpoint].images
    return Algorithm(image=images[0]) if images else defaults


@cache
def _retrieve(framework: str, version: str, region: str) -> str:
    images = managed_images(framework)
    if version not in images:
        near, allowed = nearest_match(version, images), list_names(images)
        raise ConfigError(field="algorithm.version", got=repr(version), allowed=allowed, nearest=near)
    image = images[version]
    if region not in image.registries:
        near = nearest_match(region, image.registries)
        allowed = f"a region that has {framework} {version}: {list_names(image.registries)}"
        raise ConfigError(field="region", got=repr(region), allowed=allowed, nearest=near)
    host = f"{image.registries[region]}.dkr.ecr.{region}.{_dns_suffix(region)}"
    return f"{host}/{image.repository}:{image.tag}"


@cache
def _dns_suffix(region: str) -> str:
    """Return the domain of a region's partition: ``amazonaws.com``, in China ``amazonaws.com.cn``."""
    partitions = create_loader().load_data("partitions")["partitions"]
    for partition in partitions:
        if region in partition["regions"] or re.match(partition["regionRegex"], region):
            return str(partition["outputs"]["dnsSuffix"])
    return "amazonaws.com"
