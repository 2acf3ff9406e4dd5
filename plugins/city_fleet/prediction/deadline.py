"""Calls to AWS that are tried again until an overall deadline. Standard library and botocore only."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError

from city_fleet import aws_errors
from city_fleet.errors import NotReady

Result = TypeVar("Result")

RETRY_AFTER_SECONDS = 5
_FIRST_WAIT_SECONDS = 0.1
_LONGEST_WAIT_SECONDS = 2.0
# A refused connection or an unknown host seldom mends itself within seconds, unlike one that breaks.
_CONNECTION_TRIES = 3


class Deadline:
    """The moment by which the answer to one request has to be there, and how asking for it went.

    :param seconds: from now.
    :param clock: seconds that never go back.
    :param sleep: waits for some seconds.
    """

    def __init__(
        self,
        seconds: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.seconds = seconds
        self._clock = clock
        self._sleep = sleep
        self._end = clock() + seconds
        self._what = ""
        self._attempts = 0
        self._last: Exception | None = None

    def left(self) -> float:
        """Return the seconds that are left; never negative."""
        return max(0.0, self._end - self._clock())

    def at_most(self, seconds: float) -> Deadline:
        """Return a deadline that ends after so many seconds, but not after this one."""
        earlier = Deadline(min(seconds, self.seconds), clock=self._clock, sleep=self._sleep)
        earlier._end = min(earlier._end, self._end)
        return earlier

    def call(self, what: str, request: Callable[[], Result]) -> Result:
        """Send a request, again and again while AWS says that trying again may help.

        :param what: who is asked, for the error message.
        :param request: sends it once, without retries of its own.
        :raises NotReady: no answer before the deadline; its cause is the last error.
        :raises ClientError: any other answer that is an error.
        :raises BotoCoreError: the request could not be sent at all, for example for want of credentials.
        """
        self._what, self._attempts, self._last = what, 0, None
        while self.left() > 0:
            self._attempts += 1
            try:
                return request()
            except (ClientError, BotoCoreError) as error:
                if not aws_errors.is_transient(error):
                    raise
                self._last = error
                if isinstance(error, EndpointConnectionError) and self._attempts >= _CONNECTION_TRIES:
                    break
            longest = min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2 ** (self._attempts - 1))
            # Callers that failed together must not come back together.
            wait = longest * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
            wait = self.left() / 2 if wait >= self.left() else wait
            if wait < _FIRST_WAIT_SECONDS / 2:
                break
            self._sleep(wait)
        raise self.missed() from self._last

    def missed(self) -> NotReady:
        """Return the error of the last service that did not answer in time, with its last answer."""
        tried = f" after {self._attempts} attempts" if self._attempts > 1 else ""
        said = f": {_words(self._last)}" if self._last is not None else ""
        text = f"{self._what} did not answer" if self._attempts else "There was no answer"
        return NotReady(
            f"{text} within {self.seconds:.3g} s{tried}{said}. Ask again in {RETRY_AFTER_SECONDS} s.",
            retry_after_seconds=RETRY_AFTER_SECONDS,
            attempts=self._attempts,
        )


def _words(error: Exception) -> str:
    """Return an error's own words, without what botocore says around them."""
    if isinstance(error, ClientError):
        return f"{aws_errors.code_of(error)}, {aws_errors.message_of(error)}".rstrip(". ,")
    return str(error).rstrip(".")
