"""The three steps of one city, one after the other in one process, by the code of the three scripts."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from evaluate import ARTIFACT, Asked, evaluate_city
from job_failure import JobFailure, sentence_of
from job_settings import CitySettings, JobSettings
from model_archive import check_size
from model_card import ArtifactError
from preprocess import FAILED, READY, Folders, prepare_city
from train import read_parts, train_or_say

PREPROCESS, TRAIN, EVALUATE = "preprocess", "train", "evaluate"
EVALUATED, SKIPPED = "evaluated", "skipped"
_TARGET_MODEL = re.compile(r"[a-z0-9_]+/[A-Za-z0-9][A-Za-z0-9._-]*\.tar\.gz")


@dataclass(frozen=True)
class Places:
    """The folders of a job of all steps.

    :param raw: holds ``city=<slug>/`` folders.
    :param results: gets ``report/``, ``train/``, ``validation/``, ``test/``, ``training/`` and ``evaluation/``, each
        with ``city=<slug>/``.
    :param champions: holds the models that serve, under their target models; None when there are none. ``parents`` the
        same of the cities' parents.
    """

    raw: Path
    results: Path
    champions: Path | None = None
    parents: Path | None = None


def run_steps(
    settings: JobSettings, city: CitySettings, places: Places, begin: Callable[[str], None]
) -> dict[str, Any]:
    """Prepare, train and judge a city.

    :param begin: is told each step before it begins.
    :return: its entry in outcome.json, without the seconds.
    """
    slug, results = city.city, places.results
    begin(PREPROCESS)
    asked = {"settings": "settings.json", "raw_dir": str(places.raw), "output_dir": str(results)}
    status = prepare_city(settings, city, Folders(places.raw, results, asked))
    if status["status"] != READY:
        return outcome(FAILED if status["status"] == FAILED else SKIPPED, PREPROCESS, status["reason"])
    begin(TRAIN)
    with tempfile.TemporaryDirectory(prefix="city-fleet-model-") as folder:
        artifact = Path(folder)
        test = results / "test" if city.rolling else None
        read = partial(read_parts, results / "train", results / "validation", test, slug)
        failure = train_or_say(read, settings, city, artifact, results / "training" / f"city={slug}")
        if failure is not None:
            return outcome(FAILED, TRAIN, failure)
        begin(EVALUATE)
        try:
            evaluate_city(_asked(settings, city, places, artifact))
        except Exception as error:  # one city's model does not keep the others from being judged
            failure = sentence_of(error)
            print(f"{slug}: {failure}", flush=True)
            return outcome(FAILED, EVALUATE, failure)
    return outcome(EVALUATED, EVALUATE, "")


def outcome(status: str, step: str, reason: str) -> dict[str, Any]:
    """Return what has come of a city: ``evaluated``, ``skipped`` or ``failed``, by which step, and why."""
    return {"status": status, "step": step, "reason": reason}


def _asked(settings: JobSettings, city: CitySettings, places: Places, artifact: Path) -> Asked:
    made: Path | str = artifact
    try:
        check_size(artifact, ARTIFACT)
    except ArtifactError as error:
        made = str(error)
    served = {
        f"{name}_archive": _served(folder, name, model.target_model)
        for name, folder, model in (
            ("champion", places.champions, city.champion),
            ("parent", places.parents, city.parent),
        )
        if model is not None
    }
    return Asked(
        city.city,
        settings.as_of,
        places.results / "test",
        places.results,
        made,
        champion=city.champion,
        metric=city.metric,
        parent=city.parent,
        **served,
    )


def _served(folder: Path | None, name: str, target_model: str) -> Path | str:
    """Find the archive of a model that serves, or say why it is not there.

    :param name: champion or parent.
    :raises JobFailure: its name leads elsewhere.
    """
    if not _TARGET_MODEL.fullmatch(target_model):
        raise JobFailure(f"settings.json: {name}.target_model: allowed: <slug>/<name>.tar.gz.")
    if folder is None or not (folder / target_model).is_file():
        return f"its artifact is not there (channel {name}s: {target_model})."
    return folder / target_model
