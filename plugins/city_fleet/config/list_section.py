"""The city_list section of the fleet file: where the list of cities is pulled from, see docs/fleet-file.md."""

from __future__ import annotations

from typing import Annotated

from city_fleet.config.name_types import Text
from city_fleet.config.section import Section
from city_fleet.config.value_types import Range, Schedule

ListSource = Annotated[
    str,
    Text(
        r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[^\x00-\x1f\x7f*?${}]*\.([cC][sS][vV](\.gz)?|[pP][aA][rR][qQ][uU][eE][tT])",
        "an object in S3 such as s3://lake/exports/cities.parquet, ending in .csv, .csv.gz or .parquet",
        1024,
    ),
]


class CityList(Section):
    """Where the list that ``cities.from`` names comes from. While DAG files are read nobody looks there."""

    source: ListSource | None = None
    """CSV or Parquet in S3, which `./fleet cities --pull` and the DAG <fleet>._cities copy; null: kept by hand."""
    schedule: Schedule = "0 * * * *"
    """When the DAG looks for a new list; null: when somebody starts it."""
    most_removed: Annotated[float, Range(False, 0, 1)] = 0.2
    """A list without more than this share of the cities is refused: an export that broke off retires nobody."""
