"""The child process of booster_check.py: opens boosters, each in a fork of its own, which has limits and may die.

It imports XGBoost once and has no threads, so that a fork costs milliseconds and harms nobody.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import time
from pathlib import Path

from booster_check import ANSWER, CHECK_SECONDS, GOOD, MOST_BYTES, QUESTION, REFUSED
from booster_shape import WrongShape, check_shape
from lean_xgboost import xgboost

IDLE_SECONDS = 60
#: Memory that a fork may take beyond what it begins with, for a file and each byte of it.
SPARE_BYTES = 1 << 30
SPARE_FACTOR = 40
MOST_ANSWER_BYTES = 2 * MOST_BYTES
_REASON_CHARACTERS = 300


def serve(questions: int, answers: int) -> None:
    """Answer until nobody has asked for a while, or nobody can ask any more.

    :param questions: the file descriptor that questions come from.
    :param answers: the one that answers go to.
    """
    while select.select([questions], [], [], IDLE_SECONDS)[0]:
        head = _exactly(questions, QUESTION.size)
        if not head:
            return
        content = _exactly(questions, QUESTION.unpack(head)[0])
        verdict, answer = _in_a_fork(content, (questions, answers))
        _write(answers, ANSWER.pack(verdict, len(answer)) + answer)


def _in_a_fork(content: bytes, inherited: tuple[int, int]) -> tuple[bytes, bytes]:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.close(reading)
            for pipe in inherited:
                os.close(pipe)
            quiet = os.open(os.devnull, os.O_RDWR)  # XGBoost and the C library comment on what they meet
            for number in (0, 1, 2):
                os.dup2(quiet, number)
            _limit(len(content))
            _write(writing, b"".join(_verdict(content)))
            code = 0
        finally:
            os._exit(code)
    os.close(writing)
    said = _all(reading, time.monotonic() + CHECK_SECONDS)
    os.close(reading)
    if said is None:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if said is None:
        return REFUSED, f"XGBoost has not read it in {CHECK_SECONDS} seconds".encode()
    if os.WIFSIGNALED(status) or not said:
        number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status)
        return REFUSED, f"XGBoost does not survive it (the process that read it ended with {number})".encode()
    return said[:1], said[1:]


def _verdict(content: bytes) -> tuple[bytes, bytes]:
    booster = xgboost.Booster({"nthread": 1})
    try:
        booster.load_model(bytearray(content))
        check_shape(bytes(booster.save_raw("json")))
        return GOOD, bytes(booster.save_raw("ubj"))
    except WrongShape as error:
        reason = str(error)
    except MemoryError:
        reason = "it takes too much memory"
    except Exception as error:  # of XGBoost's own kinds, and what Python says of text that is none
        # Behind the first line stands a stack trace with paths, before the sentence a time and a path.
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        reason = f"XGBoost cannot read it ({line.rpartition(': ')[2]})"
    return REFUSED, reason[:_REASON_CHARACTERS].encode("utf-8", "replace")


def _limit(size_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (CHECK_SECONDS, CHECK_SECONDS))
    with contextlib.suppress(OSError, ValueError):  # Linux alone says how much there is already
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * resource.getpagesize() + SPARE_BYTES + SPARE_FACTOR * size_bytes
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _exactly(pipe: int, count: int) -> bytes:
    content = bytearray()
    while len(content) < count:
        piece = os.read(pipe, min(count - len(content), 1 << 20))
        if not piece:
            return b""
        content += piece
    return bytes(content)


def _all(pipe: int, deadline: float) -> bytes | None:
    """Read until the other side is closed; None when it takes too long or too much."""
    content = bytearray()
    while len(content) <= MOST_ANSWER_BYTES:
        if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return None
        piece = os.read(pipe, 1 << 20)
        if not piece:
            return bytes(content)
        content += piece
    return None


def _write(pipe: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(pipe, rest) :]


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever asks ends it, by closing the pipe
    serve(os.dup(0), os.dup(1))
