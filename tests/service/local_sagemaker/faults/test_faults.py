"""A bad day on command: each kind of fault, as boto3 meets it."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import botocore.exceptions
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ReadTimeoutError
from hypothesis import given
from hypothesis import strategies as some

from local.sagemaker.faults.fault_specs import EVERYWHERE, MEMBERS, FaultError, read_plan
from tests.support.archives import archive
from tests.support.aws_names import IMAGE_URI, ROLE

ENDED = ("Completed", "Failed", "Stopped")
WAIT = "import time\nprint('waiting', flush=True)\ntime.sleep(600)\n"
INFERENCE = (
    "def model_fn(model_dir):\n    return open(model_dir + '/model.txt').read()\n"
    "def input_fn(body, content_type):\n    return body if isinstance(body, str) else body.decode()\n"
    "def predict_fn(data, model):\n    return model + data\n"
    "def output_fn(prediction, accept):\n    return prediction, accept\n"
)


class Faulty:
    """A server and its admin endpoint."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self.url = f"{server.url}/_local/faults"
        self.sagemaker = server.client("sagemaker")
        self.s3 = server.client("s3")

    def call(self, method: str, document: Any = None, path: str = "") -> httpx.Response:
        """Call the admin endpoint."""
        return httpx.request(method, self.url + path, json=document, trust_env=False)

    def set(self, *faults: dict[str, Any], seed: int = 0) -> list[dict[str, Any]]:
        """Turn these faults on, and no others."""
        answer = self.call("PUT", {"seed": seed, "faults": list(faults)})
        assert answer.status_code == 200, answer.text
        return list(answer.json()["faults"])

    def injected(self) -> list[int]:
        """How often each fault has struck."""
        return [fault["injected"] for fault in self.call("GET").json()["faults"]]

    def outcome(self, call: Callable[..., Any], **request: Any) -> str:
        """``ok``, or the code of the error a call ends with."""
        try:
            call(**request)
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return "ok"


@pytest.fixture(scope="module")
def faulty_server(tmp_path_factory: pytest.TempPathFactory, run_server: Any) -> Iterator[Any]:
    with run_server(tmp_path_factory.mktemp("faulty"), "--stop-grace-seconds", "1") as server:
        server.client("s3").create_bucket(Bucket="city-fleet")
        yield server


@pytest.fixture
def faulty(faulty_server: Any) -> Iterator[Faulty]:
    faulty = Faulty(faulty_server)
    faulty.call("DELETE")
    yield faulty
    faulty.call("DELETE")


def impatient(server: Any, service: str, attempts: int = 1) -> Any:
    """A client that waits a second for an answer."""
    config = Config(retries={"mode": "standard", "total_max_attempts": attempts}, proxies={}, read_timeout=1)
    return boto3.client(
        service,
        region_name="us-east-1",
        endpoint_url=server.url,
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=config,
    )


def train(faulty: Faulty, name: str, spot_seconds: int | None = None, script: str = WAIT) -> str:
    """Start a training job, on spot instances if it may wait for them."""
    # A key of its own: the job fetches its code when it starts, which is after this function returns.
    key = f"{name}/train.tar.gz"
    faulty.s3.put_object(Bucket="city-fleet", Key=key, Body=archive({"train.py": script.encode()}))
    condition = {"MaxRuntimeInSeconds": 600}
    if spot_seconds is not None:
        condition = {"MaxRuntimeInSeconds": spot_seconds, "MaxWaitTimeInSeconds": spot_seconds}
    faulty.sagemaker.create_training_job(
        TrainingJobName=name,
        AlgorithmSpecification={"TrainingImage": IMAGE_URI, "TrainingInputMode": "File"},
        RoleArn=ROLE,
        OutputDataConfig={"S3OutputPath": "s3://city-fleet/out"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5},
        StoppingCondition=condition,
        EnableManagedSpotTraining=spot_seconds is not None,
        HyperParameters={
            "sagemaker_program": '"train.py"',
            "sagemaker_submit_directory": f'"s3://city-fleet/{key}"',
        },
    )
    return name


def describe(faulty: Faulty, name: str) -> dict[str, Any]:
    """A training job."""
    return dict(faulty.sagemaker.describe_training_job(TrainingJobName=name))


def statuses(job: dict[str, Any]) -> list[str]:
    """Its secondary statuses, in order."""
    return [each["Status"] for each in job["SecondaryStatusTransitions"]]


# What is on


def test_faults_are_listed_added_replaced_and_removed(faulty: Faulty) -> None:
    assert faulty.call("GET").json() == {"seed": 0, "faults": []}
    first = faulty.call("POST", {"kind": "throttling", "operation": "Create*", "probability": 0.5}).json()
    assert first["faults"][0] | {"id": 0} == {
        "id": 0,
        "kind": "throttling",
        "operation": "Create*",
        "name": "*",
        "probability": 0.5,
        "count": None,
        "skip": 0,
        "window": {"start_seconds": 0.0, "end_seconds": None},
        "seen": 0,
        "injected": 0,
    }
    both = faulty.call("POST", [{"kind": "latency", "seconds": 0.1}]).json()["faults"]
    assert [fault["kind"] for fault in both] == ["throttling", "latency"]
    health = httpx.get(f"{faulty.server.url}/_local/health", trust_env=False).json()
    assert [text.partition(": ")[2] for text in health["faults"]] == [
        "throttling operation=Create* probability=0.5",
        "latency seconds=0.1",
    ]
    assert "throttling operation=Create* probability=0.5" in faulty.server.log.read_text()
    left = faulty.call("DELETE", path=f"/{both[0]['id']}").json()["faults"]
    assert [fault["kind"] for fault in left] == ["latency"]
    gone = faulty.call("DELETE", path=f"/{both[0]['id']}")
    assert (gone.status_code, "there is no fault" in gone.json()["error"]) == (404, True)
    assert (
        faulty.call("PUT", {"kind": "timeout", "operation": "ListActions"}).json()["faults"][0]["when"]
        == "before"
    )
    assert faulty.call("DELETE").json() == {"seed": 0, "faults": []}
    assert faulty.call("PATCH", {}).status_code == 405


def test_a_wrong_fault_is_explained_and_changes_nothing(faulty: Faulty, subtests: pytest.Subtests) -> None:
    for document, words in [
        ("throttling", "expected a JSON object, got 'throttling'"),
        ({"kind": "throtling"}, "Did you mean throttling?"),
        ({"kind": "throttling", "operations": "*"}, "unknown member 'operations'; allowed: operation, name"),
        ({"kind": "throttling", "probability": 2}, "probability: got 2; allowed: a number from 0 to 1"),
        ({"kind": "throttling", "count": True}, "count: got True; allowed: a whole number from 1"),
        ({"kind": "rate_limit"}, "rate_per_second is missing"),
        ({"kind": "latency", "distribution": "uniform", "low_seconds": 1}, "high_seconds is missing"),
        ({"kind": "latency", "seconds": 1, "sigma": 1}, "a distribution that is constant has no sigma"),
        ({"kind": "timeout", "when": "never"}, "when: got 'never'; allowed: before"),
        ({"kind": "job_crash", "operation": "*"}, "unknown member 'operation'"),
        ({"kind": "throttling", "window": {"start_seconds": 5, "end_seconds": 5}}, "is not after its start"),
        ({"seed": "x", "faults": []}, "seed: got 'x'; allowed: a whole number"),
        ({"faults": [{"kind": "timeout"}, {}]}, "fault 2, kind: got None"),
        ({"fault": []}, "unknown member 'fault'"),
        (
            {"kind": "throttling", "operation": "CreateTrainingJobs"},
            "operation: got 'CreateTrainingJobs'; no operation is called CreateTrainingJobs. Did you mean"
            " CreateTrainingJob?",
        ),
        (
            {"kind": "timeout", "operation": "s3:PutObjekt"},
            "no operation of s3 is called PutObjekt. Did you mean PutObject?",
        ),
        ({"kind": "timeout", "operation": "sagemaker:createmodel"}, "Did you mean CreateModel?"),
        (
            {"kind": "timeout", "operation": "sagemakr:*"},
            "is called sagemakr: sagemaker, sagemaker-runtime, s3, sqs",
        ),
        ({"kind": "capacity_error", "operation": "*"}, "unknown member 'operation'"),
    ]:
        with subtests.test(document=document):
            faulty.set({"kind": "throttling", "operation": "ListActions"})
            for method in ("POST", "PUT"):
                answer = faulty.call(method, document)
                assert answer.status_code == 400
                assert words in answer.json()["error"]
            assert [fault["kind"] for fault in faulty.call("GET").json()["faults"]] == ["throttling"]
            broken = httpx.post(faulty.url, content=b"{", trust_env=False)
            assert (broken.status_code, "the body is not JSON" in broken.json()["error"]) == (400, True)


@given(
    some.recursive(
        some.none() | some.booleans() | some.integers() | some.floats() | some.text(),
        lambda inner: (
            some.lists(inner) | some.dictionaries(some.sampled_from(["seed", "faults", "kind"]), inner)
        ),
    )
    | some.dictionaries(
        some.sampled_from(
            sorted({"kind", "window", "count", *(m for each in MEMBERS.values() for m in each)})
        ),
        some.sampled_from(sorted(MEMBERS))
        | some.integers()
        | some.floats()
        | some.none()
        | some.lists(some.none()),
    )
)
def test_nothing_but_a_sentence_is_said_of_any_document(document: Any) -> None:
    with contextlib.suppress(FaultError):
        for spec in read_plan(document)[1]:
            assert str(spec).startswith(spec.kind)
            assert read_plan(spec.to_json())[1] == [spec]


def test_web_pages_may_not_turn_faults_on(faulty: Faulty) -> None:
    page = {"Origin": "https://example.com"}
    assert httpx.put(faulty.url, json=[], headers=page, trust_env=False).status_code == 403


def test_a_file_turns_faults_on_at_the_start(tmp_path: Path, start_server: Callable[..., Any]) -> None:
    plan = tmp_path / "faults.json"
    plan.write_text('{"seed": 3, "faults": [{"kind": "throttling", "operation": "ListModels", "count": 1}]}')
    server = start_server("--faults", str(plan))
    assert (
        "Faults that are on (seed 3):\n  1: throttling operation=ListModels count=1\n"
        in server.log.read_text()
    )
    sagemaker = server.client("sagemaker")
    with pytest.raises(ClientError, match="ThrottlingException"):
        sagemaker.list_models()
    assert sagemaker.list_models()["Models"] == []
    plan.write_text('{"faults": [{"kind": "nonsense"}]}')
    with pytest.raises(AssertionError, match=r"--faults .*faults.json: fault 1, kind: got 'nonsense'"):
        start_server("--faults", str(plan))


def test_what_the_documentation_shows_is_understood_and_complete(faulty: Faulty) -> None:
    page = Path(__file__).resolve().parents[4] / "docs" / "internals" / "local-sagemaker.md"
    text = page.read_text(encoding="utf-8")
    chapter = text.partition("## A bad day on command")[2].partition("\n## ")[0]
    commands = re.findall(
        r"^curl (-X (?:PUT|POST) \"\$faults\" -d '.*?')$", chapter, re.MULTILINE | re.DOTALL
    )
    assert len(commands) == 3
    for command in commands:
        assert read_plan(json.loads(command.partition("-d '")[2].rstrip("'")))[1]
    example = chapter.partition("```python\n")[2].partition("```")[0]
    done = subprocess.run(
        [sys.executable, "-c", example],
        env=faulty.server.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert [fault["injected"] for fault in faulty.call("GET").json()["faults"]] == [0, 0, 0]
    for kind, members in MEMBERS.items():
        row = next(line for line in chapter.splitlines() if line.startswith(f"| `{kind}` |"))
        assert all(f"`{member}`" in row for member in members), kind
    for member in EVERYWHERE:
        assert f"\n| `{member}` |" in chapter


# Requests


@pytest.mark.parametrize(
    ("service", "call", "code", "status"),
    [
        ("sagemaker", "list_models", "ThrottlingException", 400),
        ("s3", "list_buckets", "SlowDown", 503),
        ("iam", "list_roles", "Throttling", 400),
        ("sts", "get_caller_identity", "Throttling", 400),
        ("logs", "describe_log_groups", "ThrottlingException", 400),
    ],
)
def test_throttling_as_each_service_has_it(
    faulty: Faulty, service: str, call: str, code: str, status: int
) -> None:
    faulty.set({"kind": "throttling", "operation": f"{service}:*"})
    with pytest.raises(ClientError) as caught:
        getattr(faulty.server.client(service), call)()
    response = caught.value.response
    assert response["Error"]["Code"] == code
    assert response["ResponseMetadata"]["HTTPStatusCode"] == status
    # boto3 takes it for what it is, and tries again.
    faulty.set({"kind": "throttling", "operation": f"{service}:*", "count": 1})
    getattr(impatient(faulty.server, service, attempts=2), call)()
    assert faulty.injected() == [1]


def test_who_may_not_and_whose_token_is_old_as_each_service_has_it(
    faulty: Faulty, subtests: pytest.Subtests
) -> None:
    for service, call, members, denied, expired in [
        ("s3", "list_buckets", {}, (403, "AccessDenied"), (400, "ExpiredToken")),
        ("iam", "list_roles", {}, (403, "AccessDenied"), (403, "ExpiredToken")),
        ("sts", "get_caller_identity", {}, (403, "AccessDenied"), (403, "ExpiredToken")),
        ("sagemaker", "list_models", {}, (400, "AccessDeniedException"), (400, "ExpiredTokenException")),
        ("sqs", "list_queues", {}, (400, "AccessDeniedException"), (400, "ExpiredTokenException")),
        (
            *("sagemaker-runtime", "invoke_endpoint", {"EndpointName": "austin", "Body": b"1"}),
            *((403, "AccessDeniedException"), (403, "ExpiredTokenException")),
        ),
    ]:
        for kind, expected in (("access_denied", denied), ("expired_token", expired)):
            with subtests.test(service=service, kind=kind):
                faulty.set({"kind": kind, "operation": f"{service}:*"})
                with pytest.raises(ClientError) as caught:
                    getattr(impatient(faulty.server, service, attempts=3), call)(**members)
                response = caught.value.response
                assert (response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]) == expected
                assert response["ResponseMetadata"]["RetryAttempts"] == 0
                if kind == "access_denied" and service != "s3":
                    action = call.title().replace("_", "")
                    words = (
                        f"is not authorized to perform: {service.removesuffix('-runtime')}:{action} because"
                    )
                    assert words in response["Error"]["Message"]


@pytest.mark.parametrize(
    ("words", "code"),
    [(("sagemaker", "list-models"), "ExpiredTokenException"), (("s3api", "list-buckets"), "ExpiredToken")],
)
def test_the_aws_command_says_that_a_token_is_old(faulty: Faulty, words: tuple[str, str], code: str) -> None:
    faulty.set({"kind": "expired_token"})
    command = [str(Path(sys.executable).with_name("aws")), *words]
    done = subprocess.run(command, env=faulty.server.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 255
    operation = words[1].title().replace("-", "")
    assert f"An error occurred ({code}) when calling the {operation} operation: " in done.stderr
    assert "expired" in done.stderr


def test_only_operations_and_names_that_match_are_met(faulty: Faulty) -> None:
    faulty.set(
        {"kind": "throttling", "operation": "Describe*", "name": "austin-*"},
        {"kind": "slow_down", "name": "city-fleet/live/*"},
    )
    sagemaker, s3 = faulty.sagemaker, faulty.s3
    assert faulty.outcome(sagemaker.describe_model, ModelName="austin-1") == "ThrottlingException"
    assert faulty.outcome(sagemaker.describe_model, ModelName="waco-1") == "ValidationException"
    assert faulty.outcome(sagemaker.list_models) == "ok"
    assert faulty.outcome(s3.put_object, Bucket="city-fleet", Key="live/a", Body=b"1") == "SlowDown"
    assert faulty.outcome(s3.put_object, Bucket="city-fleet", Key="raw/a", Body=b"1") == "ok"


def test_operations_of_s3_are_known_by_name(faulty: Faulty, subtests: pytest.Subtests) -> None:
    for operation, call, request_ in [
        ("s3:GetObject", "get_object", {"Key": "a"}),
        ("s3:HeadObject", "head_object", {"Key": "a"}),
        ("s3:PutObject", "put_object", {"Key": "a", "Body": b"1"}),
        ("s3:CopyObject", "copy_object", {"Key": "a", "CopySource": "city-fleet/b"}),
        ("s3:PutObjectTagging", "put_object_tagging", {"Key": "a", "Tagging": {"TagSet": []}}),
        ("s3:CreateMultipartUpload", "create_multipart_upload", {"Key": "a"}),
        ("s3:UploadPart", "upload_part", {"Key": "a", "UploadId": "1", "PartNumber": 1, "Body": b"1"}),
        ("s3:ListParts", "list_parts", {"Key": "a", "UploadId": "1"}),
        ("s3:DeleteObjects", "delete_objects", {"Delete": {"Objects": [{"Key": "a"}]}}),
        ("s3:ListObjectsV2", "list_objects_v2", {}),
        ("s3:ListObjects", "list_objects", {}),
        ("s3:ListObjectVersions", "list_object_versions", {}),
        ("s3:GetBucketTagging", "get_bucket_tagging", {}),
        ("s3:HeadBucket", "head_bucket", {}),
    ]:
        with subtests.test(operation=operation):
            faulty.set({"kind": "slow_down", "operation": operation})
            faulty.outcome(getattr(faulty.s3, call), Bucket="city-fleet", **request_)
            assert faulty.injected() == [1]


def test_a_rate_limit_lets_a_burst_through_and_then_its_rate(faulty: Faulty, wait_until: Any) -> None:
    faulty.set({"kind": "rate_limit", "operation": "sagemaker:*", "rate_per_second": 2, "burst": 5})
    outcomes = [faulty.outcome(faulty.sagemaker.list_models) for _ in range(12)]
    assert outcomes[:5] == ["ok"] * 5
    assert "ThrottlingException" in outcomes[5:]
    assert faulty.outcome(faulty.sagemaker.list_endpoints) == "ok"  # each operation has its own
    wait_until(lambda: faulty.outcome(faulty.sagemaker.list_models) == "ok", 5, "the rate allows one more")


def test_count_skip_window_and_seed(faulty: Faulty, wait_until: Any) -> None:
    faulty.set({"kind": "throttling", "operation": "ListModels", "skip": 2, "count": 3})
    outcomes = [faulty.outcome(faulty.sagemaker.list_models) for _ in range(7)]
    assert [outcome != "ok" for outcome in outcomes] == [False, False, True, True, True, False, False]

    faulty.set({"kind": "throttling", "operation": "ListModels", "window": {"end_seconds": 0.5}})
    assert faulty.outcome(faulty.sagemaker.list_models) == "ThrottlingException"
    wait_until(lambda: faulty.outcome(faulty.sagemaker.list_models) == "ok", 5, "the window is over")

    def run(seed: int) -> list[str]:
        rates = ({"kind": "throttling", "probability": 0.3}, {"kind": "internal_error", "probability": 0.2})
        faulty.set(*({**rate, "operation": "ListModels"} for rate in rates), seed=seed)
        return [faulty.outcome(faulty.sagemaker.list_models) for _ in range(40)]

    first = run(7)
    assert set(first) == {"ok", "ThrottlingException", "InternalFailure"}
    assert run(7) == first
    assert run(8) != first


def test_an_internal_error_may_come_after_the_work_was_done(faulty: Faulty) -> None:
    create = faulty.sagemaker.create_model_package_group
    for when, found in (("before", 0), ("after", 1)):
        faulty.set({"kind": "internal_error", "operation": "CreateModelPackageGroup", "when": when})
        with pytest.raises(ClientError) as caught:
            create(ModelPackageGroupName=f"internal-{when}")
        assert caught.value.response["Error"]["Code"] == "InternalFailure"
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 500
        listed = faulty.sagemaker.list_model_package_groups(NameContains=f"internal-{when}")
        assert len(listed["ModelPackageGroupSummaryList"]) == found
    for service, call, code in [
        ("s3", "list_buckets", "InternalError"),
        ("iam", "list_roles", "ServiceFailure"),
        ("sts", "get_caller_identity", "InternalFailure"),
    ]:
        faulty.set({"kind": "internal_error", "operation": f"{service}:*"})
        with pytest.raises(ClientError) as caught:
            getattr(faulty.server.client(service), call)()
        error = caught.value.response["Error"]
        assert (error["Code"], error.get("Type")) == (code, None if service == "s3" else "Receiver")


@pytest.mark.parametrize("kind", ["dropped_connection", "timeout"])
def test_an_answer_may_get_lost(faulty: Faulty, kind: str) -> None:
    error = {
        "dropped_connection": botocore.exceptions.ConnectionClosedError,
        "timeout": botocore.exceptions.ReadTimeoutError,
    }[kind]
    s3 = impatient(faulty.server, "s3")
    for when, found in (("before", 0), ("after", 1)):
        faulty.set({"kind": kind, "operation": "s3:PutObject", "when": when, "count": 1})
        with pytest.raises(error):
            s3.put_object(Bucket="city-fleet", Key=f"{kind}/{when}", Body=b"1", IfNoneMatch="*")
        listed = faulty.s3.list_objects_v2(Bucket="city-fleet", Prefix=f"{kind}/{when}")
        assert listed["KeyCount"] == found
    # A caller that tries again finds its own object: the condition fails although the first try succeeded.
    faulty.set({"kind": kind, "operation": "s3:PutObject", "when": "after", "count": 1})
    with pytest.raises(ClientError, match="PreconditionFailed"):
        impatient(faulty.server, "s3", attempts=2).put_object(
            Bucket="city-fleet", Key=f"{kind}/again", Body=b"1", IfNoneMatch="*"
        )
    assert "ASGI" not in faulty.server.log.read_text()


def test_latency_delays_what_it_meets_and_nobody_else(faulty: Faulty) -> None:
    faulty.set(
        {"kind": "latency", "operation": "ListModels", "seconds": 2},
        {
            "kind": "latency",
            "operation": "ListEndpoints",
            "distribution": "uniform",
            "low_seconds": 0.3,
            "high_seconds": 0.4,
        },
        {
            "kind": "latency",
            "operation": "ListActions",
            "distribution": "lognormal",
            "median_seconds": 0.1,
            "sigma": 0.5,
        },
    )

    def seconds(call: Callable[[], Any]) -> float:
        began = time.monotonic()
        call()
        return time.monotonic() - began

    with ThreadPoolExecutor(4) as pool:
        slow = [pool.submit(seconds, faulty.sagemaker.list_models) for _ in range(4)]
        faulty.sagemaker.list_model_package_groups()
        assert not any(each.done() for each in slow)
        assert all(each.result() >= 2 for each in slow)
    assert seconds(faulty.sagemaker.list_endpoints) >= 0.3


def test_s3_conflicts_meet_conditional_writes_only(faulty: Faulty) -> None:
    put, copy = faulty.s3.put_object, faulty.s3.copy_object
    put(Bucket="city-fleet", Key="pointer", Body=b"1")
    faulty.set({"kind": "conditional_conflict"})
    with pytest.raises(ClientError) as caught:
        put(Bucket="city-fleet", Key="pointer", Body=b"2", IfMatch='"c4ca4238a0b923820dcc509a6f75849b"')
    assert caught.value.response["Error"]["Code"] == "ConditionalRequestConflict"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 409
    source = {"Bucket": "city-fleet", "Key": "pointer"}
    conflict = "ConditionalRequestConflict"
    request = {"Bucket": "city-fleet", "Key": "copy", "CopySource": source}
    assert faulty.outcome(copy, **request, IfNoneMatch="*") == conflict
    assert faulty.outcome(copy, **request) == "ok"
    assert faulty.outcome(put, Bucket="city-fleet", Key="other", Body=b"2") == "ok"


# Jobs


def test_a_spot_job_is_interrupted_and_starts_again(faulty: Faulty, wait_until: Any) -> None:
    script = (
        "import pathlib, time\nprint('training', flush=True)\n"
        "time.sleep(3)\npathlib.Path('/dev/null').exists()\n"
    )
    faulty.set({"kind": "spot_interruption", "name": "spot-*", "count": 1, "after_seconds": 0.2})
    train(faulty, "spot-again", 600, script)
    train(faulty, "on-demand", None, "print('done')")
    job = wait_until(lambda: ended(faulty, "spot-again"), 60, "the spot job has ended")
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert statuses(job) == [
        *("Starting", "Downloading", "Training", "Interrupted"),
        *("Starting", "Downloading", "Training", "Uploading", "Completed"),
    ]
    assert faulty.injected() == [1]
    assert wait_until(lambda: ended(faulty, "on-demand"), 60, "it ends")["TrainingJobStatus"] == "Completed"


def test_a_running_spot_job_that_gets_no_new_instance_is_stopped(faulty: Faulty, wait_until: Any) -> None:
    train(faulty, "spot-stopped", 4)
    wait_until(lambda: describe(faulty, "spot-stopped")["SecondaryStatus"] == "Training", 60, "it trains")
    faulty.set({"kind": "spot_interruption", "name": "spot-stopped", "capacity_after_seconds": None})
    job = wait_until(lambda: ended(faulty, "spot-stopped"), 60, "the job has ended")
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxWaitTimeExceeded")
    assert "Interrupted" in statuses(job)


def test_a_job_crashes(faulty: Faulty, wait_until: Any) -> None:
    faulty.set({"kind": "job_crash", "name": "crashing", "count": 1})
    train(faulty, "crashing")
    job = wait_until(lambda: ended(faulty, "crashing"), 60, "the job has ended")
    assert job["TrainingJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("AlgorithmError: ")
    assert job["FailureReason"].endswith(f"exit code: {128 + signal.SIGKILL}")


def test_a_job_on_demand_finds_no_instance(faulty: Faulty, wait_until: Any) -> None:
    faulty.set({"kind": "capacity_error", "name": "lacking-*", "after_seconds": 0.2})
    for name, spot_seconds in (("lacking-1", None), ("lacking-spot", 60), ("other", None)):
        train(faulty, name, spot_seconds, "print('done')")
    faulty.sagemaker.create_processing_job(
        ProcessingJobName="lacking-2",
        RoleArn=ROLE,
        AppSpecification={"ImageUri": IMAGE_URI, "ContainerEntrypoint": ["python3", "-c", "pass"]},
        ProcessingResources={
            "ClusterConfig": {"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5}
        },
    )
    job = wait_until(lambda: ended(faulty, "lacking-1"), 60, "the job has ended")
    assert (job["TrainingJobStatus"], statuses(job)) == ("Failed", ["Starting", "Failed"])
    assert job["FailureReason"] == (
        "CapacityError: Unable to provision requested ML compute capacity. Please retry using a different ML"
        " instance type."
    )
    assert "TrainingStartTime" not in job
    describe_processing = faulty.sagemaker.describe_processing_job
    wait_until(
        lambda: describe_processing(ProcessingJobName="lacking-2")["ProcessingJobStatus"] != "InProgress",
        60,
        "the processing job has ended",
    )
    assert describe_processing(ProcessingJobName="lacking-2")["FailureReason"] == job["FailureReason"]
    for name in ("lacking-spot", "other"):
        ending = wait_until(lambda name=name: ended(faulty, name), 60, "it ends")
        assert ending["TrainingJobStatus"] == "Completed", ending.get("FailureReason")
    assert faulty.injected() == [2]


def ended(faulty: Faulty, name: str) -> dict[str, Any] | None:
    """The job, if it has ended."""
    job = describe(faulty, name)
    return job if job["TrainingJobStatus"] in ENDED else None


# Endpoints


@pytest.fixture
def endpoint_config(faulty: Faulty) -> str:
    """An endpoint configuration; there is one model below its prefix."""
    put = faulty.s3.put_object
    put(Bucket="city-fleet", Key="code.tar.gz", Body=archive({"inference.py": INFERENCE.encode()}))
    put(Bucket="city-fleet", Key="models/austin.tar.gz", Body=archive({"model.txt": b"austin "}))
    container = {
        "Image": IMAGE_URI,
        "Mode": "MultiModel",
        "ModelDataUrl": "s3://city-fleet/models/",
        "Environment": {
            "SAGEMAKER_PROGRAM": "inference.py",
            "SAGEMAKER_SUBMIT_DIRECTORY": "s3://city-fleet/code.tar.gz",
        },
    }
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": "fleet",
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": 1,
    }
    if not faulty.sagemaker.list_models()["Models"]:
        faulty.sagemaker.create_model(ModelName="fleet", ExecutionRoleArn=ROLE, Containers=[container])
        faulty.sagemaker.create_endpoint_config(EndpointConfigName="fleet", ProductionVariants=[variant])
    return "fleet"


def test_an_endpoint_does_not_come_up(faulty: Faulty, endpoint_config: str, wait_until: Any) -> None:
    reason = "CapacityError: Unable to provision requested ML compute capacity."
    faulty.set({"kind": "endpoint_failure", "name": "unlucky", "reason": reason, "count": 1})
    faulty.sagemaker.create_endpoint(EndpointName="unlucky", EndpointConfigName=endpoint_config)

    def failed() -> Any:
        described = faulty.sagemaker.describe_endpoint(EndpointName="unlucky")
        return described if described["EndpointStatus"] == "Failed" else None

    assert wait_until(failed, 60, "the endpoint has failed")["FailureReason"] == reason
    faulty.sagemaker.delete_endpoint(EndpointName="unlucky")


def test_model_servers_crash_and_models_do_not_load(
    faulty: Faulty, endpoint_config: str, wait_until: Any
) -> None:
    faulty.sagemaker.create_endpoint(EndpointName="shaky", EndpointConfigName=endpoint_config)
    describe = faulty.sagemaker.describe_endpoint
    wait_until(
        lambda: describe(EndpointName="shaky")["EndpointStatus"] == "InService", 60, "it is in service"
    )
    runtime = faulty.server.client("sagemaker-runtime")

    def invoke() -> str:
        request = {"EndpointName": "shaky", "TargetModel": "austin.tar.gz", "Body": b"1"}
        try:
            answer = runtime.invoke_endpoint(**request, ContentType="text/csv")
        except ClientError as error:
            return str(error.response["Error"]["Code"])
        return str(answer["Body"].read().decode())

    faulty.set(
        {"kind": "model_load_failure", "name": "shaky/austin*", "count": 1, "reason": "no memory left"}
    )
    with pytest.raises(ClientError, match="no memory left") as caught:
        runtime.invoke_endpoint(EndpointName="shaky", TargetModel="austin.tar.gz", Body=b"1")
    assert caught.value.response["Error"]["Code"] == "ModelError"
    assert caught.value.response["OriginalStatusCode"] == 500
    # Loads that take longer than boto3 waits: what was begun goes on, and a loaded model is as fast as ever.
    faulty.s3.put_object(Bucket="city-fleet", Key="models/waco.tar.gz", Body=archive({"model.txt": b"waco "}))
    faulty.set({"kind": "model_load_latency", "name": "shaky/waco*", "seconds": 2})
    assert invoke() == "austin 1"
    hasty = impatient(faulty.server, "sagemaker-runtime")
    waco = {"EndpointName": "shaky", "TargetModel": "waco.tar.gz", "Body": b"1"}
    with pytest.raises(ReadTimeoutError):
        hasty.invoke_endpoint(**waco)
    wait_until(lambda: faulty.injected() == [1], 30, "the load has begun")
    assert runtime.invoke_endpoint(**waco)["Body"].read() == b"waco 1"
    assert hasty.invoke_endpoint(**waco)["Body"].read() == b"waco 1"
    assert faulty.injected() == [1]

    faulty.set({"kind": "model_server_crash", "name": "shaky", "count": 1})
    wait_until(lambda: invoke() == "ServiceUnavailable", 30, "the model server is gone")
    wait_until(lambda: invoke() == "austin 1", 60, "it was started again")
    faulty.set({"kind": "throttling", "operation": "InvokeEndpoint", "name": "shaky"})
    assert invoke() == "ThrottlingException"
    faulty.sagemaker.delete_endpoint(EndpointName="shaky")


def test_what_the_server_asks_of_itself_meets_no_fault(faulty: Faulty, wait_until: Any) -> None:
    train(faulty, "untouched", None, "print('done')")
    faulty.set({"kind": "throttling", "operation": "s3:*"}, {"kind": "throttling", "operation": "logs:*"})
    job = wait_until(lambda: ended(faulty, "untouched"), 60, "the job has ended")
    assert job["TrainingJobStatus"] == "Completed"
    assert faulty.injected() == [0, 0]


def test_many_threads_count_right(faulty: Faulty) -> None:
    faulty.set({"kind": "throttling", "operation": "ListModels", "count": 10})
    outcomes: list[str] = []
    lock = threading.Lock()

    def call() -> None:
        outcome = faulty.outcome(faulty.sagemaker.list_models)
        with lock:
            outcomes.append(outcome)

    with ThreadPoolExecutor(8) as pool:
        for each in [pool.submit(call) for _ in range(40)]:
            each.result()
    assert outcomes.count("ThrottlingException") == 10
    assert json.loads(faulty.call("GET").text)["faults"][0]["seen"] == 40
