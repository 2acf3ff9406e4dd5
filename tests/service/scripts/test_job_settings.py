"""The settings file: the same work as by hand, and a mistake is named with file and field."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import SCRIPTS
from tests.support.script_jobs import AS_OF, RAW_URI, Jobs, digests, start_job

sys.path.insert(0, str(SCRIPTS))

from job_failure import JobFailure
from job_settings import read_job_settings

TEXAS_DATASET = {
    "kind": "series",
    "time": {"columns": ["year", "month"], "format": None},
    "frequency": "month",
    "available_after": "P1M",
    "target": {
        "column": "median",
        "min": 1000.0,
        "max": 1e7,
        "transform": "log_ratio_to_mean",
        "window": 12,
        "lags": [1, 2, 3, 6, 12],
    },
    "features": [
        {"column": "sales", "lags": [1, 2, 12], "min": 0.0, "max": None},
        {"column": "listings", "lags": [1, 12], "min": 0.0, "max": None},
        {"column": "inventory", "lags": [1, 12], "min": 0.0, "max": None},
    ],
    "calendar": ["month_of_year", "trend"],
    "minimum_periods": 60,
    "validation_periods": 12,
    "holdout_periods": 12,
}
CHAMPION = {"target_model": "austin/x.tar.gz", "etag": '"1"', "as_of": AS_OF}
CITY = {
    "city": "austin",
    "dataset": TEXAS_DATASET,
    "candidates": [{"algorithm": "xgboost", "hyperparameters": {"max_depth": 4}}],
    "seed": 3,
    "champion": CHAMPION,
}
SETTINGS: dict[str, Any] = {"format_version": 1, "as_of": AS_OF, "raw_uri": RAW_URI, "cities": [CITY]}


def test_the_settings_file_asks_for_the_same_as_the_arguments(
    jobs: Jobs, austin: Jobs, texas: dict[str, list[list[str]]]
) -> None:
    path = jobs.root / "settings.json"
    other = CITY | {"city": "nowhere", "champion": None}
    path.write_text(json.dumps(SETTINGS | {"cities": [other, CITY]}), encoding="utf-8")
    jobs.write_raw("austin", texas["austin"])
    message = jobs.root / "message"
    finished = start_job(
        "preprocess.py",
        [
            *("--settings", str(path), "--raw-dir", str(jobs.raw), "--output-dir", str(jobs.out())),
            *("--message-file", str(message)),
        ],
        message,
    )
    assert finished.code == 1  # for the city without data; the other one is done
    assert (
        finished.message == f"{RAW_URI}city=nowhere/: no raw data for city 'nowhere'; cities there: austin."
    )
    for part in ("train", "validation", "test"):
        assert digests(jobs.out(part)) == digests(austin.out(part))
    manifest = jobs.read_json("preprocess/report/city=austin/manifest.json")
    assert manifest["arguments"]["dataset"] == TEXAS_DATASET


def test_what_all_steps_read(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text(json.dumps(SETTINGS), encoding="utf-8")
    settings = read_job_settings(tmp_path)
    city = settings.cities["austin"]
    assert (settings.as_of, settings.raw_uri, city.seed) == (AS_OF, RAW_URI, 3)
    assert [(each.algorithm, each.hyperparameters) for each in city.candidates] == [
        ("xgboost", {"max_depth": 4})
    ]
    assert city.champion is not None
    assert city.champion.target_model == "austin/x.tar.gz"


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (("as_of",), "yesterday", 'settings.json: as_of: got "yesterday"; allowed: a UTC time'),
        (("format_version",), 2, "settings.json: format_version: got 2; allowed: 1."),
        (("cities",), [], "settings.json: cities: got 0; allowed: at least 1, each once."),
        (("cities",), [CITY, CITY], "settings.json: cities: got 2; allowed: at least 1, each once."),
        (("cities", 0, "city"), "../etc", 'cities[0].city: got "../etc"; allowed: a slug'),
        (("cities", 0, "seed"), True, "cities[0].seed: got true; allowed: a whole number of at least 0."),
        (("cities", 0, "champion"), {"etag": "1"}, "cities[0].champion.target_model: got null; allowed: text"),
        (("cities", 0, "candidates"), [3], "cities[0].candidates[0]: got 3; allowed: an object."),
        (("cities", 0, "dataset"), None, "cities[0].dataset: got null; allowed: an object."),
    ],
)  # fmt: skip
def test_a_wrong_field_is_named(
    tmp_path: Path, path: tuple[str | int, ...], value: Any, sentence: str
) -> None:
    settings = json.loads(json.dumps(SETTINGS))
    at: Any = settings
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    (tmp_path / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
    with pytest.raises(JobFailure) as failure:
        read_job_settings(tmp_path / "settings.json")
    assert sentence in str(failure.value)


@pytest.mark.parametrize(
    ("content", "sentence"), [("{", "not JSON"), ("[" * 99_999, "not JSON"), ("[]", "allowed: an object")]
)
def test_what_is_no_settings_file_is_refused(tmp_path: Path, content: str, sentence: str) -> None:
    path = tmp_path / "settings.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(JobFailure, match=sentence):
        read_job_settings(path)
    path.unlink()
    with pytest.raises(JobFailure, match=r"settings\.json: missing"):
        read_job_settings(path)


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        (("time", "columns"), ["a", "b", "c", "d", "e"], "cities[0].dataset.time.columns: got a, b, c, d, e;"),
        (("target", "lags"), [0], "settings.json: cities[0].dataset.target.lags: got lag 0; allowed: a whole number"),
        (("frequency",), "min", 'settings.json: cities[0].dataset.frequency: got "min"; allowed: one of hour, day,'),
        (("kind",), "poem", 'settings.json: cities[0].dataset.kind: got "poem"; allowed: one of series, table.'),
        (("every",), 0, "settings.json: cities[0].dataset.every: got 0; allowed: a whole number of at least 1"),
        (("anchor",), "2014", 'settings.json: cities[0].dataset.anchor: got "2014"; allowed: a day such as 1952'),
        (("duplicates",), "first", 'dataset.duplicates: got "first"; allowed: one of error, last, sum.'),
        (("aggregate",), "avg", 'dataset.aggregate: got "avg"; allowed: one of sum, mean, median, count, min, max,'),
        (("decimal",), ";", "settings.json: cities[0].dataset.decimal:"),
        (("time", "parts"), ["year", "season"], "dataset.time.parts: got"),
        (("calendar",), ["noon"], "settings.json: cities[0].dataset.calendar:"),
    ],
)  # fmt: skip
def test_a_series_that_cannot_be_made_names_its_field(
    jobs: Jobs, path: tuple[str, ...], value: Any, sentence: str
) -> None:
    dataset = json.loads(json.dumps(TEXAS_DATASET))
    at = dataset
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    file = jobs.root / "settings.json"
    file.write_text(json.dumps(SETTINGS | {"cities": [CITY | {"dataset": dataset}]}), encoding="utf-8")
    message = jobs.root / "message"
    arguments = ["--settings", str(file), "--raw-dir", str(jobs.raw), "--output-dir", str(jobs.out())]
    finished = start_job("preprocess.py", [*arguments, "--message-file", str(message)], message)
    assert finished.code == 1
    assert sentence in (finished.message or "")
