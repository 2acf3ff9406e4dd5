"""Airflow operator of the fleet's ``_reaper`` DAG: look after the challengers that are on trial."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowException
from botocore.exceptions import ClientError

from city_fleet import aws_errors, clock
from city_fleet.champions import trials
from city_fleet.champions.planned_city import homes_of
from city_fleet.errors import CityFleetError, PredictError
from city_fleet.jobs import pacing
from city_fleet.naming import package_group
from city_fleet.orchestration.fleet_tasks.fleet_operator import FleetOperator
from city_fleet.orchestration.patience import patient
from city_fleet.outgoing_text import printable
from city_fleet.plan import endpoint_name
from city_fleet.prediction import challenger_forecast, night_forecasts
from city_fleet.prediction.model_question import Asked
from city_fleet.state import challengers, live_scores
from city_fleet.state.challengers import Challenger
from city_fleet.state.context import CityContext
from city_fleet.state.live_scores import LiveScores
from city_fleet.state.objects import ObjectStore

if TYPE_CHECKING:
    from airflow.sdk import Context

TRIALS = "challengers"


@dataclass(frozen=True)
class _Aws:
    s3: Any
    sagemaker: Any
    runtime: Any


class LookAfterTrialsOperator(FleetOperator):
    """End the trials of challengers that are over, lost, or do not answer; make those live that have won.

    Returns city → what was done. Without a trial it costs one request of S3.
    """

    @patient
    def execute(self, context: Context) -> dict[str, str]:
        s3 = self.client("s3", pacing.RETRIES)
        fleet, keys = self.fleet, self.fleet.keys
        store = ObjectStore(s3, fleet.bucket)
        try:
            found = challengers.read(store, keys)
        except ClientError as error:
            if not aws_errors.is_no_bucket(error):
                raise
            return {}
        if not found.running:
            self.log.info("No challenger is on trial")
            return {}
        aws = _Aws(
            s3, self.client("sagemaker", pacing.RETRIES), self.client("sagemaker-runtime", pacing.RETRIES)
        )
        dry_run = bool(context["params"]["dry_run"])
        by, done, problems = f"{context['dag'].dag_id}/{context['run_id']}", {}, []
        for city, trial in sorted(found.running.items()):
            if dry_run:
                self.log.info("%s is on trial %s", printable(city), trial.sentence)
                continue
            group = package_group(fleet.fleet, fleet.environment, city)
            place = CityContext(aws, keys, endpoint_name(fleet), group, city, home_of=homes_of(fleet))
            try:
                rows = self._scores(place, trial).known
                step = trials.look(place, trial, rows, by, clock.utc_now())
            except CityFleetError as error:
                if aws_errors.is_passing(error):
                    self.log.warning("%s: left to the next look: %s", city, printable(str(error)))
                else:
                    problems.append(f"{city}: {error}")
                continue
            done[city] = step.outcome
            self.log.info("%s: %s: %s", city, step.outcome, printable(step.sentence))
        if problems:
            raise AirflowException(
                f"{len(problems)} trials can't be looked after: {printable(' '.join(problems))}"
            )
        return done

    def _scores(self, city: CityContext, trial: Challenger) -> LiveScores:
        """Return a city's scores, with what its challenger forecasts now, once a night.

        :raises BrokenScores: what is there can't be believed.
        """
        now = clock.utc_now()
        scores = live_scores.read(city.objects, city.keys, city.slug)
        if not challenger_forecast.is_due(trial, scores, now):
            return scores
        asker = night_forecasts.predictor(city.aws.s3, city.aws.runtime, city.keys, city.endpoint)
        try:
            answer = asker.of_challenger(trial, Asked(city.slug))
        except PredictError as error:
            self.log.warning("%s: no forecast of its challenger: %s", city.slug, printable(str(error)))
            return scores
        rows = challenger_forecast.rows_of(trial, answer, now)
        return live_scores.update(city.objects, city.keys, city.slug, lambda found: found.with_answers(rows))
