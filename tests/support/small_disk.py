"""A local SageMaker whose data lie on a small disk of their own, which a test fills to the last byte."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from tests.support.local_sagemaker import LocalSageMaker, running_server

CHUNK = bytes(64 * 1024)


class SmallDisk:
    """A server and its disk.

    :param server: it runs in a mount namespace of its own.
    :param folder: its data as this process reaches them.
    """

    def __init__(self, server: LocalSageMaker) -> None:
        self.server = server
        self.folder = Path(f"/proc/{server.process.pid}/root{server.data_dir}")

    def fill(self, leave_bytes: int = 0) -> None:
        """Leave so little room; called again, as much as there is to take."""
        told = os.statvfs(self.folder)
        left = told.f_bavail * told.f_frsize - leave_bytes
        with (self.folder / "filler").open("ab") as file, contextlib.suppress(OSError):
            while left > 0 or not leave_bytes:
                left -= file.write(CHUNK[: left if leave_bytes else len(CHUNK)])
                file.flush()

    @contextlib.contextmanager
    def kept_full(self) -> Iterator[None]:
        """Take whatever becomes free, too, while the block runs."""
        ended = threading.Event()

        def take() -> None:
            while not ended.wait(0.005):
                self.fill()

        self.fill()
        taking = threading.Thread(target=take)
        taking.start()
        try:
            yield
        finally:
            ended.set()
            taking.join()

    def make_room(self) -> None:
        """Take away what :meth:`fill` has written."""
        (self.folder / "filler").unlink(missing_ok=True)

    def copy(self, to: Path) -> None:
        """Copy what is on the disk, as a server that is started after a power cut finds it."""
        skip = shutil.ignore_patterns("filler", "jobs", "endpoints", "lock")
        shutil.copytree(self.folder, to, ignore=skip)


def can_mount() -> bool:
    """Whether this machine lets a test have a mount namespace."""
    try:
        done = subprocess.run(
            ["unshare", "-Urm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False
        )
    except OSError as error:
        if error.errno == errno.ENOENT:
            return False
        raise
    return done.returncode == 0


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int, *arguments: str) -> Iterator[SmallDisk]:
    """Start a server on a disk of that size.

    :param arguments: more of its command line.
    """
    data = folder / "data"
    data.mkdir(parents=True)
    mount = f'mount -t tmpfs -o size={megabytes}m,mode=0700 tmpfs "$0" && exec "$@"'
    within = ("unshare", "-Urm", "sh", "-c", mount, str(data))
    with running_server(folder, *arguments, within=within) as server:
        yield SmallDisk(server)
