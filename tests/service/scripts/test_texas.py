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
from table_file import read_table
from hyperparameters import parse_hyperparameters
from model_artifact import Model
from model_card import ModelCard
from train import fit
cities = {}
for folder in sorted(Path(sys.argv[2], "test").iterdir()):
    # read_table wants exactly one city per folder, as a job has it.
    sets = []
    for part in ("train", "validation", "test"):
        alone = Path(sys.argv[2], "alone", folder.name, part)
        alone.mkdir(parents=True)
        (alone / folder.name).symlink_to(Path(sys.argv[2], part, folder.name))
        sets.append(read_table(alone, part))
    train, validation, test = sets
    asked = parse_hyperparameters([*sys.argv[3:], "--city", test.schema.city, "--as_of", "20150801T000000Z"])
    booster, report = fit(asked, train, validation, 1)
    card = ModelCard(test.schema.city, "", asked.target, asked.transform, test.schema.names, {}, 0, "")
    predicted = Model(booster, card).predict(test.values)
    cities[test.schema.city] = [
        float(numpy.mean(abs(guess - test.target) / test.target)) for guess in (predicted, test.baselines["naive"])
    ]
print(json.dumps(cities))
"""


def test_most_cities_beat_the_naive_forecast(jobs: Jobs, texas: dict[str, list[list[str]]]) -> None:
    for city, rows in texas.items():
        jobs.write_raw(city, rows)
    assert jobs.preprocess(*texas).code == 0
    hyperparameters = [part for name, value in TEXAS_HYPERPARAMETERS.items() for part in (f"--{name}", value)]
    done = subprocess.run(
        [IMAGE_PYTHON, "-c", SWEEP, str(SCRIPTS), str(jobs.out()), *hyperparameters],
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
