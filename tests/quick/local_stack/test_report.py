"""The demo's table, its sentences and its progress."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from city_fleet.cli.run_progress import WIDEST_TABLE, Progress
from city_fleet.metrics import METRICS
from local.stack import report
from local.stack.evidence import errors_in
from local.stack.outcomes import Outcome, Prediction, answer

LIVE = Outcome(
    "fort_worth",
    "live",
    {
        "metrics": {"challenger": {"mape": 0.0203}, "naive": {"mape": 0.032}},
        "package_version": 3,
        "target_model": "fort_worth/20150801T000000Z-5d1a117e39fd.tar.gz",
        "reasons": ["MAPE 2.0% on 12 held-out rows beats the naive forecast's 3.2%"],
    },
    Prediction("2015-07-01", 161_372.4, 161_700.0, 6.12),
)
HELD = Outcome(
    "waco", "held", {"metrics": None, "reasons": ["MAPE 9% loses against the naive forecast's 4%"]}
)
POOR = Outcome("paris", "too_little_data", {"reasons": ["paris: 40 usable months of 60 needed"]})
FAILED = Outcome("tyler", "failed", {}, None, ["task train failed (try 3)", "  ValueError: no rows"])


def _shown(outcomes: list[Outcome]) -> str:
    target = io.StringIO()
    report.show(Console(file=target, width=80), outcomes)
    return target.getvalue()


def test_a_live_city_is_one_whole_line_however_narrow_the_output() -> None:
    line = next(line for line in _shown([LIVE]).splitlines() if line.startswith("fort_worth"))
    assert line.split() == [
        *("fort_worth", "live", "2.0%", "3.2%", "3", "fort_worth/20150801T000000Z-5d1a117e39fd.tar.gz"),
        *("2015-07-01", "161,372", "161,700", "6.1"),
    ]


def test_every_city_that_is_not_live_has_its_sentence() -> None:
    text = _shown([LIVE, HELD, POOR, FAILED])
    assert "waco, held: MAPE 9% loses against the naive forecast's 4%" in text
    assert "paris, too little data: paris: 40 usable months of 60 needed" in text
    assert "tyler failed:\n  task train failed (try 3)\n    ValueError: no rows" in text
    assert [outcome.decided for outcome in (LIVE, HELD, POOR, FAILED)] == [True, True, True, False]


TOP_3 = [("Uchi", 0.7), ("[b]", 0.2), ("Thai", 0.06)]


@pytest.mark.parametrize(
    ("answered", "metric", "values", "actual", "shown"),
    [
        (
            {"label": "Uchi", "top_k": [{"label": each, "probability": share} for each, share in TOP_3]},
            *("top_k_accuracy", (0.55, 0.27), "[b]"),
            "55.0% 27.0% 1 a12 Uchi 70%, [b] 20%, Thai 6% [b] 4.2",
        ),
        (
            {"label": "late", "probabilities": {"on time": 0.3, "late": 0.7}},
            *("log_loss", (0.357, 0.609), "on time"),
            "0.357 0.609 1 a12 late 70% on time 4.2",
        ),
        (215_000.0, "rmse", (20_500.0, 41_000.0), 199_900.0, "20,500 41,000 1 a12 215,000 199,900 4.2"),
    ],
)
def test_each_task_shows_its_metric_and_its_answer(
    answered: object, metric: str, values: tuple[float, float], actual: float | str, shown: str
) -> None:
    metrics = {whose: {metric: value} for whose, value in zip(("challenger", "naive"), values, strict=True)}
    outcome = Outcome(
        *("austin", "live", {"metrics": metrics, "package_version": 1}),
        prediction=Prediction("a12", answer(answered), actual, 4.2),
        metric=metric,
        algorithm="linear",
        baseline="class frequencies",
    )
    title, _, line, *rest = _shown([outcome]).splitlines()
    assert METRICS[metric].title in title
    assert " ".join(line.split()) == f"austin live linear {shown}"
    assert rest[-1] == "naive: predicted without a model, by class frequencies"


def test_progress_is_one_line_per_change_where_there_is_no_terminal() -> None:
    target = io.StringIO()
    with Progress(Console(file=target, width=80), ["austin"]) as progress:
        progress.update("austin", "train", "deferred", 1, 9)
        progress.update("austin", "train", "deferred", 1, 9)
        progress.update("austin", "record", "success", 9, 9)
        progress.refresh()
    lines = [line.split()[2:] for line in target.getvalue().splitlines()]
    assert lines == [["austin", "train", "deferred"], ["austin", "record", "success"]]


def test_progress_of_many_cities_fits_a_screen() -> None:
    names = [f"city_{number}" for number in range(46)]
    progress = Progress(Console(file=io.StringIO(), force_terminal=True), names)
    progress.update("city_40", "publish", "running", 7, 9)
    table = progress.table()
    assert table.row_count == WIDEST_TABLE + 1
    assert str(next(iter(table.columns[0].cells))) == "city_40"


def test_the_errors_of_a_task_log_are_its_exceptions(tmp_path: Path) -> None:
    log = tmp_path / "attempt=1.log"
    entries = [
        {"level": "info", "event": "Started"},
        {
            "level": "error",
            "event": "Task failed",
            "error_detail": [{"exc_type": "JobError", "exc_value": "no rows"}],
        },
    ]
    log.write_text("\n".join(json.dumps(entry) for entry in entries))
    assert errors_in(log) == ["JobError: no rows"]
    log.write_text("only this\n")
    assert errors_in(log) == ["only this"]
    assert errors_in(tmp_path / "none.log") == ["(there is no task log)"]
