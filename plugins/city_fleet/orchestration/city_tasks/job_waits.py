"""How a job operator waits: in the triggerer, for its job or for its turn, and never in a worker."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk.exceptions import AirflowFailException
from botocore.exceptions import ClientError

from city_fleet import aws_errors
from city_fleet.errors import AlgorithmError, PlatformError
from city_fleet.jobs.cohort_plan import CohortPlan
from city_fleet.jobs.sagemaker_jobs import JobKind, answered_at
from city_fleet.orchestration import patience
from city_fleet.orchestration.city_tasks.job_kill import WorkerKill
from city_fleet.orchestration.city_tasks.job_triggers import JobTrigger
from city_fleet.orchestration.patience import TRIGGERER_GONE_SECONDS, Patient, patient
from city_fleet.outgoing_text import printable
from city_fleet.plan import CityPlan

if TYPE_CHECKING:
    from airflow.providers.amazon.aws.hooks.sagemaker import SageMakerHook
    from airflow.sdk import Context

# Starting an instance and downloading the image do not count against a job's own time limit.
START_MARGIN_SECONDS = 1800
# A job that was asked to stop has 120 seconds to do so, and then its instance has to go.
_STOP_SECONDS = 600


class JobPhases(Patient):
    """Entry points and waits of a job operator. What is to be done between two waits is a phase.

    ``submit``
        start the job, or adopt the one an earlier try has started.
    ``collect``
        describe the job once; return its result, or raise with its own words.

    What AWS can't do for now is waited out, and then the task comes back to the same phase.
    """

    kind: JobKind
    step: str
    config: dict[str, Any]
    plan: CityPlan | CohortPlan
    _kill: WorkerKill | None = None

    if TYPE_CHECKING:  # given by the provider's operator
        hook: SageMakerHook
        region_name: str | None
        verify: bool | str | None
        botocore_config: dict[str, Any] | None

    @abstractmethod
    def submit(self, context: Context) -> dict[str, Any]:
        """Start or adopt the job; return its result if it is there already, else wait."""

    @abstractmethod
    def collect(self, context: Context, event: dict[str, Any] | None) -> dict[str, Any]:
        """Return the result of the job that the trigger was waiting for."""

    @abstractmethod
    def gone_inputs(self, request: dict[str, Any]) -> list[str]:
        """Return a sentence about each input of the job that is gone."""

    @abstractmethod
    def others(self) -> list[str]:
        """Return the ids of the other DAG runs that work on the same run."""

    @property
    @abstractmethod
    def attached_uri(self) -> str:
        """Return where the DAG runs that work on the same run are marked."""

    @patient
    def execute(self, context: Context) -> dict[str, Any]:
        return self._phase(context, lambda: self.submit(context))

    @patient
    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        return self._phase(context, lambda: self.collect(context, event))

    @property
    def patience_seconds(self) -> float:
        return self.plan.city.capacity_wait_seconds

    @property
    def where(self) -> str:
        return f"{self.plan.whose}, step {self.step}"

    def on_kill(self) -> None:
        """Airflow's hint that the worker's process is to end; it runs inside a signal handler."""
        if self._kill is not None:
            self._kill.hint()

    def _phase(self, context: Context, phase: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        self._kill = WorkerKill(context["ti"], self.kind, self.hook, self.log, others=self.others)
        try:
            return phase()
        except AlgorithmError as error:
            # Another attempt would be paid for and fail the same way.
            raise AirflowFailException(printable(str(error))) from error
        except ClientError as error:
            if patience.passes(error):
                raise
            if aws_errors.is_refused(error):
                sentences = [
                    f"{self.where}: AWS refuses the request: {error}",
                    *self.gone_inputs(self.config),
                ]
                raise AirflowFailException(printable(". ".join(sentences))) from error
            raise PlatformError(f"{self.where}: {error}") from error

    @property
    def time_limit_seconds(self) -> int:
        """Return how long after its creation a job may be unfinished: its own limits and a margin."""
        settings = self.plan.settings(self.step)
        longest = max(getattr(settings, "max_wait_seconds", None) or 0, settings.max_runtime_seconds)
        return int(longest) + START_MARGIN_SECONDS

    def wait_for(self, job: str, answer: Mapping[str, Any]) -> NoReturn:
        """Defer until the step's job is over, at the latest when it may run and wait no longer.

        :param answer: SageMaker's, from which the job is known to be under way: to Create, or to Describe.
        """
        asked = answered_at(answer)
        created = answer.get("CreationTime", asked)
        # Of one clock: SageMaker's.
        age = (asked - created).total_seconds() if asked and created else 0.0
        self._defer_to_job(job, asked or created, self.time_limit_seconds - age, "execute_complete")

    def wait_until_over(self, job: str, answer: Mapping[str, Any]) -> NoReturn:
        """Defer until a job that is stopping has stopped, then submit again."""
        self.log.info("Waiting until %s has stopped", job)
        since = answered_at(answer) or answer.get("CreationTime")
        self._defer_to_job(job, since, _STOP_SECONDS, "resume", {"phase": "execute"})

    def _defer_to_job(
        self, job: str, since: datetime | None, left: float, method: str, kwargs: dict[str, Any] | None = None
    ) -> NoReturn:
        """Defer until a job is over.

        :param since: an instant of SageMaker's clock at which the job was under way.
        :param left: seconds to the deadline.
        """
        now, left = datetime.now(UTC), max(left, 0.0)
        deadline = now + timedelta(seconds=left)
        since = since or now
        self.defer(
            trigger=JobTrigger(
                job_name=job,
                kind=self.kind.name,
                since=since.isoformat(),
                deadline=deadline.isoformat(),
                poll_seconds=self.plan.city.waiter_delay_seconds,
                attached=self.attached_uri,
                aws_conn_id=self.aws_conn_id,
                region_name=self.region_name,
                verify=self.verify,
                botocore_config=self.botocore_config,
            ),
            timeout=timedelta(seconds=left + TRIGGERER_GONE_SECONDS),
            method_name=method,
            kwargs=kwargs,
        )
