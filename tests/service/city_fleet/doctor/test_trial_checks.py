"""What the doctor says of trials: those that nothing will decide, that nobody ends, and whose artifact is gone."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from city_fleet import clock
from city_fleet.config import Fleet
from city_fleet.doctor.findings import Area, Finding, Level
from city_fleet.doctor.trial_checks import trials
from city_fleet.state import challengers, live_scores
from city_fleet.state.challengers import Challenger
from city_fleet.state.live_scores import Scored
from city_fleet.state.objects import ObjectStore
from tests.quick.city_fleet.state.test_challengers import TRIAL
from tests.support.fleets import texas
from tests.support.local_sagemaker import LocalSageMaker

BUCKET = "doctors-trials"
BY_NAME = {"frequency": "month", "horizon": 3, "unit": "US$", "columns": ["median"]}


def with_looks(fleet: Fleet) -> Fleet:
    """The fleet with tables of forecasts, and somebody who looks at what came true."""
    monitor = fleet.monitor.model_copy(update={"schedule": "@daily"})
    tables = fleet.forecasts.model_copy(update={"schedule": "@daily"})
    return fleet.model_copy(update={"monitor": monitor, "forecasts": tables})


def test_a_trial_that_can_not_come_to_its_end_is_said(aws: LocalSageMaker) -> None:
    s3, now = aws.client("s3"), clock.utc_now()
    s3.create_bucket(Bucket=BUCKET)
    fleet = texas().model_copy(update={"bucket": BUCKET})
    store, keys = ObjectStore(s3, BUCKET), fleet.keys

    def on_trial(began: float, ends: float, **more: Any) -> Challenger:
        since, until = (clock.iso(now + timedelta(days=days)) for days in (began, ends))
        model = replace(TRIAL.model, forecast=BY_NAME)
        trial = replace(TRIAL, **{"model": model, "since": since, "until": until, **more})
        challengers.change(store, keys, lambda found: found.begun(trial))
        return trial

    def look(of: Fleet) -> list[Finding]:
        return list(trials(Area("AWS"), of, s3))

    assert look(fleet) == []
    trial = on_trial(-1, 13)
    gone, undecided = look(fleet)
    assert (
        gone.what
        == "the artifact of a challenger on trial is gone, so instances that start can't load it: austin"
    )
    assert (gone.level, undecided.level) == (Level.FAIL, Level.WARN)
    assert undecided.what == (
        "a trial can't be decided by what really happened, only by failures and by time, as monitor.schedule is null: "
        "austin"
    )
    s3.put_object(Bucket=BUCKET, Key=keys.model(trial.model.target_model), Body=b"x")
    looks = with_looks(fleet)
    (well,) = look(looks)
    assert (well.level, well.what) == (Level.OK, "1 trials of challengers can come to an end")
    # No forecast by name, and no table of forecasts: nothing to hold against what came true.
    monitored = looks.model_copy(update={"forecasts": fleet.forecasts})
    assert "as forecasts.schedule is null: austin" in look(monitored)[0].what
    on_trial(-1, 13, model=TRIAL.model)
    assert "makes no forecast by the city's name: austin" in look(looks)[0].what
    # Half of the time is over.
    trial = on_trial(-8, 6)
    (late,) = look(looks)
    assert late.what.startswith("half of a trial's time is over, and of no answer of its challenger")
    row = Scored(
        key="2014-01-01",
        step=1,
        role="challenger",
        target_model=trial.model.target_model,
        at=trial.since,
        predicted=1.0,
        actual=1.0,
        error=0.0,
    )
    live_scores.update(store, keys, "austin", lambda found: found.with_answers([row]))
    assert [each.level for each in look(looks)] == [Level.OK]
    # Its time is up, and the reaper does not run.
    on_trial(-15, -1)
    (forgotten,) = look(looks)
    assert (forgotten.level, forgotten.advice) == (
        Level.FAIL,
        "Unpause the DAG texas_housing._reaper, or run it",
    )
    s3.put_object(Bucket=BUCKET, Key=keys.challengers(), Body=b"{")
    (broken,) = look(looks)
    assert "does not say which challengers are on trial" in broken.what
    assert broken.level is Level.FAIL
