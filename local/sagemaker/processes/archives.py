"""Extracts archives, which anyone can have put into S3: everything but plain files and folders is refused."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from local.sagemaker import disk
from local.sagemaker.processes.outputs import Output

MAX_MEMBERS = 10_000
MAX_BYTES = 4 * 1024**3
READ_BYTES = 1024**2


class BadArchive(Exception):
    """An archive that can't or must not be extracted; the message says what is wrong with it."""


# The filter checks each path once more, after our own words for the usual reasons. Python 3.11.2, which Debian 12
# has, does not know it yet; there our own checks stand alone, and no owner, mode or time is taken over.
_HAS_FILTERS = hasattr(tarfile, "data_filter")
_EXTRACT_OPTIONS: dict[str, Any] = {"filter": "data"} if _HAS_FILTERS else {"set_attrs": False}
_FILTER_ERROR: type[Exception] = tarfile.FilterError if _HAS_FILTERS else BadArchive


def extract(
    archive: Path, destination: Path, *, max_members: int = MAX_MEMBERS, max_bytes: int = MAX_BYTES
) -> None:
    """Extract a tar.gz. The destination appears whole or not at all.

    :param archive: the tar.gz file.
    :param destination: folder that does not exist yet.
    :param max_members: how many files and folders it may hold.
    :param max_bytes: how large it may become, headers included.
    :raises BadArchive: when it is not a tar.gz, is too large, or holds links, devices or paths that lead out.
    :raises OSError: when the disk is full.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".extract-", dir=destination.parent))
    try:
        with gzip.open(archive) as stream:
            bounded = _BoundedStream(stream, max_bytes)
            # "r|" reads straight on: no seeking, no index of members in memory before the checks.
            with tarfile.open(fileobj=bounded, mode="r|") as tar:
                for number, member in enumerate(tar, start=1):
                    if number > max_members:
                        raise BadArchive(f"it holds more than {max_members} members")
                    _check(member)
                    tar.extract(member, staging, **_EXTRACT_OPTIONS)
        staging.chmod(0o755)
        staging.rename(destination)
    except BadArchive:
        raise
    except _FILTER_ERROR as error:
        raise BadArchive(str(error)) from error
    except (tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise BadArchive(f"it is not a whole tar.gz: {error}") from error
    except (OSError, ValueError, UnicodeError) as error:
        if disk.is_full(error):
            raise
        raise BadArchive(f"it can't be extracted: {error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def pack(outputs: Iterable[Output], archive: BinaryIO) -> None:
    """Pack what a container has left as SageMaker packs ``/opt/ml/model``: names relative to it, links followed.

    :param outputs: what to pack.
    :param archive: where the tar.gz is written.
    """
    with tarfile.open(fileobj=archive, mode="w:gz", compresslevel=6) as tar:
        for each in outputs:
            member = tarfile.TarInfo(each.name)
            member.mode, member.mtime = each.info.st_mode & 0o777, int(each.info.st_mtime)
            if each.file is None:
                member.type = tarfile.DIRTYPE
            else:
                member.size = each.info.st_size
            tar.addfile(member, each.file)


def _check(member: tarfile.TarInfo) -> None:
    path = member.name
    if member.issym() or member.islnk():
        raise BadArchive(f"{path!r} is a link; only files and folders are allowed")
    if not (member.isreg() or member.isdir()):
        raise BadArchive(f"{path!r} is a special file; only files and folders are allowed")
    if path.startswith("/") or ".." in Path(path).parts:
        raise BadArchive(f"{path!r} leads out of the archive")


class _BoundedStream(io.RawIOBase):
    """A stream that ends in an error after a number of bytes, whatever sizes the archive's headers claim.

    :param stream: the decompressed archive.
    :param max_bytes: how many bytes it may hold.
    """

    def __init__(self, stream: gzip.GzipFile, max_bytes: int) -> None:
        self._stream = stream
        self._left = max_bytes
        self._limit = max_bytes

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        wanted = self._left + 1 if size is None or size < 0 else size
        chunks = []
        while wanted > 0:
            chunk = self._stream.read(min(wanted, READ_BYTES))
            if not chunk:
                break
            self._left -= len(chunk)
            if self._left < 0:
                raise BadArchive(f"it is larger than {self._limit} bytes when extracted")
            wanted -= len(chunk)
            chunks.append(chunk)
        return b"".join(chunks)


def remove_tree(folder: Path) -> None:
    """Remove a folder, also one in which a script took away its own permissions; of a link or a file, only itself.

    :param folder: may be missing.
    """
    if folder.is_symlink() or folder.is_file():
        folder.unlink(missing_ok=True)
        return
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        for path, _, _ in os.walk(folder):  # goes into no link
            with contextlib.suppress(OSError):
                Path(path).chmod(0o700)
        shutil.rmtree(folder, ignore_errors=True)
