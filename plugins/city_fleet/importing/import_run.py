"""A model that was brought as a run of its city: what judged it is kept where a run's jobs would have left it.

From there on nothing knows that there was no job: the gate's decision, the registry, approval, the endpoint's answers,
the live pointer and the run's record are those of any run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from city_fleet import naming
from city_fleet.champions import gate
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
    CityPlan,
    Run,
)
from city_fleet.run_steps import decide_step, end_step, known_step, record_step, register_step
from city_fleet.run_steps.step_input import CityRun
from city_fleet.state import registry, serving_code
from city_fleet.state.author import Author
from city_fleet.state.objects import BYTES, GZIP, JSON, json_of
from city_fleet.state.outcomes import Outcome

#: How a model was brought: stands where a job's name does.
IMPORT, PROMOTE = "import", "promote"
_FOLDERS = {PREPROCESS: "report", TRAIN: "training", EVALUATE: "evaluation"}
_TYPES = {".json": JSON, ".gz": GZIP}


@dataclass(frozen=True)
class Brought:
    """A model that no job of this installation has made, with what judged it.

    :param how: :data:`IMPORT` or :data:`PROMOTE`.
    :param about: what makes it another run than one before it, beside the way it was brought.
    :param as_of: stamp.
    :param files: step → file name → bytes: what the steps' jobs would have left of the city.
    :param origin: where it comes from, with ``kind`` and ``sha256``; the registry and the run's record say it.
    :param force: publish despite gate, order of as_of and pin.
    """

    how: str
    about: Sequence[str]
    as_of: str
    files: Mapping[str, Mapping[str, bytes]]
    origin: Mapping[str, Any]
    force: bool = False

    @property
    def status(self) -> Mapping[str, Any]:
        """Return what was measured of the data that it was judged on."""
        return dict(json_of(self.files[PREPROCESS]["status.json"]))

    @property
    def report(self) -> Mapping[str, Any]:
        """Return ``evaluation.json``."""
        return dict(json_of(self.files[EVALUATE][EVALUATION]))


@dataclass(frozen=True)
class Imported:
    """How it has ended.

    :param outcome: as of a run: ``live``, ``pending``, ``held``, ``superseded``.
    :param version: of the registry.
    :param target_model: of the version, where it is live.
    :param decision: of the gate.
    """

    outcome: str
    reasons: tuple[str, ...]
    version: int
    package_arn: str
    target_model: str | None
    record_uri: str
    decision: gate.Decision


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


def of_trial(plan: CityPlan, trial: Trial, origin: Mapping[str, Any]) -> Brought:
    """Return an imported model that the desk has judged.

    :param trial: its folder has what was made.
    :param origin: where the model comes from: ``kind``, ``model``, ``file``, ``sha256``, ``libraries``.
    """
    made = str((trial.report or {}).get("artifact_sha256"))
    files = {
        step: {
            path.name: path.read_bytes()
            for path in sorted((trial.folder / folder / f"city={trial.city}").iterdir())
        }
        for step, folder in _FOLDERS.items()
    }
    about = (plan.settings_digest, trial.as_of, str(origin["sha256"]), made)
    return Brought(IMPORT, about, trial.as_of, files, origin)


def finish(place: PlannedCity, brought: Brought, author: Author) -> Imported:
    """Register a model that was brought, publish it or keep the champion, and record the run. Repeating it is harmless.

    :param author: who brings it, and why.
    :raises PublishError: the endpoint does not answer with it as the evaluation did.
    """
    origin, how = brought.origin, brought.how
    key = naming.digest([how, *brought.about], 10)
    champion = fixed_run.champion_of(place.aws.s3, place.plan)
    parent = fixed_run.parent_of(place.aws.s3, place.plan)
    name = f"{how}__{brought.as_of}__{origin['sha256'][:12]}"
    as_of = naming.parse_as_of(brought.as_of)
    run = Run(name, key, as_of, force=brought.force, champion=champion, parent=parent)
    begun = datetime.now(UTC)
    results: dict[str, dict[str, Any]] = {
        step: {} for step in (*JOB_STEPS, DECIDE, REGISTER, PUBLISH, KEEP_CHAMPION)
    }
    results |= _kept(place, key, brought)
    at = CityRun(place, run, f"{how}/{author.by}", author, lambda: begun, results.__getitem__)
    known_step.keep_known(place, run, f"{results[PREPROCESS]['outputs']['report']}city={place.slug}/")
    results[DECIDE] = decide_step.decide(at, of_a_night=False)
    create = partial(register_step.create_version, place.aws, place.group)
    results[REGISTER], package = register_step.register_once(at, create)
    if results[REGISTER]["proceed"]:
        results[PUBLISH], _ = end_step.publish(at, package)
    else:
        results[KEEP_CHAMPION] = end_step.keep_champion(at)
    end = record_step.end_of(results, None, None)
    live = results[PUBLISH]["target_model"] if end.outcome == Outcome.LIVE else None
    record = {**record_step.full_record(place, run, results, end), "origin": dict(origin)}
    record |= registry.made_by(package.metadata)
    uri = record_step.write_record(place, run, record, results[DECIDE])
    decision = gate.Decision.from_dict(results[DECIDE])
    return Imported(end.outcome, tuple(end.reasons), package.number, package.arn, live, uri, decision)


def _kept(place: PlannedCity, key: str, brought: Brought) -> dict[str, dict[str, Any]]:
    """Keep what has judged it below the run's folder, and return what the run's steps would have said."""
    slug, how = place.slug, brought.how
    uris: dict[str, str] = {}
    for step, folder in _FOLDERS.items():
        below = f"{place.keys.step(slug, key, step)}{how}/{folder}/"
        uris[step] = place.keys.uri(below)
        for name, body in brought.files.get(step, {}).items():
            kind = next((kind for end, kind in _TYPES.items() if name.endswith(end)), BYTES)
            place.objects.put(f"{below}city={slug}/{name}", body, kind)
    report, evaluation = uris[PREPROCESS], f"{uris[EVALUATE]}city={slug}/"
    judged, status = brought.files[EVALUATE], brought.status
    manifest = brought.files[PREPROCESS].get("manifest.json")
    facts = {"job": how}
    return {
        PREPROCESS: {
            **facts,
            "outputs": {"report": report},
            "manifest_uri": f"{report}city={slug}/manifest.json",
            "manifest": {"inputs": []} if manifest is None else json_of(manifest),
            "rows": status.get("rows"),
            "data_status": status["status"],
            "reason": status.get("reason"),
        },
        TRAIN: {**facts, "artifact_uri": evaluation + ARTIFACT, "origin": dict(brought.origin)},
        EVALUATE: {
            **facts,
            "evaluation_uri": evaluation + EVALUATION,
            "holdout_uri": evaluation + HOLDOUT,
            "artifact_uri": evaluation + ARTIFACT,
            "sha256": {name: hashlib.sha256(judged[name]).hexdigest() for name in (EVALUATION, HOLDOUT)},
            "report": brought.report,
        },
    }


def with_training(trial: Trial, report: Mapping[str, Any]) -> Trial:
    """Return a prepared trial with the converter's report where train.py's would be."""
    folder = trial.folder / "training" / f"city={trial.city}"
    folder.mkdir(parents=True)
    (folder / "training.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return replace(trial, training=report)
