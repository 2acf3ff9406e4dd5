"""How broken columns are noticed, and how often those that are well are called broken: part of bench/live_errors.py.

From a month on a column of every city is empty, stands still at its last value, is a thousand times as large, or holds
the values of other rows: of another city in the same month, or of other months of the same city. Each is looked at for
three months, by the product's own functions, in the order in which a night meets them:

* ``refused``: the preprocess job fails, and names the row;
* ``monitor``: the look at the inputs says that the column is broken (monitoring/input_drift.py);
* ``late``: the look says that no truth came (monitoring/scoring.py);
* ``held``: the data checks of the gate speak against the model (champions/data_checks.py);
* ``warned``: they warn only.

``false_alarms``: looks at columns that nobody has broken, month by month, ``as_they_came``, and ``drawn``: years of
moves of the same city, one behind the other, rounded as the column is. Where the data have really been empty it is no
false alarm, and counted apart.
"""

from __future__ import annotations

import json
import math
import random
import statistics
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from models import BENCH, IMAGE, SCRIPTS, run
from texas_months import COLUMNS, MISSING, TARGET, Cities, month_of, write

from city_fleet.champions import data_checks
from city_fleet.config import DataChecks
from city_fleet.monitoring import input_drift, scoring
from city_fleet.periods import Grid, Span
from city_fleet.state import known_values
from city_fleet.state.live_scores import LiveScores, Scored

BEGINS, MONTHS, AS_OF = "2014-03", ("2014-03", "2014-04", "2014-05"), "20140601T000000Z"
NOW = datetime(2014, 6, 1, tzinfo=UTC)
KINDS = ("missing", "constant", "thousandfold", "other_cities", "other_months")
PLAIN = "plain"
#: As decay.patience and decay.no_truth_after are by default.
PATIENCE, NO_TRUTH_AFTER = 2, 3
#: Periods that a city is known for before a look counts, and those of a drawn series that count.
BEFORE, DRAWN, YEAR = 24, 60, 12
RULE = DataChecks(drift="ignore", vanished_classes="ignore")
History = dict[str, dict[str, float | None]]


def measure(cities: Cities, narrow: Collection[str], folder: Path, count: int) -> dict[str, Any]:
    """Break each column in each way, and look at those that are well.

    :param narrow: cities that are counted apart from the others.
    :param count: series that are drawn of each city.
    """
    names = {f"{column}-{kind}": (column, kind) for column in COLUMNS for kind in KINDS}
    write(folder, PLAIN, cities, AS_OF, backtest_periods=YEAR, horizon=1)
    for name, (column, kind) in names.items():
        write(folder, name, broken(cities, column, kind), AS_OF, backtest_periods=YEAR, horizon=1)
    text = run(IMAGE, BENCH / "column_cities.py", SCRIPTS, folder, PLAIN, *names)
    found = json.loads(text.splitlines()[-1])
    noticed: dict[str, dict[str, Any]] = {"narrow": {}, "wide": {}}
    for name, (column, _) in names.items():
        counts: dict[str, Counter[str]] = {group: Counter() for group in noticed}
        for city, rows in cities.items():
            if rows and any(month_of(row) == BEGINS and row[column] != MISSING for row in rows):
                how = who_notices(rows, column, found[name][city], found[PLAIN][city])
                counts["narrow" if city in narrow else "wide"][how] += 1
        for group, counted in counts.items():
            noticed[group][name] = dict(counted) | {
                "noticed": round(1 - (counted["warned"] + counted["not"]) / max(counted.total(), 1), 3)
            }
    return {"begins": BEGINS, "noticed": noticed, "false_alarms": false_alarms(cities, count)}


def broken(cities: Cities, column: str, kind: str) -> Cities:
    """Return the data as they arrive where a column is broken from a month on."""
    chance = random.Random(f"{column} {kind}")  # noqa: S311 - no secret
    at_once: dict[str, dict[str, str]] = {}  # month → city → cell
    for city, rows in cities.items():
        for row in rows:
            at_once.setdefault(month_of(row), {})[city] = row[column]
    found: Cities = {}
    for city, rows in cities.items():
        before = [row[column] for row in rows if month_of(row) < BEGINS and row[column] != MISSING]
        found[city] = []
        for row in rows:
            cell = row[column]
            if month_of(row) >= BEGINS and before:
                others = [
                    each
                    for other, each in at_once[month_of(row)].items()
                    if other != city and each != MISSING
                ]
                cell = {
                    "missing": MISSING,
                    "constant": before[-1],
                    "thousandfold": cell if cell == MISSING else str(1000 * float(cell)),
                    "other_cities": chance.choice(others),
                    "other_months": chance.choice(before),
                }[kind]
            found[city].append(row | {column: cell})
    return found


def who_notices(
    rows: list[dict[str, str]], column: str, prepared: dict[str, Any], plain: dict[str, Any]
) -> str:
    """Return who is the first to notice that a city's column is broken.

    :param rows: raw data, whole.
    :param prepared: of bench/column_cities.py; ``plain``: of the data that nobody has broken.
    """
    if prepared["failed"]:
        return "refused"
    city = prepared["status"]["city"]
    known = known_values.parse(prepared["known"].encode(), "known.json", city, AS_OF)
    newer = scoring.history_of(known)
    memory = {name: before(values) for name, values in history(rows).items()}
    notes = scoring.remembered(None, memory, input_drift.REMEMBERED)
    standing = {each.column: each.since for each in input_drift.look(notes, PATIENCE)}
    if column not in standing:
        for month in MONTHS:
            arrived = {name: before(values, f"{month}-31") for name, values in newer.items()}
            notes = scoring.remembered(notes, arrived, input_drift.REMEMBERED)
            said = input_drift.look(notes, PATIENCE, standing)
            standing = {each.column: each.since for each in said}
            if column in standing:
                return "monitor"
    forecast = [
        Scored(key=f"{month}-01", step=1, target_model="x", at=f"{month}-01T06:00:00+00:00", predicted=1.0)
        for month in MONTHS
    ]
    truths = {period: value for period, value in newer[TARGET].items() if value is not None}
    scores = LiveScores(city).with_answers(forecast).with_truths(truths)
    if len(scoring.due(scores, Grid.parse("month"), Span(months=1), NOW)) >= NO_TRUTH_AFTER:
        return "late"
    checked, usual = (data_checks.check(each["status"], {}, RULE) for each in (prepared, plain))
    if set(checked.against) - set(usual.against):
        return "held"
    return "warned" if set(checked.warnings) - set(usual.warnings) else "not"


def history(rows: list[dict[str, str]]) -> History:
    """Return the values of a city's columns by period, as the product remembers them."""
    return {
        column: {
            f"{month_of(row)}-01": None if row[column] == MISSING else float(row[column]) for row in rows
        }
        for column in COLUMNS
    }


def before(values: dict[str, float | None], until: str = BEGINS) -> dict[str, float | None]:
    return {period: value for period, value in values.items() if period < until}


def false_alarms(cities: Cities, count: int) -> dict[str, Any]:
    """Look at columns that are well, month by month."""
    chance = random.Random(2)  # noqa: S311 - no secret
    real = [history(rows) for rows in cities.values()]
    drawn = [drawn_of(each, chance) for each in real for _ in range(count)]
    return {"as_they_came": counted(real), "drawn": counted(drawn)}


def counted(histories: list[History]) -> dict[str, Any]:
    """Count the looks, and those with a column that is called broken and was not by the look before."""
    looks, false, empty = 0, 0, 0
    kinds: Counter[str] = Counter()
    for each in histories:
        for said in looks_at(each):
            looks += 1
            kinds.update(broken.why for broken in said)
            false += any(broken.why != "missing" for broken in said)
            empty += any(broken.why == "missing" for broken in said)
    return {
        "city_periods": looks,
        "in_1000": round(1000 * false / looks, 3),
        "really_empty_in_1000": round(1000 * empty / looks, 3),
        "columns": dict(kinds),
    }


def looks_at(values: History) -> Iterator[list[input_drift.Broken]]:
    """Yield what each look at a city finds anew."""
    months = sorted(values[TARGET])
    standing: dict[str, str] = {}
    for at in range(BEFORE, len(months)):
        seen = months[max(0, at + 1 - input_drift.REMEMBERED) : at + 1]
        columns = {name: {month: own[month] for month in seen} for name, own in values.items()}
        said = input_drift.look(columns, PATIENCE, standing)
        yield [each for each in said if each.column not in standing]
        standing = {each.column: each.since for each in said}


def drawn_of(values: History, chance: random.Random) -> History:
    """Put years of a city's moves behind each other, of all columns the same ones."""
    months = sorted(values[TARGET])
    starts = range(YEAR, len(months) - YEAR, YEAR)
    chosen = [chance.choice(starts) for _ in range((BEFORE + DRAWN) // YEAR)]
    names = [f"{2000 + at // YEAR}-{1 + at % YEAR:02}-01" for at in range(BEFORE + DRAWN)]
    found: History = {}
    for column, own in values.items():
        line = [own[month] for month in months]
        known = [value for value in line if value is not None]
        rounded = resolution(known)
        level = math.log(max(statistics.median(known), rounded))
        made: list[float | None] = []
        for start in chosen:
            base = next((value for value in reversed(line[:start]) if value), None)
            last = level
            for value in line[start : start + YEAR]:
                if value is None or base is None:
                    made.append(None)
                else:
                    last = level + math.log(max(value, rounded) / base)
                    made.append(rounded * round(math.exp(last) / rounded))
            level = last
        found[column] = dict(zip(names, made, strict=True))
    return found


def resolution(values: list[float]) -> float:
    """Return what a column's values are multiples of, of a few."""
    fits: Callable[[float], bool] = lambda step: all(  # noqa: E731
        math.isclose(value / step, round(value / step), abs_tol=1e-6) for value in values
    )
    return next((step for step in (100.0, 50.0, 10.0, 1.0, 0.1) if fits(step)), 0.01)
