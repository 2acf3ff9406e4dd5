"""The command with which docs/scaling.md keeps Airflow's database small, on a real database."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support.airflow_database import lay_down
from tests.support.fleets import TEXAS
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "scaling.md"


def documented() -> list[str]:
    """The arguments of `airflow db clean` as the page has them, by a shell."""
    (block,) = re.findall(r"```bash\n(airflow db clean.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    script = 'airflow() { printf "%s\\n" "$@"; }\n' + block
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_the_documented_command_keeps_the_newest_run_and_what_is_young(tmp_path: Path) -> None:
    (tmp_path / "airflow").mkdir()
    lay_down(tmp_path / "airflow")
    fleets = tmp_path / "fleets"
    fleets.mkdir()
    text = TEXAS.read_text(encoding="utf-8")
    head, _, _ = text.partition("\ncities:\n")
    (fleets / TEXAS.name).write_text(f"{head}\ncities:\n  austin: {{name: Austin}}\n", encoding="utf-8")
    environment = {
        **{
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AIRFLOW", "CITY_FLEET"))
        },
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "CITY_FLEET_FLEETS": str(fleets),
        "CITY_FLEET_COMPILED": str(tmp_path / "compiled"),
        "PYTHONPATH": f"{ROOT}:{ROOT / 'plugins'}",
    }
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("retention_run.py")), *documented()],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    found = re.search(r"^REPORT (.*)$", done.stdout, re.MULTILINE)
    assert found, done.stderr[-4000:] + done.stdout[-1000:]
    report = json.loads(found[1])
    before, after = report["before"], report["after"]
    assert before["runs"] == [f"scheduled__{ago}" for ago in (200, 150, 100, 20, 1)]
    assert report["after dry run"] == before
    assert "Performing dry run for table dag_run" in report["said"]
    tasks = before["task_instance"] // 5
    assert tasks >= 9
    # Three nights are older, with all that hangs on them; nothing is kept of them under another name.
    assert after["runs"] == ["scheduled__20", "scheduled__1"]
    assert (after["task_instance"], after["xcom"], after["archives"]) == (2 * tasks, 2 * tasks, [])
    assert after["serialized_dag"] == before["serialized_dag"]
    assert report["then"]["runs"][-1] == "scheduled__0"
