"""The job that prepares, trains and evaluates cities one after the other: of a cohort, or of one city of it alone."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from city_fleet.jobs import job_requests
from city_fleet.jobs.code_bundle import CodeBundle
from city_fleet.jobs.cohort_files import CohortItem, channels_of, cohort_files
from city_fleet.jobs.images import image_uri
from city_fleet.jobs.job_files import JobFile
from city_fleet.jobs.sagemaker_jobs import TRAINING
from city_fleet.orchestration.city_tasks.city_job import CityJob
from city_fleet.plan import COHORT, Run
from city_fleet.run_steps.cohort_end import OUTCOME_FILE, CohortOutput

if TYPE_CHECKING:
    from airflow.sdk import Context


class AllStepsJob(CityJob):
    """A training job of all steps. Mixed in before the provider's operator."""

    kind = TRAINING
    step = COHORT
    items: Sequence[CohortItem] = ()

    @property
    @abstractmethod
    def tags(self) -> Mapping[str, str]:
        """Return the job's tags beside those of every job: whose it is, and which task waits for it."""

    def files(self, run: Run) -> list[JobFile]:
        return list(self._files(run).values())

    def _files(self, run: Run) -> dict[str, JobFile]:
        return cohort_files(self.plan, run, self.items)

    def build_request(
        self, run: Run, bundle: CodeBundle, context: Context, *, on_demand: bool
    ) -> dict[str, Any]:
        return job_requests.cohort_request(
            self.plan,
            run,
            image_uri=image_uri(self.plan.city.algorithm, self.plan.fleet.region),
            code_archive_uri=bundle.archive_uri(self.plan.keys),
            channels=channels_of(self.plan, self._files(run)),
            tags=self.tags,
            on_demand=on_demand,
        )

    def output_exists(self, description: dict[str, Any]) -> bool:
        return self.is_in_s3(self.output(description).uri + OUTCOME_FILE)

    def output(self, description: dict[str, Any]) -> CohortOutput:
        """Return what a job that is over has left."""
        return CohortOutput.of(description["ModelArtifacts"]["S3ModelArtifacts"], self.facts(description))
