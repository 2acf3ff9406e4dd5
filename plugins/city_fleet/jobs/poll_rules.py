"""Where a poller asks for jobs, how often and how patiently, and what it says when it is refused. No I/O."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from botocore.exceptions import ClientError

from city_fleet import aws_errors
from city_fleet.jobs.sagemaker_jobs import JobKind


@dataclass(frozen=True)
class PollRules:
    """How often, how far back and how patiently.

    :param overlap_seconds: how far a list reaches back before the last one: lists lag behind, and the clock that a
        wait's beginning was read from may be wrong by as much.
    :param calls_per_second: of one operation, pages included, one after the other. SageMaker allows about 2 lists a
        second per account.
    :param gather_seconds: a poller that starts waits so long for company: after a restart all waits come at once.
    :param doubt_seconds: a job that no answer has named for so long is asked about.
    :param describes_per_pass: so many Describe calls at most go with a list.
    :param first_backoff_seconds: pause after the first failure; it doubles with each one after it.
    :param last_backoff_seconds: the longest pause.
    :param warning_seconds: warnings about the same trouble are so far apart.
    :param refusals: so many passes in a row must be refused until the tasks hear of it. A client is made anew for
        each, which heals credentials that were exchanged.
    :param failures: the same for other errors, among them a connection that can't be looked up.
    """

    overlap_seconds: float = 60.0
    calls_per_second: float = 1.8
    gather_seconds: float = 1.0
    doubt_seconds: float = 600.0
    describes_per_pass: int = 5
    first_backoff_seconds: float = 2.0
    last_backoff_seconds: float = 120.0
    warning_seconds: float = 300.0
    refusals: int = 2
    failures: int = 8

    def backoff_seconds(self, failures: int) -> float:
        """Return the pause after so many failures in a row; random, so that callers do not come back together."""
        longest = min(self.last_backoff_seconds, self.first_backoff_seconds * 2 ** min(failures - 1, 30))
        return random.uniform(longest / 2, longest)  # noqa: S311  # no secret


RULES = PollRules()


@dataclass(frozen=True)
class JobSource:
    """Where jobs are looked for; waits with equal sources share a poller.

    :param connection: names the connection, for messages.
    :param region: the region; None for the connection's own.
    :param options: whatever else makes a client another one, as text.
    :param rules: how often and how patiently; those of a poller's first wait count.
    """

    connection: str
    region: str | None
    kind: JobKind
    options: str = ""
    rules: PollRules = field(default=RULES, compare=False)

    def operation(self, verb: str) -> str:
        """Return the name of an API operation, for example ``ListTrainingJobs``."""
        return f"{verb.title()}{self.kind.name}Job{'s' if verb == 'list' else ''}"

    def lane(self, verb: str) -> str:
        """Return the lane of an operation; clients with other options use up the same rate."""
        return f"{self.connection}/{self.region}/{self.operation(verb)}"

    def explain(self, error: Exception) -> str:
        """Return what went wrong in a sentence or two, with the permission that is missing if one is."""
        where = f"connection {self.connection}, region {self.region or 'of the connection'}"
        if not isinstance(error, ClientError):
            return f"SageMaker can't be asked for {self.kind.name} jobs ({where}): {type(error).__name__}: {error}"
        list_name, describe_name = self.operation("list"), self.operation("describe")
        mine = error.operation_name in (list_name, describe_name)
        name = f"sagemaker:{error.operation_name}" if mine else error.operation_name
        text = f"{name} failed ({where}): {error}"
        if mine and aws_errors.is_denied(error):
            text += (
                f". Allow {name} to the role or user of that connection: waiting for jobs needs "
                f"sagemaker:{list_name} (on all resources, *) and sagemaker:{describe_name}"
            )
        return text
