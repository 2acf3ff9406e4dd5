"""Multi-model endpoints end to end: a real model server, real artifacts in S3, over boto3."""

from __future__ import annotations

import collections
import concurrent.futures
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.archives import archive
from tests.support.aws_names import IMAGE_URI
from tests.support.endpoint_calls import DEADLINE_SECONDS, INFERENCE, Endpoints
from tests.support.process_table import processes

ONE_MODEL = "def model_fn(model_dir):\n    return open(model_dir + '/model.txt').read()\n" + (
    "def input_fn(body, content_type):\n    return body\n"
    "def predict_fn(data, model):\n    return model + data\n"
    "def output_fn(prediction, accept):\n    return prediction\n"
)
BOOSTER = """
import pathlib, xgboost
def model_fn(model_dir):
    booster = xgboost.Booster()
    booster.load_model(pathlib.Path(model_dir, "xgboost-model.ubj"))
    return booster
"""


def test_models_are_loaded_on_first_use_and_stay_what_they_were(fleet: Endpoints) -> None:
    name = fleet.create()
    description = fleet.settled(name)
    assert description["EndpointStatus"] == "InService", description.get("FailureReason")
    assert description["EndpointConfigName"] == name
    (variant,) = description["ProductionVariants"]
    assert variant["VariantName"] == "AllTraffic"
    assert variant["DeployedImages"][0]["SpecifiedImage"] == IMAGE_URI
    assert variant["CurrentWeight"] == variant["DesiredWeight"] == 1.0

    fleet.put("austin/20140101T000000Z-aaa.tar.gz", {"model.txt": b"austin one"})
    fleet.put("waco/20140101T000000Z-bbb.tar.gz", {"model.txt": b"waco"})
    response = fleet.invoke(name, "austin/20140101T000000Z-aaa.tar.gz", b"1,2", Accept="application/json")
    assert response["InvokedProductionVariant"] == "AllTraffic"
    assert response["ContentType"] == "application/json"
    assert json.loads(response["Body"]) == {
        "model": "austin one",
        "calls": 1,
        "body": "1,2",
        "kind": "str",
        "type": "text/csv",
    }
    assert fleet.ask(name, "waco/20140101T000000Z-bbb.tar.gz")["model"] == "waco"

    # As on AWS, a loaded model outlives its object: overwritten, then deleted.
    fleet.put("austin/20140101T000000Z-aaa.tar.gz", {"model.txt": b"austin two"})
    assert fleet.ask(name, "austin/20140101T000000Z-aaa.tar.gz")["model"] == "austin one"
    fleet.s3.delete_object(Bucket=fleet.bucket, Key="models/austin/20140101T000000Z-aaa.tar.gz")
    assert fleet.ask(name, "austin/20140101T000000Z-aaa.tar.gz")["calls"] == 3
    fleet.wait_until(lambda: "loaded austin one" in fleet.log_lines(name), 10, "the container's log")


def test_errors_of_the_caller_are_validation_errors(fleet: Endpoints) -> None:
    name = fleet.create()
    invalid = fleet.runtime.exceptions.ValidationError
    missing = r"Failed to download model data\(bucket: .*, key: models/nobody.tar.gz\)"
    with pytest.raises(invalid, match=missing):
        fleet.invoke(name, "nobody.tar.gz")
    with pytest.raises(invalid, match="is missing a target model header"):
        fleet.invoke(name, None)
    for target in ("../code/x.tar.gz", "a/../../x", "/a.tar.gz", "a//b.tar.gz", "a/./b"):
        with pytest.raises(invalid, match="Invalid TargetModel"):
            fleet.invoke(name, target)
    with pytest.raises(invalid, match="Variant Blue not found; the endpoint has: AllTraffic"):
        fleet.invoke(name, "a.tar.gz", TargetVariant="Blue")
    with pytest.raises(invalid, match="Endpoint nobody of account 123456789012 not found"):
        fleet.invoke("nobody", "a.tar.gz")
    with pytest.raises(invalid, match="exceeded 6291456 bytes") as too_large:
        fleet.invoke(name, "a.tar.gz", b"x" * 6_291_457)
    assert too_large.value.response["ResponseMetadata"]["HTTPStatusCode"] == 413


def test_errors_of_the_model_are_model_errors(fleet: Endpoints) -> None:
    name = fleet.create()
    fleet.put("a.tar.gz", {"model.txt": b"a"})
    with pytest.raises(fleet.runtime.exceptions.ModelError) as bad:
        fleet.invoke(name, "a.tar.gz", b"bad")
    response = bad.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 424
    assert response["OriginalStatusCode"] == 400
    # As the toolkit answers: the sentence first, then the traceback.
    assert response["OriginalMessage"].splitlines()[0] == "feature 'sales_lag_1' is missing"
    assert response["LogStreamArn"].endswith(f":log-group:/aws/sagemaker/Endpoints/{name}")
    assert "Received client error (400) from primary with message \"feature 'sales_lag_1'" in str(bad.value)
    with pytest.raises(fleet.runtime.exceptions.ModelError, match=r"error \(500\).*the booster is gone"):
        fleet.invoke(name, "a.tar.gz", b"crash")
    assert fleet.ask(name, "a.tar.gz")["calls"] == 3


def test_a_load_that_failed_can_be_tried_again(fleet: Endpoints) -> None:
    name = fleet.create()
    fleet.put("a.tar.gz", {"model.txt": b"broken"})
    with pytest.raises(fleet.runtime.exceptions.ModelError, match="this model is broken"):
        fleet.invoke(name, "a.tar.gz")
    fleet.put("a.tar.gz", {"model.txt": b"mended"})
    assert fleet.ask(name, "a.tar.gz")["model"] == "mended"


def special(name: str, kind: bytes, linkname: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, linkname
    return member


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"not an archive", "not a whole tar.gz"),
        (archive({"model.txt": b"a" * 5000})[:-20], "not a whole tar.gz"),
        (archive({"../../evil.txt": b"x"}), "leads out of the archive"),
        (archive({"/tmp/evil.txt": b"x"}), "leads out of the archive"),
        (archive({}, [special("model.txt", tarfile.SYMTYPE, "/etc/passwd")]), "is a link"),
        (archive({}, [special("model.txt", tarfile.LNKTYPE, "x")]), "is a link"),
        (archive({}, [special("device", tarfile.CHRTYPE)]), "is a special file"),
        (archive({f"{number}": b"" for number in range(1001)}), "more than 1000 members"),
    ],
    ids=["no archive", "cut off", "up", "absolute", "symbolic link", "hard link", "device", "many members"],
)
def test_hostile_and_corrupt_archives_leave_nothing_behind(
    fleet: Endpoints, body: bytes, message: str
) -> None:
    name = fleet.create()
    fleet.put("a.tar.gz", body=body)
    with pytest.raises(fleet.runtime.exceptions.ModelError, match=message):
        fleet.invoke(name, "a.tar.gz")
    (sandbox,) = (fleet.server.data_dir / "endpoints").glob(f"{name[:40]}*")
    left = [path for path in (sandbox / "opt/ml/models").rglob("*") if path.is_file()]
    assert not left
    assert not Path("/tmp/evil.txt").exists()


def test_many_callers_one_load(fleet: Endpoints) -> None:
    name = fleet.create()
    fleet.put("slow.tar.gz", {"model.txt": b"slow"})
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: fleet.ask(name, "slow.tar.gz"), range(8)))
    assert sorted(answer["calls"] for answer in answers) == list(range(1, 9))
    fleet.wait_until(lambda: "loaded slow" in fleet.log_lines(name), 10, "the container's log")
    assert fleet.log_lines(name).count("loaded slow") == 1


def test_the_container_that_does_not_start_says_why(fleet: Endpoints) -> None:
    name = fleet.create(script="import nothing_of_that_name\n")
    description = fleet.settled(name)
    assert description["EndpointStatus"] == "Failed"
    assert "did not pass the ping health check" in description["FailureReason"]
    assert "No module named 'nothing_of_that_name'" in description["FailureReason"]
    assert any("nothing_of_that_name" in line for line in fleet.log_lines(name))
    with pytest.raises(fleet.runtime.exceptions.ValidationError, match="not found"):
        fleet.invoke(name, "a.tar.gz")


def test_an_update_swaps_without_a_failed_request(fleet: Endpoints) -> None:
    name = fleet.create("blue")
    fleet.put("a.tar.gz", {"model.txt": b"a"})
    green = fleet.config("green", INFERENCE.replace('"calls": model["calls"]', '"calls": "green"'))
    assert fleet.ask(name, "a.tar.gz")["calls"] == 1
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(fleet.ask, name, "a.tar.gz", b"sleep")
        fleet.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=green)
        with pytest.raises(ClientError, match="Cannot update in-progress endpoint"):
            fleet.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=name)
        answers = []
        while fleet.sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] == "Updating":
            answers.append(fleet.ask(name, "a.tar.gz")["calls"])
        assert running.result()["body"] == "sleep"
    assert answers
    assert fleet.ask(name, "a.tar.gz")["calls"] == "green"
    assert fleet.settled(name)["EndpointConfigName"] == green

    broken = fleet.config("broken", "1 / 0")
    fleet.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=broken)
    description = fleet.settled(name)
    assert description["EndpointStatus"] == "InService"
    assert description["EndpointConfigName"] == green
    assert "ZeroDivisionError" in description["FailureReason"]
    assert fleet.ask(name, "a.tar.gz")["calls"] == "green"


def test_a_model_server_that_dies_is_started_again(fleet: Endpoints) -> None:
    name = fleet.create()
    fleet.put("a.tar.gz", {"model.txt": b"a"})
    assert fleet.ask(name, "a.tar.gz")["calls"] == 1
    (sandbox,) = (fleet.server.data_dir / "endpoints").glob(f"{name[:40]}*")
    for pid in processes(f"TMPDIR={sandbox}"):
        os.kill(pid, signal.SIGKILL)
    with pytest.raises(fleet.runtime.exceptions.ServiceUnavailable, match="does not answer"):
        fleet.ask(name, "a.tar.gz")

    def answer() -> dict[str, Any] | None:
        try:
            return fleet.ask(name, "a.tar.gz")
        except fleet.runtime.exceptions.ServiceUnavailable:
            return None

    revived = fleet.wait_until(answer, DEADLINE_SECONDS, "the model server answers again")
    assert revived["calls"] == 1
    assert fleet.settled(name)["EndpointStatus"] == "InService"


def test_create_twice_delete_and_what_does_not_exist(fleet: Endpoints) -> None:
    name = fleet.create()
    with pytest.raises(ClientError, match="Cannot create already existing endpoint"):
        fleet.sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    # "The name is case-insensitive in CreateEndpoint, but the case is preserved and must be matched in InvokeEndpoint."
    with pytest.raises(ClientError, match=f'already existing endpoint ".*/{name}"'):
        fleet.sagemaker.create_endpoint(EndpointName=name.upper(), EndpointConfigName=name)
    with pytest.raises(ClientError, match="not found"):
        fleet.runtime.invoke_endpoint(EndpointName=name.upper(), Body=b"1")
    with pytest.raises(ClientError, match="Could not find endpoint configuration"):
        fleet.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName="nobody")
    fleet.sagemaker.delete_endpoint(EndpointName=name)

    def gone() -> bool:
        listed = fleet.sagemaker.list_endpoints(NameContains=name)["Endpoints"]
        return not listed

    fleet.wait_until(gone, DEADLINE_SECONDS, "the endpoint is gone")
    for call in (fleet.sagemaker.describe_endpoint, fleet.sagemaker.delete_endpoint):
        with pytest.raises(ClientError, match="Could not find endpoint"):
            call(EndpointName=name)
    assert not list((fleet.server.data_dir / "endpoints").glob(f"{name[:40]}*"))


def test_a_container_with_one_model_of_its_own(fleet: Endpoints) -> None:
    fleet.put("one.tar.gz", {"model.txt": b"one:"})
    url = f"s3://{fleet.bucket}/models/one.tar.gz"
    name = fleet.create(script=ONE_MODEL, Mode="SingleModel", ModelDataUrl=url)
    assert fleet.settled(name)["EndpointStatus"] == "InService"
    assert fleet.invoke(name, None, b"2")["Body"] == b"one:2"
    with pytest.raises(fleet.runtime.exceptions.ValidationError, match="is not a multi-model endpoint"):
        fleet.invoke(name, "one.tar.gz")
    config = fleet.config("bad", ONE_MODEL, Mode="SingleModel", ModelDataUrl=url)
    fleet.s3.delete_object(Bucket=fleet.bucket, Key="models/one.tar.gz")
    fleet.sagemaker.create_endpoint(EndpointName=config, EndpointConfigName=config)
    bad = config
    assert "Failed to download model data" in fleet.settled(bad)["FailureReason"]


def test_an_image_without_script_mode_is_refused(fleet: Endpoints) -> None:
    config = fleet.config("algorithm", Environment={})
    with pytest.raises(ClientError, match="serves in script mode only; set SAGEMAKER_PROGRAM"):
        fleet.sagemaker.create_endpoint(EndpointName=config, EndpointConfigName=config)


def test_a_real_booster_with_the_image_s_default_functions(fleet: Endpoints, tmp_path: Path) -> None:
    image = Path(__file__).resolve().parents[4] / ".venv-image" / "bin" / "python"
    if not image.exists():
        pytest.skip("the image's environment is not made")
    script = (
        "import numpy, xgboost, sys\n"
        "x = numpy.arange(40.0).reshape(20, 2)\n"
        "data = xgboost.DMatrix(x, x[:, 0] * 2)\n"
        "booster = xgboost.train({'max_depth': 2}, data, 5)\n"
        "booster.save_model(sys.argv[1])\n"
        "print(float(booster.predict(xgboost.DMatrix([[10.0, 11.0]]))[0]))\n"
    )
    path = tmp_path / "xgboost-model.ubj"
    expected = float(subprocess.check_output([image, "-c", script, path], text=True).split()[-1])
    fleet.put("booster.tar.gz", {"xgboost-model.ubj": path.read_bytes()})
    name = fleet.create(script=BOOSTER)
    assert fleet.settled(name)["EndpointStatus"] == "InService"
    answer = fleet.invoke(name, "booster.tar.gz", b"10.0,11.0", Accept="text/csv")
    assert float(answer["Body"]) == pytest.approx(expected, rel=1e-6)


def test_only_so_many_models_stay_loaded(
    start_server: Callable[..., Any], unique: Callable[[str], str], wait_until: Any
) -> None:
    server = start_server("--max-loaded-models", "2")
    server.client("s3").create_bucket(Bucket="bounded")
    fleet = Endpoints(server, "bounded", unique, wait_until)
    name = fleet.create()
    for target in ("a", "b", "c"):
        fleet.put(f"{target}.tar.gz", {"model.txt": target.encode()})
        fleet.ask(name, f"{target}.tar.gz")
        fleet.put(f"{target}.tar.gz", {"model.txt": target.upper().encode()})
    # a was the least recently used: loaded anew, from the volume, where it is what it was, as on AWS.
    answers = [fleet.ask(name, f"{target}.tar.gz") for target in "cba"]
    assert [answer["model"] for answer in answers] == ["c", "b", "a"]
    assert [answer["calls"] for answer in answers] == [2, 2, 1]
    (sandbox,) = (server.data_dir / "endpoints").iterdir()
    assert len(list((sandbox / "opt/ml/models").iterdir())) == 3


def test_the_volume_holds_so_much(
    start_server: Callable[..., Any], unique: Callable[[str], str], wait_until: Any
) -> None:
    server = start_server("--model-disk-mb", "1")
    server.client("s3").create_bucket(Bucket="volume")
    fleet = Endpoints(server, "volume", unique, wait_until)
    name = fleet.create()
    for target in ("a", "b", "c"):
        fleet.put(f"{target}.tar.gz", {"model.txt": target.encode(), "ballast": os.urandom(400_000)})
        fleet.ask(name, f"{target}.tar.gz")
        fleet.put(f"{target}.tar.gz", {"model.txt": target.upper().encode()})
    (sandbox,) = (server.data_dir / "endpoints").iterdir()
    assert len(list((sandbox / "opt/ml/models").iterdir())) == 2
    assert [fleet.ask(name, f"{target}.tar.gz")["model"] for target in "cba"] == ["c", "b", "A"]
    fleet.put("huge.tar.gz", {"model.txt": b"huge", "ballast": os.urandom(1_200_000)})
    with pytest.raises(
        fleet.runtime.exceptions.ModelError, match=r"error \(507\).*no room for the model huge"
    ):
        fleet.ask(name, "huge.tar.gz")


@pytest.mark.skipif(sys.platform != "linux", reason="a process's memory is told by Linux alone")
def test_the_memory_holds_so_much(
    start_server: Callable[..., Any], unique: Callable[[str], str], wait_until: Any
) -> None:
    server = start_server("--model-memory-mb", "220")
    server.client("s3").create_bucket(Bucket="memory")
    fleet = Endpoints(server, "memory", unique, wait_until)
    heavy = INFERENCE.replace(
        'return {"text"', 'return {"ballast": bytearray(os.urandom(60_000_000)), "text"'
    )
    name = fleet.create(script=heavy)
    for target in "abcdef":
        fleet.put(f"{target}.tar.gz", {"model.txt": target.encode()})
    assert [fleet.ask(name, f"{target}.tar.gz")["calls"] for target in "abcdef"] == [1] * 6
    # The last ones are still loaded, the first one is loaded anew.
    assert [fleet.ask(name, f"{target}.tar.gz")["calls"] for target in "fa"] == [2, 1]
    fleet.wait_until(lambda: fleet.log_lines(name).count("loaded a") >= 2, 10, "the container's log")


def test_no_request_fails_while_an_endpoint_is_updated(fleet: Endpoints) -> None:
    name = fleet.create("blue")
    fleet.put("a.tar.gz", {"model.txt": b"a"})
    green = fleet.config("green", INFERENCE.replace('"calls": model["calls"]', '"calls": "green"'))
    done = threading.Event()

    def ask_for_ever() -> list[Any]:
        answers = []
        while not done.is_set():
            answers.append(fleet.ask(name, "a.tar.gz")["calls"])
        # Asked when the last update had settled; what was under way until then may be the old container's.
        return [*answers, fleet.ask(name, "a.tar.gz")["calls"]]

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        callers = [pool.submit(ask_for_ever) for _ in range(4)]
        try:
            for config in (green, name, green):
                fleet.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=config)
                description = fleet.settled(name)
                assert description["EndpointConfigName"] == config
        finally:
            done.set()
        answers = [caller.result() for caller in callers]  # raises when a request failed
    for each in answers:
        assert each[-1] == "green"
        assert any(answer != "green" for answer in each)


def test_variants_share_the_traffic_by_weight(fleet: Endpoints) -> None:
    fleet.put("a.tar.gz", {"model.txt": b"a"})
    config = fleet.config("two")
    fleet.sagemaker.create_endpoint_config(
        EndpointConfigName=f"{config}-b",
        ProductionVariants=[
            {
                "VariantName": variant,
                "ModelName": config,
                "InstanceType": "ml.m5.large",
                "InitialInstanceCount": 1,
                "InitialVariantWeight": weight,
            }
            for variant, weight in (("Large", 3.0), ("Small", 1.0), ("Idle", 0.0))
        ],
    )
    fleet.sagemaker.create_endpoint(EndpointName=config, EndpointConfigName=f"{config}-b")
    assert fleet.settled(config)["EndpointStatus"] == "InService"

    def count(requests: int) -> collections.Counter[str]:
        return collections.Counter(
            fleet.invoke(config, "a.tar.gz")["InvokedProductionVariant"] for _ in range(requests)
        )

    seen = count(200)
    assert 110 <= seen["Large"] <= 190  # 150 expected; further off than this once in 10 ** 10 runs
    assert seen["Idle"] == 0
    answer = fleet.invoke(config, "a.tar.gz", TargetVariant="Idle")
    assert answer["InvokedProductionVariant"] == "Idle"

    weights = [
        {"VariantName": "Large", "DesiredWeight": 0.0},
        {"VariantName": "Idle", "DesiredWeight": 1.0},
        {"VariantName": "Small", "DesiredWeight": 0.0},
    ]
    fleet.sagemaker.update_endpoint_weights_and_capacities(
        EndpointName=config, DesiredWeightsAndCapacities=weights
    )
    assert count(20) == {"Idle": 20}
    variants = {each["VariantName"]: each for each in fleet.settled(config)["ProductionVariants"]}
    assert [variants[each]["CurrentWeight"] for each in ("Large", "Idle")] == [0.0, 1.0]
    with pytest.raises(ClientError, match='Variant "Nobody" is not a variant of endpoint'):
        fleet.sagemaker.update_endpoint_weights_and_capacities(
            EndpointName=config,
            DesiredWeightsAndCapacities=[{"VariantName": "Nobody", "DesiredWeight": 1.0}],
        )


def test_what_a_caller_says_reaches_the_container(fleet: Endpoints) -> None:
    script = INFERENCE.replace(
        "def output_fn(prediction, accept):", "def output_fn(prediction, accept, context):"
    )
    script = script.replace(
        "return json.dumps(prediction), accept",
        "asked = [context.get_request_header(0, 'X-Amzn-SageMaker-' + each)\n"
        "             for each in ('Custom-Attributes', 'Inference-Id')]\n"
        "    return json.dumps(asked), accept",
    )
    name = fleet.create(script=script)
    fleet.put("a.tar.gz", {"model.txt": b"a"})
    answer = fleet.invoke(name, "a.tar.gz", CustomAttributes="trace=7", InferenceId="request-1")
    assert json.loads(answer["Body"]) == ["trace=7", "request-1"]
    with pytest.raises(fleet.runtime.exceptions.ValidationError) as refused:
        fleet.invoke(name, "a.tar.gz", InferenceId="x" * 65, CustomAttributes="y" * 1025)
    assert refused.value.response["Error"]["Message"] == (
        "2 validation errors detected: Value at 'customAttributes' failed to satisfy constraint: Member must have "
        f"length less than or equal to 1024; Value '{'x' * 65}' at 'inferenceId' failed to satisfy constraint: "
        "Member must have length less than or equal to 64"
    )


def test_labels_of_an_image_decide_whether_it_may_be_multi_model_and_quotas_how_many_instances_serve(
    start_server: Callable[..., Any], unique: Callable[[str], str], wait_until: Any
) -> None:
    label = "com.amazonaws.sagemaker.capabilities.multi-models=true"
    server = start_server("--image-label", f"mine:2={label}", "--quota", "ml.m5.large for endpoint usage=3")
    server.client("s3").create_bucket(Bucket="labels")
    fleet = Endpoints(server, "labels", unique, wait_until)
    image = "123456789012.dkr.ecr.us-east-1.amazonaws.com/mine"
    with pytest.raises(ClientError) as refused:
        fleet.config("one", Image=f"{image}:1")
    assert refused.value.response["Error"] == {
        "Code": "ValidationException",
        "Message": f"Your Ecr Image {image}:1 does not contain required {label} Docker label(s).",
    }
    fleet.put("x.tar.gz", {"model.txt": b"x"})
    url = "s3://labels/models/x.tar.gz"
    assert fleet.config("one", Image=f"{image}:1", Mode="SingleModel", ModelDataUrl=url)
    assert fleet.config("two", Image=f"{image}:2")

    name = fleet.create()
    (variant,) = fleet.settled(name)["ProductionVariants"]

    def resize(count: int) -> None:
        desired = {"VariantName": variant["VariantName"], "DesiredInstanceCount": count}
        fleet.sagemaker.update_endpoint_weights_and_capacities(
            EndpointName=name, DesiredWeightsAndCapacities=[desired]
        )

    resize(2)
    resize(3)
    other = fleet.config("other")
    limit = r"limit 'ml.m5.large for endpoint usage' is 3 Instances, with current utilization of 3 Instances"
    with pytest.raises(fleet.sagemaker.exceptions.ResourceLimitExceeded, match=limit):
        resize(4)
    (kept,) = fleet.settled(name)["ProductionVariants"]
    assert kept["CurrentInstanceCount"] == kept["DesiredInstanceCount"] == 3
    with pytest.raises(fleet.sagemaker.exceptions.ResourceLimitExceeded, match=limit):
        fleet.sagemaker.create_endpoint(EndpointName=other, EndpointConfigName=other)
    with pytest.raises(fleet.sagemaker.exceptions.ResourceLimitExceeded, match=limit):
        fleet.sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=other)
    assert fleet.settled(name)["EndpointStatus"] == "InService"
    fleet.sagemaker.delete_endpoint(EndpointName=name)
    listed = fleet.sagemaker.list_endpoints
    wait_until(lambda: not listed()["Endpoints"], DEADLINE_SECONDS, "the endpoint is gone")
    fleet.sagemaker.create_endpoint(EndpointName=other, EndpointConfigName=other)
    assert fleet.settled(other)["EndpointStatus"] == "InService"


def test_nothing_outlives_a_server_that_is_killed(
    start_server: Callable[..., Any], unique: Callable[[str], str], wait_until: Any
) -> None:
    server = start_server()
    server.client("s3").create_bucket(Bucket="killed")
    fleet = Endpoints(server, "killed", unique, wait_until)
    marker = unique("marker")
    # A grandchild in a session of its own must not survive either.
    program = [sys.executable, "-c", "import time; time.sleep(600)", marker]
    child = f"\nimport subprocess\nsubprocess.Popen({program!r}, start_new_session=True)\n"
    name = fleet.create(script=INFERENCE + child)
    assert fleet.settled(name)["EndpointStatus"] == "InService"
    assert processes(marker)
    assert processes(f"{server.data_dir}/endpoints")
    os.kill(server.process.pid, signal.SIGKILL)
    server.process.wait()
    wait_until(lambda: not processes(marker), 20, "the container's own child is gone")
    wait_until(lambda: not processes(f"{server.data_dir}/endpoints"), 20, "the containers are gone")
