"""Airflow operators of the fleet's ``_digest`` DAG: compose the morning's message, send it by Airflow's notifiers."""

from __future__ import annotations

import json
import pkgutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseNotifier, BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from botocore.config import Config
from jinja2 import TemplateError

from city_fleet import naming
from city_fleet.config.digest_section import refusal
from city_fleet.orchestration import fleet_metrics
from city_fleet.orchestration.fleet_tasks.fleet_operator import FleetOperator
from city_fleet.orchestration.patience import patient
from city_fleet.orchestration.run_context import upstream
from city_fleet.orchestration.task_log import PrintableLog
from city_fleet.state import index
from city_fleet.state.outcomes import Outcome
from city_fleet.views import digest, digest_text, fleet_facts

if TYPE_CHECKING:
    from airflow.sdk import Context

COMPOSE = "compose"
NOTIFY = "notify"


class ComposeOperator(FleetOperator):
    """Compose the night's message. Skips itself, and with it the notifiers, when there is nothing to tell.

    Returns ``{subject, text, counts, night}``, and ``owners`` with such messages about the cities of each one that
    ``digest.owners`` names and that has something to be told.
    """

    @patient
    def execute(self, context: Context) -> dict[str, Any]:
        config = Config(max_pool_connections=index.WORKERS)
        s3, sagemaker = self.client("s3", config), self.client("sagemaker", config)
        picture = fleet_facts.picture(self.fleet, s3, sagemaker, say=self.log.info)
        fleet_metrics.tell_cities(self.fleet, picture.snapshot.cities)
        for problem in picture.problems:
            self.log.warning("%s", problem)
        owners = list(self.fleet.digest.owners)
        found, *theirs = fleet_facts.night_digests(
            self.fleet, s3, picture, self._night(context, picture.refreshed.index), owners
        )
        text = digest_text.text(found)
        for line in text.splitlines():
            self.log.info("%s", line)
        counts = found.counts
        for outcome in Outcome:  # those that no run had too: a gauge keeps what it was told last
            fleet_metrics.tell(self.fleet, "night", counts.get(outcome.value, 0), outcome=outcome.value)
        fleet_metrics.tell(self.fleet, "night", counts["without_result"], outcome="without_result")
        if found.is_empty:
            raise AirflowSkipException("No run belongs to this night, and none should; nothing is sent")
        message = _message(found)
        if owners:
            # Kept short: of an owner whose cities had no run and should have had none there is nothing to tell.
            message["owners"] = {each.owner: _message(each) for each in theirs if not each.is_empty}
        return message

    def _night(self, context: Context, known: index.Index) -> digest.DigestWindow:
        """Return the night that is asked for, else that of the run's own tick, else the newest one with a run."""
        schedule = self.fleet.digest.schedule
        text, moment = context["params"].get("night"), context["dag_run"].logical_date
        if text:
            try:
                return digest.night_of(naming.parse_as_of(text), schedule)
            except ValueError as error:
                raise AirflowFailException(str(error).replace("as_of", "night", 1)) from error
        if context["dag_run"].run_type in {"scheduled", "backfill"} and moment is not None:
            return digest.night_of(moment, schedule)
        return digest.last_night(known, schedule) or digest.night_of(datetime.now(UTC), schedule)


def _message(found: digest.NightDigest) -> dict[str, Any]:
    return {
        "subject": digest_text.subject(found),
        "text": digest_text.text(found),
        "counts": found.counts,
        "night": naming.as_of_stamp(found.night.until),
    }


class NotifyOperator(PrintableLog, BaseOperator):
    """Send the message by one of Airflow's notifiers. One task per notifier: a retry of one repeats no other.

    :param notifier: import path of a subclass of BaseNotifier; imported when the task runs.
    :param arguments: what it is called with. ``digest`` in its templates is what the task ``of`` returned.
    :param owner: whose message of those among ``owners`` is sent; the task is skipped where there is none. None: the
        one about all cities.
    """

    # None: neither of the two is ever rendered as a field of the task.
    template_fields = ()

    def __init__(
        self,
        *,
        notifier: str,
        arguments: dict[str, Any],
        of: str = COMPOSE,
        owner: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.notifier = notifier
        self.arguments = arguments
        self.of = of
        self.owner = owner

    def execute(self, context: Context) -> None:
        message = upstream(context, self.of)
        if self.owner is not None:
            message = message.get("owners", {}).get(self.owner)
            if message is None:
                raise AirflowSkipException(f"There is nothing to tell {self.owner!r}")
        send(self.notifier, self.arguments, message)
        self.log.info("Sent by %s: %s", self.notifier, message["subject"])


def send(notifier: str, arguments: dict[str, Any], message: dict[str, Any]) -> None:
    """Send a message by one of Airflow's notifiers.

    It is not given the task's context. What stands in a fleet file is rendered here, and with the context it could read
    connections and variables.

    :param message: ``subject`` and ``text``; ``digest`` in the notifier's templates, and all that they know.
    :raises AirflowFailException: the installation allows no such notifier, there is none, or it is called wrongly.
    """
    where = f"digest.notifiers, {notifier!r}"
    # Before it is imported: importing is running.
    if (refused := refusal(notifier, arguments)) is not None:
        raise AirflowFailException(f"{where}: got {refused.got}; allowed: {refused.allowed}. {refused.hint}")
    try:
        kind = pkgutil.resolve_name(notifier)
    except (ImportError, AttributeError) as error:
        raise AirflowFailException(f"{where}: can't be imported: {error}") from error
    if not (isinstance(kind, type) and issubclass(kind, BaseNotifier)):
        raise AirflowFailException(f"{where}: is not a subclass of Airflow's BaseNotifier")
    # A module has the names of all that it imports, from wherever.
    if (refused := refusal(f"{kind.__module__}.{kind.__qualname__}", arguments)) is not None:
        raise AirflowFailException(f"{where}: got {refused.got}; allowed: {refused.allowed}. {refused.hint}")
    try:
        made = kind(**arguments)
    except TypeError as error:
        raise AirflowFailException(f"{where}: {error}; got {json.dumps(sorted(arguments))}") from error
    try:
        made({"digest": message})
    except TemplateError as error:
        raise AirflowFailException(
            f"{where}: an argument can't be rendered ({error}); its templates know digest.subject, digest.text and "
            "digest.counts, and nothing else. Give it every text that it would otherwise make of Airflow's own."
        ) from error
