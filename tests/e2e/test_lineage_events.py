"""A city's raw data lead to its endpoint in the events that Airflow's OpenLineage provider writes of a real run.

The provider is in no environment of the tests: ``make test-lineage`` installs it beside them, and runs this file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from city_fleet.naming import split_uri
from local import ROOT
from local.stack.layout import Layout, free_port
from local.stack.seed import seed
from local.stack.stack import Stack
from tests.e2e.conftest import BIKES, Fleet, wait_for_dags, write_bike_rides
from tests.support.otlp_collector import Collector

PROVIDER = os.environ.get("CITY_FLEET_TEST_LINEAGE", "")
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(not PROVIDER, reason="needs Airflow's OpenLineage provider: make test-lineage"),
]
ENDPOINT_DAG, DAG = "bike_rides._endpoint", "bike_rides.harbour"
_Dataset = tuple[str, str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lineage")


@pytest.fixture(scope="module")
def rides(folder: Path) -> Iterator[Fleet]:
    """A stack with one city, whose Airflow has the provider and writes its events to a file."""
    fleets = folder / "fleets"
    fleets.mkdir()
    write_bike_rides(fleets / "bike_rides.csv")
    (fleets / "bike_rides.yaml").write_text(BIKES.format(source=fleets / "bike_rides.csv"))
    transport = {"type": "file", "log_file_path": str(folder / "events"), "append": True}
    layout = Layout(
        state_dir=folder / "state",
        ui_port=free_port(),
        sagemaker_port=free_port(),
        fleets_dir=fleets,
        airflow_settings={
            "PYTHONPATH": os.pathsep.join([str(ROOT / "plugins"), str(ROOT), str(Path(PROVIDER).absolute())]),
            "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(transport),
            "AIRFLOW__OPENLINEAGE__NAMESPACE": "laptop",
        },
    )
    with Stack(layout) as stack:
        seed(stack, [fleets / "bike_rides.yaml"])
        wait_for_dags(stack, {ENDPOINT_DAG, DAG})
        fleet = Fleet(stack, Collector())
        for dag_id, conf in ((ENDPOINT_DAG, {}), (DAG, {"as_of": "2026-01-01"})):
            fleet.runs[dag_id] = fleet.start(dag_id, **conf)
            assert fleet.ended(dag_id) == "success", fleet.states(dag_id)
        yield fleet


def _names(datasets: list[dict[str, Any]]) -> set[_Dataset]:
    return {(each["namespace"], each["name"]) for each in datasets}


def _version(dataset: dict[str, Any]) -> str:
    return str(dataset["facets"]["version"]["datasetVersion"])


def test_raw_data_lead_to_the_endpoint_and_the_live_pointer(rides: Fleet, folder: Path) -> None:
    events = [json.loads(line) for line in (folder / "events").read_text(encoding="utf-8").splitlines()]
    told = [event for event in events if event["job"]["name"].startswith(f"{DAG}.")]
    ended = {
        event["job"]["name"].removeprefix(f"{DAG}."): event
        for event in told
        if event["eventType"] == "COMPLETE"
    }
    assert {"preprocess", "train", "evaluate", "register", "publish"} <= set(ended)
    assert not [event for event in told if event["eventType"] in ("FAIL", "ABORT")]
    leads: dict[_Dataset, set[_Dataset]] = {}
    for event in told:
        for read in _names(event["inputs"]):
            leads.setdefault(read, set()).update(_names(event["outputs"]))

    record, pointer = rides.record(DAG), rides.pointer("bike_rides", "harbour")
    assert pointer is not None
    account, _ = str(record["package_arn"]).split(":model-package/")
    raw: _Dataset = ("s3://city-fleet", "bike_rides/raw/city=harbour")
    steps = [
        ("s3://city-fleet", f"bike_rides/laptop/runs/harbour/{step}") for step in ("preprocess", "train")
    ]
    serves, live = (account, "endpoint/bike-rides--laptop/harbour"), "bike_rides/laptop/live/harbour.json"
    found: set[_Dataset] = set()
    after = {raw}
    while after - found:
        found |= after
        after = {made for read in found for made in leads.get(read, ())}
    assert {*steps, serves, ("s3://city-fleet", live)} <= found, found
    # What no other task makes is where it all begins.
    assert found - {made for each in leads.values() for made in each} == {raw}

    facts = {task: event["run"]["facets"]["cityFleet"] for task, event in ended.items() if event["outputs"]}
    for task in ("preprocess", "train", "evaluate"):
        assert facts[task]["job"] == rides.result(DAG, task)["job"]
        (made,) = ended[task]["outputs"]
        assert _version(made) == record["run_key"]
        for uri in facts[task]["uris"]:
            bucket, key = split_uri(uri)
            assert rides.client("s3").list_objects_v2(Bucket=bucket, Prefix=key)["KeyCount"], uri
    assert {each["runKey"] for each in facts.values()} == {record["run_key"]}
    assert facts["publish"]["modelPackageArn"] == record["package_arn"]
    assert {_version(made) for made in ended["publish"]["outputs"]} == {pointer["target_model"]}
