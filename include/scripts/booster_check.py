"""Opens a booster where it can do no harm before it is opened here: in a child process with limits.

XGBoost does not survive every file: some end the whole process, and with it every model of a server (measured: an empty
one, and 2 of 30 with three bytes changed); others it reads, and then never comes to the end of a tree. A digest proves
nothing, for the archive gives it of itself. So a child reads the file, looks at each tree, and writes the booster down
anew; that is what is loaded here.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

CHILD = Path(__file__).with_name("booster_child.py")
#: A question is the length of a booster, then the booster; an answer is one of these and a length, then a booster or
#: the reason for a refusal.
QUESTION = struct.Struct("<Q")
ANSWER = struct.Struct("<cQ")
GOOD, REFUSED = b"+", b"-"
MOST_BYTES = 64 * 1024 * 1024
START_SECONDS = 60
CHECK_SECONDS = 20
_MOST_REMEMBERED = 100_000


class BoosterRefused(ValueError):
    """A booster that is not loaded; the text says why, as a part of a sentence."""


class BoosterCheck:
    """Asks the child, which is started when it is needed and ends by itself when nobody asks for a while."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()
        self._good: dict[bytes, None] = {}

    def checked(self, content: bytes) -> bytes:
        """Have a booster checked.

        :param content: the file's bytes.
        :return: the booster as XGBoost itself writes it: the same bytes, for a file of this version of XGBoost.
        :raises BoosterRefused: it is none that train.py writes, or ends or holds up the process that reads it.
        """
        if len(content) > MOST_BYTES:
            raise BoosterRefused(f"it has {len(content)} bytes; allowed: {MOST_BYTES}")
        digest = hashlib.sha256(content).digest()
        with self._lock:
            if digest in self._good:
                return content
            try:
                verdict, answer = self._ask(content)
            except (OSError, EOFError, TimeoutError) as error:
                self._end()
                raise BoosterRefused(
                    f"the process that opens it first has failed ({error or type(error).__name__})"
                ) from None
            if verdict != GOOD:
                raise BoosterRefused(answer.decode("utf-8", "replace"))
            # Only what XGBoost would have written itself is known to be harmless as it is.
            if answer == content:
                self._good[digest] = None
                if len(self._good) > _MOST_REMEMBERED:
                    del self._good[next(iter(self._good))]
            return answer

    def _ask(self, content: bytes) -> tuple[bytes, bytes]:
        for last in (False, True):
            child = self._running()
            if child.stdin is None or child.stdout is None:
                raise OSError("it has no pipes")
            try:
                child.stdin.write(QUESTION.pack(len(content)) + content)
                child.stdin.flush()
                deadline = time.monotonic() + START_SECONDS + CHECK_SECONDS
                verdict, length = ANSWER.unpack(_read(child.stdout.fileno(), ANSWER.size, deadline))
                return verdict, _read(child.stdout.fileno(), length, deadline)
            except (BrokenPipeError, EOFError):
                # It ends when nobody has asked for a while, perhaps just now.
                self._end()
                if last:
                    raise
        raise EOFError

    def _running(self) -> subprocess.Popen[bytes]:
        if self._owner != os.getpid():  # a fork of the process that has started it: its pipes are not ours
            self._child, self._owner = None, os.getpid()
        if self._child is not None and self._child.poll() is None:
            return self._child
        self._end()
        environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._child = subprocess.Popen(
            [sys.executable, str(CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        return self._child

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is None:
            return
        for pipe in (child.stdin, child.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
        child.kill()
        child.wait()


def _read(pipe: int, count: int, deadline: float) -> bytes:
    content = bytearray()
    while len(content) < count:
        if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
            raise TimeoutError("no answer in time")
        piece = os.read(pipe, min(count - len(content), 1 << 20))
        if not piece:
            raise EOFError("it has ended")
        content += piece
    return bytes(content)


#: One for the process: whoever loads boosters shares what is known of them.
checked = BoosterCheck().checked
