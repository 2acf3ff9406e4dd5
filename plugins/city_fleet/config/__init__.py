"""The fleet file: read it, check it, and get frozen settings of the fleet and of each city.

``load_fleet`` and ``load_fleets`` are all that other packages need; the settings' types are re-exported here.
"""

from city_fleet.config.dataset import Dataset, Feature, Target, Time
from city_fleet.config.digest_section import Digest, Notifier
from city_fleet.config.fleet_file import fleet_files, load_fleet, load_fleets
from city_fleet.config.gate_section import Breaker, DataChecks, Gate, Reconcile
from city_fleet.config.settings import (
    Algorithm,
    City,
    Defaults,
    Endpoint,
    Fleet,
    FleetSettings,
    JobSettings,
    Pools,
    Reaper,
    Retire,
    TrainingSettings,
)
from city_fleet.config.value_types import Duration

__all__ = [
    "Algorithm",
    "Breaker",
    "City",
    "DataChecks",
    "Dataset",
    "Defaults",
    "Digest",
    "Duration",
    "Endpoint",
    "Feature",
    "Fleet",
    "FleetSettings",
    "Gate",
    "JobSettings",
    "Notifier",
    "Pools",
    "Reaper",
    "Reconcile",
    "Retire",
    "Target",
    "Time",
    "TrainingSettings",
    "fleet_files",
    "load_fleet",
    "load_fleets",
]
