"""What an operation, a job or an endpoint can reach of the server that it belongs to.

The server holds the managers of jobs and endpoints and the faults, and all of these use the server. So that no module
has to import one that imports it, they know the server by this description alone; ``server.py`` puts the real one
together, and the type checker compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from local.sagemaker.aws import Aws
from local.sagemaker.processes.processes import Hidden, Supervised
from local.sagemaker.processes.warm_runner import WarmRunner
from local.sagemaker.quotas import Quotas
from local.sagemaker.settings import Settings
from local.sagemaker.store import Document, Store


class RunningJob(Protocol):
    """A job whose container runs: what a fault needs of it."""

    @property
    def name(self) -> str:
        """The job's name."""

    @property
    def document(self) -> Document:
        """What Describe answers, as it was when the job began."""

    def request_interruption(self) -> None:
        """Take the spot instance away; returns at once. Other jobs are left alone."""


class Jobs(Protocol):
    """Starts and stops jobs: ``jobs/jobs.py``."""

    def submit(self, kind: str, name: str) -> None:
        """Run a job whose document is in the store; returns at once."""

    def stop(self, kind: str, name: str) -> None:
        """Stop a job; returns at once."""


class Pools(Protocol):
    """Instances of training jobs that wait for the next one: ``jobs/warm_pools.py``."""

    def claim(self, document: Document) -> Any:
        """Take a matching pool for a new job; None when there is none."""

    def give_back(self, pool: Any) -> None:
        """Let a pool wait on."""

    def reuse(self, pool: Any, job: str) -> None:
        """Note that a job runs on a pool's instance now."""

    def retain(self, job: str, document: Document, reason: str | None, change: Any) -> None:
        """Write the end of a job, and keep its instance if it is to be kept."""

    def hold(self, job: str, seconds: int) -> bool:
        """Let a job's pool wait until so many seconds after its end; 0 ends it. False when none waits."""

    def expire(self) -> None:
        """End the pools that have waited long enough."""


class Endpoints(Protocol):
    """Starts, changes and stops endpoints: ``endpoints/endpoint_manager.py``."""

    def deploy(self, name: str, deployment: Any) -> None:
        """Bring an endpoint into service with new containers; returns at once."""

    def share(self, name: str, shares: Mapping[str, tuple[float, int]]) -> None:
        """Give an endpoint's variants other weights, and let each count as so many instances."""

    def delete(self, name: str) -> None:
        """Stop an endpoint's containers and forget it; returns at once."""


class Transforms(Protocol):
    """Starts and stops batch transform jobs: ``endpoints/transform_run.py``."""

    def submit(self, name: str) -> None:
        """Run a job whose document is in the store; returns at once."""

    def stop(self, name: str) -> None:
        """Stop a job; returns at once."""


class FaultInjector(Protocol):
    """Decides which jobs, model servers and models meet a fault: ``faults/faults.py``."""

    def job_started(self, run: RunningJob, process: Supervised) -> None:
        """Called when a job's container has been started."""

    def capacity_error(self, name: str) -> tuple[float, str] | None:
        """Seconds after which a job on demand gives up waiting for an instance, and its reason; None if it has one."""

    def capacity_delay_seconds(self, name: str) -> float:
        """How long it takes until there is an instance for a training job that has lost its own."""

    def model_server_started(self, endpoint: str, process: Supervised) -> None:
        """Called when an endpoint's model server has been started."""

    def endpoint_failure(self, endpoint: str, variant: str) -> str | None:
        """Why the model server of an endpoint does not come up; None if it may."""

    def model_load_failure(self, endpoint: str, target: str) -> str | None:
        """What the container says when it can't load a model; None if it can."""

    def model_load_seconds(self, endpoint: str, target: str) -> float:
        """How much longer it takes to load a model."""


class Server(Protocol):
    """The server."""

    @property
    def settings(self) -> Settings:
        """What was set on the command line."""

    @property
    def stopping(self) -> bool:
        """Whether it is about to end: no request may wait any longer."""

    @property
    def data_dir(self) -> Path:
        """Existing folder that belongs to this server alone."""

    @property
    def store(self) -> Store:
        """SageMaker's resources, by kind and name."""

    @property
    def aws(self) -> Aws:
        """boto3 clients of this server's own S3 and CloudWatch Logs."""

    @property
    def quotas(self) -> Quotas:
        """The instances that are in use."""

    @property
    def runner(self) -> WarmRunner:
        """Starts the containers of jobs."""

    @property
    def jobs(self) -> Jobs:
        """The jobs that run."""

    @property
    def warm_pools(self) -> Pools:
        """The instances that wait for the next training job."""

    @property
    def endpoints(self) -> Endpoints:
        """The endpoints in service."""

    @property
    def transforms(self) -> Transforms:
        """The batch transform jobs that run."""

    @property
    def faults(self) -> FaultInjector:
        """The faults that are on."""

    @property
    def region(self) -> str:
        """Region of the request that is being answered, else the server's own."""

    @property
    def account_id(self) -> str:
        """The one account there is."""

    def arn(self, resource_type: str, name: str) -> str:
        """ARN of a SageMaker resource.

        :param resource_type: for example ``training-job``.
        """

    @property
    def own_opt_ml(self) -> bool:
        """Whether each container has an ``/opt/ml`` of its own; if not, paths are rewritten for it."""

    def hidden(self, kept: Path) -> Hidden | None:
        """What a container must not see; None when nothing is hidden.

        :param kept: the container's own folder, its sandbox.
        """
