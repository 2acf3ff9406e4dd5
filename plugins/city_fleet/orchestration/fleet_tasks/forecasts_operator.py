"""Airflow operator of the fleet's ``_forecasts`` DAG: write the night's forecasts of all cities as one table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from botocore.config import Config

from city_fleet import clock
from city_fleet.errors import ConfigError
from city_fleet.orchestration.fleet_tasks.fleet_operator import FleetOperator
from city_fleet.orchestration.patience import patient
from city_fleet.outgoing_text import printable
from city_fleet.plan import endpoint_name, forecast_cities, forecast_night
from city_fleet.prediction import night_forecasts
from city_fleet.prediction.predict import S3_READ_SECONDS, client_config
from city_fleet.state import shared_endpoints
from city_fleet.state.objects import ObjectStore

if TYPE_CHECKING:
    from airflow.sdk import Context

WRITE = "write"


class WriteForecastsOperator(FleetOperator):
    """Ask every city for its forecast, and write the answers as tonight's table.

    A city without a forecast is a row that says why; the task fails where no city has one. What is asked is what serves
    now, so a run that is repeated days later writes the table of now, and none of before.

    Returns ``{night, uri, rows, cities, without}``; skips itself where no city has a model yet.
    """

    @patient
    def execute(self, context: Context) -> dict[str, Any]:
        fleet = self.fleet
        # Those of the questions are tried again within each city's own time.
        predictor = night_forecasts.predictor(
            self.client("s3", client_config(S3_READ_SECONDS)),
            self.client("sagemaker-runtime", client_config(night_forecasts.CITY_SECONDS)),
            fleet.keys,
            endpoint_name(fleet),
        )
        store = ObjectStore(self.client("s3", Config()), fleet.bucket)
        shared = shared_endpoints.read(store, fleet.keys)
        for name in map(fleet.endpoint_name, fleet.endpoint_names):
            if name in shared:
                shared[name].refuse_closed(name)
        night = forecast_night(fleet, clock.utc_now())
        try:
            made = night_forecasts.write_night(
                store,
                fleet.keys,
                predictor,
                forecast_cities(fleet),
                night,
                say=lambda text: self.log.info("%s", text),
            )
        except ConfigError as error:
            raise AirflowFailException(printable(str(error))) from error
        except night_forecasts.NoForecasts as error:
            raise AirflowSkipException(printable(str(error))) from error
        for problem in made.problems:
            self.log.warning("%s", problem)
        self.log.info("%s", made.sentence)
        return {
            "night": made.night,
            "uri": made.uri,
            "rows": made.rows,
            "cities": made.cities,
            "without": made.without,
        }
