"""Application Auto Scaling of endpoints: moto keeps targets and policies, and what they are about must be there.

Follows the API Reference of Application Auto Scaling (RegisterScalableTarget) and SageMaker's Developer Guide
("Automatic scaling of Amazon SageMaker AI models"): the target is ``endpoint/<name>/variant/<name>``. Nothing scales
here: an endpoint has one process for each container, and publishes no metrics.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID
from starlette.responses import Response

from local.sagemaker.protocol.bounded_request import BoundedRequest
from local.sagemaker.reach import Server
from local.sagemaker.services.called import TARGET, Call
from local.sagemaker.services.service_errors import error_answer

SERVICE = "application-autoscaling"
REGISTER = "AnyScaleFrontendService.RegisterScalableTarget"
NAMESPACE = "sagemaker"
MOTO = "moto.applicationautoscaling.models"
DIMENSION = "sagemaker:variant:DesiredInstanceCount"
_RESOURCE = re.compile(r"endpoint/(?P<endpoint>[^/]+)/variant/(?P<variant>[^/]+)")


async def answer(server: Server, request: BoundedRequest) -> Response | None:
    """Refuse to register what is no variant of an endpoint; everything else is moto's."""
    if request.fields.get("x-amz-target") != REGISTER:
        return None
    try:
        asked = json.loads(await request.body())
    except ValueError:
        return None
    if not isinstance(asked, dict) or asked.get("ServiceNamespace") != NAMESPACE:
        return None
    message = _objection(server, asked)
    if message is None:
        return None
    call = Call(SERVICE, "RegisterScalableTarget", protocol=TARGET)
    return error_answer(call, "ValidationException", message, 400)


def _objection(server: Server, asked: dict[str, Any]) -> str | None:
    """Why something can't be a scalable target; None if it can."""
    resource, dimension = str(asked.get("ResourceId")), asked.get("ScalableDimension")
    found = _RESOURCE.fullmatch(resource)
    if dimension != DIMENSION or found is None:
        return (
            f"The local SageMaker scales {DIMENSION} of endpoint/<name>/variant/<name>, got {dimension} of"
            f" {resource}."
        )
    document = server.store.get("endpoint", found["endpoint"])
    if document is None or document["_region"] != server.region:
        return f'Could not find endpoint "{server.arn("endpoint", found["endpoint"])}".'
    variants = [each["VariantName"] for each in document.get("ProductionVariants", [])]
    if found["variant"] not in variants:
        return (
            f'Could not find variant "{found["variant"]}" of endpoint "{document["EndpointArn"]}"; it has:'
            f" {', '.join(variants) or 'none yet'}."
        )
    low, high = asked.get("MinCapacity"), asked.get("MaxCapacity")
    if isinstance(low, int) and isinstance(high, int) and low > high:
        return f"MinCapacity is {low} and must not be more than MaxCapacity, which is {high}."
    return None


def scaled_variants(region: str, endpoint: str) -> list[str]:
    """The variants of an endpoint that are registered as scalable targets.

    :param region: of the endpoint.
    :param endpoint: its name.
    """
    if MOTO not in sys.modules:  # nobody has asked for it, and its import takes its time
        return []
    targets = get_backend("applicationautoscaling")[DEFAULT_ACCOUNT_ID][region].targets.get(DIMENSION, {})
    found = [_RESOURCE.fullmatch(resource) for resource in list(targets)]
    return [each["variant"] for each in found if each is not None and each["endpoint"] == endpoint]


def deregister(region: str, endpoint: str) -> None:
    """Forget the scalable targets of an endpoint that is deleted, with their policies.

    :param region: of the endpoint.
    :param endpoint: its name.
    """
    for variant in scaled_variants(region, endpoint):
        backend = get_backend("applicationautoscaling")[DEFAULT_ACCOUNT_ID][region]
        resource = f"endpoint/{endpoint}/variant/{variant}"
        for key, policy in list(backend.policies.items()):
            if (policy.resource_id, policy.scalable_dimension) == (resource, DIMENSION):
                backend.policies.pop(key, None)
        backend.targets[DIMENSION].pop(resource, None)
