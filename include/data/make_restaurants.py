"""Make `restaurants.csv`: synthetic restaurant orders of eight cities. No order, customer or restaurant in it is real.

    python include/data/make_restaurants.py > include/data/restaurants.csv

The same seed gives the same bytes, with every Python: only `random.random` is used, whose numbers never change.

Every customer has a home district, a favourite cuisine and a budget, and orders again and again; every restaurant has
a cuisine, a price, a district, hours that it is good at, and its share of fame. Who orders takes one of the city's
restaurants, the likelier the better it fits; chance has its part, so that no model can be right every time.
"""

from __future__ import annotations

import argparse
import csv
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random
from typing import TextIO, TypeVar

SEED = 20250701
FIRST_DAY, DAYS = date(2025, 1, 1), 181  # January to June 2025
#: City → restaurants, orders.
CITIES = {
    "Berlin": (24, 2600),
    "Denver": (18, 1600),
    "Lisbon": (16, 1500),
    "Montreal": (25, 2400),
    "Osaka": (22, 2000),
    "Porto": (15, 1200),
    "Santa Fe": (15, 1000),
    "Toronto": (20, 1900),
}
CUISINES = ("barbecue", "burgers", "indian", "italian", "japanese", "mexican", "seafood", "thai", "vegan")
DISTRICTS = ("centre", "harbour", "hill", "north", "old town", "south")
WEATHER = ("clear", "cloudy", "rain", "snow")
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
FIRST_WORDS = ("Blue", "Copper", "Golden", "Green", "Little", "Old", "Quiet", "Red", "Silver", "Tall", "Wild")
SECOND_WORDS = ("Anchor", "Bell", "Fork", "Garden", "Kettle", "Lantern", "Oven", "Pepper", "Spoon", "Table")
COLUMNS = (
    *(
        "order",
        "city",
        "day",
        "hour",
        "weekday",
        "customer",
        "orders_before",
        "last_restaurant",
        "party_size",
    ),
    *("budget", "cuisine", "district", "delivery", "weather", "temperature", "restaurant"),
)
Item = TypeVar("Item")


@dataclass(frozen=True)
class Restaurant:
    """A synthetic restaurant.

    :param price: US$ per person.
    :param fame: what it adds to everybody's liking.
    :param opens: number of the day from which on it takes orders.
    """

    name: str
    cuisine: str
    price: float
    district: str
    fame: float
    lunch: bool
    groups: bool
    terrace: bool
    delivers: bool
    opens: int


@dataclass
class Customer:
    """A synthetic customer; ``last`` and ``orders`` change with each order."""

    name: str
    cuisine: str
    budget: float
    district: str
    loyal: bool
    last: str = ""
    orders: int = 0


def rows(city: str, rng: Random) -> Iterator[list[object]]:
    """Yield a city's orders from the oldest to the newest, in the order of :data:`COLUMNS`."""
    many, orders = CITIES[city]
    restaurants = _restaurants(many, rng)
    customers = [_customer(f"c{number:03}", rng) for number in range(orders // 6)]
    days = sorted(int(DAYS * rng.random()) for _ in range(orders))
    sky: dict[int, tuple[str, float]] = {}
    for number, day in enumerate(days):
        today = FIRST_DAY + timedelta(days=day)
        weather, warmth = sky.setdefault(day, _weather(day, rng))
        customer = _one(customers, rng)
        hour = _one((12, 13, 18, 19, 20, 21), rng, (2, 2, 3, 4, 3, 1))
        party = _one((1, 2, 3, 4, 6, 8), rng, (3, 6, 2, 3, 1, 0.5))
        delivery = rng.random() < (0.5 if weather in ("rain", "snow") else 0.2)
        wanted = customer.cuisine if rng.random() < 0.6 else _one(CUISINES, rng)
        budget = round(customer.budget * (1.3 if today.weekday() >= 4 else 1.0))
        open_ones = [one for one in restaurants if one.opens <= day]
        liking = [
            one.fame
            + (2.6 if one.cuisine == wanted else 0)
            - 2.2 * abs(math.log(one.price / budget))
            - (0 if delivery or one.district == customer.district else 1.2)
            + (2.2 if one.name == customer.last and customer.loyal else 0)
            - (1.5 if hour < 15 and not one.lunch else 0)
            - (2.0 if party >= 6 and not one.groups else 0)
            + (1.0 if one.terrace and weather == "clear" and warmth >= 15 and not delivery else 0)
            - (4.0 if delivery and not one.delivers else 0)
            for one in open_ones
        ]
        chosen = _one(open_ones, rng, [math.exp(value) for value in liking])
        # What an app does not always know: no filter set, no budget given, the weather station silent.
        cuisine = wanted if rng.random() < 0.75 else ""
        told = str(budget) if rng.random() < 0.9 else ""
        temperature = f"{warmth:.0f}" if rng.random() < 0.97 else ""
        yield [
            *(f"{city[:3].lower()}{number:05}", city, today.isoformat(), hour, WEEKDAYS[today.weekday()]),
            *(customer.name, customer.orders, customer.last, party, told, cuisine, customer.district),
            *("yes" if delivery else "no", weather, temperature, chosen.name),
        ]
        customer.last, customer.orders = chosen.name, customer.orders + 1


def write(file: TextIO, seed: int = SEED) -> None:
    """Write the orders of all cities as CSV.

    :param seed: another one makes other restaurants, customers and orders.
    """
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for city in CITIES:
        writer.writerows(rows(city, Random(f"{seed} {city}")))  # noqa: S311 - nothing secret


def _restaurants(many: int, rng: Random) -> list[Restaurant]:
    names = [f"{first} {second}" for first in FIRST_WORDS for second in SECOND_WORDS]
    made = []
    for number in range(many):
        name = names.pop(int(len(names) * rng.random()))
        cuisine = CUISINES[number] if number < len(CUISINES) else _one(CUISINES, rng)
        # The newest one opens between April and June: in some cities a class that the training has never seen.
        opens = 100 + int(50 * rng.random()) if number == many - 1 else 0
        made.append(
            Restaurant(
                *(name, cuisine, 12 + 48 * rng.random() ** 1.5, _one(DISTRICTS, rng), 1.6 * rng.random()),
                *(rng.random() < 0.6, rng.random() < 0.5, rng.random() < 0.4, rng.random() < 0.6, opens),
            )
        )
    return made


def _customer(name: str, rng: Random) -> Customer:
    budget = 12 + 45 * rng.random() ** 1.5
    return Customer(name, _one(CUISINES, rng), budget, _one(DISTRICTS, rng), rng.random() < 0.5)


def _weather(day: int, rng: Random) -> tuple[str, float]:
    """Return a day's weather and its temperature in °C."""
    warmth = 3 + 20 * day / DAYS + 8 * (rng.random() - 0.5)
    return _one(WEATHER, rng, (5, 4, 3, 2 if warmth < 4 else 0)), warmth


def _one(items: Sequence[Item], rng: Random, weights: Sequence[float] = ()) -> Item:
    """Draw one item, by its weight where there are weights."""
    if not weights:
        return items[int(len(items) * rng.random())]
    left = sum(weights) * rng.random()
    for item, weight in zip(items, weights, strict=True):
        left -= weight
        if left < 0:
            return item
    return items[-1]


def main() -> None:
    """Write the file to standard output."""
    parser = argparse.ArgumentParser(description="Make synthetic restaurant orders as CSV.")
    parser.add_argument("--seed", type=int, default=SEED, help=f"by default {SEED}, that of restaurants.csv")
    write(sys.stdout, parser.parse_args().seed)


if __name__ == "__main__":
    main()
