"""./fleet beside an Airflow that answers over HTTP."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from city_fleet.airflow_rest.login_channel import PASSWORD, URL, USER
from city_fleet.cli.app import app
from tests.support.airflow_server import AirflowServer, FakeDag, running_airflow
from tests.support.fleets import SMALL

Fleet = Callable[..., Result]


@pytest.fixture
def server() -> Iterator[AirflowServer]:
    with running_airflow() as airflow:
        airflow.dags = {f"small.{city}": FakeDag() for city in ("a", "b", "c")}
        yield airflow


@pytest.fixture
def airflow_fleet(server: AirflowServer, tmp_path: Path) -> Fleet:
    """./fleet with a fleet of four cities, of which Airflow has three."""
    (tmp_path / "small.yaml").write_text(
        SMALL + "cities: {a: , b: , c: {name: Fort Knox}, d: }\n", encoding="utf-8"
    )

    def run(*arguments: str, **environ: str) -> Result:
        clean = {name: None for name in os.environ if name.startswith(("AWS_", "AIRFLOW", "CITY_FLEET"))}
        own = {
            "CITY_FLEET_FLEETS": str(tmp_path),
            "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_MAX_ATTEMPTS": "1",
            URL: server.url,
            USER: "admin",
            PASSWORD: "secret",
        }
        result = CliRunner().invoke(
            app, list(arguments), env={**clean, **own, **environ}, prog_name="./fleet"
        )
        assert isinstance(result.exception, SystemExit | None), result.exception
        return result

    return run
