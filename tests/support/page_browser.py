"""A real browser at the pages: headless Chromium, with the session of one person."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin

from tests.support.page_server import browser_path

WIDE, PHONE = (1360, 900), (390, 844)


@contextlib.contextmanager
def browsing() -> Iterator[Any]:
    """Start the browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=browser_path(), args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def person_at(
    browser: Any, pages: Any, name: str | None, *, size: tuple[int, int] = WIDE, theme: str = "light"
) -> Iterator[Any]:
    """Open a window of a person. What the browser complains about in its console fails the test.

    :param pages: with the address of the first page, and the sessions of people.
    :param name: None for somebody who is not logged in.
    """
    context = browser.new_context(viewport={"width": size[0], "height": size[1]}, color_scheme=theme)
    if name is not None:
        context.add_cookies([{"name": "_token", "value": pages.token(name), "url": urljoin(pages.url, "/")}])
    window = context.new_page()
    said: list[str] = []
    window.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    window.on("pageerror", lambda error: said.append(str(error)))
    window.said = said
    try:
        yield window
    finally:
        context.close()


def open_page(window: Any, url: str) -> None:
    """Open a page and wait until its scripts have run."""
    window.goto(url)
    window.wait_for_selector("html[data-ready]", state="attached")


def serious(window: Any) -> list[str]:
    """Return what axe-core finds serious about a page, as a screen reader or a keyboard meets it."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(window).response["violations"]
    return [
        f"{each['id']}: {each['help']}: {each['nodes'][0]['target']}"
        for each in found
        if each["impact"] in ("serious", "critical")
    ]
