"""Where a task's links lead: the console of the partition and region in which the task has worked, or the stand-in."""

from __future__ import annotations

from typing import Any

import boto3
import pytest

from city_fleet.jobs.sagemaker_jobs import PROCESSING, TRAINING
from city_fleet.orchestration.console_pages import say_made
from city_fleet.views.consoles import ConsolePages

ARN = "arn:aws:sagemaker:eu-west-1:123456789012:model-package/small--prod--a/3"


def client(region: str, **settings: Any) -> Any:
    return boto3.client(
        "sagemaker", region_name=region, aws_access_key_id="x", aws_secret_access_key="x", **settings
    )


def pages(region: str, **settings: Any) -> ConsolePages:
    return ConsolePages.of(client(region, **settings))


def test_on_aws_links_lead_to_the_consoles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    aws = pages("eu-west-1")
    console = "https://console.aws.amazon.com"
    assert aws.job(PROCESSING, "j-1") == f"{console}/sagemaker/home?region=eu-west-1#/processing-jobs/j-1"
    assert aws.job(TRAINING, "j-1") == f"{console}/sagemaker/home?region=eu-west-1#/jobs/j-1"
    assert aws.log(TRAINING, "j-1") == (
        f"{console}/cloudwatch/home?region=eu-west-1#logsV2:log-groups/log-group/"
        "$252Faws$252Fsagemaker$252FTrainingJobs$3FlogStreamNameFilter$3Dj-1"
    )
    assert aws.package(ARN) == (
        f"{console}/go/view?arn=arn%3Aaws%3Asagemaker%3Aeu-west-1%3A123456789012%3Amodel-package%2Fsmall--prod--a%2F3"
    )
    assert aws.shared_endpoint("e-1") == f"{console}/sagemaker/home?region=eu-west-1#/endpoints/e-1"
    assert aws.s3("s3://lake/a b/city=x/") == (
        f"{console}/s3/buckets/lake?region=eu-west-1&prefix=a%20b%2Fcity%3Dx%2F"
    )
    assert aws.s3("s3://lake/live.json") == f"{console}/s3/object/lake?region=eu-west-1&prefix=live.json"


@pytest.mark.parametrize(
    ("region", "settings", "begins"),
    [
        ("us-gov-west-1", {}, "https://console.amazonaws-us-gov.com/sagemaker/home?region=us-gov-west-1#/"),
        ("cn-north-1", {}, "https://console.amazonaws.cn/sagemaker/home?region=cn-north-1#/"),
        # An endpoint of a VPC, of FIPS and of both protocols is AWS's too.
        (
            "us-east-1",
            {"endpoint_url": "https://vpce-1a2b.api.sagemaker.us-east-1.vpce.amazonaws.com"},
            "https://console.aws.amazon.com/sagemaker/home?region=us-east-1#/",
        ),
        ("us-east-1", {"use_ssl": True}, "https://console.aws.amazon.com/sagemaker/home?region=us-east-1#/"),
        # No console that anybody can say the address of.
        ("us-iso-east-1", {"endpoint_url": "https://api.sagemaker.us-iso-east-1.amazonaws.com"}, ""),
        ("us-east-1", {"endpoint_url": "http://127.0.0.1:8585/"}, "http://127.0.0.1:8585/_local/pages/training-job/j"),
        (
            "us-east-1",
            {"endpoint_url": "http://amazonaws.com.evil.example"},
            "http://amazonaws.com.evil.example/_local/pages/",
        ),
    ],
)  # fmt: skip
def test_the_client_says_where_the_pages_are(
    region: str, settings: dict[str, Any], begins: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    found = pages(region, **settings).job(TRAINING, "j")
    assert found.startswith(begins)
    assert bool(found) == bool(begins)


def test_a_variable_makes_it_the_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a laptop (docs/local.md)."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:8585")
    local, begin = pages("us-east-1"), "http://127.0.0.1:8585/_local/pages"
    monkeypatch.setenv("AWS_ENDPOINT_URL", "https://ann:secret@proxy.example:8443/aws/")
    assert (
        pages("us-east-1").job(TRAINING, "j") == "https://proxy.example:8443/aws/_local/pages/training-job/j"
    )
    assert local.log(PROCESSING, "j") == f"{begin}/processing-job/j/log"
    assert local.package(ARN) == f"{begin}/model-package/small--prod--a/3"
    assert local.shared_endpoint("small--prod") == f"{begin}/endpoint/small--prod"
    assert local.s3("s3://lake/a b/city=x/") == f"{begin}/s3/lake/a%20b/city%3Dx/"


def test_a_link_that_cannot_be_told_fails_no_task(caplog: pytest.LogCaptureFixture) -> None:
    class Airflow:
        def xcom_push(self, **_: Any) -> None:
            raise ConnectionError("the API server is away")

    context: Any = {"ti": Airflow()}
    say_made(context, client("us-east-1"), output="s3://lake/x")
    assert "can't be told where this is shown (package, output): the API server is away" in caplog.text
