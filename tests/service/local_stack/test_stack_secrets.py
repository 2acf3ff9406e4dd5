"""A job on the stack's own local SageMaker looks for the stack's secrets, and finds none."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from local.stack import environment, programs
from local.stack.layout import Layout, free_port
from local.stack.secrets_file import stack_secrets
from local.stack.seed import seed
from local.stack.stack import Stack
from tests.support.fence_jobs import Job
from tests.support.waiting import wait_until

LOOK = """
import glob, json, os, sys
state = {state!r}
found = {{}}
for folder, _, names in os.walk(state):
    for name in names:
        found[os.path.join(folder, name)] = ""
for path in glob.glob("/proc/[0-9]*/environ") + glob.glob("/proc/[0-9]*/root" + state + "/*.json"):
    try:
        with open(path, "rb") as file:
            found[path] = file.read().decode("latin-1")
    except OSError:
        pass
with open(sys.argv[1] + "/found.json", "w") as file:
    json.dump(found, file)
"""


def test_no_job_of_the_stack_sees_its_secrets(state_dir: Path) -> None:
    layout = Layout(state_dir=state_dir, ui_port=free_port(), sagemaker_port=free_port())
    environment.write_environment(layout)
    secrets = stack_secrets(layout)
    stack = Stack(layout)
    # A process of Airflow's, as far as the secrets go: they are in its environment.
    sleep = shutil.which("sleep")
    assert sleep is not None
    airflow = subprocess.Popen([sleep, "300"], env=environment.process_environment(layout))
    with programs.program("sagemaker", layout) as program:
        server = subprocess.Popen(program.command, env=dict(program.variables), cwd=program.folder)
    try:
        wait_until(lambda: "sagemaker" not in stack.unhealthy(), 60, "the local SageMaker answers")
        seed(stack, [])
        stack.client("s3").create_bucket(Bucket="bucket")
        job = Job(stack.client, "look", LOOK.format(state=str(state_dir)))
        assert job.end["ProcessingJobStatus"] == "Completed", job.end
        found = json.loads(job.uploaded()["found.json"])
        told = Path(f"/proc/{server.pid}/environ")
        if told.exists():
            assert not any(secret in told.read_text() for secret in secrets.values())
    finally:
        for process in (server, airflow):
            process.terminate()
            process.wait(30)
    assert not any(secret in content for content in found.values() for secret in secrets.values())
    own = os.path.join("sagemaker", "jobs", "look-")
    assert not [path for path in found if path.startswith(str(state_dir)) and own not in path]
