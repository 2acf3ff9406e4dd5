"""Judges new models on the held-out rows, beside the baselines and the models that are live now.

Runs as a SageMaker processing job, on every city of its settings; one city's bad model does not keep the others from
being judged. It also writes each city's artifact anew, so that equal models have equal bytes: that archive is the one
that is registered and published.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import inference
from canonical_archive import write_archive
from city_evaluation import Champion, judge, read_held_out
from forecast_state import add_forecasts
from job_failure import ArgumentParser, JobFailure, option_value, run, sentence_of
from job_settings import ChampionSettings, read_job_settings
from model_archive import one_archive, unpack_artifact
from model_artifact import Model
from model_card import ArtifactError
from table_schema import REGRESSION, SERIES

ARTIFACT = "model.tar.gz"


@dataclass(frozen=True)
class Job:
    """What is asked of this job.

    :param cities: slug → the model that serves; None where none does.
    :param artifacts: folder of the unpacked archive, or the sentence why there is none.
    :param champions: holds ``city=<slug>/`` with the live model's tar.gz, or for one city the tar.gz itself.
    """

    as_of: str
    cities: dict[str, ChampionSettings | None]
    test_dir: Path
    output_dir: Path
    artifacts: Path | str
    champions: Path | None


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line.

    :raises JobFailure: when one is missing or unknown.
    """
    parser = ArgumentParser(__doc__ or "")
    parser.add_argument("--settings", type=Path, help="settings.json of the run; else --city and --as-of")
    parser.add_argument("--city", metavar="SLUG")
    parser.add_argument("--as-of", metavar="20140101T000000Z")
    parser.add_argument("--test-dir", type=Path, required=True, help="holds city=<slug>/test.csv")
    parser.add_argument("--model-dir", type=Path, required=True, help="holds model.tar.gz")
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--message-file", type=Path, help="where the sentence of a failure goes")
    parser.add_argument(
        "--champion-dir", type=Path, help="holds the live model's tar.gz; absent when none is live"
    )
    parser.add_argument("--champion-target-model", help="its target model")
    parser.add_argument("--champion-etag", help="ETag of the live pointer it was read from")
    parser.add_argument("--champion-as-of", help="its as_of")
    parsed = parser.parse_args(arguments)
    if parsed.settings is None:
        for name in ("city", "as_of"):
            if getattr(parsed, name) is None:
                parser.error(
                    f"--settings, or --{name.replace('_', '-')} and the city's other arguments, is needed"
                )
    return parsed


def load_city(job: Job, city: str) -> tuple[Model, Path]:
    """Load a city's new model.

    :return: the model, and the folder of its artifact.
    :raises ArtifactError: it is broken, hostile, of another city or not there.
    """
    if isinstance(job.artifacts, str):
        raise ArtifactError(job.artifacts)
    folder = job.artifacts / f"city={city}"
    if not folder.is_dir():
        if len(job.cities) > 1:
            raise ArtifactError(
                f"{ARTIFACT}: holds no folder city={city}; train.py writes one for each city."
            )
        folder = job.artifacts
    return load(folder, ARTIFACT, city), folder


def load(folder: Path, name: str, city: str) -> Model:
    """Load an unpacked artifact.

    :param name: the archive's.
    :param city: the slug it must be of.
    :raises ArtifactError: when it is broken or of another city.
    """
    model = inference.model_fn(folder)
    if model.card.city != city:
        raise ArtifactError(f"{name}: got a model of city '{model.card.city}'; allowed: '{city}'.")
    return model


def load_champion(job: Job, city: str) -> Champion | None:
    """Load the model that serves a city, or say why it can't be loaded."""
    settings = job.cities[city]
    if settings is None:
        return None
    loaded: Model | str
    try:
        if job.champions is None:
            raise ArtifactError("its artifact is not there (--champion-dir).")
        own = job.champions / f"city={city}"
        archive = one_archive(own if own.is_dir() else job.champions)
        with tempfile.TemporaryDirectory(prefix="city-fleet-champion-") as folder:
            unpack_artifact(archive, Path(folder))
            loaded = load(Path(folder), archive.name, city)
    except ArtifactError as error:
        loaded = str(error)
    return Champion(settings.target_model, settings.etag, settings.as_of, loaded)


def evaluate_city(job: Job, city: str) -> None:
    """Write evaluation.json, holdout.json and the canonical archive of a city.

    :raises JobFailure: when the test set or the new model cannot be used.
    """
    held_out = read_held_out(job.test_dir, city)
    try:
        model, artifact = load_city(job, city)
        report, holdout, predicted = judge(held_out, job.as_of, model, load_champion(job, city))
        report |= add_forecasts(model, artifact, held_out.table, predicted, job.test_dir / f"city={city}")
    except (ArtifactError, inference.BadRequest) as error:
        raise JobFailure(f"The new model of {city} cannot be evaluated: {error}") from None
    folder = job.output_dir / "evaluation" / f"city={city}"
    folder.mkdir(parents=True, exist_ok=True)
    report |= {"artifact": ARTIFACT, "artifact_sha256": write_archive(artifact, folder / ARTIFACT)}
    # A table's rows are thousands, with a probability of each class; nobody reads them line by line.
    indents = {"holdout.json": 2 if report["kind"] == SERIES else None, "evaluation.json": 2}
    for (name, indent), value in zip(indents.items(), (holdout, report), strict=True):
        text = json.dumps(value, indent=indent, allow_nan=False)
        (folder / name).write_text(text + "\n", encoding="utf-8")
    print(_summary(report), flush=True)


def evaluate(arguments: argparse.Namespace) -> None:
    """Judge every city; finish the good ones before failing for the bad ones.

    :raises JobFailure: with the sentences of all cities that failed.
    """
    cities: dict[str, ChampionSettings | None]
    if arguments.settings is not None:
        settings = read_job_settings(arguments.settings)
        as_of = settings.as_of
        cities = {slug: city.champion for slug, city in settings.cities.items()}
    else:
        as_of = arguments.as_of
        named = (arguments.champion_target_model, arguments.champion_etag, arguments.champion_as_of)
        cities = {arguments.city: None if arguments.champion_dir is None else ChampionSettings(*named)}
        _refuse_other_city(arguments.test_dir, arguments.city)
    failures = []
    with tempfile.TemporaryDirectory(prefix="city-fleet-model-") as unpacked:
        artifacts: Path | str = Path(unpacked)
        try:
            unpack_artifact(one_archive(arguments.model_dir), Path(unpacked), len(cities))
        except ArtifactError as error:
            artifacts = str(error)
        job = Job(as_of, cities, arguments.test_dir, arguments.output_dir, artifacts, arguments.champion_dir)
        for city in cities:
            try:
                evaluate_city(job, city)
            except Exception as error:  # one city's model does not keep the others from being judged
                failures.append(sentence_of(error))
    if failures:
        raise JobFailure(" ".join(failures))


def _refuse_other_city(test_dir: Path, city: str) -> None:
    there = sorted(path.name.removeprefix("city=") for path in test_dir.glob("city=*") if path.is_dir())
    if len(there) == 1 and there != [city]:
        raise JobFailure(f"--city: got '{city}'; the test set is of '{there[0]}'.")


def _summary(report: dict[str, Any]) -> str:
    name, title, form = (
        ("mape", "MAPE", ".2%") if report["task"] == REGRESSION else ("log_loss", "log loss", ".4f")
    )
    measured = {
        "challenger": report["challenger"],
        **report["baselines"],
        "champion": report["champion"] or {},
    }
    parts = [
        f"{who} {value:{form}}"
        for who, metrics in measured.items()
        if (value := metrics.get(name)) is not None and math.isfinite(value)
    ]
    return f"{report['city']}: {title} over {report['rows']} held-out rows: {', '.join(parts)}"


if __name__ == "__main__":
    sys.exit(
        run(lambda: evaluate(parse_arguments(sys.argv[1:])), option_value(sys.argv[1:], "--message-file"))
    )
