"""The pages below a web server with Airflow's own login and permissions, without the rest of Airflow."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn

from city_fleet.page.lazy_app import URL_PREFIX
from tests.support.waiting import wait_until

#: Name of a person → role of Airflow's simple auth manager. Each role may do what the ones before it may.
PEOPLE = {"vera": "viewer", "ulla": "user", "olaf": "op", "ada": "admin"}


@dataclass(frozen=True)
class Pages:
    """A running server.

    :param url: of the first page, with a slash behind it.
    """

    url: str

    def token(self, name: str) -> str:
        """Return the session of a person, which a browser keeps as the cookie ``_token``."""
        from airflow.api_fastapi.app import get_auth_manager
        from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

        made: str = get_auth_manager().generate_jwt(SimpleAuthManagerUser(username=name, role=PEOPLE[name]))
        return made

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


def prepare_airflow() -> None:
    """Make Airflow's database, in the home that the tests have."""
    from airflow.utils import db

    db.initdb()


@contextlib.contextmanager
def running_pages(made: Any, base_path: str = "") -> Iterator[Pages]:
    """Serve an application of pages as Airflow's web server does.

    :param base_path: below which Airflow's pages are, such as ``/airflow``.
    """
    from airflow.api_fastapi.app import init_auth_manager
    from airflow.api_fastapi.auth.middlewares.refresh_token import JWTRefreshMiddleware
    from fastapi import FastAPI

    app = FastAPI(openapi_url=None)
    app.mount(base_path + URL_PREFIX, made)
    init_auth_manager(app)
    app.add_middleware(JWTRefreshMiddleware)
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started, 30, "the pages are served")
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Pages(f"http://127.0.0.1:{port}{base_path}{URL_PREFIX}/")
    finally:
        server.should_exit = True
        thread.join(timeout=30)


def browser_path() -> str | None:
    """Return where a Chromium is, if there is one."""
    return next(
        (path for path in ("/usr/bin/chromium", os.environ.get("CHROMIUM", "")) if os.path.exists(path)), None
    )
