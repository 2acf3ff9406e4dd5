"""Make synthetic customers and what each has ordered, week by week: the example of a model per customer.

    python include/data/make_customers.py --customers 10000 FOLDER

writes ``customers.csv``, a list for a fleet file, and ``orders.csv``, a row per customer and week. No customer is real.
The same seed gives the same bytes, with every Python: only `random.random` is used, whose numbers never change. A
customer's rows do not depend on how many others there are.

Most customers order around a level of their own, which rises or falls, and more in every fourth week: a forecast can
learn that. A tenth wander, and no model beats their last week; one in fifty is new, with too few weeks to learn from.
"""

from __future__ import annotations

import argparse
import csv
import math
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from random import Random

SEED = 20260105
FIRST_WEEK, WEEKS, NEW_WEEKS = date(2024, 1, 1), 104, 20  # Mondays of 2024 and 2025
WANDERERS, NEW = 10, 50  # every so many-th
COLUMNS = ("customer", "week", "amount")


def name_of(number: int) -> str:
    return f"Customer {number:05d}"


def orders(number: int, random: Random) -> Iterator[tuple[date, float]]:
    """Yield a customer's weeks, each with what was ordered in it, in dollars."""
    level, rises = math.exp(4 + 3 * random.random()), (random.random() - 0.2) / 50
    payday, deviation = int(4 * random.random()), 0.0
    wanders, is_new = number % WANDERERS == 0, number % NEW == 1
    for week in range(WEEKS - NEW_WEEKS if is_new else 0, WEEKS):
        shock = sum(random.random() for _ in range(4)) - 2  # nearly normal, with a deviation of 0.58
        deviation = deviation + 0.15 * shock if wanders else 0.25 * shock
        rhythm = 0.0 if wanders else rises * week + (0.5 if week % 4 == payday else 0)
        yield FIRST_WEEK + timedelta(weeks=week), level * math.exp(rhythm + deviation)


def write(folder: Path, customers: int) -> None:
    """Write the list of customers and their orders into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        (folder / "customers.csv").open("w", encoding="utf-8", newline="") as listed,
        (folder / "orders.csv").open("w", encoding="utf-8", newline="") as ordered,
    ):
        names, rows = csv.writer(listed, lineterminator="\n"), csv.writer(ordered, lineterminator="\n")
        names.writerow(("name",))
        rows.writerow(COLUMNS)
        for number in range(1, customers + 1):
            names.writerow((name_of(number),))
            for week, amount in orders(number, Random(SEED * 100_000 + number)):  # noqa: S311 - nothing secret
                rows.writerow((name_of(number), week.isoformat(), f"{amount:.2f}"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="for both files")
    parser.add_argument("--customers", type=int, default=10_000, help="how many (default: 10000)")
    arguments = parser.parse_args()
    if not 1 <= arguments.customers <= 99_999:
        parser.error(f"--customers: got {arguments.customers}; allowed: 1 to 99999")
    write(arguments.folder, arguments.customers)


if __name__ == "__main__":
    main()
