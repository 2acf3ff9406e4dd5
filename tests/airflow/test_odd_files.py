"""Whatever one city or one file brings along, the DAGs of all others are built, stored and scheduled."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.definitions._internal.contextmanager import DagContext
from airflow.sdk.exceptions import AirflowFailException
from airflow.serialization.serialized_objects import DagSerialization
from airflow.timetables.base import TimeRestriction

from city_fleet.config import fleet_file, load_fleets
from city_fleet.orchestration import city_dags as city_dags_module
from city_fleet.orchestration import fleet_dags as fleet_dags_module
from city_fleet.orchestration.city_dags import city_dags
from city_fleet.orchestration.fleet_dags import fleet_dags
from city_fleet.plan import PURPOSES
from tests.support.fleets import SMALL

CITIES = "cities:\n  lake: {}\n  pier: {}\n"
OTHER = {"small.lake", "small.pier", *(f"small._{name}" for name in PURPOSES)}


def stored(folder: Path) -> dict[str, Any]:
    """Every DAG of the folder, as Airflow stores it and asks it for its first run."""
    found = {}
    for dag in [*city_dags(folder), *fleet_dags(folder)]:
        assert dag.dag_id not in found
        data = DagSerialization.to_dict(dag)
        json.dumps(data, allow_nan=False, ensure_ascii=False).encode()
        again = DagSerialization.from_dict(data)
        if again.timetable.can_be_scheduled:
            for catchup in (False, True):
                again.timetable.next_dagrun_info(
                    last_automated_data_interval=None,
                    restriction=TimeRestriction(again.start_date, None, catchup),
                )
        found[dag.dag_id] = dag
    return found


def broken(dags: dict[str, Any]) -> list[str]:
    return sorted(dag_id for dag_id, dag in dags.items() if "broken" in dag.tags)


def reason(dag: Any) -> str:
    (task,) = dag.tasks
    message: str = task.message
    with pytest.raises(AirflowFailException) as caught:
        task.execute({})
    assert str(caught.value) == message
    return message


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a good fleet, ``small``, beside which a test puts an odd one."""
    (tmp_path / "zz.yaml").write_text(SMALL + CITIES)
    return tmp_path


def odd(city: str) -> str:
    text = SMALL.replace("fleet: small", "fleet: odd")
    return f"{text}cities:\n  {city}\n  fine: {{}}\n"


@pytest.mark.parametrize("length", [95, 96, 100, 101, 900])
def test_a_long_slug_takes_nobody_along(folder: Path, length: int) -> None:
    (folder / "odd.yaml").write_text(odd("k" * length + ": {name: Kiosk}"))
    dags = stored(folder)
    assert set(dags) >= OTHER | {"odd.fine", "odd._reaper"}
    assert len([dag_id for dag_id in dags if dag_id.startswith("odd.k")]) == 1
    if length == 95:
        assert broken(dags) == []
        return
    (long,) = broken(dags)
    assert f"got a slug of {length} characters" in reason(dags[long])
    assert "at most 95 characters" in reason(dags[long])


@pytest.mark.parametrize(
    "city",
    [
        "東京: {}",
        '"": {}',
        '"🚲": {}',
        '"../x": {}',
        'a: {name: "\\0"}',
        'a: {name: "${AWS_REGION}"}',
        "a: {tags: [é]}",
    ],
)
def test_an_odd_name_breaks_its_city_at_most(
    folder: Path, city: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_REGION", os.fsdecode(b"\xff"))
    (folder / "odd.yaml").write_text(odd(city), encoding="utf-8")
    dags = stored(folder)
    assert set(dags) >= OTHER | {"odd.fine", "odd._reaper"}
    assert len(broken(dags)) <= 1


def test_cities_in_other_scripts_live_under_slugs_of_their_own(folder: Path) -> None:
    (folder / "odd.yaml").write_text(odd("tokyo: {name: 東京, owner: 佐藤, tags: [関東]}"), encoding="utf-8")
    dags = stored(folder)
    assert broken(dags) == []
    assert {"odd.tokyo", "odd.fine"} <= set(dags)
    assert "関東" in dags["odd.tokyo"].tags


@pytest.mark.parametrize(
    "name", [b"\xe6\x9d\xb1\xe4\xba\xac.yaml", b"\xff\xfe.yaml", b"a" * 240 + b".yaml", b"My Fleet (2).yml"]
)
@pytest.mark.parametrize("text", ["fleet: [\n", "- " * 100_000, "{" * 100_000, "fleet: " + "[" * 100_000])
def test_a_file_that_cant_be_read_becomes_a_dag_whatever_its_name(
    folder: Path, name: bytes, text: str
) -> None:
    """100,000 levels of YAML used to end the process, and with it every fleet."""
    try:
        (folder / os.fsdecode(name)).write_text(text)
    except OSError:
        pytest.skip("no such name on this file system")
    dags = stored(folder)
    (one,) = broken(dags)
    assert set(dags) == OTHER | {one}
    assert one.endswith("._fleet_file")
    assert "got " in reason(dags[one])


def test_two_files_that_cant_be_read_have_a_dag_each(folder: Path) -> None:
    for name in ("fleet.yaml", "fleet.yml", "Fleet.yaml", "東京.yaml", "大阪.yaml"):
        (folder / name).write_text("fleet: [\n")
    for name in ("one.yaml", "two.yaml"):  # both for a mistake in one and the same list of cities
        (folder / name).write_text(SMALL.replace("small", name[:3]) + "cities: {from: cities.csv}\n")
    (folder / "cities.csv").write_text("citty\nx\n")
    dags = stored(folder)
    assert len(broken(dags)) == 7
    assert {"fleet._fleet_file", "one._fleet_file", "two._fleet_file"} < set(dags)


@pytest.mark.parametrize("listed", ['"a\\0b.csv"', "x" * 5000 + ".csv", ".", "/proc/self/mem.csv"])
def test_an_odd_list_of_cities_breaks_its_file_alone(folder: Path, listed: str) -> None:
    (folder / "odd.yaml").write_text(odd("x: {}").partition("cities:")[0] + f"cities: {{from: {listed}}}\n")
    dags = stored(folder)
    assert set(dags) == OTHER | {"odd._fleet_file"}
    assert "cities.from" in reason(dags["odd._fleet_file"])


def test_an_exception_nobody_thought_of_stays_with_its_city(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that is raised when half of the tasks are there: Airflow registers no half DAG."""
    build = city_dags_module._task

    def fail(task_id: str, plan: Any, common: Any) -> Any:
        if plan.city.slug == "lake" and task_id == "evaluate":
            raise KeyError("surprise")
        return build(task_id, plan, common)

    monkeypatch.setattr(city_dags_module, "_task", fail)
    monkeypatch.setattr(DagContext, "current_autoregister_module_name", __name__)
    DagContext.autoregistered_dags.clear()
    dags = stored(folder)
    assert set(dags) == OTHER
    assert broken(dags) == ["small.lake"]
    assert "KeyError at test_odd_files.py:" in reason(dags["small.lake"])
    assert len(dags["small.pier"].tasks) == 10
    assert not DagContext.autoregistered_dags


def test_an_exception_nobody_thought_of_stays_with_its_fleet_dag(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(dag_id: str, fleet: Any) -> DAG:
        raise OverflowError("surprise")

    monkeypatch.setitem(fleet_dags_module._BUILDERS, "retire", fail)
    dags = stored(folder)
    assert set(dags) == OTHER
    assert broken(dags) == ["small._retire"]


@pytest.mark.parametrize("what", ["read_yaml", "entries_of_mapping", "_settings"])
def test_an_exception_nobody_thought_of_stays_with_its_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    (folder / "odd.yaml").write_text(odd("a: {}"))
    real = getattr(fleet_file, what)
    calls = []

    def fail(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 1:  # odd.yaml comes first
            raise RuntimeError("surprise")
        return real(*arguments)

    monkeypatch.setattr(fleet_file, what, fail)
    first, second = load_fleets(folder)
    assert "RuntimeError at test_odd_files.py:" in str(first)
    assert set(second.cities) == {"lake", "pier"}  # type: ignore[union-attr]


def test_an_exception_nobody_thought_of_stays_with_its_settings(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fleet_file.Resolver.resolve

    def fail(self: Any, entry: Any) -> Any:
        if entry.key == "lake":
            raise RuntimeError("surprise")
        return real(self, entry)

    monkeypatch.setattr(fleet_file.Resolver, "resolve", fail)
    dags = stored(folder)
    assert set(dags) == OTHER
    assert broken(dags) == ["small.lake"]
    assert "zz.yaml:12: city 'lake': got something" in reason(dags["small.lake"])
