"""When a challenger is asked for its forecast, and what is written down of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from city_fleet import clock
from city_fleet.prediction.challenger_forecast import is_due, rows_of
from city_fleet.prediction.endpoint_answer import Forecast, Prediction
from city_fleet.state.live_scores import LiveScores
from tests.quick.city_fleet.state.test_challengers import THEN, TRIAL

BY_NAME = {"frequency": "months", "horizon": 2, "unit": None, "columns": ["median"]}
TRIED = replace(TRIAL, model=replace(TRIAL.model, forecast=BY_NAME))
STEPS = [{"period": f"2014-0{step + 2}-01", "step": step, "prediction": 10.0 * step} for step in (1, 2)]


def test_a_forecast_is_written_down_once_a_night() -> None:
    answer = Prediction(
        "austin",
        10.0,
        TRIED.model.target_model,
        "arn",
        4,
        "",
        1.0,
        forecast=Forecast(STEPS, None, None, None, None),
    )
    nothing = LiveScores("austin")
    assert is_due(TRIED, nothing, THEN)
    assert not is_due(TRIAL, nothing, THEN), "it can't be asked by its name"
    rows = rows_of(TRIED, answer, THEN)
    assert [(row.key, row.step, row.role, row.predicted, row.at) for row in rows] == [
        ("2014-03-01", 1, "challenger", 10.0, clock.iso(THEN)),
        ("2014-04-01", 2, "challenger", 20.0, clock.iso(THEN)),
    ]
    written = nothing.with_answers(rows)
    assert not is_due(TRIED, written, THEN + timedelta(hours=2))
    assert is_due(TRIED, written, THEN + timedelta(hours=24))
    other = replace(TRIED, model=replace(TRIED.model, target_model="austin/other.tar.gz"))
    assert is_due(other, written, THEN)
