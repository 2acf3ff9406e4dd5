"""Runs batch transform jobs: a model's container, the objects of the input one after the other, an object for each.

Follows the API Reference (CreateTransformJob, TransformInput, TransformOutput, ModelClientConfig): what was processed
as a whole is uploaded; if one object fails the others go on, and the job is Failed.
"""

from __future__ import annotations

import http.client
import logging
import select
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from local.sagemaker.container_spec import ContainerSpec
from local.sagemaker.endpoints.containers import ContainerFailed, ModelContainer, new_instance
from local.sagemaker.endpoints.endpoint_specs import model_containers
from local.sagemaker.endpoints.transform_records import PayloadTooLarge, assembled, output_key, payloads
from local.sagemaker.errors import SageMakerError, shorten
from local.sagemaker.moments import now
from local.sagemaker.processes.logs import LogStream
from local.sagemaker.processes.s3_transfer import (
    TransferError,
    describe,
    list_keys,
    read_manifest,
    relative_path,
    split_uri,
)
from local.sagemaker.reach import Server
from local.sagemaker.store import Document, NotFound

KIND = "transform-job"
LOG_GROUP = "/aws/sagemaker/TransformJobs"
INTERNAL_ERROR = "InternalServerError: We encountered an internal error. Please try again."
SEE_LOGS = "See job logs for more information"
MEBIBYTE = 1024**2
LOOK_SECONDS = 0.25
#: API Reference: MaxPayloadInMB, ModelClientConfig.
DEFAULT_PAYLOAD_MB, DEFAULT_TIMEOUT_SECONDS, DEFAULT_RETRIES = 6, 600, 3

log = logging.getLogger(__name__)


class _Stopped(Exception):
    """The job was stopped, or the server is about to end."""


class _ObjectFailed(Exception):
    """An input object could not be transformed.

    :param whose: ``ClientError`` or ``AlgorithmError``.
    """

    def __init__(self, whose: str, message: str) -> None:
        super().__init__(message)
        self.whose = whose


class TransformManager:
    """Runs the transform jobs of a server, each in a thread.

    :param server: the server they belong to.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._pool = ThreadPoolExecutor(server.settings.max_running_jobs, thread_name_prefix="transform")
        self._stops: dict[str, threading.Event] = {}
        self._closing = threading.Event()

    def submit(self, name: str) -> None:
        """Run a job whose document is in the store; returns at once."""
        self._stops[name] = threading.Event()
        self._pool.submit(self._run, name)

    def stop(self, name: str) -> None:
        """Stop a job; returns at once."""
        if stop := self._stops.get(name):
            stop.set()

    def recover(self) -> None:
        """Let the jobs fail that an earlier server has left unfinished, as jobs that lose their instance."""
        for name, document in self._server.store.items(KIND):
            if document["TransformJobStatus"] in ("InProgress", "Stopping"):
                self._end(name, "Failed", INTERNAL_ERROR)

    def shutdown(self) -> None:
        """Stop all jobs and wait for them."""
        self._closing.set()
        for stop in list(self._stops.values()):
            stop.set()
        self._pool.shutdown(wait=True)

    def _run(self, name: str) -> None:
        stop = self._stops[name]
        document = self._server.store.get(KIND, name)
        if document is None:
            return
        try:
            reason = TransformRun(self._server, document, stop).work()
        except _Stopped:
            if self._closing.is_set():
                self._end(name, "Failed", INTERNAL_ERROR)
            else:
                self._end(name, "Stopped", None)
        except Exception:  # a bug of ours, or a disk that takes no more
            log.exception("transform job %s", name)
            self._end(name, "Failed", INTERNAL_ERROR)
        else:
            self._end(name, "Failed" if reason else "Completed", reason)
        finally:
            self._stops.pop(name, None)

    def _end(self, name: str, status: str, reason: str | None) -> None:
        def change(document: Document) -> None:
            moment = now()
            document.update(TransformJobStatus=status, TransformEndTime=moment, LastModifiedTime=moment)
            if reason:
                document["FailureReason"] = shorten(reason)

        self._server.quotas.release((KIND, name))
        try:
            self._server.store.update(KIND, name, change)
        except (NotFound, OSError):
            log.exception("transform job %s", name)


class TransformRun:
    """One run of a transform job.

    :param server: the server that runs it.
    :param document: the job.
    :param stop: set when it is to stop.
    """

    def __init__(self, server: Server, document: Document, stop: threading.Event) -> None:
        self._server = server
        self._job = document
        self._stop = stop
        self._region: str = document["_region"]
        self._s3 = server.aws.client("s3", self._region)
        self._instance = f"{new_instance()}-{int(time.time())}"

    def work(self) -> str | None:
        """Transform all objects.

        :return: why the job has failed; None when it has not.
        """
        if self._stop.wait(self._server.settings.job_start_seconds):
            raise _Stopped
        name = self._job["TransformJobName"]
        started = now()
        self._server.store.update(KIND, name, lambda document: document.update(TransformStartTime=started))
        try:
            inputs = self._inputs()
            container = self._container()
        except (TransferError, SageMakerError) as error:
            return f"ClientError: {error}"
        except (ClientError, BotoCoreError) as error:
            return f"ClientError: {describe(error)}"
        except ContainerFailed as error:
            if self._stop.is_set():
                raise _Stopped from error
            return f"AlgorithmError: {error}"
        data_log = LogStream(
            self._server.aws.client("logs", self._region), LOG_GROUP, f"{name}/{self._instance}/data-log"
        )
        try:
            failed = [
                whose
                for bucket, key, relative in inputs
                if (whose := self._object(container, data_log, bucket, key, relative))
            ]
        finally:
            container.stop(0.0)
            data_log.close()
        return f"{failed[0]}: {SEE_LOGS}" if failed else None

    def _inputs(self) -> list[tuple[str, str, str]]:
        """Bucket, key and path below the prefix of each input object."""
        source = self._job["TransformInput"]["DataSource"]["S3DataSource"]
        uri = source["S3Uri"]
        if source["S3DataType"] == "ManifestFile":
            (bucket, prefix), suffixes = read_manifest(self._s3, uri)
            return [(bucket, prefix + suffix, suffix) for suffix in suffixes]
        bucket, prefix = split_uri(uri)
        keys = list_keys(self._s3, bucket, prefix)
        if not keys:
            raise TransferError(f"S3 key: {uri} matched no files on s3")
        return [(bucket, key, relative_path(prefix, key)) for key in keys]

    def _container(self) -> ModelContainer:
        (container,) = model_containers(self._server, self._job["ModelName"])
        spec = ContainerSpec(
            endpoint=self._job["TransformJobName"],
            variant="transform",
            image=container["Image"],
            model_data_url=container.get("ModelDataUrl", ""),
            multi_model=False,
            environment={**container["Environment"], **self._job.get("Environment", {})},
        )
        logs = LogStream(
            self._server.aws.client("logs", self._region), LOG_GROUP, f"{spec.endpoint}/{self._instance}"
        )
        return ModelContainer(self._server, spec, self._region, self._instance, self._stop, logs=logs)

    def _object(
        self, container: ModelContainer, data_log: LogStream, bucket: str, key: str, relative: str
    ) -> str | None:
        """Transform one object.

        :return: whose fault it is that it could not be; None when it could.
        """
        given, wanted = self._job["TransformInput"], self._job["TransformOutput"]
        try:
            body = self._s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            most = self._job.get("MaxPayloadInMB", DEFAULT_PAYLOAD_MB) * MEBIBYTE
            many = self._job.get("BatchStrategy", "MultiRecord") == "MultiRecord"
            answers = [
                self._ask(container, payload)
                for payload in payloads(
                    body, lines=given.get("SplitType") == "Line", many=many, most_bytes=most
                )
            ]
            target, prefix = split_uri(wanted["S3OutputPath"])
            self._s3.put_object(
                Bucket=target,
                Key=output_key(prefix, relative),
                Body=assembled(answers, lines=wanted.get("AssembleWith") == "Line"),
            )
        except _ObjectFailed as error:
            self._tell(data_log, f"{bucket}/{key}", str(error))
            return error.whose
        except PayloadTooLarge as error:
            self._tell(data_log, f"{bucket}/{key}", f"ClientError: {error}")
            return "ClientError"
        except (ClientError, BotoCoreError, TransferError) as error:
            self._tell(data_log, f"{bucket}/{key}", f"ClientError: {describe(error)}")
            return "ClientError"
        return None

    def _tell(self, data_log: LogStream, where: str, message: str) -> None:
        for line in message.splitlines():
            data_log.write(f"[sagemaker logs]: {where}: {line}")

    def _ask(self, container: ModelContainer, payload: bytes) -> bytes:
        config = self._job.get("ModelClientConfig", {})
        timeout = config.get("InvocationsTimeoutInSeconds", DEFAULT_TIMEOUT_SECONDS)
        tries = 1 + config.get("InvocationsMaxRetries", DEFAULT_RETRIES)
        problem = "Unable to get response from algorithm"
        for _ in range(tries):
            if self._stop.is_set():
                raise _Stopped
            try:
                status, answer = self._post(container, payload, timeout)
            except (OSError, http.client.HTTPException):
                continue
            if status < 400:
                return answer
            words = answer.decode("utf-8", "replace")
            problem = f"Bad HTTP status received from algorithm: {status}\n\nMessage:\n{words}"
            if status < 500:
                raise _ObjectFailed("ClientError", problem)
        raise _ObjectFailed("AlgorithmError", problem)

    def _wait_for_answer(self, sock: socket.socket, timeout: float) -> None:
        """Wait until the answer begins, or the job is stopped."""
        deadline = time.monotonic() + timeout
        while not select.select([sock], [], [], LOOK_SECONDS)[0]:
            if self._stop.is_set():
                raise _Stopped
            if time.monotonic() > deadline:
                raise TimeoutError

    def _post(self, container: ModelContainer, payload: bytes, timeout: float) -> tuple[int, bytes]:
        headers = {
            "Content-Type": self._job["TransformInput"].get("ContentType"),
            "Accept": self._job["TransformOutput"].get("Accept"),
        }
        connection: Any = http.client.HTTPConnection("127.0.0.1", container.port, timeout=timeout)
        try:
            given = {name: value for name, value in headers.items() if value is not None}
            connection.request("POST", "/invocations", payload, given)
            self._wait_for_answer(connection.sock, timeout)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()
