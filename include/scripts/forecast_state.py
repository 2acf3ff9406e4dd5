"""What a judged model of a series gets along into its artifact, so that it can be asked by the city's name alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import inference
from intervals import LEVELS, Residuals
from model_artifact import Model
from model_card import KNOWN_FILE, MOST_KNOWN_BYTES, RESIDUALS_FILE
from newest_values import FILE as KNOWN
from table_schema import Table


def add_forecasts(
    model: Model, artifact: Path, test: Table, predicted: np.ndarray, test_folder: Path
) -> dict[str, Any]:
    """Add what is known of the city, and how far off the model was, to its artifact; then ask it for a forecast.

    :param artifact: its root.
    :param predicted: for the rows of the test set.
    :param test_folder: may hold known.json; none is there of a table, or where another script has prepared it.
    :return: members of evaluation.json: ``intervals``, how far those of each step reach, and ``forecast``; None of a
        model that can't be asked so.
    """
    layout, known = model.card.schema.layout, test_folder / KNOWN
    if layout is None or not known.is_file() or known.stat().st_size > MOST_KNOWN_BYTES:
        return {"intervals": None, "forecast": None}
    ahead = test.baselines["ahead"]
    residuals = Residuals.of(test.target, predicted, ahead, ratio=layout.transform.kind != "none")
    files = {KNOWN_FILE: known.read_bytes(), RESIDUALS_FILE: residuals.to_bytes()}
    for name, content in files.items():
        (artifact / name).parent.mkdir(exist_ok=True)
        (artifact / name).write_bytes(content)
    widths = {
        str(step): {str(level): residuals.width(step, level) for level in LEVELS}
        for step in range(1, layout.horizon + 1)
    }
    asked = replace(model, known=files[KNOWN_FILE], residuals=files[RESIDUALS_FILE])
    return {"intervals": {"ratio": residuals.ratio, "widths": widths}, "forecast": _forecast(asked)}


def _forecast(model: Model) -> dict[str, Any] | None:
    """Ask the new model for the periods that come next, as an application will.

    Of a city that is not known well enough the reason is printed: the held-out rows judge its model all the same.
    """
    try:
        answer = inference.predict_fn(inference.input_fn('{"forecast": {}}', inference.JSON), model)
    except inference.BadRequest as error:
        print(f"{model.card.city}: {error}", flush=True)
        return None
    return dict(answer.value)
