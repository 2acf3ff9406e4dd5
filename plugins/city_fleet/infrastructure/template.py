"""A fleet's CloudFormation template: a pure function of its settings, so that a review sees what a change comes to.

One stack is one installation: a fleet in an environment. What differs from account to account, not from fleet to
fleet, is a parameter.
"""

from __future__ import annotations

import json
from typing import Any

from city_fleet.config import Fleet
from city_fleet.errors import PlatformError
from city_fleet.infrastructure import access, alarms, arrivals, catalog, dashboard, functions, storage
from city_fleet.infrastructure.cloudformation import ACCOUNT, PARTITION, attribute, ref
from city_fleet.infrastructure.names import StackNames
from city_fleet.infrastructure.policies import key_arn

#: What CloudFormation takes at all; what is too large for a request is in large_template.
MAX_TEMPLATE_BYTES = 1_000_000
#: What stands for a secret where the function asks MWAA, or there is no function: a policy takes no empty resource.
NO_SECRET = "arn:aws:secretsmanager:us-east-1:000000000000:secret:none"  # noqa: S105 - the name of none
_TRUTH = {"Type": "String", "AllowedValues": ["true", "false"], "Default": "false"}


def template(fleet: Fleet) -> dict[str, Any]:
    """Return the template of a fleet's installation, as JSON-ready data."""
    names = StackNames(fleet)
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"City Fleet: {fleet.fleet}, {fleet.environment}",
        "Parameters": _parameters(fleet),
        "Conditions": _conditions(),
        "Resources": {
            **storage.resources(names),
            **access.resources(names),
            **arrivals.resources(names),
            **catalog.resources(names),
            **functions.resources(names),
            **alarms.resources(names),
            **dashboard.resources(names),
        },
        "Outputs": _outputs(names),
    }


def as_body(made: dict[str, Any]) -> str:
    """Return a template as CloudFormation gets it.

    :raises PlatformError: it is longer than CloudFormation takes.
    """
    body = json.dumps(made, separators=(",", ":"), ensure_ascii=False)
    size = len(body.encode())
    if size > MAX_TEMPLATE_BYTES:
        raise PlatformError(f"the template has {size} bytes; CloudFormation takes {MAX_TEMPLATE_BYTES}")
    return body


def _parameters(fleet: Fleet) -> dict[str, Any]:
    return {
        "BucketExists": _TRUTH
        | {"Description": f"true: the bucket {fleet.bucket} is another's; it stays as it is"},
        "RoleExists": _TRUTH
        | {"Description": "true: the fleet file's role is another's, and gets this installation's rights"},
        "KeyArn": {
            "Type": "String",
            "Default": "",
            "AllowedPattern": "(arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[a-zA-Z0-9-]+)?",
            "Description": "ARN of the KMS key of the bucket; empty: the stack makes one",
        },
        "AirflowPrincipal": {
            "Type": "String",
            "Default": "",
            "AllowedPattern": "(arn:aws[a-z-]*:iam::[0-9]{12}:(root|role/.+|user/.+))?",
            "Description": "Who takes Airflow's role: ARN of what Airflow runs under; empty: the policy alone",
        },
        "PredictCode": {
            "Type": "String",
            "Default": "",
            "Description": "Key of predict.zip in the bucket; empty: no function",
        },
        "RetrainCode": {
            "Type": "String",
            "Default": "",
            "Description": "Key of retrain.zip in the bucket; empty: no function",
        },
        "AirflowUrl": {
            "Type": "String",
            "Default": "",
            "AllowedPattern": "(https://[^?#@]+)?",
            "Description": "Where the function that retrains finds Airflow's api-server",
        },
        "AirflowSecretArn": {
            "Type": "String",
            "Default": NO_SECRET,
            "AllowedPattern": "arn:aws[a-z-]*:secretsmanager:.+",
            "Description": "ARN of the secret with its login",
        },
        "MwaaEnvironment": {
            "Type": "String",
            "Default": "",
            "Description": "Name of the MWAA environment that it asks instead",
        },
        "AlarmEmail": {
            "Type": "String",
            "Default": "",
            "Description": "Who gets alarms by mail; empty: nobody, the topic alone",
        },
        "MonthlyBudget": {
            "Type": "Number",
            "Default": 0,
            "MinValue": 0,
            "Description": "US dollars a month above which mail is sent; 0: no budget",
        },
        "HearsArrivals": _TRUTH
        | {"Description": "true: something reads the arrivals queue, so an old message is an alarm"},
    }


def _conditions() -> dict[str, Any]:
    def not_empty(parameter: str) -> dict[str, Any]:
        return {"Fn::Not": [{"Fn::Equals": [ref(parameter), ""]}]}

    return {
        "MakesBucket": {"Fn::Equals": [ref("BucketExists"), "false"]},
        "MakesRole": {"Fn::Equals": [ref("RoleExists"), "false"]},
        "MakesKey": {"Fn::Equals": [ref("KeyArn"), ""]},
        "MakesAirflowRole": not_empty("AirflowPrincipal"),
        "MakesPredict": not_empty("PredictCode"),
        "HasEmail": not_empty("AlarmEmail"),
        "HasBudget": {"Fn::Not": [{"Fn::Equals": [ref("MonthlyBudget"), 0]}]},
        "MakesRetrain": not_empty("RetrainCode"),
        "AsksMwaa": not_empty("MwaaEnvironment"),
        "HearsArrivals": {
            "Fn::Or": [{"Fn::Equals": [ref("HearsArrivals"), "true"]}, {"Condition": "MakesRetrain"}]
        },
    }


def _outputs(names: StackNames) -> dict[str, Any]:
    analyst = {"Description": "For whoever reads the tables of forecasts", "Value": ref("AnalystPolicy")}
    role = f"arn:{PARTITION}:iam::{ACCOUNT}:role{names.role_path}{names.role}"
    return {
        "KeyArn": {
            "Description": "kms_key of the fleet file, to encrypt jobs with it too",
            "Value": key_arn(),
        },
        "RoleArn": {"Description": "role of the fleet file", "Value": {"Fn::Sub": role}},
        "AirflowPolicyArn": {"Description": "For whatever Airflow runs under", "Value": ref("AirflowPolicy")},
        "AirflowRoleArn": {
            "Description": "role_arn of Airflow's connection",
            "Condition": "MakesAirflowRole",
            "Value": attribute("AirflowRole"),
        },
        "ArrivalsQueue": {
            "Description": "events.queue of the fleet file",
            "Value": attribute("Arrivals", "QueueName"),
        },
        "PredictUrl": {
            "Description": "Where applications ask",
            "Condition": "MakesPredict",
            "Value": {"Fn::Sub": "${Api.ApiEndpoint}/predict"},
        },
        "AlarmTopicArn": {"Description": "What every alarm is sent to", "Value": ref("AlarmTopic")},
        **({"AnalystPolicyArn": analyst} if names.fleet.forecasts.catalog else {}),
        "MovesTopicArn": {"Description": "What says which pointers move", "Value": ref("MovesTopic")},
    }
