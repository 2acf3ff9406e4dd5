"""The Texas data of bench/live_errors.py as they would have arrived, and as a run prepares them."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

from models import ROOT

#: As in include/fleets/texas_housing.yaml.
DATASET: dict[str, Any] = {
    "kind": "series",
    "time": {"columns": ["year", "month"]},
    "frequency": "month",
    "available_after": "P1M",
    "holdout_periods": 12,
    "validation_periods": 12,
    "minimum_periods": 60,
    "horizon": 3,
    "target": {
        "column": "median",
        "min": 1000,
        "max": 10_000_000,
        "transform": "log_ratio_to_mean",
        "window": 12,
        "lags": [1, 2, 3, 6, 12],
    },
    "features": [
        {"column": "sales", "lags": [1, 2, 12], "min": 0},
        {"column": "listings", "lags": [1, 12], "min": 0},
        {"column": "inventory", "lags": [1, 12], "min": 0},
    ],
    "calendar": ["month_of_year", "trend"],
}
TARGET = "median"
COLUMNS = (TARGET, *(str(feature["column"]) for feature in DATASET["features"]))
MISSING = ""
#: Slug of a city → its rows by month, the oldest first.
Cities = dict[str, list[dict[str, str]]]


def read() -> Cities:
    """Read the raw data of all cities."""
    found: Cities = {}
    with open(ROOT / "include" / "data" / "txhousing.csv", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            slug = re.sub("[^a-z0-9]+", "_", row["city"].lower()).strip("_")
            found.setdefault(slug, []).append({key: row[key] for key in row if key != "city"})
    return found


def month_of(row: dict[str, str]) -> str:
    return f"{row['year']}-{int(row['month']):02}"


def shifted(cities: Cities, begins: str, factor: float) -> Cities:
    """Return the data as they arrive where prices are others from a month on."""

    def one(row: dict[str, str]) -> dict[str, str]:
        if month_of(row) < begins or row[TARGET] == MISSING:
            return row
        return row | {TARGET: str(float(row[TARGET]) * factor)}

    return {city: [one(row) for row in rows] for city, rows in cities.items()}


def write(folder: Path, name: str, cities: Cities, as_of: str, **dataset: Any) -> tuple[object, ...]:
    """Write the raw data of a scenario, and the settings of the job that prepares them.

    :param dataset: settings other than :data:`DATASET`.
    :return: the job's arguments.
    """
    raw = folder / f"raw-{name}"
    for city, rows in cities.items():
        place = raw / f"city={city}"
        place.mkdir(parents=True)
        with open(place / "data.csv", "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    settings = {
        "format_version": 1,
        "as_of": as_of,
        "raw_uri": "s3://bench/texas/raw/",
        "cities": [{"city": city, "dataset": DATASET | dataset, "candidates": []} for city in cities],
    }
    path = folder / f"settings-{name}.json"
    path.write_text(json.dumps(settings), encoding="utf-8")
    return "--settings", path, "--raw-dir", raw, "--output-dir", folder / name
