"""Compares two models of a city on the same held-out rows, and asks both for what comes next.

No job runs it: it is run at a data scientist's desk, on two artifacts and the tables that preprocess.py has made. It
writes ``comparison/city=<slug>/comparison.json``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import inference
from city_evaluation import HeldOut, read_held_out
from fair_answers import fair_answers, read_model
from job_failure import ArgumentParser, JobFailure, option_value, run
from model_artifact import Model
from model_card import MOST_KNOWN_BYTES, ArtifactError
from newest_values import FILE as KNOWN
from paired_losses import paired
from table_schema import REGRESSION, SERIES

FORMAT_VERSION = 1
SIDES = ("first", "second")
#: Rows that are listed: those on which the two differ most.
MOST_APART = 10


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Read the command line.

    :raises JobFailure: when one is missing or unknown.
    """
    parser = ArgumentParser(__doc__ or "")
    parser.add_argument("--city", metavar="SLUG", required=True)
    parser.add_argument("--as-of", metavar="20140101T000000Z", required=True, help="of the tables")
    parser.add_argument("--test-dir", type=Path, required=True, help="holds city=<slug>/test.csv")
    for side in SIDES:
        parser.add_argument(f"--{side}", type=Path, required=True, help="a model's tar.gz")
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--message-file", type=Path, help="where the sentence of a failure goes")
    return parser.parse_args(arguments)


def compare(arguments: argparse.Namespace) -> None:
    """Write comparison.json.

    :raises JobFailure: a model can't be read.
    """
    city = arguments.city
    held_out = read_held_out(arguments.test_dir, city)
    models: list[Model] = []
    answers: list[np.ndarray] = []
    problems: list[str | None] = []
    with tempfile.TemporaryDirectory(prefix="city-fleet-models-") as unpacked:
        for side in SIDES:
            folder = Path(unpacked) / side
            folder.mkdir()
            try:
                model, backtest = read_model(getattr(arguments, side), folder, city)
            except ArtifactError as error:
                raise JobFailure(f"The {side} model can't be read: {error}") from None
            models.append(model)
            problem = None
            try:
                if model.card.as_of > arguments.as_of:  # it may have learned these rows
                    raise ArtifactError(f"it was made as of {model.card.as_of}, later than the rows.")
                answers.append(fair_answers(model, backtest, held_out))
            except (ArtifactError, inference.BadRequest) as error:
                problem = str(error)
            problems.append(problem)
        known = arguments.test_dir / f"city={city}" / KNOWN
        report = {
            "format_version": FORMAT_VERSION,
            "city": city,
            "as_of": arguments.as_of,
            "task": held_out.table.schema.task,
            "models": [
                {"as_of": model.card.as_of, "algorithm": model.card.algorithm, "problem": problem}
                for model, problem in zip(models, problems, strict=True)
            ],
            **(_measured(models, answers, held_out) if len(answers) == len(SIDES) else _nothing()),
            "next": _next(models, known),
        }
    folder = arguments.output_dir / "comparison" / f"city={city}"
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(report, indent=2, allow_nan=False)
    (folder / "comparison.json").write_text(text + "\n", encoding="utf-8")


def _nothing() -> dict[str, Any]:
    return {"rows": 0, "metrics": None, "paired": None, "apart": []}


def _measured(models: list[Model], answers: list[np.ndarray], held_out: HeldOut) -> dict[str, Any]:
    """Measure both on the rows that both answer."""
    table, task = held_out.table, held_out.table.schema.task
    known = np.isfinite(answers[0].reshape(len(table), -1)).all(axis=1)
    known &= np.isfinite(answers[1].reshape(len(table), -1)).all(axis=1)
    rows = np.flatnonzero(known)
    if not len(rows):
        return _nothing()
    metrics = {
        side: held_out.metrics(model.card.schema.classes, found, rows if task == REGRESSION else None)
        for side, model, found in zip(SIDES, models, answers, strict=True)
    }
    tested = None
    if table.schema.layout is not None:
        tested = paired(table, answers[0], {"second": answers[1]}).get("second")
    return {
        "rows": len(rows),
        "metrics": metrics,
        "paired": tested,
        "apart": _apart(models, answers, held_out, rows),
    }


def _apart(
    models: list[Model], answers: list[np.ndarray], held_out: HeldOut, rows: np.ndarray
) -> list[dict[str, Any]]:
    """List the rows on which the two differ most, the farthest first; of classes by the true one's probability."""
    table = held_out.table
    shown = [
        found if table.schema.task == REGRESSION else _of_truth(model, found, held_out)
        for model, found in zip(models, answers, strict=True)
    ]
    far = np.abs(shown[0] - shown[1])[rows]
    steps = table.baselines.get("ahead")
    return [
        {
            "period": table.rows[at],
            **({"member": table.members[at]} if table.members else {}),
            **({"step": int(steps[at])} if steps is not None else {}),
            "actual": held_out.names[at] if held_out.names else float(table.target[at]),
            **{side: float(found[at]) for side, found in zip(SIDES, shown, strict=True)},
        }
        for at in rows[np.argsort(-far, kind="stable")][:MOST_APART].tolist()
    ]


def _of_truth(model: Model, answers: np.ndarray, held_out: HeldOut) -> np.ndarray:
    """Return the probability of each row's true class; 0 for one that the model does not know."""
    places = {name: at for at, name in enumerate(model.card.schema.classes)}
    return np.array(
        [answers[row, places[name]] if name in places else 0.0 for row, name in enumerate(held_out.names)]
    )


def _next(models: list[Model], known: Path) -> list[dict[str, Any]]:
    """Ask both for the periods that come next, from the same newest values; nothing of a table.

    Where one can't be asked, ``problem`` says why.
    """
    if models[0].card.schema.kind != SERIES or not known.is_file():
        return []
    if known.stat().st_size > MOST_KNOWN_BYTES:
        return []
    value = json.loads(known.read_text(encoding="utf-8"))
    found = []
    for side, model in zip(SIDES, models, strict=True):
        question = {"known": value} | ({"child": value["city"]} if model.children else {})
        entry: dict[str, Any] = {"side": side, "problem": None, "forecasts": []}
        try:
            request = inference.input_fn(json.dumps({"forecast": question}), inference.JSON)
            entry["forecasts"] = dict(inference.predict_fn(request, model).value)["forecasts"]
        except inference.BadRequest as error:
            entry["problem"] = str(error)
        found.append(entry)
    return found


if __name__ == "__main__":
    sys.exit(
        run(lambda: compare(parse_arguments(sys.argv[1:])), option_value(sys.argv[1:], "--message-file"))
    )
