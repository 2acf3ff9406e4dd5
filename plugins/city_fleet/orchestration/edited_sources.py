"""Lets what is forked off a process have the library as it is on disk, not as that process once imported it.

A scheduler and a DAG processor run for weeks. They import the library once, so that their children need not; but of a
checkout, or of a copy in a project's ``plugins/``, an edit or a commit that is synced counts at once and as a whole: a
child that finds another file, size or time than its parent imported forgets all of the library, and whatever needs it
imports it anew. One look takes 2 ms for 340 files.

What Airflow itself keeps of the library by then stays as it was, until Airflow is started again: what the plugin has
registered (the timetable as it is decoded, listeners, pages). Standard library only.
"""

from __future__ import annotations

import gc
import importlib
import os
import sys
from collections.abc import Callable

_PACKAGE = __name__.partition(".")[0]
# As it was imported, through links: git-sync moves a link.
_LIBRARY = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
#: Path, time of the last change in nanoseconds, bytes and inode of each source file.
Sources = frozenset[tuple[str, int, int, int]]


def sources() -> Sources:
    """Return the source files of the library as they are now; nothing where its folder is gone."""
    found = set()
    below = [_LIBRARY]
    while below:
        try:
            with os.scandir(below.pop()) as entries:
                for entry in entries:
                    if entry.name.endswith(".py"):
                        stat = entry.stat()
                        found.add((entry.path, stat.st_mtime_ns, stat.st_size, stat.st_ino))
                    elif "." not in entry.name and entry.name != "__pycache__" and entry.is_dir():
                        below.append(entry.path)
        except OSError:  # a folder, a file, or a link of an editor's that has just gone: others than before
            continue
    return frozenset(found)


def forget() -> None:
    """Let the next import of any module of the library read it from disk."""
    for name in [name for name in sys.modules if name.partition(".")[0] == _PACKAGE]:
        del sys.modules[name]
    importlib.invalidate_caches()


class Lineage:
    """A process that has imported the library, and what is forked off it, down to those that do the work.

    What works may fork as well, in the middle of something: there nothing is forgotten.

    :param generations: how many forks below this process the work is done: 1 for a DAG processor; 2 for a scheduler,
        whose workers fork a process for each task.
    :param seen: the sources that this process has imported.
    :param again: imports what is needed beforehand.
    """

    def __init__(self, generations: int, seen: Sources, again: Callable[[], None]) -> None:
        self._generations = generations
        self._seen = seen
        self._again = again
        self._forks = 0

    def follow(self) -> None:
        """From now on look at the sources at each fork."""
        os.register_at_fork(before=self._renew, after_in_child=self._forget_in_child)

    def _renew(self) -> None:
        """In a worker, which outlives an edit: import anew once, and not again in each of its children."""
        if not 0 < self._forks < self._generations or (now := sources()) == self._seen:
            return
        forget()
        self._seen = now
        self._again()
        # As Airflow does before it forks workers: what is there for good is nothing to search for garbage in each task.
        gc.collect()
        gc.freeze()

    def _forget_in_child(self) -> None:
        self._forks += 1
        # Once more where the parent has looked: files may have changed while it was importing.
        if self._forks <= self._generations and sources() != self._seen:
            forget()
