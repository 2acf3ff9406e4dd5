"""Compares the endpoint that was asked for with the one that serves.

SageMaker calls an update that it has rolled back a success: the endpoint is InService, with the old configuration, and
FailureReason says why. A boto3 SageMaker client is passed in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from city_fleet.config import Fleet
from city_fleet.config.endpoint_section import OWN
from city_fleet.config.places import scripts_folder
from city_fleet.jobs.code_bundle import CodeBundle
from city_fleet.jobs.images import serving_image_uri
from city_fleet.serving import endpoint_requests
from city_fleet.state import installation, serving_code

if TYPE_CHECKING:
    from types_boto3_sagemaker import SageMakerClient

_IN_SERVICE = "InService"


def serving_bundle(fleet: Fleet, endpoint: str = OWN) -> CodeBundle:
    """Return the serving code of one of a fleet's endpoints.

    :raises ConfigError: there is none.
    """
    settings = fleet.endpoint_settings(endpoint)
    return CodeBundle.load(scripts_folder(settings.scripts, fleet.path))


def wanted_model(fleet: Fleet, bundle: CodeBundle, endpoint: str = OWN) -> dict[str, Any]:
    """Return the CreateModel request of what a fleet file describes.

    :param bundle: the serving code.
    :param endpoint: a name of ``endpoints``, or "" for the fleet's own.
    :raises ConfigError: there is no such image.
    """
    archive_uri = bundle.archive_uri(fleet.keys)
    return endpoint_requests.model_request(
        fleet,
        endpoint,
        image_uri=serving_image_uri(fleet, endpoint),
        code_archive_uri=archive_uri,
        algorithms=serving_code.algorithms_of(bundle.files),
    )


def wanted_config_name(fleet: Fleet, endpoint: str = OWN) -> str:
    """Return the name of the endpoint configuration that a fleet file describes; image, code and instances are in it.

    :raises ConfigError: there is no such image, or no serving code.
    """
    bundle = serving_bundle(fleet, endpoint)
    model_name = wanted_model(fleet, bundle, endpoint)["ModelName"]
    request = endpoint_requests.endpoint_config_request(fleet, endpoint, model_name=model_name)
    return str(request["EndpointConfigName"])


def refuse_other(sagemaker: SageMakerClient, fleet: Fleet, found: Mapping[str, Any]) -> None:
    """Refuse an endpoint that another installation has made: a name set by hand may be taken.

    :param found: its description.
    :raises OtherInstallation: its tags say so.
    """
    said = installation.of_tags(installation.tags_of(sagemaker, found["EndpointArn"]))
    advice = "Set endpoint.name in the fleet file to a name that is free, or take it out there"
    installation.refuse_other(fleet.keys, said, f"Endpoint {found['EndpointName']}", advice)


def shortcoming(
    sagemaker: SageMakerClient, found: Mapping[str, Any], *, config: str, model: str
) -> str | None:
    """Say in what an endpoint that has settled is not the one that was asked for.

    :param found: its description.
    :param config: name of the endpoint configuration asked for.
    :param model: name of the model asked for.
    :return: a sentence with SageMaker's reason, None when it is as it was asked for.
    """
    name, status, serves = found["EndpointName"], found["EndpointStatus"], found["EndpointConfigName"]
    said = str(found.get("FailureReason") or "it gives no reason").rstrip(".")
    look = f"See the log group /aws/sagemaker/Endpoints/{name}, mend the cause, then clear this task."
    if status != _IN_SERVICE:
        return (
            f"Endpoint {name} is {status}, not {_IN_SERVICE}, with {config}. SageMaker says: {said}. {look}"
        )
    if serves != config:
        return (
            f"SageMaker has rolled the update of endpoint {name} back: it serves with {serves}, not with {config}. "
            f"SageMaker says: {said}. {look}"
        )
    variants = sagemaker.describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"]
    models = [str(variant.get("ModelName")) for variant in variants]
    if models != [model]:
        return (
            f"Endpoint {name} serves with {config}, which holds the models {', '.join(models)}, not {model}: somebody "
            "else has made a configuration of this name. Delete it when nothing serves with it, then clear this task."
        )
    return None
