"""Builds no DAG: red on Airflow's home, with file, line, city and field, while the fleet files hold mistakes."""

from city_fleet.config.places import fleets_folder
from city_fleet.orchestration.fleet_mistakes import raise_on_mistakes

raise_on_mistakes(fleets_folder())
