"""What a run's jobs read beside data and code: the settings file, and the manifest of the raw data. Pure, but for the
days of holidays, which a package knows.

Both are named after a digest of their bytes, so equal work has an equal request, and so an equal job name.
docs/steps.md says what they hold.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from city_fleet.config.series import Series
from city_fleet.jobs.holiday_days import holidays_of
from city_fleet.metrics import default_metric
from city_fleet.plan import EVALUATE, PREPROCESS, CityPlan, FixedChampion, FixedParent, Run

FORMAT_VERSION = 1
SETTINGS_NAME = "settings.json"
MANIFEST_NAME = "raw.manifest"


@dataclass(frozen=True)
class JobFile:
    """An object that a job reads.

    :param key: within the fleet's bucket.
    """

    key: str
    body: bytes


def goes_by_age(plan: CityPlan) -> bool:
    """Tell whether it makes a difference which of a city's raw data files is the newest."""
    dataset = plan.city.dataset
    return isinstance(dataset, Series) and dataset.duplicates == "last"


def settings(plan: CityPlan, run: Run, step: str, raw: Sequence[str] = ()) -> dict[str, Any]:
    """Return what ``settings.json`` says, with one city in its list.

    The champion is told to the evaluation alone: one that has changed since makes no new rows and no new training.

    :param raw: names of the raw data files, the newest last where :func:`goes_by_age`.
    :raises ConfigError: the days of ``dataset.holidays`` can't be looked up.
    """
    judges = step == EVALUATE
    return {
        "format_version": FORMAT_VERSION,
        "as_of": run.stamp,
        "raw_uri": plan.keys.uri(plan.keys.raw_prefix()),
        "cities": [
            city_settings(
                plan,
                run,
                raw if step == PREPROCESS else None,
                champion=run.champion if judges else None,
                parent=run.parent if judges else None,
            )
        ],
    }


def city_settings(
    plan: CityPlan,
    run: Run,
    raw: Sequence[str] | None,
    *,
    champion: FixedChampion | None,
    parent: FixedParent | None,
) -> dict[str, Any]:
    """Return what ``settings.json`` says of one city.

    :param raw: names of the raw data files; None for a step that does not read them.
    :param champion: what the model is judged against; None for a step that does not judge. ``parent`` likewise.
    :raises ConfigError: the days of ``dataset.holidays`` can't be looked up.
    """
    of_raw: dict[str, Any] = {}
    if raw is not None:
        of_raw |= {} if plan.raw.own else {"raw_uri": plan.raw.folder_uri}
        of_raw |= {"files": list(raw)} if raw and goes_by_age(plan) else {}
    city = plan.city
    trained = city.algorithm.trained()
    # Where there is nothing to choose, the gate's metric changes nothing that is trained.
    metric = {"metric": city.gate.metric or default_metric(city.dataset.task)} if len(trained) > 1 else {}
    dataset = city.dataset.to_settings()
    if city.dataset.kind == "series" and not learns_again(plan):
        # Only the fleet's own train.py judges a model from several origins, and learns what has judged it.
        dataset["backtest_periods"] = city.dataset.holdout_periods
    holidays = holidays_of(plan, run.as_of)
    if holidays is not None:
        dataset["holidays"] = holidays
    return {
        "city": city.slug,
        "dataset": dataset,
        "candidates": [
            {"algorithm": name, "hyperparameters": hyperparameters} for _, name, hyperparameters in trained
        ],
        "seed": city.algorithm.seed_of_run,
        **({"refit": city.algorithm.refit} if learns_again(plan) else {}),
        **metric,
        **of_raw,
        "champion": asdict(champion) if champion is not None else None,
        **({"children": list(plan.children)} if plan.children else {}),
        **({"parent": asdict(parent)} if parent is not None else {}),
    }


def learns_again(plan: CityPlan) -> bool:
    """Tell whether a city's training job fits its model more than once, and so needs what judges it."""
    city = plan.city
    if city.dataset.kind != "series" or city.entry != "script" or city.own_scripts.train is not None:
        return False
    return city.algorithm.refit or city.dataset.backtest_periods >= 2 * city.dataset.holdout_periods


def settings_file(plan: CityPlan, run: Run, step: str, raw: Sequence[str] = ()) -> JobFile:
    """Return the settings file of a step of a run.

    :param raw: names of the raw data files, for the step that reads them.
    """
    return file_of(
        plan.keys.run(plan.who, run.key), "settings", SETTINGS_NAME, settings(plan, run, step, raw)
    )


def raw_manifest(plan: CityPlan, run: Run, raw: Sequence[str]) -> JobFile:
    """Return the manifest of the raw data that a run is about: SageMaker's ``ManifestFile``.

    A job gets these files and no others, so one that comes later changes nothing.

    :param raw: names of the city's files, behind the folder of its place.
    """
    # A file's path in the job is what comes after the prefix: city=<slug>/ for the fleet's own, which preprocess.py
    # looks for; what is elsewhere is put into such a folder by the request.
    prefix, below = plan.raw.folder_uri, ""
    if plan.raw.own:
        prefix = plan.keys.uri(plan.keys.raw_prefix())
        below = plan.raw.folder_uri.removeprefix(prefix)
    listed = [{"prefix": prefix}, *(below + name for name in raw)]
    return file_of(plan.keys.run(plan.who, run.key), "raw", MANIFEST_NAME, listed)


def file_of(run_folder: str, folder: str, name: str, value: object) -> JobFile:
    """Return a file below a run's folder, in a folder that is named after its bytes.

    :param run_folder: key of the run's folder.
    """
    body = json.dumps(value, indent=2, ensure_ascii=False).encode()
    digest = hashlib.sha256(body).hexdigest()[:16]
    return JobFile(f"{run_folder}{folder}/{digest}/{name}", body)
