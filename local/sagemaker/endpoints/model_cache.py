"""The models that a multi-model container has loaded: on first use, up to a limit, the least recently used go first.

Memory is bounded by the container, which answers 507 when a model does not fit (AWS documentation, "Contract for
custom containers for multi-model endpoints"), and by a number of models; the volume by model_files.py. Runs in
the server's event loop, so no locks: state only changes between awaits. An artifact is fetched when its model is
not on the volume and not looked at again, so a model goes on answering whatever happens to its object, as on AWS.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import re
import tempfile
from collections import OrderedDict
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from local.sagemaker import disk
from local.sagemaker.endpoints.containers import ModelContainer
from local.sagemaker.endpoints.model_client import ModelClient, NoAnswer
from local.sagemaker.endpoints.model_files import ModelFiles, StoredModel, folder_bytes
from local.sagemaker.endpoints.runtime_errors import (
    ContainerError,
    ModelNotReady,
    ServiceUnavailable,
    ValidationError,
)
from local.sagemaker.processes.archives import BadArchive, extract, remove_tree
from local.sagemaker.processes.s3_transfer import describe, download, split_uri
from local.sagemaker.settings import Settings

INSUFFICIENT_STORAGE = 507
EXTRACT_MEMBERS = 1_000
EXTRACT_BYTES = 1024**3

log = logging.getLogger(__name__)


# What some who publish models write at the end of a key: the beginning of the artifact's SHA-256.
_DIGEST_IN_KEY = re.compile(r"-(?P<digest>[0-9a-f]{12})\.tar\.gz$")


def _check_digest(archive: Path, uri: str) -> None:
    """Refuse an artifact whose key names other bytes. AWS does not look; here a mix-up shows at the first request.

    :param archive: the artifact, as it was fetched.
    :param uri: where from.
    :raises BadArchive: the key ends with a digest that the bytes do not have.
    """
    named = _DIGEST_IN_KEY.search(uri.rpartition("/")[2])
    if named is None:
        return
    with archive.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(named["digest"]):
        raise BadArchive(f"its SHA-256 is {found}, but its key says {named['digest']}")


@dataclass(eq=False)
class LoadedModel:
    """A model in the container.

    :param stored: its files on the volume.
    :param users: requests that are being answered with it.
    """

    stored: StoredModel
    users: int = 0

    @property
    def target(self) -> str:
        """Its TargetModel."""
        return self.stored.target

    @property
    def name(self) -> str:
        """The opaque name the container knows it by."""
        return self.stored.name


class ModelCache:
    """The loaded models of one container.

    :param container: the container that loads them.
    :param client: client of the container's model server.
    :param s3: boto3 client for the artifacts.
    :param workers: threads that fetch and extract.
    :param settings: how many models stay loaded (more only while all are in use), how large the volume is, and
        how long a request waits for a load; the load itself goes on.
    """

    def __init__(
        self,
        container: ModelContainer,
        *,
        client: ModelClient,
        s3: Any,
        workers: Executor,
        settings: Settings,
    ) -> None:
        self._container = container
        self._client = client
        self._s3 = s3
        self._workers = workers
        self._keep = container.spec.cache_models
        self._limit = settings.max_loaded_models if self._keep else 0
        self._load_timeout_seconds = settings.model_load_timeout_seconds
        assert container.models_descriptor is not None  # noqa: S101  # it has started
        self._files = ModelFiles(container.models, container.models_descriptor, settings.model_disk_bytes)
        self._loaded: OrderedDict[str, LoadedModel] = OrderedDict()
        self._loading: dict[str, asyncio.Task[LoadedModel]] = {}

    @asynccontextmanager
    async def lease(self, target: str) -> AsyncIterator[LoadedModel]:
        """A loaded model; it stays loaded while the ``async with`` block runs.

        :param target: TargetModel of the request.
        :raises ValidationError: when there is no such object, or the target could lead out of the endpoint's prefix.
        :raises ModelNotReady: when the load takes longer than a request may wait.
        :raises ContainerError: when it can't be loaded; the next request tries again.
        """
        model = await self._get(target)
        try:
            yield model
        finally:
            model.users -= 1
            # The answer is there: a container that has just died must not spoil it.
            with contextlib.suppress(ServiceUnavailable):
                await self._make_room(self._limit)

    async def _get(self, target: str) -> LoadedModel:
        deadline = asyncio.get_running_loop().time() + self._load_timeout_seconds
        while True:
            model = self._loaded.get(target)
            if model is not None:
                self._loaded.move_to_end(target)
                model.users += 1
                return model
            task = self._loading.get(target)
            if task is None:
                task = asyncio.create_task(self._load(target), name=f"load {target}")
                self._loading[target] = task
                task.add_done_callback(lambda done: self._load_ended(target, done))
            left = deadline - asyncio.get_running_loop().time()
            # wait() leaves the task alone when the time is over: the next request finds the model loaded.
            await asyncio.wait([task], timeout=max(0.0, left))
            if not task.done():
                raise ModelNotReady(f"The model {target} is being loaded. Please try again.")
            model = task.result()
            if self._loaded.get(target) is model:
                model.users += 1
                return model

    def _load_ended(self, target: str, task: asyncio.Task[LoadedModel]) -> None:
        self._loading.pop(target, None)
        if not task.cancelled():
            task.exception()  # read, so that asyncio does not report it: a request has seen it, or none waits any more

    async def _load(self, target: str) -> LoadedModel:
        uri = self.uri(target)
        stored = self._files.get(target)
        if stored is None:
            stored = await self._bring(uri, target)
        stored.pins += 1
        try:
            await self._make_room(max(0, self._limit - 1))
            self._container.check_load(target)
            await asyncio.sleep(self._container.load_seconds(target))
            await self._post(stored)
        except BaseException:
            # The stand-in's own choice: the next request fetches it anew, so that a mended artifact is found.
            await self._remove(stored)
            raise
        model = self._loaded[target] = LoadedModel(stored)
        return model

    async def _bring(self, uri: str, target: str) -> StoredModel:
        """Fetch a model and make room on the volume for it."""
        stored = self._files.place(target)
        try:
            stored.size_bytes = await self._fetch_where_there_is_room(uri, stored)
            self._files.add(stored)
            stored.pins += 1
            while self._files.is_over:
                if not await self._free_disk():
                    raise self._no_room(target, f"holds {self._files.limit_bytes} bytes")
        except BaseException:
            await self._remove(stored)
            raise
        stored.pins -= 1
        return stored

    async def _fetch_where_there_is_room(self, uri: str, stored: StoredModel) -> int:
        """Fetch a model; while the disk is full other models go from it."""
        while True:
            try:
                return await asyncio.get_running_loop().run_in_executor(
                    self._workers, self._fetch, uri, stored
                )
            except OSError as error:
                if not disk.is_full(error):
                    raise
                reason = disk.full(self._container.sandbox.root.parent)
                log.warning("the model %s: %s", stored.target, reason)
                if not await self._free_disk():
                    raise self._no_room(stored.target, f"takes no more: {reason}") from error

    async def _free_disk(self) -> bool:
        """Delete the least recently used model that can go from the volume.

        :return: whether there was one.
        """
        unused = self._files.unused()
        if unused is not None:
            log.warning("the model %s goes from the disk to make room", unused.target)
            await self._remove(unused)
            return True
        return await self._make_room(len(self._loaded) - 1) > 0

    def _no_room(self, target: str, why: str) -> ContainerError:
        return ContainerError(
            INSUFFICIENT_STORAGE,
            f"There is no room for the model {target}: the volume of the endpoint {why}, and all other models on"
            " it are in use.",
        )

    async def _remove(self, stored: StoredModel) -> None:
        self._files.forget(stored)
        await asyncio.get_running_loop().run_in_executor(self._workers, self._files.remove, stored)

    def uri(self, target: str) -> str:
        """URI of a model's artifact.

        :param target: TargetModel of the request.
        :raises ValidationError: when it could lead out of the endpoint's prefix.
        """
        # Dot segments are resolved by HTTP clients on the way to S3.
        if any(part in ("", ".", "..") for part in target.split("/")):
            raise ValidationError(
                f"Invalid TargetModel {target!r}: expected the key of an artifact below the prefix."
            )
        return self._container.spec.model_data_url + target

    def _fetch(self, uri: str, stored: StoredModel) -> int:
        bucket, key = split_uri(uri)
        # Beside the sandbox, where the container's code can put nothing in the way.
        staging = Path(tempfile.mkdtemp(prefix="fetch-", dir=self._container.sandbox.root.parent))
        try:
            archive, folder = staging / "model.tar.gz", staging / "model"
            download(self._s3, bucket, key, archive)
            _check_digest(archive, uri)
            extract(archive, folder, max_members=EXTRACT_MEMBERS, max_bytes=EXTRACT_BYTES)
            size_bytes = folder_bytes(folder)
            self._files.move_in(stored, folder)
            return size_bytes
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] >= 500:
                raise ServiceUnavailable(f"S3 does not answer: {describe(error)}") from error
            raise ValidationError(
                f"Failed to download model data(bucket: {bucket}, key: {key}). Please ensure that there is "
                f"an object "
                "located at the URL and that the role passed to CreateModel has permissions to download the "
                "model."
            ) from error
        except BotoCoreError as error:
            raise ServiceUnavailable(f"S3 does not answer: {error}") from error
        except BadArchive as error:
            raise ContainerError(
                400,
                f'Failed to extract model data archive from URL "{uri}": {error}. Please ensure that the '
                f"object "
                "located at the URL is a valid tar.gz archive.",
            ) from error
        finally:
            remove_tree(staging)

    async def _post(self, stored: StoredModel) -> None:
        load = json.dumps({"model_name": stored.name, "url": str(stored.folder)}).encode()
        while True:
            try:
                answer = await self._client.request(
                    "POST", "/models", load, {"Content-Type": "application/json"}
                )
            except NoAnswer as error:
                raise ServiceUnavailable(str(error)) from error
            if answer.status == INSUFFICIENT_STORAGE and await self._make_room(len(self._loaded) - 1):
                continue  # the container asked for memory, and there was a model to unload
            if answer.status >= 400:
                raise ContainerError(answer.status, answer.message)
            return

    async def _make_room(self, limit: int) -> int:
        """Unload models that are not in use, the least recently used first, until no more than the limit are left.

        :param limit: how many may stay.
        :return: how many were unloaded.
        """
        count = 0
        for model in list(self._loaded.values()):
            if len(self._loaded) <= max(0, limit):
                break
            if model.users == 0 and self._loaded.get(model.target) is model:
                del self._loaded[model.target]
                await self._unload(model)
                count += 1
        return count

    async def _unload(self, model: LoadedModel) -> None:
        try:
            await self._client.request("DELETE", f"/models/{model.name}")
        except NoAnswer as error:
            raise ServiceUnavailable(str(error)) from error
        finally:
            model.stored.pins -= 1
            self._files.get(model.target)  # it was used until now
            if not self._keep:
                await self._remove(model.stored)
