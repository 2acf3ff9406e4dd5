"""Pages to look at in a browser; Airflow's links lead here where AWS has consoles. GET alone, and nothing changes.

/_local/pages                                         the newest jobs and model packages, and endpoints
/_local/pages/processing-job/<name>                   what Describe answers; training-job, model-package, endpoint too
/_local/pages/processing-job/<name>/log               the end of the job's log
/_local/pages/s3/<bucket>/<key>                       the beginning of an object; a folder where the key ends with /
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError, ParamValidationError
from starlette.responses import PlainTextResponse, Response

from local.sagemaker.pages.page_html import PREFIX, as_text, is_page, link, page
from local.sagemaker.protocol.bounded_request import BoundedRequest
from local.sagemaker.reach import Server
from local.sagemaker.store import Document

#: What CloudWatch Logs calls the group of a kind of jobs.
_LOG_GROUPS = {
    "processing-job": "/aws/sagemaker/ProcessingJobs",
    "training-job": "/aws/sagemaker/TrainingJobs",
}
_DESCRIBED = ("model-package", "endpoint")
_LISTED, _LINES, _KEYS, _BYTES = 50, 2_000, 1_000, 512 * 1024


async def answer(server: Server, request: BoundedRequest) -> Response | None:
    """The page that a request asks for; None when it asks for none."""
    path = request.path
    if not is_page(path):
        return None
    if request.method not in ("GET", "HEAD"):
        return PlainTextResponse("Pages are only read: GET\n", 405, {"Allow": "GET, HEAD"})
    return await asyncio.to_thread(_answer, server, path[len(PREFIX) + 1 :])


def _answer(server: Server, path: str) -> Response:
    kind, _, name = path.partition("/")
    if not path:
        return _index(server)
    if kind == "s3":
        return _s3(server, name)
    if kind not in (*_LOG_GROUPS, *_DESCRIBED):
        return _missing(f"There is no page {path!r}")
    name, of_log = (
        (name.removesuffix("/log"), name.endswith("/log")) if kind in _LOG_GROUPS else (name, False)
    )
    document = server.store.get(kind, name)
    if document is None:
        return _missing(f"There is no {kind} {name!r}")
    if of_log:
        return _log(server, kind, name, document)
    links = [link("log", kind, f"{name}/log")] if kind in _LOG_GROUPS else []
    return page(f"{kind} {name}", [*links, link("all jobs")], as_text(document))


def _index(server: Server) -> Response:
    links = []
    for kind in (*_LOG_GROUPS, *_DESCRIBED):
        newest = list(server.store.names(kind))[-_LISTED:]
        links += [link(f"{kind} {name}", kind, name) for name in reversed(newest)]
    return page(
        "The local SageMaker", links, "" if links else "There are no jobs, model packages and endpoints yet."
    )


def _log(server: Server, kind: str, name: str, document: Document) -> Response:
    """The last lines of each of a job's streams."""
    logs, group = server.aws.client("logs", _region(document)), _LOG_GROUPS[kind]
    texts = []
    try:
        for stream in logs.describe_log_streams(logGroupName=group, logStreamNamePrefix=f"{name}/")[
            "logStreams"
        ]:
            events = logs.get_log_events(
                logGroupName=group, logStreamName=stream["logStreamName"], limit=_LINES, startFromHead=False
            )["events"]
            texts += [f"{stream['logStreamName']}\n", *(event["message"] for event in events), ""]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ResourceNotFoundException":
            raise
    return page(
        f"Log of {name}", [link("the job", kind, name)], "\n".join(texts) or "It has written nothing yet."
    )


def _region(document: Document) -> str | None:
    region = document.get("_region")
    return region if isinstance(region, str) else None


def _s3(server: Server, path: str) -> Response:
    """A folder, or the beginning of an object."""
    bucket, _, key = path.partition("/")
    s3, title = server.aws.client("s3"), f"s3://{bucket}/{key}"
    folder = key.rpartition("/")[0] if not key.endswith("/") else key[:-1].rpartition("/")[0]
    above = [link("the folder above", "s3", bucket, f"{folder}/" if folder else "")] if key else []
    try:
        show: Callable[[Any, str, str, str, list[str]], Response] = (
            _folder if not key or key.endswith("/") else _object
        )
        return show(s3, bucket, key, title, above)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] in (400, 403, 404):
            return page(title, above, f"It is not there: {error}", 404)
        raise
    except ParamValidationError as error:
        return page(title, above, f"It is not there: {error}", 404)


def _folder(s3: Any, bucket: str, key: str, title: str, above: list[str]) -> Response:
    found = s3.list_objects_v2(Bucket=bucket, Prefix=key, Delimiter="/", MaxKeys=_KEYS)
    links = [
        link(each["Prefix"].removeprefix(key), "s3", bucket, each["Prefix"])
        for each in found.get("CommonPrefixes", ())
    ]
    links += [
        f"{link(each['Key'].removeprefix(key) or '.', 's3', bucket, each['Key'])} {int(each['Size']):,} bytes"
        for each in found.get("Contents", ())
    ]
    said = "Nothing is there." if not links else f"Only the first {_KEYS:,}." if found["IsTruncated"] else ""
    return page(title, [*above, *links], said)


def _object(s3: Any, bucket: str, key: str, title: str, above: list[str]) -> Response:
    found = s3.get_object(Bucket=bucket, Key=key)
    size: int = found["ContentLength"]
    with found["Body"] as stream:
        body: bytes = stream.read(_BYTES)
    try:
        text = body.decode() if size <= _BYTES else body.decode("utf-8", "ignore")
    except ValueError:
        text = ""
    if "\0" in text or (not text and size):
        text = f"{size:,} bytes that are no text: aws s3 cp {title} ."
    elif size > _BYTES:
        text += f"\n\n… the first {_BYTES:,} of {size:,} bytes"
    return page(title, above, text)


def _missing(sentence: str) -> Response:
    return page("Not here", [link("all jobs")], sentence, 404)
