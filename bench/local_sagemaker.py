"""What the local SageMaker costs: ``make bench-local`` prints JSON; every figure stands beside a peer of the same run.

jobs           from CreateProcessingJob to the end in Describe, less the script's own run time; peer: the same script
               started by subprocess alone. With a warm interpreter and without; for a script that imports nothing and
               one that imports what job scripts import. ``start`` is the time from the request to the script's first
               line, ``end`` that from its last line to the end in Describe.
endpoint       InvokeEndpoint of one tiny model; peer: the same request to the bare model server. The client is a
               bare connection both times, so that no client's own work hides the difference; boto3 for comparison.
               The processor time is that of both servers: it holds on a machine that others use too.
memory         a model server that has nothing loaded, whose handler imports what the image has; peer: an interpreter
               with the same imports alone. Proportional set size (Linux).
control_plane  calls/s of one boto3 client, and of eight threads; peer: S3's HeadBucket, which is moto's.

Times are medians in milliseconds. Ratios tell more than figures: machines differ, and the load is told.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import http.client
import io
import json
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import boto3
import psutil
from botocore.config import Config

REPOSITORY = Path(__file__).resolve().parents[1]
IMAGE = "sagemaker-xgboost:3.2-0"
IMAGE_URI = f"683313688378.dkr.ecr.us-east-1.amazonaws.com/{IMAGE}"
ROLE = "arn:aws:iam::123456789012:role/bench"
TRUST = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}
    ],
}
BUCKET = "bench"
LIBRARIES = "import numpy, pandas, xgboost"
#: Says when it began and how long it ran.
SCRIPT = """import time
began = time.time(), time.perf_counter()
{imports}
import json
print("BENCH", json.dumps([began[0], time.perf_counter() - began[1]]), flush=True)
"""
HANDLER = """{imports}
def model_fn(model_dir):
    return open(model_dir + "/model.txt").read()
def input_fn(body, content_type):
    return body
def predict_fn(data, model):
    return model + data
def output_fn(prediction, accept):
    return prediction
"""


def main() -> int:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description="What the local SageMaker costs.")
    parser.add_argument("--jobs", type=int, default=15, help="jobs of each kind (default %(default)s)")
    parser.add_argument(
        "--requests", type=int, default=2000, help="requests of each kind (default %(default)s)"
    )
    parser.add_argument("--only", choices=("jobs", "endpoint"), help="leave the rest out")
    chosen = parser.parse_args()
    found: dict[str, Any] = {
        "machine": {
            "cpus": os.cpu_count(),
            "system": platform.platform(),
            "load": round(os.getloadavg()[0], 1),
        },
        "counts": {"jobs": chosen.jobs, "requests": chosen.requests},
    }
    kinds = {"warm": [], "plain": ["--no-warm-runner"]}
    if chosen.only == "endpoint":
        del kinds["plain"]
    for name, arguments in kinds.items():
        with running(*arguments) as server:
            for label, imports in (("no imports", ""), ("libraries", LIBRARIES)):
                if chosen.only != "endpoint":
                    row = server.jobs(imports, chosen.jobs, warm=name == "warm")
                    found.setdefault("jobs", {})[f"{name}, {label}"] = row
            if name == "warm" and chosen.only != "jobs":
                found["endpoint"] = server.endpoint(chosen.requests)
                if chosen.only is None:
                    found["memory"] = server.memory()
                    found["control_plane"] = server.control_plane(chosen.requests // 4)
    json.dump(found, sys.stdout, indent=2)
    print()
    return 0


class Bench:
    """A running server and what is measured on it.

    :param url: where it listens.
    :param data: its data folder.
    :param pid: its process.
    """

    def __init__(self, url: str, data: Path, pid: int) -> None:
        host, port = url.removeprefix("http://").split(":")
        self.url = url
        self.pid = pid
        self.data = data.resolve()
        self.address = host, int(port)
        self._clients: dict[str, Any] = {}
        self._count = 0
        self.client("s3").create_bucket(Bucket=BUCKET)
        self.client("iam").create_role(RoleName="bench", AssumeRolePolicyDocument=json.dumps(TRUST))

    def client(self, service: str) -> Any:
        """A boto3 client."""
        if service not in self._clients:
            self._clients[service] = boto3.client(
                service,
                region_name="us-east-1",
                endpoint_url=self.url,
                aws_access_key_id="local",
                aws_secret_access_key="local",  # noqa: S106
                config=Config(proxies={}, max_pool_connections=32),
            )
        return self._clients[service]

    def jobs(self, imports: str, count: int, *, warm: bool) -> dict[str, Any]:
        """Processing jobs one after the other.

        :param warm: whether to wait until the interpreter is warm.
        """
        script = SCRIPT.format(imports=imports)
        self.client("s3").put_object(Bucket=BUCKET, Key="code/job.py", Body=script.encode())
        self.job()
        until(lambda: bool(self.health()["warm_interpreters"]) or not warm)
        self.job()
        rows, peers = [], []
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "job.py"
            path.write_text(script)

            def run_alone() -> None:
                subprocess.run([image_python(), path], stdout=subprocess.DEVNULL, check=True)

            for _ in range(count):  # in turns, so that what else the machine does falls on both
                rows.append(self.job())
                peers += timed(run_alone, 1)
        medians = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
        alone = statistics.median(peers)
        return {
            **{f"{name}_ms": round(seconds * 1000, 1) for name, seconds in medians.items()},
            "peer: subprocess alone_ms": round(alone * 1000, 1),
            "total / peer": round(medians["total"] / alone, 2),
        }

    def job(self) -> dict[str, float]:
        """One processing job; seconds."""
        self._count += 1
        name = f"job-{self._count}"
        sagemaker = self.client("sagemaker")
        folder = "/opt/ml/processing/input/code"
        source = {"S3Uri": f"s3://{BUCKET}/code/job.py", "LocalPath": folder, "S3DataType": "S3Prefix"}
        cluster = {"InstanceType": "ml.t3.medium", "InstanceCount": 1, "VolumeSizeInGB": 5}
        began = time.time()
        sagemaker.create_processing_job(
            ProcessingJobName=name,
            RoleArn=ROLE,
            AppSpecification={"ImageUri": IMAGE_URI, "ContainerEntrypoint": ["python3", f"{folder}/job.py"]},
            ProcessingInputs=[{"InputName": "code", "S3Input": source | {"S3InputMode": "File"}}],
            ProcessingResources={"ClusterConfig": cluster},
        )
        described: dict[str, Any] = {"ProcessingJobStatus": "InProgress"}
        while described["ProcessingJobStatus"] == "InProgress":
            time.sleep(0.02)  # rarely: the question itself keeps the server from its work
            described = sagemaker.describe_processing_job(ProcessingJobName=name)
        assert described["ProcessingJobStatus"] == "Completed", described
        ended = described["ProcessingEndTime"].timestamp()
        line = next(
            each for each in self.log("/aws/sagemaker/ProcessingJobs", name) if each.startswith("BENCH")
        )
        first, script = json.loads(line.removeprefix("BENCH"))
        return {
            "start": first - began,
            "script": script,
            "end": ended - first - script,
            "total": ended - began,
            "overhead": ended - began - script,
        }

    def log(self, group: str, name: str) -> list[str]:
        """The lines of a job's log."""
        logs = self.client("logs")
        streams = logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{name}/")["logStreams"]
        stream = streams[0]["logStreamName"]
        page = logs.get_log_events(logGroupName=group, logStreamName=stream, startFromHead=True)
        return [event["message"] for event in page["events"]]

    def health(self) -> dict[str, Any]:
        """What the server tells of itself."""
        with contextlib.closing(http.client.HTTPConnection(*self.address)) as connection:
            connection.request("GET", "/_local/health")
            return dict(json.loads(connection.getresponse().read()))

    def create_endpoint(self, name: str, imports: str) -> None:
        """Create a multi-model endpoint and wait for it."""
        s3, sagemaker = self.client("s3"), self.client("sagemaker")
        code = archive("inference.py", HANDLER.format(imports=imports))
        s3.put_object(Bucket=BUCKET, Key=f"code/{name}.tar.gz", Body=code)
        s3.put_object(Bucket=BUCKET, Key="models/a.tar.gz", Body=archive("model.txt", "a"))
        environment = {
            "SAGEMAKER_PROGRAM": "inference.py",
            "SAGEMAKER_SUBMIT_DIRECTORY": f"s3://{BUCKET}/code/{name}.tar.gz",
        }
        container = {"Image": IMAGE_URI, "Mode": "MultiModel", "ModelDataUrl": f"s3://{BUCKET}/models/"}
        variant = {"VariantName": "AllTraffic", "ModelName": name, "InstanceType": "ml.m5.large"}
        sagemaker.create_model(
            ModelName=name, ExecutionRoleArn=ROLE, Containers=[container | {"Environment": environment}]
        )
        sagemaker.create_endpoint_config(
            EndpointConfigName=name, ProductionVariants=[variant | {"InitialInstanceCount": 1}]
        )
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
        until(lambda: sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"] == "InService")

    def endpoint(self, count: int) -> dict[str, Any]:
        """InvokeEndpoint against the bare model server."""
        self.create_endpoint("small", "")
        runtime = self.client("sagemaker-runtime")
        request = {
            "EndpointName": "small",
            "TargetModel": "a.tar.gz",
            "Body": b"1,2",
            "ContentType": "text/csv",
        }

        def ask_with_boto3() -> None:
            runtime.invoke_endpoint(**request)["Body"].read()

        by_boto3 = timed(ask_with_boto3, max(2, count // 10))
        model_server, port = self.model_server("small")
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
            connection.request("GET", "/models")
            (model,) = json.loads(connection.getresponse().read())["models"]
        scope = "Credential=x/20260101/us-east-1/sagemaker/aws4_request, SignedHeaders=host, Signature=0"
        csv = {"Content-Type": "text/csv"}
        signed = csv | {
            "Authorization": f"AWS4-HMAC-SHA256 {scope}",
            "X-Amzn-SageMaker-Target-Model": "a.tar.gz",
        }
        through = Question(self.address, "/endpoints/small/invocations", signed)
        bare = Question(("127.0.0.1", port), f"/models/{model['modelName']}/invoke", csv)
        times: dict[Question, list[float]] = {through: [], bare: []}
        spent = dict.fromkeys(times, 0.0)
        for _ in range(10):  # in turns, so that what else the machine does falls on both
            for question in times:
                before = processor_seconds(self.pid, model_server)
                times[question] += timed(question.ask, count // 10)
                spent[question] += processor_seconds(self.pid, model_server) - before
        ours, peer = (statistics.median(found) * 1000 for found in times.values())
        through_us, bare_us = (seconds / (count // 10 * 10) * 1e6 for seconds in spent.values())
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            questions = [Question(self.address, "/endpoints/small/invocations", signed) for _ in range(8)]
            began = time.perf_counter()
            list(pool.map(lambda question: timed(question.ask, count // 8), questions))
            together = count // 8 * 8 / (time.perf_counter() - began)
        return {
            "invoke_ms": round(ours, 3),
            "peer: bare model server_ms": round(peer, 3),
            "overhead_ms": round(ours - peer, 3),
            "invoke / peer": round(ours / peer, 2),
            "invoke_processor_us": round(through_us),
            "peer: bare model server_processor_us": round(bare_us),
            "overhead_processor_us": round(through_us - bare_us),
            "by_boto3_ms": round(statistics.median(by_boto3) * 1000, 3),
            "requests_per_second_with_8_callers": round(together),
        }

    def memory(self) -> dict[str, Any]:
        """Memory of an idle model server with the image's libraries."""
        self.create_endpoint("idle", LIBRARIES)
        pid, _ = self.model_server("idle")
        script = f"{LIBRARIES}\nprint('up', flush=True)\nimport time\ntime.sleep(60)"
        with subprocess.Popen([image_python(), "-c", script], stdout=subprocess.PIPE) as peer:
            assert peer.stdout is not None
            peer.stdout.readline()
            ours, alone = proportional_mb(pid), proportional_mb(peer.pid)
            peer.kill()
        warm = [proportional_mb(each) for each in processes("warm.py", "PADDING=")]
        return {
            "idle_endpoint_mb": ours,
            "peer: interpreter with the same imports_mb": alone,
            "idle_endpoint / peer": round(ours / alone, 2) if ours and alone else None,
            "warm_interpreter_mb": warm[0] if warm else None,
        }

    def model_server(self, endpoint: str) -> tuple[int, int]:
        """Process id and port of an endpoint's model server."""
        for pid in processes("\0serve\0", f"TMPDIR={self.data}/endpoints/{endpoint}-"):
            if "supervisor.py" not in Path(f"/proc/{pid}/cmdline").read_text():
                environment = Path(f"/proc/{pid}/environ").read_text()
                return pid, int(environment.partition("SAGEMAKER_BIND_TO_PORT=")[2].partition("\0")[0])
        raise LookupError(f"no model server of endpoint {endpoint}")

    def control_plane(self, count: int) -> dict[str, Any]:
        """Calls/s of two operations, and of one that is moto's."""
        sagemaker, s3 = self.client("sagemaker"), self.client("s3")
        peer = "peer: HeadBucket of moto"
        calls: dict[str, Callable[[], Any]] = {
            "DescribeEndpoint": lambda: sagemaker.describe_endpoint(EndpointName="small"),
            "ListEndpoints": sagemaker.list_endpoints,
            peer: lambda: s3.head_bucket(Bucket=BUCKET),
        }
        result: dict[str, Any] = {}
        for name, call in calls.items():
            began = time.perf_counter()
            timed(call, count)
            alone = count / (time.perf_counter() - began)
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                began = time.perf_counter()
                list(pool.map(timed, [call] * 8, [count // 8] * 8))
                together = count // 8 * 8 / (time.perf_counter() - began)
            result[name] = {"calls_per_second": round(alone), "with_8_callers": round(together)}
        ratio = result["DescribeEndpoint"]["calls_per_second"] / result[peer]["calls_per_second"]
        return result | {"DescribeEndpoint / peer": round(ratio, 2)}


class Question:
    """One kept connection that sends the same POST again and again.

    :param address: host and port.
    """

    def __init__(self, address: tuple[str, int], path: str, headers: dict[str, str]) -> None:
        self._connection = http.client.HTTPConnection(*address)
        self._path = path
        self._headers = headers

    def ask(self) -> None:
        """Send it, and read the answer."""
        self._connection.request("POST", self._path, body=b"1,2", headers=self._headers)
        response = self._connection.getresponse()
        assert (response.read(), response.status) == (b"a1,2", 200)


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[Bench]:
    """A server of its own."""
    with tempfile.TemporaryDirectory() as folder:
        ready, data = Path(folder) / "ready.json", Path(folder) / "data"
        command = [sys.executable, "-m", "local.sagemaker", "--port", "0", "--data-dir", str(data)]
        command += ["--ready-file", str(ready), "--image", f"{IMAGE}={image_python()}", *arguments]
        process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL)
        try:
            until(lambda: ready.exists() or process.poll() is not None)
            yield Bench(json.loads(ready.read_text())["url"], data, process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def image_python() -> Path:
    """The interpreter that stands for the image."""
    found = REPOSITORY / ".venv-image" / "bin" / "python"
    return found if found.exists() else Path(sys.executable)


def archive(name: str, text: str) -> bytes:
    """A tar.gz of one file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(text.encode())
        tar.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


def until(condition: Callable[[], bool]) -> None:
    """Poll until a condition is true."""
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "not within 120 s"
        time.sleep(0.05)


def timed(call: Callable[[], Any], count: int) -> list[float]:
    """Seconds that each of several calls takes."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return times


def processor_seconds(*pids: int) -> float:
    """Processor time that processes have taken."""
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(each.user + each.system for each in times)


def proportional_mb(pid: int) -> float | None:
    """Memory of a process, shared pages by share; None where the system does not tell."""
    try:
        found = re.search(r"Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text())
    except OSError:
        return None
    return round(int(found.group(1)) / 1024, 1) if found else None


def processes(word: str, mark: str) -> Iterable[int]:
    """Processes with a word in their command line and a mark in their environment."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if word in (folder / "cmdline").read_text() and mark in (folder / "environ").read_text():
                yield int(folder.name)


if __name__ == "__main__":
    sys.exit(main())
