"""Airflow operator of the task ``decide``: the gate judges the challenger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from city_fleet.orchestration.city_tasks.city_operator import CityOperator, city_run_of
from city_fleet.orchestration.console_pages import say_made
from city_fleet.orchestration.patience import patient
from city_fleet.run_steps import decide_step
from city_fleet.run_steps.step_input import NoUseAgain

if TYPE_CHECKING:
    from airflow.sdk import Context


class DecideOperator(CityOperator):
    """Apply the gate to the evaluation report, keep the decision beside the run, and count it for the night."""

    @patient
    def execute(self, context: Context) -> dict[str, Any]:
        place = self.city()
        try:
            decision = decide_step.decide(city_run_of(place, context))
        except NoUseAgain as error:
            raise AirflowFailException(str(error)) from error
        say_made(context, place.aws.sagemaker, output=decision["decision_uri"])
        return decision
