"""The fleet file: read it, check it, and get frozen settings of the fleet and of each city.

``load_fleet`` and ``load_fleets`` are all that other packages need, and the types of settings that they name.
"""

from city_fleet.config.dataset import Dataset, Feature, Target, Time
from city_fleet.config.fleet_file import fleet_files, load_fleet, load_fleets
from city_fleet.config.gate_section import Breaker, DataChecks, Gate
from city_fleet.config.settings import Algorithm, City, Fleet, JobSettings
from city_fleet.config.value_types import Duration

__all__ = [
    "Algorithm", "Breaker", "City", "DataChecks", "Dataset", "Duration", "Feature", "Fleet", "Gate", "JobSettings",
    "Target", "Time", "fleet_files", "load_fleet", "load_fleets",
]  # fmt: skip
