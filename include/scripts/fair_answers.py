"""What a model answers on held-out rows that it could not know, whether it serves or is being tried."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from backtest import Backtest, read_backtest
from champion_columns import values_for
from champion_table import rows_for
from city_evaluation import HeldOut, predict
from judged_halves import judged_champion
from model_archive import unpack_artifact
from model_artifact import Model, load_artifact
from model_card import ArtifactError
from table_schema import SERIES, Table


def read_model(archive: Path, folder: Path, city: str) -> tuple[Model, Backtest | None]:
    """Unpack an artifact and load its model.

    :param folder: gets what it holds; an empty one.
    :return: the model, and how it was judged; None of a table, or of an earlier version.
    :raises ArtifactError: it is broken, or of another city.
    """
    unpack_artifact(archive, folder)
    own = folder / f"city={city}"
    root = own if own.is_dir() else folder
    model = load_artifact(root)
    if model.card.city != city:
        raise ArtifactError(f"{archive.name}: got a model of city '{model.card.city}'; allowed: '{city}'.")
    return model, read_backtest(root)


def values_of(model: Model, held_out: HeldOut, table: Table | None = None) -> np.ndarray:
    """Make the model's rows of held-out ones, whose features may be others than its own.

    :param table: some of the held-out rows of a series; None for all.
    :return: rows × features, in the model's order; NaN where missing.
    :raises ArtifactError: the model is of another target, kind or task, or a feature can't be made.
    """
    mine, schema = model.card.schema, held_out.table.schema
    if (mine.target, mine.kind, mine.task) != (schema.target, schema.kind, schema.task):
        raise ArtifactError(
            f"the model of {mine.as_of} predicts '{mine.target}' of a {mine.kind} ({mine.task}); "
            f"the rows are of '{schema.target}' of a {schema.kind} ({schema.task})."
        )
    if schema.kind == SERIES:
        return rows_for(model.card, held_out.table if table is None else table, held_out.history)
    return values_for(model.card, held_out.table, held_out.raw)


def fair_answers(model: Model, backtest: Backtest | None, held_out: HeldOut) -> np.ndarray:
    """Answer the held-out rows, of a series by the models that judged this one, as far as it has learned them itself.

    :return: rows, NaN where nothing fair can be said; or rows × the model's classes.
    :raises ArtifactError: the model does not fit the rows, or has learned them all.
    """
    table = held_out.table
    if table.schema.kind != SERIES:
        return predict(model, values_of(model, held_out))
    values_of(model, held_out)
    return judged_champion(
        backtest, table, held_out.blocks, lambda rows: predict(model, values_of(model, held_out, rows))
    )
