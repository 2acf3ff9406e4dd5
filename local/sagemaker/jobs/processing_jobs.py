"""Processing jobs: the operations, and one run.

The layout of ``/opt/ml`` follows the AWS documentation ("How Amazon SageMaker Processing Configures Your
Processing Container"). A job that exceeds MaxRuntimeInSeconds ends as Stopped.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from local.sagemaker.jobs.job_checks import check_processing_request
from local.sagemaker.jobs.runner import End, JobFailed, JobRun, now, read_message, shorten
from local.sagemaker.preconditions import check_job_role
from local.sagemaker.processes.s3_transfer import TransferError, upload_tree
from local.sagemaker.protocol.errors import ResourceInUse, ValidationException
from local.sagemaker.protocol.listing import list_page
from local.sagemaker.protocol.operations import operation
from local.sagemaker.quotas import PROCESSING, quota_name
from local.sagemaker.registry.tags import check_tags
from local.sagemaker.store import AlreadyExists, Document, NotFound

if TYPE_CHECKING:
    from local.sagemaker.processes.sandbox import Sandbox
    from local.sagemaker.server import Server

KIND = "processing-job"
DEFAULT_MAX_RUNTIME_SECONDS = 86_400


@operation(
    "CreateProcessingJob",
    source="API Reference; Developer Guide: How Amazon SageMaker Processing Configures Your Processing Container",
    differs=[
        "An image is a Python interpreter, which runs the ContainerEntrypoint.",
        "One instance; inputs S3Prefix, File, FullyReplicated; outputs EndOfJob, below /opt/ml/processing.",
        "A job waits its turn while as many run as --max-running-jobs allows.",
    ],
    refused=[
        "ProcessingInputs.DatasetDefinition",
        "ProcessingInputs.AppManaged",
        "ProcessingInputs.S3Input.S3InputMode=Pipe",
        "ProcessingInputs.S3Input.S3DataType=ManifestFile",
        "ProcessingOutputConfig.Outputs.FeatureStoreOutput",
        "ProcessingOutputConfig.Outputs.S3Output.S3UploadMode=Continuous",
    ],
    no_effect=[
        "NetworkConfig",
        "ExperimentConfig",
        "ProcessingOutputConfig.KmsKeyId",
        "ProcessingResources.ClusterConfig.VolumeSizeInGB",
    ],
)
def create_processing_job(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Start a processing job."""
    check_processing_request(request)
    check_job_role(server, request["RoleArn"])
    name = request["ProcessingJobName"]
    arn = server.arn(KIND, name)
    moment = now()
    document: Document = {
        "StoppingCondition": {"MaxRuntimeInSeconds": DEFAULT_MAX_RUNTIME_SECONDS},
        **request,
        "ProcessingJobArn": arn,
        "ProcessingJobStatus": "InProgress",
        "CreationTime": moment,
        "LastModifiedTime": moment,
        "_region": server.region,
    }
    document["_tags"] = check_tags(document.pop("Tags", []))
    cluster = request["ProcessingResources"]["ClusterConfig"]
    quota = quota_name(cluster["InstanceType"], PROCESSING)
    try:
        with server.store.transaction():
            server.store.insert(KIND, name, document)
            server.quotas.take((KIND, name), [(quota, cluster["InstanceCount"])])
    except AlreadyExists:
        raise ResourceInUse(
            "Job name must be unique within an AWS account and region, and a processing job with this name "
            f"already exists ({arn})"
        ) from None
    server.jobs.submit(KIND, name)
    return {"ProcessingJobArn": arn}


@operation("DescribeProcessingJob")
def describe_processing_job(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Everything about one processing job."""
    document = server.store.get(KIND, request["ProcessingJobName"])
    if document is None:
        raise _not_found(request["ProcessingJobName"])
    return document


@operation("StopProcessingJob")
def stop_processing_job(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Stop a processing job: SIGTERM, a time of grace, SIGKILL."""
    name = request["ProcessingJobName"]

    def change(document: Document) -> None:
        status = document["ProcessingJobStatus"]
        if status != "InProgress":
            raise ValidationException(
                f"The request was rejected because the processing job is in status {status}."
            )
        document.update(ProcessingJobStatus="Stopping", LastModifiedTime=now())

    try:
        server.store.update(KIND, name, change)
    except NotFound:
        raise _not_found(name) from None
    server.jobs.stop(KIND, name)
    return {}


@operation("ListProcessingJobs")
def list_processing_jobs(server: Server, request: dict[str, Any]) -> dict[str, Any]:
    """Processing jobs, filtered and sorted, a page at a time."""
    documents = server.store.list(KIND)
    return list_page(
        "ListProcessingJobs",
        request,
        documents,
        name="ProcessingJobName",
        status="ProcessingJobStatus",
        default_order="Ascending",
    )


def _not_found(name: str) -> ValidationException:
    return ValidationException(f"Could not find requested job with name: {name}")


class ProcessingRun(JobRun):
    """One run of a processing job."""

    kind = KIND
    status_member = "ProcessingJobStatus"
    log_group = "/aws/sagemaker/ProcessingJobs"
    _exit_message: str | None = None

    def image(self) -> str:
        """URI of the image."""
        return str(self.document["AppSpecification"]["ImageUri"])

    def work(self, sandbox: Sandbox, interpreter: Path) -> tuple[str, str | None]:
        """Bring the inputs in, run the script, bring the outputs out."""
        self.update(ProcessingStartTime=now())
        self._lay_out(sandbox)
        for each in self.document.get("ProcessingInputs", []):
            self.check_stop()
            self.download(each["S3Input"]["S3Uri"], sandbox.path(each["S3Input"]["LocalPath"]))
        self.check_stop()
        application = self.document["AppSpecification"]
        words = [*application["ContainerEntrypoint"], *application.get("ContainerArguments", [])]
        environment = sandbox.environment(
            interpreter,
            {"AWS_REGION": self.region, "PROCESSING_JOB_ARN": self.document["ProcessingJobArn"]},
            self.document.get("Environment", {}),
        )
        limit = self.document["StoppingCondition"]["MaxRuntimeInSeconds"]
        command = sandbox.command(interpreter, words)
        end = self.execute(sandbox, command, environment, sandbox.root, limit)
        message = read_message(sandbox.opt_ml / "output/message")
        self._exit_message = sandbox.to_container(message) if message else None
        if end.why is not End.EXITED:
            return "Stopped", None
        if end.exit_code != 0:
            raise JobFailed(f"AlgorithmError: , exit code: {end.exit_code}")
        for each in self._outputs():
            target = each["S3Output"]
            try:
                upload_tree(self.s3, sandbox.path(target["LocalPath"]), target["S3Uri"])
            except TransferError as error:
                raise JobFailed(
                    f"ClientError: Failed to upload output '{each['OutputName']}': {error}"
                ) from error
        return "Completed", None

    def finish(self, status: str, reason: str | None) -> None:
        """Write the end state."""

        def change(document: Document) -> None:
            moment = now()
            document.update(ProcessingJobStatus=status, ProcessingEndTime=moment, LastModifiedTime=moment)
            if reason:
                document["FailureReason"] = shorten(reason)
            if self._exit_message:
                document["ExitMessage"] = self._exit_message[:1024]

        self.server.store.update(KIND, self.name, change)

    def _outputs(self) -> list[dict[str, Any]]:
        outputs: list[dict[str, Any]] = self.document.get("ProcessingOutputConfig", {}).get("Outputs", [])
        return outputs

    def _lay_out(self, sandbox: Sandbox) -> None:
        for folder in ("config", "output", "processing/input", "processing/output"):
            (sandbox.opt_ml / folder).mkdir(parents=True)
        for each in self._outputs():
            sandbox.path(each["S3Output"]["LocalPath"]).mkdir(parents=True, exist_ok=True)
        members = (
            "ProcessingJobArn",
            "ProcessingJobName",
            "Environment",
            "AppSpecification",
            "ProcessingInputs",
            "ProcessingOutputConfig",
            "ProcessingResources",
            "RoleArn",
            "StoppingCondition",
        )
        configuration = {member: self.document[member] for member in members if member in self.document}
        resources = {"current_host": "algo-1", "hosts": ["algo-1"]}
        for name, content in (("processingjobconfig", configuration), ("resourceconfig", resources)):
            (sandbox.opt_ml / "config" / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
