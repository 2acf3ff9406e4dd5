"""Callers of S3 that stop before each call until a test lets them go on, or die there.

A process that dies after a call is one that never makes the next. So every order of calls of several callers, and
every moment to die in, can be chosen; the calls themselves are real.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from tests.support.aws_calls import client
from tests.support.local_sagemaker import LocalSageMaker

_DEADLINE_SECONDS = 60


class Died(BaseException):
    """What ends a caller as SIGKILL would: nothing handles it."""


class Actor:
    """One caller with an S3 client of its own. Start it, then ``step`` it until it is ``over``."""

    def __init__(self, server: LocalSageMaker) -> None:
        self.s3 = client(server, "s3")
        self.s3.meta.events.register("before-call.s3", self._stop)
        self.calls = 0
        self.over = True
        self.result: Any = None
        self.error: Exception | None = None
        self._thread: threading.Thread | None = None

    def start(self, work: Callable[[Any], Any]) -> None:
        """Begin a piece of work, up to its first call.

        :param work: given the S3 client.
        """
        assert self.over
        self.calls, self.over, self.result, self.error, self._die = 0, False, None, None, False
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()
        self._wait()

    def step(self, *, die: bool = False) -> None:
        """Let it make its next call and come to the one after; or die before it."""
        self._die = die
        self._go.release()
        self._wait()

    def finish(self) -> Any:
        """Let it go on to its end; return its result or raise its error."""
        while not self.over:
            self.step()
        if self.error is not None:
            raise self.error
        return self.result

    def _wait(self) -> None:
        assert self._stopped.acquire(timeout=_DEADLINE_SECONDS), "the caller neither calls nor ends"

    def _stop(self, **_: Any) -> None:
        if threading.current_thread() is not self._thread:
            return
        self._stopped.release()
        assert self._go.acquire(timeout=_DEADLINE_SECONDS), "nobody lets the caller go on"
        if self._die:
            raise Died
        self.calls += 1

    def _run(self, work: Callable[[Any], Any]) -> None:
        try:
            self.result = work(self.s3)
        except Died:
            pass
        except Exception as error:
            self.error = error
        finally:
            self.over = True
            self._stopped.release()


def run_alone(actor: Actor, work: Callable[[Any], Any], *, die_before: int | None = None) -> bool:
    """Run a piece of work by itself.

    :param die_before: number of the call, from 0, that it does not come to make.
    :return: whether it died there; False when it ended first.
    """
    actor.start(work)
    while not actor.over:
        if actor.calls == die_before:
            actor.step(die=True)
            return True
        actor.step()
    if actor.error is not None:
        raise actor.error
    return False
