"""What a judged model of a series gets along into its artifact, so that it can be asked by the city's name alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import inference
from intervals import LEVELS, MOST_RESIDUALS, Residuals
from model_artifact import Model
from model_card import CHILDREN_FILE, KNOWN_FILE, MOST_KNOWN_BYTES, RESIDUALS_FILE
from newest_values import FILE as KNOWN
from served_children import Child, judge_children, to_bytes
from table_schema import Table

DEFAULT_METRIC = "mape"
#: So many steps with their most errors fit into residuals.json.
FEW_STEPS = 5


def add_forecasts(
    model: Model,
    artifact: Path,
    test: Table,
    predicted: np.ndarray,
    test_folder: Path,
    *,
    metric: str | None = None,
) -> dict[str, Any]:
    """Add what is known of the city, and how far off the model was, to its artifact; then ask it for a forecast.

    :param artifact: its root.
    :param predicted: for the rows of the test set.
    :param test_folder: may hold known.json; none is there of a table, or where another script has prepared it.
    :param metric: by which it is decided who answers for the cities of a parent.
    :return: members of evaluation.json: ``intervals``, how far those of each step reach, and ``forecast``; None of a
        model that can't be asked so. Of a parent ``children`` too: who answers for each.
    """
    layout, known = model.card.schema.layout, test_folder / KNOWN
    if layout is None or not known.is_file() or known.stat().st_size > MOST_KNOWN_BYTES:
        return {"intervals": None, "forecast": None}
    ahead = test.baselines["ahead"]
    ratio, is_parent = layout.transform.kind != "none", bool(test.schema.members)
    most = min(MOST_RESIDUALS, MOST_RESIDUALS * FEW_STEPS // layout.horizon)
    residuals = Residuals.of(test.target, predicted, ahead, ratio=ratio, most=most)
    files = {RESIDUALS_FILE: residuals.to_bytes()}
    children: dict[str, Child] = {}
    if is_parent:
        children = judge_children(test, predicted, metric or DEFAULT_METRIC, ratio=ratio)
        files[CHILDREN_FILE] = to_bytes(children)
    else:
        files[KNOWN_FILE] = known.read_bytes()
    for name, content in files.items():
        (artifact / name).parent.mkdir(exist_ok=True)
        (artifact / name).write_bytes(content)
    widths = {
        str(step): {str(level): residuals.width(step, level) for level in LEVELS}
        for step in range(1, layout.horizon + 1)
    }
    asked = replace(
        model,
        known=files.get(KNOWN_FILE, b""),
        residuals=files[RESIDUALS_FILE],
        children=files.get(CHILDREN_FILE, b""),
    )
    question = _of_child(known) if is_parent else {}
    report = {
        "intervals": {"ratio": residuals.ratio, "widths": widths},
        "forecast": _forecast(asked, question),
    }
    return report | (
        {"children": {city: each.to_json() for city, each in children.items()}} if children else {}
    )


def _of_child(known: Path) -> dict[str, Any]:
    """Return the question about the city that stands for all of a parent's."""
    value = json.loads(known.read_text(encoding="utf-8"))
    return {"child": value["city"], "known": value}


def _forecast(model: Model, question: dict[str, Any]) -> dict[str, Any] | None:
    """Ask the new model for the periods that come next, as an application will.

    Of a city that is not known well enough the reason is printed: the held-out rows judge its model all the same.

    :return: the answer; of a parent with ``asked``, so that the endpoint can be asked the same.
    """
    try:
        text = json.dumps({"forecast": question})
        answer = inference.predict_fn(inference.input_fn(text, inference.JSON), model)
    except inference.BadRequest as error:
        print(f"{model.card.city}: {error}", flush=True)
        return None
    return dict(answer.value) | ({"asked": question} if question else {})
