"""Explains a model: what counts in it, why it answers a row as it does, how far off it was when, and how it learned.

No job runs it: it is run at a data scientist's desk, on an artifact and the tables that preprocess.py has made. It
writes ``explanation/city=<slug>/explanation.json``.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import inference
from backtest import Backtest
from city_evaluation import HeldOut, read_held_out
from contributions import contributions
from fair_answers import fair_answers, read_model, values_of
from importances import importances
from job_failure import ArgumentParser, JobFailure, option_value, run
from judged_blocks import periods_of
from model_artifact import Model
from model_card import ArtifactError
from request_rows import encoded_row
from table_schema import REGRESSION, SERIES

FORMAT_VERSION = 1
#: Held-out rows that are listed with their residuals, and groups of neighbouring ones.
MOST_ROWS, GROUPS = 400, 24


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line.

    :raises JobFailure: when one is missing or unknown.
    """
    parser = ArgumentParser(__doc__ or "")
    parser.add_argument("--city", metavar="SLUG", required=True)
    parser.add_argument("--test-dir", type=Path, required=True, help="holds city=<slug>/test.csv")
    parser.add_argument("--model", type=Path, required=True, help="the model's tar.gz")
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--training", type=Path, help="training.json of the model, where it is at hand")
    parser.add_argument("--row", type=Path, help="a JSON file: a row's raw values by feature")
    parser.add_argument("--period", metavar="TEXT", help="a held-out row: 2015-06, or the example of a table")
    parser.add_argument("--message-file", type=Path, help="where the sentence of a failure goes")
    return parser.parse_args(arguments)


def explain(arguments: argparse.Namespace) -> None:
    """Write explanation.json.

    :raises JobFailure: the model can't be read, does not fit the rows, or there is no such row.
    """
    city = arguments.city
    held_out = read_held_out(arguments.test_dir, city)
    with tempfile.TemporaryDirectory(prefix="city-fleet-model-") as unpacked:
        try:
            model, backtest = read_model(arguments.model, Path(unpacked), city)
            values = values_of(model, held_out)
            report = {
                "format_version": FORMAT_VERSION,
                "city": city,
                "as_of": model.card.as_of,
                "algorithm": model.card.algorithm,
                "task": model.card.schema.task,
                "kind": model.card.schema.kind,
                "target": model.card.schema.target,
                "unit": model.card.schema.layout.unit if model.card.schema.layout is not None else "",
                "importances": importances(model, values, _targets(model, held_out)),
                "row": _row(model, held_out, values, arguments),
                "residuals": _residuals(model, backtest, held_out),
                "curve": _curve(arguments.training),
            }
        except (ArtifactError, inference.BadRequest) as error:
            raise JobFailure(f"The model of {city} can't be explained: {error}") from None
    folder = arguments.output_dir / "explanation" / f"city={city}"
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=2, allow_nan=False)
    (folder / "explanation.json").write_text(text + "\n", encoding="utf-8")


def _targets(model: Model, held_out: HeldOut) -> np.ndarray:
    """Return the targets of the held-out rows; of a classification the numbers of the model's own classes."""
    schema = model.card.schema
    if schema.task == REGRESSION:
        return held_out.table.target
    places = {name: at for at, name in enumerate(schema.classes)}
    return np.array([places.get(name or "", -1) for name in held_out.names], dtype=np.float64)


def _row(
    model: Model, held_out: HeldOut, values: np.ndarray, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Explain the row that is asked for: one from a file, a held-out one, or the newest."""
    if arguments.row is not None:
        row = _given(model, arguments.row)
        return {"period": None, "actual": None, **contributions(model, row, values)}
    table = held_out.table
    at = _chosen(held_out, arguments.period)
    steps = table.baselines.get("ahead")
    actual = float(table.target[at]) if table.schema.task == REGRESSION else held_out.names[at]
    return {
        "period": table.rows[at],
        **({"member": table.members[at]} if table.members else {}),
        **({"step": int(steps[at])} if steps is not None else {}),
        "actual": actual,
        **contributions(model, values[at], values),
    }


def _chosen(held_out: HeldOut, period: str | None) -> int:
    """Return the number of a held-out row; of a period that was forecast more than once, the newest forecast.

    :raises JobFailure: there is none.
    """
    table = held_out.table
    fits = [at for at, name in enumerate(table.rows) if period is None or name == period]
    if not fits and period is not None and table.schema.kind == SERIES:
        fits = [at for at, name in enumerate(table.rows) if name.startswith(period)]
    if not fits:
        ends = (
            f"periods from {min(table.rows)} to {max(table.rows)}"
            if table.schema.kind == SERIES
            else f"such as {table.rows[0]} or {table.rows[-1]}"
        )
        raise JobFailure(f"There is no held-out row '{period}'; allowed: {ends}, {len(table)} rows in all.")
    if table.schema.kind != SERIES:
        return fits[-1]
    steps = table.baselines["ahead"]
    newest = max(table.rows[at] for at in fits)
    return min((at for at in fits if table.rows[at] == newest), key=lambda at: (steps[at], at))


def _given(model: Model, path: Path) -> np.ndarray:
    """Read a row of raw values by feature.

    :raises JobFailure: it is no JSON object.
    :raises BadRequest: it does not fit the model.
    """
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise JobFailure(f"--row: not JSON ({error}).") from None
    if not isinstance(said, dict):
        raise JobFailure('--row: allowed: a JSON object, {"feature": value}.')
    text = json.dumps({"instances": [said]})
    request = inference.input_fn(text, inference.JSON)
    inference.predict_fn(request, model)  # refuses what the endpoint would, in its words
    in_order = [said[name] for name in model.card.features]
    return np.array(encoded_row(model.card.schema.features, in_order, 1, text=False), dtype=np.float64)


def _residuals(model: Model, backtest: Backtest | None, held_out: HeldOut) -> dict[str, Any]:
    """Say how far off the model was, row by row and in groups of neighbouring rows, the oldest first.

    A residual is actual less predicted; of a classification, what the probability of the true class lacks to 1.
    """
    table, schema = held_out.table, model.card.schema
    try:
        answers = fair_answers(model, backtest, held_out)
    except ArtifactError as error:
        return {"note": str(error), "of_rows": 0, "rows": [], "groups": []}
    if schema.task == REGRESSION:
        predicted, actual = answers, table.target.tolist()
        off = table.target - answers
    else:
        numbers = _targets(model, held_out).astype(int)
        own = answers[np.arange(len(answers)), np.maximum(numbers, 0)]
        predicted = np.where(numbers >= 0, own, 0.0)
        off, actual = 1 - predicted, held_out.names
    known = np.flatnonzero(np.isfinite(off))
    if table.schema.kind == SERIES:
        known = known[np.argsort(periods_of(table)[known], kind="stable")]
    steps = table.baselines.get("ahead")
    kept = known[np.linspace(0, len(known) - 1, min(MOST_ROWS, len(known))).round().astype(int)]
    return {
        "note": None,
        "of_rows": len(known),
        "rows": [
            {
                "period": table.rows[at],
                **({"member": table.members[at]} if table.members else {}),
                **({"step": int(steps[at])} if steps is not None else {}),
                "actual": actual[at],
                "predicted": float(predicted[at]),
                "residual": float(off[at]),
            }
            for at in kept.tolist()
        ],
        "groups": [
            {
                "first": table.rows[int(part[0])],
                "last": table.rows[int(part[-1])],
                "rows": len(part),
                "mean": float(off[part].mean()),
                "mean_absolute": float(np.abs(off[part]).mean()),
            }
            for part in np.array_split(known, min(GROUPS, len(known)))
            if len(part)
        ],
    }


def _curve(path: Path | None) -> dict[str, Any] | None:
    """Return how the chosen candidate has learned; None where nobody knows."""
    try:
        said = json.loads(path.read_text(encoding="utf-8")) if path is not None else {}
        chosen = [each for each in said.get("candidates", []) if each.get("chosen")]
        history = chosen[0].get("history") if chosen else None
    except (OSError, ValueError, AttributeError, TypeError):
        return None
    return history if isinstance(history, dict) and _all_finite(history) else None


def _all_finite(value: Any) -> bool:
    if isinstance(value, dict | list):
        return all(map(_all_finite, value.values() if isinstance(value, dict) else value))
    return not isinstance(value, float) or math.isfinite(value)


if __name__ == "__main__":
    sys.exit(
        run(lambda: explain(parse_arguments(sys.argv[1:])), option_value(sys.argv[1:], "--message-file"))
    )
