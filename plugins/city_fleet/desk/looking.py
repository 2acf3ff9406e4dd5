"""Looks into models at the desk: ``explain.py`` and ``compare.py`` of a city's scripts, on prepared tables."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from city_fleet.desk.trial import Desk, Trial
from city_fleet.errors import ConfigError, ScriptFailed, display_path

EXPLAIN, COMPARE = "explain", "compare"
#: How an answer was taken apart, for people.
METHODS = {
    "tree_shap": "TreeSHAP",
    "linear": "coefficient × (value - mean)",
    "sampled": "Shapley values, by sampling",
}


def explain(
    desk: Desk,
    tables: Trial,
    archive: Path,
    *,
    training: Path | None = None,
    row: Mapping[str, Any] | None = None,
    period: str | None = None,
) -> dict[str, Any]:
    """Explain a model.

    :param tables: with the tables of preprocess.py.
    :param archive: the model's ``tar.gz``.
    :param training: its training.json; without it nobody knows how it has learned.
    :param row: raw values by feature, or ``period``, which picks a held-out row; the newest one without both.
    :return: explanation.json.
    :raises ScriptFailed: the model does not fit the rows, or there is no such row.
    """
    given: list[str | Path] = [] if training is None else ["--training", training]
    if row is not None:
        path = desk.folder / "row.json"
        path.write_text(json.dumps(row, ensure_ascii=False), encoding="utf-8")
        given += ["--row", path]
    elif period is not None:
        given += ["--period", period]
    _needs(desk, EXPLAIN)
    city = desk.plan.city.slug
    desk.step(
        EXPLAIN,
        *("--city", city, "--test-dir", tables.folder / "test", "--model", archive),
        *(*given, "--output-dir", desk.folder),
    )
    return _json(desk.folder / "explanation" / f"city={city}" / "explanation.json")


def compare(desk: Desk, tables: Trial, first: Path, second: Path) -> dict[str, Any]:
    """Compare two models on the same rows.

    :param first: a model's ``tar.gz``, as ``second``.
    :return: comparison.json.
    :raises ScriptFailed: one can't be read.
    """
    _needs(desk, COMPARE)
    city = desk.plan.city.slug
    desk.step(
        COMPARE,
        *("--city", city, "--as-of", tables.as_of, "--test-dir", tables.folder / "test"),
        *("--first", first, "--second", second, "--output-dir", desk.folder),
    )
    return _json(desk.folder / "comparison" / f"city={city}" / "comparison.json")


def _needs(desk: Desk, name: str) -> None:
    if not (desk.folder / "code" / f"{name}.py").is_file():
        raise ConfigError(
            file=display_path(desk.plan.fleet.path),
            city=desk.plan.city.slug,
            field="scripts",
            got=f"a folder without {name}.py",
            allowed="one with the fleet's own scripts, of which single ones are replaced by own_scripts",
        )


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ScriptFailed(f"{path.name}: the script has not left it ({type(error).__name__})") from None
    if not isinstance(found, dict):
        raise ScriptFailed(f"{path.name}: the script has left something else")
    return found
