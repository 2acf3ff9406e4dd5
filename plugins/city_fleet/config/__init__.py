"""The fleet file: read it, check it, and get frozen settings of the fleet and of each city.

``load_fleet`` and ``load_fleets`` are all that other packages need, and the types of settings that they name; what goes
on while a file is broken takes ``usable_fleets``. Each is imported when it is first used: a DAG file without a city of
its own asks modules of this package that need the standard library alone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from city_fleet.config.algorithm_section import Algorithm
    from city_fleet.config.data_section import Time
    from city_fleet.config.dataset import Dataset
    from city_fleet.config.fleet_file import fleet_files, load_fleet, load_fleets
    from city_fleet.config.gate_section import Breaker, DataChecks, Gate
    from city_fleet.config.series import Feature, Series, Target
    from city_fleet.config.settings import City, Fleet, JobSettings
    from city_fleet.config.table import Table
    from city_fleet.config.value_types import Duration

_HOMES = {
    "algorithm_section": ("Algorithm",),
    "data_section": ("Time",),
    "dataset": ("Dataset",),
    "fleet_file": ("fleet_files", "load_fleet", "load_fleets"),
    "gate_section": ("Breaker", "DataChecks", "Gate"),
    "series": ("Feature", "Series", "Target"),
    "settings": ("City", "Fleet", "JobSettings"),
    "table": ("Table",),
    "value_types": ("Duration",),
}

__all__ = [
    "Algorithm", "Breaker", "City", "DataChecks", "Dataset", "Duration", "Feature", "Fleet", "Gate", "JobSettings",
    "Series", "Table", "Target", "Time", "fleet_files", "load_fleet", "load_fleets",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    for module, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
