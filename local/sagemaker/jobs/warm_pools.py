"""Warm pools: the instance of a training job that has ended waits for the next job that matches.

Lifecycle, matching and limits follow the AWS documentation ("SageMaker AI Managed Warm Pools"): a pool is retained by a
job with KeepAlivePeriodInSeconds that completed, was stopped on its instance, or failed by its own algorithm or
request; only where the account's limit of warm pools, and that of training jobs, has room. A pool does not outlive its
server.
"""

from __future__ import annotations

import contextlib
import json
import math
import threading
import time
from dataclasses import dataclass, replace
from typing import Any

from local.sagemaker.errors import ResourceLimitExceeded
from local.sagemaker.jobs.training_states import KIND
from local.sagemaker.quotas import TRAINING, WARM_POOL, Quotas, quota_name
from local.sagemaker.store import Document, NotFound, Store

_HOLDER = "warm-pool"
_HEALTHY = ("AlgorithmError", "ClientError")


@dataclass(frozen=True)
class _Pool:
    """An instance that waits.

    :param job: the job whose instance it was.
    :param criteria: what the next job must have in common with that.
    :param since: when that job ended, and ``until`` how long it waits; on the monotonic clock.
    """

    job: str
    criteria: str
    instances: tuple[tuple[str, int], ...]
    since: float
    until: float


class WarmPools:
    """The instances that wait. Safe to use from many threads: it takes the store's lock within its own, and is never
    called with the store's held.

    :param store: the training jobs.
    :param quotas: what pools count for while they wait.
    """

    def __init__(self, store: Store, quotas: Quotas) -> None:
        self._store = store
        self._quotas = quotas
        self._lock = threading.RLock()
        self._available: dict[str, _Pool] = {}

    def claim(self, document: Document) -> _Pool | None:
        """Take the oldest matching pool for a new job, if there is one; a spot job has none.

        :param document: the new job's.
        :return: to be handed to :meth:`give_back` or :meth:`reuse`.
        """
        if document.get("EnableManagedSpotTraining"):
            return None
        wanted = _criteria(document)
        with self._lock:
            self.expire()
            pool = next((each for each in self._available.values() if each.criteria == wanted), None)
            if pool is not None:
                del self._available[pool.job]
                self._quotas.release((_HOLDER, pool.job))
            return pool

    def give_back(self, pool: _Pool | None) -> None:
        """Let a pool wait on: the job that claimed it has not come to be."""
        if pool is not None:
            with self._lock:
                self._quotas.take((_HOLDER, pool.job), pool.instances, check=False)
                self._available[pool.job] = pool

    def reuse(self, pool: _Pool | None, job: str) -> None:
        """Note that a pool has moved on.

        :param job: name of the job that runs on its instance now.
        """
        if pool is not None:
            self._close(pool, "Reused", ReusedByJob=job)

    def retain(self, job: str, document: Document, reason: str | None, change: Any) -> None:
        """Write the end of a job, and keep its instance if it is to be kept.

        :param document: the job's, as it was before its end.
        :param reason: its FailureReason.
        :param change: writes the end into the document; it is called with the document and the pool's status, None for
            a job that has none.
        """
        if "WarmPoolStatus" not in document:
            self._store.update(KIND, job, lambda each: change(each, None))
            return
        config = document["ResourceConfig"]
        seconds = config.get("KeepAlivePeriodInSeconds", 0)
        healthy = "TrainingStartTime" in document and (reason is None or reason.startswith(_HEALTHY))
        count = config["InstanceCount"]
        instances = tuple((quota_name(config["InstanceType"], use), count) for use in (TRAINING, WARM_POOL))
        with self._lock:
            kept = bool(seconds) and healthy and self._has_room(job, instances)
            status = {"Status": "Available" if kept else "Terminated"}
            try:
                self._store.update(KIND, job, lambda each: change(each, status))
            except BaseException:
                self._quotas.release((_HOLDER, job))
                raise
            if kept:
                now = time.monotonic()
                self._available[job] = _Pool(job, _criteria(document), instances, now, now + seconds)

    def _has_room(self, job: str, instances: tuple[tuple[str, int], ...]) -> bool:
        try:
            self._quotas.take((_HOLDER, job), instances)
        except ResourceLimitExceeded:
            return False
        return True

    def hold(self, job: str, seconds: int) -> bool:
        """Let a pool wait until so many seconds after its job's end; 0 ends it.

        :return: whether there is a pool that waits.
        """
        with self._lock:
            self.expire()
            pool = self._available.get(job)
            if pool is None:
                return False
            until = pool.since + seconds if seconds else time.monotonic()
            self._available[job] = replace(pool, until=until)
            self.expire()
            return True

    def expire(self) -> None:
        """End the pools that have waited long enough."""
        moment = time.monotonic()
        with self._lock:
            for pool in [each for each in self._available.values() if each.until <= moment]:
                del self._available[pool.job]
                self._quotas.release((_HOLDER, pool.job))
                self._close(pool, "Terminated")

    def recover(self) -> None:
        """End the pools of an earlier server."""
        for job, document in self._store.items(KIND):
            status = document.get("WarmPoolStatus")
            if status is not None and status["Status"] == "Available":
                self._store.update(
                    KIND, job, lambda each: each.update(WarmPoolStatus={"Status": "Terminated"})
                )

    def _close(self, pool: _Pool, status: str, **members: Any) -> None:
        retained = max(0, math.ceil(min(time.monotonic(), pool.until) - pool.since))
        value = {"Status": status, "ResourceRetainedBillableTimeInSeconds": retained, **members}
        with contextlib.suppress(NotFound):  # the job has been deleted
            self._store.update(KIND, pool.job, lambda each: each.update(WarmPoolStatus=value))


def _criteria(document: Document) -> str:
    """Return what two jobs must have in common for one to go on with the instance of the other."""
    config, network = document["ResourceConfig"], document.get("VpcConfig", {})
    members = ("InstanceCount", "InstanceType", "VolumeKmsKeyId", "VolumeSizeInGB")
    return json.dumps(
        [
            document["_region"],
            document["RoleArn"],
            [config.get(member) for member in members],
            [sorted(network.get(member, [])) for member in ("SecurityGroupIds", "Subnets")],
            bool(document.get("EnableInterContainerTrafficEncryption")),
            bool(document.get("EnableNetworkIsolation")),
        ]
    )
