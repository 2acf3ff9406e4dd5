"""The fleet file: read it, check it, and get frozen settings of the fleet and of each city.

``load_fleet`` is all that other modules need; the models are re-exported here.
"""

from __future__ import annotations

from city_fleet.config_dataset import Dataset, Feature, Target, Time
from city_fleet.config_models import (
    Algorithm,
    City,
    Defaults,
    Endpoint,
    Fleet,
    Gate,
    JobSettings,
    Pools,
    TrainingSettings,
)
from city_fleet.config_types import Duration

__all__ = [
    "Algorithm",
    "City",
    "Dataset",
    "Defaults",
    "Duration",
    "Endpoint",
    "Feature",
    "Fleet",
    "Gate",
    "JobSettings",
    "Pools",
    "Target",
    "Time",
    "TrainingSettings",
]
