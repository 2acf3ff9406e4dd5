"""docker-compose.production.yaml: PostgreSQL, Redis and Celery, hardened, with every secret in a file of its own."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from local import ROOT
from local.stack import deployment_secrets
from local.stack.environment import IMAGES

PATH = ROOT / "docker-compose.production.yaml"
TEXT = PATH.read_text()
AIRFLOW = ("init", "api-server", "scheduler", "dag-processor", "triggerer", "worker")
SERVERS = ("postgres", "redis")
STAND_IN = ("local-sagemaker", "seed")
#: Airflow reads these from files: configuration option → secret.
COMMANDS = {
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "sql_alchemy_conn",
    "AIRFLOW__CELERY__BROKER_URL": "broker_url",
    "AIRFLOW__CELERY__RESULT_BACKEND": "result_backend",
    "AIRFLOW__CORE__FERNET_KEY": "fernet_key",
    "AIRFLOW__API__SECRET_KEY": "api_secret_key",
    "AIRFLOW__API_AUTH__JWT_SECRET": "jwt_secret",
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(TEXT)
    return found


@pytest.fixture(scope="module")
def services(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["services"]
    return found


def test_the_services_are_those_of_a_deployment(services: dict[str, Any]) -> None:
    assert {*AIRFLOW, *SERVERS, *STAND_IN} == set(services)
    assert services["worker"]["deploy"]["replicas"] == services["triggerer"]["deploy"]["replicas"] == 2
    asked_for = {name for name, each in services.items() if each.get("profiles") == ["stand-in"]}
    assert asked_for == set(STAND_IN), "these start only when they are asked for"
    for name in AIRFLOW[1:]:
        assert services[name]["depends_on"] == {"init": {"condition": "service_completed_successfully"}}


def test_everything_that_goes_on_is_watched(services: dict[str, Any]) -> None:
    assert {name for name, each in services.items() if "healthcheck" not in each} == {"init", "seed"}
    assert all(services[name]["restart"] == "no" for name in ("init", "seed"))


def test_nothing_runs_as_root_or_may_become_it_or_write_its_own_image(services: dict[str, Any]) -> None:
    for name, service in services.items():
        assert int(service["user"].partition(":")[0]) > 0, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        # Jobs of the stand-in write where SageMaker's do, below /opt/ml.
        assert service.get("read_only", False) == (name != "local-sagemaker"), name
        assert "privileged" not in service


def test_one_port_is_published_and_only_on_loopback(services: dict[str, Any]) -> None:
    published = [port for service in services.values() for port in service.get("ports", [])]
    assert published == ["127.0.0.1:${UI_PORT:-8080}:8080"]
    assert all("network_mode" not in service for service in services.values())


def test_the_database_and_the_queue_can_be_reached_by_airflow_alone(
    document: dict[str, Any], services: dict[str, Any]
) -> None:
    assert document["networks"]["backend"] == {"internal": True}
    assert {name for name, each in services.items() if "backend" in each["networks"]} == {*AIRFLOW, *SERVERS}
    assert all(services[name]["networks"] == ["backend"] for name in SERVERS)


def test_it_holds_no_secret_and_no_default_for_one(services: dict[str, Any]) -> None:
    for service in services.values():
        for name, value in (service.get("environment") or {}).items():
            if re.search(r"PASSWORD|SECRET|FERNET|TOKEN|CONN$|_URL$|BACKEND$", name):
                assert name.endswith(("_CMD", "_FILE", "PASSWORDS_FILE", "BASE_URL", "_API_SERVER_URL")) or (
                    name in ("AWS_ENDPOINT_URL", "AIRFLOW_CONN_AWS_DEFAULT")
                ), f"{name} is a value in the environment: {value}"
    # A user with a password in a URL, or a password with a default.
    assert not re.search(r"//[^\s/]*:[^\s/]+@", TEXT)
    assert not re.search(r"\$\{\w*(PASSWORD|SECRET|KEY)\w*:-[^}./]", TEXT)


def test_airflow_reads_each_secret_from_its_file(services: dict[str, Any]) -> None:
    for name in AIRFLOW:
        environment, mounted = services[name]["environment"], set(services[name]["secrets"])
        for option, secret in COMMANDS.items():
            assert environment[f"{option}_CMD"] == f"cat /run/secrets/{secret}"
            assert option not in environment
            assert secret in mounted
    assert "ui_passwords" in services["api-server"]["secrets"]
    assert all("ui_passwords" not in services[name]["secrets"] for name in AIRFLOW if name != "api-server")


def test_airflow_takes_what_the_files_say(tmp_path: Path, services: dict[str, Any]) -> None:
    """Airflow itself reads its options by the very variables of the file, the paths apart."""
    folder = tmp_path / "secrets"
    assert deployment_secrets.write(folder)
    environment = {
        name: value.replace("/run/secrets", str(folder))
        for name, value in services["scheduler"]["environment"].items()
        if name.endswith("_CMD")
    }
    script = """
import json, sys
from airflow.configuration import conf
options = [option.removeprefix("AIRFLOW__").lower().split("__", 1) for option in sys.argv[1:]]
print("found:" + json.dumps([conf.get(*option) for option in options]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, *COMMANDS],
        env={
            "PATH": "/usr/bin:/bin",
            "AIRFLOW_HOME": str(tmp_path / "home"),
            "AIRFLOW_CONFIG": str(tmp_path / "config" / "airflow.cfg"),
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (found,) = [line for line in done.stdout.splitlines() if line.startswith("found:")]
    assert json.loads(found.removeprefix("found:")) == [
        (folder / secret).read_text() for secret in COMMANDS.values()
    ]


def test_no_secret_reaches_the_container_that_runs_jobs(services: dict[str, Any]) -> None:
    own = services["local-sagemaker"]
    assert not {"secrets", "environment", "env_file", "ports"} & set(own)
    assert own["networks"] == ["outside"]
    assert own["volumes"] == ["sagemaker:/state"]
    assert own["entrypoint"] == []
    given = [part for part in own["command"] if part.startswith("--image=")]
    assert given == [f"--image={image}=/opt/city-fleet/{python}" for image, python in IMAGES.items()]


def test_every_secret_is_drawn_private_and_never_drawn_over(tmp_path: Path, document: dict[str, Any]) -> None:
    folder = tmp_path / "secrets"
    assert deployment_secrets.write(folder)
    drawn = {path.name: path.read_text() for path in folder.iterdir()}
    named = {
        name: each["file"].removeprefix("${CITY_FLEET_SECRETS:-./secrets}/")
        for name, each in document["secrets"].items()
    }
    assert {name: name for name in drawn} == named
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert drawn["postgres_password"] in drawn["sql_alchemy_conn"]
    assert drawn["postgres_password"] in drawn["result_backend"]
    assert drawn["redis_password"] in drawn["broker_url"]
    assert drawn["redis_password"] in drawn["redis_conf"]
    assert not deployment_secrets.write(folder)
    assert {path.name: path.read_text() for path in folder.iterdir()} == drawn
    other = tmp_path / "other"
    deployment_secrets.write(other)
    values = [text for text in drawn.values() if text]
    assert not [text for path in other.iterdir() if (text := path.read_text()) and text in values]
    for name in (".gitignore", ".dockerignore"):
        assert {"secrets", "secrets/"} & set((ROOT / name).read_text().splitlines()), name


def test_images_of_others_are_pinned_by_version(services: dict[str, Any]) -> None:
    for name in SERVERS:
        assert re.fullmatch(r"\w+:\d+\.\d+[\w.-]*(@sha256:[0-9a-f]{64})?", services[name]["image"]), name
