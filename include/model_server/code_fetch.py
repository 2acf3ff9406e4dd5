"""Fetches the user's code from S3, as SageMaker's toolkits do when ``SAGEMAKER_SUBMIT_DIRECTORY`` is an S3 URI."""

from __future__ import annotations

import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import urlsplit

from model_server.json_log import log
from model_server.settings import Settings

LARGEST_CODE_BYTES = 256 * 1024**2


class BadCode(Exception):
    """Code that can't be fetched or must not be unpacked; the message says why."""


def fetch_code(settings: Settings) -> None:
    """Bring the user's module into ``<base>/code``, unless it is there already.

    :param settings: name the archive and the module.
    :raises BadCode: when that does not work.
    """
    folder = settings.base / "code"
    if not settings.submitted.startswith("s3://") or (folder / settings.program).is_file():
        return
    try:
        import boto3  # noqa: PLC0415 - in our own image; on a laptop the host has fetched the code
    except ImportError as error:
        raise BadCode(f"{settings.submitted} can't be fetched: boto3 is not installed here.") from error
    uri = urlsplit(settings.submitted)
    with tempfile.TemporaryFile() as archive:
        boto3.client("s3").download_fileobj(uri.netloc, uri.path.lstrip("/"), archive)
        archive.seek(0)
        unpack(archive, folder)
    log("code_fetched", uri=settings.submitted)


def unpack(archive: IO[bytes], folder: Path) -> None:
    """Unpack code: files and folders below the archive's root, nothing else.

    :raises BadCode: for anything else.
    """
    total = 0
    with tarfile.open(fileobj=archive, mode="r:gz") as tar:
        for member in tar:
            name = PurePosixPath(member.name)
            total += member.size
            if name.is_absolute() or ".." in name.parts or total > LARGEST_CODE_BYTES:
                raise BadCode(
                    f"{member.name!r} leads out of the archive of code, or the archive is too large."
                )
            content = tar.extractfile(member) if member.isreg() else None
            if content is not None:
                path = folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content.read())
            elif not member.isdir():
                raise BadCode(f"{member.name!r} is a link or device; allowed: files and folders.")
