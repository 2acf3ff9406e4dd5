"""What runs on a laptop in the place of AWS and of an Airflow installation: the local SageMaker and the stack."""

from __future__ import annotations

from pathlib import Path

#: The folder of the project, in which all of this lies.
ROOT = Path(__file__).resolve().parents[1]
