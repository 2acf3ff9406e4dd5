"""A refused list of plugins is asked for again at the pages' own route; everything else passes as it is."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from city_fleet.page.own_views import OwnViews

AIRFLOWS, OWN = "/api/v2/plugins", "/city-fleet/plugins.json"


def answered(
    method: str, path: str, statuses: dict[str, int], base: str = ""
) -> tuple[int, bytes, list[str]]:
    """Return status and body of an answer, and which paths were asked.

    :param statuses: path below the base path → what the API server says there; 200 for others.
    """
    asked: list[str] = []
    sent: list[Any] = []

    async def server(scope: Any, receive: Any, send: Any) -> None:
        below = scope["path"].removeprefix(base)
        asked.append(below)
        assert (await receive())["type"] == "http.request"
        scope["path"] = scope["root_path"] = "written over"  # as routing does
        await send({"type": "http.response.start", "status": statuses.get(below, 200), "headers": []})
        for piece in (below, "!"):
            await send({"type": "http.response.body", "body": piece.encode(), "more_body": piece != "!"})

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": base + path,
        "root_path": base,
        "query_string": b"limit=5",
    }
    asyncio.run(OwnViews(server)(scope, receive, send))
    return sent[0]["status"], b"".join(each["body"] for each in sent[1:]), asked


@pytest.mark.parametrize("base", ["", "/airflow"])
def test_a_refused_list_is_asked_for_at_the_pages(base: str) -> None:
    assert answered("GET", AIRFLOWS, {AIRFLOWS: 403}, base) == (200, OWN.encode() + b"!", [AIRFLOWS, OWN])


def test_airflows_refusal_stays_where_the_pages_refuse_too() -> None:
    for status in (401, 403, 404, 500):
        found = answered("GET", AIRFLOWS, {AIRFLOWS: 403, OWN: status})
        assert found == (403, AIRFLOWS.encode() + b"!", [AIRFLOWS, OWN]), status


def test_nothing_else_is_touched(subtests: pytest.Subtests) -> None:
    for method, path, status in (
        ("GET", AIRFLOWS, 200),
        ("GET", AIRFLOWS, 401),  # who is not logged in
        ("GET", AIRFLOWS, 500),
        ("POST", AIRFLOWS, 403),
        ("GET", f"{AIRFLOWS}/importErrors", 403),
        ("GET", f"/elsewhere{AIRFLOWS}", 403),
        ("GET", "/api/v2/variables", 403),
    ):
        with subtests.test(f"{method} {path}: {status}"):
            assert answered(method, path, {path: status}) == (status, path.encode() + b"!", [path])
