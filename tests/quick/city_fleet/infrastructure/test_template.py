"""A fleet's CloudFormation template: as it was agreed, and closed to the world.

``make golden`` writes the golden files anew; look at the difference before you commit it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from city_fleet import traffic_rules
from city_fleet.config import Fleet, load_fleet
from city_fleet.config.traffic_section import Capture
from city_fleet.infrastructure import access, template
from city_fleet.infrastructure.alarms import quiet_days
from city_fleet.infrastructure.names import StackNames
from city_fleet.prediction import openapi
from city_fleet.state.forecast_table import COLUMNS
from tests.support.fleets import SMALL, texas
from tests.support.paths import ROOT
from tests.support.private_fleets import private, with_long_names

GOLDEN = ROOT / "tests" / "golden" / "templates"
SAMPLES = ("flights", "house_sales", "restaurants", "texas_housing")


def sample(name: str) -> Fleet:
    return load_fleet(ROOT / "include" / "fleets" / f"{name}.yaml", {})


def fleets() -> dict[str, Fleet]:
    return {
        **{name: sample(name) for name in SAMPLES},
        "private": private(),
        "long_names": with_long_names(),
    }


def resources(fleet: Fleet, kind: str = "") -> dict[str, dict[str, Any]]:
    found = template.template(fleet)["Resources"]
    return {name: each for name, each in found.items() if not kind or each["Type"] == kind}


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, child in value.items():
            yield str(key)
            yield from texts(child)
    elif isinstance(value, list):
        for child in value:
            yield from texts(child)
    elif isinstance(value, str):
        yield value


@pytest.mark.parametrize("name", ["texas_housing", "private"])
def test_the_template_is_as_it_was_agreed(name: str) -> None:
    text = json.dumps(template.template(fleets()[name]), indent=1) + "\n"
    path = GOLDEN / f"{name}.json"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert path.read_text() == text, (
        f"{path} is not what is deployed; if the change is meant, run make golden"
    )


def test_a_template_follows_from_its_fleet_alone() -> None:
    assert template.template(sample("flights")) == template.template(sample("flights"))
    text = json.dumps(template.template(texas()))
    assert template.template(texas()) == json.loads(text)
    # Two installations of an account meet in no name.
    other = texas().model_copy(update={"environment": "production"})
    both = [
        {each for each in texts(resources(fleet)) if each.startswith(StackNames(fleet).of(""))}
        for fleet in (texas(), other)
    ]
    assert both[0]
    assert not both[0] & both[1]


def test_names_stay_within_what_services_allow() -> None:
    fleet = fleets()["long_names"]
    for kind, member, most in (
        ("AWS::IAM::Role", "RoleName", 64),
        ("AWS::SQS::Queue", "QueueName", 80),
        ("AWS::Lambda::Function", "FunctionName", 64),
        ("AWS::Events::Rule", "Name", 64),
    ):
        names = [each["Properties"][member] for each in resources(fleet, kind).values()]
        assert names
        assert all(len(name) <= most for name in names), names
        assert len(set(names)) == len(names)
    assert re.fullmatch(r"[a-zA-Z][-a-zA-Z0-9]{0,127}", StackNames(fleet).stack)


def test_a_queue_is_called_as_docs_events_say() -> None:
    assert StackNames(texas()).of("arrivals") == "texas-housing--laptop--arrivals"


def test_the_predict_function_may_write_only_where_predictions_are_kept() -> None:
    fleet = sample("texas_housing")
    keeping = fleet.model_copy(
        update={"capture": Capture(share=0.1, mask=("median",), cities=("austin",), keep_days=7)}
    )
    for each in (fleet, keeping):
        made = resources(each)
        statements = made["PredictRole"]["Properties"]["Policies"][0]["PolicyDocument"]["Statement"]
        writes = {text for statement in statements for text in texts(statement["Action"]) if "Put" in text}
        variables = made["PredictFunction"]["Properties"]["Environment"]["Variables"]
        assert ("s3:PutObject" in writes) == (each is keeping)
        assert ("kms:GenerateDataKey" in json.dumps(statements)) == (each is keeping)
        assert (traffic_rules.CAPTURE in variables) == (each is keeping)
        assert variables[traffic_rules.METRICS] == traffic_rules.EMBEDDED
    rule = traffic_rules.parse_capture(variables[traffic_rules.CAPTURE])
    assert rule == traffic_rules.CaptureRule(
        share=0.1, mask=("median",), mask_answers=True, cities=("austin",)
    )
    rules = resources(keeping)["Bucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    (of_capture,) = [each for each in rules if each["Id"] == "capture"]
    assert (of_capture["Prefix"], of_capture["ExpirationInDays"]) == ("texas_housing/laptop/capture/", 7)


def test_what_holds_data_stays_when_the_stack_goes() -> None:
    kept = {name for name, each in resources(texas()).items() if each.get("DeletionPolicy") == "Retain"}
    assert {"Bucket", "BucketPolicy", "Key", "Role", "PredictLog", "RetrainLog", "ApiLog"} == kept
    for name in kept:
        assert resources(texas())[name]["UpdateReplacePolicy"] == "Retain"


@pytest.mark.parametrize("name", fleets())
def test_nothing_is_open_to_the_world(name: str) -> None:
    fleet = fleets()[name]
    bucket = resources(fleet, "AWS::S3::Bucket")["Bucket"]["Properties"]
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["VersioningConfiguration"] == {"Status": "Enabled"}
    (encryption,) = bucket["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert encryption["ServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
    for each in resources(fleet).values():
        for statement in statements(each):
            principal = statement.get("Principal")
            conditions = statement.get("Condition", {})
            if principal in ("*", {"AWS": "*"}):
                assert statement["Effect"] == "Deny"
            elif isinstance(principal, dict) and statement.get("Action") == "sts:AssumeRole":
                assert conditions or "AWS" in principal or principal == {"Service": "lambda.amazonaws.com"}
            elif isinstance(principal, dict) and "Service" in principal:
                # EventBridge sends KMS no source: see storage.py.
                assert conditions or statement["Sid"] == "EventsGoThroughItsTopic", statement["Sid"]
            if each["Type"] == "AWS::KMS::Key":
                continue  # "*" in a key's policy is the key
            actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
            if statement["Effect"] == "Allow":
                assert not [action for action in actions if "*" in action], statement["Sid"]
    routes = [each["Properties"] for each in resources(fleet, "AWS::ApiGatewayV2::Route").values()]
    documented = {
        f"{method.upper()} {path}"
        for path, methods in openapi.document()["paths"].items()
        for method in methods
    }
    assert {route["RouteKey"] for route in routes} == documented | {"GET /openapi.json"}
    assert {route["AuthorizationType"] for route in routes} == {"AWS_IAM"}
    for log in resources(fleet, "AWS::Logs::LogGroup").values():
        assert log["Properties"]["RetentionInDays"] > 0
    for queue in resources(fleet, "AWS::SQS::Queue").values():
        assert queue["Properties"]["SqsManagedSseEnabled"] is True
    for topic in resources(fleet, "AWS::SNS::Topic").values():
        assert topic["Properties"]["KmsMasterKeyId"]
    assert not [text for text in texts(template.template(fleet)) if re.search(r"(?i)password|secret=", text)]


def statements(each: dict[str, Any]) -> Iterator[dict[str, Any]]:
    properties = each["Properties"]
    documents = [properties.get(name) for name in ("PolicyDocument", "KeyPolicy", "AssumeRolePolicyDocument")]
    documents += [policy["PolicyDocument"] for policy in properties.get("Policies", ())]
    for document in documents:
        for found in document["Statement"] if document else ():
            # One that stands under a condition is looked at all the same.
            yield next(one for one in found["Fn::If"][1:] if "Sid" in one) if "Fn::If" in found else found


def test_every_alarm_speaks_to_the_topic_and_says_what_is_wrong() -> None:
    alarms = resources(texas(), "AWS::CloudWatch::Alarm")
    assert {"EndpointCache", "EndpointErrors", "PredictErrors", "ArrivalsLost"} <= set(alarms)
    for name, alarm in alarms.items():
        settings = alarm["Properties"]
        assert settings["AlarmActions"] == [{"Ref": "AlarmTopic"}]
        assert settings["AlarmDescription"].endswith("."), name
        # What CloudWatch looks back at most.
        window = settings["Period"] * settings["EvaluationPeriods"]
        assert window <= (604_800 if settings["Period"] >= 3600 else 86_400), name


@pytest.mark.parametrize(
    ("schedule", "days"),
    [("@hourly", 3), ("@daily", 3), ("0 6 * * 1-5", 7), ("@weekly", None), ("@monthly", None), (None, None)],
)
def test_silence_is_an_alarm_where_cloudwatch_can_look_back_far_enough(
    schedule: str | None, days: int | None
) -> None:
    fleet = texas()
    cities = {name: city.model_copy(update={"schedule": schedule}) for name, city in fleet.cities.items()}
    fleet = fleet.model_copy(update={"cities": cities})
    assert quiet_days(fleet) == days
    assert ("NothingMoves" in resources(fleet)) == (days is not None)


def test_only_a_private_fleet_gets_the_rights_of_one() -> None:
    def actions(fleet: Fleet) -> set[str]:
        return {
            action
            for statement in statements(resources(fleet)["RolePolicy"])
            for action in (
                [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
            )
        }

    more = actions(private()) - actions(texas())
    assert {"kms:CreateGrant", "ec2:CreateNetworkInterface"} <= more
    assert all(action.startswith(("kms:", "ec2:")) for action in more)


def test_airflow_may_read_the_one_object_that_the_list_of_cities_comes_from(tmp_path: Path) -> None:
    (tmp_path / "cities.csv").write_text("city\na\n", encoding="utf-8")
    more = "city_list: {source: 's3://lake/exports/cities.parquet'}\ncities: {from: cities.csv}\n"
    (tmp_path / "small.yaml").write_text(SMALL + more, encoding="utf-8")
    names = StackNames(load_fleet(tmp_path / "small.yaml", {}))
    mine = {each["Sid"]: each for each in access.airflow_statements(names) if "Sid" in each}
    assert mine["ReadListOfCities"]["Action"] == "s3:GetObject"
    assert mine["ReadListOfCities"]["Resource"] == [
        {"Fn::Sub": "arn:${AWS::Partition}:s3:::lake/exports/cities.parquet"}
    ]
    assert "ReadListOfCities" not in {each.get("Sid") for each in access.role_statements(names)}
    assert not [
        each
        for each in access.airflow_statements(StackNames(texas()))
        if each.get("Sid") == "ReadListOfCities"
    ]


def test_the_catalog_finds_every_night_where_the_table_is_written(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(
        SMALL + "forecasts: {catalog: true}\ncities: {a: }\n", encoding="utf-8"
    )
    fleet = load_fleet(tmp_path / "small.yaml", {})
    made = template.template(fleet)
    (database,) = resources(fleet, "AWS::Glue::Database").values()
    (table,) = resources(fleet, "AWS::Glue::Table").values()
    assert database["Properties"]["DatabaseInput"]["Name"] == "small__laptop"
    described = table["Properties"]["TableInput"]
    place = described["StorageDescriptor"]["Location"]
    # As Athena makes the place of a partition of its name and value.
    assert fleet.keys.uri(fleet.keys.forecasts("2014-01-01")).startswith(f"{place}night=2014-01-01/")
    assert [each["Name"] for each in described["PartitionKeys"]] == ["night"]
    assert described["Parameters"]["projection.night.range"] == "2020-01-01,NOW"
    names = [each["Name"] for each in described["StorageDescriptor"]["Columns"]]
    assert names == [each.name for each in COLUMNS]
    assert all(len(each["Comment"]) <= 255 for each in described["StorageDescriptor"]["Columns"])
    # Who reads the table may find exactly this one.
    statements_ = made["Resources"]["AnalystPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    arns = json.dumps([each["Resource"] for each in statements_ if "glue:GetTable" in each["Action"]])
    assert f"database/{database['Properties']['DatabaseInput']['Name']}" in arns
    assert f"table/small__laptop/{described['Name']}" in arns
    assert "AnalystPolicyArn" in made["Outputs"]
    assert not resources(texas(), "AWS::Glue::Table")
    assert "AnalystPolicyArn" not in template.template(texas())["Outputs"]


@pytest.mark.parametrize("name", fleets())
def test_the_dashboard_shows_what_the_template_makes(name: str) -> None:
    fleet = fleets()[name]
    made = resources(fleet)
    body = json.loads(made["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"])
    (alarms, *graphs) = body["widgets"]
    member = {
        "FunctionName": "FunctionName",
        "QueueName": "QueueName",
        "RuleName": "Name",
        "AlarmName": "AlarmName",
    }
    named = [each["Properties"].get(key) for each in made.values() for key in member.values()]
    called = {name for name in named if isinstance(name, str)}
    shown = [arn.rsplit(":alarm:", 1)[1] for arn in alarms["properties"]["alarms"]]
    for graph in graphs:
        for _, _, *more in graph["properties"]["metrics"]:
            assert set(more[-1]) == {"stat"}
            dimensions = dict(zip(more[:-1:2], more[1:-1:2], strict=True))
            shown += [value for key, value in dimensions.items() if key in member]
    assert shown
    assert set(shown) <= called
    places = {(each["x"], each["y"]) for each in body["widgets"]}
    assert len(places) == len(body["widgets"])
    # The only words for CloudFormation to fill in: another one would be a reference to a resource.
    words = set(re.findall(r"\$\{([^}]+)\}", made["Dashboard"]["Properties"]["DashboardBody"]["Fn::Sub"]))
    assert words == {"AWS::Region", "AWS::Partition", "AWS::AccountId"}
