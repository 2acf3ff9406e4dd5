"""The server, put together from its parts."""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from local.sagemaker.aws import Aws
from local.sagemaker.data_dir import STORE_FILE, open_store
from local.sagemaker.endpoints.endpoint_manager import EndpointManager
from local.sagemaker.endpoints.transform_run import TransformManager
from local.sagemaker.faults.faults import Faults
from local.sagemaker.jobs.jobs import JobManager
from local.sagemaker.jobs.warm_pools import WarmPools
from local.sagemaker.processes.processes import Hidden, can_mount_opt_ml
from local.sagemaker.processes.warm_runner import WarmRunner
from local.sagemaker.quotas import Quotas
from local.sagemaker.settings import Settings
from local.sagemaker.store import Store

#: Region of the request that is being answered; threads that no request started have none.
request_region: ContextVar[str | None] = ContextVar("request_region", default=None)


@dataclass
class SageMakerServer:
    """One local SageMaker, put together from its parts. ``reach.Server`` describes what operations see of it.

    :param url: where this server listens.
    :param data_dir: existing folder that belongs to this server alone.
    """

    settings: Settings
    url: str
    data_dir: Path
    store: Store
    aws: Aws
    jobs: JobManager = field(init=False)
    endpoints: EndpointManager = field(init=False)
    transforms: TransformManager = field(init=False)
    quotas: Quotas = field(init=False)
    warm_pools: WarmPools = field(init=False)
    runner: WarmRunner = field(init=False)
    faults: Faults = field(default_factory=Faults)
    #: Whether each container has an ``/opt/ml`` of its own; if not, paths are rewritten for it.
    own_opt_ml: bool = False
    started: float = field(default_factory=time.monotonic)
    stopping: bool = False

    @classmethod
    def create(cls, settings: Settings, url: str, data_dir: Path) -> SageMakerServer:
        """Put a server together; nothing runs and nothing listens yet."""
        store = open_store(data_dir / STORE_FILE)
        server = cls(settings, url, data_dir, store, Aws(url, settings.region))
        server.own_opt_ml = settings.isolate and can_mount_opt_ml(data_dir)
        server.quotas = Quotas(settings.quotas, settings.default_quota)
        server.warm_pools = WarmPools(store, server.quotas)
        server.runner = WarmRunner(settings.images.values() if settings.warm_runner else ())
        server.jobs = JobManager(server)
        server.endpoints = EndpointManager(server)
        server.transforms = TransformManager(server)
        return server

    @property
    def region(self) -> str:
        """Region of the request that is being answered, else the server's own."""
        return request_region.get() or self.settings.region

    @property
    def account_id(self) -> str:
        """The one account there is."""
        return self.settings.account_id

    def arn(self, resource_type: str, name: str) -> str:
        """ARN of a SageMaker resource.

        :param resource_type: for example ``training-job``.
        """
        return f"arn:aws:sagemaker:{self.region}:{self.account_id}:{resource_type}/{name}"

    def hidden(self, kept: Path) -> Hidden | None:
        """What a container must not see; None when nothing is hidden.

        :param kept: the container's own folder, its sandbox.
        """
        folders = (self.data_dir.resolve(), *self.settings.hidden_folders)
        return Hidden(folders, kept, self.own_opt_ml) if self.settings.isolate else None

    def recover(self) -> None:
        """Take up what an earlier server has left in the data folder."""
        self.jobs.recover()
        self.warm_pools.recover()
        self.endpoints.recover()
        self.transforms.recover()

    def shutdown(self) -> None:
        """Stop what this server started. The store stays readable."""
        self.stopping = True
        self.transforms.shutdown()
        self.endpoints.shutdown()
        self.jobs.shutdown()
        self.runner.close()
