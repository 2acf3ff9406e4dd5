"""Requests for a SageMaker endpoint on which each model has a container of its own. Pure.

What all of them have in common, the template, is noted in ``state/endpoints.json`` by the fleet's ``_endpoint`` DAG,
which knows the fleet's settings and has put the serving code into S3: whoever publishes, or rolls back, needs nothing
else.
Names follow from content, so what exists already is found again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from city_fleet import naming
from city_fleet.errors import PublishError
from city_fleet.naming import Keys
from city_fleet.state.scalable_targets import VARIANT
from city_fleet.state.shared_endpoints import ServingEndpoint

#: Hostname of the second container of an endpoint that serves a single model: the same model once more, never asked.
TWIN = "twin"


@dataclass(frozen=True)
class Housed:
    """A model in a container of its own.

    :param hostname: of the container.
    :param target_model: key of its artifact below the endpoint's prefix.
    :param image: URI of the container's image.
    """

    hostname: str
    target_model: str
    image: str


@dataclass(frozen=True)
class EndpointRequests:
    """What brings an endpoint of many containers into service."""

    model: Mapping[str, Any]
    config: Mapping[str, Any]
    endpoint: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.endpoint["EndpointName"])

    @property
    def config_name(self) -> str:
        return str(self.config["EndpointConfigName"])


def requests_of(
    template: Mapping[str, Any], keys: Keys, shared: str, models: Mapping[str, Housed]
) -> EndpointRequests:
    """Return the requests for an endpoint that serves some models.

    :param template: as :func:`city_fleet.serving.container_template.template_of` makes it.
    :param shared: name of the shared endpoint that it is to serve for.
    :param models: container hostname → model.
    :raises PublishError: the template is none.
    """
    try:
        common, variant = template["container"], template["variant"]
        containers = [
            {
                "ContainerHostname": each.hostname,
                "Image": each.image,
                "Mode": "SingleModel",
                "ModelDataUrl": keys.uri(keys.model(each.target_model)),
                **common,
            }
            for _, each in sorted(models.items())
        ]
        if len(containers) == 1:
            # SageMaker documents direct invocation for more than one container.
            containers.append({**containers[0], "ContainerHostname": TWIN})
        direct = {"InferenceExecutionConfig": {"Mode": "Direct"}}
        model = {"Containers": containers, **direct, **template["model"]}
        model = {"ModelName": _content_name(shared, model), **model}
        config = {
            "ProductionVariants": [
                {
                    "VariantName": VARIANT,
                    "ModelName": model["ModelName"],
                    "InitialVariantWeight": 1.0,
                    **variant,
                }
            ],
            **template["config"],
        }
        config = {"EndpointConfigName": _content_name(shared, config), **config}
        tags = {"Tags": template["model"]["Tags"]}
    except (KeyError, TypeError, AttributeError) as error:
        raise PublishError(
            f"endpoint {shared!r}: what its containers are made with can't be read ({error!r}); run the fleet's "
            "_endpoint DAG, which notes it anew"
        ) from error
    name = naming.endpoint_beside(shared, naming.digest(config))
    endpoint = {"EndpointName": name, "EndpointConfigName": config["EndpointConfigName"], **tags}
    return EndpointRequests(model, config, endpoint)


def serving_of(
    requests: EndpointRequests, models: Mapping[str, Housed], algorithms: Mapping[str, str] | None, since: str
) -> ServingEndpoint:
    """Return what ``state/endpoints.json`` says of the endpoint that requests bring into service."""
    return ServingEndpoint(
        name=requests.name,
        config=requests.config_name,
        since=since,
        algorithms=algorithms,
        containers={name: each.target_model for name, each in models.items()},
        images={name: each.image for name, each in models.items()},
    )


def _content_name(shared: str, body: Mapping[str, Any]) -> str:
    return naming.aws_name(shared, suffix=naming.digest(body))
