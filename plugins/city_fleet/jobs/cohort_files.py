"""What the job of a cohort reads: one settings file of all its cities, and a manifest for each kind of input. Pure.

Named after a digest of their bytes, as the files of a city's own jobs are (``job_files.py``), so that equal work has an
equal request.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from city_fleet import naming
from city_fleet.jobs.cohort_plan import CohortPlan
from city_fleet.jobs.job_files import (
    FORMAT_VERSION,
    SETTINGS_NAME,
    JobFile,
    city_settings,
    file_of,
    raw_manifest,
)
from city_fleet.plan import COHORT, CityPlan, Run

RUN_FILE = "cohort.json"
#: Names of the job's channels.
SETTINGS, RAW, CHAMPIONS, PARENTS = "settings", "raw", "champions", "parents"


@dataclass(frozen=True)
class CohortItem:
    """One city of a cohort's job.

    :param run: the city's own.
    :param raw: names of its raw data files, as its run has fixed them.
    """

    plan: CityPlan
    run: Run
    raw: Sequence[str]


def key_of(keys_of_runs: Mapping[str, str]) -> str:
    """Return the key of a cohort's run, of the keys of its cities' runs: equal for whoever runs the same.

    :param keys_of_runs: slug → key.
    """
    return naming.run_key(naming.digest(dict(keys_of_runs), 32), 1)


def members_file(plan: CohortPlan, key_of_run: str, keys_of_runs: Mapping[str, str], as_of: str) -> JobFile:
    """Return what a cohort's run is about, for its later tasks: the runs of its cities.

    :param as_of: stamp.
    """
    value = {"format_version": FORMAT_VERSION, "as_of": as_of, "cities": dict(keys_of_runs)}
    body = json.dumps(value, indent=2, sort_keys=True).encode()
    return JobFile(plan.keys.run(plan.who, key_of_run) + RUN_FILE, body)


def cohort_files(plan: CohortPlan | CityPlan, run: Run, items: Sequence[CohortItem]) -> dict[str, JobFile]:
    """Return the files of a job by the channel that reads them; no file for a channel without an object.

    :param plan: of the cohort, or of the one city that is trained alone; ``run`` likewise.
    :param items: sorted by city.
    """
    keys = plan.keys
    settings = {
        "format_version": FORMAT_VERSION,
        "as_of": run.stamp,
        "raw_uri": keys.uri(keys.raw_prefix()),
        # What a city has had no time for, a job of another limit may do: so the limit is part of the request.
        "max_runtime_seconds": plan.settings(COHORT).max_runtime_seconds,
        "cities": [
            city_settings(each.plan, each.run, each.raw, champion=each.run.champion, parent=each.run.parent)
            for each in items
        ],
    }
    prefix, manifest = keys.uri(keys.raw_prefix()), []
    for each in items:
        head, *names = json.loads(raw_manifest(each.plan, each.run, each.raw).body)
        below = head["prefix"].removeprefix(prefix)  # a cohort's raw data are the fleet's own
        manifest += [below + name for name in names]
    files = {
        SETTINGS: file_of(keys.run(plan.who, run.key), SETTINGS, SETTINGS_NAME, settings),
        RAW: _manifest(plan, run, RAW, prefix, manifest),
    }
    models = keys.uri(keys.models_prefix())
    for name, served in ((CHAMPIONS, "champion"), (PARENTS, "parent")):
        found = {getattr(each.run, served) for each in items} - {None}
        targets = sorted({each.target_model for each in found})
        if targets:
            files[name] = _manifest(plan, run, name, models, targets)
    return files


def channels_of(plan: CohortPlan | CityPlan, files: Mapping[str, JobFile]) -> dict[str, str]:
    """Return the URI of each channel of a job: a folder of the settings, a manifest of all else."""
    return {
        name: plan.keys.uri(file.key.removesuffix(SETTINGS_NAME) if name == SETTINGS else file.key)
        for name, file in files.items()
    }


def _manifest(
    plan: CohortPlan | CityPlan, run: Run, name: str, prefix: str, listed: Iterable[str]
) -> JobFile:
    value: list[Any] = [{"prefix": prefix}, *listed]
    return file_of(plan.keys.run(plan.who, run.key), name, f"{name}.manifest", value)
