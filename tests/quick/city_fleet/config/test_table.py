"""A dataset that is a table: its fields, what they exclude, and what a job gets of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from city_fleet.config import Algorithm, Fleet, Series, Table, load_fleet
from city_fleet.config.mistakes import located_problems, schema_of
from tests.support.fleets import SMALL

SERIES_PART = SMALL[SMALL.index("dataset:") :]
TABLE = SMALL.replace(
    SERIES_PART,
    """\
dataset:
  kind: table
  source: orders.csv
  city_column: city
  task: multiclass
  target: {column: restaurant}
  time: {columns: [ordered_at]}
  columns:
    - {column: party, kind: number, min: 1}
    - {column: cuisine, kind: category}
""",
)


def table(**changes: Any) -> Table:
    base = {"kind": "table", "city_column": "city", "target": {"column": "y"}}
    return Table.model_validate({**base, **changes})


def refusal(**changes: Any) -> tuple[tuple[str | int, ...], str]:
    with pytest.raises(ValidationError) as caught:
        table(**changes)
    ((path, problem),) = located_problems(caught.value, schema_of(Table))
    return path, f"got {problem.got}; allowed: {problem.allowed}"


def fleet_of(tmp_path: Path, text: str) -> Fleet:
    path = tmp_path / "fleet.yaml"
    path.write_text(text, encoding="utf-8")
    return load_fleet(path, {})


def test_a_job_gets_the_section_with_its_defaults_and_without_what_is_ingests() -> None:
    assert table(source="x.csv").to_settings() == {
        "kind": "table",
        "task": "regression",
        "target": {"column": "y", "min": None, "max": None, "transform": "none"},
        "positive": None,
        "time": None,
        "available_after": "P0D",
        "key": None,
        "columns": None,
        "ignore": [],
        "weight": None,
        "minimum_rows": 100,
        "validation_share": 0.15,
        "holdout_share": 0.15,
    }
    given = table(columns=[{"column": "x", "kind": "category", "most": 7}]).to_settings()
    assert given["columns"] == [
        {"column": "x", "kind": "category", "min": None, "max": None, "most": 7, "format": None}
    ]


@pytest.mark.parametrize(
    ("changes", "path", "text"),
    [
        ({"task": "binary", "target": {"column": "y", "min": 0}}, ("target", "min"), "the task is binary"),
        ({"task": "multiclass", "target": {"column": "y", "transform": "log"}}, ("target", "transform"), "class"),
        ({"positive": "yes"}, ("positive",), "the task is regression"),
        ({"target": {"column": "y", "min": 0, "transform": "log"}}, ("target", "min"), "a number above 0"),
        ({"key": "y"}, ("key",), "'y', the target"),
        ({"key": "id", "weight": "id"}, ("weight",), "'id', the key"),
        ({"columns": [{"column": "y", "kind": "number"}]}, ("columns", 0, "column"), "'y', the target"),
        ({"columns": [{"column": "a", "kind": "number"}] * 2}, ("columns", 1, "column"), "a second time"),
        ({"columns": [{"column": "a", "kind": "date", "min": 1}]}, ("columns", 0, "min"), "but a date"),
        ({"columns": [{"column": "a", "kind": "number", "most": 5}]}, ("columns", 0, "most"), "no category"),
        ({"ignore": ["y"]}, ("ignore", 0), "the target's column"),
        ({"ignore": ["a"], "columns": [{"column": "b", "kind": "number"}]}, ("ignore", 0), "columns says"),
        ({"holdout_share": 0.5, "validation_share": 0.5}, ("holdout_share",), "at most 0.9 together"),
        ({"available_after": "P1D"}, ("available_after",), "or a time"),
    ],
)  # fmt: skip
def test_what_excludes_what(changes: dict[str, Any], path: tuple[str | int, ...], text: str) -> None:
    where, sentence = refusal(**changes)
    assert where == path
    assert text in sentence


def test_a_fleet_of_tables_and_a_city_of_another_kind(tmp_path: Path) -> None:
    series = SERIES_PART.replace("dataset:\n", "").replace("  city_column: city\n", "").split("\n")
    own = "".join(f"    {line}\n" for line in ("  kind: series", *series) if line)
    fleet = fleet_of(
        tmp_path,
        f"{TABLE}cities:\n  austin: {{dataset: {{minimum_rows: 500}}}}\n  waco:\n    dataset:\n{own}",
    )
    assert not fleet.broken, fleet.errors
    austin, waco = fleet.cities["austin"].dataset, fleet.cities["waco"].dataset
    assert isinstance(austin, Table)
    assert (austin.minimum_rows, austin.task, austin.columns) == (500, "multiclass", fleet.dataset.columns)  # type: ignore[union-attr]
    assert isinstance(waco, Series)
    # Where the rows come from is the fleet's.
    assert (waco.city_column, waco.source, waco.frequency) == ("city", "orders.csv", "day")


def test_a_mistake_in_a_table_stands_where_the_file_has_it(tmp_path: Path) -> None:
    fleet = fleet_of(
        tmp_path, f"{TABLE}cities:\n  austin: {{dataset: {{task: multiclas, weigth: w}}}}\n  waco:\n"
    )
    assert list(fleet.cities) == ["waco"]
    assert {(each.field, each.nearest) for each in fleet.errors} == {
        ("dataset.task", "multiclass"),
        ("dataset.weigth", "weight"),
    }
    assert {each.line for each in fleet.errors} == {16}


def test_what_is_trained_with_which_hyperparameters() -> None:
    plain = Algorithm(hyperparameters={"eta": 0.1, "seed": 7})
    assert [(name, given) for _, name, given in plain.trained()] == [("xgboost", {"eta": 0.1})]
    assert plain.seed_of_run == 7
    several = Algorithm.model_validate(
        {
            "hyperparameters": {"eta": 0.1},
            "seed": 3,
            "candidates": ["xgboost", "linear", {"algorithm": "knn", "hyperparameters": {"n_neighbors": 15}}],
        }
    )
    assert [(name, given) for _, name, given in several.trained()] == [
        ("xgboost", {"eta": 0.1}),
        ("linear", {}),
        ("knn", {"n_neighbors": 15}),
    ]
    assert several.seed_of_run == 3
    for wrong in ({"name": "knn", "candidates": ["linear"]}, {"candidates": ["knn", "knn"]},
                  {"seed": 1, "hyperparameters": {"seed": 2}}, {"hyperparameters": {"seed": "x"}}):  # fmt: skip
        with pytest.raises(ValidationError):
            Algorithm.model_validate(wrong)
