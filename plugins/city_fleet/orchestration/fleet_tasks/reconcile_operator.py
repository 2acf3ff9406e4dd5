"""Airflow operator of the fleet's ``_reconcile`` DAG: carry out what people have decided in the registry."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowException, AirflowFailException
from botocore.exceptions import BotoCoreError, ClientError

from city_fleet.approval import reconcile
from city_fleet.champions import breaker
from city_fleet.errors import CityFleetError
from city_fleet.jobs.sagemaker_jobs import time_at
from city_fleet.orchestration import fleet_metrics
from city_fleet.orchestration.fleet_tasks import digest_operators
from city_fleet.orchestration.fleet_tasks.fleet_operator import FleetOperator, within
from city_fleet.orchestration.patience import patient
from city_fleet.orchestration.run_context import refuse_old_layout
from city_fleet.orchestration.task_clients import TaskClients
from city_fleet.outgoing_text import printable
from city_fleet.state.outcomes import Decided, Outcome

if TYPE_CHECKING:
    from airflow.sdk import Context

RECONCILE = "reconcile"
_ALERT = "alert"
# Well below the task's execution_timeout of 15 minutes: what is left over is for the next look.
_SECONDS = 600.0


class ReconcileOperator(FleetOperator):
    """Publish what was approved elsewhere, expire what waits too long, and tell when a serving model is rejected.

    Returns a list of what was decided: ``{city, version, outcome, reasons, live}``. The task fails when a model that
    serves was rejected, once, so that it shows among the failed runs; all else is done before.
    """

    @patient
    def execute(self, context: Context) -> list[dict[str, Any]]:
        clients = TaskClients(self.aws_conn_id, self.fleet.region, self.fleet.kms_key)
        refuse_old_layout(clients.s3, self.fleet.keys)
        done = reconcile.run(
            clients,
            self.fleet,
            now=time_at(clients.sagemaker),
            in_time=within(_SECONDS),
            say=self._say,
        )
        self.log.info("%d decided, %d await approval", len(done.decided), done.waiting)
        fleet_metrics.tell(self.fleet, "versions_awaiting_approval", done.waiting)
        if fleet_metrics.are_sent():
            self._tell_nights(clients)
        if done.left:
            self.log.warning("%d are left to the next look", done.left)
        alerts = [" ".join(item.reasons) for item in done.decided if item.outcome == Outcome.ALERT]
        if alerts:
            subject = f"{self.fleet.fleet}: {len(alerts)} serving models were rejected"
            message = {"subject": subject, "text": "\n".join(alerts)}
            context["ti"].xcom_push(key=_ALERT, value=message)
            raise AirflowFailException(printable(" ".join([*alerts, *done.problems])))
        if done.problems:
            problems = printable(" ".join(done.problems))
            raise AirflowException(f"{len(done.problems)} could not be dealt with: {problems}")
        return [item.to_dict() for item in done.decided]

    def _tell_nights(self, clients: TaskClients) -> None:
        """Tell how many nights the breaker has stopped and nobody has decided about, while their versions may wait."""
        hours = max((city.approval_expires_hours for city in self.fleet.cities.values()), default=0)
        try:
            nights = breaker.undecided(clients.s3, self.fleet.keys, timedelta(hours=hours))
        except (CityFleetError, ClientError, BotoCoreError) as error:  # the look itself is done
            self.log.warning("Which nights the breaker has stopped can't be told: %s", error)
            return
        fleet_metrics.tell(self.fleet, "nights_awaiting_approval", len(nights))

    def _say(self, decided: Decided) -> None:
        loud = decided.outcome == Outcome.ALERT
        log = self.log.error if loud else self.log.info
        reasons = "; ".join(decided.reasons)
        log("%s, version %d: %s: %s", decided.city, decided.version, decided.outcome, reasons)


def notify(context: Any) -> None:
    """Tell the fleet's notifiers that a serving model was rejected. A failure callback."""
    message: Any = context["ti"].xcom_pull(task_ids=RECONCILE, key=_ALERT)
    if message:
        for each in context["task"].fleet.digest.notifiers:
            digest_operators.send(each.notifier, each.arguments, message)
