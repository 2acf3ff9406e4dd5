"""Writes an artifact's archive so that equal files make equal bytes, whoever packs them and when.

What training leaves is packed with its times and owners, so the same model trained again has another digest. The
archive that is written here is judged, registered and published.
"""

from __future__ import annotations

import gzip
import hashlib
import tarfile
from pathlib import Path

_MODE = 0o644
#: Far less work than 9, for nearly the same size. It is part of what makes bytes equal.
_LEVEL = 6


def write_archive(folder: Path, archive: Path) -> str:
    """Pack all files below a folder: sorted, without times and owners, folders made by their files alone.

    :param folder: the artifact's root; holds no links, as :func:`model_archive.unpack_artifact` leaves it.
    :param archive: the tar.gz to write.
    :return: its SHA-256.
    """
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    with (
        archive.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name, path in sorted(paths.items()):
            member = tarfile.TarInfo(name)
            member.size, member.mode = path.stat().st_size, _MODE
            with path.open("rb") as content:
                tar.addfile(member, content)
    with archive.open("rb") as written:
        return hashlib.file_digest(written, "sha256").hexdigest()
