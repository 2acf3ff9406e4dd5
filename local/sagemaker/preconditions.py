"""What must be there before a resource is created: its role in IAM, its data in S3.

What is missing is refused in AWS's words. Both are looked up in moto's memory, in this process, so that neither
permissions nor faults that are on get in the way.
AWS checks the role of a job, the input prefixes of a training job and the data of a model when they are
created; everything else (inputs of processing jobs, buckets for output, code) only when the job runs.
"""

from __future__ import annotations

import json
from typing import Any

from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID
from moto.core.exceptions import ServiceException
from moto.s3.models import FakeDeleteMarker

from local.sagemaker.errors import ValidationException
from local.sagemaker.processes.s3_transfer import TransferError, split_uri
from local.sagemaker.reach import Server

PRINCIPAL = "sagemaker.amazonaws.com"
_ASSUME = frozenset({"sts:assumerole", "sts:*", "*"})


def check_job_role(server: Server, arn: str) -> None:
    """Check that SageMaker may assume the role of a job.

    :raises ValidationException: if the role does not exist or does not trust SageMaker.
    """
    if not _can_be_assumed(server, arn):
        raise ValidationException(
            f"Could not assume role {arn}. Please ensure that the role exists and allows principal"
            f" '{PRINCIPAL}' to assume the role."
        )


def check_model_role(server: Server, arn: str, model_data: str | None) -> None:
    """Check the role of a model, which AWS words by what it wanted the role for.

    :param model_data: URI of the model's data, if it has any.
    :raises ValidationException: if the role does not exist or does not trust SageMaker.
    """
    if _can_be_assumed(server, arn):
        return
    if model_data is None:
        raise ValidationException(
            f'The execution role ARN "{arn}" is invalid. Please ensure that the role exists and that its'
            f' trust relationship policy allows the action "sts:AssumeRole" for the service principal'
            f' "{PRINCIPAL}".'
        )
    raise ValidationException(
        f'Could not access model data at {model_data}. Please ensure that the role "{arn}" exists and that'
        f' its trust relationship policy allows the action "sts:AssumeRole" for the service principal'
        f' "{PRINCIPAL}". Also ensure that the role has "s3:GetObject" permissions and that the object is'
        f" located in {server.region}. If your Model uses multiple models or uncompressed models, please"
        ' ensure that the role has "s3:ListBucket" permission.'
    )


def check_training_inputs(server: Server, request: dict[str, Any]) -> None:
    """Check that there are objects under the prefix of every channel.

    :param request: a CreateTrainingJob request.
    :raises ValidationException: for the first channel without objects.
    """
    for channel in request.get("InputDataConfig", []) if server.settings.check_data else []:
        uri = channel["DataSource"].get("S3DataSource", {}).get("S3Uri")
        if uri is None:
            continue
        bucket, prefix = _split("InputDataConfig", uri)
        found = _has(bucket, prefix)
        if found:
            continue
        words = (
            f'No S3 objects found under S3 URL "{uri}" given in input data source. Please ensure that the'
            f" bucket exists in the selected region ({server.region}), that objects exist under that S3"
            f' prefix, and that the role "{request["RoleArn"]}" has "s3:ListBucket" permissions on bucket'
            f' "{bucket}".'
        )
        if found is None:
            words += " Error message from S3: The specified bucket does not exist"
        raise ValidationException(words)


def check_model_data(server: Server, uri: str, *, many: bool) -> None:
    """Check that a model's data is there.

    :param uri: object, or prefix that ends with "/".
    :param many: of a multi-model container: its prefix may be empty, models can be added later (AWS's own
        example of a multi-model endpoint deploys first and adds models then); its bucket must be there (the
        stand-in's own choice).
    :raises ValidationException: if it is not.
    """
    bucket, key = _split("ModelDataUrl", uri)
    found = _has(bucket, key)
    if server.settings.check_data and not (found or (many and found is not None)):
        raise ValidationException(f"Could not find model data at {uri}.")


def _split(where: str, uri: str) -> tuple[str, str]:
    try:
        return split_uri(uri)
    except TransferError as error:
        raise ValidationException(f"{where}: {error}.") from None


def _has(bucket: str, prefix: str) -> bool | None:
    """Whether a bucket has objects under a prefix; None if there is no such bucket."""
    try:
        keys = get_backend("s3")[DEFAULT_ACCOUNT_ID]["aws"].get_bucket(bucket).keys
    except ServiceException:
        return None
    # list() of a dictionary is not interrupted by writers. A versioned bucket keeps the keys it has deleted.
    return any(
        key.startswith(prefix) and not isinstance(keys.get(key), FakeDeleteMarker | None)
        for key in list(keys)
    )


def _can_be_assumed(server: Server, arn: str) -> bool:
    """Whether a role exists and trusts SageMaker; always, when roles are not checked."""
    if not server.settings.check_roles:
        return True
    _, partition, _, _, account, _ = arn.split(":", 5)
    if account != server.account_id:
        return False
    try:
        role = get_backend("iam")[account][partition].get_role_by_arn(arn)
        policy = json.loads(role.assume_role_policy_document)
    except (ServiceException, KeyError, TypeError, ValueError):
        return False
    trusting = [each for each in _many(policy.get("Statement")) if _is_about_us(each)]
    effects = {str(each.get("Effect")) for each in trusting}
    return "Allow" in effects and "Deny" not in effects


def _is_about_us(statement: Any) -> bool:
    if not isinstance(statement, dict):
        return False
    actions = {str(action).lower() for action in _many(statement.get("Action"))}
    principal = statement.get("Principal")
    services = _many(principal.get("Service")) if isinstance(principal, dict) else _many(principal)
    return bool(actions & _ASSUME) and (PRINCIPAL in services or "*" in services)


def _many(value: Any) -> list[Any]:
    """A policy's value, which may be one or a list."""
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
