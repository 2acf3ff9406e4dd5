"""The digest's DAG as Airflow runs it: a city's run fails for real, and notifiers of providers send the message.

A run without its record is no success, whatever its other tasks say.
"""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from airflow.serialization.serialized_objects import DagSerialization

from city_fleet.orchestration.fleet_dags import fleet_dags
from city_fleet.orchestration.fleet_tasks.digest_operators import NotifyOperator
from tests.support.airflow_database import lay_down
from tests.support.http_server import running_http_server
from tests.support.local_sagemaker import LocalSageMaker, running_server
from tests.support.paths import ROOT

NOTIFIERS = """
digest:
  schedule: "30 6 * * *"
  notifiers:
    - notifier: airflow.providers.amazon.aws.notifications.sns.SnsNotifier
      arguments: {target_arn: "%s", subject: "{{ digest.subject }}", message: "{{ digest.text }}"}
    - notifier: airflow.providers.http.notifications.HttpNotifier
      arguments: {endpoint: /hook, json: {text: "{{ digest.text }}", failed: "{{ digest.counts.failed }}"}}
    - notifier: airflow.providers.http.hooks.http.HttpHook
    - notifier: airflow.providers.http.notifications.HttpNotifier
      arguments: {url: http://localhost}
"""


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSageMaker]:
    with running_server(tmp_path_factory.mktemp("aws")) as server:
        server.client("s3").create_bucket(Bucket="city-fleet")
        yield server


@pytest.fixture
def hook() -> Iterator[tuple[str, list[Any]]]:
    """A web hook: its URL, and what it was sent."""
    received: list[Any] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append((self.path, json.loads(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with running_http_server(Handler) as url:
        yield url, received


def fleets(folder: Path, digest: str) -> Path:
    """Write a fleet of one city."""
    folder.mkdir()
    texas = (ROOT / "include" / "fleets" / "texas_housing.yaml").read_text().split("\ncities:\n")[0]
    texas = texas.replace("\ndefaults:\n", "\ndefaults:\n  capacity_wait_seconds: 0\n")
    (folder / "texas_housing.yaml").write_text(f"{texas}\n{digest}\ncities:\n  austin: {{name: Austin}}\n")
    return folder


def environment(aws: LocalSageMaker, folder: Path, hook_url: str) -> dict[str, str]:
    """An Airflow home of its own, and the local AWS."""
    foreign = ("AIRFLOW", "CITY_FLEET", "AWS_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {
        **inherited,
        **{name: value for name, value in aws.environment.items() if name.startswith("AWS_")},
        "PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}",
        "CITY_FLEET_FLEETS": str(fleets(folder / "fleets", NOTIFIERS % topic(aws))),
        "AIRFLOW_HOME": str(folder),
        "CITY_FLEET_WAITER_DELAY_SECONDS": "1",
        "AIRFLOW_CONN_AWS_DEFAULT": "aws://",
        "AIRFLOW_CONN_HTTP_DEFAULT": hook_url,
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
    }


def run(environ: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], env=environ, cwd=ROOT, capture_output=True, text=True, check=False
    )


def run_dags(environ: dict[str, str]) -> tuple[dict[str, Any], str]:
    done = run(environ, str(ROOT / "tests" / "airflow" / "digest_run.py"))
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-5000:]
    return json.loads(output.split("REPORT ")[1].splitlines()[0]), output


def topic(aws: LocalSageMaker) -> str:
    """Return a topic whose messages go into the queue ``digests``."""
    sns, sqs = aws.client("sns"), aws.client("sqs")
    arn = str(sns.create_topic(Name="digests")["TopicArn"])
    queue = sqs.create_queue(QueueName="digests")["QueueUrl"]
    queue_arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"][
        "QueueArn"
    ]
    sns.subscribe(TopicArn=arn, Protocol="sqs", Endpoint=queue_arn)
    return arn


def test_a_failed_run_is_told_by_every_notifier_and_one_without_its_record_fails(
    aws: LocalSageMaker, hook: tuple[str, list[Any]], tmp_path: Path
) -> None:
    """One Airflow for both: its start takes longer than either."""
    url, received = hook
    lay_down(tmp_path)
    environ = environment(aws, tmp_path, url)
    report, output = run_dags(environ)

    # There are no raw data, so the first job can't start; the record says with which error.
    assert report["city"]["run"] == "failed"
    assert report["city"]["tasks"]["record"] == "success"
    s3 = aws.client("s3")
    listed = s3.list_objects_v2(Bucket="city-fleet", Prefix="texas_housing/laptop/state/runs/austin/")
    records = [
        json.loads(s3.get_object(Bucket="city-fleet", Key=item["Key"])["Body"].read())
        for item in listed["Contents"]
    ]
    (record,) = (each for each in records if each["as_of"] == "20140101T000000Z")
    assert (record["outcome"], record["failed_task"]) == ("failed", "preprocess")
    assert record["failure"]["error"] == "AirflowFailException"
    assert "raw/city=austin" in record["failure"]["message"]
    assert record["reasons"] == [f"task preprocess failed: {record['failure']['message']}"]

    assert report["digest"]["tasks"] == {
        **{"compose": "success", "notify_1": "success", "notify_2": "success"},
        **{"notify_3": "failed", "notify_4": "failed"},
    }
    assert "digest.notifiers, 'airflow.providers.http.hooks.http.HttpHook': is not a subclass" in output
    assert 'got ["url"]' in output.replace("\\", "")
    sqs = aws.client("sqs")
    (message,) = sqs.receive_message(QueueUrl=sqs.get_queue_url(QueueName="digests")["QueueUrl"])["Messages"]
    sent = json.loads(message["Body"])
    assert sent["Subject"] == "texas_housing (laptop), 2014-01-01: 1 failed"
    assert "FAILED, 1:\n  1 × task preprocess failed: " in sent["Message"]
    assert received == [("/hook", {"text": sent["Message"], "failed": "1"})]

    assert set(report["empty"]["tasks"].values()) == {"skipped"}
    assert report["empty"]["run"] == "success"

    # Once its record could be written, and once not.
    good, bad = report["recorded"], report["unrecorded"]
    assert (good["run"], good["tasks"]["preprocess"]) == ("success", "skipped"), output[-5000:]
    assert (good["tasks"]["record"], good["tasks"]["recorded"]) == ("success", "success")
    assert (bad["run"], bad["tasks"]["preprocess"]) == ("failed", "skipped")
    assert (bad["tasks"]["record"], bad["tasks"]["recorded"]) == ("failed", "upstream_failed")
    assert "task record: AWS has refused for 0 seconds (capacity_wait_seconds)" in output
    assert {each["as_of"] for each in records} == {"20140101T000000Z", "20010101T000000Z"}

    # The doctor reads the same Airflow.
    doctor = run(environ, "-m", "city_fleet.cli.app", "doctor", "--no-aws", "--json")
    found = {each["what"]: each["level"] for each in json.loads(doctor.stdout) if each["area"] == "Airflow"}
    assert found["texas_housing: 1 of 1 cities are paused"] == "warn"
    assert found["there is no pool city_fleet_laptop: its tasks wait for ever"] == "fail"
    assert doctor.returncode == 1


def test_the_dag_is_as_the_fleet_file_says(tmp_path: Path) -> None:
    folder = fleets(tmp_path / "fleets", NOTIFIERS % "arn:aws:sns:us-east-1:123456789012:digests")
    (dag,) = fleet_dags(folder, only="texas_housing._digest")
    assert sorted(dag.task_ids) == ["compose", "notify_1", "notify_2", "notify_3", "notify_4"]
    assert all(dag.get_task(f"notify_{number}").upstream_task_ids == {"compose"} for number in range(1, 5))
    stored = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    assert stored.timetable.summary == "30 6 * * *"
    (quiet,) = fleet_dags(
        fleets(tmp_path / "quiet", "digest: {schedule: null}"), only="texas_housing._digest"
    )
    assert quiet.task_ids == ["compose"]
    assert DagSerialization.from_dict(DagSerialization.to_dict(quiet)).timetable.can_be_scheduled is False


@pytest.mark.parametrize("path", ["no.such.module.Notifier", "airflow.sdk.NoSuchThing", "json.dumps"])
def test_what_is_no_notifier_is_refused(path: str) -> None:
    class Task:
        def xcom_pull(self, task_ids: str) -> dict[str, str]:
            return {"subject": "s", "text": "t"}

    operator = NotifyOperator(task_id="notify_1", notifier=path, arguments={})
    with pytest.raises(AirflowFailException, match=f"digest.notifiers, '{path}'"):
        operator.execute({"ti": Task()})  # type: ignore[typeddict-item, arg-type]
