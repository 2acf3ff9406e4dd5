"""The application as the plugin registers it: made when somebody first asks for one of its pages.

Every process of Airflow loads the plugin, a worker for each of its tasks too; the API server alone serves pages. So
nothing here imports a web framework.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import Any

#: Below which path of Airflow's web server the pages are, without the base path that its settings may give.
URL_PREFIX = "/city-fleet"


class LazyApp:
    """An ASGI application that is made at its first request.

    :param make: makes it.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._app: Any = None
        self._lock = threading.Lock()

    async def __call__(
        self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        await self.app(scope, receive, send)

    @property
    def app(self) -> Any:
        with self._lock:
            if self._app is None:
                self._app = self._make()
        return self._app

    @property
    def routes(self) -> list[Any]:
        """Return the routes, for whoever wants to know what the plugin adds."""
        return list(self.app.routes)
