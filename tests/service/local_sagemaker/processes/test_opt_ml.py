"""A job's /opt/ml: its own where the system allows namespaces; elsewhere paths are rewritten, and a failure says so."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from local.sagemaker.processes import sandbox as sandboxes
from local.sagemaker.processes.processes import can_mount_opt_ml
from local.sagemaker.processes.sandbox import Sandbox
from tests.support.fence_jobs import Job
from tests.support.local_sagemaker import LocalSageMaker

NAMES_IT = """
import json, os, pathlib, subprocess
code = pathlib.Path("/opt/ml/processing/input/code/run.py").read_text()
out = pathlib.Path("/opt/ml/processing/output")
subprocess.run(["sh", "-c", "echo by a shell > /opt/ml/processing/output/shell.txt"], check=True)
pathlib.Path("/opt/ml/kept").write_text("three")
os.symlink("/opt/ml/kept", out / "latest")
try:
    os.mkdir("/opt/other")
except OSError as error:
    refused = error.strerror
seen = {"code": len(code), "opt": sorted(os.listdir("/opt")), "refused": refused, "file": __file__, "cwd": os.getcwd(),
        "arguments": __import__("sys").argv[1:], "leads": os.path.realpath(out / "latest")}
(out / "seen.json").write_text(json.dumps(seen))
pathlib.Path("/opt/ml/output/message").write_text("said by /opt/ml/output/message")
"""


def test_a_script_that_names_opt_ml_finds_its_files_there(job_server: LocalSageMaker) -> None:
    s3 = job_server.client("s3")
    if "bucket" not in {each["Name"] for each in s3.list_buckets()["Buckets"]}:
        s3.create_bucket(Bucket="bucket")
    here = sorted(os.listdir("/opt"))
    job = Job(job_server.client, "names-opt-ml", NAMES_IT)
    assert job.end["ProcessingJobStatus"] == "Completed", job.end
    assert job.end["ExitMessage"] == "said by /opt/ml/output/message"
    uploaded = job.uploaded()
    assert json.loads(uploaded.pop("seen.json")) == {
        "code": len(NAMES_IT),
        "opt": sorted({*here, "ml"}),
        "refused": "Read-only file system",
        "file": "/opt/ml/processing/input/code/run.py",
        "cwd": "/opt/ml",
        "arguments": ["/opt/ml/processing/output", "/opt/ml"],
        "leads": "/opt/ml/kept",
    }
    assert uploaded == {"shell.txt": b"by a shell\n", "latest": b"three"}
    assert sorted(os.listdir("/opt")) == here, "nothing is left on this machine"


def test_where_there_is_none_of_its_own_a_failure_names_the_path(
    start_server: Callable[..., LocalSageMaker],
) -> None:
    server = start_server("--no-isolation")
    assert (
        "Jobs and model servers have no /opt/ml of their own here (--no-isolation)" in server.log.read_text()
    )
    server.client("s3").create_bucket(Bucket="bucket")
    given = Job(server.client, "given", "import os, sys\nopen(sys.argv[1] + '/x', 'w').write(os.getcwd())")
    assert given.end["ProcessingJobStatus"] == "Completed", given.end
    job = Job(server.client, "named", "open('/opt/ml/processing/input/raw/sales.csv')")
    assert job.end["ProcessingJobStatus"] == "Failed"
    assert job.end["FailureReason"].startswith(
        "AlgorithmError: , exit code: 1 (/opt/ml/processing/input/raw/sales.csv is named in the log, and the local "
        "SageMaker can give no job an /opt/ml of its own on this machine: take paths from arguments"
    )


def test_what_was_written_beside_the_sandbox_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As root a script's files would land in /opt/ml of this machine, and the job be Completed without results."""
    host = tmp_path / "host/opt/ml"
    (host / "model").mkdir(parents=True)
    monkeypatch.setattr(sandboxes, "OPT_ML", str(host))
    (host / "old").touch()
    os.utime(host / "old")
    before = (host / "old").stat().st_ctime
    sandbox = Sandbox(tmp_path / "jobs", "job")
    sandbox._began = before + 0.001  # a file system's clock may be coarse
    assert sandbox.strayed() is None
    sandbox._began = before
    assert sandbox.strayed() == str(host / "old")
    assert Sandbox(tmp_path / "jobs", "job", own_opt_ml=True).strayed() is None


def test_a_system_without_namespaces_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert can_mount_opt_ml(tmp_path)
    monkeypatch.setattr("sys.platform", "darwin")
    assert not can_mount_opt_ml(tmp_path)
