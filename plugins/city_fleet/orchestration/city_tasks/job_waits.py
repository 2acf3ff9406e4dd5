"""How a job operator waits: in the triggerer, for its job or for its turn, and never in a worker."""

from __future__ import annotations

import random
from abc import abstractmethod
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk.exceptions import AirflowFailException
from botocore.exceptions import ClientError

from city_fleet import aws_errors, clock
from city_fleet.errors import AlgorithmError, PlatformError
from city_fleet.jobs import job_faults
from city_fleet.jobs.job_faults import Remedy
from city_fleet.jobs.sagemaker_jobs import JobKind
from city_fleet.orchestration.city_tasks.job_kill import WorkerKill
from city_fleet.orchestration.city_tasks.job_triggers import JobTrigger, TurnTrigger
from city_fleet.orchestration.task_log import PrintableLog
from city_fleet.outgoing_text import printable
from city_fleet.plan import CityPlan

if TYPE_CHECKING:
    from airflow.providers.amazon.aws.hooks.sagemaker import SageMakerHook
    from airflow.sdk import Context

SUBMIT, COLLECT = "submit", "collect"
# Starting an instance and downloading the image do not count against a job's own time limit.
START_MARGIN_SECONDS = 1800
# A job that was asked to stop has 120 seconds to do so, and then its instance has to go.
_STOP_SECONDS = 600
# Airflow's own limit on a wait is for a triggerer that is gone; the trigger's deadline comes first.
_TRIGGERER_GONE_SECONDS = 3600
# Calls again per second, over all tasks of a triggerer: CreateTrainingJob is refused at about five callers.
_TURNS_PER_SECOND = 1.0
_THROTTLED_SECONDS, _NO_CAPACITY_SECONDS, _LONGEST_PAUSE_SECONDS = 5.0, 60.0, 600.0


class JobPhases(PrintableLog):
    """Entry points and waits of a job operator. What is to be done between two waits is a phase.

    ``submit``
        start the job, or adopt the one an earlier try has started.
    ``collect``
        describe the job once; return its result, or raise with its own words.

    Where AWS refuses a phase for load, the task waits for a turn and comes back to the same phase.
    """

    kind: JobKind
    step: str
    plan: CityPlan
    _kill: WorkerKill | None = None

    if TYPE_CHECKING:  # given by the provider's operator
        hook: SageMakerHook
        aws_conn_id: str | None
        region_name: str | None
        verify: bool | str | None
        botocore_config: dict[str, Any] | None

        def defer(self, **kwargs: Any) -> NoReturn: ...

    @abstractmethod
    def submit(self, context: Context) -> dict[str, Any]:
        """Start or adopt the job; return its result if it is there already, else wait."""

    @abstractmethod
    def collect(self, context: Context, event: dict[str, Any] | None) -> dict[str, Any]:
        """Return the result of the job that the trigger was waiting for."""

    def execute(self, context: Context) -> dict[str, Any]:
        return self._phase(context, SUBMIT)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        return self._phase(context, COLLECT, event)

    def resume(
        self,
        context: Context,
        event: dict[str, Any] | None = None,
        *,
        phase: str = SUBMIT,
        held: dict[str, Any] | None = None,
        refused_since: str | None = None,
        refusals: int = 0,
    ) -> dict[str, Any]:
        """Come back to a phase after a wait that was not for the phase's own job.

        :param phase: ``airflow dags test`` (3.3.2) loses the arguments of a deferral; to submit again is right then,
            because it adopts the job by its name.
        :param held: the event that the phase was working on.
        :param refused_since: ISO instant since which AWS has refused the phase for load.
        :param refusals: how often it has.
        """
        return self._phase(context, phase, held, refused_since, refusals)

    def on_kill(self) -> None:
        """Airflow's hint that the worker's process is to end; it runs inside a signal handler."""
        if self._kill is not None:
            self._kill.hint()

    def _phase(
        self,
        context: Context,
        phase: str,
        event: dict[str, Any] | None = None,
        refused_since: str | None = None,
        refusals: int = 0,
    ) -> dict[str, Any]:
        self._kill = WorkerKill(context["ti"], self.kind, self.hook, self.log)
        where = f"City {self.plan.city.slug!r}, step {self.step}"
        try:
            return self.submit(context) if phase == SUBMIT else self.collect(context, event)
        except AlgorithmError as error:
            # Another attempt would be paid for and fail the same way.
            raise AirflowFailException(printable(str(error))) from error
        except ClientError as error:
            remedy = job_faults.remedy(error)
            if remedy is Remedy.FAIL:
                raise AirflowFailException(printable(f"{where}: AWS refuses the request: {error}")) from error
            if remedy is Remedy.RETRY:
                raise PlatformError(f"{where}: {error}") from error
            again = {"phase": phase, "held": event, "refusals": refusals + 1}
            self._wait_for_turn(error, refused_since, again)

    @property
    def time_limit_seconds(self) -> int:
        """Return how long after its creation a job may be unfinished: its own limits and a margin."""
        settings = self.plan.settings(self.step)
        longest = max(getattr(settings, "max_wait_seconds", None) or 0, settings.max_runtime_seconds)
        return int(longest) + START_MARGIN_SECONDS

    def wait_for(self, job: str, *, created_at: datetime) -> NoReturn:
        """Defer until the step's job is over, at the latest when it may run and wait no longer."""
        deadline = created_at + timedelta(seconds=self.time_limit_seconds)
        self._defer_to_job(job, created_at, deadline, method_name="execute_complete")

    def wait_until_over(self, job: str) -> NoReturn:
        """Defer until a job that is stopping has stopped, then submit again."""
        now = datetime.now(UTC)
        self.log.info("Waiting until %s has stopped", job)
        deadline = now + timedelta(seconds=_STOP_SECONDS)
        self._defer_to_job(job, now, deadline, method_name="resume", kwargs={"phase": SUBMIT})

    def _defer_to_job(self, job: str, since: datetime, deadline: datetime, **method: Any) -> NoReturn:
        left = max((deadline - datetime.now(UTC)).total_seconds(), 0.0)
        self.defer(
            trigger=JobTrigger(
                job_name=job,
                kind=self.kind.name,
                since=since.isoformat(),
                deadline=deadline.isoformat(),
                poll_seconds=self.plan.city.waiter_delay_seconds,
                aws_conn_id=self.aws_conn_id,
                region_name=self.region_name,
                verify=self.verify,
                botocore_config=self.botocore_config,
            ),
            timeout=timedelta(seconds=left + _TRIGGERER_GONE_SECONDS),
            **method,
        )

    def _wait_for_turn(
        self, error: ClientError, refused_since: str | None, again: dict[str, Any]
    ) -> NoReturn:
        """Defer until it is this task's turn to call AWS again; no worker waits and no retry is used up.

        :param again: arguments of :meth:`resume`.
        :raises PlatformError: AWS has refused the task for ``capacity_wait_seconds``.
        """
        now = datetime.now(UTC)
        first = clock.parse(refused_since) if refused_since else now
        longest = self.plan.city.capacity_wait_seconds
        if (now - first).total_seconds() >= longest:
            raise PlatformError(
                f"City {self.plan.city.slug!r}, step {self.step}: AWS has refused for {longest} seconds "
                f"(capacity_wait_seconds): {error}"
            ) from error
        pause = _NO_CAPACITY_SECONDS if aws_errors.is_no_capacity(error) else _THROTTLED_SECONDS
        # Jitter keeps tasks that were refused together from coming back together; it is no secret.
        pause = min(pause * 2 ** (again["refusals"] - 1), _LONGEST_PAUSE_SECONDS) * random.uniform(0.5, 1.5)  # noqa: S311
        self.log.warning("AWS refuses for now, trying again in about %d seconds: %s", pause, error)
        self.defer(
            trigger=TurnTrigger(
                lane=f"{self.aws_conn_id}/{self.region_name}/{error.operation_name}",
                per_second=_TURNS_PER_SECOND,
                not_before=(now + timedelta(seconds=pause)).isoformat(),
            ),
            method_name="resume",
            kwargs={**again, "refused_since": first.isoformat()},
        )
