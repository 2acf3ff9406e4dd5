"""The synthetic data of the examples come from their generator, and hold what a real table has in store for a model."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from pathlib import Path

from include.data import make_customers, make_restaurants
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


def test_customers_are_the_same_however_many_there_are(tmp_path: Path) -> None:
    for count in (60, 20):
        make_customers.write(tmp_path / str(count), count)
    many, few = (list(csv.reader((tmp_path / name / "orders.csv").open(newline=""))) for name in ("60", "20"))
    assert many[: len(few)] == few
    weeks = Counter(row[0] for row in many[1:])
    assert [name for name, known in weeks.items() if known != make_customers.WEEKS] == [
        "Customer 00001",
        "Customer 00051",
    ]
    assert len(weeks) == 60
    assert all(float(row[2]) > 0 for row in many[1:])
    digest = hashlib.sha256((tmp_path / "20" / "orders.csv").read_bytes()).hexdigest()
    assert digest.startswith("595c86d02fa4920a"), digest
