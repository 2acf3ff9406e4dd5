"""Other settings of one city, as a person writes them on a command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from city_fleet.config import load_fleet
from city_fleet.config.overridden import as_yaml, overridden, read_changes
from city_fleet.errors import CityFleetError
from tests.support.fleets import TEXAS

FLEET = load_fleet(TEXAS)


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("max_depth=6", ("algorithm", "hyperparameters", "max_depth"), 6),
        ("eta = 0.1", ("algorithm", "hyperparameters", "eta"), 0.1),
        ("dataset.horizon=1", ("dataset", "horizon"), 1),
        ("algorithm.name=knn", ("algorithm", "name"), "knn"),
        ("algorithm.candidates=[xgboost, linear]", ("algorithm", "candidates"), ["xgboost", "linear"]),
        ("gate={metric: mae}", ("gate",), {"metric": "mae"}),
    ],
)
def test_a_bare_name_is_a_hyperparameter_and_a_path_a_setting(
    text: str, path: tuple[str, ...], value: Any
) -> None:
    assert read_changes([text]) == {path: value}


def test_one_city_gets_other_settings_and_the_lines_that_keep_them(tmp_path: Path) -> None:
    changes = read_changes(["max_depth=6", "dataset.target.lags=[1, 12]", "gate.metric=mae"])
    changed = overridden(FLEET, "fort_worth", changes)
    city = changed.cities["fort_worth"]
    assert city.algorithm.hyperparameters["max_depth"] == 6
    assert (
        city.algorithm.hyperparameters["eta"] == FLEET.cities["fort_worth"].algorithm.hyperparameters["eta"]
    )
    assert city.name == "Fort Worth"
    assert changed.cities["austin"] is FLEET.cities["austin"]

    document = yaml.safe_load(TEXAS.read_text(encoding="utf-8"))
    kept = yaml.safe_load(as_yaml("fort_worth", FLEET, changes))["cities"]["fort_worth"]
    document["cities"]["fort_worth"] |= kept
    path = tmp_path / "texas.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    assert load_fleet(path).cities["fort_worth"] == city


def test_another_algorithm_does_not_inherit_what_it_has_not() -> None:
    changes = read_changes(["algorithm.name=knn", "n_neighbors=7"])
    algorithm = overridden(FLEET, "austin", changes).cities["austin"].algorithm
    assert algorithm.trained()[0][1:] == ("knn", {"n_neighbors": 7})
    kept = yaml.safe_load(as_yaml("austin", FLEET, changes))["cities"]["austin"]["algorithm"]
    assert kept["hyperparameters"]["max_depth"] is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_dept=6", "Did you mean 'max_depth'?"),
        ("max_depth=deep", "allowed: a whole number from 0 to 64"),
        ("dataset.horizn=1", "Did you mean 'horizon'?"),
        ("gate.metric=mapee", "Did you mean 'mape'?"),
        ("algorithm.name=forest", "an algorithm of include/scripts/algorithms"),
        ("max_depth", "allowed: NAME=VALUE"),
        ("dataset..horizon=1", "allowed: NAME=VALUE"),
        ("eta=[1", "a value as in a fleet file"),
        ("scripts=../elsewhere", "leads out of the project"),
    ],
)
def test_what_can_not_stand_there_is_refused_by_the_name_of_the_option(text: str, said: str) -> None:
    with pytest.raises(CityFleetError) as error:
        overridden(FLEET, "austin", read_changes([text]))
    assert str(error.value).startswith("--set: ")
    assert said in str(error.value)
