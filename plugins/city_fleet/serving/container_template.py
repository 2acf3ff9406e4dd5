"""What the containers of an endpoint of many are made with: the fleet's settings, noted once. Pure.

``champions/container_requests.py`` makes requests of it, wherever a model goes live.
"""

from __future__ import annotations

from typing import Any

from city_fleet.config import Fleet
from city_fleet.config.endpoint_section import OWN
from city_fleet.jobs.code_bundle import CodeBundle
from city_fleet.jobs.images import serving_image_uri
from city_fleet.jobs.job_requests import vpc_config
from city_fleet.serving.endpoint_requests import serving_environment, tags_of, variant_of
from city_fleet.state import serving_code


def template_of(fleet: Fleet, bundle: CodeBundle, endpoint: str = OWN) -> dict[str, Any]:
    """Return the template of one of a fleet's endpoints of kind multi_container.

    :param bundle: the serving code.
    :param endpoint: a name of ``endpoints``, or "" for the fleet's own.
    :return: members of CreateModel (``model``, and of each of its containers, ``container``) and of
        CreateEndpointConfig (``config``, and of its ``variant``); ``image`` of all containers, empty where each model
        has the image that it was made in; and the ``algorithms`` of the code.
    :raises ConfigError: there is no such image.
    """
    algorithms = serving_code.algorithms_of(bundle.files)
    managed = fleet.endpoint_settings(endpoint).image == "managed"
    return {
        "image": "" if managed else serving_image_uri(fleet, endpoint),
        "container": {
            "Environment": serving_environment(fleet, bundle.archive_uri(fleet.keys), algorithms),
        },
        "model": {"ExecutionRoleArn": fleet.role, **vpc_config(fleet), "Tags": tags_of(fleet)},
        "variant": variant_of(fleet, endpoint),
        "config": {**({"KmsKeyId": fleet.kms_key} if fleet.kms_key else {}), "Tags": tags_of(fleet)},
        "algorithms": algorithms,
    }
