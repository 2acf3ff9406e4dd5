"""Container images by name and version, from the project's own dated table (``config/image_table.py``)."""

from __future__ import annotations

import re
from functools import cache

from botocore.loaders import create_loader

from city_fleet.config import Algorithm, Fleet
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


def serving_image_uri(fleet: Fleet) -> str:
    """Return the ECR URI of the image that serves a fleet's models.

    :param fleet: ``endpoint.image`` is ``managed``, the image that trains (XGBoost's where sklearn does: it answers
        with every algorithm); ``own``, the model server's in the account of the fleet's role; or a full URI.
    :raises ConfigError: as :func:`image_uri`.
    """
    chosen = fleet.endpoint.image
    if chosen == "managed":
        trains = fleet.defaults.algorithm
        if "xgboost" in LACKS.get(trains.image, ()):
            return _retrieve("xgboost", usable_versions("xgboost")[-1], fleet.region)
        return image_uri(trains, fleet.region)
    if chosen == "own":
        account = fleet.role.split(":")[4]
        return f"{account}.dkr.ecr.{fleet.region}.{_dns_suffix(fleet.region)}/{OWN_IMAGE}"
    return chosen


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
