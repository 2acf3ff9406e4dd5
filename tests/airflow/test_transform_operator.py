"""The Amazon provider's operator and sensor of batch transform jobs, as they are, against the local SageMaker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from airflow.exceptions import AirflowException
from airflow.providers.amazon.aws.operators.sagemaker import SageMakerTransformOperator
from airflow.providers.amazon.aws.sensors.sagemaker import SageMakerTransformSensor

from tests.support.archives import archive
from tests.support.aws_names import IMAGE_URI, ROLE
from tests.support.local_sagemaker import running_server

SCRIPT = """
def model_fn(model_dir):
    return open(model_dir + "/model.txt").read()
def input_fn(body, content_type):
    return float(body)
def predict_fn(number, model):
    return f"{model} {2 * number:g}"
def output_fn(prediction, accept):
    return prediction, accept
"""


class Pushed:
    """Takes the task instance's place: the operator leaves its link with it."""

    def __init__(self) -> None:
        self.links: list[Any] = []

    def xcom_push(self, key: str, value: Any) -> None:
        self.links.append(value)


def test_the_operator_runs_and_the_sensor_sees_its_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_server(tmp_path) as server:
        for name, value in server.variables.items():
            monkeypatch.setenv(name, value)
        s3 = server.client("s3")
        s3.create_bucket(Bucket="rows")
        s3.put_object(Bucket="rows", Key="code.tar.gz", Body=archive({"serve.py": SCRIPT}))
        s3.put_object(Bucket="rows", Key="m.tar.gz", Body=archive({"model.txt": "austin"}))
        s3.put_object(Bucket="rows", Key="in/rows.csv", Body=b"1\n2\n")
        s3.put_object(Bucket="rows", Key="bad/rows.csv", Body=b"no number\n")
        environment = {
            "SAGEMAKER_PROGRAM": "serve.py",
            "SAGEMAKER_SUBMIT_DIRECTORY": "s3://rows/code.tar.gz",
        }
        container = {"Image": IMAGE_URI, "ModelDataUrl": "s3://rows/m.tar.gz", "Environment": environment}

        def transform(prefix: str, wait: bool) -> dict[str, Any]:
            source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://rows/{prefix}/"}
            job = {
                "TransformJobName": "austin",
                "ModelName": "austin",
                "BatchStrategy": "SingleRecord",
                "TransformInput": {
                    "DataSource": {"S3DataSource": source},
                    "ContentType": "text/csv",
                    "SplitType": "Line",
                },
                "TransformOutput": {
                    "S3OutputPath": "s3://rows/out",
                    "Accept": "text/csv",
                    "AssembleWith": "Line",
                },
                "TransformResources": {"InstanceType": "ml.m5.large", "InstanceCount": "1"},
            }
            model = {"ModelName": "austin", "ExecutionRoleArn": ROLE, "PrimaryContainer": container}
            operator = SageMakerTransformOperator(
                task_id="transform",
                config={"Model": model, "Transform": job},
                aws_conn_id=None,
                wait_for_completion=wait,
                check_interval=1,
            )
            pushed = Pushed()
            result = operator.execute({"ti": pushed})  # type: ignore[arg-type]
            assert pushed.links
            return result

        result = transform("in", wait=True)
        assert result["Transform"]["TransformJobStatus"] == "Completed"
        assert s3.get_object(Bucket="rows", Key="out/rows.csv.out")["Body"].read() == b"austin 2\naustin 4\n"
        # The names are taken: the operator finds others, and the sensor sees how the second job ends.
        second = transform("bad", wait=False)["Transform"]["TransformJobName"]
        assert second != "austin"
        sensor = SageMakerTransformSensor(
            task_id="wait", job_name=second, aws_conn_id=None, poke_interval=1, timeout=120
        )
        with pytest.raises((AirflowException, RuntimeError), match="AlgorithmError: See job logs"):
            sensor.execute({})  # type: ignore[arg-type]
        done = SageMakerTransformSensor(task_id="done", job_name="austin", aws_conn_id=None)
        assert done.poke({})  # type: ignore[arg-type]
