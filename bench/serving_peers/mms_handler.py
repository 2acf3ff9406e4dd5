"""A peer: what the managed container does. multi-model-server calls :func:`handle` in a worker process per model."""

from __future__ import annotations

import os
import sys
from typing import Any

sys.path.insert(0, os.environ["BENCH_SCRIPTS"])

import inference

_models: dict[str, Any] = {}


def handle(data: Any, context: Any) -> Any:
    """Answer a request; called with None once when the worker starts."""
    folder = context.system_properties.get("model_dir")
    if folder not in _models:
        _models[folder] = inference.model_fn(folder)
    if data is None:
        return None
    body = data[0].get("body")
    rows = inference.input_fn(body, "text/csv")
    context.set_response_content_type(0, "text/csv")
    return [inference.output_fn(inference.predict_fn(rows, _models[folder]), "text/csv")[0]]
