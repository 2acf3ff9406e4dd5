"""Registers with Airflow what City Fleet adds to it, and does nothing else."""

from airflow.plugins_manager import AirflowPlugin

from city_fleet.orchestration.mistake_listener import MistakeListener
from city_fleet.orchestration.timetables import FleetTimetable


class CityFleetPlugin(AirflowPlugin):
    """The timetable of city DAGs, and the alert for mistakes in fleet files."""

    name = "city_fleet"
    timetables = [FleetTimetable]  # noqa: RUF012 - the form Airflow asks for
    listeners = [MistakeListener()]  # noqa: RUF012
