"""``endpoint.image`` from the fleet file to a prediction: tasks of the ``_endpoint`` DAG, an artifact of real jobs."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import hashlib
import json
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException, TaskDeferred

from city_fleet import naming
from city_fleet.config import load_fleet
from city_fleet.doctor import aws_checks
from city_fleet.orchestration.fleet_dags import fleet_dags
from city_fleet.serving.endpoint_state import wanted_config_name
from local import ROOT
from local.stack import environment
from tests.support.aws_names import IMAGE_URI
from tests.support.local_sagemaker import LocalSageMaker, running_server
from tests.support.model_servers import ModelServer
from tests.support.paths import IMAGE_PYTHON
from tests.support.script_jobs import DATA, Jobs
from tests.support.waiting import wait_until

FLEET_FILE = ROOT / "include" / "fleets" / "texas_housing.yaml"
ENDPOINT = "texas-housing--laptop"
KEYS = naming.Keys("city-fleet", "texas_housing", "laptop")
MANAGED = IMAGE_URI
OWN = "123456789012.dkr.ecr.us-east-1.amazonaws.com/city-fleet-model-server:1"
AS_OF = datetime(2014, 1, 1, tzinfo=UTC)


@dataclass
class Upstream:
    """What a task of the DAG asks of its task instance: the results before it."""

    results: dict[str, Any]

    def xcom_pull(self, *, task_ids: str) -> Any:
        return self.results.get(task_ids)


async def first_event(trigger: Any) -> Any:
    async for event in trigger.run():
        return event.payload
    raise AssertionError(f"{trigger!r} sent no event")


def run_endpoint_dag(folder: Path) -> dict[str, Any]:
    """Run the tasks of the fleet's ``_endpoint`` DAG, deferrals included; return their results."""
    (dag,) = fleet_dags(folder, only="texas_housing._endpoint")
    results: dict[str, Any] = {}
    for operator in dag.topological_sort():
        context: Any = {"ti": Upstream(results)}
        try:
            results[operator.task_id] = operator.execute(context)
        except TaskDeferred as deferral:
            event = asyncio.run(first_event(deferral.trigger))
            results[operator.task_id] = getattr(operator, deferral.method_name)(context, event=event)
    return results


def own_python(folder: Path) -> Path:
    """The image's interpreter under a path of its own, so that a process shows which image it was started for."""
    home = folder / "own-image"
    home.symlink_to(IMAGE_PYTHON.parents[1])
    return home / "bin" / "python"


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSageMaker]:
    """A local SageMaker that knows our image by the name and labels that ``make up`` gives it."""
    folder = tmp_path_factory.mktemp("aws")
    (own,) = (name for name in environment.IMAGES if OWN.endswith(f"/{name}"))
    arguments = [f"--image={own}={own_python(folder)}"]
    arguments += [f"--image-label={label}" for label in environment.IMAGE_LABELS]
    with running_server(folder, *arguments) as server:
        server.client("s3").create_bucket(Bucket=KEYS.bucket)
        yield server


@pytest.fixture(scope="module")
def austin(tmp_path_factory: pytest.TempPathFactory) -> Jobs:
    """Austin, prepared, trained and evaluated by the job scripts; XGBoost has made the predictions in holdout.json."""
    jobs = Jobs(tmp_path_factory.mktemp("austin"))
    with DATA.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    jobs.write_raw("austin", [header, *(row for row in rows if row[0] == "Austin")])
    stamp = naming.as_of_stamp(AS_OF)
    for finished in (jobs.preprocess("austin", as_of=stamp), jobs.train("austin", as_of=stamp)):
        assert finished.code == 0, finished.stderr
    jobs.pack()
    evaluated = jobs.evaluate("austin", as_of=stamp)
    assert evaluated.code == 0, evaluated.stderr
    return jobs


@dataclass
class Container:
    """A model server that the local SageMaker has started.

    :param interpreter: what stands for its image.
    :param port: where it listens.
    """

    interpreter: Path
    port: int

    def metric(self, name: str) -> float:
        """A metric without labels."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{self.port}/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        (line,) = (line for line in lines if line.startswith(f"model_server_{name} "))
        return float(line.split()[-1])


def containers(server: LocalSageMaker) -> list[Container]:
    """The model servers that run now."""
    found = []
    for process in psutil.Process(server.process.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            words = process.cmdline()
            if any(word.endswith("model_server/__main__.py") for word in words):
                # The container's environment is behind the fence, not the supervisor's.
                (port,) = {
                    int(inner.environ()["SAGEMAKER_BIND_TO_PORT"])
                    for inner in process.children(recursive=True)
                    if "SAGEMAKER_BIND_TO_PORT" in inner.environ()
                }
                found.append(Container(Path(words[words.index("--") + 1]), port))
    return found


@dataclass
class EndpointFleet:
    """The Texas fleet file in a folder of its own, to be edited, and the endpoint it describes."""

    server: LocalSageMaker
    folder: Path

    def deploy(self, image: str | None) -> Container:
        """Say what serves, run the DAG, and return the container that answers then."""
        changed = "endpoint:\n" if image is None else f"endpoint:\n  image: {image}\n"
        (self.folder / FLEET_FILE.name).write_text(FLEET_FILE.read_text().replace("endpoint:\n", changed))
        results = run_endpoint_dag(self.folder)
        assert results["endpoint"] | {"endpoint_config_name": ""} == {
            "endpoint": ENDPOINT,
            "endpoint_config_name": "",
            "status": "InService",
        }
        # The containers of the configuration before go when they have nothing more to answer.
        return wait_until(lambda: only(containers(self.server)), 60, "one container is left")

    def container(self) -> dict[str, Any]:
        """The container that serves, as SageMaker describes it."""
        sagemaker = self.server.client("sagemaker")
        config = sagemaker.describe_endpoint(EndpointName=ENDPOINT)["EndpointConfigName"]
        (variant,) = sagemaker.describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"]
        (container,) = sagemaker.describe_model(ModelName=variant["ModelName"])["Containers"]
        return dict(container)

    def ask(self, target: str, body: str, content_type: str = "text/csv") -> str:
        """What the endpoint answers."""
        answer = self.server.client("sagemaker-runtime").invoke_endpoint(
            EndpointName=ENDPOINT, TargetModel=target, ContentType=content_type, Body=body.encode()
        )
        return str(answer["Body"].read().decode())


def only(found: list[Container]) -> Container | None:
    return found[0] if len(found) == 1 else None


def aws_variables(server: LocalSageMaker) -> dict[str, str]:
    return {name: value for name, value in server.environment.items() if name.startswith("AWS_")}


@pytest.fixture
def fleet(aws: LocalSageMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EndpointFleet:
    """The fleet, and the environment of a task."""
    for variable, value in aws_variables(aws).items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "aws://")
    monkeypatch.setenv("CITY_FLEET_WAITER_DELAY_SECONDS", "1")
    return EndpointFleet(aws, tmp_path)


def test_both_images_answer_with_the_evaluations_own_predictions(fleet: EndpointFleet, austin: Jobs) -> None:
    """The way to our image and back, by the fleet file and the DAG alone; prices stay equal to the last digit."""
    archive = (austin.root / "model" / "packed" / "model.tar.gz").read_bytes()
    target = naming.target_model("austin", AS_OF, hashlib.sha256(archive).hexdigest())
    fleet.server.client("s3").put_object(Bucket=KEYS.bucket, Key=KEYS.model(target), Body=archive)
    holdout = austin.read_json("evaluate", "evaluation", "city=austin", "holdout.json")
    rows = [row["values"] for row in holdout["rows"]]
    by_xgboost = [repr(row["predicted"]) for row in holdout["rows"]]
    lines = [",".join("" if value is None else repr(value) for value in row) for row in rows]
    named = json.dumps({"instances": [dict(zip(holdout["features"], row, strict=True)) for row in rows]})
    assert all(10_000 < float(price) < 10_000_000 for price in by_xgboost)

    own = Path(fleet.server.data_dir.parent / "own-image" / "bin" / "python")
    for chosen, image, interpreter in (
        (None, MANAGED, IMAGE_PYTHON),
        ("own", OWN, own),
        ("managed", MANAGED, IMAGE_PYTHON),
    ):
        container = fleet.deploy(chosen)
        assert fleet.container()["Image"] == image
        assert container.interpreter == interpreter
        assert [fleet.ask(target, line) for line in lines] == by_xgboost
        assert fleet.ask(target, "\n".join(lines)) == ",".join(by_xgboost)
        assert fleet.ask(target, named, "application/json") == ",".join(by_xgboost)
        assert container.metric("plain_total") == len(lines)


def set_faults(server: LocalSageMaker, *faults: dict[str, Any]) -> None:
    body = json.dumps({"faults": faults}).encode()
    request = urllib.request.Request(f"{server.url}/_local/faults", body, method="PUT")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    opener.open(request, timeout=30).close()


def doctor_says(fleet: EndpointFleet) -> str:
    """What ``./fleet doctor`` says of the endpoint."""
    loaded = load_fleet(fleet.folder / FLEET_FILE.name)
    found = aws_checks.check(loaded, fleet.server.client, {"": wanted_config_name(loaded)})
    (said,) = (f"{each.level} {each.what}" for each in found if f"endpoint {ENDPOINT} " in each.what)
    return said


def test_an_update_that_sagemaker_rolls_back_fails_with_its_reason(fleet: EndpointFleet) -> None:
    """InService again, with the configuration from before: what SageMaker calls a success is none."""
    fleet.deploy("managed")
    before = fleet.container()
    assert doctor_says(fleet) == f"ok endpoint {ENDPOINT} is in service"
    reason = "The container did not answer its health check"
    set_faults(fleet.server, {"kind": "endpoint_failure", "reason": reason})
    try:
        with pytest.raises(AirflowFailException, match=f"rolled the update.*back.*{reason}"):
            fleet.deploy("own")
    finally:
        set_faults(fleet.server)
    assert fleet.container() == before
    assert doctor_says(fleet).startswith(f"fail endpoint {ENDPOINT} serves with ")
    assert doctor_says(fleet).endswith(f"an update was rolled back: {reason}")
    fleet.deploy("own")  # the cause is mended: the next run tries again
    assert doctor_says(fleet) == f"ok endpoint {ENDPOINT} is in service"
    (fleet.folder / FLEET_FILE.name).write_text(FLEET_FILE.read_text())
    assert doctor_says(fleet).startswith(f"warn endpoint {ENDPOINT} serves with ")


def test_an_endpoint_that_can_not_be_created_says_why(fleet: EndpointFleet) -> None:
    sagemaker = fleet.server.client("sagemaker")
    if sagemaker.list_endpoints(NameContains=ENDPOINT)["Endpoints"]:
        sagemaker.delete_endpoint(EndpointName=ENDPOINT)
        sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=ENDPOINT, WaiterConfig={"Delay": 1})
    set_faults(fleet.server, {"kind": "endpoint_failure", "reason": "no image of that name"})
    try:
        with pytest.raises(AirflowException, match=r"is Failed\. SageMaker says: no image of that name"):
            fleet.deploy("own")
    finally:
        set_faults(fleet.server)
    fleet.deploy("own")


def test_the_containers_own_environment_is_all_that_it_needs_to_serve(
    fleet: EndpointFleet, austin: Jobs, tmp_path: Path
) -> None:
    """As on AWS, where nobody lays the serving code beside our image's program: it fetches it from S3 itself."""
    fleet.deploy("own")
    described = fleet.container()["Environment"]
    server = ModelServer(tmp_path, interpreter=sys.executable, **described, **aws_variables(fleet.server))
    try:
        assert server.load_folder("austin", austin.root / "model" / "model")[0] == 200
        row = austin.read_json("evaluate", "evaluation", "city=austin", "holdout.json")["rows"][0]
        line = ",".join("" if value is None else repr(value) for value in row["values"])
        status, price = server.call("POST", "/models/austin/invoke", line.encode(), Content_Type="text/csv")
        assert (status, float(price)) == (200, pytest.approx(row["predicted"], rel=1e-6))
        assert '"event": "code_fetched"' in server.log.read_text()
    finally:
        server.stop()
