"""Nothing is paid for that the fleet's budget does not allow: the first task of a run asks, and waits for a person."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from city_fleet import clock
from city_fleet.config import Fleet
from city_fleet.config.usable_fleets import usable_fleet
from city_fleet.errors import FleetFileError
from city_fleet.night import budget
from city_fleet.orchestration.budget_trigger import ALLOWED, EXPIRED, BudgetTrigger
from city_fleet.orchestration.patience import TRIGGERER_GONE_SECONDS, Patient
from city_fleet.orchestration.shared_forms import shared_form
from city_fleet.outgoing_text import printable
from city_fleet.state.budget_question import UNKNOWN, BudgetNight
from city_fleet.views.digest import night_of

if TYPE_CHECKING:
    from airflow.sdk import Context
    from types_boto3_s3 import S3Client

# Somebody else judges the night right now: a matter of seconds, and of minutes where a month's records are new.
_JUDGING_SECONDS = 20.0
_KEPT = "budget"


class WithinBudget(Patient):
    """Mixed into the operator of a run's first task, which starts its first job or fixes what the job is about."""

    def ask_budget(self, context: Context, fleet: Fleet, s3: S3Client, runs: int = 1) -> None:
        """Return where the night may be paid for; else wait in the triggerer, and come back to ``execute``.

        One Get of S3, where the fleet has a budget. A task that has passed once, passes in later tries too, until a
        person clears it.

        :param runs: that the task begins.
        """
        if fleet.budget is None:
            return
        ti: Any = context["ti"]
        store: Any = context["task_state_store"]
        if (store.get(_KEPT) or {}).get("passed") == ti.max_tries:
            return
        now = datetime.now(UTC)
        window = night_of(now, fleet.digest.schedule)
        night = budget.Night(window.since, window.until)
        found = budget.ask(fleet, s3, night, now, runs=runs, whole=lambda: _with_every_city(fleet))
        if found is None:
            self.log.info(
                "The night's budget is being judged; asking again in about %d seconds", _JUDGING_SECONDS
            )
            self.wait_a_while(_JUDGING_SECONDS, "budget", phase="execute")
        if not found.asks:
            say = self.log.warning if found.verdict == UNKNOWN else self.log.info
            say("Budget: %s", found.told)
            store.set(_KEPT, {"passed": ti.max_tries})
            return
        self.log.warning("%s. Nothing is paid for until a person allows it: %s", found.told, _allow(fleet))
        store.set(_KEPT, {"night": found.night, "said": f"{found.told}. {_allow(fleet)}"})
        self._wait_for_person(found, fleet)

    def _wait_for_person(self, found: BudgetNight, fleet: Fleet) -> None:
        left = max(0.0, (found.asks_until - datetime.now(UTC)).total_seconds())
        self.defer(
            trigger=BudgetTrigger(
                night=found.night,
                asked_at=found.at,
                until=clock.iso(found.asks_until),
                place=[fleet.bucket, fleet.fleet, fleet.environment],
                aws_conn_id=self.aws_conn_id,
                region_name=fleet.region,
            ),
            method_name="budget_answered",
            timeout=timedelta(seconds=left + TRIGGERER_GONE_SECONDS),
        )

    def budget_answered(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """Go on after a wait for a person.

        :raises AirflowFailException: nobody has allowed the night; a clear asks anew.
        """
        told, store, ti = event or {}, context["task_state_store"], context["ti"]
        kept: Any = store.get(_KEPT) or {}
        if told.get("night") == kept.get("night"):
            if told.get("budget") == EXPIRED:
                raise AirflowFailException(
                    printable(
                        f"Nobody has allowed the night within a day, and nothing was paid for: {kept['said']}; "
                        "then clear this task"
                    )
                )
            if told.get("budget") == ALLOWED:
                self.log.info("Budget: %s", told.get("told", "the night is allowed"))
                store.set(_KEPT, {"passed": ti.max_tries})
        return self.execute(context)

    def execute(self, context: Context) -> Any:
        raise NotImplementedError


def _with_every_city(fleet: Fleet) -> Fleet:
    """Return a fleet of which a worker has read the city that its task is about, and no other.

    :raises FleetFileError: its file can't be used.
    """
    found = usable_fleet(fleet.path, fetch=shared_form)
    if isinstance(found, FleetFileError):
        raise found
    # The budget that the task was built with: whoever changes the file may do so right now.
    return found.model_copy(update={"budget": fleet.budget})


def _allow(fleet: Fleet) -> str:
    return f"`./fleet cost --allow-night --fleet {fleet.fleet}` allows it"
