"""Training jobs: the operations, and one run.

States, messages and the layout of ``/opt/ml`` and of the output in S3 follow the AWS documentation ("How
Amazon SageMaker AI Processes Training Output", DescribeTrainingJob).
"""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local_sagemaker.archives import BadArchive, extract, pack
from local_sagemaker.errors import ResourceInUse, ValidationException
from local_sagemaker.job_checks import check_training_request, decoded_hyperparameter
from local_sagemaker.listing import list_page
from local_sagemaker.operations import operation
from local_sagemaker.runner import (
    ContainerEnd,
    End,
    JobFailed,
    JobRun,
    now,
    read_message,
    shorten,
    whole_seconds,
)
from local_sagemaker.s3_transfer import TransferError, describe, download, split_uri, upload
from local_sagemaker.store import AlreadyExists, Document, NotFound
from local_sagemaker.tags import check_tags
from local_sagemaker.training_layout import lay_out

if TYPE_CHECKING:
    from local_sagemaker.sandbox import Sandbox
    from local_sagemaker.server import Server

KIND = "training-job"
CONTAINER = Path(__file__).parent / "container" / "__main__.py"
DEFAULT_MAX_RUNTIME_SECONDS = 86_400
MESSAGES = {
    "Starting": "Starting the training job",
    "Downloading": "Downloading input data",
    "Training": "Training image download completed. Training in progress.",
    "Uploading": "Uploading generated training model",
    "Stopping": "Stopping the training job",
    "Completed": "Training job completed",
    "Failed": "Training job failed",
    "Stopped": "Training job stopped",
    "MaxRuntimeExceeded": "Training job runtime exceeded MaxRuntimeInSeconds provided",
}


@operation("CreateTrainingJob")
def create_training_job(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Start a training job."""
    check_training_request(request)
    name = request["TrainingJobName"]
    arn = server.arn(KIND, name)
    document: Document = {**request}
    document["_tags"] = check_tags(document.pop("Tags", []))
    document["StoppingCondition"] = {
        "MaxRuntimeInSeconds": DEFAULT_MAX_RUNTIME_SECONDS,
        **request.get("StoppingCondition", {}),
    }
    moment = now()
    document |= {
        "TrainingJobArn": arn,
        "TrainingJobStatus": "InProgress",
        "CreationTime": moment,
        "LastModifiedTime": moment,
        "EnableNetworkIsolation": request.get("EnableNetworkIsolation", False),
        "EnableInterContainerTrafficEncryption": request.get("EnableInterContainerTrafficEncryption", False),
        "EnableManagedSpotTraining": request.get("EnableManagedSpotTraining", False),
        "ProfilingStatus": "Disabled",
        "_region": server.region,
    }
    transition(document, "Starting", moment)
    try:
        server.store.insert(KIND, name, document)
    except AlreadyExists:
        raise ResourceInUse(
            "Training job names must be unique within an AWS account and region, and a training job with "
            "this name "
            f"already exists ({arn})"
        ) from None
    server.jobs.submit(KIND, name)
    return {"TrainingJobArn": arn}


@operation("DescribeTrainingJob")
def describe_training_job(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Everything about one training job."""
    document = server.store.get(KIND, request["TrainingJobName"])
    if document is None:
        raise ValidationException("Requested resource not found.")
    return document


@operation("StopTrainingJob")
def stop_training_job(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Stop a training job: SIGTERM, a time of grace, SIGKILL."""

    def change(document: Document) -> None:
        status = document["TrainingJobStatus"]
        if status != "InProgress":
            raise ValidationException(
                f"The request was rejected because the training job is in status {status}."
            )
        document["TrainingJobStatus"] = "Stopping"
        transition(document, "Stopping", now())

    try:
        server.store.update(KIND, request["TrainingJobName"], change)
    except NotFound:
        raise ValidationException("Requested resource not found.") from None
    server.jobs.stop(KIND, request["TrainingJobName"])
    return {}


@operation("ListTrainingJobs")
def list_training_jobs(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Training jobs, filtered and sorted, a page at a time."""
    documents = server.store.list(KIND)
    return list_page(
        "ListTrainingJobs", request, documents, name="TrainingJobName", status="TrainingJobStatus"
    )


def transition(document: Document, status: str, moment: datetime) -> None:
    """Move a training job to its next secondary status.

    :param document: the job.
    :param status: the secondary status.
    :param moment: when.
    """
    transitions = document.setdefault("SecondaryStatusTransitions", [])
    if transitions:
        transitions[-1].setdefault("EndTime", moment)
    transitions.append({"Status": status, "StartTime": moment, "StatusMessage": MESSAGES[status]})
    document["SecondaryStatus"] = status
    document["LastModifiedTime"] = moment


class TrainingRun(JobRun):
    """One run of a training job."""

    kind = KIND
    status_member = "TrainingJobStatus"
    log_group = "/aws/sagemaker/TrainingJobs"
    _out_of_time = False

    def image(self) -> str:
        """URI of the training image."""
        return str(self.document["AlgorithmSpecification"]["TrainingImage"])

    def work(self, sandbox: Sandbox, interpreter: Path) -> tuple[str, str | None]:
        """Bring the channels in, train, bring the model out."""
        self.progress("Downloading", TrainingStartTime=now())
        lay_out(self.document, sandbox)
        for channel in self.document.get("InputDataConfig", []):
            self.check_stop()
            folder = sandbox.opt_ml / "input" / "data" / channel["ChannelName"]
            self.download(channel["DataSource"]["S3DataSource"]["S3Uri"], folder)
        self.check_stop()
        self.progress("Training")
        specification = self.document["AlgorithmSpecification"]
        if entrypoint := specification.get("ContainerEntrypoint"):
            words = [*entrypoint, *specification.get("ContainerArguments", [])]
            command = sandbox.command(interpreter, words)
        else:
            self._fetch_code(sandbox)
            command = [str(interpreter), str(CONTAINER), "train"]
        environment = sandbox.environment(
            interpreter,
            {
                "AWS_REGION": self.region,
                "TRAINING_JOB_NAME": self.name,
                "TRAINING_JOB_ARN": self.document["TrainingJobArn"],
                "CURRENT_HOST": "algo-1",
                "SAGEMAKER_BASE_DIR": "/opt/ml",
                "SM_NUM_CPUS": "1",
            },
            self.document.get("Environment", {}),
        )
        limit = self.document["StoppingCondition"]["MaxRuntimeInSeconds"]
        end = self.execute(sandbox, command, environment, sandbox.opt_ml / "code", limit)
        return self._collect(sandbox, end)

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
        self._out_of_time = True

        def change(document: Document) -> None:
            if document["TrainingJobStatus"] == "InProgress":
                document["TrainingJobStatus"] = "Stopping"
                transition(document, "Stopping", now())

        self.server.store.update(KIND, self.name, change)

    def finish(self, status: str, reason: str | None) -> None:
        """Write the end state and what it cost."""

        def change(document: Document) -> None:
            moment = now()
            document["TrainingJobStatus"] = status
            late = status == "Stopped" and self._out_of_time
            transition(document, "MaxRuntimeExceeded" if late else status, moment)
            document["SecondaryStatusTransitions"][-1]["EndTime"] = moment
            document["TrainingEndTime"] = moment
            if reason:
                document["FailureReason"] = shorten(reason)
            if "TrainingStartTime" in document:
                seconds = whole_seconds(document["TrainingStartTime"], moment)
                document["TrainingTimeInSeconds"] = document["BillableTimeInSeconds"] = seconds

        self.server.store.update(KIND, self.name, change)

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
        """Upload the results, whatever the end: AWS keeps what a stopped job had saved."""
        failed = end.why is End.EXITED and end.exit_code != 0
        self.progress("Uploading")
        output = self.document["OutputDataConfig"]["S3OutputPath"]
        bucket, key = split_uri(f"{output.rstrip('/')}/{self.name}/output")
        try:
            if not failed:
                self._upload(sandbox.opt_ml / "model", bucket, f"{key}/model.tar.gz")
                self.update(ModelArtifacts={"S3ModelArtifacts": f"s3://{bucket}/{key}/model.tar.gz"})
            if any((sandbox.opt_ml / "output/data").iterdir()):
                self._upload(sandbox.opt_ml / "output/data", bucket, f"{key}/output.tar.gz")
        except (TransferError, OSError) as error:
            raise JobFailed(f"ClientError: Artifact upload failed: {error}") from error
        if failed:
            message = read_message(sandbox.opt_ml / "output/failure") or self._last_line()
            reason = f", exit code: {end.exit_code}"
            text = sandbox.to_container(message)[: 1024 - len("AlgorithmError: ") - len(reason)]
            raise JobFailed(f"AlgorithmError: {text}{reason}")
        return ("Completed" if end.why is End.EXITED else "Stopped"), None

    def _last_line(self) -> str:
        return next(iter(self.logs.tail(1)), "") if self.logs else ""

    def _upload(self, folder: Path, bucket: str, key: str) -> None:
        with tempfile.TemporaryDirectory(dir=folder.parent.parent) as staging:
            archive = Path(staging) / Path(key).name
            pack(folder, archive)
            upload(self.s3, archive, bucket, key)
