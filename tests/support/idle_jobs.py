"""A local SageMaker whose jobs stay in progress without a process, as long as a test wants them to."""

from __future__ import annotations

import contextlib
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.aws_names import IMAGE_URI, ROLE
from tests.support.local_sagemaker import LocalSageMaker, running_server

REQUEST: dict[str, Any] = {
    "RoleArn": ROLE,
    "AppSpecification": {
        "ImageUri": IMAGE_URI,
        "ContainerEntrypoint": ["python3", "-c", "pass"],
    },
    "ProcessingResources": {
        "ClusterConfig": {"InstanceType": "ml.t3.medium", "InstanceCount": 1, "VolumeSizeInGB": 5}
    },
}


class IdleJobs:
    """Makes and ends processing jobs, and counts what is asked about them."""

    def __init__(self, server: LocalSageMaker) -> None:
        self.server = server
        self.client = server.client("sagemaker")

    def create(self, *names: str) -> None:
        """Start jobs that wait for an instance until they are stopped."""
        for name in names:
            self.client.create_processing_job(ProcessingJobName=name, **REQUEST)

    def end(self, *names: str) -> None:
        """End jobs; they are over when this returns."""
        for name in names:
            self.client.stop_processing_job(ProcessingJobName=name)

    def faults(self, *faults: dict[str, Any]) -> None:
        """Turn on these faults and no others."""
        self._faults("PUT", list(faults))

    def count(self, *operations: str) -> None:
        """Count requests from now on; globs such as ``List*``."""
        self.faults(*({"kind": "latency", "operation": each, "seconds": 0} for each in operations))

    def counted(self) -> dict[str, int]:
        """The requests since :meth:`count`, by operation."""
        return {fault["operation"]: fault["seen"] for fault in self._faults("GET")["faults"]}

    def injected(self) -> list[int]:
        """How often each fault has struck."""
        return [fault["injected"] for fault in self._faults("GET")["faults"]]

    def _faults(self, method: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.server.url}/_local/faults", data, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


@contextlib.contextmanager
def idle_jobs(folder: Path) -> Iterator[IdleJobs]:
    """Start such a server.

    One job at a time may run, and its instance takes a day to come up; the others wait for their turn. So a job
    that is stopped is over at once, but for the first, which no test has.
    """
    with running_server(folder, "--max-running-jobs", "1", "--start-delay-seconds", "86399") as server:
        jobs = IdleJobs(server)
        jobs.create("first")
        yield jobs
