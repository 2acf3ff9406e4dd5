"""All 46 cities: the modelling that the fleet file's defaults rest on."""

from __future__ import annotations

import json
import statistics
import subprocess

from tests.support.paths import IMAGE_PYTHON, SCRIPTS
from tests.support.script_jobs import TEXAS_HYPERPARAMETERS, Jobs

# One process for all cities: a job each would spend its time importing.
SWEEP = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import numpy
import algorithms
from hyperparameters import checked
from model_artifact import untransformed
from table_file import read_table
xgboost = algorithms.algorithm("xgboost")
hyperparameters = json.loads(sys.argv[3])
del hyperparameters["target"], hyperparameters["target_transform"]
hyperparameters = checked(xgboost.SPEC, "regression", hyperparameters)
cities = {}
for folder in sorted(Path(sys.argv[2], "test").iterdir()):
    city = folder.name.removeprefix("city=")
    train, validation, test = (
        read_table(Path(sys.argv[2], part), part, city) for part in ("train", "validation", "test")
    )
    fitted = xgboost.fit(train, validation, hyperparameters, seed=0, threads=1)
    predicted = untransformed(test.schema, fitted.predict(test.values), test.values)
    cities[city] = [
        float(numpy.mean(abs(guess - test.target) / test.target)) for guess in (predicted, test.baselines["naive"])
    ]
print(json.dumps(cities))
"""


def test_most_cities_beat_the_naive_forecast(jobs: Jobs, texas: dict[str, list[list[str]]]) -> None:
    for city, rows in texas.items():
        jobs.write_raw(city, rows)
    assert jobs.preprocess(*texas).code == 0
    done = subprocess.run(
        [IMAGE_PYTHON, "-c", SWEEP, str(SCRIPTS), str(jobs.out()), json.dumps(TEXAS_HYPERPARAMETERS)],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    cities = json.loads(done.stdout.splitlines()[-1])
    assert len(cities) == 46
    wins = [city for city, (model, naive) in cities.items() if model < naive]
    assert len(wins) >= 38, sorted(set(cities) - set(wins))
    assert statistics.median(model for model, _ in cities.values()) < 0.048
    assert statistics.median(naive for _, naive in cities.values()) > 0.057
