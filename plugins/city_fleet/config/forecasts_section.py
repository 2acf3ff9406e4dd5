"""The forecasts section of the fleet file: each night's forecasts as a table, see docs/forecasts.md."""

from __future__ import annotations

from city_fleet.config.section import Section
from city_fleet.config.value_types import Flag, Schedule


class ForecastTables(Section):
    """Each night's forecasts of all cities as one Parquet table in the bucket."""

    schedule: Schedule = None
    """When the DAG <fleet>._forecasts writes it, as a cron expression or preset, UTC; null: there is no such DAG."""
    catalog: Flag = False
    """Whether ./fleet deploy makes a Glue database and table of it, by which Athena finds it."""
