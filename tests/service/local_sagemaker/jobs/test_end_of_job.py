"""A job whose end can't be written: it is written as soon as that is possible again."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.fence_jobs import Job
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.waiting import wait_until

SCRIPT = """
import os, sys, time
path = sys.argv[2] + "/began"
open(path, "w").close()
while os.path.exists(path):
    time.sleep(0.05)
open(sys.argv[1] + "/done", "w").close()
sys.exit(3)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="prlimit is Linux's")
def test_the_end_of_a_job_is_written_once_there_is_room(start_server: Callable[..., Any]) -> None:
    server: LocalSageMaker = start_server()
    server.client("s3").create_bucket(Bucket="bucket")
    sagemaker = server.client("sagemaker")
    _, most = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)

    def allow(largest_file: int) -> None:
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (largest_file, most))

    def status() -> str:
        return str(sagemaker.describe_processing_job(ProcessingJobName="waits")["ProcessingJobStatus"])

    def end_without_room() -> None:
        began = "jobs/waits-*/opt/ml/began"
        wait_until(lambda: list(server.data_dir.glob(began)), 60, "the job has begun")
        allow(0)  # the server can write to no file, as on a full disk
        next(iter(server.data_dir.glob(began))).unlink()
        # The sandbox goes right before the end is written; the server's log is a file, too, and says nothing now.
        wait_until(lambda: not list(server.data_dir.glob("jobs/waits-*")), 90, "the sandbox is gone")
        assert status() == "InProgress"
        allow(most)

    job = Job(server.client, "waits", SCRIPT, meanwhile=end_without_room)
    assert job.end["ProcessingJobStatus"] == "Failed"
    assert "exit code: 3" in job.end["FailureReason"]
