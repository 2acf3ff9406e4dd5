"""Run a city's DAG, once as it should be and once while its record can't be written, in an Airflow home of its own.

Started by test_record.py as a process: Airflow reads its settings when it is imported. Prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import urllib.request

from airflow.utils.db import initdb

from city_fleet.config.places import fleets_folder
from city_fleet.orchestration.city_dags import city_dags
from tests.airflow.digest_run import run, sync


def main() -> None:
    initdb()
    sync()
    (city,) = city_dags(fleets_folder(), only="texas_housing.austin")
    report = {"good": run(city, as_of="2001-01-01")}
    fault = {"kind": "internal_error", "operation": "s3:PutObject", "name": "city-fleet/*/state/runs/*"}
    url = os.environ["AWS_ENDPOINT_URL"] + "/_local/faults"
    body = json.dumps({"faults": [fault]}).encode()
    urllib.request.urlopen(urllib.request.Request(url, body, method="PUT"), timeout=10)
    report["bad"] = run(city, as_of="2001-02-01")
    print("REPORT " + json.dumps(report), flush=True)
    os._exit(0)  # Airflow's threads would keep the process for a while


if __name__ == "__main__":
    main()
