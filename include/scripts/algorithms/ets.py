"""Exponential smoothing with level, trend and season, averaged over a grid. See ``smoothing``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from smoothed_model import SmoothedModel, fit_smoothed, load_smoothed
from table_schema import Schema, Table

SPEC = {"tasks": ["regression"], "kinds": ["series"], "hyperparameters": {}}


def fit(
    train: Table, validation: Table, hyperparameters: dict[str, Any], *, seed: int, threads: int
) -> SmoothedModel:
    """Find its forecasts among the features.

    :raises JobFailure: they are not there.
    """
    del hyperparameters, seed, threads
    return fit_smoothed("ets", train, validation)


def load(folder: Path, schema: Schema) -> SmoothedModel:
    """Read a model.

    :raises ArtifactError: it is not as :meth:`SmoothedModel.save` writes it.
    """
    return load_smoothed("ets", folder, schema)
