"""Everything that can be set about the stand-in; command_line.py reads it."""

from __future__ import annotations

import functools
import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path

DEFAULT_ACCOUNT_ID = "123456789012"
DEFAULT_REGION = "us-east-1"


@dataclass(frozen=True)
class Settings:
    """Settings of one server.

    :param images: interpreter that stands for an image, by the image's ``repository:tag``.
    :param image_labels: Docker labels of an image, by the image's ``repository:tag``.
    :param data_dir: folder for the store, the jobs' sandboxes and the endpoints' caches; None = a temporary
        one.
    :param max_body_bytes: largest request body that is accepted; bodies are held in memory.
    :param max_loaded_models: models one endpoint variant keeps loaded; the least recently used is unloaded
        first.
    :param model_memory_bytes: what the model server of an endpoint variant may take (Linux); least recently used
        models are unloaded first.
    :param model_load_timeout_seconds: how long a request waits for its model to be loaded.
    :param model_load_seconds: how much longer than here it takes to load a model, on a multi-model endpoint or before
        the first answer of a container with one model.
    :param model_disk_bytes: what the extracted models of an endpoint variant may take on disk.
    :param start_delay_seconds: how long a job or an endpoint waits before it starts, as instances take time on
        AWS.
    :param start_up_seconds: the same of jobs alone; None for as long as the others.
    :param quotas: limits of instances by quota name, for example ``ml.m5.large for training job usage``.
    :param faults: JSON file with the faults that are on from the start.
    :param default_quota: limit of every other quota.
    :param spot_share: what a spot instance costs, as a share of the price on demand.
    :param warm_runner: start scripts in forks of an interpreter that has imported what they import.
    :param isolate: hide the data of the server, of other jobs and of other endpoints from each container.
    :param allowed_hosts: names that requests may have as Host, besides those of loopback, where the server listens on
        an address that others reach.
    :param hidden_folders: more folders that no container sees, such as those with somebody's secrets.
    :param check_roles: whether a role must exist in IAM and trust sagemaker.amazonaws.com, as on AWS.
    :param check_data: whether a training job's inputs and a model's data must be in S3 when they are created.
    """

    host: str = "127.0.0.1"
    port: int = 8585
    data_dir: Path | None = None
    images: dict[str, Path] = field(default_factory=dict)
    image_labels: dict[str, dict[str, str]] = field(default_factory=dict)
    max_running_jobs: int = field(default_factory=lambda: os.cpu_count() or 1)
    stop_grace_seconds: float = 120.0
    start_delay_seconds: float = 0.0
    start_up_seconds: float | None = None
    quotas: dict[str, int] = field(default_factory=dict)
    default_quota: int = 1000
    spot_share: float = 0.3
    isolate: bool = True
    allowed_hosts: frozenset[str] = frozenset()
    hidden_folders: tuple[Path, ...] = ()
    warm_runner: bool = True
    max_loaded_models: int = 100
    model_memory_bytes: int = 2 * 1024**3
    model_disk_bytes: int = 10 * 1024**3
    model_load_timeout_seconds: float = 60.0
    model_load_seconds: float = 0.0
    invoke_timeout_seconds: float = 60.0
    max_body_bytes: int = 64 * 1024 * 1024
    ready_file: Path | None = None
    faults: Path | None = None
    allow_non_loopback: bool = False
    check_roles: bool = True
    check_data: bool = True
    account_id: str = DEFAULT_ACCOUNT_ID
    region: str = DEFAULT_REGION

    @property
    def job_start_seconds(self) -> float:
        """How long a job's instance takes to come up."""
        return self.start_delay_seconds if self.start_up_seconds is None else self.start_up_seconds


@functools.lru_cache(maxsize=64)
def is_loopback(host: str) -> bool:
    """Whether a host name or address can only be reached from this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
