"""The pages in a real browser, with a real endpoint, registry and bucket behind them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from city_fleet import naming
from city_fleet.config import Fleet, load_fleet
from city_fleet.page.reading import Sources
from city_fleet.page.web_app import make_app
from city_fleet.state import package_status, registry
from tests.support import page_nights
from tests.support.desk import PENDING
from tests.support.factors import Aws, City, create_endpoint
from tests.support.local_sagemaker import running_server
from tests.support.page_browser import PHONE, browsing, open_page, person_at, serious
from tests.support.page_server import Pages, browser_path, prepare_airflow, running_pages
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(
    browser_path() is None,
    reason="There is no Chromium here: apt-get install chromium, or name one by CHROMIUM",
)
FLEET = """\
fleet: factors
bucket: city-fleet
role: arn:aws:iam::123456789012:role/city-fleet
start_date: 2014-01-01
endpoint: {name: factors}
dataset:
  city_column: city
  time: {columns: [day]}
  frequency: month
  available_after: P1M
  target: {column: y, lags: [1]}
defaults:
  gate: {minimum_rows: 3, tolerance: 0.0}
  approval: manual
cities:
"""
REAL = ("austin", "dallas", "waco")
COUNT = 1_000


@dataclass
class Place:
    pages: Pages
    fleet: Fleet
    cities: dict[str, City]
    browser: Any

    def window(self, name: str | None, **more: Any) -> Any:
        return person_at(self.browser, self.pages, name, **more)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A fleet of a thousand cities, three of which have models: austin has had two, dallas' and waco's wait."""
    prepare_airflow()
    folder = tmp_path_factory.mktemp("browser")
    path = folder / "factors.yaml"
    names = [*REAL, *(f"town_{number:04}" for number in range(COUNT - len(REAL)))]
    path.write_text(FLEET + "".join(f"  {name}:\n" for name in names))
    fleet = load_fleet(path, environ={})
    with running_server(folder) as aws, browsing() as browser:
        s3 = aws.client("s3")
        s3.create_bucket(Bucket=fleet.bucket)
        create_endpoint(aws)
        page_nights.fill_index(s3, fleet, nights=3)
        cities = {slug: City(aws, slug) for slug in REAL}
        cities["austin"].go_live(1.0, 1)
        cities["austin"].go_live(1.3, 2)
        for slug in ("dallas", "waco"):
            candidate, _ = cities[slug].train(1.1, 3, status=PENDING)
            expires = naming.as_of_stamp(datetime.now(UTC) + timedelta(days=3))
            sagemaker = aws.client("sagemaker")
            package_status.note(sagemaker, candidate.package_arn, {registry.EXPIRES_AT: expires})
        clients = Aws(s3, aws.client("sagemaker"), aws.client("sagemaker-runtime"))
        app = make_app(Sources(lambda: [fleet], lambda: 1, lambda _: clients))
        with running_pages(app) as pages:
            with pages.person("vera") as vera:
                wait_until(lambda: 'id="city-' in vera.get("fleets/factors").text, 60, "the fleet is seen")
            yield Place(pages, fleet, cities, browser)


def rows(window: Any) -> list[str]:
    return [each.get_attribute("id").removeprefix("city-") for each in window.query_selector_all("tbody tr")]


def shows(window: Any, count: int) -> None:
    """Wait until the table has so many rows."""
    wait_until(lambda: len(rows(window)) == count, 30, f"there are {count} rows")


def test_a_city_is_found_among_a_thousand_and_opened(place: Place) -> None:
    with place.window("vera") as window:
        open_page(window, f"{place.pages.url}fleets/factors")
        assert len(rows(window)) == 50
        window.keyboard.press("/")
        window.keyboard.type("aust")
        shows(window, 1)
        assert window.evaluate("document.activeElement.id") == "q"  # the answer took no focus
        assert "/fleets/factors?q=aust" in window.url
        window.click("text=Austin")
        window.wait_for_url("**/cities/factors/austin")
        window.go_back()
        window.wait_for_selector("#city-austin")
        assert window.input_value("#q") == "aust"
        assert window.said == []


def test_rolled_back_by_a_person_with_a_reason(place: Place) -> None:
    city = place.cities["austin"]
    with place.window("ulla") as window:
        open_page(window, f"{place.pages.url}fleets/factors?q=austin")
        window.check("td.pick input")
        window.click("button[data-action=rollback]")
        window.wait_for_selector("dialog[open] textarea")
        window.click("dialog button:has-text('Roll back')")
        assert window.is_visible("dialog textarea")  # it wants a reason
        window.fill("dialog textarea", "prices ten times too high")
        window.click("dialog button:has-text('Roll back')")
        window.wait_for_selector("dialog [data-done]")
        assert "moved" in window.inner_text("dialog")
        window.click("dialog button:has-text('Close')")
        window.wait_for_selector("#city-austin .tag:has-text('pinned')", timeout=30_000)
        assert window.said == []
    pointer = city.pointer
    assert pointer is not None
    assert (pointer.move, pointer.moved_by, pointer.reason, pointer.pinned) == (
        "rollback",
        "ulla",
        "prices ten times too high",
        True,
    )
    assert city.answer() == pytest.approx(1.0)


def test_two_are_approved_at_once(place: Place) -> None:
    with place.window("ulla") as window:
        open_page(window, f"{place.pages.url}fleets/factors?group=waiting&sort=city")
        assert rows(window) == ["dallas", "waco"]
        window.check("#all")
        assert "2 cities" in window.inner_text("#selection")
        # The table is asked for anew; the selection stays.
        with window.expect_response(lambda answer: "/fleets/factors" in answer.url):
            window.click("th.c-city a")
        window.wait_for_selector("#selection:not([hidden])")
        window.click("button[data-action=approve]")
        window.wait_for_selector("dialog[open] textarea")
        window.fill("dialog textarea", "looked at the map")
        window.click("dialog button:has-text('Approve')")
        window.wait_for_selector("dialog [data-done]", timeout=60_000)
        assert "2 done" in window.inner_text("dialog")
        window.click("dialog button:has-text('Close')")
        assert not window.is_visible("#selection")
        assert window.said == []
    for slug in ("dallas", "waco"):
        pointer = place.cities[slug].pointer
        assert pointer is not None
        assert (pointer.moved_by, pointer.reason) == ("ulla", "looked at the map")
        assert place.cities[slug].answer() == pytest.approx(1.1)


def test_a_viewer_has_nothing_to_press(place: Place) -> None:
    with place.window("vera") as window:
        open_page(window, f"{place.pages.url}fleets/factors?q=town_0001")
        window.check("td.pick input")
        assert window.query_selector("#selection") is None
        open_page(window, f"{place.pages.url}registry/factors/austin")
        assert window.query_selector("text=Promote") is None


def test_a_lost_session_is_said_and_the_page_stays(place: Place) -> None:
    with place.window("vera") as window:
        open_page(window, f"{place.pages.url}fleets/factors")
        before = rows(window)
        window.context.clear_cookies()
        window.fill("#q", "waco")
        window.wait_for_selector("#notice:not([hidden])")
        assert "not logged in" in window.inner_text("#notice")
        assert rows(window) == before
        window.reload()
        assert "You are not logged in" in window.inner_text("h1")


def test_by_keyboard_alone(place: Place) -> None:
    with place.window("ulla") as window:
        open_page(window, f"{place.pages.url}fleets/factors?q=town_00&sort=city")
        for key in ("j", "j", "x"):
            window.keyboard.press(key)
        assert "town_0001" in window.inner_text("#selection")
        window.focus("button[data-action=unpin]")
        window.keyboard.press("Enter")
        window.wait_for_selector("dialog[open] textarea")
        assert window.evaluate("document.activeElement.name") == "reason"
        window.keyboard.press("Escape")
        window.wait_for_selector("dialog[open]", state="hidden")
        assert window.evaluate("document.activeElement.dataset.action") == "unpin"
        # Through to the end; what can't be done is said as a sentence, and the focus is where it was.
        window.keyboard.press("Enter")
        window.wait_for_selector("dialog[open] textarea")
        window.keyboard.type("ready again")
        for key in ("Tab", "Tab", "Enter"):
            window.keyboard.press(key)
        window.wait_for_selector("dialog [data-done]")
        said = window.inner_text("dialog")
        assert "1 of 1 could not be done" in said
        assert "town_0001" in said
        assert "no model of it is live" in said
        window.keyboard.press("Enter")
        window.wait_for_selector("dialog[open]", state="hidden")
        window.focus("#q")
        window.keyboard.press("Shift+Tab")
        window.keyboard.press("k")
        assert window.said == []


def test_an_update_leaves_scroll_focus_and_selection(place: Place) -> None:
    with place.window("ulla") as window:
        open_page(window, f"{place.pages.url}fleets/factors?sort=city&q=town")
        window.check("#city-town_0040 input")
        window.focus("#city-town_0040 th a")
        window.evaluate("window.scrollTo(0, 900)")
        top = window.evaluate("window.scrollY")
        asked = "htmx.ajax('GET', window.location.href, {target: '#main', swap: 'morph:innerHTML'})"
        window.evaluate(f"() => {asked}.then(() => document.body.dataset.updated = 'yes')")
        window.wait_for_selector("body[data-updated=yes]")
        assert window.evaluate("window.scrollY") == top > 0
        window.wait_for_selector("#city-town_0040 input:checked")
        assert window.evaluate("document.activeElement.closest('tr').id") == "city-town_0040"


def test_light_and_dark_follow_airflow(place: Place) -> None:
    with place.window("vera", theme="light") as window:
        open_page(window, f"{place.pages.url}fleets/factors")
        light = window.evaluate("getComputedStyle(document.body).backgroundColor")
        window.evaluate("localStorage.setItem('theme', 'dark')")
        window.reload()
        window.wait_for_selector("html[data-theme=dark]", state="attached")
        assert window.evaluate("getComputedStyle(document.body).backgroundColor") != light
    with place.window("vera", theme="dark") as window:
        open_page(window, f"{place.pages.url}fleets/factors")
        assert window.get_attribute("html", "data-theme") == "dark"


def test_on_a_phone_nothing_is_wider_than_the_screen(place: Place) -> None:
    with place.window("vera", size=PHONE) as window:
        for path in ("fleets/factors", "registry/factors/austin", "registry/factors/austin/1"):
            open_page(window, place.pages.url + path)
            assert window.evaluate("document.documentElement.scrollWidth") <= PHONE[0], path


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_screen_reader_meets_nothing_serious(place: Place, theme: str) -> None:
    with place.window("ulla", theme=theme) as window:
        for path in (
            "fleets/factors",
            "fleets/factors?q=nothing",
            "registry/factors",
            "registry/factors/austin/1",
        ):
            open_page(window, place.pages.url + path)
            assert serious(window) == [], path
        open_page(window, f"{place.pages.url}fleets/factors?q=austin")
        window.check("td.pick input")
        window.click("button[data-action=retrain]")
        window.wait_for_selector("dialog[open] textarea")
        assert serious(window) == []
