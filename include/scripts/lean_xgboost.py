"""Imports xgboost without scikit-learn, which it would load for wrappers that are not used here.

``import xgboost`` looks for scikit-learn, which brings pandas and scipy.stats along: 3.4 seconds instead of
0.9, for a job that works for a tenth of a second. xgboost does without it where it is not installed, so it is
made to look that way while xgboost is imported. A process that has loaded scikit-learn already keeps it.
"""

from __future__ import annotations

import sys
from types import ModuleType


def _import_xgboost() -> ModuleType:
    hide = "sklearn" not in sys.modules and "xgboost" not in sys.modules
    if hide:
        sys.modules["sklearn"] = None  # type: ignore[assignment]
    try:
        import xgboost  # noqa: PLC0415
    finally:
        if hide:
            del sys.modules["sklearn"]
    return xgboost


xgboost = _import_xgboost()
