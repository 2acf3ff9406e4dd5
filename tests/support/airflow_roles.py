"""People with the roles of Airflow's own auth manager, and secrets that none of them is to see."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import airflow
import httpx
import yaml

from local.stack.environment import UI_USER
from local.stack.layout import Layout

#: Name of a person → role. Each role may do what the ones before it may.
PEOPLE = {"vera": "viewer", "ulla": "user", "olaf": "op"}
#: Set for all of Airflow's processes beside the stack's own secrets: nobody is to read their values.
HIDDEN = {
    "CITY_FLEET_NOT_LISTED": "marker-of-a-variable-0b5c",
    "AIRFLOW_CONN_DOOR": "http://porter:marker-of-a-connection-91fe@door.example",
    "AIRFLOW_VAR_KEY": "marker-of-an-airflow-variable-77aa",
}
MARKERS = ("marker-of-a-variable-0b5c", "marker-of-a-connection-91fe", "marker-of-an-airflow-variable-77aa")
#: What a stack that is to have these people and secrets is started with.
SETTINGS = {
    "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(
        f"{name}:{role}" for name, role in {UI_USER: "admin", **PEOPLE}.items()
    ),
    **HIDDEN,
}


class Person:
    """Somebody at Airflow's API.

    :param name: with a password of the stack's file; None for somebody who is not logged in.
    """

    def __init__(self, layout: Layout, name: str | None) -> None:
        # A connection that nobody uses for some seconds is closed by the server.
        once = httpx.Limits(max_keepalive_connections=0)
        self._http = httpx.Client(base_url=layout.ui_url, trust_env=False, timeout=120, limits=once)
        if name is not None:
            login = {"username": name, "password": json.loads(layout.passwords_file.read_text())[name]}
            token = self._http.post("/auth/token", json=login).raise_for_status().json()["access_token"]
            self._http.headers["Authorization"] = f"Bearer {token}"

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Make a request.

        :param path: with its prefix, ``/api/v2/…`` or ``/ui/…``.
        """
        return self._http.request(method, path, **options)


def paths_to_read() -> list[str]:
    """Return every path that Airflow's two APIs answer to GET, from the descriptions that it brings along."""
    folder = Path(airflow.__file__).parent / "api_fastapi" / "core_api" / "openapi"
    described = [yaml.safe_load(file.read_text()) for file in sorted(folder.glob("*.yaml"))]
    found = [path for each in described for path, methods in each["paths"].items() if "get" in methods]
    assert len(found) > 80, "Airflow's descriptions of its APIs stand elsewhere"
    return found


def secrets_of(layout: Layout) -> Iterator[tuple[str, str]]:
    """Yield what nobody may read: name and value."""
    yield from ((marker, marker) for marker in MARKERS)
    drawn: Mapping[str, str] = json.loads((layout.state_dir / "secrets.json").read_text())
    passwords: Mapping[str, str] = json.loads(layout.passwords_file.read_text())
    yield from {**drawn, **{f"password of {name}": value for name, value in passwords.items()}}.items()
