"""An import as a run of its city: what the desk has made is kept where a run's jobs would have left it.

From there on nothing knows that there was no job: the gate's decision, the registry, approval, the endpoint's answers,
the live pointer and the run's record are those of any run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from city_fleet import naming
from city_fleet.champions.planned_city import PlannedCity
from city_fleet.champions.run_evidence import ARTIFACT, EVALUATION, HOLDOUT
from city_fleet.desk.trial import Trial
from city_fleet.errors import PublishError
from city_fleet.jobs import fixed_run
from city_fleet.plan import (
    DECIDE,
    ENDPOINT_PURPOSE,
    EVALUATE,
    JOB_STEPS,
    KEEP_CHAMPION,
    PREPROCESS,
    PUBLISH,
    REGISTER,
    TRAIN,
    Run,
)
from city_fleet.run_steps import decide_step, end_step, known_step, record_step, register_step
from city_fleet.run_steps.step_input import CityRun
from city_fleet.state import serving_code
from city_fleet.state.author import Author
from city_fleet.state.objects import BYTES, GZIP, JSON

#: Stands where a job's name does.
NO_JOB = "import"
_FOLDERS = {PREPROCESS: "report", TRAIN: "training", EVALUATE: "evaluation"}
_TYPES = {".json": JSON, ".gz": GZIP}


@dataclass(frozen=True)
class Imported:
    """How an import has ended.

    :param outcome: as of a run: ``live``, ``pending``, ``held``, ``superseded``.
    :param version: of the registry.
    :param target_model: of the version, where it is live.
    """

    outcome: str
    reasons: tuple[str, ...]
    version: int
    package_arn: str
    target_model: str | None
    record_uri: str


def refuse_lacking_code(place: PlannedCity, algorithm: str) -> None:
    """Refuse a model that the fleet's endpoint has no code for, before anything is written.

    :raises PublishError: saying which DAG brings it.
    """
    endpoint = place.plan.endpoint
    dag = naming.fleet_dag_id(place.plan.fleet.fleet, ENDPOINT_PURPOSE)
    noted = serving_code.noted(place.objects, place.keys, endpoint)
    why = serving_code.lacking([algorithm], noted, endpoint, dag)
    if why is not None:
        raise PublishError(why, city=place.slug)


def finish(place: PlannedCity, trial: Trial, origin: Mapping[str, Any], author: Author) -> Imported:
    """Register an imported model, publish it or keep the champion, and record the run. Repeating it is harmless.

    :param trial: a judged one; its folder has what was made.
    :param origin: where the model comes from: ``kind``, ``model``, ``file``, ``sha256``, ``libraries``.
    :param author: who imports it, and why.
    :raises PublishError: the endpoint does not answer with it as the evaluation did.
    """
    as_of = naming.parse_as_of(trial.as_of)
    made = str((trial.report or {}).get("artifact_sha256"))
    key = naming.digest([NO_JOB, place.plan.settings_digest, trial.as_of, origin["sha256"], made], 10)
    champion = fixed_run.champion_of(place.aws.s3, place.plan)
    parent = fixed_run.parent_of(place.aws.s3, place.plan)
    name = f"import__{trial.as_of}__{origin['sha256'][:12]}"
    run = Run(name, key, as_of, champion=champion, parent=parent)
    begun = datetime.now(UTC)
    results: dict[str, dict[str, Any]] = {
        step: {} for step in (*JOB_STEPS, DECIDE, REGISTER, PUBLISH, KEEP_CHAMPION)
    }
    results |= _kept(place, key, trial, origin)
    at = CityRun(place, run, f"import/{author.by}", author, lambda: begun, results.__getitem__)
    known_step.keep_known(place, run, f"{results[PREPROCESS]['outputs']['report']}city={place.slug}/")
    results[DECIDE] = decide_step.decide(at, of_a_night=False)
    create = partial(register_step.create_version, place.aws, place.group)
    results[REGISTER], package = register_step.register_once(at, create)
    if results[REGISTER]["proceed"]:
        results[PUBLISH], _ = end_step.publish(at, package)
    else:
        results[KEEP_CHAMPION] = end_step.keep_champion(at)
    live = results[PUBLISH].get("target_model") if results[PUBLISH].get("live") else None
    end = record_step.end_of(results, None, None)
    record = {**record_step.full_record(place, run, results, end), "origin": dict(origin)}
    uri = record_step.write_record(place, run, record, results[DECIDE])
    return Imported(end.outcome, tuple(end.reasons), package.number, package.arn, live, uri)


def _kept(place: PlannedCity, key: str, trial: Trial, origin: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Copy what the desk has made below the run's folder, and return what its steps would have said."""
    slug = place.slug
    digests: dict[str, str] = {}
    uris: dict[str, str] = {}
    for step, folder in _FOLDERS.items():
        below = f"{place.keys.step(slug, key, step)}{NO_JOB}/{folder}/"
        uris[step] = place.keys.uri(below)
        for path in sorted((trial.folder / folder / f"city={slug}").iterdir()):
            body = path.read_bytes()
            kind = next((kind for end, kind in _TYPES.items() if path.name.endswith(end)), BYTES)
            place.objects.put(f"{below}city={slug}/{path.name}", body, kind)
            if step == EVALUATE:
                digests[path.name] = hashlib.sha256(body).hexdigest()
    report, evaluation = uris[PREPROCESS], f"{uris[EVALUATE]}city={slug}/"
    facts = {"job": NO_JOB}
    manifest = _json(trial.folder / "report" / f"city={slug}" / "manifest.json")
    return {
        PREPROCESS: {
            **facts,
            "outputs": {"report": report},
            "manifest_uri": f"{report}city={slug}/manifest.json",
            "manifest": manifest,
            "rows": trial.status.get("rows"),
            "data_status": trial.status["status"],
            "reason": trial.status["reason"],
        },
        TRAIN: {**facts, "artifact_uri": evaluation + ARTIFACT, "origin": dict(origin)},
        EVALUATE: {
            **facts,
            "evaluation_uri": evaluation + EVALUATION,
            "holdout_uri": evaluation + HOLDOUT,
            "artifact_uri": evaluation + ARTIFACT,
            "sha256": {name: digests[name] for name in (EVALUATION, HOLDOUT)},
            "report": trial.report,
        },
    }


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"inputs": []}


def with_training(trial: Trial, report: Mapping[str, Any]) -> Trial:
    """Return a prepared trial with the converter's report where train.py's would be."""
    folder = trial.folder / "training" / f"city={trial.city}"
    folder.mkdir(parents=True)
    (folder / "training.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return replace(trial, training=report)
