"""Data capture: a sample of an endpoint's requests and answers as JSON lines in S3, beside the serving.

Source: API Reference, DataCaptureConfig and DataCaptureConfigSummary; Developer Guide, "Capture data from real-time
endpoint".
"""

from __future__ import annotations

import base64
import json
import logging
import random
import threading
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from boto3.exceptions import Boto3Error
from botocore.exceptions import BotoCoreError, ClientError

from local.sagemaker.errors import ValidationException
from local.sagemaker.processes.s3_transfer import TransferError, split_uri

#: How long lines wait for others, and how many bytes of them at most; what comes then is not captured.
FLUSH_SECONDS = 1.0
MOST_BYTES = 32 << 20
CLOSE_SECONDS = 10.0
SECONDS_BETWEEN_WARNINGS = 60.0
#: What a body is that comes without a content type.
NO_TYPE = "application/octet-stream"

log = logging.getLogger(__name__)


def check(config: Mapping[str, Any]) -> None:
    """Check what the service model does not say.

    :param config: a DataCaptureConfig.
    :raises ValidationException: if nothing can be written to its DestinationS3Uri.
    """
    try:
        split_uri(config["DestinationS3Uri"])
    except TransferError as error:
        raise ValidationException(
            f"DataCaptureConfig.DestinationS3Uri: {error}; the local SageMaker supports no other."
        ) from None


def is_on(config: Mapping[str, Any]) -> bool:
    """Whether a DataCaptureConfig captures: it does where it does not say that it does not."""
    return bool(config.get("EnableCapture", True))


def summary(config: Mapping[str, Any]) -> dict[str, Any]:
    """A DataCaptureConfig as DescribeEndpoint shows it."""
    return {
        "EnableCapture": is_on(config),
        "CaptureStatus": "Started" if is_on(config) else "Stopped",
        "CurrentSamplingPercentage": config["InitialSamplingPercentage"],
        "DestinationS3Uri": config["DestinationS3Uri"],
        "KmsKeyId": config.get("KmsKeyId", ""),
    }


@dataclass(frozen=True)
class Body:
    """What a caller sent, or a container answered.

    :param content_type: its header; empty where there is none.
    """

    content: bytes
    content_type: str = ""


@dataclass(frozen=True)
class _Line:
    variant: str
    moment: datetime
    text: bytes


class DataCapture:
    """Captures what an endpoint is asked and answers, as its DataCaptureConfig says. Safe to use from many threads.

    :param s3: boto3 client.
    :param endpoint: name of the endpoint.
    :param config: a DataCaptureConfig that is on.
    """

    def __init__(self, s3: Any, endpoint: str, config: Mapping[str, Any]) -> None:
        self._s3, self._endpoint = s3, endpoint
        self._share = config["InitialSamplingPercentage"] / 100
        self._bucket, prefix = split_uri(config["DestinationS3Uri"])
        self._prefix = f"{prefix.rstrip('/')}/{endpoint}".lstrip("/")
        self._key = config.get("KmsKeyId", "")
        modes = {each["CaptureMode"] for each in config["CaptureOptions"]}
        self._input = bool(modes & {"Input", "InputAndOutput"})
        self._output = bool(modes & {"Output", "InputAndOutput"})
        types = config.get("CaptureContentTypeHeader", {})
        self._encodings = {
            **{each.lower(): "JSON" for each in types.get("JsonContentTypes", ())},
            **{each.lower(): "CSV" for each in types.get("CsvContentTypes", ())},
        }
        self._waiting: list[_Line] = []
        self._bytes = self._lost = 0
        self._warned: float | None = None
        self._changed = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None

    def note(self, variant: str, asked: Body, answered: Body, inference_id: str = "") -> None:
        """Capture a request that was answered, if it is drawn; returns at once.

        :param variant: name of the production variant that has answered.
        :param inference_id: the request's InferenceId; empty where there is none.
        """
        if random.random() >= self._share:  # noqa: S311  # a sample, no secret
            return
        moment = datetime.now(UTC)
        captured = {}
        if self._input:
            captured["endpointInput"] = self._data("INPUT", asked)
        if self._output:
            captured["endpointOutput"] = self._data("OUTPUT", answered)
        metadata = {"eventId": str(uuid.uuid4())}
        if inference_id:
            metadata["inferenceId"] = inference_id
        metadata["inferenceTime"] = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
        document = {"captureData": captured, "eventMetadata": metadata, "eventVersion": "0"}
        line = _Line(variant, moment, json.dumps(document, separators=(",", ":")).encode() + b"\n")
        with self._changed:
            if self._closing or self._bytes + len(line.text) > MOST_BYTES:
                self._lost += 1
                return
            self._waiting.append(line)
            self._bytes += len(line.text)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name=f"capture-{self._endpoint}", daemon=True
                )
                self._thread.start()

    def close(self) -> None:
        """Write what waits; returns when it can be read, or S3 does not answer."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)

    def _data(self, mode: str, body: Body) -> dict[str, str]:
        """What stands of a body in a line: as text where its type is one of the configuration's, else in Base64."""
        named = body.content_type or NO_TYPE
        encoding = self._encodings.get(named.partition(";")[0].strip().lower(), "BASE64")
        try:
            text = body.content.decode() if encoding != "BASE64" else ""
        except UnicodeDecodeError:  # the type says more than is true
            encoding = "BASE64"
        if encoding == "BASE64":
            text = base64.b64encode(body.content).decode()
        return {"observedContentType": named, "mode": mode, "data": text, "encoding": encoding}

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closing, FLUSH_SECONDS)
                closing = self._closing
                waiting, self._waiting, self._bytes = self._waiting, [], 0
            files: dict[tuple[str, str], list[_Line]] = {}
            for line in waiting:
                files.setdefault((line.variant, f"{line.moment:%Y/%m/%d/%H}"), []).append(line)
            for (variant, hour), lines in files.items():
                self._write(variant, hour, lines)
            if closing:
                return

    def _write(self, variant: str, hour: str, lines: list[_Line]) -> None:
        first = lines[0].moment
        name = f"{first:%M-%S}-{first.microsecond // 1000:03}-{uuid.uuid4()}.jsonl"
        encryption = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": self._key} if self._key else {}
        try:
            self._s3.put_object(
                Bucket=self._bucket,
                Key=f"{self._prefix}/{variant}/{hour}/{name}",
                Body=b"".join(each.text for each in lines),
                **encryption,
            )
        except (ClientError, BotoCoreError, Boto3Error) as error:
            # No request fails for it, as on AWS; the server says so, once a minute.
            with self._changed:
                self._lost += len(lines)
                now, lost = time.monotonic(), self._lost
                if self._warned is not None and now - self._warned < SECONDS_BETWEEN_WARNINGS:
                    return
                self._warned = now
            log.warning(
                "endpoint %s: captured data can't be written below s3://%s/%s: %s; %s lines were lost",
                self._endpoint,
                self._bucket,
                self._prefix,
                error,
                lost,
            )
