"""What the doctor says of a predict function that does not do what the fleet file says, by what AWS would answer."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import ClientError

from city_fleet import traffic_rules
from city_fleet.config import Fleet
from city_fleet.doctor import aws_checks, traffic_checks
from city_fleet.doctor.findings import Area, Finding, Level
from city_fleet.infrastructure.names import StackNames
from city_fleet.plan import predict_variables
from city_fleet.traffic_rules import CaptureRule
from tests.quick.city_fleet.doctor.test_account_checks import Account, account
from tests.support.fleets import texas

__all__ = ["account"]
AREA, NOW = Area("AWS, texas_housing"), datetime(2026, 11, 1, tzinfo=UTC)
NAME = StackNames(texas()).of("predict")


def fleet(*, metrics: dict[str, Any] | None = None, **capture: Any) -> Fleet:
    """Texas, which keeps and counts."""
    found = texas()
    return found.model_copy(
        update={
            "capture": found.capture.model_copy(update=capture),
            "metrics": found.metrics.model_copy(update=metrics or {}),
        }
    )


KEEPS = fleet(share=0.5, mask=("sales",), metrics={"cities": ("austin",)})


def look(account: Account, item: Fleet, variables: dict[str, str]) -> list[Finding]:
    answer = {"FunctionName": NAME, "Environment": {"Variables": variables}}
    account.answers("lambda", "get_function_configuration", answer, {"FunctionName": NAME})
    return list(traffic_checks.function(AREA, item, account.client("lambda")))


def test_a_function_that_does_what_the_fleet_file_says_is_well(account: Account) -> None:
    (found,) = look(account, KEEPS, predict_variables(KEEPS))
    assert found.level is Level.OK, found


def test_what_the_function_does_otherwise_is_said(account: Account, subtests: pytest.Subtests) -> None:
    good = predict_variables(KEEPS)
    rule = CaptureRule(share=0.5, mask=("sales",))
    cases: list[tuple[dict[str, str], Level, str]] = [
        ({traffic_rules.CAPTURE: ""}, Level.WARN, "keeps no predictions, the fleet file has capture.share 0.5"),
        ({traffic_rules.CAPTURE: CaptureRule(share=0.5).text()}, Level.FAIL, "keeps what the fleet file masks: sales"),
        ({traffic_rules.CAPTURE: CaptureRule(share=1, mask=rule.mask, flush_seconds=5).text()}, Level.WARN,
         "share 1 instead of 0.5; flush_seconds 5 instead of 60"),
        ({traffic_rules.CAPTURE: "{"}, Level.FAIL, "can't start: CITY_FLEET_CAPTURE: got '{'"),
        ({traffic_rules.METRICS: "off"}, Level.WARN, "counts no predictions, the fleet file wants it otherwise"),
        ({traffic_rules.METRICS_CITIES: "waco"}, Level.WARN, "metrics of its own for waco instead of austin"),
    ]  # fmt: skip
    for change, level, sentence in cases:
        with subtests.test(sentence):
            (found,) = look(account, KEEPS, good | change)
            assert (found.level, sentence in found.what) == (level, True), found
            assert found.advice == "./fleet deploy --fleet texas_housing"
    with subtests.test("a function of an earlier version, which has neither"):
        found_ = look(account, KEEPS, {"CITY_FLEET_BUCKET": "b"})
        assert [each.level for each in found_] == [Level.WARN] * 2
    with subtests.test("share is 0 again, and was not deployed"):
        (found,) = look(account, fleet(metrics={"cities": ("austin",)}), good)
        assert "keeps predictions (share 0.5), the fleet file has capture.share 0" in found.what


def test_no_function_is_said_with_what_nobody_does(account: Account) -> None:
    account.refuses("lambda", "get_function_configuration", "ResourceNotFoundException")
    (found,) = traffic_checks.function(AREA, KEEPS, account.client("lambda"))
    assert found.level is Level.WARN
    assert f"there is no function {NAME}" in found.what
    assert "capture.share and metrics.cities" in found.what
    account.refuses("lambda", "get_function_configuration", "AccessDeniedException")
    with pytest.raises(ClientError):
        list(traffic_checks.function(AREA, KEEPS, account.client("lambda")))


def test_a_bucket_that_refuses_is_seen(account: Account) -> None:
    def errors(*sums: float) -> list[Finding]:
        points = [{"Timestamp": NOW, "Sum": each} for each in sums]
        account.answers("cloudwatch", "get_metric_statistics", {"Datapoints": points})
        return list(traffic_checks.refused(AREA, KEEPS, account.client("cloudwatch"), NOW))

    assert errors() == errors(0.0) == []
    (found,) = errors(3, 4)
    assert (found.level, found.what[:9]) == (Level.FAIL, "7 writes ")
    assert f"/aws/lambda/{NAME}" in str(found.advice)
    uncounted = fleet(share=0.5, metrics={"enabled": False})
    assert list(traffic_checks.refused(AREA, uncounted, account.client("cloudwatch"), NOW)) == []


def denied(account: Account, services: list[str], service: str) -> Any:
    """Return the client of a service that refuses everything but to say who asks."""
    services.append(service)
    if service == "sts":
        return account.client("sts")
    raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, "Any")


def test_aws_is_asked_nothing_more_for_a_fleet_that_asks_for_nothing(account: Account) -> None:
    for item, asked in (
        (texas(), False),
        (KEEPS, True),
        (fleet(metrics={"enabled": False, "cities": ("austin",)}), False),
    ):
        services: list[str] = []
        account.answers(
            "sts",
            "get_caller_identity",
            {"Arn": "arn:aws:iam::123456789012:user/x", "Account": "123456789012"},
        )
        found = aws_checks.check(item, partial(denied, account, services))
        assert ({"lambda", "cloudwatch"} <= set(services)) is asked
        assert any("the predict function can't be looked at" in each.what for each in found) is asked
