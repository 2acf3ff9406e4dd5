"""An Airflow home of its own for tests that import Airflow; set before the first import."""

from __future__ import annotations

import os
import tempfile

from tests.support.paths import ROOT

os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="city-fleet-airflow-"))
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "False"
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(ROOT / "dags")
os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(ROOT / "plugins")
