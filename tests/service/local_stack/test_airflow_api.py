"""The stack asks its Airflow with the library's client; what is different on a laptop is proved here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from local.stack.airflow_api import AirflowApi
from local.stack.errors import StackError
from tests.support.airflow_server import AirflowServer, FakeDag, running_airflow


@pytest.fixture
def server() -> Iterator[AirflowServer]:
    with running_airflow() as airflow:
        airflow.dags = {f"f.{city}": FakeDag(paused=True) for city in ("austin", "dallas", "waco")}
        yield airflow


def test_the_login_gets_a_token_and_lists_are_read_to_their_end(server: AirflowServer) -> None:
    with AirflowApi(server.url, "admin", "secret") as airflow:
        assert airflow.dag_ids() == {"f.austin", "f.dallas", "f.waco"}
        airflow.set_paused("f.waco", False)
    assert not server.dags["f.waco"].paused


def test_a_proxy_of_the_person_does_not_see_the_requests(
    server: AirflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with AirflowApi(server.url, "admin", "secret") as airflow:
        assert airflow.dag("f.waco") is not None


@pytest.mark.parametrize(
    ("url", "password", "said"),
    [
        ("", "wrong", "refused the login of 'admin'"),
        ("", "secret", r"answered 404 to PATCH /dags/f\.nowhere: The Dag"),
        ("http://127.0.0.1:9", "secret", "does not answer"),
    ],
)
def test_what_airflow_refuses_is_an_error_of_the_stack(
    server: AirflowServer, url: str, password: str, said: str
) -> None:
    with AirflowApi(url or server.url, "admin", password) as airflow, pytest.raises(StackError, match=said):
        airflow.set_paused("f.nowhere", True)
