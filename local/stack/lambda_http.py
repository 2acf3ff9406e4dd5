"""A Lambda function behind a port on loopback: plain HTTP becomes the events that API Gateway makes of it.

Standard library only. What serves is the function's own handler; what API Gateway adds, authorization and its limits,
is not here.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from local.stack.layout import HOST

Handler = Callable[[dict[str, Any], Any], dict[str, Any]]
Page = Callable[[], tuple[str, str]]

#: Lambda takes no more in one call.
MOST_BYTES = 6 << 20
METHODS = ("GET", "POST", "OPTIONS", "PUT", "PATCH", "DELETE")


def event_of(method: str, target: str, headers: dict[str, str], body: bytes) -> dict[str, Any]:
    """Return the event that an HTTP API makes of a request (payload format 2.0).

    :param target: path and query, as they stand in the request line.
    """
    split = urlsplit(target)
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": split.path,
        "rawQueryString": split.query,
        "headers": {name.lower(): value for name, value in headers.items()},
        "requestContext": {
            "http": {"method": method, "path": split.path, "protocol": "HTTP/1.1", "sourceIp": HOST},
            "stage": "$default",
        },
        "isBase64Encoded": True,
        "body": base64.b64encode(body).decode(),
    }
    if split.query:
        query: dict[str, str] = {}
        for name, value in parse_qsl(split.query, keep_blank_values=True):
            query[name] = f"{query[name]},{value}" if name in query else value
        event["queryStringParameters"] = query
    return event


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: LambdaServer
    timeout = 60

    def answer(self) -> None:
        host = (self.headers.get("host") or "").rpartition(":")[0] or self.headers.get("host") or ""
        if host not in (HOST, "localhost"):
            # A page may have its own name lead here; it must not pass for one of this machine.
            self._write(421, {}, b"This server answers to 127.0.0.1 and localhost alone.\n")
            return
        length = self.headers.get("content-length") or "0"
        if self.headers.get("transfer-encoding") or not length.isdecimal():
            self.close_connection = True
            self._write(411, {}, b"A request needs a Content-Length.\n")
            return
        if int(length) > MOST_BYTES:
            self.close_connection = True
            self._write(413, {}, b"A request has at most 6 MB.\n")
            return
        body = self.rfile.read(int(length))
        page = self.server.pages.get(urlsplit(self.path).path) if self.command == "GET" else None
        if page is not None:
            content_type, text = page()
            self._write(200, {"content-type": content_type}, text.encode())
            return
        response = self.server.function(event_of(self.command, self.path, dict(self.headers), body), None)
        self._write(response["statusCode"], response["headers"], str(response["body"]).encode())

    def _write(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("content-length", str(len(body)))
        self.end_headers()
        if status != 204:
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """The function writes its own log."""


for _method in METHODS:
    setattr(_Request, f"do_{_method}", _Request.answer)


class LambdaServer(ThreadingHTTPServer):
    """Serves a function on loopback.

    :param function: the handler: (event, context) → response.
    :param port: 0 takes any that is free.
    :param pages: what the function does not answer itself: path → type and text of the answer.
    """

    daemon_threads = True

    def __init__(self, function: Handler, port: int = 0, pages: Mapping[str, Page] | None = None) -> None:
        self.function = function
        self.pages = pages or {}
        super().__init__((HOST, port), _Request)

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_port}"
