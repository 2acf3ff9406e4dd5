"""What CloudFormation answers and moto does not: states that pass, changes that are refused, creations that fail.

botocore's Stubber holds every answer against the service's own model.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.stub import ANY, Stubber

from city_fleet.errors import Busy, PlatformError
from city_fleet.infrastructure.change_set import Change, ChangeSet, Stacks
from city_fleet.infrastructure.deployment import knows_airflow

NAME, NOW = "small--laptop", datetime(2026, 1, 1, tzinfo=UTC)
BODY = json.dumps({"Parameters": {"AlarmEmail": {}, "KeyArn": {}, "New": {}}})
NOT_THERE = {
    "service_error_code": "ValidationError",
    "service_message": f"Stack with id {NAME} does not exist",
}


class Cloud:
    """CloudFormation, of which each answer is given in the order of the requests."""

    def __init__(self) -> None:
        self.client = boto3.client(
            "cloudformation", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="y"
        )
        self.stub = Stubber(self.client)
        self.stub.activate()
        self.stacks = Stacks(self.client, poll_seconds=0)

    def stack(self, status: str, **more: Any) -> None:
        found = {"StackName": NAME, "StackStatus": status, "CreationTime": NOW, **more}
        self.stub.add_response("describe_stacks", {"Stacks": [found]}, {"StackName": NAME})

    def no_stack(self) -> None:
        self.stub.add_client_error("describe_stacks", **NOT_THERE)

    def change_set(self, status: str, reason: str = "", *changes: dict[str, Any], token: str = "") -> None:
        answer: dict[str, Any] = {"Status": status, "StatusReason": reason, "Changes": list(changes)}
        self.stub.add_response("describe_change_set", {**answer, **({"NextToken": token} if token else {})})

    def events(self, *events: tuple[str, str, str, str]) -> None:
        shown = [
            {
                "StackId": NAME, "StackName": NAME, "Timestamp": NOW, "EventId": each[0], "LogicalResourceId": each[1],
                "ResourceType": "AWS::S3::Bucket", "ResourceStatus": each[2], "ResourceStatusReason": each[3],
            }
            for each in events
        ]  # fmt: skip
        self.stub.add_response("describe_stack_events", {"StackEvents": shown})

    def prepare(self, **parameters: str) -> ChangeSet:
        return self.stacks.prepare(NAME, BODY, parameters, [])


@pytest.fixture
def cloud() -> Any:
    made = Cloud()
    yield made
    made.stub.assert_no_pending_responses()


def changed(action: str, resource: str, replacement: str = "False") -> dict[str, Any]:
    what = {"Action": action, "LogicalResourceId": resource, "ResourceType": "AWS::S3::Bucket"}
    return {"Type": "Resource", "ResourceChange": {**what, "Replacement": replacement}}


def test_an_update_keeps_what_is_not_said(cloud: Cloud) -> None:
    kept = [{"ParameterKey": key, "ParameterValue": "old"} for key in ("AlarmEmail", "KeyArn", "Gone")]
    cloud.stack("UPDATE_COMPLETE", Parameters=kept)
    cloud.stub.add_response(
        "create_change_set",
        {},
        {
            "StackName": NAME, "ChangeSetName": ANY, "ChangeSetType": "UPDATE", "TemplateBody": BODY, "Tags": [],
            "Capabilities": ["CAPABILITY_NAMED_IAM"],
            "Parameters": [
                {"ParameterKey": "AlarmEmail", "ParameterValue": "new"},
                {"ParameterKey": "KeyArn", "UsePreviousValue": True},
            ],
        },
    )  # fmt: skip
    cloud.change_set("CREATE_IN_PROGRESS")
    cloud.change_set("CREATE_COMPLETE")
    cloud.change_set("CREATE_COMPLETE", "", changed("Modify", "Queue", "True"), token="more")
    cloud.change_set("CREATE_COMPLETE", "", changed("Add", "Topic"))
    found = cloud.prepare(AlarmEmail="new")
    assert not found.creates
    assert found.changes == (
        Change("Add", "Topic", "AWS::S3::Bucket", "False"),
        Change("Modify", "Queue", "AWS::S3::Bucket", "True"),
    )


def test_nothing_to_change_leaves_no_change_set(cloud: Cloud) -> None:
    cloud.stack("CREATE_COMPLETE")
    cloud.stub.add_response("create_change_set", {})
    cloud.change_set(
        "FAILED", "The submitted information didn't contain changes. Submit different information."
    )
    cloud.stub.add_response("delete_change_set", {})
    assert cloud.prepare() == ChangeSet(NAME, "", False, ())


def test_a_refused_template_says_why_and_leaves_nothing(cloud: Cloud) -> None:
    cloud.no_stack()
    cloud.stub.add_response("create_change_set", {})
    cloud.change_set("FAILED", "Transform does not exist")
    cloud.stub.add_response("delete_change_set", {})
    cloud.stack("REVIEW_IN_PROGRESS")
    cloud.stub.add_response("delete_stack", {})
    with pytest.raises(PlatformError, match="refuses the change: Transform does not exist"):
        cloud.prepare()


@pytest.mark.parametrize(
    ("status", "error", "says"),
    [
        ("UPDATE_IN_PROGRESS", Busy, "somebody changes it right now"),
        ("ROLLBACK_COMPLETE", PlatformError, "aws cloudformation delete-stack --stack-name small--laptop"),
    ],
)
def test_a_stack_that_takes_no_change_is_not_asked(
    cloud: Cloud, status: str, error: type[PlatformError], says: str
) -> None:
    cloud.stack(status)
    with pytest.raises(error, match=says):
        cloud.prepare()


def test_a_failure_names_the_first_resource_that_failed_and_why(cloud: Cloud) -> None:
    old = ("0", "Topic", "CREATE_FAILED", "of the week before")
    cloud.events(old)
    cloud.stub.add_response("execute_change_set", {})
    cloud.stack("UPDATE_IN_PROGRESS")
    cloud.stack("UPDATE_ROLLBACK_IN_PROGRESS")
    cloud.stack("UPDATE_ROLLBACK_COMPLETE")
    cloud.stack("UPDATE_ROLLBACK_COMPLETE")
    cloud.events(  # the newest first, as CloudFormation has them
        ("4", NAME, "UPDATE_ROLLBACK_IN_PROGRESS", "The following resource(s) failed to create: [Bucket]."),
        ("3", "Bucket", "CREATE_FAILED", "small-data already exists"),
        ("2", "Queue", "CREATE_FAILED", "Resource creation cancelled"),
        ("1", "Queue", "CREATE_IN_PROGRESS", ""),
        old,
    )
    with pytest.raises(PlatformError) as failed:
        cloud.stacks.execute(ChangeSet(NAME, "c", False, ()), 60)
    assert str(failed.value) == (
        "stack small--laptop is UPDATE_ROLLBACK_COMPLETE: Bucket (AWS::S3::Bucket): small-data already exists"
    )


def test_a_success_gives_the_outputs(cloud: Cloud) -> None:
    cloud.events()
    cloud.stub.add_response("execute_change_set", {})
    cloud.stack("CREATE_IN_PROGRESS")
    outputs = [{"OutputKey": "RoleArn", "OutputValue": "arn"}]
    cloud.stack("CREATE_COMPLETE", Outputs=outputs)
    cloud.stack("CREATE_COMPLETE", Outputs=outputs)
    assert cloud.stacks.execute(ChangeSet(NAME, "c", True, ()), 60) == {"RoleArn": "arn"}


@pytest.mark.parametrize(
    ("kept", "given", "known"),
    [
        (None, {}, False),
        (None, {"MwaaEnvironment": "nightly"}, True),
        ({"AirflowUrl": "https://airflow", "MwaaEnvironment": ""}, {}, True),
        ({"AirflowUrl": "", "MwaaEnvironment": ""}, {}, False),
        ({"AirflowUrl": "https://airflow"}, {"AirflowUrl": ""}, False),
    ],
)
def test_a_function_that_would_not_know_where_airflow_is_is_left_out(
    kept: dict[str, str] | None, given: dict[str, str], known: bool
) -> None:
    parameters = [{"ParameterKey": key, "ParameterValue": value} for key, value in (kept or {}).items()]
    assert knows_airflow(None if kept is None else {"Parameters": parameters}, given) == known


def test_a_wait_has_an_end_and_says_that_cloudformation_goes_on(cloud: Cloud) -> None:
    cloud.events()
    cloud.stub.add_response("execute_change_set", {})
    cloud.stack("CREATE_IN_PROGRESS")
    with pytest.raises(PlatformError, match="is CREATE_IN_PROGRESS after 0 seconds"):
        cloud.stacks.execute(ChangeSet(NAME, "c", True, ()), 0)
