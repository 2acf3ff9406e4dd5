"""Hours of transactions, and periods of five years, through all three jobs to a forecast by the city's name."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import random
import subprocess
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import IMAGE_PYTHON, SCRIPTS
from tests.support.script_jobs import Jobs

ASK = """\
import json, sys
sys.path.insert(0, sys.argv[1])
import inference
model = inference.model_fn(sys.argv[2])
asked = inference.input_fn(sys.stdin.read(), "application/json")
print(inference.output_fn(inference.predict_fn(asked, model), "application/json")[0])
"""


def forecast(artifact: Path, **asked: Any) -> dict[str, Any]:
    done = subprocess.run(
        [IMAGE_PYTHON, "-c", ASK, str(SCRIPTS), str(artifact)],
        input=json.dumps({"forecast": asked}),
        env={"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def run(jobs: Jobs, as_of: str, arguments: list[str], transform: str) -> Path:
    """Run the three jobs, and return the folder of the artifact that was judged."""
    finished = jobs.preprocess("pier", as_of=as_of, arguments=arguments)
    assert finished.code == 0, finished.message
    finished = jobs.train("pier", as_of=as_of, target="riders", target_transform=transform)
    assert finished.code == 0, finished.stderr
    jobs.pack()
    finished = jobs.evaluate("pier", as_of=as_of)
    assert finished.code == 0, finished.message
    folder, archive = (
        jobs.root / "judged",
        jobs.root / "evaluate" / "evaluation" / "city=pier" / "model.tar.gz",
    )
    folder.mkdir()
    subprocess.run(["tar", "-xzf", str(archive), "-C", str(folder)], check=True)
    return folder


def test_hours_of_trips_over_the_end_of_summer_time(jobs: Jobs) -> None:
    """Trips of four weeks in Berlin around 26 October 2014, written with their offset."""
    rng, trips = random.Random(7), []
    begin = datetime(2014, 10, 13, tzinfo=UTC)
    for hour in range(24 * 28):
        moment = begin + timedelta(hours=hour)
        expected = 6 + 5 * math.sin((moment.hour - 8) / 24 * 2 * math.pi)
        offset = timedelta(hours=2 if moment < datetime(2014, 10, 26, 1, tzinfo=UTC) else 1)
        for number in range(max(0, round(rng.gauss(expected, 1)))):
            at = moment + timedelta(minutes=number)
            trips.append(
                [
                    f"{(at + offset).replace(tzinfo=None).isoformat()}+0{offset.seconds // 3600}:00",
                    f"r{number}",
                ]
            )
    for name, part in (("october", trips[: len(trips) // 2]), ("november", trips[len(trips) // 2 :])):
        text = io.StringIO()
        csv.writer(text, delimiter=";").writerows([["at", "riders"], *part])
        path = jobs.raw / "city=pier" / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.getvalue(), encoding="utf-8")
    arguments = [
        *("--time-column", "at", "--frequency", "hour", "--available-after", "PT2H", "--aggregate", "count"),
        *("--target", "riders", "--target-lag", "1", "--target-lag", "24", "--calendar", "hour_of_day"),
        *(
            "--horizon",
            "3",
            "--minimum-periods",
            "300",
            "--validation-periods",
            "48",
            "--holdout-periods",
            "72",
        ),
    ]
    artifact = run(jobs, "20141109T123000Z", arguments, "none")
    status = jobs.read_json("preprocess/report/city=pier/status.json")
    # Known two hours after it began: the newest is that of 10 to 11, though trips go on.
    assert (status["newest"]["period"], status["newest"]["late_periods"]) == ("2014-11-09T10:00:00+00:00", 0)
    by_hour = Counter(datetime.fromisoformat(at).astimezone(UTC).replace(minute=0) for at, _ in trips)
    known = jobs.read_json("preprocess/report/city=pier/known.json")
    assert known["rows"][-1] == [by_hour[datetime(2014, 11, 9, 10, tzinfo=UTC)]]
    later = sum(count for moment, count in by_hour.items() if moment > datetime(2014, 11, 9, 10, tzinfo=UTC))
    assert status["later_rows"] == later > 0
    # No hour is there twice and none is missing where the clocks were put back.
    assert status["periods"]["missing_periods"] == 0
    assert status["periods"]["on_grid"] == 24 * 27 + 11
    metrics = jobs.read_json("evaluate/evaluation/city=pier/evaluation.json")
    assert metrics["challenger"]["mae"] < metrics["naive"]["mae"]
    said = forecast(artifact, horizon=3, at="2014-11-09T12:30:00Z")
    assert [each["period"] for each in said["forecasts"]] == [
        f"2014-11-09T{hour}:00:00+00:00" for hour in (12, 13, 14)
    ]
    assert said["late_periods"] == 0
    history = [{"period": "2014-11-09T11:00:00Z", "riders": 9}]
    newer = forecast(artifact, horizon=1, history=history, at="2014-11-09T13:10:00Z")
    assert (newer["known_until"], newer["forecasts"][0]["period"]) == (
        "2014-11-09T11:00:00+00:00",
        "2014-11-09T13:00:00+00:00",
    )


@pytest.mark.parametrize("written", ["{}", "{}.0"])
def test_periods_of_five_years_begin_where_the_anchor_says(jobs: Jobs, written: str) -> None:
    years = range(1752, 2008, 5)
    rows = [["year", "riders"], *([written.format(year), str(100 + 3 * at)] for at, year in enumerate(years))]
    jobs.write_raw("pier", rows)
    arguments = [
        *("--time-column", "year", "--frequency", "year", "--every", "5", "--anchor", "1952-01-01"),
        *("--available-after", "P5Y", "--target", "riders", "--target-lag", "1", "--target-lag", "2"),
        *("--minimum-periods", "30", "--validation-periods", "6", "--holdout-periods", "6"),
    ]
    finished = jobs.preprocess("pier", as_of="20120101T000000Z", arguments=arguments)
    assert finished.code == 0, finished.message
    status = jobs.read_json("preprocess/report/city=pier/status.json")
    assert status["newest"] == {
        "frequency": "5 year+2", "period": "2007-01-01", "expected": "2007-01-01", "late_periods": 0,
    }  # fmt: skip
    assert status["periods"]["on_grid"] == len(years)
    known = jobs.read_json("preprocess/report/city=pier/known.json")
    assert (known["frequency"], known["known_until"]) == ("5 year+2", "2007-01-01")
    finished = jobs.preprocess("pier", as_of="20111231T000000Z", arguments=arguments)
    assert jobs.read_json("preprocess/report/city=pier/status.json")["later_rows"] == 1
    few = [*arguments, "--minimum-periods", "90"]
    assert jobs.preprocess("pier", as_of="20120101T000000Z", arguments=few).code == 0
    reason = jobs.read_json("preprocess/report/city=pier/status.json")["reason"]
    assert reason.startswith("pier has 51 usable 5-year periods as of 2012-01-01; 90 are needed")
