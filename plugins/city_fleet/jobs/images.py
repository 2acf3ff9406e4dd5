"""Container images by name and version, from the table that the SageMaker SDK carries.

The table is read as a file: importing the SDK to read it costs a task several seconds of processor time.
"""

from __future__ import annotations

import importlib.util
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from botocore.loaders import create_loader

from city_fleet.config import Algorithm, Fleet
from city_fleet.errors import ConfigError, list_names, nearest_match

#: The model server's repository and version, as include/model_server/Dockerfile says to push it.
OWN_IMAGE = "city-fleet-model-server:1"


def image_uri(algorithm: Algorithm, region: str) -> str:
    """Return the ECR URI of an algorithm's image.

    :param algorithm: ``image`` is a full URI (it holds a ``/``), or a framework's name such as ``xgboost`` that is
        looked up with ``version``.
    :raises ConfigError: the SDK's table knows no such version, or not in this region.
    """
    in_full = "/" in algorithm.image
    return algorithm.image if in_full else _retrieve(algorithm.image, algorithm.version, region)


def serving_image_uri(fleet: Fleet) -> str:
    """Return the ECR URI of the image that serves a fleet's models.

    :param fleet: ``endpoint.image`` is ``managed``, the image that trains; ``own``, the model server's in the account
        of the fleet's role; or a full URI.
    :raises ConfigError: as :func:`image_uri`.
    """
    chosen = fleet.endpoint.image
    if chosen == "managed":
        return image_uri(fleet.defaults.algorithm, fleet.region)
    if chosen == "own":
        account = fleet.role.split(":")[4]
        return f"{account}.dkr.ecr.{fleet.region}.{_dns_suffix(fleet.region)}/{OWN_IMAGE}"
    return chosen


@cache
def _retrieve(framework: str, version: str, region: str) -> str:
    versions = _table(framework)["training"]["versions"]
    if version not in versions:
        near, allowed = nearest_match(version, versions), list_names(versions)
        raise ConfigError(field="algorithm.version", got=repr(version), allowed=allowed, nearest=near)
    entry, accounts = versions[version], versions[version]["registries"]
    if region not in accounts:
        near = nearest_match(region, accounts)
        allowed = f"a region that has {framework} {version}: {list_names(accounts)}"
        raise ConfigError(field="region", got=repr(region), allowed=allowed, nearest=near)
    # Older images come in several kinds, and the table then lists them; ours is the one for CPUs.
    tag = "-".join([version, "cpu", entry["py_versions"][-1]]) if "py_versions" in entry else version
    return f"{accounts[region]}.dkr.ecr.{region}.{_dns_suffix(region)}/{entry['repository']}:{tag}"


@cache
def _table(framework: str) -> dict[str, Any]:
    # Finding a package's place does not import it.
    spec = importlib.util.find_spec("sagemaker")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("sagemaker-core is not installed; install requirements.txt")
    folder = Path(spec.submodule_search_locations[0]) / "core" / "image_uri_config"
    table: dict[str, Any] = json.loads((folder / f"{framework}.json").read_bytes())
    return table


@cache
def _dns_suffix(region: str) -> str:
    """Return the domain of a region's partition: ``amazonaws.com``, in China ``amazonaws.com.cn``."""
    partitions = create_loader().load_data("partitions")["partitions"]
    for partition in partitions:
        if region in partition["regions"] or re.match(partition["regionRegex"], region):
            return str(partition["outputs"]["dnsSuffix"])
    return "amazonaws.com"
