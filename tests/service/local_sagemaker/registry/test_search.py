"""Search, as boto3 sees it. The training jobs searched for fail at once: nobody has their image."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.aws_names import ROLE

CITIES = {
    # name: eta, depth, instance type
    "austin": ("0.05", "4", "ml.m5.large"),
    "dallas": ("0.3", "6", "ml.m5.xlarge"),
    "waco": ("5e-3", "four", "ml.m5.large"),
}


@pytest.fixture(scope="module")
def sagemaker(local_sagemaker: Any) -> Any:
    """Three training jobs, a group with two versions."""
    s3, sagemaker = local_sagemaker.client("s3"), local_sagemaker.client("sagemaker")
    s3.create_bucket(Bucket="searched")
    for city, (eta, depth, instance) in CITIES.items():
        channels = []
        for channel in ("train", "validation"):
            s3.put_object(Bucket="searched", Key=f"{city}/{channel}/a.csv", Body=b"1")
            source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://searched/{city}/{channel}/"}
            channels.append({"ChannelName": channel, "DataSource": {"S3DataSource": source}})
        sagemaker.create_training_job(
            TrainingJobName=f"searched-{city}",
            AlgorithmSpecification={
                "TrainingImage": "nobody-has-this:1",
                "TrainingInputMode": "File",
                "ContainerEntrypoint": ["python3", "-c", "pass"],
            },
            RoleArn=ROLE,
            HyperParameters={"eta": eta, "max_depth": depth, "searched.for": "yes"},
            InputDataConfig=channels,
            OutputDataConfig={"S3OutputPath": "s3://searched/out"},
            ResourceConfig={"InstanceType": instance, "InstanceCount": 1, "VolumeSizeInGB": 5},
            StoppingCondition={"MaxRuntimeInSeconds": 60},
            EnableNetworkIsolation=city == "waco",
            Tags=[{"Key": "city", "Value": city}, {"Key": "set", "Value": "searched"}],
        )
    sagemaker.create_model_package_group(ModelPackageGroupName="searched")
    for status in ("Approved", "Rejected"):
        sagemaker.create_model_package(
            ModelPackageGroupName="searched",
            ModelApprovalStatus=status,
            CustomerMetadataProperties={"mape": "0.05"},
        )
    return sagemaker


def expression(name: str, operator: str | None = None, value: str | None = None) -> dict[str, Any]:
    """An expression of one filter."""
    given = {"Name": name, "Operator": operator, "Value": value}
    return {"Filters": [{key: each for key, each in given.items() if each is not None}]}


OURS = expression("Tags.set", "Equals", "searched")


def cities(sagemaker: Any, *expressions: dict[str, Any], **more: Any) -> list[str]:
    """The cities whose jobs fit all expressions, by name."""
    request = {"SortBy": "TrainingJobName", "SortOrder": "Ascending"} | more
    found = sagemaker.search(
        Resource="TrainingJob", SearchExpression={"SubExpressions": [OURS, *expressions]}, **request
    )
    assert found["TotalHits"]["Relation"] == "EqualTo"
    return [each["TrainingJob"]["TrainingJobName"].removeprefix("searched-") for each in found["Results"]]


def test_a_filter_finds_the_jobs_that_fit(sagemaker: Any, subtests: pytest.Subtests) -> None:
    for filter_, expected in [
        (expression("TrainingJobName", None, "searched-waco"), "waco"),
        (expression("TrainingJobName", "NotEquals", "searched-waco"), "austin dallas"),
        (expression("TrainingJobName", "Contains", "al"), "dallas"),
        (expression("TrainingJobName", "In", "searched-waco, searched-austin"), "austin waco"),
        (expression("HyperParameters.eta", "LessThan", "0.1"), "austin waco"),
        (expression("HyperParameters.eta", "GreaterThanOrEqualTo", "0.05"), "austin dallas"),
        (expression("HyperParameters.eta", "Equals", "0.050"), "austin"),
        (expression("HyperParameters.eta", "LessThan", "1"), "austin dallas waco"),
        (expression("HyperParameters.max_depth", "GreaterThan", "5"), "dallas"),
        (expression("HyperParameters.max_depth", "Equals", "four"), "waco"),
        (expression("HyperParameters.searched.for", "Exists"), "austin dallas waco"),
        (expression("HyperParameters.gamma", "NotExists"), "austin dallas waco"),
        (expression("HyperParameters.gamma", "NotEquals", "1"), "austin dallas waco"),
        (expression("Tags.city", "Equals", "waco"), "waco"),
        (expression("Metrics.accuracy", "GreaterThan", "0.5"), ""),
        (expression("ResourceConfig.InstanceType", "Equals", "ml.m5.xlarge"), "dallas"),
        (expression("ResourceConfig.VolumeSizeInGB", "LessThanOrEqualTo", "5.0"), "austin dallas waco"),
        (expression("EnableNetworkIsolation", "Equals", "true"), "waco"),
        (expression("CreationTime", "GreaterThan", "2014-01-01T00:00:00"), "austin dallas waco"),
        (expression("CreationTime", "LessThan", "2014-01-01T00:00:00Z"), ""),
        (
            expression("InputDataConfig.DataSource.S3DataSource.S3Uri", None, "s3://searched/waco/train/"),
            "waco",
        ),
        (
            {
                "Operator": "Or",
                "Filters": [
                    {"Name": "Tags.city", "Value": "waco"},
                    {"Name": "Tags.city", "Value": "austin"},
                ],
            },
            "austin waco",
        ),
    ]:
        with subtests.test(filter_=filter_):
            assert cities(sagemaker, filter_) == expected.split()


def test_one_element_of_a_list_must_fit_all_nested_filters(sagemaker: Any) -> None:
    def nested(channel: str, uri: str) -> dict[str, Any]:
        filters = [
            {"Name": "InputDataConfig.ChannelName", "Value": channel},
            {"Name": "InputDataConfig.DataSource.S3DataSource.S3Uri", "Operator": "Contains", "Value": uri},
        ]
        return {"NestedFilters": [{"NestedPropertyName": "InputDataConfig", "Filters": filters}]}

    assert cities(sagemaker, nested("train", "waco/train")) == ["waco"]
    assert cities(sagemaker, nested("validation", "waco/train")) == []


def test_what_is_found_is_whole_sorted_and_paged(sagemaker: Any) -> None:
    order = {"SortBy": "HyperParameters.eta", "SortOrder": "Descending"}
    assert cities(sagemaker, **order) == ["waco", "dallas", "austin"]  # texts, as they are
    assert cities(sagemaker, SortBy="CreationTime", SortOrder="Descending") == ["waco", "dallas", "austin"]
    request = {"Resource": "TrainingJob", "SearchExpression": OURS, "SortBy": "CreationTime"}
    first = sagemaker.search(**request, MaxResults=2)
    assert first["TotalHits"] == {"Value": 3, "Relation": "EqualTo"}
    second = sagemaker.search(**request, MaxResults=2, NextToken=first["NextToken"])
    assert "NextToken" not in second
    (job,) = (each["TrainingJob"] for each in second["Results"])
    described = sagemaker.describe_training_job(TrainingJobName="searched-austin")
    assert job["TrainingJobArn"] == described["TrainingJobArn"]
    assert job["HyperParameters"] == described["HyperParameters"]
    assert {"Key": "city", "Value": "austin"} in job["Tags"]
    visible = [{"Key": "Tags.city", "Value": "waco"}]
    assert cities(sagemaker, VisibilityConditions=visible) == ["waco"]
    assert cities(sagemaker, CrossAccountFilterOption="CrossAccount") == []


def test_versions_and_groups_are_found(sagemaker: Any) -> None:
    def versions(*filters: dict[str, str]) -> list[int]:
        found = sagemaker.search(
            Resource="ModelPackage",
            SearchExpression={"Filters": [{"Name": "ModelPackageGroupName", "Value": "searched"}, *filters]},
            SortBy="ModelPackageVersion",
        )
        return [each["ModelPackage"]["ModelPackageVersion"] for each in found["Results"]]

    assert versions() == [2, 1]
    assert versions({"Name": "ModelApprovalStatus", "Value": "Approved"}) == [1]
    assert versions({"Name": "ModelPackageVersion", "Operator": "GreaterThan", "Value": "1"}) == [2]
    assert versions({"Name": "CustomerMetadataProperties.mape", "Value": "0.05"}) == [2, 1]
    groups = sagemaker.search(
        Resource="ModelPackageGroup", SearchExpression=expression("ModelPackageGroupName", None, "searched")
    )
    assert [each["ModelPackageGroup"]["ModelPackageGroupStatus"] for each in groups["Results"]] == [
        "Completed"
    ]


def test_a_search_that_makes_no_sense_is_refused(sagemaker: Any, subtests: pytest.Subtests) -> None:
    for request_, words in [
        ({"SearchExpression": {}}, "must have at least one subexpression, filter, or nested filter"),
        ({"SearchExpression": expression("Colour", None, "red")}, "Unknown property name: Colour"),
        ({"SearchExpression": expression("ResourceConfig.Colour", None, "x")}, "Unknown property name"),
        ({"SortBy": "Colour"}, "Unknown property name: Colour"),
        ({"SearchExpression": expression("TrainingJobName", "LessThan", "x")}, "not supported for text"),
        ({"SearchExpression": expression("CreationTime", "Contains", "2")}, "only supported for text"),
        ({"SearchExpression": expression("CreationTime", "LessThan", "soon")}, "must be a date-time like"),
        (
            {"SearchExpression": expression("BillableTimeInSeconds", None, "x")},
            "must be an integer or floating-point decimal",
        ),
        ({"SearchExpression": expression("EnableNetworkIsolation", None, "x")}, "must be true or false"),
        ({"SearchExpression": expression("TrainingJobName", "In")}, "In needs a Value"),
        ({"SearchExpression": expression("ResourceConfig", "Equals", "x")}, "name one inside it"),
        (
            {"SearchExpression": {"Filters": 2 * expression("TrainingJobName", "Contains", "a")["Filters"]}},
            "'CONTAINS' operator usage limit of 1 exceeded.",
        ),
        (
            {"SearchExpression": {"SubExpressions": 3 * [{"Filters": 20 * OURS["Filters"]}]}},
            "can have 50",
        ),
        (
            {
                "SearchExpression": {
                    "NestedFilters": [{"NestedPropertyName": "Tags.x", "Filters": OURS["Filters"]}]
                }
            },
            "Unknown nested property name",
        ),
        ({"Resource": "Pipeline"}, "does not search for Pipeline"),
        ({"VisibilityConditions": [{"Key": "city", "Value": "waco"}]}, "must have the form Tags.<key>"),
        ({"NextToken": "tampered"}, "NextToken is not one"),
    ]:
        with subtests.test(request_=request_):
            with pytest.raises(ClientError) as caught:
                sagemaker.search(**{"Resource": "TrainingJob", **request_})
            assert caught.value.response["Error"]["Code"] == "ValidationException"
            assert words in caught.value.response["Error"]["Message"]
