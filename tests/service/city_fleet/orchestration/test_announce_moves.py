"""The reconcile DAG says which live pointers people have moved, and leaves to runs what runs have moved."""

from __future__ import annotations

import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.execution_time.context import OutletEventAccessors

from city_fleet.config import Fleet, load_fleet
from city_fleet.orchestration import assets
from city_fleet.orchestration.fleet_tasks.announce_operator import AnnounceMovesOperator
from city_fleet.state import live
from tests.support.fleets import SMALL
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.states import pointer


def looked(fleet: Fleet, since: datetime) -> list[dict[str, Any]]:
    """What the task tells of the moves since the look before."""
    given: Any = {
        "prev_start_date_success": since,
        "dag_run": SimpleNamespace(start_date=datetime.now(UTC), run_after=datetime.now(UTC)),
        "outlet_events": OutletEventAccessors(),
    }
    cities = AnnounceMovesOperator(task_id="announce", fleet=fleet).execute(given)
    told = given["outlet_events"][assets.live_alias(fleet)].asset_alias_events
    assert [event.dest_asset_key.uri for event in told] == [fleet.keys.live_asset(city) for city in cities]
    return [dict(event.extra) for event in told]


def test_what_a_person_has_moved_is_told_and_what_a_run_has_moved_is_not(
    aws: LocalSageMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = {"endpoint_url": aws.url, "region_name": "us-east-1"}
    value = {"conn_type": "aws", "login": "local", "password": "local", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(value))
    name, s3 = f"f{uuid.uuid4().hex[:10]}", aws.client("s3")
    text = SMALL.replace("fleet: small", f"fleet: {name}").replace("small-data", "city-fleet")
    (tmp_path / "f.yaml").write_text(
        f"{text}events: {{assets: true}}\ncities: {{austin: , waco: , paris: }}\n"
    )
    fleet = load_fleet(tmp_path / "f.yaml", {})
    began = datetime.now(UTC)
    assert looked(fleet, began) == []
    for city, by in (("austin", "ann"), ("waco", f"{name}.waco/scheduled__2014-01-01")):
        state = replace(
            pointer(city, 1, fleet=name), moved_by=by, move="rollback", moved_at=began.isoformat()
        )
        live.move(s3, fleet.keys, state, None)
    s3.put_object(Bucket="city-fleet", Key=fleet.keys.live("paris"), Body=b"no pointer")
    austin = live.read(s3, fleet.keys, "austin")
    assert austin is not None
    said = {"target_model": austin.pointer.target_model, "sequence": 1, "as_of": "20140101T000000Z"}
    assert looked(fleet, began) == [said]
    assert looked(fleet, began + timedelta(hours=1)) == []
