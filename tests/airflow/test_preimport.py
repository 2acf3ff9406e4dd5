"""What a scheduler or a DAG processor has imported when it forks, its children need not, unless it was edited."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT

_START = """
import json, os, sys
from pathlib import Path
from airflow.jobs.job import Job

LIBRARY = Path(os.environ["PYTHONPATH"]) / "city_fleet"
OPERATORS = "airflow.providers.amazon.aws.operators.sagemaker"
OURS = "city_fleet.orchestration.city_dags"

def start(command, executor="LocalExecutor"):
    os.environ["AIRFLOW__CORE__EXECUTOR"] = executor
    sys.argv = ["/usr/bin/airflow", command]
    Job()  # as each component makes one at its start
    return [name for name in (OPERATORS, OURS) if name in sys.modules]

def child(work):
    reading, writing = os.pipe()
    if not (pid := os.fork()):
        try:
            os.write(writing, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(writing)
    with open(reading) as said:
        text = said.read()
    os.waitpid(pid, 0)
    return json.loads(text)

def edit(module, text):
    path = LIBRARY / f"{module}.py"
    path.write_text(path.read_text() + text)

def tag(text):
    edit("clock", f"\\nEDITED = {text!r}\\n")
"""
_WHO = (
    _START
    + """
found = {
    "triggerer": start("triggerer"),
    "workers elsewhere": start("scheduler", "CeleryExecutor"),
    "scheduler": start("scheduler"),
}
from city_fleet.orchestration.dag_shards import shard_dags
before = set(sys.modules)
dags = shard_dags(0, "small.ab", starts=True)
assert list(dags) == ["small.ab"], dags
from botocore.loaders import JSONFileLoader
from city_fleet.orchestration.task_clients import TaskClients
found["models read"], load = [], JSONFileLoader.load_file
JSONFileLoader.load_file = lambda self, path: found["models read"].append(path) or load(self, path)
clients = TaskClients(None, "us-east-1")
assert clients.s3 and clients.sagemaker and clients.runtime
found["imported by a task"] = sorted(set(sys.modules) - before)
print(json.dumps(found))
"""
)
_FLEET = """\
fleet: small
bucket: models
role: arn:aws:iam::123456789012:role/fleet
schedule: "0 2 * * *"
start_date: 2024-01-01
dataset:
  city_column: city
  time: {columns: [date]}
  frequency: day
  available_after: P1D
  target: {column: y, min: 1, lags: [1, 7]}
  calendar: [day_of_week]
cities: {ab: {name: Abilene}, au: {name: Austin}}
"""
#: Edits two modules: the one that DAG files ask, and one that the plugin has long imported.
_EDITED = """
from city_fleet import clock
_unedited = shard_dags
def shard_dags(*given, **named):
    dags = _unedited(*given, **named)
    for dag in dags.values():
        dag.tags.add(clock.EDITED)
    return dags
"""
_PROCESSOR = (
    _START
    + f"""
from airflow.dag_processing.processor import DagFileProcessorProcess
from uuid6 import uuid7
import structlog

start("dag-processor")
FILE = Path({str(ROOT / "dags" / "city_dags.py")!r})

def look():
    # As Airflow's DAG processor does, for one file.
    process = DagFileProcessorProcess.start(
        id=uuid7(), path=FILE, bundle_path=FILE.parent, bundle_name="here", dag_file_rel_path=FILE.name, callbacks=[],
        logger=structlog.get_logger(), logger_filehandle=open(os.devnull, "wb"), client=None,
    )
    while not process.is_ready:
        for key, _ in process.selector.select(timeout=1):
            handle, close = key.data
            if not handle(key.fileobj):
                close(key.fileobj)
                key.fileobj.close()
    result = process.parsing_result
    dags = sorted((each.data for each in result.serialized_dags), key=lambda data: data["dag"]["dag_id"])
    return [dags, list((result.import_errors or {{}}).values())]

found = {{"unedited": look()}}
tag("once")
edit("orchestration/dag_shards", {_EDITED!r})
found["edited"] = look()
edit("clock", "\\nan edit (\\n")
found["broken"] = look()
text = (LIBRARY / "clock.py").read_text().replace("\\nan edit (\\n", "").replace("once", "twice")
(LIBRARY / "clock.py").write_text(text)
found["mended"] = look()
print(json.dumps(found))
"""
)
_WORKER = (
    _START
    + f"""
def task():
    imported = OURS in sys.modules
    from city_fleet.orchestration.dag_shards import shard_dags
    (dag,) = shard_dags(0, "small.ab", starts=True).values()
    here = child(lambda: OURS in sys.modules)  # a task may fork as well, in the middle of its work
    return [imported, sorted(dag.tags), here]

def worker():
    # One outlives an edit, and forks a process for each task.
    found = [child(task), child(task)]
    tag("once")
    edit("orchestration/dag_shards", {_EDITED!r})
    return found + [child(task), child(task)]

start("scheduler")
found = {{"a worker before an edit": child(worker)}}
found["one after it"] = child(lambda: [child(task), child(task)])

def edited_meanwhile():
    from city_fleet.orchestration.dag_shards import shard_dags
    text = (LIBRARY / "clock.py").read_text().replace("once", "twice")
    (LIBRARY / "clock.py").write_text(text)
    return child(lambda: OURS in sys.modules)

found["the fork of a task"] = child(lambda: child(edited_meanwhile))
print(json.dumps(found))
"""
)


def run(program: str, folder: Path) -> Any:
    """Run a program with a copy of the library that it may edit and a fleet of two cities; return what it printed."""
    plugins, fleets = folder / "plugins", folder / "fleets"
    shutil.copytree(ROOT / "plugins", plugins, ignore=shutil.ignore_patterns("__pycache__"))
    fleets.mkdir()
    (fleets / "small.yaml").write_text(_FLEET, encoding="utf-8")
    environment = os.environ | {
        "PYTHONPATH": str(plugins),
        "AWS_ACCESS_KEY_ID": "unused",
        "AWS_SECRET_ACCESS_KEY": "unused",
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(plugins),
        "CITY_FLEET_PROJECT": str(ROOT),
        "CITY_FLEET_FLEETS": str(fleets),
    }
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, check=True, env=environment, cwd=folder, stdout=subprocess.PIPE)
    return json.loads(done.stdout.splitlines()[-1])


def test_who_forks_imports_beforehand(tmp_path: Path) -> None:
    found = run(_WHO, tmp_path)
    imported = found.pop("imported by a task")
    others, ours = "airflow.providers.amazon.aws.operators.sagemaker", "city_fleet.orchestration.city_dags"
    assert found == {"triggerer": [], "workers elsewhere": [], "scheduler": [others, ours], "models read": []}
    heavy = [
        name for name in imported if name.partition(".")[0] not in (*sys.stdlib_module_names, "encodings")
    ]
    assert not heavy, "what a task of a city needs is imported beforehand"


def test_a_dag_file_is_read_with_the_library_as_it_is_now(tmp_path: Path) -> None:
    found = run(_PROCESSOR, tmp_path)
    (before, none), (edited, no_error) = found["unedited"], found["edited"]
    assert len(before) == 2
    assert (none, no_error) == ([], [])
    for dags, edit in ((edited, "once"), (found["mended"][0], "twice")):
        for dag in dags:
            dag["dag"]["tags"].remove(edit)
        assert dags == before, "but for the edit: timetable, links and all"
    (error,) = found["broken"][1]
    assert "clock.py" in error
    assert "an edit (" in error


def test_a_worker_imports_an_edit_once(tmp_path: Path) -> None:
    found = run(_WORKER, tmp_path)
    (first, tags, here), second, *after = found["a worker before an edit"]
    assert (first, here) == (True, True)
    assert second == [True, tags, True]
    edited = [True, sorted([*tags, "once"]), True]
    assert after == [edited, edited], "the worker itself has imported it, before its first task thereafter"
    first, second = found["one after it"]
    assert first == second == edited
    assert found["the fork of a task"] is True, "what is at work forgets nothing"
