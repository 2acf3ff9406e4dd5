"""Forecasts by the city's name: against an independent computation in pandas, with newer values, and refused ones."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.support.paths import IMAGE_PYTHON, SCRIPTS
from tests.support.script_jobs import DATA, Jobs

HORIZON = 3
COLUMNS = ("median", "sales", "listings", "inventory")
# Asks a model as a server does: model_fn, input_fn, predict_fn, output_fn, each request of standard input on a line.
ASK = """
import json, sys
import inference
from request_rows import BadRequest
model = inference.model_fn(sys.argv[1])
for line in sys.stdin:
    try:
        asked = inference.input_fn(line, "application/json")
        print(inference.output_fn(inference.predict_fn(asked, model), "application/json")[0])
    except BadRequest as error:
        print(json.dumps({"error": str(error)}))
"""


@pytest.fixture(scope="module")
def texas_rows() -> list[list[str]]:
    with DATA.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    return [rows[0], *(row for row in rows if row[0] == "Austin")]


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory, texas_rows: list[list[str]]) -> Jobs:
    """Austin with a horizon of three months, prepared, trained and judged."""
    made = Jobs(tmp_path_factory.mktemp("forecasts"))
    made.write_raw("austin", texas_rows)
    for finished in (made.preprocess("austin", more=("--horizon", str(HORIZON))), made.train("austin")):
        assert finished.code == 0, finished.stderr
    made.pack()
    finished = made.evaluate("austin")
    assert finished.code == 0, finished.stderr
    return made


@pytest.fixture(scope="module")
def artifact(jobs: Jobs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The canonical archive, unpacked."""
    folder = tmp_path_factory.mktemp("artifact")
    archive = jobs.root / "evaluate" / "evaluation" / "city=austin" / "model.tar.gz"
    subprocess.run(["tar", "-xzf", str(archive), "-C", str(folder)], check=True)
    return folder


def ask(artifact: Path, *requests: Any) -> list[Any]:
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    command = [IMAGE_PYTHON, "-c", ASK, str(artifact)]
    done = subprocess.run(
        command, input=lines, capture_output=True, text=True, cwd=SCRIPTS, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def rows_in_pandas(rows: list[list[str]], until: str, *, late: int = 0) -> pd.DataFrame:
    """The rows of the next forecasts, worked out without any of our code.

    :param until: the newest known month.
    :param late: how many months later than at its end a month is known.
    """
    frame = pd.DataFrame(rows[1:], columns=rows[0]).replace("NA", np.nan)
    frame.index = pd.PeriodIndex(frame["year"] + "-" + frame["month"], freq="M")
    known = frame[list(COLUMNS)].astype(float)[: pd.Period(until)]
    mean = known["median"].iloc[-12:].mean()
    made = []
    for step in range(1, HORIZON + 1):
        month = known.index[-1] + late + step
        angle = 2 * np.pi * (month.month - 1) / 12
        made.append(
            {
                "step": step,
                "median_mean_12": mean,
                **{f"median_lag_{lag}_ratio": known["median"].iloc[-lag] / mean for lag in (1, 2, 3, 6, 12)},
                **{f"sales_lag_{lag}": known["sales"].iloc[-lag] for lag in (1, 2, 12)},
                **{f"{name}_lag_{lag}": known[name].iloc[-lag] for name in COLUMNS[2:] for lag in (1, 12)},
                "month_of_year_sin": round(np.sin(angle), 9),
                "month_of_year_cos": round(np.cos(angle), 9),
                "trend": month.year - 2000 + (month.start_time.dayofyear - 1) / 365.25,
            }
        )
    return pd.DataFrame(made)


def test_what_comes_next_is_what_the_rows_of_a_second_computation_get(
    jobs: Jobs, artifact: Path, texas_rows: list[list[str]]
) -> None:
    rows = rows_in_pandas(texas_rows, "2015-07").to_dict("records")
    by_name, by_rows = ask(artifact, {"forecast": {}}, {"instances": rows})
    assert [each["period"] for each in by_name["forecasts"]] == ["2015-08-01", "2015-09-01", "2015-10-01"]
    assert [each["step"] for each in by_name["forecasts"]] == [1, 2, 3]
    predicted = [each["prediction"] for each in by_name["forecasts"]]
    assert predicted == pytest.approx(by_rows["predictions"], rel=1e-9)
    assert (by_name["unit"], by_name["known_until"], by_name["late_periods"]) == (None, "2015-07-01", None)
    report = jobs.read_json("evaluate/evaluation/city=austin/evaluation.json")
    assert report["forecast"] == by_name
    # Twelve forecasts of one step ahead lie in the holdout, ten of three: an interval of 80 % reaches as far as the
    # eleventh, and the ninth smallest error.
    held_out = jobs.read_json("evaluate/evaluation/city=austin/holdout.json")["rows"]
    for each, rank in zip(by_name["forecasts"], (11, 10, 9), strict=True):
        errors = sorted(
            abs(np.log(row["actual"] / row["predicted"])) for row in held_out if row["step"] == each["step"]
        )
        ends = [each["prediction"] * np.exp(way * errors[rank - 1]) for way in (-1, 1)]
        assert each["intervals"] == {"80": pytest.approx(ends, rel=1e-9), "95": None}
    assert by_name["intervals_withheld"] == (
        "95 %: 10 held-out forecasts judge the furthest step, and 19 are needed"
    )
    assert list(report["steps"]) == ["1", "2", "3"]
    # Each month counts once, however many steps ahead it is forecast.
    assert jobs.read_json("preprocess/report/city=austin/status.json")["periods"]["usable"] == 181
    assert report["steps"]["1"]["mape"] < report["steps"]["3"]["mape"] < report["naive"]["mape"]


def test_newer_values_count_whoever_brings_them(
    artifact: Path, texas_rows: list[list[str]], tmp_path: Path
) -> None:
    """A model held for two months, asked with last night's values, and by somebody who knows a month more."""
    rows = [[*row] for row in texas_rows]
    for month, median in (("8", "255000"), ("9", "251000")):
        rows.append(["Austin", "2015", month, "2500", "0", median, "7000", "2.6"])
    later = Jobs(tmp_path)
    later.write_raw("austin", rows)
    assert later.preprocess("austin", as_of="20151001T000000Z", more=("--horizon", str(HORIZON))).code == 0
    known = later.read_json("preprocess/report/city=austin/known.json")
    month_more = {"period": "2015-10-17", "median": 249000, "sales": 2400, "listings": None}
    october = ["Austin", "2015", "10", "2400", "0", "249000", "NA", "NA"]
    answers = ask(
        artifact,
        {"forecast": {"known": known, "at": "2015-12-31T00:00:00Z"}},
        {"instances": rows_in_pandas(rows, "2015-09").to_dict("records")},
        {"forecast": {"known": known, "history": [month_more], "horizon": 2}},
        {"instances": json.loads(rows_in_pandas([*rows, october], "2015-10").to_json(orient="records"))[:2]},
        {"forecast": {"known": {**known, "as_of": "20150101T000000Z"}}},  # older than the artifact's own
        # Of settings with shorter lags than the model's: before it the artifact's own values go on.
        {"forecast": {"known": {**known, "first": "2015-07-01", "rows": known["rows"][-3:]}}},
    )
    assert answers[0]["known_until"] == "2015-09-01"
    assert answers[0]["late_periods"] == 2  # October and November are over
    assert [each["period"] for each in answers[2]["forecasts"]] == ["2015-11-01", "2015-12-01"]
    for by_name, by_rows in ((0, 1), (2, 3)):
        predicted = [each["prediction"] for each in answers[by_name]["forecasts"]]
        assert predicted == pytest.approx(answers[by_rows]["predictions"], rel=1e-9)
    assert answers[4]["known_until"] == "2015-07-01"
    assert answers[5]["forecasts"] == answers[0]["forecasts"]


def test_what_can_not_be_answered_is_a_sentence(artifact: Path, subtests: pytest.Subtests) -> None:
    refused = {
        "horizon": ({"horizon": 4}, "allowed: a whole number from 1 to 3, as far as the model of austin"),
        "horizon as text": ({"horizon": "3"}, "allowed: a whole number from 1 to 3"),
        "horizon of truth": ({"horizon": True}, "allowed: a whole number from 1 to 3"),
        "member": ({"horizn": 3}, "Did you mean 'horizon'?"),
        "column": ({"history": [{"period": "2015-08-01", "median": 1, "slaes": 2}]}, "Did you mean 'sales'?"),
        "no target": (
            {"history": [{"period": "2015-08-01"}]},
            "allowed: an object with 'period' and 'median'",
        ),
        "no period": ({"history": [{"median": 5}]}, "allowed: an object with 'period' and 'median'"),
        "no day": ({"history": [{"period": "August", "median": 1}]}, "got 'August'; allowed: a day such as"),
        "text": (
            {"history": [{"period": "2015-08-01", "median": "1"}]},
            "'median': got '1'; allowed: a number",
        ),
        "huge": ({"history": [{"period": "2015-08-01", "median": 10**400}]}, "allowed: a number, or null"),
        "not above 0": (
            {"history": [{"period": "2015-08-01", "median": 0}]},
            "got 0; allowed: a number above 0",
        ),
        "twice": (
            {"history": [{"period": f"2015-08-0{day}", "median": 1} for day in (1, 2)]},
            "the month of 2015-08-02 is there already",
        ),
        "far away": ({"history": [{"period": "9999-12-01", "median": 1}]}, "beyond the calendar"),
        "a gap": (
            {"history": [{"period": "2030-01-01", "median": 1}]},
            "got fewer than half; allowed: at least half",
        ),
        "no list": ({"history": {"period": "2015-08-01"}}, "allowed: a list of up to"),
        "another city": (
            {
                "known": {
                    "format_version": 1,
                    "city": "waco",
                    "as_of": "2",
                    "frequency": "month",
                    "columns": ["median"],
                    "rows": [],
                }
            },
            "got months of 'waco'; allowed: months of 'austin'",
        ),
        "known": ({"known": []}, "known: allowed: an object"),
        "at": ({"at": "tonight"}, "allowed: a moment such as"),
    }
    answers = ask(
        artifact,
        *({"forecast": asked} for asked, _ in refused.values()),
        {"forecast": [1]},
        {"forecast": {}, "x": 1},
    )
    for (name, (_, sentence)), answer in zip(refused.items(), answers, strict=False):
        with subtests.test(name):
            assert answer["error"].startswith("Forecast: ")
            assert sentence in answer["error"]
    assert [list(answer) for answer in answers[-2:]] == [["error"], ["error"]]


def test_a_model_of_before_says_that_it_needs_features(artifact: Path, tmp_path: Path) -> None:
    subprocess.run(["cp", "-r", str(artifact), str(tmp_path / "old")], check=True)
    card = tmp_path / "old" / "city_fleet" / "model.json"
    value = json.loads(card.read_text(encoding="utf-8"))
    value["schema"]["layout"] = None
    card.write_text(json.dumps(value), encoding="utf-8")
    (answer,) = ask(tmp_path / "old", {"forecast": {}})
    assert "can't be asked by the city's name alone" in answer["error"]
    # Nor does one whose layout is not that of its features.
    value["schema"]["layout"] = json.loads((artifact / "city_fleet" / "model.json").read_text())["schema"][
        "layout"
    ] | {"horizon": 1}
    card.write_text(json.dumps(value), encoding="utf-8")
    (answer,) = ask(tmp_path / "old", {"forecast": {}})
    assert "can't be asked by the city's name alone" in answer["error"]
