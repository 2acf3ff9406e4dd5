"""What runs on a laptop in the place of AWS and of an Airflow installation: the local SageMaker and the stack."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

#: The folder of the project, in which all of this lies.
ROOT = Path(__file__).resolve().parents[1]


def without_foreign(paths: Sequence[str]) -> list[str]:
    """Leave out of ``sys.path`` what PYTHONPATH names: another project's modules may have the names of ours.

    :param paths: where modules are looked for.
    """
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    foreign = {os.path.abspath(path) for path in named if path} - {str(ROOT)}
    return [path for path in paths if os.path.abspath(path) not in foreign]
