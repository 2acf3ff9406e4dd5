"""Service Quotas, for SageMaker alone: what ``--quota`` says, under the names that the real service has.

Follows the API Reference of Service Quotas (ListServiceQuotas, GetServiceQuota and their twins for AWS's defaults). The
names are real. So are the codes in :data:`CODES`, which are the same in all accounts; all others are made of the name,
so that each finds its quota again, and are none of AWS's.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import botocore.session
from starlette.responses import JSONResponse, Response

from local.sagemaker.errors import ValidationException
from local.sagemaker.protocol import wire
from local.sagemaker.protocol.bounded_request import BoundedRequest
from local.sagemaker.protocol.validation import validate
from local.sagemaker.quotas import (
    ENDPOINT,
    PROCESSING,
    SPOT_TRAINING,
    TRAINING,
    TRANSFORM,
    WARM_POOL,
    quota_name,
)
from local.sagemaker.reach import Server
from local.sagemaker.services import called
from local.sagemaker.services.called import UNKNOWN, Call
from local.sagemaker.services.service_errors import error_answer

SERVICE = "servicequotas"
CALL = Call(SERVICE, UNKNOWN, protocol=called.TARGET)
TARGET = "ServiceQuotasV20190624."
CODE = "sagemaker"
#: Which instance types a usage has: as botocore's model of SageMaker lists them.
_TYPES = {
    TRAINING: "TrainingInstanceType",
    SPOT_TRAINING: "TrainingInstanceType",
    WARM_POOL: "TrainingInstanceType",
    PROCESSING: "ProcessingInstanceType",
    ENDPOINT: "ProductionVariantInstanceType",
    TRANSFORM: "TransformInstanceType",
}
#: Real codes, as ``aws service-quotas list-service-quotas --service-code sagemaker`` has them.
CODES = {
    "ml.m5.large for training job usage": "L-611FA074",
    "ml.m5.large for spot training job usage": "L-29688C85",
    "ml.m5.large for training warm pool usage": "L-2DD73636",
    "ml.m5.large for processing job usage": "L-8541302D",
    "ml.m5.large for endpoint usage": "L-614B09FD",
    "ml.m5.xlarge for spot training job usage": "L-4CEE6BA6",
    "ml.m5.xlarge for training warm pool usage": "L-0BEF44E8",
    "ml.m5.xlarge for processing job usage": "L-0307F515",
    "ml.t3.medium for processing job usage": "L-0CE343FE",
}
OPERATIONS = (
    "ListServiceQuotas",
    "GetServiceQuota",
    "ListAWSDefaultServiceQuotas",
    "GetAWSDefaultServiceQuota",
)


async def answer(server: Server, request: BoundedRequest) -> Response | None:
    """Answer a request to Service Quotas that is about SageMaker; others are moto's."""
    target = request.fields.get("x-amz-target", "")
    operation = target.removeprefix(TARGET)
    if not target.startswith(TARGET) or operation not in OPERATIONS:
        return None
    try:
        asked = json.loads(await request.body() or b"{}")
        shape = botocore.session.Session().get_service_model("service-quotas").operation_model(operation)
        if not isinstance(asked, dict):
            raise ValidationException("The request is no JSON object.")
        known = {member: value for member, value in asked.items() if member in shape.input_shape.members}
        validate(shape.input_shape, known)
    except (ValueError, TypeError) as error:
        return error_answer(CALL, "IllegalArgumentException", f"The request can't be read: {error}", 400)
    except ValidationException as error:
        return error_answer(CALL, "IllegalArgumentException", error.message, 400)
    if known["ServiceCode"] != CODE:
        return None
    listed = operation.startswith("List")
    return (_list if listed else _get)(server, known)


def _list(server: Server, asked: dict[str, Any]) -> Response:
    quotas = all_quotas(server)
    if "QuotaCode" in asked:
        quotas = [each for each in quotas if each["QuotaCode"] == asked["QuotaCode"]]
    token = asked.get("NextToken", "0")
    if not token.isdecimal() or int(token) > len(quotas):
        return error_answer(
            CALL, "InvalidPaginationTokenException", "The pagination token is not valid.", 400
        )
    first, last = int(token), int(token) + asked.get("MaxResults", 100)
    result: dict[str, Any] = {"Quotas": quotas[first:last]}
    if last < len(quotas):
        result["NextToken"] = str(last)
    return JSONResponse(result, media_type=wire.CONTENT_TYPE)


def _get(server: Server, asked: dict[str, Any]) -> Response:
    for quota in all_quotas(server):
        if quota["QuotaCode"] == asked["QuotaCode"]:
            return JSONResponse({"Quota": quota}, media_type=wire.CONTENT_TYPE)
    return error_answer(
        CALL,
        "NoSuchResourceException",
        f"The local SageMaker has no quota {asked['QuotaCode']}; ListServiceQuotas lists them.",
        400,
    )


def all_quotas(server: Server) -> list[dict[str, Any]]:
    """All quotas of instances, by usage and type, as Service Quotas describes them.

    :param server: its settings say how many instances there are.
    """
    model = wire.service_model()
    return [
        _quota(server, quota_name(instance_type, usage))
        for usage, shape in _TYPES.items()
        for instance_type in model.shape_for(shape).enum
    ]


def _quota(server: Server, name: str) -> dict[str, Any]:
    code = CODES.get(name) or f"L-{hashlib.sha256(name.encode()).hexdigest()[:8].upper()}"
    return {
        "ServiceCode": CODE,
        "ServiceName": "Amazon SageMaker",
        "QuotaArn": f"arn:aws:servicequotas:{server.region}:{server.account_id}:{CODE}/{code}",
        "QuotaCode": code,
        "QuotaName": name,
        "Value": float(server.quotas.limit(name)),
        "Unit": "None",
        "Adjustable": True,
        "GlobalQuota": False,
        "QuotaAppliedAtLevel": "ACCOUNT",
    }
