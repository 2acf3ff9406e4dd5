"""One run of a training job.

The layout of ``/opt/ml`` and of the output in S3 follows the AWS documentation ("How Amazon SageMaker AI
Processes Training Output"). A managed spot job whose instance is taken away starts again on a new one, with
nothing of the old one left but its checkpoints, until MaxWaitTimeInSeconds is over. The stand-in's own choice:
MaxRuntimeInSeconds counts the running time of all attempts together, and waiting for a free CPU of this machine does
not count as waiting for spot capacity.
"""

from __future__ import annotations

import math
import tempfile
import time
from pathlib import Path
from typing import Any

from local.sagemaker import disk
from local.sagemaker.errors import shorten
from local.sagemaker.jobs.checkpoints import Checkpoints
from local.sagemaker.jobs.job_checks import decoded_hyperparameter, is_script_mode
from local.sagemaker.jobs.runner import (
    ContainerEnd,
    End,
    JobFailed,
    JobRun,
    JobStopped,
    read_message,
)
from local.sagemaker.jobs.training_layout import lay_out
from local.sagemaker.jobs.training_metrics import EmittedMetrics
from local.sagemaker.jobs.training_states import KIND, PREPARING, charge, close, transition
from local.sagemaker.moments import now
from local.sagemaker.processes.archives import BadArchive, extract, pack
from local.sagemaker.processes.images import own_train_command
from local.sagemaker.processes.outputs import OutputRefused
from local.sagemaker.processes.packages import CACHE, REQUIREMENTS, Packages
from local.sagemaker.processes.s3_transfer import (
    TransferError,
    describe,
    download,
    split_uri,
    upload,
    upload_all,
)
from local.sagemaker.processes.sandbox import Sandbox
from local.sagemaker.processes.warm_runner import TOOLKIT
from local.sagemaker.reach import Server
from local.sagemaker.store import Document

CONTAINER = TOOLKIT / "__main__.py"
#: The channel in which the SageMaker SDK's ModelTrainer sends its own scripts, which call paths by name.
SDK_DRIVERS = "sm_drivers"


class TrainingRun(JobRun):
    """One run of a training job: one attempt, or several on spot instances."""

    kind = KIND
    status_member = "TrainingJobStatus"
    log_group = "/aws/sagemaker/TrainingJobs"

    def __init__(self, server: Server, name: str) -> None:
        super().__init__(server, name)
        self._spot = bool(self.document.get("EnableManagedSpotTraining"))
        self.on_demand = not self._spot and not self.document.get("_on_warm_pool")
        condition = self.document["StoppingCondition"]
        self._runtime_left: float = condition["MaxRuntimeInSeconds"]
        self._max_wait: float = condition["MaxWaitTimeInSeconds"] if self._spot else math.inf
        self._waited = 0.0  # for its first instance
        self._too_late = False
        self._give_up_at: float | None = None  # on the monotonic clock; set when the first instance is there
        self._seconds = 0.0  # on instances that are gone
        self._instance_since: float | None = None
        specification = self.document["AlgorithmSpecification"]
        self._metrics = EmittedMetrics(specification.get("MetricDefinitions", []))
        self._ending = "Stopped"  # the last secondary status of a job that is stopped

    def request_interruption(self) -> None:
        """Have the spot instance taken away; a job on demand keeps its own."""
        if self._spot:
            self._interrupt.set()
            self._wake.set()

    def seconds_to_instance(self) -> float:
        """Ask for an instance; on a warm pool it is there already. A spot job waits no longer than it may."""
        if self.document.get("_on_warm_pool"):
            return 0.0
        delay = self._start_up_seconds()
        self._waited, self._too_late = min(delay, self._max_wait), delay > self._max_wait
        if delay:
            self._say(PREPARING)
        return self._waited

    def _start_up_seconds(self) -> float:
        lacking = self.server.faults.capacity_delay_seconds(self.name)
        return self.server.settings.job_start_seconds + lacking

    def _wait_for_next_instance(self) -> None:
        """Take as long as another instance takes to come up, but no longer than a spot job may wait."""
        delay, moment = self._start_up_seconds(), time.monotonic()
        left = max(0.0, (self._give_up_at or math.inf) - moment)
        if delay:
            self._say(PREPARING)
        self._stop.wait(min(delay, left))
        if delay > left:
            self._give_up()

    def _give_up(self) -> None:
        """End a spot job that has waited as long as it may, unless it has been stopped."""
        if not self._stop.is_set():
            self._stopping("MaxWaitTimeExceeded")
            raise JobStopped

    def image(self) -> str:
        """URI of the training image."""
        return str(self.document["AlgorithmSpecification"]["TrainingImage"])

    def write_log(self, line: str) -> None:
        """Write a line into the job's log stream, and look for the job's metrics in it."""
        super().write_log(line)
        self._metrics.read(line)

    def work(self, sandbox: Sandbox, interpreter: Path) -> tuple[str, str | None]:
        """Download the channels, train, upload the model; start again when the instance is taken away."""
        if self._too_late:
            self._give_up()
        self._give_up_at = time.monotonic() + self._max_wait - self._waited
        while True:
            self._instance_since = time.monotonic()
            end = self._attempt(sandbox, interpreter)
            if end.why is not End.INTERRUPTED:
                return self._collect(sandbox, end)
            self._leave_instance()
            self.progress("Interrupted")
            if self.logs:
                self.logs.close()
                self.logs = None
            sandbox.reset()
            self._interrupt.clear()
            self.check_stop()
            self.progress("Starting")
            self._wait_for_next_instance()
            self.check_stop()

    def progress(self, status: str, **members: Any) -> None:
        """Move on to a secondary status, unless the job is being stopped.

        :param status: the secondary status.
        :param members: what else changes.
        """

        def change(document: Document) -> None:
            document.update(members)
            if document["TrainingJobStatus"] == "InProgress" or status == "Uploading":
                transition(document, status, now())

        self.server.store.update(KIND, self.name, change)

    def out_of_time(self) -> None:
        """Note why the job is being stopped."""
        late = self._give_up_at is not None and time.monotonic() >= self._give_up_at
        self._stopping("MaxWaitTimeExceeded" if late else "MaxRuntimeExceeded")

    def finish(self, status: str, reason: str | None) -> None:
        """Write the end state and what it cost."""
        self._leave_instance()

        def change(document: Document, pool: dict[str, Any] | None) -> None:
            known = document["LastModifiedTime"]
            close(document, status, self._ending if status == "Stopped" else status, now())
            if reason:
                document["FailureReason"] = shorten(reason)
            if final := self._metrics.final():
                document["FinalMetricDataList"] = final
            if "TrainingStartTime" in document:
                # A job that an earlier server began had its instance until it was last heard of.
                seconds = self._seconds or (known - document["TrainingStartTime"]).total_seconds()
                charge(document, seconds, self.server.settings.spot_share)
            if pool is not None:
                document["WarmPoolStatus"] = pool

        document = self.server.store.get(KIND, self.name) or self.document
        self.server.warm_pools.retain(self.name, document, reason, change)

    def _say(self, message: str) -> None:
        def change(document: Document) -> None:
            document["SecondaryStatusTransitions"][-1]["StatusMessage"] = message

        self.server.store.update(KIND, self.name, change)

    def _stopping(self, ending: str) -> None:
        def change(document: Document) -> None:
            if document["TrainingJobStatus"] == "InProgress":
                self._ending = ending
                document["TrainingJobStatus"] = "Stopping"
                transition(document, "Stopping", now())

        self.server.store.update(KIND, self.name, change)

    def _leave_instance(self) -> None:
        if self._instance_since is not None:
            self._seconds += time.monotonic() - self._instance_since
            self._instance_since = None

    def _attempt(self, sandbox: Sandbox, interpreter: Path) -> ContainerEnd:
        """Download the channels and train on one instance."""
        started = {} if "TrainingStartTime" in self.document else {"TrainingStartTime": now()}
        self.document.update(started)
        self.progress("Downloading", **started)
        lay_out(self.document, sandbox)
        for channel in self.document.get("InputDataConfig", []):
            self.check_stop()
            folder = sandbox.opt_ml / "input" / "data" / channel["ChannelName"]
            self.download(channel["DataSource"]["S3DataSource"], folder)
            if channel["ChannelName"] == SDK_DRIVERS:
                sandbox.rewrite(folder)
        checkpoints = Checkpoints(self.s3, self.document.get("CheckpointConfig"), sandbox)
        checkpoints.restore()
        self.check_stop()
        if self._interrupt.is_set():
            return ContainerEnd(End.INTERRUPTED, 0)
        self.progress("Training")
        specification = self.document["AlgorithmSpecification"]
        packages: Packages | None = None
        if entrypoint := specification.get("ContainerEntrypoint"):
            words = [*entrypoint, *specification.get("ContainerArguments", [])]
            command = sandbox.command(interpreter, words)
        elif not is_script_mode(self.document):
            command = [str(own_train_command(interpreter) or "train")]
        else:
            self._fetch_code(sandbox)
            asked = sandbox.opt_ml / "code" / REQUIREMENTS
            if asked.is_file():
                packages = Packages(sandbox, interpreter, self.server.data_dir / CACHE, [asked])
            command = [str(interpreter), str(CONTAINER), "train"]
        environment = sandbox.environment(
            interpreter,
            {
                "AWS_REGION": self.region,
                "TRAINING_JOB_NAME": self.name,
                "TRAINING_JOB_ARN": self.document["TrainingJobArn"],
                "CURRENT_HOST": "algo-1",
                "SAGEMAKER_BASE_DIR": "/opt/ml",
                "SAGEMAKER_JOB_NAME": decoded_hyperparameter(self.document, "sagemaker_job_name"),
                "SAGEMAKER_REGION": decoded_hyperparameter(self.document, "sagemaker_region") or self.region,
                "SM_NUM_CPUS": "1",
            },
            packages.variables() if packages else {},
            self.document.get("Environment", {}),
        )
        began = time.monotonic()
        wait_left = (self._give_up_at or math.inf) - began
        limit = min(self._runtime_left, wait_left)
        with checkpoints.kept():
            end = self.execute(sandbox, command, environment, sandbox.opt_ml / "code", limit)
        self._runtime_left -= time.monotonic() - began
        if packages and end.exit_code == 0:
            packages.keep()
        return end

    def _fetch_code(self, sandbox: Sandbox) -> None:
        """Do what the toolkit does first in its container, which has no boto3 here."""
        uri = decoded_hyperparameter(self.document, "sagemaker_submit_directory")
        archive = sandbox.tmp / "code.tar.gz"
        try:
            download(self.s3, *split_uri(uri), archive)
            (sandbox.opt_ml / "code").rmdir()
            extract(archive, sandbox.opt_ml / "code")
        except Exception as error:
            if isinstance(error, BadArchive):
                reason = f"the archive {uri} can't be used: {error}"
            elif isinstance(error, OSError):
                raise
            else:
                reason = f"the code at {uri} can't be fetched: {describe(error)}"
            self.write_log(f"Framework Error: {reason}")
            raise JobFailed(f"AlgorithmError: Framework Error: {reason}, exit code: 1") from error

    def _collect(self, sandbox: Sandbox, end: ContainerEnd) -> tuple[str, str | None]:
        """Upload the results however the container ended: AWS keeps what a stopped job has saved."""
        failed = end.why is End.EXITED and end.exit_code != 0
        self.progress("Uploading")
        output = self.document["OutputDataConfig"]["S3OutputPath"]
        bucket, key = split_uri(f"{output.rstrip('/')}/{self.name}/output")
        try:
            if not failed:
                artifacts = self._upload(sandbox, "model", f"s3://{bucket}/{key}", "model")
                self.update(ModelArtifacts={"S3ModelArtifacts": artifacts})
            if any(sandbox.outputs.walk(sandbox.opt_ml / "output/data")):
                self._upload(sandbox, "output/data", f"s3://{bucket}/{key}", "output")
        except (TransferError, OutputRefused, OSError) as error:
            if disk.is_full(error):
                raise
            raise JobFailed(f"ClientError: Artifact upload failed: {error}") from error
        if failed:
            message = read_message(sandbox, sandbox.opt_ml / "output/failure") or ""
            reason = f", exit code: {end.exit_code}"
            text = message[: 1024 - len("AlgorithmError: ") - len(reason)]
            raise JobFailed(f"AlgorithmError: {text}{reason}")
        return ("Completed" if end.why is End.EXITED else "Stopped"), None

    def _upload(self, sandbox: Sandbox, folder: str, uri: str, name: str) -> str:
        """Upload a folder of results, as one archive or, where the request wants no compression, file by file.

        :param uri: where to, and ``name`` what it is called there without its ending.
        :return: where it is.
        """
        left = sandbox.outputs.walk(sandbox.opt_ml / folder)
        if self.document["OutputDataConfig"].get("CompressionType") == "NONE":
            target = f"{uri}/{folder.rpartition('/')[2]}"
            upload_all(self.s3, left, target)
            return target
        # Packed beside the sandbox: within it the script may have put anything in the way.
        with tempfile.TemporaryFile(dir=sandbox.root.parent) as archive:
            pack(left, archive)
            archive.seek(0)
            upload(self.s3, archive, *split_uri(f"{uri}/{name}.tar.gz"))
        return f"{uri}/{name}.tar.gz"
