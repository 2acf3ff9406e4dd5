"""The settings' limits are exactly SageMaker's."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from city_fleet.config import Algorithm, Gate
from city_fleet.config.gate_section import problems


def test_hyperparameters_fit_into_a_training_job() -> None:
    good = {f"p{number}": "1" for number in range(79)} | {"n" * 256: "1"}
    assert len(Algorithm(hyperparameters=good).hyperparameters) == 80
    for wrong, words in (
        ({**good, "one_more": "1"}, "81 hyperparameters"),
        ({"n" * 257: "1"}, "a name of 257 characters"),
        ({"": "1"}, "a name of 0 characters"),
        ({"city": "waco"}, "a reserved name"),
        ({"sagemaker_program": "x.py"}, "a reserved name"),
        ({"_hidden": "1"}, "a reserved name"),
    ):
        with pytest.raises(ValidationError, match=words):
            Algorithm(hyperparameters=wrong)


def test_a_gate_may_ask_only_for_metrics_of_the_task() -> None:
    gate = Gate(metric="accuracy", limits={"log_loss": 1.0, "mape": 0.2})
    (limit,) = problems(gate, "multiclass")
    assert (limit.path, limit.got, limit.of_key) == (("gate", "limits", "mape"), "'mape'", True)
    assert limit.allowed == (
        "of a multiclass model one of accuracy, log_loss, macro_f1, roc_auc, top_k_accuracy"
    )
    found = problems(gate, "regression")
    assert [problem.path for problem in found] == [("gate", "metric"), ("gate", "limits", "log_loss")]
    assert problems(Gate(metric="top_k_accuracy"), "binary")
    for task in ("regression", "binary", "multiclass"):
        assert not problems(Gate(), task)


def test_a_limit_is_above_0_but_for_r2() -> None:
    assert Gate(limits={"mape": 0.001, "r2": -1.0}).limits == {"mape": 0.001, "r2": -1.0}
    for limit in (0.0, -1.0):
        with pytest.raises(ValidationError):
            Gate(limits={"mape": limit})


def test_a_limit_of_a_share_is_no_percentage() -> None:
    assert Gate(limits={"accuracy": 1.0, "log_loss": 3.0}).limits["accuracy"] == 1
    with pytest.raises(ValidationError) as caught:
        Gate(limits={"accuracy": 80.0})
    (problem,) = caught.value.errors()[0]["ctx"]["problems"]
    assert (problem.path, problem.allowed) == (("limits", "accuracy"), "a number up to 1")
