"""What reading the DAG files costs Airflow, per DAG, beside what one would write without City Fleet: JSON.

A pass over DAG files is what Airflow's own code does: a forked process reads a file into a DagBag and serialises its
DAGs, and the one process of the dag-processor brings them into the database. Of each side (``parse_sides.py``):

parse_ms      CPU of the forked process: imports that are not shared, building, Airflow's checks
serialise_ms  CPU of the same process
sync_ms       CPU of the dag-processor, for DAGs that the database has already: what every pass costs
pass_ms       the sum of the three
new_ms        CPU of the dag-processor for DAGs that it has never seen
change_ms     a whole pass after a change of the defaults, which changes every DAG
megabytes     the most memory that a forked process takes beyond what it was forked with
kilobytes     of a DAG as it is stored

Each side runs in a process and a database (SQLite) of its own, all in turns, so that ratios hold on a noisy machine.

    PYTHONPATH=plugins python bench/parse.py --cities 100 1000

With ``--files`` it looks at a whole fleet of so many cities instead, DAG file by DAG file: first without compiled
forms, then with them; and at what it costs to start one task of it, beside a fleet of two cities.

    PYTHONPATH=plugins python bench/parse.py --files --cities 10000
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from parse_sides import EVENTS, SIDES, write_fleet

ROOT = Path(__file__).resolve().parent.parent
_DAG_FILE = """\
# Airflow looks into files that say airflow and dag.
import os
from pathlib import Path

import parse_sides

for dag in parse_sides.SIDES[{side!r}](Path({folder!r}), {cities}, int(os.environ["BENCH_RETRIES"])):
    globals()[dag.dag_id] = dag
"""
_RETRIES = (2, 3)
_PASS = ("parse_ms", "serialise_ms", "sync_ms")


def settings(folder: Path) -> dict[str, str]:
    """Return the environment of a process with an Airflow of its own."""
    return os.environ | {
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{folder}/airflow.db",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),  # registers the timetable
        # A file of ten thousand stock DAGs is not killed, so that it can be measured.
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "100000",
        # A pass looks at each DAG, however soon it comes after the one before.
        "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "0",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "CITY_FLEET_FLEETS": str(folder / "fleets"),
        "CITY_FLEET_COMPILED": str(folder / "compiled"),
        "BENCH_RETRIES": str(_RETRIES[0]),
    }


def in_a_process(work: Callable[[], Any]) -> Any:
    """Return what some work finds in a fork of this process, which has imported what the DAG processor has."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        with os.fdopen(writing, "w") as pipe:
            json.dump(work(), pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        found = json.loads(pipe.read())
    os.waitpid(child, 0)
    return found


def parsed(file: Path) -> dict[str, Any]:
    """Return the DAGs of a file as they go to the dag-processor, and what that has cost."""
    from airflow.dag_processing.dagbag import BundleDagBag  # noqa: PLC0415 - after the settings
    from airflow.serialization.serialized_objects import DagSerialization  # noqa: PLC0415

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    bag = BundleDagBag(dag_folder=file, bundle_path=file.parent, bundle_name="bench", load_op_links=False)
    built = time.process_time()
    stored = [DagSerialization.to_dict(dag) for dag in bag.dags.values()]
    end = time.process_time()
    assert not bag.import_errors, bag.import_errors
    return {
        "stored": stored,
        "parse_s": built - start,
        "serialise_s": end - built,
        "megabytes": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
    }


def a_pass(files: list[Path]) -> dict[str, float]:
    """Read DAG files and bring their DAGs into the database; return what it costs per DAG."""
    from airflow.dag_processing.collection import update_dag_parsing_results_in_db  # noqa: PLC0415
    from airflow.serialization.serialized_objects import LazyDeserializedDAG  # noqa: PLC0415
    from airflow.utils.session import create_session  # noqa: PLC0415

    sums = dict.fromkeys(("dags", "bytes", "parse_s", "serialise_s", "sync_s", "megabytes"), 0.0)
    for file in files:
        found = in_a_process(lambda file=file: parsed(file))  # type: ignore[misc]
        lazy = [LazyDeserializedDAG(data=data) for data in found["stored"]]
        sums["bytes"] += sum(len(json.dumps(data)) for data in found["stored"])
        start = time.process_time()
        with create_session() as session:
            update_dag_parsing_results_in_db(
                bundle_name="bench",
                bundle_version=None,
                dags=lazy,
                import_errors={},
                parse_duration=1.0,
                warnings=set(),
                session=session,
                files_parsed={("bench", file.name)},
            )
        sums["sync_s"] += time.process_time() - start
        sums["dags"] += len(lazy)
        for part in ("parse_s", "serialise_s"):
            sums[part] += found[part]
        sums["megabytes"] = max(sums["megabytes"], found["megabytes"])
    count = sums["dags"]
    return {
        "dags": count,
        "parse_ms": sums["parse_s"] / count * 1000,
        "serialise_ms": sums["serialise_s"] / count * 1000,
        "sync_ms": sums["sync_s"] / count * 1000,
        "megabytes": sums["megabytes"],
        "kilobytes": sums["bytes"] / count / 1000,
    }


def one_side(side: str, cities: int, folder: Path) -> dict[str, float]:
    """Return what one side costs, in this process and its own database."""
    import airflow.dag_processing.processor  # noqa: PLC0415 - what it imports is there before a fork
    import airflow.providers.amazon.aws.operators.sagemaker  # noqa: PLC0415
    from airflow import settings as airflow_settings  # noqa: PLC0415
    from airflow.models import import_all_models  # noqa: PLC0415
    from airflow.models.base import Base  # noqa: PLC0415
    from airflow.models.dagbundle import DagBundleModel  # noqa: PLC0415
    from airflow.utils.session import create_session  # noqa: PLC0415

    from city_fleet.orchestration.preimport_listener import OTHERS, OURS  # noqa: PLC0415

    assert airflow.dag_processing.processor
    assert airflow.providers
    # As where City Fleet is installed: what its plugin imports when the DAG processor starts is there for each side.
    for module in (*OTHERS, *OURS):
        importlib.import_module(module)
    import_all_models()
    Base.metadata.create_all(airflow_settings.engine)
    with create_session() as session:
        session.add(DagBundleModel(name="bench"))
    fleets = folder / "fleets"
    fleets.mkdir()
    if side in ("ours", "events"):
        write_fleet(fleets, cities, EVENTS if side == "events" else "")
        files = sorted((ROOT / "dags").glob("city_dags*.py"))
    else:
        file = folder / "dags" / "bench_dags.py"
        file.parent.mkdir()
        file.write_text(_DAG_FILE.format(side=side, folder=str(folder), cities=cities), encoding="utf-8")
        files = [file]
    files_at_work = [file for file in files if in_a_process(lambda file=file: len(parsed(file)["stored"]))]  # type: ignore[misc]
    new = a_pass(files_at_work)
    assert new["dags"] == cities, new
    steady = a_pass(files_at_work)
    os.environ["BENCH_RETRIES"] = str(_RETRIES[1])
    if side in ("ours", "events"):
        # What it takes to compile the file anew is part of the pass.
        write_fleet(fleets, cities, "defaults: {retries: 3}\n" + (EVENTS if side == "events" else ""))
    changed = a_pass(files_at_work)
    return {
        **{name: value for name, value in steady.items() if name != "dags"},
        "pass_ms": sum(steady[part] for part in _PASS),
        "new_ms": new["sync_ms"],
        "change_ms": sum(changed[part] for part in _PASS),
    }


def beside_peers(cities: int, rounds: int, sides: list[str]) -> dict[str, Any]:
    """Return the medians of each side at so many cities, and how much dearer each is than ours."""
    found: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            with tempfile.TemporaryDirectory(prefix="bench-parse-") as name:
                command = [sys.executable, __file__, "--side", side, "--cities", str(cities)]
                done = subprocess.run(
                    command, env=settings(Path(name)), cwd=name, stdout=subprocess.PIPE, check=True, text=True
                )
            found[side].append(json.loads(done.stdout.splitlines()[-1]))
    medians = {
        side: {part: round(statistics.median(each[part] for each in rounds_), 2) for part in rounds_[0]}
        for side, rounds_ in found.items()
    }
    compared = ("pass_ms", "change_ms", "new_ms", "megabytes")
    return {
        "cities": cities,
        "rounds": rounds,
        **medians,
        "times_ours": {
            side: {part: round(medians[side][part] / medians["ours"][part], 2) for part in compared}
            for side in sides
            if side != "ours"
        },
    }


def dag_file(index: int, only: str | None = None) -> dict[str, Any]:
    """Return what one DAG file of cities costs, as Airflow reads it: seconds of CPU, and megabytes.

    For the start of one task it is all that the forked process has taken so far, with the look at the sources.
    """
    from airflow.serialization.serialized_objects import DagSerialization  # noqa: PLC0415 - after the settings

    from city_fleet.orchestration.dag_shards import shard_dags  # noqa: PLC0415 - part of what is measured

    start = time.process_time() if only is None else 0.0
    dags = shard_dags(index, only, starts=only is not None)
    built = time.process_time()
    if only is None:
        for dag in dags.values():
            DagSerialization.to_dict(dag)
    end = time.process_time()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"dags": len(dags), "build_s": built - start, "all_s": end - start, "megabytes": memory}


def whole_fleet(folder: Path, rounds: int) -> dict[str, Any]:
    """Return what each DAG file of a fleet costs, and what the start of one task does before it is at work."""
    import airflow.jobs.scheduler_job_runner  # noqa: PLC0415 - what a scheduler has when it forks
    from airflow.jobs.job import Job  # noqa: PLC0415

    assert airflow.jobs.scheduler_job_runner
    Job()  # reads the plugins, as every component does at its start
    fleets, alone = folder / "fleets", folder / "alone"
    alone.mkdir()
    write_fleet(alone, 2)
    starts: dict[str, float] = {}

    def start_one(what: str, where: Path = fleets) -> None:
        os.environ["CITY_FLEET_FLEETS"] = str(where)
        found = [in_a_process(lambda: dag_file(0, "bench.c1"))["all_s"] * 1000 for _ in range(rounds + 1)]
        starts[what] = round(statistics.median(found[1:]), 1)  # the first one may have compiled the fleet
        os.environ["CITY_FLEET_FLEETS"] = str(fleets)

    start_one("nothing_imported_before_ms")
    from city_fleet.orchestration import edited_sources  # noqa: PLC0415
    from city_fleet.orchestration.dag_shards import DAG_FILES, files_needed  # noqa: PLC0415
    from city_fleet.orchestration.preimport_listener import OTHERS, OURS  # noqa: PLC0415

    for module in OTHERS:
        importlib.import_module(module)
    start_one("without_the_library_ms")
    report: dict[str, Any] = {"files_at_work": files_needed(fleets)}
    for module in OURS:
        importlib.import_module(module)
    start_one("installed_ms")
    start_one("installed_of_two_cities_ms", alone)
    edited_sources.Lineage(1, edited_sources.sources(), lambda: None).follow()
    start_one("from_a_checkout_ms")
    report["one_task"] = starts
    os.environ["CITY_FLEET_COMPILED"] = "/dev/null/nowhere"
    report["cold"] = summary([in_a_process(lambda i=index: dag_file(i)) for index in range(DAG_FILES)])  # type: ignore[misc]
    os.environ["CITY_FLEET_COMPILED"] = str(folder / "compiled")
    report["warm"] = summary([in_a_process(lambda i=index: dag_file(i)) for index in range(DAG_FILES)])  # type: ignore[misc]
    return report


def summary(files: list[dict[str, Any]]) -> dict[str, Any]:
    assert sum(each["dags"] for each in files) > 0
    return {
        "dags": sum(each["dags"] for each in files),
        "dags_in_the_largest": max(each["dags"] for each in files),
        "slowest_build_s": round(max(each["build_s"] for each in files), 2),
        "slowest_s": round(max(each["all_s"] for each in files), 2),
        "all_s": round(sum(each["all_s"] for each in files), 1),
        "idle_ms": [round(each["all_s"] * 1000, 1) for each in files if not each["dags"]][:1],
        "megabytes": round(max(each["megabytes"] for each in files)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cities", type=int, nargs="+", default=[100])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sides", nargs="+", choices=list(SIDES), help="all that are installed by default")
    parser.add_argument(
        "--files", action="store_true", help="look at each DAG file of a fleet of so many cities"
    )
    parser.add_argument("--side", choices=list(SIDES), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        print(json.dumps(one_side(given.side, given.cities[0], Path(os.environ["AIRFLOW_HOME"]))))
        return
    # The processes that this one starts work elsewhere.
    given_path = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(os.path.abspath(each) for each in given_path if each)
    sides = given.sides or [
        side for side in SIDES if side != "dagfactory" or importlib.util.find_spec("dagfactory")
    ]
    report: dict[str, Any] = {
        "machine": {"python": platform.python_version(), "cpus": os.cpu_count(), "load": os.getloadavg()[0]}
    }
    if given.files:
        folder = Path(tempfile.mkdtemp(prefix="bench-parse-"))
        try:
            (folder / "fleets").mkdir()
            write_fleet(folder / "fleets", given.cities[0])
            os.environ.update(settings(folder))
            report |= {"cities": given.cities[0], **whole_fleet(folder, given.rounds)}
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    else:
        report["sizes"] = [beside_peers(cities, given.rounds, sides) for cities in given.cities]
    json.dump(report, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
