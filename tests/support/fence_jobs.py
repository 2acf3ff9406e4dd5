"""A processing job that runs a script of a few lines: what it may read, and what becomes of what it leaves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.aws_names import IMAGE_URI, ROLE
from tests.support.waiting import wait_until

DEADLINE_SECONDS = 60
TERMINAL = ("Completed", "Failed", "Stopped")
OUTPUT = "/opt/ml/processing/output"


class Job:
    """One processing job of a Python script, run to its end; the bucket is called bucket.

    :param client: makes boto3 clients of the server.
    :param name: the job's name.
    :param script: gets its output's folder and /opt/ml as arguments.
    :param environment: the job's own variables.
    :param meanwhile: called once it is created, before its end is waited for.
    """

    def __init__(
        self,
        client: Callable[[str], Any],
        name: str,
        script: str,
        environment: dict[str, str] | None = None,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        self.s3, self._sagemaker = client("s3"), client("sagemaker")
        self.name = name
        code = f"{name}/code/run.py"
        self.s3.put_object(Bucket="bucket", Key=code, Body=script.encode())
        local = {"S3DataType": "S3Prefix", "S3InputMode": "File"}
        folder = "/opt/ml/processing/input/code"
        outputs = {"S3Uri": f"s3://bucket/{name}/out", "LocalPath": OUTPUT, "S3UploadMode": "EndOfJob"}
        self._sagemaker.create_processing_job(
            ProcessingJobName=name,
            ProcessingInputs=[
                {
                    "InputName": "code",
                    "S3Input": {"S3Uri": f"s3://bucket/{code}", "LocalPath": folder, **local},
                }
            ],
            ProcessingOutputConfig={"Outputs": [{"OutputName": "out", "S3Output": outputs}]},
            ProcessingResources={
                "ClusterConfig": {"InstanceType": "ml.t3.medium", "InstanceCount": 1, "VolumeSizeInGB": 5}
            },
            StoppingCondition={"MaxRuntimeInSeconds": 60},
            AppSpecification={
                "ImageUri": IMAGE_URI,
                "ContainerEntrypoint": ["python3", f"{folder}/run.py"],
                "ContainerArguments": [OUTPUT, "/opt/ml"],
            },
            Environment=environment or {},
            RoleArn=ROLE,
        )
        meanwhile()
        self.end = wait_until(self._ended, DEADLINE_SECONDS, f"{name} ends")

    def _ended(self) -> dict[str, Any] | None:
        described = dict(self._sagemaker.describe_processing_job(ProcessingJobName=self.name))
        return described if described["ProcessingJobStatus"] in TERMINAL else None

    def uploaded(self) -> dict[str, bytes]:
        """What it has put into S3, by name."""
        prefix = f"{self.name}/out/"
        found = self.s3.list_objects_v2(Bucket="bucket", Prefix=prefix).get("Contents", [])
        return {
            each["Key"].removeprefix(prefix): self.s3.get_object(Bucket="bucket", Key=each["Key"])[
                "Body"
            ].read()
            for each in found
        }
