"""The pages as one application, which the plugin mounts into Airflow's web server."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, Response
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from city_fleet.page import permissions, rendering
from city_fleet.page.reading import Reading, Sources
from city_fleet.page.routes import routers

#: Nothing but what is shipped here, no script or style in the markup, and no frame but Airflow's own.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'self'",
    )
)
_HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_TYPES = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_SENTENCES = {
    401: "You are not logged in any more.",
    403: "Your role in Airflow does not allow this.",
    404: "There is no such page.",
}


def make_app(sources: Sources) -> FastAPI:
    """Return the application.

    :param sources: where fleet files and AWS are.
    """
    # No description of an API: that page would be open to everybody.
    app = FastAPI(
        title="City Fleet",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        dependencies=[permissions.MAY_READ_DAGS],
        redirect_slashes=False,
    )
    app.state.reading = Reading(sources)
    for router in routers():
        app.include_router(router)
    app.get("/static/{name}", include_in_schema=False)(layout_file)
    app.add_middleware(Guarded)
    app.exception_handler(AnyHTTPException)(error_page)
    app.exception_handler(RequestValidationError)(_not_understood)
    app.exception_handler(Exception)(_failed)
    return app


def layout_file(name: str) -> Response:
    """Answer with a script, a style or a picture of the layout."""
    path = rendering.STATIC / name
    if path.name != name or path.suffix not in _TYPES or not path.is_file():
        raise HTTPException(404)
    # Its address changes with its bytes.
    forever = {"cache-control": "private, max-age=31536000, immutable"}
    return FileResponse(path, media_type=_TYPES[path.suffix], headers=forever)


def error_page(request: Request, error: Any) -> Response:
    """Answer a request that can't be served with a sentence that says what to do."""
    detail = error.detail if error.status_code not in (401, 403) or " " in str(error.detail) else ""
    if str(detail) in (
        "Not Found",
        "Method Not Allowed",
        "Not authenticated",
        "Token Expired",
        "Invalid JWT token",
    ):
        detail = ""
    sentence = str(detail or _SENTENCES.get(error.status_code, "This can't be done."))
    return rendering.render(
        request,
        "error.html",
        error.status_code,
        sentence=sentence,
        code=error.status_code,
        title="City Fleet",
    )


def _not_understood(request: Request, error: Any) -> Response:
    names = sorted({str(each["loc"][-1]) for each in error.errors()})
    return error_page(request, HTTPException(422, f"Not understood: {', '.join(names)}."))


def _failed(request: Request, error: Exception) -> Response:
    # What went wrong stands in the log of the web server, with its traceback; it is not everybody's to read.
    sentence = "This page could not be made; Airflow's log of the web server says why."
    return error_page(request, HTTPException(500, sentence))


class Guarded:
    """Adds to every answer what browsers are to refuse. Pages are never kept by anybody on the way."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                named = {name for name, _ in headers}
                added = _HEADERS if b"cache-control" in named else {**_HEADERS, "cache-control": "no-store"}
                headers += [(name.encode(), value.encode()) for name, value in added.items()]
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, guarded)
