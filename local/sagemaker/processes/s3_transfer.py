"""S3 into folders and folders into S3, as SageMaker's data agents do it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import BotoCoreError, ClientError

from local.sagemaker import disk
from local.sagemaker.processes.outputs import Output

#: Small objects go up in one PUT, so that their ETag is the MD5 of the content; request bodies are held in
#: memory.
PARTS = TransferConfig(multipart_threshold=32 * 1024**2, multipart_chunksize=32 * 1024**2, use_threads=False)


#: A limit of this stand-in: AWS documents none.
MAX_MANIFEST_BYTES = 64 * 1024**2


class TransferError(Exception):
    """Data that could not be moved; the message says which and why."""


class StorageFailed(Exception):
    """S3 itself has failed: who asked is not to blame, and the same may work another time. The message says where."""


def split_uri(uri: str) -> tuple[str, str]:
    """Bucket and key of an S3 URI.

    :param uri: ``s3://bucket/key``.
    :raises TransferError: when it is anything else.
    """
    parts = urlsplit(uri, allow_fragments=False)
    if parts.scheme != "s3" or not parts.netloc:
        raise TransferError(f"{uri!r} is not an S3 URI of the form s3://bucket/key")
    return parts.netloc, parts.path.lstrip("/")


def download_prefix(s3: Any, uri: str, folder: Path) -> int:
    """Download an object, or all objects below a prefix (S3Prefix, FullyReplicated, File mode).

    :param s3: boto3 client.
    :param uri: the object or prefix.
    :param folder: where to; made when missing.
    :return: how many objects.
    :raises TransferError: when there are none, or a key leads out of the folder.
    :raises OSError: when the disk is full.
    """
    bucket, prefix = split_uri(uri)
    folder.mkdir(parents=True, exist_ok=True)
    count = 0
    try:
        for key in list_keys(s3, bucket, prefix):
            target = folder / relative_path(prefix, key)
            if not target.resolve().is_relative_to(folder.resolve()):
                raise TransferError(f"the key {key!r} leads out of the folder it belongs to")
            download(s3, bucket, key, target)
            count += 1
    except (ClientError, BotoCoreError) as error:
        raise TransferError(describe(error)) from error
    except OSError as error:
        if disk.is_full(error):
            raise
        raise TransferError(f"a previously downloaded file/folder clashes with {uri}: {error}") from error
    if count == 0:
        raise TransferError(f"S3 key: {uri} matched no files on s3")
    return count


def download_manifest(s3: Any, uri: str, folder: Path) -> int:
    """Download the objects that a manifest names (ManifestFile, FullyReplicated, File mode).

    API Reference, S3DataSource: a JSON array of a prefix, which must be a non-empty S3 URI, and one or more suffixes.
    Each file keeps its suffix as its path below the folder.

    :param s3: boto3 client.
    :param uri: the manifest.
    :param folder: where to; made when missing.
    :return: how many objects.
    :raises TransferError: when it is not there or no manifest, or names what is not there or leads out of the folder.
    :raises OSError: when the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        (bucket, prefix), suffixes = read_manifest(s3, uri)
        for suffix in suffixes:
            target = folder / suffix
            if suffix.startswith("/") or not target.resolve().is_relative_to(folder.resolve()):
                raise TransferError(f"the entry {suffix!r} of {uri} leads out of the folder it belongs to")
            with _missing(f"s3://{bucket}/{prefix}{suffix}"):
                download(s3, bucket, prefix + suffix, target)
    except (ClientError, BotoCoreError) as error:
        raise TransferError(describe(error)) from error
    except OSError as error:
        if disk.is_full(error):
            raise
        raise TransferError(f"a previously downloaded file/folder clashes with {uri}: {error}") from error
    return len(suffixes)


def read_manifest(s3: Any, uri: str) -> tuple[tuple[str, str], list[str]]:
    """What a manifest says: bucket and key of its prefix, and the suffixes.

    :param s3: boto3 client.
    :param uri: the manifest, an object.
    :raises TransferError: when there is no object, or it is no manifest.
    """
    bucket, key = split_uri(uri)
    with _missing(uri):
        body = s3.get_object(Bucket=bucket, Key=key)["Body"].read(MAX_MANIFEST_BYTES + 1)
    wanted = 'the manifest must be a JSON array: [{"prefix": "s3://bucket/prefix/"}, "relative/path", …]'
    if len(body) > MAX_MANIFEST_BYTES:
        raise TransferError(f"{uri}: the manifest has more than {MAX_MANIFEST_BYTES} bytes")
    try:
        first, *suffixes = json.loads(body)
        prefix = first["prefix"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise TransferError(f"{uri}: {wanted}") from error
    if not isinstance(prefix, str) or not all(isinstance(each, str) and each for each in suffixes):
        raise TransferError(f"{uri}: {wanted}")
    if not suffixes:
        raise TransferError(f"{uri} matched no files on s3: the manifest names none after its prefix")
    return split_uri(prefix), suffixes


@contextlib.contextmanager
def _missing(uri: str) -> Iterator[None]:
    """Say of an object that is not there what is said of a prefix without any."""
    try:
        yield
    except ClientError as error:
        if error.response.get("Error", {}).get("Code") in ("NoSuchKey", "404"):
            raise TransferError(f"S3 key: {uri} matched no files on s3") from error
        raise


def list_keys(s3: Any, bucket: str, prefix: str) -> list[str]:
    """Keys that a prefix means: the object of that very name, else all below it; folder markers left out.

    :param s3: boto3 client.
    :param bucket: the bucket.
    :param prefix: a key, or what keys begin with.
    """
    keys: list[str] = []
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        keys += [entry["Key"] for entry in page.get("Contents", [])]
    if prefix in keys and not prefix.endswith("/"):
        return [prefix]
    return [key for key in keys if not key.endswith("/")]


def relative_path(prefix: str, key: str) -> str:
    """Where an object goes below the folder.

    :param prefix: the prefix asked for.
    :param key: a key that starts with it.
    """
    rest = key[len(prefix) :]
    if prefix.endswith("/") or not prefix:
        return rest
    if rest.startswith("/"):
        return rest.lstrip("/")
    return key[prefix.rfind("/") + 1 :]  # the prefix ends within a file's name


def download(s3: Any, bucket: str, key: str, target: Path) -> str:
    """Download one object.

    :param s3: boto3 client.
    :param bucket: the bucket.
    :param key: the key.
    :param target: file to write; its folder is made.
    :return: its ETag.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    response = s3.get_object(Bucket=bucket, Key=key)
    with contextlib.closing(response["Body"]) as body, target.open("wb") as file:
        for chunk in body.iter_chunks(1024**2):
            file.write(chunk)
    return str(response["ETag"])


def upload_all(s3: Any, outputs: Iterable[Output], uri: str) -> int:
    """Upload the files that a container has left in a folder.

    :param s3: boto3 client.
    :param outputs: what to upload.
    :param uri: prefix in S3.
    :return: how many files.
    :raises TransferError: when S3 refuses.
    :raises StorageFailed: when S3 fails, as on a full disk.
    """
    bucket, prefix = split_uri(uri)
    count = 0
    for each in outputs:
        if each.file is not None:
            upload(s3, each.file, bucket, f"{prefix.rstrip('/')}/{each.name}".lstrip("/"))
            count += 1
    return count


def upload(s3: Any, file: BinaryIO, bucket: str, key: str) -> None:
    """Upload one file.

    :param s3: boto3 client.
    :param file: the open file.
    :param bucket: the bucket.
    :param key: the key.
    :raises TransferError: when S3 refuses.
    :raises StorageFailed: when S3 fails, as on a full disk.
    """
    try:
        s3.upload_fileobj(file, bucket, key, Config=PARTS)
    except (ClientError, BotoCoreError, Boto3Error) as error:
        kind = StorageFailed if _is_s3s_own(error) else TransferError
        raise kind(f"s3://{bucket}/{key}: {describe(error)}") from error


def _is_s3s_own(error: Exception) -> bool:
    # boto3's transfer raises an error of its own because of the one that S3 has answered with, and keeps that one.
    told: BaseException | None = error
    while told is not None and not isinstance(told, ClientError):
        told = told.__cause__ or told.__context__
    status = told.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) if told else 0
    return bool(status >= 500)


def describe(error: Exception) -> str:
    """An S3 error in one line.

    :param error: what boto3 raised.
    """
    if isinstance(error, ClientError):
        details = error.response.get("Error", {})
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", "?")
        return f"{details.get('Code', 'Error')} ({status}): {details.get('Message', error)}"
    return str(error)
