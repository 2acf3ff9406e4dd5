"""What a run's jobs read beside data and code: the settings file, and the manifest of the raw data. Pure.

Both are named after a digest of their bytes, so equal work has an equal request, and so an equal job name.
docs/steps.md says what they hold.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from city_fleet.metrics import default_metric
from city_fleet.plan import EVALUATE, CityPlan, Run

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


def settings(plan: CityPlan, run: Run, step: str) -> dict[str, Any]:
    """Return what ``settings.json`` says, with one city in its list.

    The champion is told to the evaluation alone: one that has changed since makes no new rows and no new training.
    """
    city, champion = plan.city, run.champion if step == EVALUATE else None
    trained = city.algorithm.trained()
    # Where there is nothing to choose, the gate's metric changes nothing that is trained.
    metric = {"metric": city.gate.metric or default_metric(city.dataset.task)} if len(trained) > 1 else {}
    return {
        "format_version": FORMAT_VERSION,
        "as_of": run.stamp,
        "raw_uri": plan.keys.uri(plan.keys.raw_prefix()),
        "cities": [
            {
                "city": city.slug,
                "dataset": city.dataset.to_settings(),
                "candidates": [
                    {"algorithm": name, "hyperparameters": hyperparameters}
                    for _, name, hyperparameters in trained
                ],
                "seed": city.algorithm.seed_of_run,
                **metric,
                "champion": asdict(champion) if champion is not None else None,
            }
        ],
    }


def settings_file(plan: CityPlan, run: Run, step: str) -> JobFile:
    """Return the settings file of a step of a run."""
    return _file(plan, run, "settings", SETTINGS_NAME, settings(plan, run, step))


def raw_manifest(plan: CityPlan, run: Run, raw: Sequence[str]) -> JobFile:
    """Return the manifest of the raw data that a run is about: SageMaker's ``ManifestFile``.

    A job gets these files and no others, so one that comes later changes nothing.

    :param raw: names of the city's files, behind its prefix.
    """
    prefix = plan.keys.raw_prefix()
    below = plan.keys.raw(plan.city.slug).removeprefix(prefix)
    return _file(
        plan, run, "raw", MANIFEST_NAME, [{"prefix": plan.keys.uri(prefix)}, *(below + name for name in raw)]
    )


def _file(plan: CityPlan, run: Run, folder: str, name: str, value: object) -> JobFile:
    body = json.dumps(value, indent=2, ensure_ascii=False).encode()
    digest = hashlib.sha256(body).hexdigest()[:16]
    return JobFile(f"{plan.keys.run(plan.city.slug, run.key)}{folder}/{digest}/{name}", body)
