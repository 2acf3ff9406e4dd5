"""Transactions, plans, holidays and smoothing at once, in periods of every kind, from raw rows to a forecast."""

from __future__ import annotations

import csv
import json
import math
import subprocess
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest

from calendar_grid import begins_at, period_index
from tests.service.scripts.test_forecasts import ask
from tests.support.script_jobs import RAW_URI, Jobs, pack, start_job

PERIODS, HORIZON, SEASON = 200, 3, {"hour": 24, "business_day": 5, "2 week": 26}
STARTS = {"hour": date(2014, 12, 30), "business_day": date(2014, 3, 3)}
STARTS["2 week"] = date(2007, 1, 1)
PLANNED = {0: (0, 1), 1: (0, 0), 3: (1, 1)}  # number of periods to come → what its two rows hold


def dataset(frequency: str) -> dict[str, Any]:
    every, _, base = frequency.rpartition(" ")
    days = [date(year, month, day) for year in range(2007, 2017) for month, day in ((1, 1), (7, 4), (12, 25))]
    return {
        "kind": "series",
        "time": {"columns": ["at"]},
        "frequency": base,
        "every": int(every or 1),
        "aggregate": "sum",
        "available_after": {"hour": "PT1H", "business_day": "P3D", "2 week": "P2W"}[frequency],
        "target": {"column": "sales", "min": 0, "lags": [1, 2]},
        "features": [{"column": "plan", "known_ahead": True, "aggregate": "max", "min": 0, "max": 1}],
        "holidays": {
            "country": "US",
            "subdivision": None,
            "first": "2006-01-01",
            "last": "2016-12-31",
            "days": [[each.isoformat(), "A holiday"] for each in days],
        },
        "horizon": HORIZON,
        "holdout_periods": 12,
        "backtest_periods": 24,
    }


def text(index: int, frequency: str) -> str:
    at = begins_at(index, frequency)
    return at.isoformat() if frequency == "hour" else at.date().isoformat()


def sold(at: int, season: int) -> float:
    return 100 + 3 * at + 20 * math.sin(2 * math.pi * at / season) + 40 * (at % 11 == 0)


@pytest.mark.parametrize("frequency", [*STARTS])
def test_what_is_sold_and_planned_becomes_rows_forecasts_and_a_judgement(
    tmp_path: Path, frequency: str
) -> None:
    jobs, season = Jobs(tmp_path), SEASON[frequency]
    first = period_index(STARTS[frequency], frequency)
    whole = [
        [text(first + at, frequency), sold(at, season) / 2, int(at % 11 == 0), "x"] for at in range(PERIODS)
    ]
    other = [[day, value, 0, "y"] for day, value, *_ in whole]
    now = first + PERIODS
    for ahead, plans in PLANNED.items():
        for part, plan in zip((whole, other), plans, strict=True):
            part.append([text(now + ahead, frequency), "", plan, len(part)])
    # The second export holds the end of the first as well, plans among them.
    jobs.write_raw("austin", [["at", "sales", "plan", "till"], *whole], "a.csv")
    jobs.write_raw("austin", [["at", "sales", "plan", "till"], *whole[-20:], *other], "b.csv")
    as_of = f"{begins_at(now, frequency):%Y%m%dT%H%M%SZ}"
    city = {
        "city": "austin",
        "dataset": dataset(frequency),
        "candidates": [{"algorithm": name, "hyperparameters": {}} for name in ("linear", "ets", "theta")],
        "seed": 0,
        "champion": None,
    }
    settings = tmp_path / "settings" / "settings.json"
    settings.parent.mkdir()
    content = {"format_version": 1, "as_of": as_of, "raw_uri": RAW_URI, "cities": [city]}
    settings.write_text(json.dumps(content), encoding="utf-8")
    folders = (
        "--raw-dir",
        str(jobs.raw),
        "--output-dir",
        str(jobs.out()),
        "--message-file",
        str(tmp_path / "m"),
    )
    finished = start_job("preprocess.py", ["--settings", str(settings), *folders], tmp_path / "m")
    assert finished.code == 0, finished.message
    status, known = (
        jobs.read_json(f"preprocess/report/city=austin/{name}.json") for name in ("status", "known")
    )
    assert (status["status"], status["newest"]["late_periods"]) == ("ready", 0), status["reason"]
    at = known["columns"].index("plan")
    newest = period_index(datetime.fromisoformat(known["known_until"]), frequency) - first
    start = period_index(datetime.fromisoformat(known["first"]), frequency)
    seen = {start + number: row for number, row in enumerate(known["rows"])}
    # Of a period to come the greatest of its rows counts; of one without a row nothing is known, and it is not 0.
    assert [seen.get(now + ahead, [None] * 2)[at] for ahead in range(4)] == [1, 0, None, 1]
    assert seen[first + newest][1 - at] == pytest.approx(sold(newest, season))
    with (jobs.out("test") / "city=austin" / "test.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    assert all(row["drift"] and row["sales_ets"] and row["sales_theta"] for row in table)
    by_period = {row["period"]: row for row in table}
    for row in by_period.values():
        number = period_index(datetime.fromisoformat(row["period"]), frequency) - first
        assert float(row["plan_lag_0"]) == (number % 11 == 0), row["period"]
        assert float(row["target"]) == pytest.approx(sold(number, season))
    if frequency in ("hour", "business_day"):
        assert {"holiday", "before_holiday", "after_holiday"} <= {*table[0]}
    else:
        assert sum(float(row["holidays"]) for row in by_period.values()) > 0
    # Of the three the one that sees what is planned.
    city["candidates"] = city["candidates"][:1]
    settings.write_text(json.dumps(content), encoding="utf-8")
    output, model = tmp_path / "model" / "output", tmp_path / "model" / "model"
    (output / "data").mkdir(parents=True)
    model.mkdir()
    channels = {f"SM_CHANNEL_{part.upper()}": str(jobs.out(part)) for part in ("train", "validation", "test")}
    more = {
        "SM_MODEL_DIR": str(model),
        "SM_OUTPUT_DIR": str(output),
        "SM_OUTPUT_DATA_DIR": str(output / "data"),
    }
    more |= {"SM_CHANNEL_SETTINGS": str(settings.parent), "SM_NUM_CPUS": "1", **channels}
    finished = start_job("train.py", [], output / "failure", **more)
    assert finished.code == 0, finished.stderr
    pack(model / "city=austin", tmp_path / "model" / "packed" / "model.tar.gz")
    finished = jobs.evaluate("austin", as_of=as_of)
    assert finished.code == 0, finished.message
    evaluation = tmp_path / "evaluate" / "evaluation" / "city=austin"
    report = json.loads((evaluation / "evaluation.json").read_text(encoding="utf-8"))
    assert report["challenger"]["mae"] < report["naive"]["mae"]
    subprocess.run(
        ["tar", "-xzf", str(evaluation / "model.tar.gz"), "-C", str(tmp_path / "settings")], check=True
    )
    lacking, asked = ask(
        tmp_path / "settings",
        {"forecast": {}},
        {"forecast": {"ahead": [{"period": text(now + 2, frequency), "plan": 0}]}},
    )
    assert f"not known: 'plan' of {text(now + 2, frequency)}" in lacking["error"]
    assert [each["period"] for each in asked["forecasts"]] == [
        text(now + each, frequency) for each in range(3)
    ]
