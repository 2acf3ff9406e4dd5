"""What a container has left, read without leaving its sandbox.

A script may have put anything below its folders: links to files of this machine, pipes, devices, links that lead in
a circle. A link is followed where it leads to a file or folder of the same sandbox, as on AWS; the rest is refused.
What is read is opened part by part, each by the descriptor of the folder above and never through a link, so nothing
that changes in between can lead anywhere else.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MAX_FILES = 100_000
MAX_DEPTH = 100
MAX_LINKS = 40  # as Linux
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Not blocking: a pipe that nobody writes to must hold up nobody.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class OutputRefused(Exception):
    """Something that a container has left and that is not read; the message says what and why."""


@dataclass(frozen=True)
class Output:
    """A file or a folder that a container has left.

    :param name: its path below the folder that was asked for, with slashes.
    :param info: its size, mode and times.
    :param file: its content, open until the next one is asked for; None for a folder.
    """

    name: str
    info: os.stat_result
    file: BinaryIO | None


class Outputs:
    """Reads what lies below one folder.

    :param root: the sandbox, an absolute path without links.
    :param mounted: a path of the container's at which it finds its part of the sandbox; None = it has none.
    """

    def __init__(self, root: Path, mounted: str | None = None) -> None:
        self._root = root
        self._mounted = mounted

    def read(self, path: Path, limit: int) -> bytes | None:
        """The beginning of a file; None when there is none.

        :param path: below the root.
        :param limit: how many bytes at most.
        :raises OutputRefused: when it is no plain file of this sandbox.
        """
        if not os.path.lexists(path):
            return None
        with self._open(path) as descriptor:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise self._refused(path, "is no file")
            with os.fdopen(os.dup(descriptor), "rb") as file:
                return file.read(limit)

    def walk(self, folder: Path) -> Iterator[Output]:
        """All files and folders below a folder, in order of their names; nothing when it is missing.

        :param folder: below the root.
        :raises OutputRefused: at the first one that is not read, when there are too many, or they go too deep.
        """
        for count, found in enumerate(self._below(folder, "", ()), start=1):
            if count > MAX_FILES:
                raise self._refused(folder, f"holds more than {MAX_FILES:,} files and folders")
            yield found

    def _below(self, folder: Path, name: str, above: tuple[tuple[int, int], ...]) -> Iterator[Output]:
        if not os.path.lexists(folder):
            return
        with self._open(folder) as descriptor:
            info = os.fstat(descriptor)
            if not stat.S_ISDIR(info.st_mode):
                raise self._refused(folder, "is no folder")
            identity = (info.st_dev, info.st_ino)
            if identity in above:
                raise self._refused(folder, "is a link that leads back to a folder above it")
            if len(above) >= MAX_DEPTH:
                raise self._refused(folder, f"is nested deeper than {MAX_DEPTH} folders")
            for entry in sorted(os.listdir(descriptor)):
                yield from self._entry(folder / entry, f"{name}{entry}", (*above, identity))

    def _entry(self, path: Path, name: str, above: tuple[tuple[int, int], ...]) -> Iterator[Output]:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise self._refused(path, "has a name that is not UTF-8") from None
        with self._open(path) as descriptor:
            info = os.fstat(descriptor)
            if stat.S_ISREG(info.st_mode):
                with os.fdopen(os.dup(descriptor), "rb") as file:
                    yield Output(name, info, file)
                return
        yield Output(name, info, None)
        yield from self._below(path, f"{name}/", above)

    @contextmanager
    def _open(self, path: Path) -> Iterator[int]:
        """A descriptor of a plain file or a folder of this sandbox."""
        real = self._real(path)
        if real != str(self._root) and not real.startswith(f"{self._root}{os.sep}"):
            raise self._refused(path, "leads out of the container's own folder through a link")
        parts = Path(real).relative_to(self._root).parts
        try:
            descriptor = self._open_parts(path, parts)
        except OSError as error:
            raise self._refused(path, f"can't be read: {error.strerror}") from error
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _real(self, path: Path) -> str:
        """Follow the links in a path as the container does, to a path of this machine."""
        rest, done, links = list(path.parts[1:]), "/", 0
        while rest:
            part = rest.pop(0)
            here = os.path.dirname(done) if part == ".." else os.path.join(done, part)
            if here == self._mounted:
                done = f"{self._root}{here}"
                continue
            try:
                target = os.readlink(here)
            except OSError:
                done = here
                continue
            links += 1
            if links > MAX_LINKS:
                return str(path)  # opening its last part says that it is a link
            done = "/" if target.startswith("/") else done
            rest[:0] = [each for each in target.split("/") if each not in ("", ".")]
        return done

    def _open_parts(self, path: Path, parts: tuple[str, ...]) -> int:
        descriptor = os.open(self._root, _FOLDER)
        for number, part in enumerate(parts, start=1):
            try:
                mode = os.stat(part, dir_fd=descriptor, follow_symlinks=False).st_mode
                self._require_plain(path, mode)
                last = number == len(parts) and not stat.S_ISDIR(mode)
                inner = os.open(part, _FILE if last else _FOLDER, dir_fd=descriptor)
            finally:
                os.close(descriptor)
            descriptor = inner
        try:
            info = os.fstat(descriptor)
            self._require_plain(path, info.st_mode)
            if stat.S_ISREG(info.st_mode) and info.st_nlink > 1 and self._names(info) < info.st_nlink:
                raise self._refused(path, "is the same file as one outside of the container's own folder")
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _require_plain(self, path: Path, mode: int) -> None:
        if stat.S_ISLNK(mode):
            raise self._refused(path, "is a link that leads nowhere")
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise self._refused(path, "is a pipe, a socket or a device; only files and folders are read")

    def _names(self, info: os.stat_result) -> int:
        """Under how many names of this sandbox a file is found: hard links may have others elsewhere."""
        count = 0
        for _, _, names, folder in os.fwalk(self._root, follow_symlinks=False):
            for name in names:
                found = os.stat(name, dir_fd=folder, follow_symlinks=False)
                count += (found.st_dev, found.st_ino) == (info.st_dev, info.st_ino)
        return count

    def _refused(self, path: Path, why: str) -> OutputRefused:
        # As Python spells it: names may hold control characters, and bytes that are no text.
        return OutputRefused(f"{'/' + str(path.relative_to(self._root))!r} {why}")
