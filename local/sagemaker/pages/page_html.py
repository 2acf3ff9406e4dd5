"""A page: a title, lines of links and a text. Everything in it is escaped; it loads nothing and runs nothing."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from starlette.responses import HTMLResponse, Response

PREFIX = "/_local/pages"
_URI = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[^\s\"'<>\\]*")
_STYLE = (
    "body{font:15px/1.5 sans-serif;margin:2em;max-width:75em}pre{white-space:pre-wrap;overflow-wrap:anywhere}"
)
# A page of another site can have a browser open this one, and must not see, frame or script it.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def is_page(path: str) -> bool:
    """Whether a path is that of a page.

    :param path: decoded, without the query.
    """
    return path == PREFIX or path.startswith(f"{PREFIX}/")


def address(*parts: str) -> str:
    """The address of a page on this server.

    :param parts: what kind of page it is and its names; the slashes of a name stay.
    """
    return "/".join([PREFIX, *(quote(part, safe="/") for part in parts)])


def link(text: str, *parts: str) -> str:
    """HTML of a link to a page."""
    return f'<a href="{html.escape(address(*parts))}">{html.escape(text)}</a>'


def page(title: str, links: Iterable[str], text: str, status: int = 200) -> Response:
    """A page.

    :param links: HTML, as :func:`link` makes it.
    :param text: of others; what it says of S3 becomes links.
    """
    lines = "".join(f"<li>{each}</li>" for each in links)
    body = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{html.escape(title)}</h1>"
        f"{f'<ul>{lines}</ul>' if lines else ''}<pre>{_linked(text)}</pre></body></html>\n"
    )
    # Half a character of a pair has no bytes; a log may hold one.
    return HTMLResponse(body.encode("utf-8", "backslashreplace"), status, headers=_HEADERS)


def as_text(document: Any) -> str:
    """A document as indented JSON, without what never leaves the server: wire.py leaves out the same."""
    public = {name: value for name, value in document.items() if not name.startswith("_")}
    return json.dumps(public, indent=2, default=str, ensure_ascii=False)


def _linked(text: str) -> str:
    """Escaped HTML in which each URI of S3 is a link."""
    parts, end = [], 0
    for found in _URI.finditer(text):
        bucket, _, key = found[0].removeprefix("s3://").partition("/")
        parts += [html.escape(text[end : found.start()]), link(found[0], "s3", bucket, key)]
        end = found.end()
    return "".join([*parts, html.escape(text[end:])])
