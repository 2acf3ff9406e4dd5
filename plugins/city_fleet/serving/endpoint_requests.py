"""Requests that bring a shared multi-model endpoint into service. Pure.

A model's and a configuration's name is a digest of its content: another image, other serving code or another
instance type gives another name, and what exists already is found again. ``endpoint`` is a name of the fleet file's
``endpoints``, or "" for the fleet's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from city_fleet import naming
from city_fleet.config import Fleet
from city_fleet.config.endpoint_section import OWN
from city_fleet.jobs.job_requests import vpc_config
from city_fleet.naming import TAG_ENVIRONMENT, TAG_FLEET
from city_fleet.plan import endpoint_name
from city_fleet.state import serving_code
from city_fleet.state.scalable_targets import VARIANT


def model_request(
    fleet: Fleet,
    endpoint: str = OWN,
    *,
    image_uri: str,
    code_archive_uri: str,
    algorithms: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return the CreateModel request of a shared multi-model container.

    :param algorithms: that its code has: name → digits of its module's SHA-256.
    """
    keys = fleet.keys
    cache = "Enabled" if fleet.endpoint_settings(endpoint).model_cache else "Disabled"
    body: dict[str, Any] = {
        "ExecutionRoleArn": fleet.role,
        "Containers": [
            {
                "Image": image_uri,
                "Mode": "MultiModel",
                "ModelDataUrl": keys.uri(keys.models_prefix()),
                "MultiModelConfig": {"ModelCacheSetting": cache},
                "Environment": serving_environment(fleet, code_archive_uri, algorithms),
            }
        ],
        **vpc_config(fleet),
        "Tags": tags_of(fleet),
    }
    return {"ModelName": _content_name(fleet, endpoint, body), **body}


def serving_environment(fleet: Fleet, code_archive_uri: str, algorithms: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a container that serves by the fleet's own code.

    :param algorithms: that its code has: name → digits of its module's SHA-256.
    """
    return {
        "SAGEMAKER_PROGRAM": "inference.py",
        "SAGEMAKER_SUBMIT_DIRECTORY": code_archive_uri,
        "SAGEMAKER_REGION": fleet.region,
        # Without it the managed container answers JSON to a request that accepts anything.
        "SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT": "text/csv",
        **serving_code.environment(algorithms),
    }


def variant_of(fleet: Fleet, endpoint: str = OWN) -> dict[str, Any]:
    """Return what a production variant says of its instances."""
    settings = fleet.endpoint_settings(endpoint)
    return {"InstanceType": settings.instance_type, "InitialInstanceCount": settings.instance_count}


def endpoint_config_request(fleet: Fleet, endpoint: str = OWN, *, model_name: str) -> dict[str, Any]:
    """Return the CreateEndpointConfig request: one variant, one model container that serves every city."""
    body: dict[str, Any] = {
        "ProductionVariants": [
            {
                "VariantName": VARIANT,
                "ModelName": model_name,
                **variant_of(fleet, endpoint),
                "InitialVariantWeight": 1.0,
            }
        ],
        **({"KmsKeyId": fleet.kms_key} if fleet.kms_key else {}),
        "Tags": tags_of(fleet),
    }
    return {"EndpointConfigName": _content_name(fleet, endpoint, body), **body}


def endpoint_request(fleet: Fleet, endpoint: str = OWN, *, endpoint_config_name: str) -> dict[str, Any]:
    """Return the CreateEndpoint request (UpdateEndpoint takes the same without tags)."""
    name = endpoint_name(fleet, endpoint)
    return {"EndpointName": name, "EndpointConfigName": endpoint_config_name, "Tags": tags_of(fleet)}


def _content_name(fleet: Fleet, endpoint: str, body: Mapping[str, Any]) -> str:
    return naming.aws_name(endpoint_name(fleet, endpoint), suffix=naming.digest(body))


def tags_of(fleet: Fleet) -> list[dict[str, str]]:
    """Return the tags of everything that makes up an endpoint."""
    tags = {TAG_FLEET: fleet.fleet, TAG_ENVIRONMENT: fleet.environment}
    return [{"Key": key, "Value": value} for key, value in tags.items()]
