"""Airflow operators of a city's three jobs: the Amazon provider's, with our own way to start, wait, stop and end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.operators.sagemaker import (
    SageMakerProcessingOperator,
    SageMakerTrainingOperator,
)
from airflow.sdk.exceptions import AirflowSkipException

from city_fleet.jobs import job_requests
from city_fleet.jobs.code_bundle import CodeBundle
from city_fleet.jobs.images import image_uri
from city_fleet.jobs.sagemaker_jobs import PROCESSING, TRAINING
from city_fleet.orchestration.city_tasks.city_job import CityJob
from city_fleet.orchestration.run_context import upstream
from city_fleet.outgoing_text import printable
from city_fleet.plan import EVALUATE, PREPROCESS, TRAIN, CityPlan, Run
from city_fleet.state import live

if TYPE_CHECKING:
    from airflow.sdk import Context


class PreprocessOperator(CityJob, SageMakerProcessingOperator):
    """Raw data known by as_of → training, validation and test rows. Skips the run when there is too little data."""

    kind = PROCESSING
    step = PREPROCESS

    # Airflow wraps the __init__ of every operator class, so each needs one of its own.
    def __init__(self, *, plan: CityPlan, **kwargs: Any) -> None:
        super().__init__(plan=plan, **kwargs)

    def build_request(
        self, run: Run, bundle: CodeBundle, context: Context, *, on_demand: bool
    ) -> dict[str, Any]:
        return job_requests.preprocess_request(
            self.plan,
            run,
            image_uri=image_uri(self.plan.city.algorithm, self.plan.fleet.region),
            code_uri=bundle.prefix_uri(self.plan.keys),
        )

    def output_exists(self, description: dict[str, Any]) -> bool:
        return self.is_in_s3(_output_uris(description)["report"] + f"city={self.plan.city.slug}/status.json")

    def result(self, run: Run, description: dict[str, Any], context: Context) -> dict[str, Any]:
        outputs = _output_uris(description)
        report = f"{outputs['report']}city={self.plan.city.slug}/"
        status = self.read_json(report + "status.json")
        result = {
            "outputs": outputs,
            "manifest_uri": report + "manifest.json",
            "rows": status["rows"],
            "data_status": status["status"],
            "reason": status["reason"],
        }
        if status["status"] != "ready":
            context["ti"].xcom_push(key="return_value", value={**self.facts(description), **result})
            raise AirflowSkipException(printable(str(status["reason"])))
        self.log.info("Rows: %s", status["rows"])
        return result


class TrainOperator(CityJob, SageMakerTrainingOperator):
    """Training and validation rows → ``model.tar.gz``."""

    kind = TRAINING
    step = TRAIN

    def __init__(self, *, plan: CityPlan, **kwargs: Any) -> None:
        # The stock operator prints logs by sleeping 30 seconds in the worker even when it defers.
        super().__init__(plan=plan, print_log=False, **kwargs)

    def build_request(
        self, run: Run, bundle: CodeBundle, context: Context, *, on_demand: bool
    ) -> dict[str, Any]:
        return job_requests.train_request(
            self.plan,
            run,
            image_uri=image_uri(self.plan.city.algorithm, self.plan.fleet.region),
            code_archive_uri=bundle.archive_uri(self.plan.keys),
            data=upstream(context, PREPROCESS)["outputs"],
            on_demand=on_demand,
        )

    def output_exists(self, description: dict[str, Any]) -> bool:
        return self.is_in_s3(description["ModelArtifacts"]["S3ModelArtifacts"])

    def result(self, run: Run, description: dict[str, Any], context: Context) -> dict[str, Any]:
        return {"artifact_uri": description["ModelArtifacts"]["S3ModelArtifacts"]}


class EvaluateOperator(CityJob, SageMakerProcessingOperator):
    """New model, naive forecast and champion on the same held-out rows → an evaluation report."""

    kind = PROCESSING
    step = EVALUATE

    # Airflow wraps the __init__ of every operator class, so each needs one of its own.
    def __init__(self, *, plan: CityPlan, **kwargs: Any) -> None:
        super().__init__(plan=plan, **kwargs)

    def build_request(
        self, run: Run, bundle: CodeBundle, context: Context, *, on_demand: bool
    ) -> dict[str, Any]:
        return job_requests.evaluate_request(
            self.plan,
            run,
            image_uri=image_uri(self.plan.city.algorithm, self.plan.fleet.region),
            inputs={
                "code": bundle.prefix_uri(self.plan.keys),
                "test": upstream(context, PREPROCESS)["outputs"]["test"],
                "model": upstream(context, TRAIN)["artifact_uri"],
            },
            champion=live.read(self.s3, self.plan.keys, self.plan.city.slug),
        )

    def output_exists(self, description: dict[str, Any]) -> bool:
        return self.is_in_s3(self._folder(description) + "evaluation.json")

    def _folder(self, description: dict[str, Any]) -> str:
        return f"{_output_uris(description)['evaluation']}city={self.plan.city.slug}/"

    def result(self, run: Run, description: dict[str, Any], context: Context) -> dict[str, Any]:
        folder = self._folder(description)
        return {
            "evaluation_uri": folder + "evaluation.json",
            "holdout_uri": folder + "holdout.json",
            "report": self.read_json(folder + "evaluation.json"),
        }


def _output_uris(description: dict[str, Any]) -> dict[str, str]:
    return {
        output["OutputName"]: output["S3Output"]["S3Uri"]
        for output in description["ProcessingOutputConfig"]["Outputs"]
    }
