"""Algorithms and hyperparameters are held against what the modules say of themselves, without running them."""

from __future__ import annotations

from pathlib import Path

import pytest

from city_fleet.config import load_fleet
from city_fleet.config.algorithm_specs import specs_of
from city_fleet.config.lint import algorithm_mistakes
from city_fleet.errors import ConfigError
from tests.support.fleets import SMALL, texas
from tests.support.paths import SCRIPTS

NEIGHBOURS = """\
raise SystemExit("nobody imports this")
SPEC: dict = {
    "tasks": ["regression", "binary"],
    "needs": ["xgboost"],
    "hyperparameters": {
        "n_neighbors": {"low": 1, "high": 100, "whole": True},
        "alpha": {"low": 0, "above": True},
        "weights": {"choices": ["uniform", "distance"], "default": "uniform"},
        "objective": {"choices": ["squared", "logistic"], "only": {"binary": ["logistic"]}},
        "note": {"text": True},
    },
    "same": [["alpha", "n_neighbors"]],
}
"""


def mistakes(folder: Path, algorithm: str, city: str = "", task: str = "regression") -> list[ConfigError]:
    scripts = folder / "scripts"
    (scripts / "algorithms").mkdir(parents=True, exist_ok=True)
    (scripts / "train.py").write_text("")
    (scripts / "algorithms" / "knn.py").write_text(NEIGHBOURS)
    (scripts / "algorithms" / "classes.py").write_text(NEIGHBOURS.replace('"regression", ', '"multiclass", '))
    only = NEIGHBOURS.replace('"needs": ["xgboost"]', '"kinds": ["series"]')
    (scripts / "algorithms" / "smooth.py").write_text(only)
    (scripts / "algorithms" / "broken.py").write_text("SPEC = dict(tasks=[])\n")
    (scripts / "algorithms" / "__init__.py").write_text("")
    head = SMALL[: SMALL.index("dataset:")]
    data = f"dataset: {{kind: table, task: {task}, city_column: c, target: {{column: y}}}}\n"
    path = folder / "fleet.yaml"
    defaults = f"defaults:\n  scripts: {scripts}\n  algorithm: {algorithm}\n"
    path.write_text(f"{head}{data}{defaults}cities:\n  a: {city}\n  b:\n", encoding="utf-8")
    fleet = load_fleet(path, {})
    assert not fleet.broken, fleet.errors
    return algorithm_mistakes(fleet)


@pytest.mark.parametrize(
    ("algorithm", "field", "got", "allowed", "nearest"),
    [
        ("{name: kn}", "name", "'kn'", "broken, classes, knn, smooth", "knn"),
        ("{name: broken}", "name", "no SPEC that can be read", "a literal", None),
        ("{name: classes}", "name", "which does multiclass, binary", "for the task regression: knn, smooth", None),
        ("{name: smooth}", "name", "which is for a series", "for a table: classes, knn", None),
        ("{candidates: [knn, kmn]}", "candidates[1].algorithm", "'kmn'", "knn", "knn"),
        ("{name: knn, hyperparameters: {n_neighbours: 3}}", "hyperparameters.n_neighbours",
         "an unknown hyperparameter", "of knn: seed, n_neighbors", "n_neighbors"),
        ("{name: knn, hyperparameters: {n_neighbors: 0}}", "hyperparameters.n_neighbors", "0",
         "a whole number from 1 to 100", None),
        ("{name: knn, hyperparameters: {n_neighbors: 2.5}}", "hyperparameters.n_neighbors", "2.5", "whole", None),
        ("{name: knn, hyperparameters: {n_neighbors: true}}", "hyperparameters.n_neighbors", "true", "whole", None),
        ("{name: knn, hyperparameters: {alpha: 0}}", "hyperparameters.alpha", "0", "a number above 0", None),
        ("{name: knn, hyperparameters: {weights: uniforn}}", "hyperparameters.weights", "'uniforn'",
         "one of uniform, distance", "uniform"),
        ("{name: knn, hyperparameters: {objective: logistic}}", "hyperparameters.objective", "'logistic'",
         "squared", None),
        ("{name: knn, hyperparameters: {alpha: 1, n_neighbors: 3}}", "hyperparameters.n_neighbors",
         "beside 'alpha'", "the same", None),
        ("{candidates: [{algorithm: knn, hyperparameters: {alpha: -1}}]}",
         "candidates[0].hyperparameters.alpha", "-1", "above 0", None),
        ("{image: sklearn, name: knn}", "image", "'sklearn', whose version 1.9-0 lacks xgboost, which knn needs",
         "xgboost, another algorithm, or own_scripts.requirements", None),
    ],
)  # fmt: skip
def test_a_mistake_is_said_once_on_its_line(
    *, tmp_path: Path, algorithm: str, field: str, got: str, allowed: str, nearest: str | None
) -> None:
    (error,) = mistakes(tmp_path, algorithm)
    assert (error.line, error.city, error.field) == (8, None, f"defaults.algorithm.{field}")
    assert got in error.got
    assert allowed in str(error.allowed)
    assert error.nearest == nearest


def test_what_the_modules_have_is_no_mistake(tmp_path: Path) -> None:
    for algorithm in (
        "{name: knn, hyperparameters: {n_neighbors: 3, seed: 7, weights: distance, objective: squared, note: x}}",
        '{name: knn, hyperparameters: {alpha: "1e-3"}}',
        "{candidates: [knn, {algorithm: knn, hyperparameters: {n_neighbors: 100}}]}",
    ):
        assert mistakes(tmp_path, algorithm) == [], algorithm
    assert mistakes(tmp_path, "{name: knn, hyperparameters: {objective: logistic}}", task="binary") == []


def test_requirements_bring_what_an_image_lacks(tmp_path: Path) -> None:
    pinned = tmp_path / "requirements.txt"
    pinned.write_text(f"xgboost-cpu==3.2.0 --hash=sha256:{'0' * 64}\n")
    (error,) = mistakes(tmp_path, "{name: knn}", city="{algorithm: {image: sklearn}}")
    assert (error.city, error.field) == ("a", "algorithm.image")
    own = f"{{algorithm: {{image: sklearn}}, own_scripts: {{requirements: {pinned}}}}}"
    assert mistakes(tmp_path, "{name: knn}", city=own) == []


def test_a_citys_own_mistake_names_the_city(tmp_path: Path) -> None:
    (error,) = mistakes(tmp_path, "{name: knn}", city="{algorithm: {hyperparameters: {alpha: 0}}}")
    assert (error.line, error.city, error.field) == (10, "a", "algorithm.hyperparameters.alpha")


def test_a_train_py_or_an_image_of_ones_own_is_taken_at_its_word(tmp_path: Path) -> None:
    own = f"{{own_scripts: {{train: {tmp_path}/scripts/train.py}}, algorithm: {{name: anything}}}}"
    assert mistakes(tmp_path, "{name: knn}", city=own) == []
    assert mistakes(tmp_path, "{name: knn}", city="{entry: none, algorithm: {name: anything}}") == []
    assert specs_of(str(tmp_path)) is None, "no algorithms/"


def test_the_fleets_own_scripts_say_what_they_do() -> None:
    specs = specs_of(str(SCRIPTS)) or {}
    assert None not in specs.values()
    assert {"n_rounds", "num_boost_round"} & set((specs["xgboost"] or {})["hyperparameters"]) == {
        "num_boost_round"
    }
    assert {name for name, spec in specs.items() if (spec or {}).get("needs")} == {"xgboost"}
    assert algorithm_mistakes(texas()) == []
