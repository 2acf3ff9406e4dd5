"""The task that looks after trials, run as the reaper's DAG runs it, on the scores that are there."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from city_fleet import clock
from city_fleet.champions import trials
from city_fleet.champions.promotion import Choice
from city_fleet.config import load_fleet
from city_fleet.orchestration.fleet_tasks.trials_operator import TRIALS, LookAfterTrialsOperator
from city_fleet.state import challengers, live_scores
from city_fleet.state.author import Author
from city_fleet.state.live_scores import Scored
from tests.support.factors import ENDPOINT, KEYS, City, create_endpoint
from tests.support.fleets import SMALL
from tests.support.local_sagemaker import LocalSageMaker


@pytest.fixture
def city(aws: LocalSageMaker, monkeypatch: pytest.MonkeyPatch) -> City:
    extra = {"endpoint_url": aws.url, "region_name": "us-east-1"}
    value = {"conn_type": "aws", "login": "local", "password": "local", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(value))
    create_endpoint(aws)
    city = City(aws)
    city.go_live(1.05, month=1)
    city.train(1.01, month=2)
    return city


def look(city: City, folder: Path, *, dry_run: bool = False) -> Any:
    text = SMALL.replace("fleet: small", "fleet: factors\nenvironment: laptop")
    text = text.replace("small-data", KEYS.bucket)
    path = folder / "factors.yaml"
    path.write_text(f"{text}endpoint: {{name: {ENDPOINT}}}\ncities: {{{city.slug}: }}\n", encoding="utf-8")
    task = LookAfterTrialsOperator(task_id=TRIALS, fleet=load_fleet(path, {}))
    dag = SimpleNamespace(dag_id="factors._reaper")
    return task.execute({"params": {"dry_run": dry_run}, "dag": dag, "run_id": "r1"})  # type: ignore[arg-type]


def test_a_trial_runs_until_its_scores_decide_it(city: City, tmp_path: Path) -> None:
    assert city.slug not in look(city, tmp_path)
    until = clock.utc_now() + timedelta(days=14)
    trials.begin(city.context(), Author("ann"), trials.Wish(Choice(2), "canary", 0.1, until))
    store = city.context().objects
    trial = challengers.read(store, KEYS).running[city.slug]
    assert look(city, tmp_path, dry_run=True) == {}
    assert look(city, tmp_path)[city.slug] == "running"
    rows = [
        Scored(
            key=f"2014-{month:02}-01",
            step=1,
            role=role,
            target_model=model,
            at=trial.since,
            predicted=off + month,
        )
        for month in range(1, 13)
        for role, model, off in (
            ("champion", trial.champion, 9.0),
            ("challenger", trial.model.target_model, 1.0),
        )
    ]
    truths = {row.key: 0.0 for row in rows}
    live_scores.update(store, KEYS, city.slug, lambda found: found.with_answers(rows).with_truths(truths))
    assert look(city, tmp_path)[city.slug] == "promoted"
    pointer = city.pointer
    assert pointer is not None
    assert (pointer.target_model, pointer.moved_by) == (trial.model.target_model, "factors._reaper/r1")
    assert city.slug not in look(city, tmp_path)
