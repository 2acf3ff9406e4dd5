"""The synthetic data of the examples come from their generator, and hold what a real table has in store for a model."""

from __future__ import annotations

import csv
import io
from collections import Counter

from include.data import make_restaurants
from tests.support.paths import ROOT

DATA = ROOT / "include" / "data"


def _made(seed: int) -> str:
    text = io.StringIO(newline="")
    make_restaurants.write(text, seed)
    return text.getvalue()


def test_the_generator_makes_the_file_again_byte_by_byte() -> None:
    assert _made(make_restaurants.SEED).encode() == (DATA / "restaurants.csv").read_bytes()
    assert _made(7) != _made(8)


def test_orders_are_as_messy_as_real_ones_and_never_from_after_the_next() -> None:
    orders = list(csv.DictReader(io.StringIO(_made(make_restaurants.SEED))))
    assert len({order["order"] for order in orders}) == len(orders)
    for column, at_least, at_most in (
        ("budget", 0.08, 0.12),
        ("cuisine", 0.2, 0.3),
        ("temperature", 0.01, 0.06),
    ):
        missing = sum(order[column] == "" for order in orders) / len(orders)
        assert at_least < missing < at_most, column
    unseen = 0
    for city, (restaurants, count) in make_restaurants.CITIES.items():
        mine = [order for order in orders if order["city"] == city]
        days = [order["day"] for order in mine]
        assert len(mine) == count
        assert days == sorted(days)
        taken = Counter(order["restaurant"] for order in mine)
        assert 14 <= len(taken) <= restaurants
        assert max(taken.values()) < 0.25 * count, "one restaurant would always be right"
        early = {order["restaurant"] for order in mine[: int(0.7 * count)]}
        unseen += len(set(taken) - early)
    assert unseen > 0, "no restaurant opens too late for the training rows"
