"""The policies of docs/policies and of the Lambda functions, filled in for one installation.

Those files are the only place that says who may do what: the template holds their statements, security.md explains
them, and tests hold them against every call that is made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from city_fleet.config.places import project_path
from city_fleet.errors import PlatformError
from city_fleet.infrastructure.cloudformation import ACCOUNT, PARTITION, REGION, either, ref, sub_all
from city_fleet.infrastructure.names import StackNames

#: Name → file, relative to the project's root or to what the wheel brings.
FILES = {
    "airflow": "docs/policies/airflow.json",
    "role": "docs/policies/role.json",
    "loader": "docs/policies/loader.json",
    "approver": "docs/policies/approver.json",
    "analyst": "docs/policies/analyst.json",
    "reader": "docs/policies/reader.json",
    "doctor": "docs/policies/doctor.json",
    "key": "docs/policies/key.json",
    "key_reader": "docs/policies/key_reader.json",
    "volume_key": "docs/policies/volume_key.json",
    "network": "docs/policies/network.json",
    "caller": "docs/policies/caller.json",
    "predict": "include/lambda/predict/policy.json",
    "capture": "docs/policies/capture.json",
    "retrain": "include/lambda/retrain/policy.json",
    "mwaa": "docs/policies/mwaa.json",
}
_PLACE = re.compile(r"\$\{([A-Z_]+)\}")
#: What stands alone for what CloudFormation alone knows.
_WHOLE = {
    "${KEY}": either("MakesKey", {"Fn::GetAtt": ["Key", "Arn"]}, ref("KeyArn")),
    "${SECRET}": ref("AirflowSecretArn"),
}


def read(name: str) -> list[dict[str, Any]]:
    """Return the statements of a policy as its file has them, with their ``${…}``.

    :raises PlatformError: the file is not there, so the installation is not whole.
    """
    path = project_path(FILES[name])
    try:
        statements: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["Statement"]
    except OSError as error:
        raise PlatformError(
            f"{path}: the policy can't be read ({error.strerror}); install City Fleet anew"
        ) from None
    return statements


def places(names: StackNames, function: str = "") -> dict[str, str]:
    """Return what stands for the ``${…}`` of a policy, for CloudFormation's ``Fn::Sub``.

    :param function: name of the Lambda function whose policy it is; of none's own, the one that applications ask.
    """
    fleet = names.fleet
    return {
        "BUCKET": fleet.bucket,
        "FLEET": fleet.fleet,
        "ENVIRONMENT": fleet.environment,
        "NAMES": names.jobs_prefix,
        "ENDPOINT": names.endpoint,
        "ENDPOINTS": names.endpoint_prefix,
        "ROLE": f"{names.role_path}{names.role}".removeprefix("/"),
        "QUEUE": names.of("arrivals"),
        "FUNCTION": function or names.of("predict"),
        # Parameters of the template.
        "MWAA": "${MwaaEnvironment}",
        "REGION": REGION,
        "ACCOUNT": ACCOUNT,
    }


def filled_in(statements: list[dict[str, Any]], values: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return statements with their ``${…}`` filled in, as CloudFormation's JSON.

    ``${KEY}`` becomes the stack's key, or the one that it was given; ``${SECRET}`` the parameter.
    """

    def fill(value: Any) -> Any:
        if isinstance(value, list):
            return [fill(item) for item in value]
        if isinstance(value, dict):
            return {_text(key): fill(item) for key, item in value.items()}
        return _WHOLE.get(value) or _text(value)

    def _text(text: str) -> str:
        return _PLACE.sub(lambda found: values[found[1]], text).replace("arn:aws:", f"arn:{PARTITION}:")

    return [sub_all(fill(each)) for each in statements]


def of_installation(names: StackNames, *policies: str, function: str = "") -> list[dict[str, Any]]:
    """Return the statements of one or several policies, filled in."""
    values = places(names, function)
    return [each for policy in policies for each in filled_in(read(policy), values)]


def key_arn() -> Any:
    """Return the ARN of the key that encrypts the bucket."""
    return _WHOLE["${KEY}"]
