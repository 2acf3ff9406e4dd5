"""What a person reads who is asked about a model: the metrics of its task, beside everything it was judged against."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from city_fleet.approval import approval_question
from city_fleet.champions.gate import decide
from city_fleet.config import Gate

PLAN: Any = SimpleNamespace(
    package_group="restaurants--laptop--austin", city=SimpleNamespace(slug="austin"), tries=False
)
VERSION: Any = SimpleNamespace(
    number=7,
    arn="arn:aws:sagemaker:us-east-1:111122223333:model-package/restaurants--laptop--austin/7",
    as_of="20150801T000000Z",
    metadata={
        "approval_expires_at": "20150804T000000Z",
        "artifact_sha256": "0" * 64,
        "as_of": "20150801T000000Z",
    },
)


def body(decision: Any) -> str:
    return approval_question.body(PLAN, VERSION, decision=decision, evaluation_uri="s3://b/evaluation.json")


def test_a_classification_shows_its_own_metrics_the_compared_one_first() -> None:
    measured = {"accuracy": 0.401, "log_loss": 1.2, "macro_f1": 0.1, "roc_auc": None, "top_k_accuracy": 0.6}
    report = {
        "task": "multiclass",
        "rows": 200,
        "challenger": measured | {"accuracy": 0.712},
        "naive": measured,
        "baselines": {"class | frequencies": measured},
        "champion": None,
    }
    text = body(decide(report, Gate(metric="top_k_accuracy", must_beat_naive=False)).to_dict())
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert table == [
        "| 200 held-out rows | new model | class \\| frequencies |",
        "|---|---|---|",
        "| top-3 accuracy | 60.0% | 60.0% |",
        "| accuracy | 71.2% | 40.1% |",
        "| log loss | 1.200 | 1.200 |",
        "| macro F1 | 0.100 | 0.100 |",
        "| ROC AUC | – | – |",
    ]


def test_a_decision_of_an_earlier_version_has_one_baseline() -> None:
    metrics = {"mape": 0.05, "rmse": 30_000.0, "mae": 12.5, "r2": None}
    decision = {
        "rows": 12,
        "reasons": [],
        "metrics": {"challenger": metrics, "naive": metrics, "champion": metrics},
    }
    table = [line for line in body(decision).splitlines() if line.startswith("|")]
    assert table[0] == "| 12 held-out rows | new model | serves now | last known value |"
    assert "Approve publishes `austin/" in body(decision)
    assert table[2:] == [
        "| MAPE | 5.0% | 5.0% | 5.0% |",
        "| WAPE | – | – | – |",
        "| RMSE | 30,000 | 30,000 | 30,000 |",
        "| MAE | 12.5 | 12.5 | 12.5 |",
        "| R² | – | – | – |",
    ]


def test_what_approving_does_is_said_where_models_are_tried_first(monkeypatch: pytest.MonkeyPatch) -> None:
    decision = {"rows": 12, "reasons": [], "metrics": {}, "champion_target_model": "austin/x.tar.gz"}
    monkeypatch.setattr(PLAN, "tries", True)
    asked = body(decision)
    assert (
        "puts `austin/20150801T000000Z-000000000000.tar.gz` on trial beside the champion; Reject keeps"
        in asked
    )
    assert "Approve publishes" in body({**decision, "champion_target_model": None})
