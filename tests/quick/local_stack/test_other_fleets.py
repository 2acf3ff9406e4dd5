"""`up` with several fleets: the first one's endpoint is waited for, the others' begin when its cities are trained."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from city_fleet.errors import ConfigError, FleetFileError
from local.stack import commands
from local.stack.errors import StackError

FILES = [Path(f"{name}.yaml") for name in ("first", "second", "broken", "third")]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What Airflow and S3 are asked, in order; nothing is known of the fleet `broken`."""
    found: list[str] = []

    def load(path: Path, environment: Any) -> Any:
        if path.stem == "broken":
            raise FleetFileError([ConfigError(got="no YAML", file=str(path), line=1)])
        return SimpleNamespace(fleet=path.stem)

    monkeypatch.setattr(commands, "load_fleet", load)
    monkeypatch.setattr(commands, "seed", lambda stack, files: found.append(f"upload {files[0].stem}"))
    monkeypatch.setattr(commands, "wait_for_dags", lambda stack, dag_ids: None)
    monkeypatch.setattr(commands, "start_run", lambda stack, dag_id, run_id, params: found.append(dag_id))
    monkeypatch.setattr(
        commands, "wait_for_run", lambda stack, dag_id, run_id: found.append(f"wait {dag_id}")
    )
    return found


def test_the_other_endpoints_begin_once_and_after_the_first_ones_cities(told: list[str]) -> None:
    stack: Any = SimpleNamespace(environment={})
    begin = commands._prepare(Console(file=StringIO()), stack, FILES)
    uploads = [f"upload {path.stem}" for path in FILES]
    assert told == [uploads[0], "first._endpoint", *uploads[1:], "wait first._endpoint"]
    told.clear()
    begin()
    assert told == ["second._endpoint", "third._endpoint"]
    begin()
    assert len(told) == 2


def test_they_begin_too_where_the_first_cities_can_t_be_trained(
    told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(console: Console, stack: Any, path: Path, begin_others: Any) -> None:
        raise StackError("the scheduler is gone")

    monkeypatch.setattr(commands.first_models, "train", train)
    stack: Any = SimpleNamespace(environment={})
    text = StringIO()
    console = Console(file=text, width=200)
    commands._begin(console, stack, FILES, commands._prepare(console, stack, FILES))
    said = text.getvalue()
    assert told[-2:] == ["second._endpoint", "third._endpoint"]
    assert "the scheduler is gone" in said
    assert "broken.yaml: broken.yaml:1: got no YAML" in said, said
    assert "in service; Airflow shows second._endpoint, third._endpoint." in said
