"""What a job leaves is read within its sandbox only, and what it must not see is hidden before it begins."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.aws_names import IMAGE_URI, ROLE
from tests.support.fence_jobs import DEADLINE_SECONDS, TERMINAL, Job
from tests.support.local_sagemaker import LocalSageMaker, running_server
from tests.support.waiting import wait_until

SECRET = "drawn once and told to nobody"


@pytest.fixture(scope="module")
def secret_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the person who runs the server."""
    path = tmp_path_factory.mktemp("state") / "secrets.json"
    path.write_text(SECRET)
    path.chmod(0o600)
    return path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, secret_file: Path) -> Iterator[LocalSageMaker]:
    """A server that hides the secret's folder; its own secret is an object in S3."""
    folder = tmp_path_factory.mktemp("server")
    with running_server(folder, "--hide", str(secret_file.parent), "--stop-grace-seconds", "2") as found:
        s3 = found.client("s3")
        s3.create_bucket(Bucket="bucket")
        s3.put_object(Bucket="bucket", Key="raw/other.csv", Body=SECRET.encode())
        yield found


LINKS = {
    "a file": "os.symlink({secret!r}, out + '/x')",
    "a folder": "os.symlink(os.path.dirname({secret!r}), out + '/x')",
    "in the middle": "os.makedirs(out + '/a'); os.symlink('/', out + '/a/b')",
    "a link to a link": "os.symlink({secret!r}, ml + '/one'); os.symlink(ml + '/one', out + '/x')",
    "upwards": "os.symlink('../' * 40 + {secret!r}, out + '/x')",
    "the output itself": "os.rmdir(out); os.symlink(os.path.dirname({secret!r}), out)",
    "above the output": "shutil.rmtree(ml + '/processing'); os.makedirs({elsewhere!r} + '/output'); "
    "os.symlink({elsewhere!r}, ml + '/processing')",
    "by /opt/ml": "os.symlink('/opt/ml/../../etc/hostname', out + '/x')",
    "by way of proc": "os.symlink('/proc/self/root' + {secret!r}, out + '/x')",
    "the store": "os.symlink({data!r} + '/services.sqlite3', out + '/x')",
    "a pipe": "os.mkfifo(out + '/x')",
    "a socket": "os.chdir(out); socket.socket(socket.AF_UNIX).bind('x')",
    "a device": "os.symlink('/dev/zero', out + '/x')",
    "a circle": "os.symlink('.', out + '/x')",
    "itself": "os.symlink('x', out + '/x')",
    "nothing": "os.symlink(ml + '/nothing', out + '/x')",
    "a name that is no text": "open(os.fsencode(out) + bytes([47, 255]), 'w').close()",
}


def test_an_output_that_leads_out_of_the_sandbox_is_refused_with_a_sentence(
    server: LocalSageMaker, secret_file: Path, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    for number, (what, line) in enumerate(LINKS.items()):
        with subtests.test(what):
            places = {"secret": str(secret_file), "data": str(server.data_dir), "elsewhere": str(tmp_path)}
            script = f"import os, shutil, socket, sys\nout, ml = sys.argv[1:]\n{line.format(**places)}\n"
            job = Job(server.client, f"leads-{number}", script)
            assert job.end["ProcessingJobStatus"] == "Failed", job.end
            assert "Failed to upload output 'out': '/opt/ml" in job.end["FailureReason"]
            assert all(SECRET.encode() not in body for body in job.uploaded().values())
            assert str(server.data_dir) not in job.end["FailureReason"]


def test_links_within_the_sandbox_are_followed_as_on_aws(server: LocalSageMaker) -> None:
    script = (
        "import os, sys\nout, ml = sys.argv[1:]\nopen(ml + '/model-3', 'w').write('three')\n"
        "os.symlink(ml + '/model-3', out + '/latest')\nos.makedirs(out + '/a')\n"
        "open(out + '/a/one', 'w').write('one')\nos.symlink('a', out + '/b')\n"
        "os.link(out + '/a/one', out + '/a/two')\n"
    )
    job = Job(server.client, "within", script)
    assert job.end["ProcessingJobStatus"] == "Completed", job.end
    expected = {"latest": b"three", "a/one": b"one", "a/two": b"one", "b/one": b"one", "b/two": b"one"}
    assert job.uploaded() == expected


@pytest.mark.parametrize(
    "line",
    ["os.symlink({secret!r}, path)", "os.mkfifo(path)", "os.mkdir(path)", "os.symlink('message', path)"],
    ids=["link", "pipe", "folder", "itself"],
)
def test_a_message_that_is_no_file_is_not_read(
    server: LocalSageMaker, secret_file: Path, line: str, request: pytest.FixtureRequest
) -> None:
    line = line.format(secret=str(secret_file))
    script = f"import os, sys\npath = sys.argv[2] + '/output/message'\n{line}\nsys.exit(1)\n"
    job = Job(server.client, f"message-{request.node.callspec.id}", script)
    assert job.end["ProcessingJobStatus"] == "Failed"
    assert job.end["ExitMessage"].startswith(
        "The message of the script is not read: '/opt/ml/output/message'"
    )
    assert SECRET not in job.end["ExitMessage"]


def test_what_is_hidden_can_be_read_by_no_way(server: LocalSageMaker, secret_file: Path) -> None:
    script = f"""
import glob, json, os, sys
def read(path):
    try:
        with open(path, "rb") as file:
            return file.read().decode("latin-1")
    except OSError as error:
        return type(error).__name__
paths = [{str(secret_file)!r}, {str(server.data_dir)!r} + "/services.sqlite3"]
paths += [each + {str(secret_file)!r} for each in glob.glob("/proc/[0-9]*/root")]
others = [each for each in glob.glob("/proc/[0-9]*/environ") if each.split("/")[2] != str(os.getpid())]
seen = {{"files": {{path: read(path) for path in paths}}, "listed": os.listdir({str(secret_file.parent)!r}),
        "own": dict(os.environ), "server": read("/proc/{server.process.pid}/environ"), "others": len(others)}}
with open(sys.argv[1] + "/seen.json", "w") as file:
    json.dump(seen, file)
"""
    job = Job(server.client, "look", script)
    assert job.end["ProcessingJobStatus"] == "Completed", job.end
    seen = json.loads(job.uploaded()["seen.json"])
    assert seen["others"] > 0
    assert seen["listed"] == []
    assert not [path for path, content in seen["files"].items() if SECRET in content]
    assert seen["files"][str(secret_file)] == "FileNotFoundError"
    assert seen["server"] == "PermissionError"
    assert not {"AWS_SECRET_ACCESS_KEY", "CITY_FLEET_STACK"} & seen["own"].keys()


def test_what_a_job_sets_for_the_loader_or_python_runs_behind_the_fence(
    server: LocalSageMaker, secret_file: Path, tmp_path: Path
) -> None:
    # A module that Python imports when it starts: it tells which of the two could see the secret.
    (tmp_path / "sitecustomize.py").write_text(
        f"import os, sys\nprint('began', os.path.exists({str(secret_file)!r}), sys.executable)\n"
    )
    library = tmp_path / "began.c"
    library.write_text(
        "#include <stdio.h>\n#include <unistd.h>\n"
        "__attribute__((constructor)) static void began(void) {\n"
        f'  FILE *file = fopen("{tmp_path}/seen", "a");\n'
        f'  if (file) {{ fprintf(file, "%d\\n", access("{secret_file}", F_OK)); fclose(file); }}\n}}\n'
    )
    built = subprocess.run(
        ["cc", "-shared", "-fPIC", "-o", str(tmp_path / "began.so"), str(library)], check=False
    )
    environment = {"PYTHONPATH": str(tmp_path), "LD_LIBRARY_PATH": str(tmp_path)}
    if built.returncode == 0:
        environment["LD_PRELOAD"] = str(tmp_path / "began.so")
    job = Job(server.client, "preload", "print('ran')", environment)
    assert job.end["ProcessingJobStatus"] == "Completed", job.end
    logs = server.client("logs")
    streams = logs.describe_log_streams(
        logGroupName="/aws/sagemaker/ProcessingJobs", logStreamNamePrefix="preload/"
    )
    events = logs.get_log_events(
        logGroupName="/aws/sagemaker/ProcessingJobs", logStreamName=streams["logStreams"][0]["logStreamName"]
    )["events"]
    began = [event["message"] for event in events if event["message"].startswith("began")]
    assert len(began) == 1, began  # the job's own interpreter, and not the supervisor's
    assert began[0].startswith("began False")
    if built.returncode == 0:
        assert set((tmp_path / "seen").read_text().split()) == {"-1"}


TRAIN = "/opt/ml/input/data/train/run.py"


def _train(server: LocalSageMaker, name: str, script: str) -> dict[str, Any]:
    s3, sagemaker = server.client("s3"), server.client("sagemaker")
    s3.put_object(Bucket="bucket", Key=f"{name}/train/run.py", Body=script.encode())
    source = {
        "S3DataType": "S3Prefix",
        "S3Uri": f"s3://bucket/{name}/train/",
        "S3DataDistributionType": "FullyReplicated",
    }
    sagemaker.create_training_job(
        TrainingJobName=name,
        AlgorithmSpecification={
            "TrainingImage": IMAGE_URI,
            "TrainingInputMode": "File",
            "ContainerEntrypoint": ["python3", TRAIN],
            "ContainerArguments": ["/opt/ml"],
        },
        RoleArn=ROLE,
        InputDataConfig=[{"ChannelName": "train", "DataSource": {"S3DataSource": source}}],
        OutputDataConfig={"S3OutputPath": f"s3://bucket/{name}/out"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 5},
        StoppingCondition={"MaxRuntimeInSeconds": 60},
    )

    def ended() -> dict[str, Any] | None:
        described = dict(sagemaker.describe_training_job(TrainingJobName=name))
        return described if described["TrainingJobStatus"] in TERMINAL else None

    return dict(wait_until(ended, DEADLINE_SECONDS, f"{name} ends"))


MODELS = {
    "a file": ("os.symlink({secret!r}, ml + '/model/x')", "Artifact upload failed"),
    "the model's folder": (
        "os.rmdir(ml + '/model'); os.symlink(os.path.dirname({secret!r}), ml + '/model')",
        "Artifact upload failed",
    ),
    "a pipe": ("os.mkfifo(ml + '/model/x')", "Artifact upload failed"),
    "the output's data": (
        "os.rmdir(ml + '/output/data'); os.symlink(os.path.dirname({secret!r}), ml + '/output/data')",
        "Artifact upload failed",
    ),
    "the failure": ("os.symlink({secret!r}, ml + '/output/failure'); sys.exit(3)", "is not read"),
    "a failure that is a pipe": ("os.mkfifo(ml + '/output/failure'); sys.exit(3)", "is not read"),
}


def test_a_model_and_a_failure_that_lead_out_are_refused(
    server: LocalSageMaker, secret_file: Path, subtests: pytest.Subtests
) -> None:
    for number, (what, (line, expected)) in enumerate(MODELS.items()):
        with subtests.test(what):
            script = f"import os, sys\nml = sys.argv[1]\n{line.format(secret=str(secret_file))}\n"
            end = _train(server, f"model-{number}", script)
            assert end["TrainingJobStatus"] == "Failed", end
            assert expected in end["FailureReason"]
            assert SECRET not in end["FailureReason"]
            listed = server.client("s3").list_objects_v2(Bucket="bucket", Prefix=f"model-{number}/out")
            for each in listed.get("Contents", []):
                body = server.client("s3").get_object(Bucket="bucket", Key=each["Key"])["Body"].read()
                with tarfile.open(fileobj=io.BytesIO(body)) as tar:
                    assert tar.getnames() == []


def test_a_hard_link_to_a_file_outside_is_refused_where_nothing_is_hidden(
    start_server: Callable[..., Any], tmp_path: Path
) -> None:
    server = start_server("--no-isolation")
    server.client("s3").create_bucket(Bucket="bucket")
    outside = tmp_path / "outside"
    outside.write_text(SECRET)
    job = Job(server.client, "hard", f"import os, sys\nos.link({str(outside)!r}, sys.argv[1] + '/x')\n")
    assert job.end["ProcessingJobStatus"] == "Failed"
    assert "is the same file as one outside" in job.end["FailureReason"]
    assert job.uploaded() == {}


def test_removing_a_sandbox_touches_nothing_that_a_link_leads_to(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom local.sagemaker.processes.sandbox import Sandbox\n"
        "sandbox = Sandbox(Path(sys.argv[1]), 'job')\nfrom shutil import rmtree\nrmtree(sandbox.root / 'opt')\n"
        "(sandbox.root / 'opt').symlink_to(sys.argv[2])\n(sandbox.root / 'file').write_text('x')\n"
        "sandbox.reset()\nassert sandbox.opt_ml.is_dir() and not (sandbox.root / 'file').exists()\nsandbox.remove()\n"
    )
    outside = tmp_path / "outside"
    (outside / "inner").mkdir(parents=True)
    (outside / "inner").chmod(0o750)
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "jobs"), str(outside)], check=True)
    assert (outside / "inner").stat().st_mode & 0o777 == 0o750
    assert os.listdir(tmp_path / "jobs") == []
