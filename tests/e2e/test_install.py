"""docs/install.md, line by line, in an environment like that of Airflow's official image: ``make test-install``.

The commands are the page's own. Each path begins with foreign packages, a foreign DAG and a foreign plugin, and
afterwards they are as they were, Airflow reads all DAGs without an error, and with the wheel one city goes live against
the local SageMaker.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.local_sagemaker import LocalSageMaker, running_server
from tests.support.paths import ROOT

pytestmark = pytest.mark.skipif(
    not os.environ.get("CITY_FLEET_TEST_INSTALL"), reason="makes environments of 400 MB: make test-install"
)
PAGE = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
DOCKERFILE = (ROOT / "docs" / "install" / "Dockerfile").read_text(encoding="utf-8")
OURS = {"city_fleet_dags", "city_fleet"}
FOREIGN_DAG = """
from airflow.sdk import dag, task


@dag(schedule="@daily", catchup=False)
def foreign():
    @task
    def hello():
        return 1

    hello()


foreign()
"""
FOREIGN_PLUGIN = """
from airflow.plugins_manager import AirflowPlugin


class ForeignPlugin(AirflowPlugin):
    name = "foreign"
"""


def block(heading: str) -> str:
    """The commands that the page has under a heading: its first block."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"```bash\n(.*?)```", section, re.DOTALL)[0]


def uv(*arguments: str | Path) -> str:
    program = [sys.executable, ROOT / "local" / "stack" / "bootstrap.py", "--print-uv"]
    path = subprocess.run(program, capture_output=True, text=True, check=True).stdout.strip()
    done = subprocess.run([path, *arguments], capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass
class Airflow:
    """Somebody's Airflow.

    :param python: folder of its Python environment.
    :param home: its home.
    :param checkout: this repository, with a wheel in dist/.
    """

    python: Path
    home: Path
    checkout: Path
    variables: dict[str, str]

    def run(self, commands: str, *, code: int = 0) -> str:
        """Run commands as a person does in a checkout; returns what they print."""
        clean = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AWS_", "AIRFLOW", "CITY_FLEET", "PYTHON", "VIRTUAL_ENV"))
        }
        mine = {
            "PATH": f"{self.python / 'bin'}{os.pathsep}{clean['PATH']}",
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        done = subprocess.run(
            ["sh", "-ec", commands],
            cwd=self.checkout,
            env={**clean, **mine, **self.variables},
            capture_output=True,
            text=True,
            timeout=1200,
            check=False,
        )
        assert done.returncode == code, f"{commands}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def packages(self) -> set[str]:
        return set(uv("pip", "freeze", "--python", self.python / "bin" / "python").splitlines())

    def dags(self) -> set[str]:
        """Let Airflow read all files; the ids of what it has found, none of which failed."""
        self.run("airflow dags reserialize")
        assert "No data found" in self.run("airflow dags list-import-errors")
        # Before the table may stand warnings, of several lines each.
        _, header, rows = self.run("airflow dags list --output plain").partition("dag_id")
        assert header
        return {line.split()[0] for line in rows.splitlines()[1:] if line.strip()}

    def is_whole(self) -> None:
        """Foreign DAG and plugin are there, and so are ours."""
        found = self.dags()
        assert "foreign" in found
        assert len({name for name in found if name.startswith("texas_housing.")}) == 47 + 5, found
        plugins = self.run("airflow plugins --output plain")
        assert "foreign" in plugins
        assert "city_fleet.orchestration.timetables.FleetTimetable" in plugins
        self.run("airflow dags test foreign 2020-01-01")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone with the working tree's files and a wheel."""
    folder = tmp_path_factory.mktemp("checkout") / "city-fleet"
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    for name in listed:
        if (ROOT / name).is_file() and not (ROOT / name).is_symlink():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    uv("build", "--quiet", "--wheel", "--python", sys.executable, "--out-dir", folder / "dist", folder)
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What stands for the official image's Python environment. pip is in it."""
    folder = tmp_path_factory.mktemp("environment") / "venv"
    python = folder / "bin" / "python"
    uv("venv", "--quiet", "--seed", "--python", sys.executable, folder)
    lock = ROOT / "tests" / "support" / "official_image" / "requirements.lock"
    uv("pip", "install", "--quiet", "--python", python, "-r", lock)
    return folder


@pytest.fixture
def airflow(checkout: Path, environment: Path, tmp_path: Path) -> Iterator[Airflow]:
    """An Airflow with a DAG and a plugin; City Fleet's wheel is not installed before and after."""
    home = tmp_path / "home"
    for name, text in (("dags/foreign.py", FOREIGN_DAG), ("plugins/foreign_plugin.py", FOREIGN_PLUGIN)):
        (home / name).parent.mkdir(parents=True)
        (home / name).write_text(text, encoding="utf-8")
    found = Airflow(environment, home, checkout, {})
    found.run("airflow db migrate")
    yield found
    found.run("pip uninstall --quiet --yes city-fleet")


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSageMaker]:
    with running_server(tmp_path_factory.mktemp("aws")) as server:
        yield server


def test_the_wheel_and_a_city_that_goes_live(airflow: Airflow, aws: LocalSageMaker) -> None:
    before = airflow.packages()
    airflow.run(block("The wheel"))
    after = airflow.packages()
    assert before <= after, f"uninstalled or changed: {before - after}"
    assert {line.partition("==")[0].partition(" @")[0] for line in after - before} == {"city-fleet"}
    airflow.is_whole()

    airflow.variables |= aws.variables | {"AIRFLOW_CONN_AWS_DEFAULT": "aws://"}
    airflow.variables |= {"CITY_FLEET_WAITER_DELAY_SECONDS": "1"}
    shutil.copytree(ROOT / "include" / "data", airflow.home / "include" / "data")
    airflow.run("city-fleet ingest --create-bucket austin")
    airflow.run('airflow pools set city_fleet_laptop 64 "jobs of City Fleet" --include-deferred')
    airflow.run("airflow dags test texas_housing._endpoint")
    airflow.run("airflow dags test texas_housing.austin 2015-08-01")
    assert "publish" in airflow.run("city-fleet history austin")
    assert "austin" in airflow.run("city-fleet predict austin --example")
    doctor = airflow.run("city-fleet doctor --no-aws || true")
    assert "packages are installed in versions that City Fleet works with" in doctor
    assert "not installed" not in doctor

    airflow.run(block("Upgrading").replace("city-fleet doctor", "city-fleet doctor --no-aws || true"))
    airflow.is_whole()

    airflow.run(block("Taking it out"))
    assert airflow.packages() == before
    assert airflow.dags() == {"foreign"}
    assert "city_fleet" not in airflow.run("airflow plugins --output plain")


def test_the_image(airflow: Airflow) -> None:
    """There is no Docker here: the Dockerfile's own lines, with the image's folders in this environment."""
    before = airflow.packages()
    home = str(airflow.home)
    wheels = airflow.home.parent / "wheels"
    wheels.mkdir()
    version = re.findall(r"^FROM apache/airflow:([\d.]+)-", DOCKERFILE, re.MULTILINE)[0]
    airflow.variables["AIRFLOW_VERSION"] = version
    text = DOCKERFILE.replace("/opt/airflow", home).replace("/tmp/wheels", str(wheels))
    for line in text.splitlines():
        if line.startswith("COPY "):
            *_, source, target = line.split()
            airflow.run(f"mkdir -p {target} && cp -r {source}{'/.' if '*' not in source else ''} {target}")
        elif line.startswith("RUN "):
            airflow.run(line.removeprefix("RUN "))
    assert before <= airflow.packages()
    airflow.is_whole()


def test_the_whole_repository_below_dags(airflow: Airflow) -> None:
    airflow.run('pip install "apache-airflow==$(airflow version)" dist/city_fleet-*.whl')
    shutil.copytree(airflow.checkout, airflow.home / "dags" / "versions" / "abc")
    (airflow.home / "dags" / "versions" / "abc" / ".venv").mkdir()
    (airflow.home / "dags" / ".airflowignore").write_text("versions/\n", encoding="utf-8")
    (airflow.home / "dags" / "repo").symlink_to("versions/abc")  # as git-sync does
    airflow.variables["CITY_FLEET_PROJECT"] = airflow.run(
        f'{block("The repository below dags/")}\nprintf %s "$CITY_FLEET_PROJECT"'
    )
    airflow.is_whole()
    assert "47 cities, no mistakes" in airflow.run("city-fleet lint")


def test_the_whole_repository_below_dags_without_the_wheel(airflow: Airflow) -> None:
    shutil.copytree(airflow.checkout, airflow.home / "dags" / "repo")
    shutil.move(airflow.home / "plugins" / "foreign_plugin.py", airflow.home / "dags" / "repo" / "plugins")
    airflow.variables["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(airflow.home / "dags" / "repo" / "plugins")
    airflow.is_whole()


def test_into_dags_and_plugins(airflow: Airflow) -> None:
    before = airflow.packages()
    airflow.variables["CITY_FLEET_PROJECT"] = airflow.run(
        f'{block("Into dags/ and plugins/")}\nprintf %s "$CITY_FLEET_PROJECT"'
    )
    airflow.is_whole()
    assert airflow.packages() == before
    lint = airflow.run('PYTHONPATH="$AIRFLOW_HOME/plugins" python -m city_fleet.cli.app lint')
    assert "47 cities, no mistakes" in lint
