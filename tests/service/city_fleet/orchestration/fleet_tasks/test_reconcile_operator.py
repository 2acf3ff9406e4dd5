"""What a look of the reconcile DAG tells Airflow's metrics."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from city_fleet.champions import breaker
from city_fleet.config import Breaker
from city_fleet.orchestration.fleet_tasks.reconcile_operator import ReconcileOperator
from tests.support.desk import Desk
from tests.support.factors import KEYS
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.stats_recorder import recorded

STOPS = Breaker(max_failed_share=0, minimum_sample=1)
FIRST, SECOND = "20140101T000000Z", "20140201T000000Z"


def test_nights_that_the_breaker_has_stopped_are_told_until_a_person_decides(
    aws: LocalSageMaker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = {"endpoint_url": aws.url, "region_name": "us-east-1"}
    value = {"conn_type": "aws", "login": "local", "password": "local", "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(value))
    desk = Desk(aws, tmp_path)
    operator = ReconcileOperator(task_id="reconcile", fleet=desk.fleet)
    nothing: Any = {}

    def nights() -> list[float]:
        with recorded() as recorder:
            operator.execute(nothing)
        return recorder.told("cityfleet.nights_awaiting_approval", fleet="factors", environment="laptop")

    for as_of in (FIRST, SECOND):
        breaker.mark(desk.s3, KEYS, as_of, desk.slug, ["too bad"])
        assert breaker.stop_or_read(desk.s3, KEYS, as_of, STOPS) is not None
    try:
        assert nights() == [], "nobody is asked for a figure that goes nowhere"
        monkeypatch.setenv("AIRFLOW__METRICS__STATSD_ON", "True")
        assert nights() == [2]
        breaker.settle(desk.s3, KEYS, FIRST, breaker.REJECTED, by="ann", note="bad data")
        assert nights() == [1]
        assert breaker.undecided(desk.s3, KEYS, timedelta(hours=1)) == [SECOND]
        assert breaker.undecided(desk.s3, KEYS, timedelta(0)) == [], "what it held has expired"
        desk.s3.put_object(Bucket=KEYS.bucket, Key=KEYS.night(SECOND), Body=b'{"fleet": "ohio"}')
        assert nights() == [], "the look goes on without it"
    finally:
        for as_of in (FIRST, SECOND):
            for key in (KEYS.night(as_of), KEYS.breaker_mark(as_of, desk.slug)):
                desk.s3.delete_object(Bucket=KEYS.bucket, Key=key)
