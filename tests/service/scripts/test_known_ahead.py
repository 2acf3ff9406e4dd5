"""What is known ahead, from raw rows of days to come to a forecast: a promotion, and the holidays of a country."""

from __future__ import annotations

import json
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from city_fleet.state import known_values
from tests.service.scripts.test_forecasts import ask
from tests.support.paths import SCRIPTS
from tests.support.planned_city import AS_OF, DATASET, LAST_KNOWN, PLAN, evaluated, prepared, rows
from tests.support.script_jobs import Jobs, start_job


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Jobs:
    return evaluated(tmp_path_factory.mktemp("ahead"), *PLAN)


@pytest.fixture(scope="module")
def artifact(jobs: Jobs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("artifact")
    archive = jobs.root / "evaluate" / "evaluation" / "city=austin" / "model.tar.gz"
    subprocess.run(["tar", "-xzf", str(archive), "-C", str(folder)], check=True)
    return folder


def row(step: int, promotion: Any, before: Any, holiday: tuple[Any, Any, Any]) -> dict[str, Any]:
    """A row of the model, made by hand."""
    known = {each[1]: each[2] for each in rows()[1:]}
    lags = {f"visitors_lag_{lag}": known[str(LAST_KNOWN - timedelta(days=lag - 1))] for lag in (1, 7)}
    flags = dict(zip(("holiday", "before_holiday", "after_holiday"), holiday, strict=True))
    return {"step": step, **lags, "promotion_lag_0": promotion, "promotion_lag_1": before, **flags}


def test_a_forecast_takes_what_raw_rows_of_its_days_hold(jobs: Jobs, artifact: Path) -> None:
    """The first of July is the first day that a forecast of what is known on the first is of."""
    first, second = row(1, 0, 1, (0, 0, 0)), row(2, 1, 0, (0, 1, 0))
    by_name, by_rows = ask(artifact, {"forecast": {"horizon": 2}}, {"instances": [first, second]})
    assert [each["period"] for each in by_name["forecasts"]] == ["2015-07-01", "2015-07-02"]
    assert [each["prediction"] for each in by_name["forecasts"]] == by_rows["predictions"]
    assert by_name["forecasts"][1]["prediction"] > by_name["forecasts"][0]["prediction"] + 30
    known = jobs.read_json("preprocess/report/city=austin/known.json")
    assert (known["known_until"], known["columns"]) == ("2015-06-29", ["visitors", "promotion"])
    assert known["rows"][-4:] == [[rows()[-1][2], rows()[-1][3]], [None, 1.0], [None, 0.0], [None, 1.0]]
    body = json.dumps(known).encode()
    read = known_values.parse(body, "known.json", "austin", AS_OF)
    assert json.loads(read.text)["holidays"]["days"] == ["2015-07-03"]
    # The evaluation's own question reaches a day further than the plan: there is no forecast to compare with.
    assert jobs.read_json("evaluate/evaluation/city=austin/evaluation.json")["forecast"] is None


def test_what_is_not_known_is_asked_for_by_column_and_period(artifact: Path) -> None:
    planned = {"period": "2015-07-03", "promotion": 1}
    friday = row(3, 1, 1, (1, None, 0))  # the calendar ends on it
    lacking, asked, unknown, what_if, by_rows = ask(
        artifact,
        {"forecast": {}},
        {"forecast": {"ahead": [planned]}},
        {"forecast": {"ahead": [{**planned, "promotion": None}]}},
        {"forecast": {"ahead": [{"period": "2015-07-01", "promotion": 1}], "horizon": 1}},
        {"instances": [friday, {**friday, "promotion_lag_0": None}, row(1, 1, 1, (0, 0, 0))]},
    )
    assert "not known: 'promotion' of 2015-07-03; allowed: a number for each in 'ahead'" in lacking["error"]
    predicted = [
        asked["forecasts"][2]["prediction"],
        unknown["forecasts"][2]["prediction"],
        what_if["forecasts"][0]["prediction"],
    ]
    assert predicted == by_rows["predictions"]


def test_a_newer_run_brings_plan_and_calendar(artifact: Path, jobs: Jobs) -> None:
    known = jobs.read_json("preprocess/report/city=austin/known.json")
    calendar = {"country": "US", "subdivision": "TX", "first": "2015-06-20", "last": "2016-12-31"}
    newer = {
        **known,
        "as_of": "20150702T000000Z",
        "rows": [*known["rows"][:-1], [None, 0], [None, 1]],
        "holidays": {**calendar, "days": ["2015-07-04"]},  # the third is none any more
    }
    answer, other, by_rows = ask(
        artifact,
        {"forecast": {"known": newer}},
        {"forecast": {"known": {**newer, "holidays": {**newer["holidays"], "subdivision": "CA"}}}},
        {
            "instances": [
                row(2, 0, 0, (0, 0, 0)),
                row(3, 1, 0, (0, 1, 0)),
                row(2, 0, 0, (0, 1, 0)),  # with its own calendar, for California's is no newer one of Texas
                row(3, 1, 0, (1, None, 0)),
            ]
        },
    )
    predicted = [each["prediction"] for each in (*answer["forecasts"][1:], *other["forecasts"][1:])]
    assert predicted == by_rows["predictions"]


def test_rows_of_days_to_come_change_nothing_that_is_learned(jobs: Jobs, tmp_path: Path) -> None:
    others = [("2015-06-30", "5", 0), ("2015-07-01", "no number", 1), ("2031-01-01", "", "no number either")]
    later = prepared(tmp_path, *others)
    for part in ("train", "validation", "test"):
        there = sorted(path.name for path in jobs.out(part, "city=austin").iterdir())
        for name in set(there) - {"known.json"}:
            mine, other = (each.out(part, "city=austin", name).read_bytes() for each in (jobs, later))
            assert mine == other, name
    assert later.read_json("preprocess/report/city=austin/known.json")["rows"][-2:] == [[None, 0], [None, 1]]


def test_what_can_not_be_known_ahead_is_a_sentence(
    artifact: Path, tmp_path: Path, subtests: pytest.Subtests
) -> None:
    refused = {
        "another column": ([{"period": "2015-07-03", "visitors": 1}], "known ahead: promotion"),
        "a slip": ([{"period": "2015-07-03", "promtion": 1}], "Did you mean 'promotion'?"),
        "twice": ([{"period": "2015-07-03", "promotion": n} for n in (0, 1)], "is there already"),
        "text": ([{"period": "2015-07-03", "promotion": "1"}], "'promotion': got '1'; allowed: a number"),
        "no period": ([{"promotion": 1}], "an object with 'period'"),
        "no list": ({"period": "2015-07-03"}, "a list of up to"),
    }
    answers = ask(artifact, *({"forecast": {"ahead": ahead}} for ahead, _ in refused.values()))
    for (name, (_, sentence)), answer in zip(refused.items(), answers, strict=True):
        with subtests.test(name):
            assert sentence in answer["error"]
    for name, plan, sentence in (
        (
            "two plans",
            (("2015-07-01", "", 0), ("2015-07-01", "", 1)),
            "the day of 2015-07-01 is there already, in row",
        ),
        ("no promotion", (("2015-07-01", "", 2),), "allowed: a number from 0 to 1"),
    ):
        with subtests.test(name):
            jobs = Jobs(tmp_path / name)
            jobs.write_raw("austin", rows(*plan))
            (tmp_path / name / "h.json").write_text("{}", encoding="utf-8")
            finished = jobs.preprocess("austin", as_of=AS_OF, arguments=DATASET.arguments())
            assert finished.code != 0
            assert sentence in (finished.message or "")


def test_a_hook_may_not_change_what_is_known_ahead(tmp_path: Path) -> None:
    subprocess.run(["cp", "-r", str(SCRIPTS), str(tmp_path / "scripts")], check=True)
    hook = (
        "def features(frame, context):\n    frame['promotion'] = frame['promotion'] * 2\n    return frame\n"
    )
    (tmp_path / "scripts" / "features.py").write_text(hook, encoding="utf-8")
    jobs = Jobs(tmp_path)
    jobs.write_raw("austin", rows())
    message = tmp_path / "message"
    finished = start_job(
        str(tmp_path / "scripts" / "preprocess.py"),
        [
            *("--city", "austin", "--as-of", AS_OF, "--raw-dir", str(jobs.raw), "--raw-uri", "s3://b/raw/"),
            *("--output-dir", str(tmp_path / "out"), "--message-file", str(message), *DATASET.arguments()),
        ],
        message,
    )
    assert finished.code != 0
    assert "because it is known_ahead" in (finished.message or "")
