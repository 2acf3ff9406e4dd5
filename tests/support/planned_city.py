"""A shop that knows its promotions ahead, and the holidays of its country: made-up visitors of a year of days."""

from __future__ import annotations

import json
import random
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from city_fleet.config import Series
from tests.support.script_jobs import Jobs

FIRST, AS_OF = date(2014, 6, 1), "20150701T000000Z"
LAST_KNOWN = date(2015, 6, 29)  # the thirtieth is known a day after it is over
HORIZON = 3
HOLIDAYS = [date(2014, 7, 4), date(2014, 12, 25), date(2015, 1, 1), date(2015, 7, 3), date(2015, 7, 4)]
DATASET = Series.model_validate(
    {
        "city_column": "city",
        "time": {"columns": ["day"]},
        "frequency": "day",
        "available_after": "P2D",
        "target": {"column": "visitors", "min": 0, "lags": [1, 7]},
        "features": [{"column": "promotion", "known_ahead": True, "lags": [0, 1], "min": 0, "max": 1}],
        "holidays": {"country": "US", "subdivision": "TX"},
        "horizon": HORIZON,
    }
)
#: What is known on the first of July of the days to come.
PLAN = (("2015-06-30", "", 1), ("2015-07-01", "999999", 0), ("2015-07-02", "", 1), ("2015-07-03", "", ""))
TRAINING = {"target": "visitors", "target_transform": "none", "eta": "0.3", "max_depth": "4"}


def rows(*plan: tuple[str, str, Any]) -> list[list[Any]]:
    """A year of visitors, whom promotions and holidays bring.

    :param plan: day, visitors and promotion of rows behind them.
    """
    draw = random.Random(7)
    made: list[list[Any]] = [["city", "day", "visitors", "promotion"]]
    for number in range((LAST_KNOWN - FIRST).days + 1):
        day = FIRST + timedelta(days=number)
        promotion = int(draw.random() < 0.3)
        visitors = 100 + 60 * promotion + 80 * (day in HOLIDAYS) + draw.randint(-3, 3)
        made.append(["Austin", day.isoformat(), visitors, promotion])
    return [*made, *(["Austin", *row] for row in plan)]


def prepared(folder: Path, *plan: tuple[str, str, Any], city: str = "austin") -> Jobs:
    jobs = Jobs(folder)
    jobs.write_raw(city, rows(*plan))
    calendar = {
        "country": "US",
        "subdivision": "TX",
        "first": "2010-01-01",
        "last": "2015-07-03",
        "days": [[day.isoformat(), "A holiday"] for day in HOLIDAYS],
    }
    (folder / "holidays.json").write_text(json.dumps(calendar), encoding="utf-8")
    more = ("--holidays", str(folder / "holidays.json"))
    finished = jobs.preprocess(city, as_of=AS_OF, arguments=DATASET.arguments(), more=more)
    assert finished.code == 0, finished.stderr
    return jobs


def evaluated(folder: Path, *plan: tuple[str, str, Any], city: str = "austin") -> Jobs:
    """Prepare, train and judge the city."""
    made = prepared(folder, *plan, city=city)
    finished = made.train(city, as_of=AS_OF, **TRAINING)
    assert finished.code == 0, finished.stderr
    made.pack()
    finished = made.evaluate(city, as_of=AS_OF)
    assert finished.code == 0, finished.stderr
    return made
