"""The settings' limits are exactly SageMaker's."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from city_fleet.config import Algorithm, Gate


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


def test_a_limit_is_above_0_but_for_r2() -> None:
    assert Gate(limits={"mape": 0.001, "r2": -1.0}).limits == {"mape": 0.001, "r2": -1.0}
    for limit in (0.0, -1.0):
        with pytest.raises(ValidationError):
            Gate(limits={"mape": limit})
