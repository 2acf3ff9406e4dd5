"""A notebook of a city's three steps, and beside it a folder with what they work on.

Neither holds a credential or a path of this machine: the notebook knows the folder by its name. What the last cell
sends is the request of the city's DAG, in ``job.json``.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from string import Template
from typing import Any

from city_fleet import naming
from city_fleet.desk.data_at_hand import DataAtHand
from city_fleet.desk.notebook_cells import CELLS, CODE
from city_fleet.desk.script_run import write_scripts
from city_fleet.desk.trial import Served
from city_fleet.jobs.code_bundle import SOURCE_ARCHIVE, CodeBundle
from city_fleet.jobs.images import image_uri
from city_fleet.jobs.job_files import learns_again, settings
from city_fleet.jobs.job_requests import TAG_CITY, train_request
from city_fleet.outgoing_text import markdown
from city_fleet.plan import EVALUATE, PREPROCESS, TRAIN, CityPlan, Run

_FORMAT = {"nbformat": 4, "nbformat_minor": 5}
#: Stands for the name of the job whose output the tables would be.
_DESK = "desk"


def files_of(path: Path) -> Path:
    """Return the folder that lies beside a notebook."""
    return path.with_name(f"{path.stem}-files")


@dataclass(frozen=True)
class Subject:
    """What a notebook is about.

    :param as_of: the moment up to which the steps may see data, UTC.
    :param data: the city's raw data, below the folder of :func:`files_of`, as are the archives of what serves.
    """

    plan: CityPlan
    as_of: datetime
    data: DataAtHand
    champion: Served | None = None
    parent: Served | None = None

    @property
    def parts(self) -> tuple[str, ...]:
        """Return the tables that the training job gets."""
        return ("train", "validation", *(["test"] if learns_again(self.plan) else []))


def write(path: Path, subject: Subject) -> None:
    """Write a notebook and what it works on.

    :param path: ``….ipynb``; neither it nor the rest of its folder is there yet.
    :raises CityFleetError: the scripts, the image or holidays can't be had.
    """
    plan, files = subject.plan, files_of(path)
    bundle = CodeBundle.of(plan)
    write_scripts(bundle.files, files / "code")
    (files / SOURCE_ARCHIVE).write_bytes(bundle.archive())
    run = _run(subject)
    for step, asked in _settings(subject, run).items():
        _write_json(files / "settings" / f"{step}.json", asked)
    _write_json(files / "job.json", _job(subject, run, bundle))
    _write_json(path, notebook(plan, files.name))


def notebook(plan: CityPlan, files: str) -> dict[str, Any]:
    """Return a notebook without outputs, as nbformat 4.5 has it.

    :param files: name of the folder beside it.
    """
    filled = {
        "title": markdown(plan.city.shown_name),
        "city": json.dumps(plan.city.slug),
        "files": files,
        "files_literal": json.dumps(files),
        "change": _change(plan),
    }
    cells: list[dict[str, Any]] = []
    for number, (kind, text) in enumerate(CELLS):
        cell = {
            "cell_type": kind,
            "id": f"cell-{number:02}",
            "metadata": {},
            "source": Template(text).substitute(filled),
        }
        cells.append(cell | ({"execution_count": None, "outputs": []} if kind == CODE else {}))
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {
        "cells": cells,
        "metadata": {"kernelspec": kernel, "language_info": {"name": "python"}},
        **_FORMAT,
    }


def _change(plan: CityPlan) -> str:
    """Return a line that changes a setting which the city's algorithm has."""
    _, name, given = plan.city.algorithm.trained()[0]
    if name != "xgboost":
        return 'city["seed"] += 1'
    return f'city["candidates"][0]["hyperparameters"]["max_depth"] = {int(given.get("max_depth", 6)) + 2}'


def _run(subject: Subject) -> Run:
    champion, parent = subject.champion, subject.parent
    # A key of its own, so that no other run's files are touched; below runs/, where jobs may read and write.
    return Run(
        _DESK,
        naming.digest([_DESK, uuid.uuid4().hex]),
        subject.as_of,
        champion=champion.as_champion if champion else None,
        parent=parent.as_parent if parent else None,
    )


def _settings(subject: Subject, run: Run) -> Mapping[str, Mapping[str, Any]]:
    plan, data = subject.plan, subject.data
    names = [name for slug in plan.children or (plan.city.slug,) for name in data.files.get(slug, ())]
    return {
        PREPROCESS: settings(plan, run, PREPROCESS, names) | {"raw_uri": data.raw_uri},
        TRAIN: settings(plan, run, TRAIN),
        EVALUATE: settings(plan, run, EVALUATE),
    }


def _job(subject: Subject, run: Run, bundle: CodeBundle) -> dict[str, Any]:
    """Return what the cell needs that trains on SageMaker: the DAG's request, with the desk's own tags and no name."""
    plan = subject.plan
    fleet, keys = plan.fleet, plan.fleet.keys
    tables = keys.uri(keys.step(plan.city.slug, run.key, PREPROCESS))
    request = train_request(
        plan,
        run,
        image_uri=image_uri(plan.city.algorithm, fleet.region),
        code_archive_uri=bundle.archive_uri(keys),
        data={part: f"{tables}{_DESK}/{part}/" for part in subject.parts},
    )
    tags = {
        naming.TAG_FLEET: fleet.fleet,
        naming.TAG_ENVIRONMENT: fleet.environment,
        TAG_CITY: plan.city.slug,
    }
    del request["TrainingJobName"]
    return {
        "region": fleet.region,
        "bucket": keys.bucket,
        "kms_key": fleet.kms_key,
        # The SDK puts the moment behind it, and cuts off of its end what is too long with it.
        "name": naming.job_name(
            fleet.fleet, fleet.environment, plan.city.slug, _DESK, request_digest=run.key, attempt=1
        ),
        "parts": list(subject.parts),
        "code": [name for name, _ in bundle.files],
        "code_uri": bundle.prefix_uri(keys),
        "request": request | {"Tags": [{"Key": key, "Value": value} for key, value in tags.items()]},
    }


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
