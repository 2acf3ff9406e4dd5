"""A full disk: how it is told from other errors, and what people read of it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

#: The disk, the user's share of it, and the largest file that a process may write.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
ROOM_BYTES = 1024**2  # with less than this free a disk counts as full


def is_full(error: BaseException) -> bool:
    """Whether an error says that nothing more can be written; also one that was raised because of such a one.

    :param error: anything that was raised.
    """
    return any(isinstance(each, OSError) and each.errno in FULL for each in _causes(error))


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__


def has_room(folder: Path) -> bool:
    """Whether something can be written below a folder; True where the system does not tell.

    :param folder: an existing folder.
    """
    try:
        told = os.statvfs(folder)
    except OSError:
        return True
    # File systems without a number of files of their own tell 0 of 0.
    return told.f_bavail * told.f_frsize >= ROOM_BYTES and (told.f_favail > 0 or told.f_files == 0)


def full(folder: Path | str) -> str:
    """What people read when the disk of a folder is full.

    :param folder: on that disk.
    """
    return f"the disk of the local SageMaker is full ({folder}); make room there, then try again"
