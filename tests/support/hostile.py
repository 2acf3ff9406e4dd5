"""Requests to SageMaker, valid ones and what hypothesis makes of them, for the fuzzer."""

from __future__ import annotations

import copy
import functools
import string
from collections.abc import Callable
from typing import Any

import botocore.session
from botocore.model import Shape
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from local.sagemaker.protocol.validation import compile_pattern
from tests.support.aws_names import IMAGE_URI, ROLE

SERVICE = botocore.session.Session().get_service_model("sagemaker")
ARN = "arn:aws:sagemaker:us-east-1:123456789012:"
NAMES = ("austin", "none", "austin/1", "a" * 63)
#: What is put where a text belongs: names of things that exist, near misses, and the usual suspects.
TEXTS = (
    *NAMES,
    "s3://fuzzed/data/",
    "s3://fuzzed/model.tar.gz",
    "s3://fuzzed/code.tar.gz",
    "s3://none/data",
    "s3://",
    "s3://fuzzed/../..",
    "https://fuzzed/data",
    ROLE,
    "arn:aws:iam::123456789012:role/none",
    *(
        f"{ARN}{kind}/{name}"
        for kind in ("model", "endpoint", "model-package", "client-token")
        for name in NAMES
    ),
    f"{ARN}model-package-group/austin",
    "arn:aws:sagemaker:eu-west-1:210987654321:model/austin",
    IMAGE_URI,
    "/opt/ml/processing/input",
    "/opt/ml/processing/../../etc",
    "ml.m5.large",
    "TrainingJobName",
    "HyperParameters.eta",
    "Tags.city",
    "Tags.",
    "Metrics.mape",
    "InputDataConfig",
    "CreationTime",
    "2014-01-01T00:00:00",
    "9999-12-31T23:59:59-23:59",
    "0001-01-01T00:00:00+14:00",
    "0.5",
    "nan",
    "1e999",
    "",
    " ",
    "\x00",
    "\ud800",
    "a\nb",
    "é" * 300,
    "x" * 5000,
    "../../etc/passwd",
    "{}",
    "[" * 3000,
    "$datetime",
)
NUMBERS = (0, 1, -1, 5, 100, 101, 2**31, 2**63, 10**400, 0.5, 1e308, -0.0)
ANYTHING: SearchStrategy[Any] = st.recursive(
    st.sampled_from((None, True, False, *NUMBERS, *TEXTS)) | st.text(st.characters(codec=None), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(TEXTS), inner, max_size=3),
    max_leaves=6,
)

_TAGS = [{"Key": "city", "Value": "austin"}]
_STOP = {"MaxRuntimeInSeconds": 60}
_CLUSTER = {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5}
_LIST = {
    "MaxResults": 2,
    "SortOrder": "Ascending",
    "CreationTimeAfter": 1.4e9,
    "CreationTimeBefore": 4e9,
    "NameContains": "a",
}
_CONTAINER = {
    "Image": IMAGE_URI,
    "Mode": "MultiModel",
    "ModelDataUrl": "s3://fuzzed/models/",
    "MultiModelConfig": {"ModelCacheSetting": "Enabled"},
    "Environment": {"SAGEMAKER_PROGRAM": "inference.py"},
}
_VARIANT = {
    "VariantName": "all",
    "ModelName": "austin",
    "InstanceType": "ml.m5.large",
    "InitialInstanceCount": 1,
}
_SOURCE = {
    "S3DataType": "S3Prefix",
    "S3Uri": "s3://fuzzed/data/",
    "S3DataDistributionType": "FullyReplicated",
}
_TRAINING = {
    "TrainingJobName": "fresh",
    "AlgorithmSpecification": {
        "TrainingImage": IMAGE_URI,
        "TrainingInputMode": "File",
        "ContainerEntrypoint": ["python3", "-c", "pass"],
    },
    "RoleArn": ROLE,
    "HyperParameters": {"eta": "0.5"},
    "InputDataConfig": [
        {"ChannelName": "train", "DataSource": {"S3DataSource": _SOURCE}, "ContentType": "text/csv"}
    ],
    "OutputDataConfig": {"S3OutputPath": "s3://fuzzed/out"},
    "ResourceConfig": _CLUSTER,
    "StoppingCondition": _STOP | {"MaxWaitTimeInSeconds": 60},
    "EnableManagedSpotTraining": True,
    "Environment": {"CITY": "austin"},
    "RetryStrategy": {"MaximumRetryAttempts": 1},
    "Tags": _TAGS,
}
_PROCESSING = {
    "ProcessingJobName": "fresh",
    "ProcessingInputs": [
        {
            "InputName": "raw",
            "S3Input": {
                "S3Uri": "s3://fuzzed/data/",
                "LocalPath": "/opt/ml/processing/input",
                "S3DataType": "S3Prefix",
                "S3InputMode": "File",
            },
        }
    ],
    "ProcessingOutputConfig": {
        "Outputs": [
            {
                "OutputName": "report",
                "S3Output": {
                    "S3Uri": "s3://fuzzed/out",
                    "LocalPath": "/opt/ml/processing/output",
                    "S3UploadMode": "EndOfJob",
                },
            }
        ]
    },
    "ProcessingResources": {"ClusterConfig": _CLUSTER},
    "StoppingCondition": _STOP,
    "AppSpecification": {
        "ImageUri": IMAGE_URI,
        "ContainerEntrypoint": ["python3", "-c", "pass"],
        "ContainerArguments": ["/opt/ml/processing/input"],
    },
    "Environment": {"CITY": "austin"},
    "RoleArn": ROLE,
    "Tags": _TAGS,
}
_FILTERS = [
    {"Name": "HyperParameters.eta", "Operator": "LessThan", "Value": "1"},
    {"Name": "CreationTime", "Operator": "GreaterThan", "Value": "2014-01-01T00:00:00"},
    {"Name": "Tags.city", "Operator": "Exists"},
    {"Name": "ResourceConfig.VolumeSizeInGB", "Operator": "LessThanOrEqualTo", "Value": "5"},
]
_SPECIFICATION = {
    "Containers": [{"Image": IMAGE_URI, "ModelDataUrl": "s3://fuzzed/model.tar.gz"}],
    "SupportedContentTypes": ["text/csv"],
    "SupportedResponseMIMETypes": ["text/csv"],
}
#: A request that is answered well, by operation; "fresh" becomes a name that nobody has. Operations that are
#: not here have only members that any generated request has.
VALID: dict[str, dict[str, Any]] = {
    "AddTags": {"ResourceArn": f"{ARN}model/austin", "Tags": _TAGS},
    "CreateEndpoint": {"EndpointName": "fresh", "EndpointConfigName": "austin", "Tags": _TAGS},
    "CreateEndpointConfig": {"EndpointConfigName": "fresh", "ProductionVariants": [_VARIANT], "Tags": _TAGS},
    "CreateModel": {
        "ModelName": "fresh",
        "ExecutionRoleArn": ROLE,
        "Containers": [_CONTAINER],
        "VpcConfig": {"Subnets": ["subnet-1"], "SecurityGroupIds": ["sg-1"]},
        "Tags": _TAGS,
    },
    "CreateModelPackage": {
        "ModelPackageGroupName": "austin",
        "ModelApprovalStatus": "Approved",
        "ClientToken": "fresh",
        "InferenceSpecification": _SPECIFICATION,
        "CustomerMetadataProperties": {"mape": "0.05"},
    },
    "CreateModelPackageGroup": {"ModelPackageGroupName": "fresh", "Tags": _TAGS},
    "CreateProcessingJob": _PROCESSING,
    "CreateTrainingJob": _TRAINING,
    "DeleteEndpoint": {"EndpointName": "none"},
    "DeleteTags": {"ResourceArn": f"{ARN}model/austin", "TagKeys": ["city"]},
    "DescribeEndpoint": {"EndpointName": "live"},
    "DescribeEndpointConfig": {"EndpointConfigName": "austin"},
    "DescribeModel": {"ModelName": "austin"},
    "DescribeModelPackage": {"ModelPackageName": f"{ARN}model-package/austin/1"},
    "DescribeModelPackageGroup": {"ModelPackageGroupName": "austin"},
    "DescribeProcessingJob": {"ProcessingJobName": "austin"},
    "DescribeTrainingJob": {"TrainingJobName": "austin"},
    "ListEndpointConfigs": _LIST,
    "ListEndpoints": _LIST | {"StatusEquals": "InService"},
    "ListModelPackageGroups": _LIST,
    "ListModelPackages": _LIST | {"ModelPackageGroupName": "austin", "ModelApprovalStatus": "Approved"},
    "ListModels": _LIST,
    "ListProcessingJobs": _LIST | {"LastModifiedTimeAfter": 0},
    "ListTags": {"ResourceArn": f"{ARN}model/austin", "MaxResults": 50},
    "ListTrainingJobs": _LIST | {"SortBy": "Status"},
    "Search": {
        "Resource": "TrainingJob",
        "SearchExpression": {
            "Operator": "Or",
            "Filters": _FILTERS,
            "NestedFilters": [
                {
                    "NestedPropertyName": "InputDataConfig",
                    "Filters": [{"Name": "InputDataConfig.ChannelName", "Value": "train"}],
                }
            ],
            "SubExpressions": [{"Filters": _FILTERS}],
        },
        "SortBy": "HyperParameters.eta",
        "MaxResults": 3,
        "VisibilityConditions": [{"Key": "Tags.city", "Value": "austin"}],
    },
    "StopProcessingJob": {"ProcessingJobName": "austin"},
    "StopTrainingJob": {"TrainingJobName": "austin"},
    "UpdateEndpoint": {"EndpointName": "live", "EndpointConfigName": "none"},
    "UpdateModelPackage": {
        "ModelPackageArn": f"{ARN}model-package/austin/1",
        "ModelApprovalStatus": "Approved",
        "CustomerMetadataProperties": {"mape": "0.05"},
        "CustomerMetadataPropertiesToRemove": ["mape"],
        "AdditionalInferenceSpecificationsToAdd": [{"Name": "neo", "Containers": [{"Image": IMAGE_URI}]}],
    },
}


def requests(operation: str) -> SearchStrategy[dict[str, Any]]:
    """Requests of an operation: its valid one with a few changes, or one made from nothing."""
    shape = SERVICE.operation_model(operation).input_shape
    made = structures(shape, 0)
    return mutated(shape, VALID[operation]) | made if operation in VALID else made


def mutated(shape: Shape, valid: dict[str, Any]) -> SearchStrategy[dict[str, Any]]:
    """A request with up to three of its values changed, left out, or joined by others."""

    @st.composite
    def build(draw: Callable[[SearchStrategy[Any]], Any]) -> dict[str, Any]:
        request = copy.deepcopy(valid)
        for _ in range(draw(st.integers(0, 3))):
            places = list(_places(shape, request))
            if not places:
                break
            holder, key, inner = draw(st.sampled_from(places))
            match draw(st.sampled_from(("fit", "fit", "anything", "leave out", "add"))):
                case "fit":
                    holder[key] = draw(fitting(inner.name, 3))
                case "anything":
                    holder[key] = draw(ANYTHING)
                case "leave out":
                    del holder[key]
                case "add" if inner.type_name == "structure" and isinstance(holder[key], dict):
                    holder[key] |= draw(structures(inner, 3))
                case "add" if isinstance(holder, list):
                    holder += [copy.deepcopy(holder[key])] * draw(st.sampled_from((1, 30)))
                case "add":
                    request |= draw(structures(shape, 3))
        return request

    return build()


def _places(shape: Shape, value: Any) -> Any:
    """Every place below a value that can be changed: what holds it, its key there, its shape."""
    inside: list[tuple[Any, Shape]] = []
    if shape.type_name == "structure" and isinstance(value, dict):
        inside = [(key, shape.members[key]) for key in value if key in shape.members]
    elif shape.type_name == "list" and isinstance(value, list):
        inside = [(number, shape.member) for number in range(len(value))]
    elif shape.type_name == "map" and isinstance(value, dict):
        inside = [(key, shape.value) for key in value]
    for key, inner in inside:
        yield value, key, inner
        yield from _places(inner, value[key])


@functools.cache
def fitting(name: str, depth: int) -> SearchStrategy[Any]:
    """Values that have the type of a shape, and often are within its constraints."""
    shape: Shape = SERVICE.shape_for(name)
    fit: SearchStrategy[Any]
    match shape.type_name:
        case "structure":
            fit = structures(shape, depth)
        case "list":
            fit = st.lists(fitting(shape.member.name, depth + 1), max_size=3 if depth < 6 else 0)
        case "map":
            key, item = fitting(shape.key.name, depth + 1), fitting(shape.value.name, depth + 1)
            fit = st.dictionaries(key, item, max_size=3)
        case "string" if shape.enum:
            fit = st.sampled_from(shape.enum) | st.sampled_from(TEXTS)
        case "string":
            fit = st.sampled_from(_fitting_texts(name)) | st.sampled_from(TEXTS)
            fit |= st.text(string.printable, max_size=70)
        case "boolean":
            fit = st.booleans()
        case "timestamp":
            fit = st.sampled_from((*NUMBERS, "2014-01-01", "0001-01-01T00:00:00+14:00", 1.4e9))
        case "blob":
            fit = st.sampled_from(("", "AAAA", "A", "é"))
        case _:
            low = shape.metadata.get("min", 0)
            fit = st.sampled_from(NUMBERS) | st.integers(low, low + 10)
    return fit


def _fitting_texts(name: str) -> tuple[str, ...]:
    """The texts that a shape allows; all of them if there is none."""
    limits = SERVICE.shape_for(name).metadata
    pattern, low, high = limits.get("pattern", ".*"), limits.get("min", 0), limits.get("max", 10**6)
    fit = (text for text in TEXTS if low <= len(text) <= high and compile_pattern(pattern).fullmatch(text))
    return tuple(fit) or TEXTS


def structures(shape: Shape, depth: int) -> SearchStrategy[dict[str, Any]]:
    """Objects with their required members and some of the others."""
    required = list(shape.required_members)
    optional = [name for name in shape.members if name not in required]

    @st.composite
    def build(draw: Callable[[SearchStrategy[Any]], Any]) -> dict[str, Any]:
        names = list(required)
        if optional and depth < 6:
            names += draw(st.lists(st.sampled_from(optional), max_size=4, unique=True))
        return {name: draw(fitting(shape.members[name].name, depth + 1)) for name in names}

    return build()
