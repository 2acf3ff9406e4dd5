"""When a fleet file is broken, the notifiers of its digest are told, once; and so of a DAG that can't be built."""

from __future__ import annotations

import http.server
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from city_fleet.errors import CityFleetError
from city_fleet.orchestration import city_dags as city_dags_module
from city_fleet.orchestration import mistake_alert, mistake_listener, unbuilt_dags
from city_fleet.orchestration.dag_shards import fleet_wide_dags, shard_dags
from city_fleet.orchestration.fleet_mistakes import raise_on_mistakes
from city_fleet.orchestration.mistake_listener import MistakeListener
from city_fleet.plan import PURPOSES
from tests.support import dag_processor
from tests.support.fleets import SMALL
from tests.support.http_server import running_http_server
from tests.support.waiting import wait_until

NOTIFIER = """\
digest:
  notifiers:
    - notifier: airflow.providers.http.notifications.HttpNotifier
      arguments:
        endpoint: /hook
        json: {s: "{{ digest.subject }}", t: "{{ digest.text }}", f: "{{ digest.counts.failed }}"}
"""
GOOD = SMALL + NOTIFIER + "cities:\n  lake: {}\n  pier: {schedule: '0 3 * * *'}\n"
TAB = GOOD.replace("  city_column", "\tcity_column")


@pytest.fixture
def hook() -> Iterator[tuple[str, list[Any]]]:
    """A web hook: its URL, and what it was sent."""
    received: list[Any] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with running_http_server(Handler) as url:
        yield url, received


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hook: tuple[str, list[Any]]) -> Path:
    monkeypatch.setenv("CITY_FLEET_COMPILED", str(tmp_path / "compiled"))
    monkeypatch.setenv("AIRFLOW_CONN_HTTP_DEFAULT", hook[0])
    (tmp_path / "fleets").mkdir()
    monkeypatch.setenv("CITY_FLEET_FLEETS", str(tmp_path / "fleets"))
    (tmp_path / "fleets" / "small.yaml").write_text(GOOD)
    shard_dags(0)
    return tmp_path / "fleets"


def test_airflows_processor_keeps_the_dags_and_has_the_notifiers_told(
    tmp_path: Path, hook: tuple[str, list[Any]]
) -> None:
    """A fleet file that can't be used leaves its DAGs with their schedules, and Airflow's home red."""
    url, received = hook
    home = dag_processor.home(tmp_path)
    file = home / "fleets" / "small.yaml"
    file.write_text(GOOD)
    errors, before = dag_processor.looked(home, AIRFLOW_CONN_HTTP_DEFAULT=url)
    assert errors == {}
    assert set(before) == {"small.lake", "small.pier", *(f"small._{name}" for name in PURPOSES)}
    assert before["small.pier"][2] == "0 3 * * *"
    file.write_text(TAB)
    errors, after = dag_processor.looked(home, AIRFLOW_CONN_HTTP_DEFAULT=url)
    assert after == before
    assert set(errors) == {"fleet_mistakes.py"}
    assert "small.yaml:6: got text that is not YAML" in errors["fleet_mistakes.py"]
    assert "stays as it was when it was last right" in errors["fleet_mistakes.py"]
    wait_until(lambda: len(received) == 1, 120, "message")
    assert received[0]["s"] == "small (laptop): 1 mistake in the fleet file"
    assert "small.yaml:6: got text that is not YAML" in received[0]["t"]
    assert "goes on by the last good form of 20" in received[0]["t"]
    assert received[0]["f"] == "0"


def test_each_mistake_is_told_once_and_anew_when_it_comes_back(
    folder: Path, hook: tuple[str, list[Any]]
) -> None:
    file, received = folder / "small.yaml", hook[1]
    assert mistake_alert.tell(folder) == 0
    file.write_text(GOOD.replace("lake: {}", "lake: {retries: many}"))
    assert [mistake_alert.tell(folder) for _ in range(3)] == [1, 0, 0]
    file.write_text(GOOD.replace("lake: {}", "lake: {retries: many}").replace("pier: {", "pier: {x: 1, "))
    assert [mistake_alert.tell(folder) for _ in range(3)] == [1, 0, 0]
    assert "got 'many'" in received[0]["t"]
    assert "got 'many'" not in received[1]["t"]
    assert "field 'x': got an unknown key" in received[1]["t"]
    assert received[1]["t"].endswith("Cities with a mistake do not run; the others do.")
    file.write_text(GOOD)
    raise_on_mistakes(folder)
    file.write_text(GOOD.replace("lake: {}", "lake: {retries: many}"))
    assert mistake_alert.tell(folder) == 1


def test_a_notifier_that_fails_stops_nobody(
    folder: Path, hook: tuple[str, list[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    bad = "    - notifier: airflow.providers.http.notifications.NoSuchNotifier\n"
    (folder / "small.yaml").write_text(GOOD.replace("  notifiers:\n", "  notifiers:\n" + bad))
    shard_dags(0)
    (folder / "small.yaml").write_text("fleet: [")
    (folder / "never.yaml").write_text("fleet: [")
    with caplog.at_level(logging.WARNING):
        assert mistake_alert.tell(folder) == 1
    assert "can't be told" in caplog.text
    assert "never was right" in caplog.text
    assert len(hook[1]) == 1


def test_a_dag_that_cant_be_built_is_red_and_told_until_it_can(
    folder: Path, monkeypatch: pytest.MonkeyPatch, hook: tuple[str, list[Any]]
) -> None:
    real = city_dags_module._task

    def fail(task_id: str, plan: Any, common: Any) -> Any:
        if plan.city.slug == "lake":
            raise KeyError("surprise")
        return real(task_id, plan, common)

    monkeypatch.setattr(city_dags_module, "_task", fail)
    assert set(shard_dags(0)) == {"small.lake", "small.pier"}
    with pytest.raises(
        CityFleetError, match=r"DAG 'small.lake' can't be built .*KeyError at test_mistake_alert"
    ):
        raise_on_mistakes(folder)
    assert mistake_alert.tell(folder) == 1
    assert "KeyError at test_mistake_alert" in hook[1][0]["t"]
    shard_dags(0, only="small.lake")  # a task that starts says nothing of the others
    fleet_wide_dags()
    with pytest.raises(CityFleetError, match="KeyError at test_mistake_alert"):
        raise_on_mistakes(folder)
    monkeypatch.setattr(city_dags_module, "_task", real)
    shard_dags(0)
    raise_on_mistakes(folder)


def test_what_a_dag_file_said_long_ago_or_half_is_not_believed(folder: Path, tmp_path: Path) -> None:
    unbuilt_dags.report("cities-0", {"small.lake": "why"})
    assert unbuilt_dags.reported() == {"small.lake": "why"}
    (path,) = (tmp_path / "compiled" / "unbuilt").iterdir()
    path.write_text("{")
    assert unbuilt_dags.reported() == {}
    unbuilt_dags.report("cities-0", {"small.lake": "why"})
    long_ago = time.time() - 7200
    os.utime(path, (long_ago, long_ago))
    assert unbuilt_dags.reported() == {}


def test_the_listener_starts_one_process_for_each_news_and_never_raises(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    started: list[int] = []

    def start() -> Any:
        started.append(1)
        return subprocess.Popen([sys.executable, "-c", ""])

    monkeypatch.setattr(mistake_listener, "_start", start)
    listener = MistakeListener()
    listener.on_new_dag_import_error("/dags/other.py", "one")
    assert started == []
    listener.on_new_dag_import_error("/dags/fleet_mistakes.py", "one")
    for _ in range(5):
        listener.on_existing_dag_import_error("/dags/fleet_mistakes.py", "one")
    assert len(started) == 1
    listener.on_existing_dag_import_error("/dags/fleet_mistakes.py", "two \ud800")
    listener.on_new_dag_import_error("/dags/fleet_mistakes.py", "two \ud800")
    assert len(started) == 3

    def fail() -> Any:
        raise OSError("no more processes")

    monkeypatch.setattr(mistake_listener, "_start", fail)
    listener.on_new_dag_import_error("/dags/fleet_mistakes.py", "three")
    assert "Nobody is told" in caplog.text
