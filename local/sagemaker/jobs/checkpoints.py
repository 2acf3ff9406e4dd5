"""A training job's checkpoints: brought from S3 before it starts, copied there while it runs.

Follows the AWS documentation ("Checkpoints in Amazon SageMaker AI", CheckpointConfig). The stand-in's own choices: a
folder is looked at each second and once more when its container has ended, a file goes up when its size or time of
change has, and what a script deletes stays in S3.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from local.sagemaker.jobs.runner import JobFailed
from local.sagemaker.processes.outputs import OutputRefused
from local.sagemaker.processes.s3_transfer import (
    StorageFailed,
    TransferError,
    describe,
    download_prefix,
    list_keys,
    split_uri,
    upload,
)
from local.sagemaker.processes.sandbox import OPT_ML, Sandbox

DEFAULT_PATH = f"{OPT_ML}/checkpoints"
SYNC_SECONDS = 1.0


class Checkpoints:
    """The checkpoints of one attempt of a job.

    :param s3: boto3 client.
    :param config: CheckpointConfig of the request; None = the job keeps none.
    :param sandbox: the attempt's file system.
    """

    def __init__(self, s3: Any, config: dict[str, str] | None, sandbox: Sandbox) -> None:
        self._s3, self._sandbox = s3, sandbox
        self._known: dict[str, tuple[int, int]] = {}
        self._kept = config is not None
        if config is not None:
            self._folder = sandbox.path(config.get("LocalPath") or DEFAULT_PATH)
            self._bucket, key = split_uri(config["S3Uri"])
            self._prefix = f"{key.rstrip('/')}/" if key else ""

    def restore(self) -> None:
        """Bring what an earlier attempt, or an earlier job with the same S3Uri, has left in S3.

        :raises JobFailed: when S3 refuses.
        """
        if not self._kept:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            if list_keys(self._s3, self._bucket, self._prefix):
                download_prefix(self._s3, f"s3://{self._bucket}/{self._prefix}", self._folder)
        except (TransferError, ClientError, BotoCoreError) as error:
            raise JobFailed(f"ClientError: Checkpoints can't be brought: {describe(error)}") from error
        self._known = {each.name: _state(each.info) for each in self._sandbox.outputs.walk(self._folder)}

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Copy checkpoints to S3 while the container runs, and what is left when it has ended.

        :raises JobFailed: when the last copy fails.
        """
        if not self._kept:
            yield
            return
        ended = threading.Event()
        copying = threading.Thread(target=self._go_on, args=(ended,), name="checkpoints", daemon=True)
        copying.start()
        try:
            yield
        finally:
            ended.set()
            copying.join()
        try:
            self._copy()
        except (TransferError, OutputRefused) as error:
            raise JobFailed(f"ClientError: Checkpoints can't be saved: {error}") from error

    def _go_on(self, ended: threading.Event) -> None:
        while not ended.wait(SYNC_SECONDS):
            # A file may vanish or be half written; what is still amiss at the end is the job's failure.
            with contextlib.suppress(TransferError, OutputRefused, StorageFailed, OSError):
                self._copy()

    def _copy(self) -> None:
        for each in self._sandbox.outputs.walk(self._folder):
            state = _state(each.info)
            if each.file is not None and self._known.get(each.name) != state:
                upload(self._s3, each.file, self._bucket, f"{self._prefix}{each.name}")
                self._known[each.name] = state


def _state(info: Any) -> tuple[int, int]:
    return info.st_size, info.st_mtime_ns
