"""Models, endpoint configurations and tags, as boto3 and the aws CLI see them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.aws_names import IMAGE_URI, ROLE

CONTAINER = {
    "Image": IMAGE_URI,
    "Mode": "MultiModel",
    "ModelDataUrl": "s3://city-fleet/texas_housing/models/",
    "MultiModelConfig": {"ModelCacheSetting": "Enabled"},
    "Environment": {"SAGEMAKER_PROGRAM": "inference.py", "_private": "kept"},
}
HOSTED = {**CONTAINER, "ContainerHostname": "a"}
DIRECT = {"InferenceExecutionConfig": {"Mode": "Direct"}}
VARIANT = {"VariantName": "all", "InstanceType": "ml.m5.large", "InitialInstanceCount": 1}


@pytest.fixture(scope="module", autouse=True)
def artifacts(local_sagemaker: Any) -> None:
    """What the models of this file are made of."""
    s3 = local_sagemaker.client("s3")
    s3.create_bucket(Bucket="city-fleet")
    s3.put_object(Bucket="city-fleet", Key="model.tar.gz", Body=b"a model")


@pytest.fixture
def sagemaker(local_sagemaker: Any) -> Any:
    return local_sagemaker.client("sagemaker")


def refusal(call: Callable[..., Any], **request: Any) -> tuple[str, str]:
    """Code and message of the error a call ends with."""
    with pytest.raises(ClientError) as caught:
        call(**request)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def test_a_multi_model_is_created_described_and_deleted(sagemaker: Any, unique: Callable[[str], str]) -> None:
    name = unique("model")
    arn = f"arn:aws:sagemaker:us-east-1:123456789012:model/{name}"
    created = sagemaker.create_model(
        ModelName=name,
        ExecutionRoleArn=ROLE,
        Containers=[CONTAINER],
        Tags=[{"Key": "city", "Value": "austin"}],
    )
    assert created["ModelArn"] == arn

    described = sagemaker.describe_model(ModelName=name)
    assert described["Containers"] == [CONTAINER]
    assert described["ExecutionRoleArn"] == ROLE
    assert described["EnableNetworkIsolation"] is False
    assert abs(datetime.now(UTC) - described["CreationTime"]) < timedelta(minutes=1)
    assert "Tags" not in described

    assert refusal(
        sagemaker.create_model, ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer={"Image": "x"}
    ) == ("ValidationException", f'Cannot create already existing model "{arn}".')
    sagemaker.delete_model(ModelName=name)
    gone = ("ValidationException", f'Could not find model "{arn}".')
    assert refusal(sagemaker.describe_model, ModelName=name) == gone
    assert refusal(sagemaker.delete_model, ModelName=name) == gone


def test_the_mode_of_a_single_model_is_shown(sagemaker: Any, unique: Callable[[str], str]) -> None:
    name = unique("model")
    container = {"Image": "xgboost:1", "ModelDataUrl": "s3://city-fleet/model.tar.gz"}
    sagemaker.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
    described = sagemaker.describe_model(ModelName=name)
    assert described["PrimaryContainer"] == {**container, "Mode": "SingleModel"}


def test_a_model_whose_parts_do_not_fit_is_refused(
    sagemaker: Any, unique: Callable[[str], str], subtests: pytest.Subtests
) -> None:
    for change, words in [
        ({"Containers": [{**CONTAINER, "ModelDataUrl": "s3://city-fleet/models"}]}, "end with '/'"),
        (
            {"Containers": [{**CONTAINER, "ModelDataUrl": "s3://nobody-has-this-bucket/models/"}]},
            "Could not find model data at s3://nobody-has-this-bucket/models/.",
        ),
        (
            {"Containers": [{"Image": "x", "ModelDataUrl": "s3://city-fleet/none.tar.gz"}]},
            "Could not find model data at s3://city-fleet/none.tar.gz.",
        ),
        (
            {"Containers": [{**CONTAINER, "Environment": {f"K{n}": "x" * 1000 for n in range(33)}}]},
            "32768 bytes together, got 33",
        ),
        (
            {"Containers": [{**CONTAINER, "ContainerHostname": "a"}, CONTAINER]},
            "ContainerHostname must be given for every container",
        ),
        (
            {"Containers": [HOSTED, {**HOSTED, "ContainerHostname": "b"}] * 2, **DIRECT},
            "be unique; got ['a', 'b', 'a', 'b'] for 4 containers",
        ),
        ({"Containers": [HOSTED, CONTAINER], **DIRECT}, "must be given for every container"),
        ({"Containers": [HOSTED], **DIRECT}, "more than one container, got 1."),
        (
            {"Containers": [{**HOSTED, "ContainerHostname": f"c{n}"} for n in range(16)], **DIRECT},
            "at 'containers' failed to satisfy constraint: Member must have length less than or equal to 15",
        ),
        ({"Containers": [{"ModelPackageName": "nobody"}]}, "model-package/nobody does not exist."),
        (
            {"Containers": [{**CONTAINER, "ModelDataUrl": "https://city-fleet/models/"}]},
            "must be the S3 prefix",
        ),
        ({"Containers": [{"Mode": "SingleModel", "ModelDataUrl": "s3://b/m"}]}, "Image or ModelPackageName"),
        ({"Containers": [{**CONTAINER, "Mode": "SingleModel"}]}, "MultiModelConfig needs Mode MultiModel"),
        ({"PrimaryContainer": CONTAINER}, "Exactly one of PrimaryContainer and Containers"),
        ({"Containers": []}, "Exactly one of PrimaryContainer and Containers"),
        ({"ExecutionRoleArn": None}, "ExecutionRoleArn is required"),
        ({"Tags": [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]}, "Duplicate tag keys"),
    ]:
        with subtests.test(change=change):
            request = {
                "ModelName": unique("model"),
                "ExecutionRoleArn": ROLE,
                "Containers": [CONTAINER],
                **change,
            }
            request = {member: value for member, value in request.items() if value is not None}
            code, message = refusal(sagemaker.create_model, **request)
            assert code == "ValidationException"
            assert words in message


def test_a_model_is_made_of_an_approved_package(sagemaker: Any, unique: Callable[[str], str]) -> None:
    group = unique("group")
    sagemaker.create_model_package_group(ModelPackageGroupName=group)
    container = {"Image": IMAGE_URI, "ModelDataUrl": "s3://city-fleet/model.tar.gz"}
    package = sagemaker.create_model_package(
        ModelPackageGroupName=group,
        InferenceSpecification={
            "Containers": [container],
            "SupportedContentTypes": ["text/csv"],
            "SupportedResponseMIMETypes": ["text/csv"],
        },
    )["ModelPackageArn"]
    request = {
        "ModelName": unique("model"),
        "ExecutionRoleArn": ROLE,
        "PrimaryContainer": {"ModelPackageName": package},
    }
    code, message = refusal(sagemaker.create_model, **request)
    assert code == "ValidationException"
    assert message.endswith("its approval status is PendingManualApproval, and must be Approved.")
    sagemaker.update_model_package(ModelPackageArn=package, ModelApprovalStatus="Approved")
    sagemaker.create_model(**request)
    named = {"ModelPackageName": package, "InferenceSpecificationName": "other"}
    code, message = refusal(sagemaker.create_model, **{**request, "PrimaryContainer": named})
    assert code == "ValidationException"
    assert message.startswith("InferenceSpecificationName: got other; ")
    empty = sagemaker.create_model_package(ModelPackageGroupName=group, ModelApprovalStatus="Approved")
    nothing = {**request, "PrimaryContainer": {"ModelPackageName": empty["ModelPackageArn"]}}
    code, message = refusal(sagemaker.create_model, **nothing)
    assert code == "ValidationException"
    assert "has no InferenceSpecification" in message


def test_an_endpoint_config_needs_its_models(sagemaker: Any, unique: Callable[[str], str]) -> None:
    model, name = unique("model"), unique("config")
    variant = {**VARIANT, "ModelName": model}
    request = {"EndpointConfigName": name, "ProductionVariants": [variant]}
    code, message = refusal(sagemaker.create_endpoint_config, **request)
    assert (code, message) == (
        "ValidationException",
        f'Could not find model "arn:aws:sagemaker:us-east-1:123456789012:model/{model}".',
    )
    sagemaker.create_model(ModelName=model, ExecutionRoleArn=ROLE, Containers=[CONTAINER])
    arn = sagemaker.create_endpoint_config(**request)["EndpointConfigArn"]
    assert arn == f"arn:aws:sagemaker:us-east-1:123456789012:endpoint-config/{name}"
    described = sagemaker.describe_endpoint_config(EndpointConfigName=name)
    assert described["ProductionVariants"] == [{**variant, "InitialVariantWeight": 1.0}]
    assert refusal(sagemaker.create_endpoint_config, **request) == (
        "ValidationException",
        f'Cannot create already existing endpoint configuration "{arn}".',
    )
    twice = {**request, "EndpointConfigName": unique("twice"), "ProductionVariants": [variant, variant]}
    assert "unique" in refusal(sagemaker.create_endpoint_config, **twice)[1]
    sagemaker.delete_endpoint_config(EndpointConfigName=name)
    assert refusal(sagemaker.describe_endpoint_config, EndpointConfigName=name) == (
        "ValidationException",
        f'Could not find endpoint configuration "{arn}".',
    )


def test_lists_are_filtered_sorted_and_paged(sagemaker: Any, unique: Callable[[str], str]) -> None:
    names = [unique(f"listed-{letter}") for letter in "cab"]
    for name in names:
        sagemaker.create_model(ModelName=name, ExecutionRoleArn=ROLE, Containers=[CONTAINER])
    mine = names[0].rpartition("-")[2]

    def listed(**request: Any) -> list[str]:
        return [model["ModelName"] for model in sagemaker.list_models(NameContains=mine, **request)["Models"]]

    assert listed() == names[::-1]  # the newest first, as documented for models
    assert listed(SortOrder="Ascending") == names
    assert listed(SortBy="Name", SortOrder="Ascending") == sorted(names)
    now = datetime.now(UTC)
    assert (
        listed(CreationTimeAfter=now - timedelta(hours=1), CreationTimeBefore=now + timedelta(hours=1))
        == (names[::-1])
    )
    assert listed(CreationTimeAfter=now + timedelta(hours=1)) == []
    assert listed(MaxResults=1) == names[-1:]
    code, message = refusal(sagemaker.list_models, MaxResults=101)
    assert (code, message) == (
        "ValidationException",
        "1 validation error detected: Value '101' at 'maxResults' failed to satisfy constraint: Member must"
        " have value less than or equal to 100",
    )
    assert listed(CreationTimeBefore=now - timedelta(hours=1)) == []

    pages = sagemaker.get_paginator("list_models").paginate(
        NameContains=mine, SortBy="Name", SortOrder="Ascending", PaginationConfig={"PageSize": 2}
    )
    assert [[model["ModelName"] for model in page["Models"]] for page in pages] == [
        sorted(names)[:2],
        sorted(names)[2:],
    ]


def test_a_page_goes_on_where_it_ended_although_resources_come_and_go(
    sagemaker: Any, unique: Callable[[str], str]
) -> None:
    names = [unique(f"page-{number}") for number in range(4)]
    for name in names:
        sagemaker.create_model(ModelName=name, ExecutionRoleArn=ROLE, Containers=[CONTAINER])
    question = {"NameContains": names[0].rpartition("-")[2], "SortBy": "Name", "SortOrder": "Ascending"}
    first = sagemaker.list_models(**question, MaxResults=2)
    sagemaker.delete_model(ModelName=names[0])
    second = sagemaker.list_models(**question, MaxResults=2, NextToken=first["NextToken"])
    assert [model["ModelName"] for model in second["Models"]] == names[2:]
    assert "NextToken" not in second
    token = first["NextToken"]
    foreign = {**question, "SortOrder": "Descending", "NextToken": token}
    # Changed in its signature, in its content, by a character that base64 ignores, and cut.
    changed = [token.swapcase(), token[:-6] + "AAAA" + token[-2:], token + "\n", token[:40], "é", "A==="]
    for request in (foreign, *({**question, "NextToken": each} for each in changed)):
        assert refusal(sagemaker.list_models, **request)[0] == "ValidationException"


def test_tags_are_added_changed_listed_and_removed(sagemaker: Any, unique: Callable[[str], str]) -> None:
    name = unique("tagged")
    arn = sagemaker.create_model(
        ModelName=name, ExecutionRoleArn=ROLE, Containers=[CONTAINER], Tags=[{"Key": "city", "Value": "waco"}]
    )["ModelArn"]
    added = sagemaker.add_tags(
        ResourceArn=arn, Tags=[{"Key": "city", "Value": "austin"}, {"Key": "owner", "Value": ""}]
    )
    expected = [{"Key": "city", "Value": "austin"}, {"Key": "owner", "Value": ""}]
    assert added["Tags"] == expected
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == expected
    sagemaker.delete_tags(ResourceArn=arn, TagKeys=["city", "not there"])
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == expected[1:]
    many = [{"Key": f"key-{number}", "Value": "x"} for number in range(50)]
    assert "50 tags" in refusal(sagemaker.add_tags, ResourceArn=arn, Tags=many)[1]
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == expected[1:]
    unknown = arn.replace("tagged", "untagged")
    for call in (sagemaker.list_tags, lambda **who: sagemaker.delete_tags(TagKeys=["a"], **who)):
        assert refusal(call, ResourceArn=unknown) == (
            "ValidationException",
            f'Could not find model "{unknown}".',
        )


def test_the_region_is_the_one_the_request_is_signed_for(
    local_sagemaker: Any, unique: Callable[[str], str]
) -> None:
    created = local_sagemaker.client("sagemaker", "eu-west-1").create_model(
        ModelName=unique("model"), ExecutionRoleArn=ROLE, Containers=[CONTAINER]
    )
    assert created["ModelArn"].startswith("arn:aws:sagemaker:eu-west-1:123456789012:model/")


def test_an_unknown_operation_is_a_named_501(sagemaker: Any) -> None:
    with pytest.raises(ClientError) as caught:
        sagemaker.list_apps()
    response = caught.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 501
    assert response["Error"]["Code"] == "UnsupportedOperation"
    assert "does not answer ListApps. It answers: AddTags, " in response["Error"]["Message"]


def test_other_apis_signed_for_sagemaker_do_not_reach_motos_canned_answers(local_sagemaker: Any) -> None:
    metrics = local_sagemaker.client("sagemaker-metrics")
    code, message = refusal(
        metrics.batch_put_metrics,
        TrialComponentName="austin",
        MetricData=[{"MetricName": "mape", "Timestamp": 0, "Value": 0.1}],
    )
    assert code == "UnsupportedOperation"
    assert "/BatchPutMetrics" in message
