"""An artifact's archive: finding it, and unpacking it without trusting it."""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from job_failure import listed
from model_card import ArtifactError

# Far above any real artifact (a few hundred kilobytes in three files), far below what hurts.
MAX_MEMBERS = 100
MAX_UNPACKED_BYTES = 256 * 1024 * 1024
_SHOWN = 100


class _Bounded(io.RawIOBase):
    """A stream that comes to an end: also what tarfile reads on its own account, as names and attributes of members.

    :param stream: what is unpacked.
    :param name: the archive's, for the refusal.
    :param artifacts: how many it may hold.
    """

    def __init__(self, stream: gzip.GzipFile, name: str, artifacts: int) -> None:
        self._stream = stream
        self._refusal = _too_large(name, artifacts)
        self._left = MAX_UNPACKED_BYTES * artifacts

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        """Read on.

        :raises ArtifactError: more has come than any artifact holds.
        """
        if size is None or not 0 <= size <= self._left:
            raise self._refusal
        content = self._stream.read(size)
        self._left -= len(content)
        return content


def unpack_artifact(archive: Path, folder: Path, artifacts: int = 1) -> None:
    """Unpack a model.tar.gz that may be hostile.

    :param artifacts: of how many cities it may hold the artifact; each may have as much as one.
    :raises ArtifactError: when it is not a tar.gz, holds anything but files and folders below its root, or is
        too large.
    """
    try:
        # Member by member and with our own checks: tarfile's data filter came with Python 3.11.4 only.
        with (
            gzip.open(archive) as stream,
            tarfile.open(fileobj=_Bounded(stream, archive.name, artifacts), mode="r|") as tar,
        ):
            total = 0
            for count, member in enumerate(tar, start=1):
                total += member.size
                if count > MAX_MEMBERS * artifacts or total > MAX_UNPACKED_BYTES * artifacts:
                    raise _too_large(archive.name, artifacts)
                _unpack(tar, member, archive.name, folder)
    except (tarfile.TarError, OSError, EOFError, zlib.error, ValueError) as error:
        if isinstance(error, ArtifactError):
            raise
        raise ArtifactError(f"{archive.name}: not a readable tar.gz file ({error}).") from None


def check_size(folder: Path, archive: str) -> None:
    """Refuse an artifact that nobody could unpack again.

    :param folder: the artifact's root.
    :param archive: what the archive will be called.
    :raises ArtifactError: it is too large.
    """
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    if len(sizes) > MAX_MEMBERS or sum(sizes) > MAX_UNPACKED_BYTES:
        raise _too_large(archive, 1)


def _too_large(name: str, artifacts: int) -> ArtifactError:
    members, size = MAX_MEMBERS * artifacts, MAX_UNPACKED_BYTES * artifacts
    return ArtifactError(f"{name}: too large; allowed: {members} members of {size} bytes together.")


def _unpack(tar: tarfile.TarFile, member: tarfile.TarInfo, archive: str, folder: Path) -> None:
    shown, name = member.name[:_SHOWN], PurePosixPath(member.name)
    if name.is_absolute() or ".." in name.parts or "\0" in member.name:
        raise ArtifactError(f"{archive}: '{shown}' leads out of the archive; nothing of it is used.")
    if member.isdir():
        return
    content = tar.extractfile(member) if member.isreg() and not member.issparse() else None
    if content is None:
        raise ArtifactError(f"{archive}: '{shown}' is a link or device; allowed: files and folders.")
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with content, path.open("wb") as file:
        shutil.copyfileobj(content, file)


def one_archive(folder: Path) -> Path:
    """Find the only archive in a folder.

    :param folder: where SageMaker put it.
    :raises ArtifactError: when there is none, or more than one.
    """
    found = sorted(path for path in folder.glob("*.tar.gz") if path.is_file())
    if len(found) != 1:
        raise ArtifactError(
            f"{folder}: holds {len(found)} archives ({listed([path.name for path in found])}); "
            "allowed: exactly one tar.gz."
        )
    return found[0]
