"""A real ``airflow api-server`` with the plugin, on SQLite and a free port, with one of Airflow's auth managers."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from city_fleet.page.lazy_app import URL_PREFIX
from tests.support.airflow_commands import airflow_commands, quoted
from tests.support.airflow_database import lay_down
from tests.support.paths import ROOT
from tests.support.waiting import wait_until

SIMPLE = "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager"
FAB = "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager"
#: Name of a person → role, as the simple auth manager calls it; FAB writes it with a capital.
PEOPLE = {"vera": "viewer", "ulla": "user", "ada": "admin"}
#: FAB alone: somebody with an account who may nothing.
NOBODY = "nora"
PASSWORD = "for-a-test-alone"
_START_SECONDS = 180


@dataclass(frozen=True)
class ApiServer:
    """A running server.

    :param root: its first page, with a slash behind it.
    """

    root: str
    environ: Mapping[str, str]

    @property
    def url(self) -> str:
        """Return the first page of City Fleet's pages."""
        return f"{self.root}{URL_PREFIX[1:]}/"

    def token(self, name: str) -> str:
        """Log a person in."""
        login = {"username": name, "password": PASSWORD}
        answer = httpx.post(f"{self.root}auth/token", json=login, timeout=60, trust_env=False)
        return str(answer.raise_for_status().json()["access_token"])

    def person(self, name: str | None) -> httpx.Client:
        """Return somebody with a browser's cookie; None is somebody who is not logged in."""
        cookies = {"_token": self.token(name)} if name else {}
        return httpx.Client(
            base_url=self.url,
            cookies=cookies,
            timeout=60,
            trust_env=False,
            follow_redirects=True,
            # The server closes what was idle for five seconds, and so does the client: who is later loses a request.
            limits=httpx.Limits(max_keepalive_connections=0),
        )


@contextlib.contextmanager
def running_api_server(
    folder: Path, environ: Mapping[str, str], *, manager: str = SIMPLE, base_path: str = ""
) -> Iterator[ApiServer]:
    """Start a server, and stop it in the end.

    :param folder: becomes Airflow's home.
    :param environ: more of its environment, such as where AWS and fleet files are.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    root = f"http://127.0.0.1:{port}{base_path}/"
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "AIRFLOW_"))
    }
    full = {
        **inherited,
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW__CORE__AUTH_MANAGER": manager,
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(
            f"{name}:{role}" for name, role in PEOPLE.items()
        ),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(folder / "passwords.json"),
        "AIRFLOW__API_AUTH__JWT_SECRET": "a-secret-of-a-test-that-is-long-enough-for-what-jwt-wants-of-one",
        "AIRFLOW__API__SECRET_KEY": "another-secret-of-a-test",
        "AIRFLOW__API__BASE_URL": root,
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "PYTHONPATH": str(ROOT / "plugins"),
        **environ,
    }
    (folder / "passwords.json").write_text(json.dumps(dict.fromkeys(PEOPLE, PASSWORD)))
    airflow = [sys.executable, "-m", "airflow"]
    log = folder / "api-server.log"
    lay_down(folder)
    if manager == FAB:
        _make_people(full)
    with log.open("ab") as output:
        command = [*airflow, "api-server", "--apps", "core", "--host", "127.0.0.1", "--port", str(port)]
        process = subprocess.Popen(
            [*command, "--workers", "1"], env=full, stdout=output, stderr=output, start_new_session=True
        )
    try:
        wait_until(
            lambda: process.poll() is not None or _answers(root), _START_SECONDS, "the API server answers"
        )
        assert process.poll() is None, log.read_text()[-4000:]
        yield ApiServer(root, full)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _answers(root: str) -> bool:
    try:
        return httpx.get(f"{root}api/v2/monitor/health", timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def _make_people(environ: Mapping[str, str]) -> None:
    """Make FAB's own tables, and its people, in one process: each command alone takes ten seconds of imports."""
    lines = ["db migrate"]
    for name, role in (PEOPLE | {NOBODY: "public"}).items():
        person = ["--username", name, "--role", role.title(), "--password", PASSWORD]
        person += ["--firstname", name, "--lastname", "of-a-test", "--email", f"{name}@example.org"]
        lines.append(quoted("users", "create", *person))
    for line, said in zip(lines, airflow_commands(environ, *lines), strict=True):
        assert said.code == 0, f"airflow {line}: {said.text[-4000:]}"
