"""The pages that Airflow's links lead to: what a person sees of a job, and what other people's pages do not get."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.support.aws_names import IMAGE_URI, ROLE

PAGES = "/_local/pages"
HOSTILE = '<script>alert(1)</script> "&amp;'
#: What a browser says when somebody clicks a link on a page of another port, and on one of the server's own.
CLICKED = {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}


class Browser:
    """Follows links as a person does."""

    def __init__(self, server: Any) -> None:
        self.server = server

    def get(self, path: str, **headers: str) -> httpx.Response:
        fields = {**CLICKED, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return httpx.get(f"{self.server.url}{path}", headers=fields, trust_env=False)

    def links(self, answer: httpx.Response) -> dict[str, str]:
        found = re.findall(r'<a href="([^"]*)">(.*?)</a>', answer.text)
        return {html.unescape(text): html.unescape(href) for href, text in found}

    def click(self, answer: httpx.Response, text: str) -> httpx.Response:
        return self.get(self.links(answer)[text])


@pytest.fixture
def browser(local_sagemaker: Any) -> Browser:
    return Browser(local_sagemaker)


@pytest.fixture
def job(local_sagemaker: Any, bucket: str, unique: Callable[[str], str], wait_until: Any) -> str:
    """A job that is over and has written a line that looks like HTML, to its log and to S3."""
    name, client = unique("page"), local_sagemaker.client("sagemaker")
    script = (
        "import pathlib, sys\nfolder = pathlib.Path(sys.argv[1])\nfolder.mkdir(parents=True, exist_ok=True)\n"
        f"(folder / 'a b.json').write_text('{{}}')\nprint({HOSTILE!r})\n"
    )
    local_sagemaker.client("s3").put_object(Bucket=bucket, Key=f"{name}/code/run.py", Body=script.encode())
    client.create_processing_job(
        ProcessingJobName=name,
        ProcessingInputs=[
            {
                "InputName": "code",
                "S3Input": {
                    "S3Uri": f"s3://{bucket}/{name}/code/run.py",
                    "LocalPath": "/opt/ml/processing/input/code",
                    "S3DataType": "S3Prefix",
                    "S3InputMode": "File",
                },
            }
        ],
        ProcessingOutputConfig={
            "Outputs": [
                {
                    "OutputName": "report",
                    "S3Output": {
                        "S3Uri": f"s3://{bucket}/{name}/out/",
                        "LocalPath": "/opt/ml/processing/output/report",
                        "S3UploadMode": "EndOfJob",
                    },
                }
            ]
        },
        ProcessingResources={
            "ClusterConfig": {"InstanceCount": 1, "InstanceType": "ml.m5.large", "VolumeSizeInGB": 10}
        },
        AppSpecification={
            "ImageUri": IMAGE_URI,
            "ContainerEntrypoint": ["python3", "/opt/ml/processing/input/code/run.py"],
            "ContainerArguments": ["/opt/ml/processing/output/report"],
        },
        Environment={"MARK": HOSTILE},
        RoleArn=ROLE,
    )
    wait_until(
        lambda: client.describe_processing_job(ProcessingJobName=name)["ProcessingJobStatus"] != "InProgress",
        60,
        "the job has ended",
    )
    return name


def test_a_person_goes_from_a_job_to_its_log_and_its_output(browser: Browser, job: str, bucket: str) -> None:
    page = browser.get(f"{PAGES}/processing-job/{job}")
    assert page.status_code == 200
    assert '"ProcessingJobStatus": "Completed"' in html.unescape(page.text)
    assert "_tags" not in page.text
    assert "_region" not in page.text

    log = browser.click(page, "log")
    assert html.escape(HOSTILE) in log.text

    folder = browser.click(page, f"s3://{bucket}/{job}/out/")
    file = browser.click(folder, "a b.json")
    assert f"<h1>s3://{bucket}/{job}/out/a b.json</h1>" in file.text
    assert "<pre>{}</pre>" in file.text
    assert browser.click(file, "the folder above").text == folder.text

    everything = browser.click(page, "all jobs")
    assert browser.click(everything, f"processing-job {job}").text == page.text
    for answer in (page, log, folder, file, everything):
        assert "<script" not in answer.text
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")


def test_a_model_package_and_what_is_no_text(
    browser: Browser, local_sagemaker: Any, bucket: str, unique: Callable[[str], str]
) -> None:
    group, sagemaker, s3 = unique("group"), local_sagemaker.client("sagemaker"), local_sagemaker.client("s3")
    sagemaker.create_model_package_group(ModelPackageGroupName=group)
    url = f"s3://{bucket}/models/1.tar.gz"
    arn = sagemaker.create_model_package(
        ModelPackageGroupName=group,
        InferenceSpecification={
            "Containers": [{"Image": "sagemaker-xgboost:3.2-0", "ModelDataUrl": url}],
            "SupportedContentTypes": ["text/csv"],
            "SupportedResponseMIMETypes": ["text/csv"],
        },
    )["ModelPackageArn"]
    page = browser.get(f"{PAGES}/model-package/{arn.partition(':model-package/')[2]}")
    assert f'"ModelPackageArn": "{arn}"' in html.unescape(page.text)

    missing = browser.click(page, url)
    assert missing.status_code == 404
    s3.put_object(Bucket=bucket, Key="models/1.tar.gz", Body=b"\x1f\x8b\x00\xff" * 10)
    assert "40 bytes that are no text" in browser.click(page, url).text
    s3.put_object(Bucket=bucket, Key="large.csv", Body="é,1\n".encode() * 200_000)
    large = browser.get(f"{PAGES}/s3/{bucket}/large.csv")
    assert "the first 524,288 of 1,000,000 bytes" in large.text
    hostile = "\"><img src=x onerror='alert(1)'> &amp;"
    s3.put_object(Bucket=bucket, Key=f"odd/{hostile}", Body=hostile.encode())
    folder = browser.get(f"{PAGES}/s3/{bucket}/odd/")
    assert "<img" not in folder.text
    assert "<img" not in browser.click(folder, hostile).text


def test_an_endpoint_is_shown_as_it_is_described(
    browser: Browser, local_sagemaker: Any, bucket: str, unique: Callable[[str], str]
) -> None:
    name, sagemaker = unique("endpoint"), local_sagemaker.client("sagemaker")
    local_sagemaker.client("s3").put_object(Bucket=bucket, Key="model.tar.gz", Body=b"no model")
    script = {"SAGEMAKER_PROGRAM": "inference.py", "SAGEMAKER_SUBMIT_DIRECTORY": f"s3://{bucket}/code.tar.gz"}
    container = {"Image": IMAGE_URI, "ModelDataUrl": f"s3://{bucket}/model.tar.gz", "Environment": script}
    sagemaker.create_model(ModelName=name, ExecutionRoleArn=ROLE, PrimaryContainer=container)
    variant = {
        "VariantName": "all",
        "ModelName": name,
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 1,
    }
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    page = browser.click(browser.get(PAGES), f"endpoint {name}")
    assert page.status_code == 200
    assert f'"EndpointName": "{name}"' in html.unescape(page.text)
    assert '"EndpointStatus"' in html.unescape(page.text)
    assert "_region" not in page.text


@pytest.mark.parametrize(
    "path",
    [
        "/endpoint/none", "/endpoint-config/none", "/processing-job/none", "/training-job/none/log",
        "/model-package/none/1", "/none/x", "/s3/no-such-bucket/", "/s3/", "/s3//", "/s3/NO_BUCKET/x",
        "/model-package-group/x", "/client-token/x", "/processing-job/<b>",
        "/s3/no-such-bucket/../../etc/passwd", "/processing-job/%00",
    ],
)  # fmt: skip
def test_what_is_not_there_is_said(browser: Browser, path: str) -> None:
    answer = browser.get(f"{PAGES}{path}")
    assert answer.status_code == 404
    assert "<b>" not in answer.text


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        # A page that is fetched, framed, embedded, or asked for by a form or a script.
        ("GET", PAGES, {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}),
        ("GET", PAGES, {"Sec-Fetch-Dest": "iframe"}),
        ("GET", PAGES, {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}),
        ("GET", PAGES, {"Origin": "http://evil.example"}),
        ("POST", PAGES, {}),
        # Under a name that was made to lead here.
        ("GET", PAGES, {"Host": "evil.example"}),
        # What is no page.
        ("GET", "/_local/health", {}),
        ("GET", "/_local/pagesx", {}),
        ("GET", "/bucket/key", {}),
        ("GET", "/_local/faults", {}),
    ],
)
def test_another_page_reads_and_frames_nothing(
    local_sagemaker: Any, method: str, path: str, headers: dict[str, str]
) -> None:
    fields = {**CLICKED, "Sec-Fetch-Site": "cross-site", **headers}
    answer = httpx.request(method, f"{local_sagemaker.url}{path}", headers=fields, trust_env=False)
    assert answer.status_code == 403, answer.text


def test_pages_are_only_read(local_sagemaker: Any) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert httpx.request(method, f"{local_sagemaker.url}{PAGES}", trust_env=False).status_code == 405
    assert httpx.head(f"{local_sagemaker.url}{PAGES}", trust_env=False).status_code == 200
    answer = httpx.get(f"{local_sagemaker.url}{PAGES}", trust_env=False)
    assert answer.status_code == 200  # curl is no browser
    for name, value in {"x-frame-options": "DENY", "cross-origin-opener-policy": "same-origin"}.items():
        assert answer.headers[name] == value
