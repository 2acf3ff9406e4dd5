"""The data folder: which server uses it, which format it has, and what happens to a file that is damaged.

format.json        the format's version
lock               held by the server that uses the folder
store.sqlite3      SageMaker's resources: store.py
services.sqlite3   S3, SQS, IAM and CloudWatch Logs: services/durable_*.py
objects/           the bodies of S3's objects
jobs/, endpoints/  sandboxes; emptied at each start
tmp/               large bodies on their way; emptied at each start
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from local.sagemaker import disk
from local.sagemaker.store import Damaged, Store

FORMAT_VERSION = 1
FORMAT_FILE = "format.json"
STORE_FILE = "store.sqlite3"

log = logging.getLogger(__name__)


class DataDirError(Exception):
    """The folder can't be used; the message says why and what to do."""


@contextlib.contextmanager
def data_dir(wanted: Path | None) -> Iterator[Path]:
    """A folder that no other server uses.

    :param wanted: None = a temporary one, which is removed in the end.
    :raises DataDirError: if it can't be made, belongs to a running server, or is of a newer version.
    """
    if wanted is None:
        try:
            folder = Path(tempfile.mkdtemp(prefix="local-sagemaker-"))
        except OSError as error:
            raise DataDirError(
                f"there is no room for temporary files ({error.strerror}; TMPDIR is"
                f" {os.environ.get('TMPDIR', 'not set')}): set TMPDIR to a folder that can be written to, or name one"
                " with --data-dir"
            ) from None
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    folder = wanted.absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / "lock").open("w")
    except OSError as error:
        raise DataDirError(f"--data-dir {folder}: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise DataDirError(
                f"--data-dir {folder} is in use by another local SageMaker; stop that one, or choose another"
                " folder"
            ) from None
        try:
            _check_format(folder)
        except OSError as error:
            raise DataDirError(f"--data-dir {folder}: {error.strerror}") from None
        yield folder


def use_own_temporary_folder(folder: Path) -> None:
    """Have this process's temporary files lie in the data folder: TMPDIR may be small, and one disk is to be watched.

    :param folder: the data folder.
    """
    temporary = folder / "tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(mode=0o700)
    tempfile.tempdir = str(temporary)


def open_store(path: Path, synced: bool = False) -> Store:
    """Open a database; one that is damaged is set aside, and the server starts without what it held.

    :param synced: whether each change waits for the disk.
    :raises DataDirError: if it can't be opened for a reason that lies outside of it.
    """
    try:
        try:
            return Store(path, check=True, synced=synced)
        except Damaged as error:
            set_aside(path, "damaged", f"is damaged ({error})")
            return Store(path, synced=synced)
    except OSError as error:
        reason = disk.full(path) if disk.is_full(error) else f"{path} can't be opened: {error.strerror}"
        raise DataDirError(f"{reason}. Nothing in it was changed.") from error


def set_aside(path: Path, why: str, reason: str) -> Path:
    """Keep a database or a folder under another name: the server starts without what it held, and it can be looked at.

    :param path: the database, which goes with what SQLite has beside it, or the folder.
    :param why: part of the new name.
    :param reason: the same in words, for the log.
    :return: where it is now.
    """
    aside = path.with_name(f"{path.name}.{why}-{time.strftime('%Y%m%dT%H%M%S')}")
    log.warning("%s %s; it is kept as %s, and the server starts without what it held", path, reason, aside)
    for end in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            Path(f"{path}{end}").replace(f"{aside}{end}")
    return aside


def write_whole(path: Path, content: bytes) -> None:
    """Write a file in one step: a reader finds the old content or the new one, never half of it."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write_new(draft, content)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def write_new(path: Path, content: bytes) -> None:
    """Write a file that is not there yet, onto the disk; when that fails, nothing of it stays."""
    try:
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _check_format(folder: Path) -> None:
    path = folder / FORMAT_FILE
    try:
        version = json.loads(path.read_text(encoding="utf-8"))["format_version"]
    except FileNotFoundError:
        # Before there was a format S3 was in memory only: what such a store tells is not true any more. Where S3 is
        # on disk only this file is gone.
        if not (folder / "services.sqlite3").exists() and (folder / STORE_FILE).exists():
            set_aside(folder / STORE_FILE, "without-s3", "speaks of an S3 that is not there")
        version = None
    except (ValueError, KeyError, TypeError):
        log.warning("%s can't be read; the folder is assumed to have format version %s", path, FORMAT_VERSION)
        version = None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise DataDirError(
            f"--data-dir {folder} was written by a newer local SageMaker (format {version}, this one knows"
            f" {FORMAT_VERSION}); use that version, or choose another folder"
        )
    if version != FORMAT_VERSION:
        write_whole(path, json.dumps({"format_version": FORMAT_VERSION}).encode() + b"\n")
