"""Package groups and model packages, as boto3 sees them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import ClientError

SPECIFICATION = {
    "Containers": [
        {"Image": "sagemaker-xgboost:3.2-0", "ModelDataUrl": "s3://city-fleet/models/austin/1.tar.gz"}
    ],
    "SupportedContentTypes": ["text/csv"],
    "SupportedResponseMIMETypes": ["text/csv"],
}


@pytest.fixture
def sagemaker(local_sagemaker: Any) -> Any:
    return local_sagemaker.client("sagemaker")


@pytest.fixture
def group(sagemaker: Any, unique: Callable[[str], str]) -> str:
    """An empty package group."""
    name = unique("group")
    sagemaker.create_model_package_group(
        ModelPackageGroupName=name, ModelPackageGroupDescription="Austin, Texas"
    )
    return name


def refusal(call: Callable[..., Any], **request: Any) -> tuple[str, str]:
    """Code and message of the error a call ends with."""
    with pytest.raises(ClientError) as caught:
        call(**request)
    return caught.value.response["Error"]["Code"], caught.value.response["Error"]["Message"]


def test_a_group_is_created_described_listed_and_deleted(sagemaker: Any, group: str) -> None:
    arn = f"arn:aws:sagemaker:us-east-1:123456789012:model-package-group/{group}"
    described = sagemaker.describe_model_package_group(ModelPackageGroupName=group)
    assert described["ModelPackageGroupArn"] == arn
    assert described["ModelPackageGroupStatus"] == "Completed"
    assert described["ModelPackageGroupDescription"] == "Austin, Texas"
    by_arn = sagemaker.describe_model_package_group(ModelPackageGroupName=arn)
    assert by_arn["ModelPackageGroupName"] == group
    listed = sagemaker.list_model_package_groups(NameContains=group)["ModelPackageGroupSummaryList"]
    assert [each["ModelPackageGroupArn"] for each in listed] == [arn]
    taken = ("ValidationException", f"Model Package Group already exists: {arn}")
    assert refusal(sagemaker.create_model_package_group, ModelPackageGroupName=group) == taken

    package = sagemaker.create_model_package(ModelPackageGroupName=group)["ModelPackageArn"]
    assert (
        refusal(sagemaker.delete_model_package_group, ModelPackageGroupName=group)[0] == "ConflictException"
    )
    sagemaker.delete_model_package(ModelPackageName=package)
    sagemaker.delete_model_package_group(ModelPackageGroupName=group)
    gone = ("ValidationException", f"ModelPackageGroup {arn} does not exist.")
    assert refusal(sagemaker.describe_model_package_group, ModelPackageGroupName=group) == gone
    assert refusal(sagemaker.list_model_packages, ModelPackageGroupName=group) == gone


def test_versions_are_numbered_and_never_reused(sagemaker: Any, group: str) -> None:
    prefix = f"arn:aws:sagemaker:us-east-1:123456789012:model-package/{group}"
    arns = [
        sagemaker.create_model_package(ModelPackageGroupName=group, InferenceSpecification=SPECIFICATION)[
            "ModelPackageArn"
        ]
        for _ in range(2)
    ]
    assert arns == [f"{prefix}/1", f"{prefix}/2"]
    sagemaker.delete_model_package(ModelPackageName=arns[1])
    assert refusal(sagemaker.describe_model_package, ModelPackageName=arns[1]) == (
        "ValidationException",
        f"ModelPackage {arns[1]} does not exist.",
    )
    third = sagemaker.create_model_package(ModelPackageGroupName=group)
    assert third["ModelPackageArn"] == f"{prefix}/3"
    described = sagemaker.describe_model_package(ModelPackageName=arns[0])
    assert described["ModelPackageGroupName"] == group
    assert described["ModelPackageVersion"] == 1
    assert described["ModelPackageStatus"] == "Completed"
    assert described["ModelApprovalStatus"] == "PendingManualApproval"
    assert described["InferenceSpecification"] == SPECIFICATION
    assert "ClientToken" not in described


def test_versions_stay_unique_when_many_register_at_once(sagemaker: Any, group: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(sagemaker.create_model_package, ModelPackageGroupName=group) for _ in range(24)]
        arns = {call.result()["ModelPackageArn"] for call in calls}
    assert sorted(int(arn.rpartition("/")[2]) for arn in arns) == list(range(1, 25))


def test_a_client_token_registers_once(sagemaker: Any, group: str, unique: Callable[[str], str]) -> None:
    request = {"ModelPackageGroupName": group, "ClientToken": unique("run"), "ModelPackageDescription": "one"}
    first = sagemaker.create_model_package(**request)["ModelPackageArn"]
    assert sagemaker.create_model_package(**request)["ModelPackageArn"] == first
    other = {**request, "ModelPackageDescription": "two"}
    assert refusal(sagemaker.create_model_package, **other)[0] == "ConflictException"
    packages = sagemaker.list_model_packages(ModelPackageGroupName=group)["ModelPackageSummaryList"]
    assert [package["ModelPackageArn"] for package in packages] == [first]


def test_a_client_token_registers_anew_when_its_package_was_deleted(
    sagemaker: Any, group: str, unique: Callable[[str], str]
) -> None:
    request = {"ModelPackageGroupName": group, "ClientToken": unique("run")}
    first = sagemaker.create_model_package(**request)["ModelPackageArn"]
    sagemaker.delete_model_package(ModelPackageName=first)
    second = sagemaker.create_model_package(**request)["ModelPackageArn"]
    assert second == first.removesuffix("/1") + "/2"
    assert sagemaker.create_model_package(**request)["ModelPackageArn"] == second


def test_a_refused_package_takes_no_number(sagemaker: Any, group: str) -> None:
    twice = [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]
    code, message = refusal(sagemaker.create_model_package, ModelPackageGroupName=group, Tags=twice)
    assert (code, message.split(" (")[0]) == (
        "ValidationException",
        "Tags does not apply to versioned model packages",
    )
    arn = sagemaker.create_model_package(ModelPackageGroupName=group)["ModelPackageArn"]
    assert arn.endswith(f"{group}/1")


def test_approval_and_metadata_are_updated(sagemaker: Any, group: str) -> None:
    arn = sagemaker.create_model_package(
        ModelPackageGroupName=group,
        ModelApprovalStatus="Rejected",
        CustomerMetadataProperties={"as_of": "20140101T000000Z", "mape": "0.05"},
    )["ModelPackageArn"]
    answered = sagemaker.update_model_package(
        ModelPackageArn=arn,
        ModelApprovalStatus="Approved",
        ApprovalDescription="by hand",
        CustomerMetadataProperties={"mape": "0.04", "gate": "passed"},
        CustomerMetadataPropertiesToRemove=["as_of"],
    )
    assert answered["ModelPackageArn"] == arn
    described = sagemaker.describe_model_package(ModelPackageName=arn)
    assert described["ModelApprovalStatus"] == "Approved"
    assert described["ApprovalDescription"] == "by hand"
    assert described["CustomerMetadataProperties"] == {"mape": "0.04", "gate": "passed"}
    assert described["LastModifiedTime"] >= described["CreationTime"]

    many = {f"key-{number}": "1" for number in range(49)}
    code, message = refusal(
        sagemaker.update_model_package, ModelPackageArn=arn, CustomerMetadataProperties=many
    )
    assert code == "ValidationException"
    assert "50 customer metadata properties" in message
    bad = {"reason": "MAPE 7% > 5%"}
    code, message = refusal(
        sagemaker.update_model_package, ModelPackageArn=arn, CustomerMetadataProperties=bad
    )
    assert "at 'customerMetadataProperties' failed to satisfy constraint: Map value must satisfy" in message
    missing = f"{arn}9"
    assert refusal(
        sagemaker.update_model_package, ModelPackageArn=missing, ModelApprovalStatus="Approved"
    ) == (
        "ValidationException",
        f"ModelPackage {missing} does not exist.",
    )


def test_packages_are_listed_by_group_type_and_approval(
    sagemaker: Any, group: str, unique: Callable[[str], str]
) -> None:
    statuses = ["Approved", "Rejected", "Approved"]
    for status in statuses:
        sagemaker.create_model_package(ModelPackageGroupName=group, ModelApprovalStatus=status)
    plain = sagemaker.create_model_package(
        ModelPackageName=unique("plain"), InferenceSpecification=SPECIFICATION
    )["ModelPackageArn"]

    def versions(**request: Any) -> list[int]:
        found = sagemaker.list_model_packages(ModelPackageGroupName=group, **request)[
            "ModelPackageSummaryList"
        ]
        assert all("ModelPackageName" not in package for package in found)  # as AWS: the ARN names a version
        return [package["ModelPackageVersion"] for package in found]

    assert versions() == [1, 2, 3]
    assert versions(SortOrder="Descending", MaxResults=1) == [3]
    assert versions(ModelApprovalStatus="Approved") == [1, 3]
    suffix = group.rpartition("-")[2]
    for kind, number in ((None, 1), ("Unversioned", 1), ("Versioned", 3), ("Both", 4)):
        request = {"NameContains": suffix} | ({"ModelPackageType": kind} if kind else {})
        assert len(sagemaker.list_model_packages(**request)["ModelPackageSummaryList"]) == number, kind
    code, message = refusal(
        sagemaker.update_model_package, ModelPackageArn=plain, ModelApprovalStatus="Approved"
    )
    assert code == "ValidationException"
    assert "unversioned" in message


def test_a_package_needs_one_name(sagemaker: Any, group: str, unique: Callable[[str], str]) -> None:
    assert refusal(sagemaker.create_model_package) == ("ValidationException", "Missing ARN.")
    both = refusal(sagemaker.create_model_package, ModelPackageName="a", ModelPackageGroupName=group)
    assert both[1].startswith("Both ModelPackageName and ModelPackageGroupName are provided in the input.")
    missing = refusal(sagemaker.create_model_package, ModelPackageGroupName=unique("none"))
    assert missing == ("ValidationException", "Model Package Group does not exist.")


def test_a_version_has_the_tags_of_its_group(
    sagemaker: Any, group: str, unique: Callable[[str], str]
) -> None:
    tags = [{"Key": "city", "Value": "austin"}]
    arn = sagemaker.create_model_package(ModelPackageGroupName=group)["ModelPackageArn"]
    group_arn = sagemaker.describe_model_package_group(ModelPackageGroupName=group)["ModelPackageGroupArn"]
    assert sagemaker.add_tags(ResourceArn=group_arn, Tags=tags)["Tags"] == tags
    assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == tags
    assert "tag the group" in refusal(sagemaker.add_tags, ResourceArn=arn, Tags=tags)[1]
    plain = sagemaker.create_model_package(ModelPackageName=unique("plain"), Tags=tags)["ModelPackageArn"]
    assert sagemaker.list_tags(ResourceArn=plain)["Tags"] == tags


def test_an_approval_goes_only_where_it_may(sagemaker: Any, group: str) -> None:
    arn = sagemaker.create_model_package(ModelPackageGroupName=group)["ModelPackageArn"]
    for status in ("PendingManualApproval", "Rejected", "Approved", "Approved", "Rejected"):
        sagemaker.update_model_package(ModelPackageArn=arn, ModelApprovalStatus=status)
        assert sagemaker.describe_model_package(ModelPackageName=arn)["ModelApprovalStatus"] == status
    code, message = refusal(
        sagemaker.update_model_package, ModelPackageArn=arn, ModelApprovalStatus="PendingManualApproval"
    )
    assert code == "ValidationException"
    assert message.endswith("can't change from Rejected to PendingManualApproval; allowed: Approved.")


def test_an_update_with_a_client_token_happens_once(
    sagemaker: Any, group: str, unique: Callable[[str], str]
) -> None:
    arn = sagemaker.create_model_package(ModelPackageGroupName=group)["ModelPackageArn"]
    once = {"ModelPackageArn": arn, "ModelApprovalStatus": "Approved", "ClientToken": unique("token")}
    sagemaker.update_model_package(**once)
    sagemaker.update_model_package(ModelPackageArn=arn, ModelApprovalStatus="Rejected")
    sagemaker.update_model_package(**once)
    assert sagemaker.describe_model_package(ModelPackageName=arn)["ModelApprovalStatus"] == "Rejected"
    other = {**once, "ModelApprovalStatus": "Rejected"}
    assert refusal(sagemaker.update_model_package, **other)[0] == "ConflictException"


def test_an_arn_means_only_what_it_says(local_sagemaker: Any, sagemaker: Any, group: str) -> None:
    arn = sagemaker.create_model_package(ModelPackageGroupName=group)["ModelPackageArn"]
    foreign = arn.replace("123456789012", "210987654321")
    assert refusal(sagemaker.describe_model_package, ModelPackageName=foreign)[1] == (
        f"ModelPackage {foreign} does not exist."
    )
    elsewhere = local_sagemaker.client("sagemaker", "eu-west-1")
    assert refusal(elsewhere.describe_model_package, ModelPackageName=arn)[1] == (
        "ARN should be scoped to correct region: eu-west-1"
    )
    for unknown in (foreign, arn.replace("us-east-1", "eu-west-1"), arn.replace(group, "client-token")):
        code, message = refusal(sagemaker.list_tags, ResourceArn=unknown)
        assert (code, message) == ("ValidationException", f'Could not find model package "{unknown}".')


def test_packages_are_found_by_the_name_of_their_group(sagemaker: Any, group: str) -> None:
    sagemaker.create_model_package(ModelPackageGroupName=group)
    request = {"ModelPackageGroupName": group, "NameContains": group[-8:]}
    assert len(sagemaker.list_model_packages(**request)["ModelPackageSummaryList"]) == 1
    request["NameContains"] = "000000001"
    assert sagemaker.list_model_packages(**request)["ModelPackageSummaryList"] == []


def test_packages_are_described_together_and_those_that_are_missing_are_named(
    sagemaker: Any, group: str
) -> None:
    arns = [
        sagemaker.create_model_package(
            ModelPackageGroupName=group, InferenceSpecification=SPECIFICATION, ModelPackageDescription=text
        )["ModelPackageArn"]
        for text in ("first", "second")
    ]
    gone = arns[0].removesuffix("/1") + "/9"
    answer = sagemaker.batch_describe_model_package(ModelPackageArnList=[*arns, gone])
    described = {
        arn: each["ModelPackageDescription"] for arn, each in answer["ModelPackageSummaries"].items()
    }
    assert described == dict(zip(arns, ("first", "second"), strict=True))
    assert answer["ModelPackageSummaries"][arns[1]]["ModelPackageVersion"] == 2
    assert answer["BatchDescribeModelPackageErrorMap"] == {
        gone: {"ErrorCode": "ValidationException", "ErrorResponse": f"ModelPackage {gone} does not exist."}
    }


def test_a_group_has_a_policy_until_it_is_taken_away(sagemaker: Any, group: str) -> None:
    policy = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "*"}]}'
    arn = sagemaker.put_model_package_group_policy(ModelPackageGroupName=group, ResourcePolicy=policy)
    assert arn["ModelPackageGroupArn"].endswith(f":model-package-group/{group}")
    assert sagemaker.get_model_package_group_policy(ModelPackageGroupName=group)["ResourcePolicy"] == policy
    put, broken = sagemaker.put_model_package_group_policy, "[" * 9000
    for text in (broken, "no JSON", '{"Version": "2012-10-17"}', '"Statement"'):
        assert refusal(put, ModelPackageGroupName=group, ResourcePolicy=text)[0] == "ValidationException"
    sagemaker.delete_model_package_group_policy(ModelPackageGroupName=group)
    said = refusal(sagemaker.get_model_package_group_policy, ModelPackageGroupName=group)
    assert said[0] == "ValidationException"
    assert "has no resource policy" in said[1]
