"""How much room there is for what the stack writes: databases, S3, models, logs."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from local.stack.errors import StackError

NEEDED_MB = 500


def require_room(state_dir: Path) -> None:
    """Make sure that a stack can begin to write.

    :param state_dir: its folder, which may be missing yet.
    :raises StackError: there is too little room; says where and what to do
    """
    if lack := lack_of_room(state_dir):
        raise StackError(lack)
    try:
        with tempfile.TemporaryFile() as file:
            file.write(bytes(1024**2))
            file.flush()
    except OSError as error:
        raise StackError(
            f"There is no room for temporary files ({error.strerror}). Make room there, or set TMPDIR to a folder"
            " that can be written to."
        ) from error


def lack_of_room(state_dir: Path) -> str:
    """Say that there is too little room; empty where there is enough.

    :param state_dir: the stack's folder
    """
    folder = next(each for each in (state_dir, *state_dir.parents) if each.exists())
    free_mb = shutil.disk_usage(folder).free // 1024**2
    if free_mb >= NEEDED_MB:
        return ""
    return (
        f"Only {free_mb} MB are free on the disk of {folder}; the stack needs {NEEDED_MB} MB. Make room there:"
        " `du -sh .local/*/*` shows what the stacks take, the logs in .local/up/logs may be deleted at any time, and"
        " `make clean` deletes the last demo and caches."
    )
