"""Lets whoever may read DAGs find the pages in Airflow's navigation, and no other plugin.

Airflow's interface (3.3.2) learns of a plugin's views from the list of all plugins. Airflow gives that to whoever may
read plugins: with FAB neither to its role Viewer nor to User, so that they have neither an entry nor a tab. Whoever is
refused that list is asked about again here, by the pages' own route (``plugin_list``), which asks for what all pages
ask for; its answer names the two views of City Fleet and nothing else. Who may not read DAGs keeps Airflow's refusal.

Every process of Airflow loads the plugin, the API server alone uses this: nothing here imports a web framework.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from city_fleet.page.lazy_app import URL_PREFIX

#: Airflow's list of plugins, below its base path; and that of the pages, which holds City Fleet's views alone.
ALL, OWN = "/api/v2/plugins", f"{URL_PREFIX}/plugins.json"
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class OwnViews:
    """A middleware around all of the API server: passes on everything but a refused list of plugins.

    :param app: what it is around.
    """

    def __init__(self, app: Callable[[Any, Receive, Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        base = _base_path(scope)
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] != base + ALL:
            await self._app(scope, receive, send)
            return
        # Routing writes into what it is given.
        again = {**scope, "path": base + OWN, "raw_path": (base + OWN).encode(), "query_string": b""}
        again["state"] = dict(scope.get("state", {}))
        refusal: list[Message] = []

        async def passed_on(message: Message) -> None:
            if refusal or (message["type"] == "http.response.start" and message["status"] == 403):
                refusal.append(message)
            else:
                await send(message)

        await self._app(scope, receive, passed_on)
        if refusal:
            for message in await self._own(again) or refusal:
                await send(message)

    async def _own(self, scope: MutableMapping[str, Any]) -> list[Message]:
        """Return the answer of the pages' own list; nothing where that is refused too."""
        found: list[Message] = []
        waiting = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> Message:
            if not waiting:
                await asyncio.Event().wait()  # until the answer is complete, which ends the waiting
            return waiting.pop()

        async def kept(message: Message) -> None:
            found.append(message)

        await self._app(scope, receive, kept)
        return found if found and found[0].get("status") == 200 else []


def _base_path(scope: MutableMapping[str, Any]) -> str:
    base = str(scope.get("root_path", ""))
    return base if str(scope.get("path", "")).startswith(f"{base}/") else ""
