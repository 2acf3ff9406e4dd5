"""What `make up DB= EXECUTOR= WORKERS=` may ask for, and what each engine's stack is made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from local.stack import engine_settings, programs
from local.stack.engine import CELERY, LOCAL, POSTGRES, SQLITE, Engine, choose_engine
from local.stack.errors import UsageError
from local.stack.layout import Layout

PORTS = {"execution_port": 1, "database_port": 2, "broker_port": 3}
SECRETS = {"database_password": "dp", "broker_password": "bp"}


@pytest.mark.parametrize(
    ("asked", "engine"),
    [
        (("", "", ""), Engine(SQLITE, LOCAL)),
        (("postgres", "", ""), Engine(POSTGRES, LOCAL)),
        (("", "celery", ""), Engine(POSTGRES, CELERY, 2)),
        (("postgres", "celery", "3"), Engine(POSTGRES, CELERY, 3)),
    ],
)
def test_what_is_left_out_follows_from_the_rest(asked: tuple[str, str, str], engine: Engine) -> None:
    assert choose_engine(*asked) == engine


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (("mysql", "", ""), "DB=mysql is not known; allowed: sqlite, postgres."),
        (("", "kubernetes", ""), "EXECUTOR=kubernetes is not known; allowed: local, celery."),
        (("sqlite", "celery", ""), "EXECUTOR=celery needs DB=postgres"),
        (("postgres", "", "2"), "WORKERS=2 goes with EXECUTOR=celery"),
        (("", "celery", "0"), "WORKERS=0 is not a number of workers; allowed: 1 to 16."),
        (("", "celery", "two"), "WORKERS=two is not a number of workers"),
    ],
)
def test_what_does_not_go_is_said(asked: tuple[str, str, str], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        choose_engine(*asked)
    assert sentence in str(caught.value)


def test_with_postgres_one_api_server_serves_people_and_tasks(tmp_path: Path) -> None:
    apart, together = Layout(tmp_path, **PORTS), Layout(tmp_path, engine=Engine(POSTGRES), **PORTS)
    assert programs.components(apart) == programs.COMPONENTS
    assert programs.servers(apart) == ()
    assert "execution-api" not in programs.components(together)
    assert programs.servers(together) == ("postgres",)
    assert together.execution_url == f"{together.ui_url}/execution/"


def test_each_celery_worker_has_a_home_of_its_own(tmp_path: Path) -> None:
    layout = Layout(tmp_path, engine=Engine(POSTGRES, CELERY, 2), triggerers=2, **PORTS)
    assert programs.components(layout)[-3:] == ("triggerer-2", "worker-1", "worker-2")
    assert programs.servers(layout) == ("postgres", "redis")
    homes = [engine_settings.worker_variables(layout, f"worker-{number}") for number in (1, 2)]
    assert not set(homes[0].values()) & set(homes[1].values())
    assert engine_settings.worker_variables(layout, "scheduler") == {}
    found = engine_settings.variables(layout, SECRETS)
    assert found["AIRFLOW__CELERY__BROKER_URL"] == f"redis://:bp@127.0.0.1:{layout.broker_port}/0"
    assert f"airflow:dp@127.0.0.1:{layout.database_port}/" in found["AIRFLOW__CELERY__RESULT_BACKEND"]
