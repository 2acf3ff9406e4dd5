"""The way to an Airflow whose address is known: HTTP, with a token or a login, for which Airflow gives a token.

Commands find address and login in environment variables: ``CITY_FLEET_AIRFLOW_URL`` (else Airflow's own
``AIRFLOW__API__BASE_URL``), and ``CITY_FLEET_AIRFLOW_TOKEN``, or ``CITY_FLEET_AIRFLOW_USER`` and
``CITY_FLEET_AIRFLOW_PASSWORD``. Needs urllib3, which botocore brings along.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.exceptions import HTTPError, ProtocolError

from city_fleet.airflow_rest.airflow_client import AirflowRest
from city_fleet.airflow_rest.channel import Answer
from city_fleet.errors import AirflowError

URL = "CITY_FLEET_AIRFLOW_URL"
TOKEN = "CITY_FLEET_AIRFLOW_TOKEN"  # noqa: S105 - a variable's name
USER = "CITY_FLEET_AIRFLOW_USER"
PASSWORD = "CITY_FLEET_AIRFLOW_PASSWORD"  # noqa: S105
_AIRFLOWS_OWN_URL = "AIRFLOW__API__BASE_URL"
# Creating a backfill writes a row per run before it answers.
_TIMEOUT_SECONDS = 120.0
_CONNECT_SECONDS = 10.0
_THREADS = 16

#: User and password.
Login = tuple[str, str]


class LoginChannel:
    """A channel to the api-server at an address.

    :param url: with its base path, if it has one.
    :param token: sent as it is.
    :param login: asked for when there is no token, or the one there is has run out: so that a password may change.
    :param use_proxies: False for an Airflow on this machine: a proxy that the environment names is passed by.
    :param timeout_seconds: of one request.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        login: Callable[[], Login] | None = None,
        *,
        use_proxies: bool = True,
        timeout_seconds: float = _TIMEOUT_SECONDS,
    ) -> None:
        self.url = url.rstrip("/")
        self._token, self._login = token, login
        self._lock = threading.Lock()
        connect_seconds = min(_CONNECT_SECONDS, timeout_seconds)
        self._http = _pool(
            self.url, use_proxies, urllib3.Timeout(connect=connect_seconds, read=timeout_seconds)
        )

    @property
    def place(self) -> str:
        return f"Airflow at {self.url}"

    def close(self) -> None:
        self._http.clear()

    def send(
        self, method: str, path: str, params: Mapping[str, Any] | None = None, body: Any = None
    ) -> Answer:
        asked = f"{method} {path}"
        query = f"?{urlencode(_plain(params), doseq=True)}" if params else ""
        token = self._token_but(None)
        answer = self._exchange(asked, method, f"/api/v2{path}{query}", body, token)
        if answer.status == 401 and self._login is not None:
            answer = self._exchange(asked, method, f"/api/v2{path}{query}", body, self._token_but(token))
        return answer

    def _token_but(self, refused: str | None) -> str | None:
        """Return a token other than one that was refused; asks for one where there is none."""
        with self._lock:
            if self._login is not None and self._token == refused:
                self._token = self._new_token(*self._login())
            return self._token

    def _new_token(self, user: str, password: str) -> str:
        who = {"username": user, "password": password}
        answer = self._exchange("POST /auth/token", "POST", "/auth/token", who, None)
        token = answer.value.get("access_token") if isinstance(answer.value, dict) else None
        if answer.is_error or not isinstance(token, str):
            raise AirflowError(
                f"{self.place} refused the login of {user!r} ({answer.status}): "
                f"{answer.detail if answer.is_error else 'it gave no token; is it Airflow 3?'}",
                status=answer.status,
            )
        return token

    def _exchange(self, asked: str, method: str, path: str, body: Any, token: str | None) -> Answer:
        headers = {"Accept": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        data = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            data = json.dumps(body).encode()
        # A connection that was kept may be closed just now; only what changes nothing is simply asked again.
        for again in (method == "GET", False):
            try:
                got = self._http.request(
                    method, f"{self.url}{path}", body=data, headers=headers, retries=False, redirect=False
                )
                return Answer.of_body(got.status, got.data)
            except ProtocolError as error:
                if not again:
                    raise self._silent(asked, error) from None
            except HTTPError as error:
                raise self._silent(asked, error) from None
        raise AssertionError("unreachable")

    def _silent(self, asked: str, error: HTTPError) -> AirflowError:
        # What comes before names urllib3's own objects.
        said = str(error).rpartition("): ")[2]
        return AirflowError(f"{self.place} does not answer ({asked}): {said}. Is it running?")


def airflow_at(
    url: str, token: str | None = None, login: Login | None = None, *, use_proxies: bool = True
) -> AirflowRest:
    """Return the Airflow at an address.

    :param token: sent as it is, :param login: used when there is none, or it has run out.
    """
    return AirflowRest(
        LoginChannel(url, token, None if login is None else lambda: login, use_proxies=use_proxies)
    )


def airflow_of(environ: Mapping[str, str]) -> AirflowRest:
    """Return the Airflow that environment variables name.

    :raises AirflowError: they name no Airflow, or no token and no login.
    """
    url = environ.get(URL) or environ.get(_AIRFLOWS_OWN_URL)
    if not url:
        raise AirflowError(
            f"Where is Airflow? Set {URL} to the address of its UI, and {TOKEN}, or {USER} and {PASSWORD}; "
            "for a local stack `make up` sets them"
        )
    token, user, password = environ.get(TOKEN), environ.get(USER), environ.get(PASSWORD)
    if not token and not (user and password):
        raise AirflowError(f"Who asks Airflow at {url}? Set {TOKEN}, or {USER} and {PASSWORD}")
    return airflow_at(url, token, None if token or not user or not password else (user, password))


def _pool(url: str, use_proxies: bool, timeout: urllib3.Timeout) -> urllib3.PoolManager:
    """Return a pool of connections, through the proxy that the environment names for the address, if it names one."""
    there = urlsplit(url)
    proxy = getproxies().get(there.scheme) if use_proxies else None
    if proxy and not proxy_bypass(there.hostname or ""):
        return urllib3.ProxyManager(proxy, timeout=timeout, maxsize=_THREADS)
    return urllib3.PoolManager(timeout=timeout, maxsize=_THREADS)


def _plain(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters of a query as Airflow reads them."""
    return {name: str(value).lower() if isinstance(value, bool) else value for name, value in params.items()}
