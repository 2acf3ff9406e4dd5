"""One run of a processing job.

The layout of ``/opt/ml`` follows the AWS documentation ("How Amazon SageMaker Processing Configures Your
Processing Container"). A job that exceeds MaxRuntimeInSeconds ends as Stopped.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from local.sagemaker.errors import shorten
from local.sagemaker.jobs.runner import End, JobFailed, JobRun, read_message
from local.sagemaker.moments import now
from local.sagemaker.processes.outputs import OutputRefused
from local.sagemaker.processes.packages import CACHE, REQUIREMENTS, Packages
from local.sagemaker.processes.s3_transfer import TransferError, upload_all
from local.sagemaker.processes.sandbox import Sandbox
from local.sagemaker.store import Document

KIND = "processing-job"


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
        """Download the inputs, run the script, upload the outputs."""
        self.update(ProcessingStartTime=now())
        self._lay_out(sandbox)
        for each in self.document.get("ProcessingInputs", []):
            self.check_stop()
            self.download(each["S3Input"], sandbox.path(each["S3Input"]["LocalPath"]))
        self.check_stop()
        application = self.document["AppSpecification"]
        words = [*application["ContainerEntrypoint"], *application.get("ContainerArguments", [])]
        packages: Packages | None = None
        # A shell may install packages before it starts Python; Python alone starts as it is, and so from a warm one.
        asked = list((sandbox.opt_ml / "processing/input").glob(f"*/{REQUIREMENTS}"))
        if asked and not sandbox.is_python(words[0]):
            packages = Packages(sandbox, interpreter, self.server.data_dir / CACHE, asked)
        environment = sandbox.environment(
            interpreter,
            {"AWS_REGION": self.region, "PROCESSING_JOB_ARN": self.document["ProcessingJobArn"]},
            packages.variables() if packages else {},
            self.document.get("Environment", {}),
        )
        limit = self.document["StoppingCondition"]["MaxRuntimeInSeconds"]
        command = sandbox.command(interpreter, words)
        end = self.execute(sandbox, command, environment, sandbox.opt_ml, limit)
        self._exit_message = read_message(sandbox, sandbox.opt_ml / "output/message")
        if end.why is not End.EXITED:
            return "Stopped", None
        if end.exit_code != 0:
            raise JobFailed(f"AlgorithmError: , exit code: {end.exit_code}")
        if packages:
            packages.keep()
        for each in self._outputs():
            target = each["S3Output"]
            try:
                left = sandbox.outputs.walk(sandbox.path(target["LocalPath"]))
                upload_all(self.s3, left, target["S3Uri"])
            except (TransferError, OutputRefused) as error:
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
