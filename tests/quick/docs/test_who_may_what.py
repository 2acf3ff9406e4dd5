"""Who may do what: every recorded call is allowed for its role, what must not be is denied, and nothing is left over.

The calls are those of tests/golden/calls.json, which `make calls` records while tests run, and what AWS needs behind
them, with the page that says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from city_fleet.infrastructure.policies import FILES
from tests.support import recorded_calls
from tests.support.iam_policies import ACCOUNT, REGION, Need, Policy
from tests.support.paths import ROOT
from tests.support.recorded_calls import PLACES

#: Who has which policies together.
ROLES = {
    "airflow": ("airflow", "key", "volume_key"),
    "role": ("role", "key", "volume_key", "network"),
    "loader": ("loader", "key"),
    "approver": ("approver", "key_reader"),
    "analyst": ("analyst", "key_reader"),
    # With capture on; else key_reader, and nothing is written: tests/quick/city_fleet/infrastructure/test_template.py.
    "predict": ("predict", "capture", "key"),
    "retrain": ("retrain", "mwaa"),
    "caller": ("caller",),
    "doctor": ("doctor", "key_reader"),
}
OWN, RAW = "arn:aws:s3:::bucket/F/E", "arn:aws:s3:::bucket/F/raw"
BUCKET = "arn:aws:s3:::bucket"
SAGEMAKER = f"arn:aws:sagemaker:{REGION}:{ACCOUNT}"
LOGS = f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group"
EC2 = f"arn:aws:ec2:{REGION}:{ACCOUNT}"
GLUE = f"arn:aws:glue:{REGION}:{ACCOUNT}"
KEY = PLACES["KEY"]
VIA_S3 = {"kms:ViaService": f"s3.{REGION}.amazonaws.com"}
FOR_AWS = {"kms:GrantIsForAWSResource": "true"}
TAGS = {f"aws:ResourceTag/city-fleet:{name}": value for name, value in (("fleet", "F"), ("environment", "E"))}
_AWS = "https://docs.aws.amazon.com"
EXECUTION = f"{_AWS}/sagemaker/latest/dg/sagemaker-roles.html"
CALLERS = f"{_AWS}/sagemaker/latest/dg/api-permissions-reference.html"
KMS_IN_S3 = f"{_AWS}/AmazonS3/latest/userguide/UsingKMSEncryption.html"
LAMBDA_LOGS = f"{_AWS}/lambda/latest/dg/lambda-intro-execution-role.html"
MULTI_MODEL = f"{_AWS}/sagemaker/latest/dg/multi-model-endpoint-security.html"
DESTINATIONS = f"{_AWS}/lambda/latest/dg/invocation-async-retain-records.html"
KNOWN = f"{_AWS}/service-authorization/latest/reference/list_amazons3.html"
SECRETS = f"{_AWS}/secretsmanager/latest/userguide/auth-and-access_iam-policies.html"
MWAA = f"{_AWS}/mwaa/latest/userguide/access-mwaa-apache-airflow-rest-api.html"
CATALOG = f"{_AWS}/athena/latest/ug/fine-grained-access-to-glue-resources.html"
ATHENA_IN_S3 = f"{_AWS}/athena/latest/ug/s3-permissions.html"
DOCTOR = (
    f"{_AWS}/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html"
)
SCALING = f"{_AWS}/sagemaker/latest/dg/endpoint-auto-scaling-prerequisites.html"
SCALED = {
    "application-autoscaling:service-namespace": "sagemaker",
    "application-autoscaling:scalable-dimension": "sagemaker:variant:DesiredInstanceCount",
}
SCALING_ROLE = (
    f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/sagemaker.application-autoscaling.amazonaws.com/"
    "AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint"
)
ALARM = f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:TargetTracking-endpoint"
QUEUES = f"{_AWS}/lambda/latest/dg/services-sqs-configure.html"


def behind() -> Iterator[tuple[str, Need, str]]:  # noqa: PLR0912 - a table
    """What AWS needs beside the calls: who, what, and where AWS says so, or which part of the code asks for it."""
    for folder in ("raw/x", "E/code/x", "E/models/x", "E/runs/x"):
        yield "role", Need("s3:GetObject", f"{BUCKET}/F/{folder}"), EXECUTION
        prefix = {"s3:prefix": f"F/{folder}".removesuffix("x")}
        yield "role", Need("s3:ListBucket", BUCKET, prefix), EXECUTION
    yield "role", Need("s3:PutObject", f"{OWN}/runs/x"), EXECUTION
    for name in (
        "BatchCheckLayerAvailability",
        "BatchGetImage",
        "GetAuthorizationToken",
        "GetDownloadUrlForLayer",
    ):
        yield "role", Need(f"ecr:{name}", "*"), EXECUTION
    for name in ("CreateLogGroup", "CreateLogStream", "DescribeLogStreams", "PutLogEvents"):
        yield "role", Need(f"logs:{name}", f"{LOGS}:/aws/sagemaker/TrainingJobs"), EXECUTION
    yield "role", Need("cloudwatch:PutMetricData", "*"), EXECUTION
    for name in ("network-interface", "security-group", "subnet"):
        yield "role", Need("ec2:CreateNetworkInterface", f"{EC2}:{name}/x"), EXECUTION
    for name in (
        "CreateNetworkInterfacePermission",
        "DeleteNetworkInterface",
        "DeleteNetworkInterfacePermission",
    ):
        yield "role", Need(f"ec2:{name}", f"{EC2}:network-interface/x"), EXECUTION
    for name in ("DhcpOptions", "NetworkInterfaces", "SecurityGroups", "Subnets", "Vpcs"):
        yield "role", Need(f"ec2:Describe{name}", "*"), EXECUTION
    for who in ("role", "airflow", "loader", "predict"):
        for name in ("Decrypt", "GenerateDataKey"):
            yield who, Need(f"kms:{name}", KEY, VIA_S3), KMS_IN_S3
    for who in ("approver", "analyst", "doctor"):
        yield who, Need("kms:Decrypt", KEY, VIA_S3), KMS_IN_S3
    for who in ("role", "airflow"):
        yield who, Need("kms:CreateGrant", KEY, FOR_AWS), CALLERS
        yield who, Need("kms:DescribeKey", KEY), CALLERS
    for who in ("predict", "retrain"):
        for name in ("CreateLogStream", "PutLogEvents"):
            yield who, Need(f"logs:{name}", f"{LOGS}:/aws/lambda/function:log-stream:x"), LAMBDA_LOGS
    failed = f"arn:aws:sqs:{REGION}:{ACCOUNT}:queue-failed"
    yield "retrain", Need("sqs:SendMessage", failed), DESTINATIONS
    yield "retrain", Need("secretsmanager:GetSecretValue", PLACES["SECRET"]), SECRETS
    yield "retrain", Need("airflow:InvokeRestApi", f"arn:aws:airflow:{REGION}:{ACCOUNT}:role/mwaa/Op"), MWAA
    for name in ("DeleteMessage", "GetQueueAttributes", "ReceiveMessage"):
        yield "retrain", Need(f"sqs:{name}", f"arn:aws:sqs:{REGION}:{ACCOUNT}:queue"), QUEUES
    one_city = {"sagemaker:TargetModel": "city/20260101T000000Z-0123456789ab.tar.gz"}
    yield "caller", Need("sagemaker:InvokeEndpoint", f"{SAGEMAKER}:endpoint/names", one_city), MULTI_MODEL
    # Other endpoints of the fleet, and what says which of them answers: state/shared_endpoints.py.
    yield "caller", Need("sagemaker:InvokeEndpoint", f"{SAGEMAKER}:endpoint/names--x", one_city), MULTI_MODEL
    yield "predict", Need("sagemaker:InvokeEndpoint", f"{SAGEMAKER}:endpoint/names--x"), MULTI_MODEL
    yield "predict", Need("s3:GetObject", f"{OWN}/state/endpoints.json"), KNOWN
    # What is tried beside champions: prediction/challenger_cache.py.
    yield "predict", Need("s3:GetObject", f"{OWN}/state/challengers.json"), KNOWN
    # A person at the console: tests/service/city_fleet/test_policies.py does it.
    for name in ("DescribeModelPackage", "UpdateModelPackage"):
        yield "approver", Need(f"sagemaker:{name}", f"{SAGEMAKER}:model-package/names--austin/1"), CALLERS
    for name in ("ListModelPackageGroups", "ListModelPackages"):
        yield "approver", Need(f"sagemaker:{name}", "*"), CALLERS
    yield "approver", Need("s3:GetObject", f"{OWN}/runs/x"), CALLERS
    # `./fleet doctor --aws`: doctor/aws_checks.py, doctor/account_checks.py.
    yield "doctor", Need("s3:ListBucket", BUCKET), DOCTOR
    for name in ("Policy", "PublicAccessBlock", "Versioning"):
        yield "doctor", Need(f"s3:GetBucket{name}", BUCKET), DOCTOR
    yield "doctor", Need("s3:GetEncryptionConfiguration", BUCKET), DOCTOR
    for folder in ("live", "models"):
        yield "doctor", Need("s3:GetObject", f"{OWN}/{folder}/x"), DOCTOR
    for key in ("challengers.json", "scores/x"):
        yield "doctor", Need("s3:GetObject", f"{OWN}/state/{key}"), DOCTOR
    for name, kind in (("Endpoint", "endpoint"), ("EndpointConfig", "endpoint-config"), ("Model", "model")):
        resource = f"{SAGEMAKER}:{kind}/names{'' if name == 'Endpoint' else '-x'}"
        yield "doctor", Need(f"sagemaker:Describe{name}", resource), DOCTOR
    yield "doctor", Need("sagemaker:ListTags", f"{SAGEMAKER}:endpoint/names"), DOCTOR
    for name in ("GetRole", "SimulatePrincipalPolicy"):
        for kind in ("role", "user"):
            yield "doctor", Need(f"iam:{name}", f"arn:aws:iam::{ACCOUNT}:{kind}/x"), DOCTOR
    yield "doctor", Need("ecr:DescribeImages", f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository/x"), DOCTOR
    yield "doctor", Need("kms:DescribeKey", KEY), DOCTOR
    yield "doctor", Need("servicequotas:ListServiceQuotas", "*"), DOCTOR
    yield (
        "doctor",
        Need("lambda:GetFunctionConfiguration", f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:function"),
        DOCTOR,
    )
    yield "doctor", Need("cloudwatch:GetMetricStatistics", "*"), DOCTOR
    # The arrivals DAG's trigger and tasks: orchestration/fleet_tasks/arrivals_trigger.py, arrivals_operators.py.
    for name in ("ChangeMessageVisibility", "DeleteMessage", "GetQueueUrl", "ReceiveMessage"):
        yield "airflow", Need(f"sqs:{name}", f"arn:aws:sqs:{REGION}:{ACCOUNT}:queue"), CALLERS
    # Copies of known values: state/known_values.py keeps them, retiring/ deletes them, prediction/ reads them.
    yield "airflow", Need("s3:PutObject", f"{OWN}/known/x"), KNOWN
    yield "airflow", Need("s3:DeleteObject", f"{OWN}/known/x"), KNOWN
    yield "predict", Need("s3:GetObject", f"{OWN}/known/x"), KNOWN
    # What really happened: prediction/outcome_inbox.py and ./fleet outcome write it, the _monitor DAG reads it.
    yield "predict", Need("s3:PutObject", f"{OWN}/outcomes/x"), KNOWN
    yield "loader", Need("s3:PutObject", f"{OWN}/outcomes/x"), KNOWN
    yield "airflow", Need("s3:GetObject", f"{OWN}/outcomes/x"), KNOWN
    # Tables of forecasts: prediction/night_forecasts.py writes them, people read them by Athena or by themselves.
    yield "airflow", Need("s3:PutObject", f"{OWN}/forecasts/x"), KNOWN
    yield "analyst", Need("s3:GetObject", f"{OWN}/forecasts/x"), ATHENA_IN_S3
    yield "analyst", Need("s3:ListBucket", BUCKET, {"s3:prefix": "F/E/forecasts/x"}), ATHENA_IN_S3
    yield "analyst", Need("s3:GetBucketLocation", BUCKET), ATHENA_IN_S3
    for part in ("catalog", "database/F__E", "table/F__E/forecasts"):
        for name in ("GetDatabase", "GetPartitions", "GetTable"):
            yield "analyst", Need(f"glue:{name}", f"{GLUE}:{part}"), CATALOG
    # The endpoint's operator calls them when a configuration changes: orchestration/fleet_tasks/endpoint_operators.py.
    for name, kind in (
        ("UpdateEndpoint", "endpoint"),
        ("UpdateEndpoint", "endpoint-config"),
        ("DeleteEndpoint", "endpoint"),
        ("DeleteEndpointConfig", "endpoint-config"),
        ("DeleteModel", "model"),
    ):
        yield "airflow", Need(f"sagemaker:{name}", f"{SAGEMAKER}:{kind}/names-x", TAGS), CALLERS
    # An endpoint that scales: serving/endpoint_scaling.py; alarms and role are made in the name of whoever asks.
    scalable = f"arn:aws:application-autoscaling:{REGION}:{ACCOUNT}:scalable-target/x"
    for name in (
        "DeleteScalingPolicy",
        "DeregisterScalableTarget",
        "PutScalingPolicy",
        "RegisterScalableTarget",
    ):
        yield "airflow", Need(f"application-autoscaling:{name}", scalable, SCALED), SCALING
    for who in ("airflow", "doctor"):
        for name in ("DescribeScalableTargets", "DescribeScalingPolicies"):
            yield who, Need(f"application-autoscaling:{name}", "*"), SCALING
    weights = "sagemaker:UpdateEndpointWeightsAndCapacities"
    yield "airflow", Need(weights, f"{SAGEMAKER}:endpoint/names", TAGS), SCALING
    yield "airflow", Need("cloudwatch:DescribeAlarms", "*"), SCALING
    for name in ("DeleteAlarms", "PutMetricAlarm"):
        alarm = f"{ALARM}/names/variant/AllTraffic-AlarmHigh-x"
        yield "airflow", Need(f"cloudwatch:{name}", alarm), SCALING
    service = {"iam:AWSServiceName": "sagemaker.application-autoscaling.amazonaws.com"}
    yield "airflow", Need("iam:CreateServiceLinkedRole", SCALING_ROLE, service), SCALING


def policy(who: str) -> Policy:
    paths: list[Path] = [ROOT / FILES[name] for name in ROLES[who]]
    return Policy(paths, **PLACES)


def asked(who: str) -> list[Need]:
    """What somebody was seen to ask for, and what AWS needs behind it."""
    seen = recorded_calls.recorded_needs(who) if who in recorded_calls.kept() else []
    theirs = [need for need in seen if not at_a_desk(need)]
    return [*theirs, *(need for role, need, _ in behind() if role == who)]


def at_a_desk(need: Need) -> bool:
    """Whether it is what `./fleet ingest --create-bucket` asks alone: docs/security.md says so."""
    return need.action == "s3:CreateBucket" or (need.action == "s3:ListBucket" and not need.context)


def test_tests_have_seen_who_asks() -> None:
    assert {"airflow", "loader", "predict"} <= set(recorded_calls.kept())
    assert len(recorded_calls.recorded_needs("airflow")) > 30


@pytest.mark.parametrize("who", ROLES)
def test_every_call_is_allowed_for_its_role(who: str) -> None:
    may = policy(who)
    assert [str(need) for need in asked(who) if not may.meets(need)] == []


@pytest.mark.parametrize("who", ROLES)
def test_every_action_and_resource_of_a_policy_is_needed_by_a_call(who: str) -> None:
    may = policy(who)
    for need in asked(who):
        may.meets(need)
    assert may.parts - may.used_parts == set()


def forbidden() -> Iterator[tuple[str, Need]]:
    """What somebody would do who should not."""
    others = {"aws:RequestTag/city-fleet:fleet": "other", "aws:RequestTag/city-fleet:environment": "E"}
    theirs = {"aws:ResourceTag/city-fleet:fleet": "F", "aws:ResourceTag/city-fleet:environment": "other"}
    job = f"{SAGEMAKER}:training-job/names-x"
    for who in ROLES:
        yield who, Need("s3:DeleteBucket", BUCKET)
        yield who, Need("s3:PutBucketPolicy", BUCKET)
        yield who, Need("s3:GetObject", f"{BUCKET}/other/E/models/x")
        yield who, Need("s3:PutObject", f"{BUCKET}/F/other/live/x")
        if who != "doctor":  # it asks whether there is the bucket
            yield who, Need("s3:ListBucket", BUCKET, {"s3:prefix": ""})
            yield who, Need("s3:ListBucket", BUCKET)
        yield who, Need("kms:ScheduleKeyDeletion", KEY)
        yield (
            who,
            Need("secretsmanager:GetSecretValue", f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:other"),
        )
        yield who, Need("airflow:InvokeRestApi", f"arn:aws:airflow:{REGION}:{ACCOUNT}:role/mwaa/Admin")
        yield who, Need("kms:Decrypt", KEY, {"kms:ViaService": f"secretsmanager.{REGION}.amazonaws.com"})
        yield (
            who,
            Need(
                "iam:PassRole",
                f"arn:aws:iam::{ACCOUNT}:role/admin",
                {"iam:PassedToService": "sagemaker.amazonaws.com"},
            ),
        )
        yield (
            who,
            Need(
                "iam:PassRole",
                f"arn:aws:iam::{ACCOUNT}:role/role",
                {"iam:PassedToService": "lambda.amazonaws.com"},
            ),
        )
        if who != "loader":
            yield who, Need("s3:PutObject", f"{RAW}/city=austin/x")
            yield who, Need("s3:DeleteObject", f"{RAW}/city=austin/x")
        if who != "airflow":
            for folder in recorded_calls.FOLDERS:
                writes = {"role": ("runs",), "predict": ("capture", "outcomes"), "loader": ("outcomes",)}
                if folder not in writes.get(who, ()):
                    yield who, Need("s3:PutObject", f"{OWN}/{folder}/x")
                yield who, Need("s3:DeleteObject", f"{OWN}/{folder}/x")
            yield who, Need("sagemaker:CreateTrainingJob", job)
    # Airflow writes no function's code, takes nothing out of the history, and keeps to what carries its tags.
    yield "airflow", Need("s3:PutObject", f"{OWN}/functions/x")
    for folder in ("code", "history", "state"):
        yield "airflow", Need("s3:DeleteObject", f"{OWN}/{folder}/x")
    yield "airflow", Need("sagemaker:CreateTrainingJob", job)
    yield "airflow", Need("sagemaker:CreateTrainingJob", job, others)
    yield "airflow", Need("sagemaker:StopTrainingJob", job, theirs)
    yield "airflow", Need("sagemaker:DeleteEndpoint", f"{SAGEMAKER}:endpoint/names", theirs)
    yield "airflow", Need("sagemaker:InvokeEndpoint", f"{SAGEMAKER}:endpoint/other")
    yield "airflow", Need("sqs:SendMessage", f"arn:aws:sqs:{REGION}:{ACCOUNT}:queue")
    yield "airflow", Need("kms:CreateGrant", KEY, {"kms:GrantIsForAWSResource": "false"})
    # It scales endpoints alone, and touches no alarm of anybody else.
    tables = {name: value.replace("sagemaker", "dynamodb") for name, value in SCALED.items()}
    theirs_too = f"arn:aws:application-autoscaling:{REGION}:{ACCOUNT}:scalable-target/x"
    yield "airflow", Need("application-autoscaling:RegisterScalableTarget", theirs_too, tables)
    yield "airflow", Need("cloudwatch:DeleteAlarms", f"{ALARM}/other/variant/x")
    yield (
        "airflow",
        Need("iam:CreateServiceLinkedRole", SCALING_ROLE, {"iam:AWSServiceName": "ecs.amazonaws.com"}),
    )
    # A job reads no pointer and no state, asks no endpoint and approves nothing.
    yield "role", Need("s3:GetObject", f"{OWN}/live/x")
    yield "role", Need("s3:GetObject", f"{OWN}/state/x")
    yield "role", Need("sagemaker:InvokeEndpoint", f"{SAGEMAKER}:endpoint/names")
    yield "role", Need("sagemaker:UpdateModelPackage", f"{SAGEMAKER}:model-package/names/1")
    yield "role", Need("logs:PutLogEvents", f"{LOGS}:/aws/lambda/function")
    # What is kept of predictions is written, and read by others.
    yield "predict", Need("s3:GetObject", f"{OWN}/capture/x")
    yield "predict", Need("s3:DeleteObject", f"{OWN}/capture/x")
    yield "predict", Need("s3:GetObject", f"{OWN}/outcomes/x")
    # An application learns predictions, not data.
    yield "predict", Need("s3:GetObject", f"{RAW}/city=austin/x")
    yield "predict", Need("s3:GetObject", f"{OWN}/runs/x")
    yield "predict", Need("sagemaker:InvokeEndpoint", f"{SAGEMAKER}:endpoint/other")
    yield (
        "caller",
        Need("sagemaker:InvokeEndpoint", f"{SAGEMAKER}:endpoint/names", {"sagemaker:TargetModel": "citya/x"}),
    )
    yield "caller", Need("sagemaker:InvokeEndpoint", f"{SAGEMAKER}:endpoint/names")
    yield "approver", Need("sagemaker:UpdateModelPackage", f"{SAGEMAKER}:model-package/other/1")
    yield "loader", Need("s3:GetObject", f"{OWN}/live/x")
    # An analyst reads forecasts, and neither data nor models.
    for folder in ("known", "live", "models", "runs", "state"):
        yield "analyst", Need("s3:GetObject", f"{OWN}/{folder}/x")
    yield "analyst", Need("glue:GetTable", f"{GLUE}:table/other__E/forecasts")


def test_what_nobody_needs_is_denied(subtests: pytest.Subtests) -> None:
    may = {who: policy(who) for who in ROLES}
    for who, need in forbidden():
        with subtests.test(who=who, need=str(need)):
            assert not may[who].meets(need)
