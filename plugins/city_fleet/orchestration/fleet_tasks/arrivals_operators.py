"""Airflow operators of a fleet's ``_arrivals`` DAG: say which cities' raw data have changed, then delete the messages.

Two tasks, because Airflow makes a task's asset events and its success known in one transaction, after the task has
ended: what deletes the messages must not run before that.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowException
from airflow.sdk.execution_time.context import InletEventsAccessor
from botocore.config import Config

from city_fleet import naming
from city_fleet.arrivals.gathering import Received
from city_fleet.arrivals.messages import EVERY_CITY
from city_fleet.errors import nearest_match
from city_fleet.orchestration import assets
from city_fleet.orchestration.fleet_tasks.arrivals_trigger import ABOUT, HANDED_ON_SECONDS, entries
from city_fleet.orchestration.fleet_tasks.fleet_operator import FleetOperator
from city_fleet.orchestration.patience import patient

if TYPE_CHECKING:
    from airflow.sdk import Context

ANNOUNCE, DELETE = "announce", "delete"
_BATCH = 10  # of SQS


def _queue(task: FleetOperator) -> tuple[Any, str]:
    """Return a client and the URL of the fleet's queue."""
    sqs = task.client("sqs", Config())
    return sqs, sqs.get_queue_url(QueueName=task.fleet.events.queue)["QueueUrl"]


class AnnounceArrivalsOperator(FleetOperator):
    """Update the asset of each city whose raw data have changed, once, whatever the number of files.

    Returns the receipt handles of the messages that were announced.
    """

    @patient
    def execute(self, context: Context) -> list[str]:
        received = list(dict.fromkeys(self._received(context)))
        sqs, url = _queue(self)
        held = [each for each in received if each.receipt in set(_held(sqs, url, received))]
        if len(held) < len(received):
            self.log.info("%d messages were announced before, or come again", len(received) - len(held))
        moment, counts, asked = naming.as_of_stamp(datetime.now(UTC)), dict[str, int](), dict[str, str]()
        for message in held:
            for city in self._known(message):
                counts[city] = counts.get(city, 0) + 1
                # Who asks for an earlier moment gets it, unless something has arrived as well.
                asked[city] = max(asked.get(city, ""), message.as_of or moment)
        for city in sorted(counts):
            assets.tell_changed(context, self.fleet, city, asked[city], counts[city])
            self.log.info("%s: raw data have changed (%d messages)", city, counts[city])
        return [message.receipt for message in held]

    def _received(self, context: Context) -> Iterator[Received]:
        """Yield the messages of the events that have started the run, and of those that have come since.

        An event that comes while a run is still to be created is none of that run's (Airflow 3.3.2), and no other
        run's until one more has come.
        """
        uri = naming.arrivals_asset(self.fleet.region, self.fleet.events.queue or "")
        started: Any = context["triggering_asset_events"]
        since = context["dag_run"].run_after.isoformat()
        later = InletEventsAccessor(asset_name=uri, asset_uri=uri).after(since)
        for event in [*(event for events in started.values() for event in events), *later]:
            payload: Any = event.extra.get("payload")
            # A person may update the asset too, without any message.
            if isinstance(payload, dict) and payload.get("about") == ABOUT:
                for message in payload["messages"]:
                    try:
                        yield Received.from_dict(message)
                    except ValueError as error:
                        self.log.error("An event of %s holds %s; its message comes again", uri, error)

    def _known(self, message: Received) -> Iterator[str]:
        for city in message.cities:
            if city == EVERY_CITY:
                yield from self.fleet.cities
            elif city in self.fleet.cities:
                yield city
            elif city in self.fleet.broken:
                self.log.warning("City %s has mistakes in its settings: raw data that have come wait", city)
            else:
                near = nearest_match(city, self.fleet.cities)
                hint = f" Did somebody mean {near}?" if near else ""
                self.log.warning(
                    "Fleet %s has no city %s: its raw data wait.%s", self.fleet.fleet, city, hint
                )


class DeleteMessagesOperator(FleetOperator):
    """Delete the messages that were announced. What fails comes again, and is announced once more."""

    @patient
    def execute(self, context: Context) -> None:
        receipts: Any = context["ti"].xcom_pull(task_ids=ANNOUNCE) or []
        sqs, url = _queue(self)
        failed = []
        for first in range(0, len(receipts), _BATCH):
            batch = entries(receipts[first : first + _BATCH])
            failed += sqs.delete_message_batch(QueueUrl=url, Entries=batch).get("Failed", [])
        self.log.info("%d messages deleted", len(receipts) - len(failed))
        if failed:
            raise AirflowException(
                f"{len(failed)} messages of queue {self.fleet.events.queue} could not be deleted: "
                f"{failed[0].get('Code')} {failed[0].get('Message', '')}"
            )


def _held(sqs: Any, url: str, received: list[Received]) -> Iterator[str]:
    """Keep messages out of sight for as long as the run may take; yield the receipts of those that are still there."""
    for first in range(0, len(received), _BATCH):
        receipts = [each.receipt for each in received[first : first + _BATCH]]
        batch = entries(receipts, VisibilityTimeout=HANDED_ON_SECONDS)
        answer = sqs.change_message_visibility_batch(QueueUrl=url, Entries=batch)
        yield from (receipts[int(each["Id"])] for each in answer.get("Successful", ()))
