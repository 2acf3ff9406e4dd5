"""Calls the user's own ``features.py``, where the scripts folder holds one (docs/steps.md).

It is the user's code: what it returns is checked, an error of it is a sentence that points into it, and a feature that
looks at rows which a model must not have seen is found by calling it a second time, without them.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from job_failure import JobFailure, listed, nearest, quoted
from raw_records import MOST_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

NAME = "features.py"
FILE = Path(__file__).with_name(NAME)


@dataclass(frozen=True)
class Context:
    """What ``features`` is told beside the rows.

    :param as_of: the moment up to which the rows were known.
    :param kind: series or table.
    :param target: the column that is predicted; empty where it is not known.
    :param time: of a table with a time: the rows' moments, in UTC; else None.
    """

    city: str
    as_of: datetime
    kind: str
    task: str
    target: str
    time: pd.Series | None = None


Hook = Callable[["pd.DataFrame", Context], Any]


def load_hook() -> Hook | None:
    """Return ``features`` of the user's module; None where there is no module.

    :raises JobFailure: it can't be imported, or has no such function.
    """
    if not FILE.is_file():
        return None
    spec = importlib.util.spec_from_file_location("city_fleet_features", FILE)
    assert spec is not None  # noqa: S101
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    _guarded(lambda: spec.loader.exec_module(module))  # type: ignore[union-attr]
    found = getattr(module, "features", None)
    if not callable(found):
        near = nearest("features", [name for name in vars(module) if not name.startswith("_")])
        raise JobFailure(f"{NAME}: no function 'features(frame, context)'; it has to be there.{near}")
    return found


def call_hook(hook: Hook, frame: pd.DataFrame, context: Context, fixed: Sequence[str]) -> pd.DataFrame:
    """Call ``features``, and check what it returns.

    :param frame: the rows; the hook gets a copy.
    :param fixed: columns that it has to leave as they are.
    :raises JobFailure: it fails, or returns something else than these rows with columns.
    """
    import pandas as pd  # noqa: PLC0415

    made = _guarded(lambda: hook(frame.copy(), context))
    if not isinstance(made, pd.DataFrame):
        raise JobFailure(f"{NAME}: 'features' returned a {type(made).__name__}; allowed: a pandas.DataFrame.")
    if len(made) != len(frame) or not made.index.equals(frame.index):
        raise JobFailure(
            f"{NAME}: 'features' returned {len(made)} rows with another index; allowed: the {len(frame)} rows it got, "
            "under the same index, in the same order."
        )
    names = list(made.columns)
    odd = [name for name in names if not isinstance(name, str) or not name]
    if odd or len(set(names)) != len(names) or len(names) > MOST_COLUMNS:
        raise JobFailure(
            f"{NAME}: 'features' returned columns {quoted(listed([str(name) for name in names]))}; allowed: up to "
            f"{MOST_COLUMNS} different names."
        )
    for name in fixed:
        if name not in made.columns or not _same(frame[name], made[name]):
            raise JobFailure(
                f"{NAME}: 'features' changed or dropped column '{name}'; allowed: to leave it as it is."
            )
    return made


def check_no_look_ahead(  # noqa: PLR0917
    hook: Hook,
    frame: pd.DataFrame,
    context: Context,
    made: pd.DataFrame,
    before: np.ndarray,
    fixed: Sequence[str],
) -> None:
    """Call the hook without the held-out rows: the others must come out the same.

    :param made: what it made of all rows.
    :param before: places of the rows that are not held out.
    :raises JobFailure: naming the first column that is another.
    """
    if not len(before):
        return
    part = frame.iloc[before]
    time = None if context.time is None else context.time.iloc[before]
    again = call_hook(hook, part, Context(**{**vars(context), "time": time}), fixed)
    for name in made.columns:
        if name not in again.columns or not _same(made[name].iloc[before], again[name]):
            raise JobFailure(
                f"{NAME}: column '{name}' of rows to train on is another when the held-out rows are not there: it "
                "looks at rows that a model must not have seen. Make a feature of its own row, or of those before it."
            )


def _same(one: Any, other: Any) -> bool:
    """Tell whether two columns hold the same; whole numbers and fractions of the same size are."""
    if len(one) != len(other):
        return False
    try:
        a, b = one.to_numpy(np.float64, na_value=np.nan), other.to_numpy(np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        return bool((one.isna().to_numpy() == other.isna().to_numpy()).all()) and bool(
            (one.dropna().astype(str).to_numpy() == other.dropna().astype(str).to_numpy()).all()
        )
    # Sums over a longer frame may differ in the last bits.
    return bool(np.allclose(a, b, rtol=1e-9, atol=0, equal_nan=True))


def _guarded(call: Callable[[], Any]) -> Any:
    """Call the user's code; its error becomes a sentence with the line of its file."""
    try:
        return call()
    except JobFailure:
        raise
    except Exception as error:
        traceback.print_exception(error, file=sys.stderr)
        lines = [
            each.lineno for each in traceback.extract_tb(error.__traceback__) if each.filename == str(FILE)
        ]
        if isinstance(error, SyntaxError):
            lines = [error.lineno]
        at = f", line {lines[-1]}" if lines else ""
        said = " ".join(str(error).split())[:300]
        raise JobFailure(
            f"{NAME}{at}: {type(error).__name__}: {said}. The job's log has the traceback."
        ) from None
