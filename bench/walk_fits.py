"""Runs prepare, train and judge of the job scripts in process: ``python walk_fits.py <scripts>`` reads a question.

The question is JSON on standard input: ``raw``, a folder of ``city=<slug>/data.csv``; ``cities``, slugs; ``as_of``,
stamps; and a city's settings as settings.json has them. For each city and as_of a line of JSON says how it ended: the
evaluation's report, what training said of the refit, and seconds.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, sys.argv[1])

import numpy as np

import evaluate
import rolling_origins
import train
from calendar_grid import parse_as_of
from candidates import fit_again
from job_failure import JobFailure
from job_settings import Candidate, CitySettings
from judged_blocks import BETWEEN, Parts, known_at, periods_of, read_blocks
from preprocess_settings import read_settings
from report_file import Place
from series_city import prepare_series
from table_file import read_table
from table_parts import joined, rows_of


def refit_gain(parts: Parts, city: CitySettings) -> dict[str, float] | None:
    """Compare models that have learned the year before they answer with those that have not, block by block.

    :return: the sum of absolute errors by the sum of targets, over all blocks but the first, ``with`` and ``without``;
        None where there is one block alone.
    """
    test, blocks = parts.test, parts.blocks
    if test is None or blocks is None or blocks.count < 2:
        return None
    known = joined(
        *(each for each in (parts.train, parts.validation, parts.between, test) if each is not None)
    )
    known = rows_of(known, np.argsort(periods_of(known), kind="stable"))
    held = int(np.ptp(periods_of(parts.validation))) + 1
    numbers, origins = blocks.of(test), known_at(test)
    starts = [int(origins[numbers == number].min()) for number in range(blocks.count)]
    models = []
    for until in starts:
        model, _ = rolling_origins._fit_until(
            known,
            periods_of(known),
            until,
            held,
            lambda train, validation: fit_again(
                city.candidates[0], train, validation, seed=city.seed, threads=1
            ),
        )
        models.append(model)
    found, size = {"with": 0.0, "without": 0.0}, 0.0
    for number in range(1, blocks.count):
        mine = rows_of(test, np.flatnonzero(numbers == number))
        for name, model in (("with", models[number]), ("without", models[number - 1])):
            found[name] += float(np.abs(rolling_origins._answers(model, mine) - mine.target).sum())
        size += float(np.abs(mine.target).sum())
    return {name: value / size for name, value in found.items()}


def night(city: CitySettings, raw: Path, as_of: str, folder: Path, *, gains: bool) -> dict[str, Any]:
    """Prepare, train and judge one city, as its three jobs would.

    :param gains: whether to measure what a refit gains too.
    """
    slug, started = city.city, time.monotonic()
    place = Place(slug, raw / f"city={slug}", f"s3://bench/{slug}/", folder, {})
    status = prepare_series(place, read_settings(city, parse_as_of(as_of)))
    if status["status"] != "ready":
        return {"reason": status["reason"]}
    prepared = time.monotonic()
    parts = {part: read_table(folder / part, part, slug) for part in ("train", "validation", "test")}
    test = folder / "test" / f"city={slug}"
    between = read_table(folder / "test", BETWEEN, slug) if (test / f"{BETWEEN}.csv").is_file() else None
    given = Parts(parts["train"], parts["validation"], parts["test"], between, read_blocks(test))
    artifact = folder / "model" / f"city={slug}"
    train.train_city(given, city, artifact, folder / "trained")
    trained = time.monotonic()
    evaluate.evaluate_city(evaluate.Asked(slug, as_of, folder / "test", folder / "judged", artifact))
    judged = time.monotonic()
    report = json.loads((folder / "judged" / "evaluation" / f"city={slug}" / "evaluation.json").read_text())
    training = json.loads((folder / "trained" / "training.json").read_text())
    seconds = {"prepare": prepared - started, "train": trained - prepared, "judge": judged - trained}
    gain = refit_gain(given, city) if gains else None
    return {"report": report, "backtest": training["backtest"], "seconds": seconds, "refit_gain": gain}


def main() -> None:
    """Answer the question."""
    asked = json.load(sys.stdin)
    candidates = tuple(Candidate(each["algorithm"], each["hyperparameters"]) for each in asked["candidates"])
    for slug in asked["cities"]:
        for as_of in asked["as_of"]:
            city = CitySettings(
                slug,
                asked["dataset"],
                "",
                candidates,
                metric=asked["metric"],
                refit=asked["refit"],
            )
            with tempfile.TemporaryDirectory(prefix="city-fleet-bench-") as folder:
                try:
                    with contextlib.redirect_stdout(io.StringIO()):
                        found = night(city, Path(asked["raw"]), as_of, Path(folder), gains=asked["gains"])
                except JobFailure as error:
                    found = {"reason": str(error)}
            print(json.dumps({"city": slug, "as_of": as_of, **found}), flush=True)


if __name__ == "__main__":
    main()
