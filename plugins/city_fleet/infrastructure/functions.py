"""The Lambda functions of an installation, and the API that applications call. Pure.

A function needs its zip in the bucket, which is not there before the first deployment has made it: without a key of a
zip the template has no function.
"""

from __future__ import annotations

import json
from typing import Any

from city_fleet.config import Fleet
from city_fleet.infrastructure import policies
from city_fleet.infrastructure.cloudformation import (
    ACCOUNT,
    PARTITION,
    REGION,
    Resource,
    attribute,
    document,
    either,
    no_value,
    ref,
    resource,
    sub,
    trust,
)
from city_fleet.infrastructure.names import StackNames
from city_fleet.plan import predict_variables

RUNTIME = "python3.13"
LOG_DAYS = 30
#: API Gateway gives up after 30 s.
PREDICT_SECONDS = 28
#: Some requests to Airflow, of at most 15 s each.
RETRAIN_SECONDS = 30
#: All variables of a function together may have 4 KB.
LONGEST_VARIABLE = 3000
#: Of the whole API together, not of a caller: a loop somewhere does not cost a fortune.
REQUESTS_PER_SECOND = 200
BURST = 400
#: What the function answers, by logical id; each needs a signature.
ROUTES = {
    "ApiRoute": "POST /predict",
    "ApiRouteOutcome": "POST /outcome",
    "ApiRouteCities": "GET /cities",
    "ApiRouteCity": "GET /cities/{city}",
    "ApiRouteDocument": "GET /openapi.json",
}


def resources(names: StackNames) -> dict[str, Resource]:
    """Return the function that applications ask with its API, and the one that starts runs when data arrive."""
    fleet = names.fleet
    function = names.of("predict")
    keeps = fleet.capture.share > 0
    needed = ("predict", "capture", "key") if keeps else ("predict", "key_reader")
    predict = _function(
        names,
        "Predict",
        "predict",
        statements=policies.of_installation(names, *needed, function=function),
        settings=predict_variables(fleet),
        timeout_seconds=PREDICT_SECONDS,
    )
    return predict | _api(names) | _retrain(names)


def _function(
    names: StackNames,
    logical: str,
    purpose: str,
    *,
    statements: list[dict[str, Any]],
    settings: dict[str, Any],
    timeout_seconds: int,
) -> dict[str, Resource]:
    """Return a function with its role and log.

    :param logical: what its logical ids begin with.
    :param purpose: the name of its zip and of the parameter ``<Purpose>Code``.
    """
    name, condition = names.of(purpose), f"Makes{logical}"
    return {
        f"{logical}Log": resource(
            "AWS::Logs::LogGroup",
            {"LogGroupName": f"/aws/lambda/{name}", "RetentionInDays": LOG_DAYS},
            condition=condition,
            keep=True,
        ),
        f"{logical}Role": resource(
            "AWS::IAM::Role",
            {
                "RoleName": name,
                "Description": f"The function {name}",
                "AssumeRolePolicyDocument": trust({"Service": "lambda.amazonaws.com"}),
                "Policies": [{"PolicyName": purpose, "PolicyDocument": document(*statements)}],
            },
            condition=condition,
        ),
        f"{logical}Function": resource(
            "AWS::Lambda::Function",
            {
                "FunctionName": name,
                "Runtime": RUNTIME,
                "Handler": "handler.handler",
                "Role": attribute(f"{logical}Role"),
                "Code": {"S3Bucket": names.fleet.bucket, "S3Key": ref(f"{logical}Code")},
                "Environment": {"Variables": settings},
                "MemorySize": 512,
                "Timeout": timeout_seconds,
            },
            condition=condition,
            after=[f"{logical}Log"],
        ),
    }


def _raw_elsewhere(fleet: Fleet) -> dict[str, str]:
    """Return the variable that says where else raw data lie; names are left out where they would be too many."""
    found = fleet.raw_elsewhere()
    if not found:
        return {}
    text = json.dumps(found, ensure_ascii=False)
    if len(text) > LONGEST_VARIABLE:
        text = json.dumps({template: {} for template in found if "{" in template}, ensure_ascii=False)
    return {"CITY_FLEET_RAW_ELSEWHERE": text}


def _retrain(names: StackNames) -> dict[str, Resource]:
    """Return the function that starts runs, and what hands it the queue's messages."""
    fleet, function = names.fleet, names.of("retrain")
    settings = {
        "CITY_FLEET_BUCKET": fleet.bucket,
        "CITY_FLEET_FLEET": fleet.fleet,
        "CITY_FLEET_ENVIRONMENT": fleet.environment,
        "CITY_FLEET_AIRFLOW_URL": either("AsksMwaa", no_value(), ref("AirflowUrl")),
        "CITY_FLEET_AIRFLOW_SECRET_ARN": either("AsksMwaa", no_value(), ref("AirflowSecretArn")),
        "CITY_FLEET_MWAA_ENVIRONMENT": either("AsksMwaa", ref("MwaaEnvironment"), no_value()),
        **_raw_elsewhere(fleet),
    }
    # Airflow's login is in a secret, or MWAA lets in whoever has the right.
    statements = [
        either("AsksMwaa", no_value(), each) if each["Resource"] == ref("AirflowSecretArn") else each
        for each in policies.of_installation(names, "retrain", function=function)
    ]
    statements += [either("AsksMwaa", each, no_value()) for each in policies.of_installation(names, "mwaa")]
    made = _function(
        names, "Retrain", "retrain", statements=statements, settings=settings, timeout_seconds=RETRAIN_SECONDS
    )
    return made | {
        "RetrainMessages": resource(
            "AWS::Lambda::EventSourceMapping",
            {
                "FunctionName": ref("RetrainFunction"),
                "EventSourceArn": attribute("Arrivals"),
                "BatchSize": 100,
                "MaximumBatchingWindowInSeconds": 10,
                # What could not be done stays in the queue, and the rest of the batch does not.
                "FunctionResponseTypes": ["ReportBatchItemFailures"],
                # Airflow's api-server is asked by two at a time.
                "ScalingConfig": {"MaximumConcurrency": 2},
            },
            condition="MakesRetrain",
        ),
        "RetrainInvokes": resource(
            "AWS::Lambda::EventInvokeConfig",
            {
                # A schedule's call has no queue to go back to.
                "FunctionName": ref("RetrainFunction"),
                "Qualifier": "$LATEST",
                "DestinationConfig": {"OnFailure": {"Destination": attribute("ArrivalsFailed")}},
            },
            condition="MakesRetrain",
        ),
    }


def _api(names: StackNames) -> dict[str, Resource]:
    condition = "MakesPredict"
    log = {
        "requestId": "$context.requestId",
        "caller": "$context.identity.userArn",
        "status": "$context.status",
        "error": "$context.error.message",
        "latency_ms": "$context.responseLatency",
    }
    called_from = f"arn:{PARTITION}:execute-api:{REGION}:{ACCOUNT}:"
    return {
        "Api": resource(
            "AWS::ApiGatewayV2::Api",
            {"Name": names.of("predict"), "ProtocolType": "HTTP"},
            condition=condition,
        ),
        "ApiIntegration": resource(
            "AWS::ApiGatewayV2::Integration",
            {
                "ApiId": ref("Api"),
                "IntegrationType": "AWS_PROXY",
                "IntegrationUri": attribute("PredictFunction"),
                "PayloadFormatVersion": "2.0",
            },
            condition=condition,
        ),
        **{
            logical: resource(
                "AWS::ApiGatewayV2::Route",
                {
                    "ApiId": ref("Api"),
                    "RouteKey": route,
                    "AuthorizationType": "AWS_IAM",
                    "Target": {"Fn::Sub": "integrations/${ApiIntegration}"},
                },
                condition=condition,
            )
            for logical, route in ROUTES.items()
        },
        "ApiLog": resource(
            "AWS::Logs::LogGroup",
            {
                "LogGroupName": f"/aws/apigateway/{names.of('predict')}",
                "RetentionInDays": LOG_DAYS,
            },
            condition=condition,
            keep=True,
        ),
        "ApiStage": resource(
            "AWS::ApiGatewayV2::Stage",
            {
                "ApiId": ref("Api"),
                "StageName": "$default",
                "AutoDeploy": True,
                "AccessLogSettings": {"DestinationArn": attribute("ApiLog"), "Format": json.dumps(log)},
                "DefaultRouteSettings": {
                    "ThrottlingBurstLimit": BURST,
                    "ThrottlingRateLimit": REQUESTS_PER_SECOND,
                },
            },
            condition=condition,
        ),
        "ApiPermission": resource(
            "AWS::Lambda::Permission",
            {
                "Action": "lambda:InvokeFunction",
                "FunctionName": ref("PredictFunction"),
                "Principal": "apigateway.amazonaws.com",
                "SourceAccount": sub(ACCOUNT),
                "SourceArn": {"Fn::Sub": called_from + "${Api}/*/*"},
            },
            condition=condition,
        ),
    }
