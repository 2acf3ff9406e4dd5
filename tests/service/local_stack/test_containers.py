"""docker-compose.yaml: the same processes as on a laptop, on loopback, without root and without a secret."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from local import ROOT
from local.stack.environment import IMAGES
from local.stack.programs import COMPONENTS

COMPOSE = (ROOT / "docker-compose.yaml").read_text()


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE)["services"]
    return found


def test_the_services_are_those_of_the_stack(services: dict[str, Any]) -> None:
    assert {*COMPONENTS, "local-sagemaker", "init"} == set(services) - {"login"}


def test_ports_are_published_on_loopback_only(services: dict[str, Any]) -> None:
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert len(published) == 2
    assert all(port.startswith("127.0.0.1:") for port in published)
    others = [service for name, service in services.items() if name != "local-sagemaker"]
    assert all(service["network_mode"] == "service:local-sagemaker" for service in others)


def test_nothing_runs_as_root_or_may_become_it(services: dict[str, Any]) -> None:
    for service in services.values():
        assert service["user"] == "10001:10001"
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.search(r"^USER fleet$", (ROOT / "local" / "Dockerfile").read_text(), re.MULTILINE)


def test_it_holds_no_secret() -> None:
    assert not re.search(r"(password|secret|fernet|token)\w*\s*[:=]\s*\S", COMPOSE, re.IGNORECASE)


def test_no_secret_reaches_the_container_that_runs_jobs(services: dict[str, Any]) -> None:
    own = services["local-sagemaker"]
    others = {
        volume for name, each in services.items() if name != "local-sagemaker" for volume in each["volumes"]
    }
    assert others == {"state:/state"}
    assert own["volumes"] == ["sagemaker:/state"]
    # The image's entry point draws the secrets and hands them on.
    assert own["entrypoint"] == []
    assert own["command"][:3] == ["python", "-m", "local.sagemaker"]
    assert "env_file" not in own
    assert not own.get("environment")


def test_the_local_sagemaker_gets_the_images_of_the_laptop(services: dict[str, Any]) -> None:
    given = [part for part in services["local-sagemaker"]["command"] if part.startswith("--image=")]
    assert given == [f"--image={image}=/opt/city-fleet/{python}" for image, python in IMAGES.items()]


def test_the_entry_point_sets_the_stack_up_and_becomes_the_command(tmp_path: Path) -> None:
    def run(*command: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "local.stack.container", *command],
            cwd=ROOT,
            env={**os.environ, "CITY_FLEET_STATE_DIR": str(tmp_path), "AIRFLOW__CORE__PARALLELISM": "3"},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    shown = "import json, os; print(json.dumps(dict(os.environ)))"
    first, second = (json.loads(run(sys.executable, "-c", shown)) for _ in range(2))
    assert first["AWS_ENDPOINT_URL"] == "http://127.0.0.1:8585"
    assert first["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://127.0.0.1:8081/execution/"
    assert first["AIRFLOW__CORE__PARALLELISM"] == "3", "the container's own environment wins"
    assert first["AIRFLOW__API_AUTH__JWT_SECRET"] == second["AIRFLOW__API_AUTH__JWT_SECRET"]
    password = json.loads((tmp_path / "passwords.json").read_text())["admin"]
    assert run("login").strip().endswith(f"user admin, password {password}")
