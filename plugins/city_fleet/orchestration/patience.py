"""What passes costs no try: a task that meets throttling, an outage or a crowd waits in the triggerer and comes back.

Every task of ours repeats harmlessly, so a task comes back to the beginning of the method that met the trouble. The
wait is bounded by ``capacity_wait_seconds``; no worker sits through it, and no retry is used up.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from botocore.exceptions import ClientError

from city_fleet import aws_errors, clock
from city_fleet.errors import EndpointClosed, EndpointUnderWay, PlatformError
from city_fleet.orchestration.task_log import PrintableLog
from city_fleet.orchestration.turn_trigger import TurnTrigger

if TYPE_CHECKING:
    from airflow.sdk import Context

# Somebody may open an endpoint ahead of its hours.
_LONGEST_CLOSED_SECONDS, _OPENING_SECONDS = 1800.0, 60.0
_FIRST_PAUSE_SECONDS, _NO_CAPACITY_SECONDS, _LONGEST_PAUSE_SECONDS = 5.0, 60.0, 600.0
# Calls again per second, over all tasks of a triggerer: CreateTrainingJob is refused at about five callers. After an
# outage any call may be the first, and the tasks have to come back some time.
_TURNS_PER_SECOND, _OUTAGE_TURNS_PER_SECOND = 1.0, 10.0
# AWS refuses nothing: it is the endpoint that is not there yet.
_NO_REFUSALS = (EndpointUnderWay, EndpointClosed)
#: Airflow's own limit on a wait is for a triggerer that is gone; the wait's own end comes so much earlier.
TRIGGERER_GONE_SECONDS = 3600


@dataclass(frozen=True)
class Refusals:
    """For how long a task has been refused.

    :param since: ISO instant of the first refusal; None before it.
    :param count: how many there were.
    """

    since: str | None = None
    count: int = 0


def passes(error: BaseException) -> bool:
    """Tell whether what a task has met passes by itself: load, an outage, the network, or a crowd of writers."""
    # These say that there is no use in trying again, whatever they were raised from.
    return not isinstance(error, (AirflowFailException, AirflowSkipException)) and aws_errors.is_passing(
        error
    )


class Patient(PrintableLog):
    """Mixed into an operator, before Airflow's class; its methods that ask AWS are decorated with :func:`patient`.

    Whoever mixes it in says how long it waits and what its errors begin with.
    """

    _refusals = Refusals()

    if TYPE_CHECKING:  # given by Airflow's operator
        log: Any
        aws_conn_id: str | None

        def defer(self, **kwargs: Any) -> NoReturn: ...

    @property
    def patience_seconds(self) -> float:
        """Return for how long the task may be refused."""
        raise NotImplementedError

    @property
    def where(self) -> str:
        """Return what the task's errors begin with."""
        raise NotImplementedError

    def resume(
        self,
        context: Context,
        event: dict[str, Any] | None = None,
        *,
        phase: str = "execute",
        held: dict[str, Any] | None = None,
        refused_since: str | None = None,
        refusals: int = 0,
    ) -> Any:
        """Come back to a method after a wait.

        :param event: of the wait; says nothing.
        :param phase: the method; ``airflow dags test`` (3.3.2) loses the arguments of a deferral, and beginning anew
            is right then.
        :param held: the event that the method was called with.
        :param refused_since: ISO instant since which the task is refused.
        :param refusals: how often it was.
        """
        self._refusals = Refusals(refused_since, refusals)
        method = getattr(self, phase)
        return method(context) if held is None else method(context, held)

    def wait_out(self, error: Exception, phase: str, held: dict[str, Any] | None = None) -> NoReturn:
        """Defer until it is this task's turn to call AWS again.

        :param phase: the method to come back to.
        :param held: the event that it was called with.
        :raises PlatformError: the task has been refused for as long as it may wait.
        """
        now, before = datetime.now(UTC), self._refusals
        since = before.since or now.isoformat()
        opens_in = 0.0
        if isinstance(error, EndpointClosed):
            opens = clock.parse(error.until)
            opens_in = (opens - now).total_seconds()
            # What it may wait begins when the endpoint ought to be open.
            since = max(clock.parse(since), opens).isoformat()
        if (now - clock.parse(since)).total_seconds() >= self.patience_seconds:
            waited = f"for {self.patience_seconds:.0f} seconds (capacity_wait_seconds)"
            what = "it has waited" if isinstance(error, _NO_REFUSALS) else "AWS has refused"
            raise PlatformError(f"{self.where}: {what} {waited}: {error}") from error
        capacity = isinstance(error, ClientError) and aws_errors.is_no_capacity(error)
        load = capacity or (isinstance(error, ClientError) and aws_errors.is_throttled(error))
        first = _NO_CAPACITY_SECONDS if capacity else _FIRST_PAUSE_SECONDS
        pause = min(first * 2 ** min(before.count, 16), _LONGEST_PAUSE_SECONDS)
        if isinstance(error, EndpointUnderWay):
            pause = error.look_again_seconds
        if isinstance(error, EndpointClosed):
            # The jitter below makes it half as much again at most, so nobody oversleeps the opening.
            pause = min(max(opens_in / 1.5, _OPENING_SECONDS), _LONGEST_CLOSED_SECONDS)
        # Jitter keeps tasks that were refused together from coming back together; it is no secret.
        pause *= random.uniform(0.5, 1.5)  # noqa: S311
        if isinstance(error, _NO_REFUSALS):
            self.log.info("Looking again in about %d seconds: %s", pause, error)
        else:
            self.log.warning("AWS refuses for now, trying again in about %d seconds: %s", pause, error)
        lane = error.operation_name if isinstance(error, ClientError) else "outage"
        self.wait_a_while(
            pause,
            lane,
            _TURNS_PER_SECOND if load else _OUTAGE_TURNS_PER_SECOND,
            phase=phase,
            held=held,
            refused_since=since,
            refusals=before.count + 1,
        )

    def wait_a_while(
        self, seconds: float, lane: str, per_second: float = _OUTAGE_TURNS_PER_SECOND, **resume: Any
    ) -> NoReturn:
        """Defer for some seconds and until it is this task's turn; then :meth:`resume`.

        :param lane: what the turns are counted for.
        :param resume: its arguments.
        """
        moment = datetime.now(UTC) + timedelta(seconds=seconds)
        region = getattr(self, "region_name", None)
        self.defer(
            trigger=TurnTrigger(
                lane=f"{self.aws_conn_id}/{region}/{lane}",
                per_second=per_second,
                not_before=moment.isoformat(),
            ),
            method_name="resume",
            kwargs=resume,
            timeout=timedelta(seconds=seconds + TRIGGERER_GONE_SECONDS),
        )


def patient(method: Callable[..., Any]) -> Callable[..., Any]:
    """Let a method of an operator wait out what passes. It is called with the context, and after a deferral with an
    event, and must be safe to repeat."""

    @functools.wraps(method)
    def waits(self: Any, context: Context, event: dict[str, Any] | None = None) -> Any:
        try:
            return method(self, context) if event is None else method(self, context, event)
        except Exception as error:
            if not passes(error):
                raise
            self.wait_out(error, method.__name__, event)

    return waits
