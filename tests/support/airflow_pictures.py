"""Takes the pictures of Airflow in docs/pictures from a stack that is up: ``python -m tests.support.airflow_pictures``.

A person's own way: Chromium logs in by the form, opens pages and waits until they are quiet. `make up` must have ended,
so that there are runs to look at.
"""

from __future__ import annotations

import argparse
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from playwright.sync_api import Page, sync_playwright

from local.stack.environment import UI_USER
from local.stack.secrets_file import stack_secrets
from local.stack.stack import Stack
from tests.support.paths import ROOT

PICTURES = ROOT / "docs" / "pictures"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZE = {"width": 1280, "height": 800}
#: Airflow's pages go on asking for what is new: quiet is when nothing has changed for so long.
QUIET_MILLISECONDS = 2_000
PATIENCE_MILLISECONDS = 120_000


def browser() -> str | None:
    """Return the path of a browser of this machine; None where there is none."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


@contextmanager
def looking_at(stack: Stack, **context: Any) -> Iterator[Page]:
    """Open a browser that is logged in as the stack's own user.

    :param context: options of Playwright's browser context.
    """
    with sync_playwright() as playwright:
        # The sandbox of Chromium does not start for root, as in most containers; these pages are the stack's own.
        chromium = playwright.chromium.launch(
            executable_path=browser(), args=["--no-sandbox", "--disable-gpu"]
        )
        page = chromium.new_context(viewport=SIZE, **context).new_page()
        page.set_default_timeout(PATIENCE_MILLISECONDS)
        page.goto(stack.layout.ui_url)
        page.locator("input[name=username]").fill(UI_USER)
        page.locator("input[type=password]").fill(stack_secrets(stack.layout)["ui_password"])
        page.keyboard.press("Enter")
        page.wait_for_url(re.compile(r"^(?!.*login)"))
        yield page
        chromium.close()


def opened(page: Page, stack: Stack, path: str) -> None:
    """Open a page of Airflow, and wait until it is there."""
    page.goto(stack.layout.ui_url + path)
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(QUIET_MILLISECONDS)


def take(stack: Stack, folder: Path, dag_id: str) -> list[Path]:
    """Take all pictures; return their files."""
    (run,) = stack.airflow.newest_runs(dag_id, "", 1)
    # What a page has when it is whole: its links come last.
    pictures = {
        "airflow-grid": (f"/dags/{dag_id}", "Last Dag Run"),
        "airflow-task": (
            f"/dags/{dag_id}/runs/{quote(run.id, safe='')}/tasks/train/details",
            "SageMaker job",
        ),
    }
    taken = []
    with looking_at(stack) as page:
        for name, (path, text) in pictures.items():
            opened(page, stack, path)
            page.get_by_text(text).first.wait_for()
            taken.append(folder / f"{name}.png")
            page.screenshot(path=str(taken[-1]))
    return taken


def main() -> None:
    """Take the pictures of the stack in a state directory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state-dir", type=Path, default=ROOT / ".local" / "up")
    parser.add_argument("--to", type=Path, default=PICTURES)
    parser.add_argument("--dag", default="texas_housing.austin")
    options = parser.parse_args()
    stack = Stack.find(options.state_dir)
    if stack is None:
        parser.exit(1, "Nothing is up: `make up` first.\n")
    if browser() is None:
        parser.exit(1, f"There is no browser; looked for {', '.join(BROWSERS)}.\n")
    for path in take(stack, options.to, options.dag):
        print(path)


if __name__ == "__main__":
    main()
