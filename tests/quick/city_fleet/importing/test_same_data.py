"""A model of another installation beside a fleet file: what counts as another question, and what does not."""

from __future__ import annotations

import copy
import gzip
import io
import json
import tarfile
from dataclasses import replace
from typing import Any

import pytest

from city_fleet.champions import artifact
from city_fleet.config import Table
from city_fleet.errors import ArtifactError
from city_fleet.importing.same_data import differences
from city_fleet.plan import CityPlan
from tests.support.fleets import austin
from tests.support.paths import ROOT

#: As train.py writes it of the Texas data.
CARD: dict[str, Any] = {
    "format_version": 2,
    "target": "median",
    "schema": {
        "kind": "series",
        "task": "regression",
        "target": "median",
        "transform": {"kind": "log_ratio_to_mean", "window": 12, "reference": "median_mean_12"},
        "features": [],
        "layout": None,
    },
}


def of_austin(**changes: Any) -> dict[str, Any]:
    """Return the card of a model of Austin's dataset, with other members of its schema or its layout."""
    dataset = austin().city.dataset
    card = copy.deepcopy(CARD)
    target = dataset.target
    card["schema"] |= {"target": target.column}
    card["schema"]["transform"] |= {"kind": target.transform, "window": target.window}
    card["schema"]["layout"] = {
        "frequency": dataset.frequency,
        "available_after": "P9M",
        "horizon": dataset.horizon,
        "unit": "£",
        "target_lags": list(target.lags),
        "columns": [{"column": each.column, "lags": list(each.lags)} for each in dataset.features],
        "calendar": list(dataset.calendar),
    }
    for name, value in changes.items():
        (card["schema"]["layout"] if name in card["schema"]["layout"] else card["schema"])[name] = value
    return card


def with_dataset(**changes: Any) -> CityPlan:
    plan = austin()
    dataset = plan.city.dataset.model_copy(update=changes)
    return replace(plan, city=plan.city.model_copy(update={"dataset": dataset}))


def test_what_makes_no_other_question_is_no_difference() -> None:
    assert differences(of_austin(), austin()) == []
    assert differences(of_austin(), with_dataset(holdout_periods=3, minimum_periods=99)) == []
    # Format 1 said no more than its target.
    assert differences({"format_version": 1, "target": "median"}, austin()) == []


def test_each_difference_is_named_with_both_sides(subtests: pytest.Subtests) -> None:
    columns = of_austin()["schema"]["layout"]["columns"]
    first = columns[0]["column"]
    cases: dict[str, tuple[dict[str, Any], str]] = {
        "target": ({"target": "sales"}, "target (sales there, median here)"),
        "kind": ({"kind": "table"}, "kind (table there, series here)"),
        "horizon": ({"horizon": 1}, "horizon (1 there, 3 here)"),
        "frequency": ({"frequency": "5 year"}, "frequency (5 year there, month here)"),
        "transform": (
            {"transform": {"kind": "log"}},
            "transform (log there, log_ratio_to_mean over 12 here)",
        ),
        "calendar": ({"calendar": []}, "calendar (none there, month_of_year, trend here)"),
        "holidays": (
            {"holidays": {}, "layout": {**of_austin()["schema"]["layout"], "holidays": {}}},
            "holidays (True",
        ),
        "parent": ({"members": ["waco"]}, "cities (waco there, none here)"),
        "lags": (
            {"columns": [{**columns[0], "lags": [9]}, *columns[1:]]},
            f"column {first} (lags 9 there, lags ",
        ),
        "fewer": ({"columns": columns[1:]}, f"column {first} (none there, lags "),
        "more": (
            {"columns": [*columns, {"column": "rain", "lags": [1]}]},
            "column rain (lags 1 there, none here)",
        ),
    }
    for name, (changes, said) in cases.items():
        with subtests.test(name):
            (found,) = differences(of_austin(**changes), austin())
            assert found.startswith(said)


def test_of_a_tables_columns_a_model_may_take_some() -> None:
    table = Table.model_validate(
        {
            "kind": "table",
            "task": "binary",
            "positive": "yes",
            "city_column": "city",
            "target": {"column": "left"},
            "columns": [{"column": "age", "kind": "number"}, {"column": "day", "kind": "date"}],
        }
    )
    plan = austin()
    here = replace(plan, city=plan.city.model_copy(update={"dataset": table}))
    schema: dict[str, Any] = {
        "kind": "table",
        "task": "binary",
        "target": "left",
        "transform": {"kind": "none"},
    }
    schema |= {"features": [{"name": "age", "kind": "number"}], "layout": None}
    assert differences({"format_version": 2, "schema": schema}, here) == []
    schema["features"] = [{"name": "age", "kind": "category"}, {"name": "tall", "kind": "boolean"}]
    assert differences({"format_version": 2, "schema": schema}, here) == [
        "column age (category there, number here)",
        "column tall (boolean there, none here)",
    ]
    # Columns that the fleet file leaves to the data can't be told apart.
    unlisted = here.city.model_copy(update={"dataset": table.model_copy(update={"columns": None})})
    assert differences({"format_version": 2, "schema": schema}, replace(here, city=unlisted)) == []


def archive(card: object) -> bytes:
    body = json.dumps(card).encode()
    member = tarfile.TarInfo(artifact.MODEL_FILE)
    member.size = len(body)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        tar.addfile(member, io.BytesIO(body))
    return gzip.compress(packed.getvalue(), compresslevel=1)


def test_an_artifact_of_a_newer_format_is_refused_by_its_card(subtests: pytest.Subtests) -> None:
    assert artifact.card_of(archive({"format_version": 1}), "s3://there/m") == {"format_version": 1}
    for version in (artifact.FORMAT_VERSION + 1, None, True, "2"):
        with subtests.test(str(version)), pytest.raises(ArtifactError, match="made by a newer City Fleet"):
            artifact.card_of(archive({"format_version": version}), "s3://there/m")
    with pytest.raises(ArtifactError, match="nobody can say what it predicts"):
        artifact.card_of(archive([]), "s3://there/m")


def test_the_format_is_that_of_the_scripts() -> None:
    text = (ROOT / "include" / "scripts" / "model_card.py").read_text(encoding="utf-8")
    assert f"\nFORMAT_VERSION = {artifact.FORMAT_VERSION}\n" in text
