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
from functools import lru_cache
from pathlib import Path
from typing import Any

import inference
from backtest import Backtest, read_backtest
from canonical_archive import write_archive
from city_evaluation import Champion, Parent, judge, read_held_out
from forecast_state import add_forecasts
from job_failure import ArgumentParser, JobFailure, option_value, run, sentence_of
from job_settings import ChampionSettings, CitySettings, ParentSettings, read_job_settings
from model_archive import one_archive, unpack_artifact
from model_artifact import Model
from model_card import ArtifactError, read_card
from table_schema import REGRESSION, SERIES

ARTIFACT = "model.tar.gz"
NO_CHAMPION_DIR = "its artifact is not there (--champion-dir)."
NO_PARENT_DIR = "its artifact is not there (--parent-dir)."


@dataclass(frozen=True)
class Asked:
    """What is asked about one city.

    :param test_dir: holds ``city=<slug>/`` with the held-out rows.
    :param output_dir: gets ``evaluation/city=<slug>/``.
    :param artifact: folder of the new model, or the sentence why there is none.
    :param champion: the model that serves; None where none does. ``champion_archive`` is its tar.gz, or the sentence
        why it is not there.
    :param metric: what the gate compares; None for the task's own.
    :param parent: the model of the city's parent that serves, and ``parent_archive`` its tar.gz, in the same way.
    """

    city: str
    as_of: str
    test_dir: Path
    output_dir: Path
    artifact: Path | str
    champion: ChampionSettings | None = None
    champion_archive: Path | str = NO_CHAMPION_DIR
    metric: str | None = None
    parent: ParentSettings | None = None
    parent_archive: Path | str = NO_PARENT_DIR


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
    parser.add_argument(
        "--parent-dir",
        type=Path,
        help="holds the tar.gz of the parent's live model; absent when there is none",
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


def load_champion(asked: Asked) -> Champion | None:
    """Load the model that serves a city, or say why it can't be loaded."""
    settings = asked.champion
    if settings is None:
        return None
    loaded: Model | str
    backtest = None
    try:
        archive = _there(asked.champion_archive)
        with tempfile.TemporaryDirectory(prefix="city-fleet-champion-") as folder:
            unpack_artifact(archive, Path(folder))
            loaded = load(Path(folder), archive.name, asked.city)
            backtest = read_backtest(Path(folder))
    except ArtifactError as error:
        loaded = str(error)
    return Champion(settings.target_model, settings.etag, settings.as_of, loaded, backtest)


def load_parent(asked: Asked) -> Parent | None:
    """Read how the model of a city's parent was judged, or say why nobody knows; the model itself is not needed."""
    settings = asked.parent
    if settings is None:
        return None
    found: Backtest | str
    try:
        found = _judged(_there(asked.parent_archive), settings.city)
    except ArtifactError as error:
        found = str(error)
    return Parent(settings.city, settings.target_model, settings.as_of, found)


@lru_cache(maxsize=2)  # many cities have the same parent
def _judged(archive: Path, city: str) -> Backtest | str:
    with tempfile.TemporaryDirectory(prefix="city-fleet-parent-") as folder:
        unpack_artifact(archive, Path(folder))
        if read_card(Path(folder)).city != city:
            raise ArtifactError(f"{archive.name}: allowed: a model of city '{city}'.")
        return read_backtest(Path(folder)) or "its artifact does not say how it was judged."


def _there(path: Path | str) -> Path:
    if isinstance(path, str):
        raise ArtifactError(path)
    return path


def evaluate_city(asked: Asked) -> None:
    """Write evaluation.json, holdout.json and the canonical archive of a city.

    :raises JobFailure: when the test set or the new model cannot be used.
    """
    city = asked.city
    held_out = read_held_out(asked.test_dir, city)
    try:
        artifact = _there(asked.artifact)
        model = load(artifact, ARTIFACT, city)
        folder = asked.test_dir / f"city={city}"
        report, holdout, predicted = judge(
            held_out,
            asked.as_of,
            model,
            load_champion(asked),
            backtest=read_backtest(artifact) if held_out.table.schema.kind == SERIES else None,
            parent=load_parent(asked),
        )
        report |= add_forecasts(model, artifact, held_out.table, predicted, folder, metric=asked.metric)
    except (ArtifactError, inference.BadRequest) as error:
        raise JobFailure(f"The new model of {city} cannot be evaluated: {error}") from None
    folder = asked.output_dir / "evaluation" / f"city={city}"
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
    if arguments.settings is not None:
        settings = read_job_settings(arguments.settings)
        as_of, cities = settings.as_of, settings.cities
    else:
        as_of = arguments.as_of
        named = (arguments.champion_target_model, arguments.champion_etag, arguments.champion_as_of)
        champion = None if arguments.champion_dir is None else ChampionSettings(*named)
        cities = {arguments.city: CitySettings(arguments.city, {}, "", champion=champion)}
        _refuse_other_city(arguments.test_dir, arguments.city)
    failures = []
    with tempfile.TemporaryDirectory(prefix="city-fleet-model-") as unpacked:
        artifacts: Path | str = Path(unpacked)
        try:
            unpack_artifact(one_archive(arguments.model_dir), Path(unpacked), len(cities))
        except ArtifactError as error:
            artifacts = str(error)
        for slug, city in cities.items():
            asked = Asked(
                slug,
                as_of,
                arguments.test_dir,
                arguments.output_dir,
                _artifact(artifacts, slug, len(cities)),
                champion=city.champion,
                champion_archive=_archive(arguments.champion_dir, slug, NO_CHAMPION_DIR),
                metric=city.metric,
                parent=city.parent,
                parent_archive=_archive(arguments.parent_dir, slug, NO_PARENT_DIR),
            )
            try:
                evaluate_city(asked)
            except Exception as error:  # one city's model does not keep the others from being judged
                failures.append(sentence_of(error))
    if failures:
        raise JobFailure(" ".join(failures))


def _artifact(artifacts: Path | str, city: str, cities: int) -> Path | str:
    """Find a city's folder of an unpacked archive, or say why there is none; the artifact of one city may have none."""
    if isinstance(artifacts, str):
        return artifacts
    own = artifacts / f"city={city}"
    if own.is_dir():
        return own
    return (
        artifacts
        if cities == 1
        else f"{ARTIFACT}: holds no folder city={city}; train.py writes one for each city."
    )


def _archive(folder: Path | None, city: str, lacking: str) -> Path | str:
    """Find the archive of a model that serves, or say why it is not there.

    :param folder: holds ``city=<slug>/`` with it, or for one city, or one parent, the archive itself.
    :param lacking: what is said without a folder.
    """
    if folder is None:
        return lacking
    own = folder / f"city={city}"
    try:
        return one_archive(own if own.is_dir() else folder)
    except ArtifactError as error:
        return str(error)


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
