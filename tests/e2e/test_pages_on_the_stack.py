"""A person at the pages of the real stack: in Airflow's frame, with runs, a registry and an endpoint behind them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from local.stack.environment import UI_USER
from tests.e2e.conftest import AS_OF, PAGE_CITY, Fleet
from tests.e2e.test_approval import wait_for_question
from tests.support.airflow_pictures import browser, looking_at
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(browser() is None, reason="There is no Chromium here: apt-get install chromium"),
]
DAG_ID = f"texas_housing.{PAGE_CITY}"
SECONDS = 60


def ordered(frame: Any, button: Any, reason: str, **filled: Any) -> str:
    """Press a button, confirm what it asks, and return what is said then.

    :param filled: fields of the dialog beside the reason; True ticks a box.
    """
    button.click()
    dialog = frame.locator("dialog[open]")
    for name, value in filled.items():
        field = dialog.locator(f"[name={name}]")
        field.check() if value is True else field.fill(value)
    dialog.locator("textarea").fill(reason)
    dialog.locator("form button:not([data-close])").click()
    done = dialog.locator("[data-done]")
    done.wait_for(timeout=SECONDS * 1000)
    said = str(done.inner_text())
    dialog.get_by_role("button", name="Close").click()
    return said


def test_found_approved_read_off_the_chart_retrained_and_rolled_back(fleet: Fleet) -> None:
    wait_for_question(fleet, DAG_ID)

    def pointer() -> dict[str, Any]:
        return fleet.pointer("texas_housing", PAGE_CITY) or {}

    with looking_at(fleet.stack) as page:
        page.get_by_role("link", name="City Fleet").first.click()
        frame = page.frame_locator("iframe[title='City Fleet']")
        frame.locator("#q").fill(PAGE_CITY[:4])
        frame.locator(f"#city-{PAGE_CITY} th a").first.click()  # beside that of the run that waits
        decide = frame.locator("#versions").get_by_role("button", name="Approve")
        said = ordered(frame, decide, "looked at the chart")
        assert "Done" in said, said
        assert fleet.ended(DAG_ID) == "success"
        first = pointer()
        assert (first["moved_by"], first["reason"]) == (UI_USER, "looked at the chart")

        # What the chart says is what an application is answered.
        answer = fleet.command("predict", PAGE_CITY)
        assert answer["target_model"] == first["target_model"]
        asked = answer["forecasts"][0]
        chart = frame.locator("#forecast")
        cell = chart.locator(f"tr:has(th:text-is('{asked['period']}')) td[data-name$='(serves)']")
        cell.wait_for(state="attached", timeout=SECONDS * 1000)
        assert float(cell.text_content().replace(",", "")) == pytest.approx(asked["prediction"], abs=1)
        # And what it says by keyboard.
        chart.locator(".chart").focus()
        page.keyboard.press("End")
        assert cell.text_content() in chart.locator(".chart-said").text_content()

        retrain = frame.get_by_role("button", name="Retrain")
        said = ordered(frame, retrain, "another year of data", as_of=AS_OF, force=True)
        (run_id,) = re.findall(r"page__\S+", said)
        assert fleet.ended(DAG_ID, run_id) == "success"
        assert fleet.stack.airflow.run(DAG_ID, run_id)["triggering_user_name"] == UI_USER
        second = pointer()
        assert second["as_of"] == "20150801T000000Z"

        said = ordered(frame, frame.get_by_role("button", name="Roll back"), "the year was a mistake")
        assert first["target_model"] in said
        third = pointer()
        assert (third["target_model"], third["pinned"]) == (first["target_model"], True)
        assert (third["moved_by"], third["reason"]) == (UI_USER, "the year was a mistake")
        unpin = frame.get_by_role("button", name="Unpin")
        wait_until(unpin.count, SECONDS, "the page knows that the city is pinned")
