"""How sure a model is, as one number."""

from __future__ import annotations

import math
from typing import Any

import pytest

from city_fleet.champions.doubt import doubt_of


def report(*, ratio: bool, width: Any, prediction: Any = 200.0) -> dict[str, Any]:
    return {
        "intervals": {"ratio": ratio, "widths": {"1": {"80": width, "95": None}}},
        "forecast": {"forecasts": [{"prediction": prediction}]},
    }


def test_a_ratio_reaches_as_far_as_its_upper_end() -> None:
    assert doubt_of(report(ratio=True, width=math.log(1.05))) == pytest.approx(0.05)


def test_a_width_is_a_share_of_the_forecast() -> None:
    assert doubt_of(report(ratio=False, width=10)) == 0.05
    assert doubt_of(report(ratio=False, width=10, prediction=-200)) == 0.05


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"intervals": None, "forecast": None},
        report(ratio=True, width=None),
        report(ratio=True, width=1e9),
        report(ratio=False, width=1, prediction=0),
        report(ratio=False, width=-1),
        report(ratio=False, width="x"),
        report(ratio=False, width=1, prediction=math.nan),
        {"intervals": [], "forecast": []},
    ],
)
def test_what_can_not_be_known_is_not_said(value: dict[str, Any]) -> None:
    assert doubt_of(value) is None
