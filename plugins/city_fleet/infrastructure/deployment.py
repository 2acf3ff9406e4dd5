"""What a deployment needs to know beforehand: whether bucket and role are there, which code the functions get."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from city_fleet import aws_errors
from city_fleet.config import Fleet
from city_fleet.errors import PlatformError
from city_fleet.infrastructure.names import StackNames
from city_fleet.state.objects import ObjectStore

if TYPE_CHECKING:
    from types_boto3_iam import IAMClient
    from types_boto3_s3 import S3Client
    from types_boto3_sts import STSClient

ZIP = "application/zip"


@dataclass(frozen=True)
class FunctionCode:
    """The zip of a Lambda function.

    :param parameter: of the template, which gets the key.
    :param key: in the fleet's bucket; it follows from the bytes.
    """

    parameter: str
    key: str
    body: bytes


def refuse_other_account(fleet: Fleet, sts: STSClient) -> None:
    """Refuse to make anything in another account than that of the fleet file's role.

    :raises PlatformError: the credentials are another account's.
    """
    account = sts.get_caller_identity()["Account"]
    wanted = fleet.role.split(":")[4]
    if account != wanted:
        raise PlatformError(
            f"fleet {fleet.fleet!r}: these credentials are of account {account}, and the fleet file's role is of "
            f"account {wanted}. Use credentials of that account, or correct `role`"
        )


def found_there(fleet: Fleet, s3: S3Client, iam: IAMClient) -> dict[str, str]:
    """Return the parameters of a stack that is not there yet: what exists already stays as it is.

    :raises PlatformError: the bucket is somebody else's.
    """
    values = {
        "BucketExists": "true" if bucket_exists(fleet, s3) else "false",
        "RoleExists": "true" if _role_exists(fleet, iam) else "false",
    }
    if fleet.kms_key:
        values["KeyArn"] = fleet.kms_key
    return values


def bucket_exists(fleet: Fleet, s3: S3Client) -> bool:
    """Tell whether the fleet's bucket is there.

    :raises PlatformError: it is somebody else's.
    """
    try:
        s3.head_bucket(Bucket=fleet.bucket)
    except ClientError as error:
        if aws_errors.is_missing(error):
            return False
        if aws_errors.is_denied(error):
            raise PlatformError(
                f"bucket {fleet.bucket}: somebody else has a bucket of this name, or you may not see it; choose "
                "another `bucket` in the fleet file"
            ) from None
        raise
    return True


def _role_exists(fleet: Fleet, iam: IAMClient) -> bool:
    try:
        iam.get_role(RoleName=StackNames(fleet).role)
    except ClientError as error:
        if aws_errors.is_missing(error):
            return False
        raise
    return True


def function_codes(fleet: Fleet, folder: Path, functions: Mapping[str, str]) -> list[FunctionCode]:
    """Return the functions' zips that lie in a folder.

    :param functions: name of the zip, without its ending → the template's parameter.
    :raises PlatformError: there is none.
    """
    found = []
    for name, parameter in functions.items():
        path = folder / f"{name}.zip"
        if path.is_file():
            body = path.read_bytes()
            digest = hashlib.sha256(body).hexdigest()[:16]
            found.append(FunctionCode(parameter, fleet.keys.function(name, digest), body))
    if not found:
        names = " and ".join(f"{name}.zip" for name in functions)
        raise PlatformError(f"{folder} holds no {names}; `make lambda` packs them into dist")
    return found


def upload(fleet: Fleet, s3: S3Client, codes: list[FunctionCode]) -> None:
    """Put the zips into the bucket, those that are not there yet.

    :raises PlatformError: there is no bucket yet.
    """
    store = ObjectStore(s3, fleet.bucket)
    try:
        for code in codes:
            if not store.exists(code.key):
                store.put(code.key, code.body, ZIP)
    except ClientError as error:
        if aws_errors.is_no_bucket(error):
            raise PlatformError(
                f"bucket {fleet.bucket} is not there yet: deploy without --functions first, which makes it"
            ) from None
        raise


def knows_airflow(stack: dict[str, Any] | None, values: Mapping[str, str]) -> bool:
    """Tell whether the function that retrains would know where Airflow is.

    :param values: parameters that are given now; the stack keeps the others.
    """
    kept = {each["ParameterKey"]: each["ParameterValue"] for each in (stack or {}).get("Parameters", [])}
    now = {**kept, **values}
    return bool(now.get("AirflowUrl") or now.get("MwaaEnvironment"))


def is_foreign_bucket(stack: dict[str, Any] | None) -> bool:
    """Tell whether a stack leaves the bucket to somebody else."""
    parameters = (stack or {}).get("Parameters", [])
    return {"ParameterKey": "BucketExists", "ParameterValue": "true"} in parameters


def events_are_off(fleet: Fleet, s3: S3Client) -> bool:
    """Tell whether the bucket tells EventBridge nothing, so that no arrival and no move is ever noticed."""
    answer: Any = s3.get_bucket_notification_configuration(Bucket=fleet.bucket)
    return "EventBridgeConfiguration" not in answer
