"""A city's page after real nights: real jobs, their reports in S3, Airflow's own login, a real browser."""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config

from city_fleet.champions import moves
from city_fleet.config import Fleet
from city_fleet.page import city_reading
from city_fleet.page.reading import Sources
from city_fleet.page.web_app import make_app
from city_fleet.state.author import Author
from city_fleet.views import city_sources, city_story
from city_fleet.views.city_story import CityStory
from tests.support.factors import Aws
from tests.support.nights import FLEET, Database, Town, town
from tests.support.page_browser import PHONE, WIDE, browsing, open_page, person_at, serious
from tests.support.page_server import Pages, browser_path, prepare_airflow, running_pages

CITY = "austin"
NIGHTS = (datetime(2013, 1, 1, tzinfo=UTC), datetime(2014, 7, 1, tzinfo=UTC))
REASON = "too <b>high</b> & wrong"


@pytest.fixture(scope="module")
def texas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Two nights of a city, and a person who has rolled it back."""
    with town(tmp_path_factory.mktemp("town"), CITY) as found:
        database = Database()
        for moment in NIGHTS:
            found.night(database, CITY, f"scheduled__{moment.isoformat()}", moment).go()
        aws = clients(found, found.fleet)
        planned = moves.CityContext(
            aws, found.fleet.keys, endpoint(found), found.plan(CITY).package_group, CITY
        )
        moves.rollback(planned, Author("ann", REASON))
        yield found


def endpoint(texas: Town) -> str:
    names = texas.aws.client("sagemaker").list_endpoints()["Endpoints"]
    return str(names[0]["EndpointName"])


def clients(texas: Town, fleet: Fleet) -> Aws:
    """The clients that the pages have: many threads, and no patience."""
    config = Config(
        connect_timeout=1,
        read_timeout=5,
        retries={"total_max_attempts": 1},
        max_pool_connections=16,
        proxies={},
    )
    given: dict[str, Any] = {
        "region_name": fleet.region,
        "endpoint_url": texas.aws.url,
        "aws_access_key_id": "local",
        "aws_secret_access_key": "local",
        "config": config,
    }
    return Aws(*(boto3.client(name, **given) for name in ("s3", "sagemaker", "sagemaker-runtime")))


@pytest.fixture(scope="module")
def application(texas: Town) -> Any:
    sources = Sources(
        fleets=lambda: [texas.fleet], changed=lambda: 1, clients=lambda fleet: clients(texas, fleet)
    )
    return make_app(sources)


@pytest.fixture(scope="module")
def pages(application: Any) -> Iterator[Pages]:
    prepare_airflow()
    with running_pages(application, base_path="/airflow") as found:
        yield found


def story_of(texas: Town, seconds: float = 20) -> tuple[CityStory, Counter[str]]:
    """Tell the story, and count what is asked of AWS."""
    aws, asked = clients(texas, texas.fleet), Counter[str]()

    def count(model: Any, **_: Any) -> None:
        asked[model.name] += 1

    for client in (aws.s3, aws.sagemaker):
        client.meta.events.register("before-call", count)
    group = texas.plan(CITY).package_group
    found = city_sources.read(aws.s3, aws.sagemaker, texas.fleet.keys, CITY, group=group, seconds=seconds)
    return city_story.tell(texas.fleet, CITY, found), asked


def test_the_story_of_real_nights(texas: Town) -> None:
    story, asked = story_of(texas)
    assert story.problems == ()
    assert [(run.as_of[:8], run.outcome, run.algorithm) for run in story.runs] == [
        ("20140701", "live", "xgboost"),
        ("20130101", "live", "xgboost"),
    ]
    newest = story.runs[0]
    assert set(newest.values) == {
        "challenger",
        "champion",
        "last known value",
        "same period last season",
        "drift",
    }
    assert newest.beside_champion is not None
    assert [job.step for job in newest.jobs] == ["preprocess", "train", "evaluate"]
    # What serves is what was rolled back to, and the features that count are those of that model.
    assert story.champion is not None
    assert (story.champion.as_of, story.champion.pinned, story.champion.reason) == (
        "20130101T000000Z",
        True,
        REASON,
    )
    assert story.model_as_of == "20130101T000000Z"
    assert [each.state.move for each in story.past if each.state] == ["publish", "publish", "rollback"]
    assert [(version.number, version.serves) for version in story.versions] == [(2, False), (1, True)]
    assert all(version.reasons for version in story.versions)
    # Of the first night's forecast all three months have happened by now, as the data say.
    first = story.forecasts[-1]
    months = [each.period for each in first.ahead]
    assert months == ["2013-01-01", "2013-02-01", "2013-03-01"]
    assert all(month in story.actual for month in months)
    raw = (Path(__file__).parents[4] / "include" / "data" / "txhousing.csv").read_text()
    (median,) = re.findall(r'^"?Austin"?,2013,1,[^,]*,[^,]*,([^,]*),', raw, re.MULTILINE)
    assert story.actual["2013-01-01"] == float(median)
    assert story.held_out is not None
    assert story.held_out.of_rows == len(story.held_out.rows) > 100
    assert sum(weight.value for weight in story.importances) == pytest.approx(1)
    assert story.drift
    # A handful of objects: two records, three states, a copy of what is known, two reports with rows and artifact.
    assert sum(asked.values()) <= 25, asked


def test_what_others_may_not_read_is_not_there_for_them(pages: Pages) -> None:
    for path in (f"cities/{FLEET}/{CITY}", f"cities/{FLEET}/{CITY}/series.json"):
        with pages.person(None) as nobody:
            assert nobody.get(path).status_code == 401
    with pages.person("vera") as viewer:
        page = viewer.get(f"cities/{FLEET}/{CITY}")
        assert page.status_code == 200
        assert "/confirm/" not in page.text  # who may only look is offered nothing to do
        for path in (f"cities/{FLEET}/nowhere", f"cities/other/{CITY}", f"cities/{FLEET}/..%2f{CITY}"):
            assert viewer.get(path).status_code == 404
    with pages.person("ada") as admin:
        assert "/confirm/rollback?city=austin" in admin.get(f"cities/{FLEET}/{CITY}").text


def test_what_people_have_written_is_shown_as_it_is(pages: Pages) -> None:
    with pages.person("vera") as viewer:
        text = viewer.get(f"cities/{FLEET}/{CITY}").text
    assert "too &lt;b&gt;high&lt;/b&gt; &amp; wrong" in text
    assert "<b>high</b>" not in text


def test_links_lead_to_jobs_logs_versions_and_objects(pages: Pages, texas: Town) -> None:
    with pages.person("vera") as viewer:
        text = viewer.get(f"cities/{FLEET}/{CITY}").text
    found = {
        name: re.findall(rf'<a href="({texas.aws.url}[^"]*)"[^>]*>{name}</a>', text)
        for name in ("job", "log", "record", "report", "package")
    }
    for name, addresses in found.items():
        assert addresses, name
        headers = {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
        answer = httpx.get(addresses[0].replace("&amp;", "&"), headers=headers, trust_env=False)
        assert answer.status_code == 200, (name, addresses[0])


def test_the_charts_numbers_are_those_of_the_reports(pages: Pages, texas: Town) -> None:
    with pages.person("vera") as viewer:
        answer = viewer.get(f"cities/{FLEET}/{CITY}/series.json")
    charts = {chart["id"]: chart for chart in answer.json()["charts"]}
    story, _ = story_of(texas)
    metric = {line["label"]: line["values"] for line in charts["metric"]["lines"]}
    assert metric["new model"] == [run.values["challenger"] for run in reversed(story.runs)]
    assert set(charts) == {"metric", "forecast", "held-out", "residuals", "histogram", "jobs"}
    json.dumps(charts, allow_nan=False)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if browser_path() is None:
        pytest.skip("there is no Chromium here (apt-get install chromium)")
    with browsing() as found:
        yield found


@contextlib.contextmanager
def opened(browser: Any, pages: Pages, **more: Any) -> Iterator[Any]:
    """Open the city's page; what the browser complains about, a refused script or style, fails the test."""
    with person_at(browser, pages, "ada", **more) as page:
        open_page(page, f"{pages.url}cities/{FLEET}/{CITY}")
        page.wait_for_selector("[data-drawn]")
        yield page
        assert page.said == []


def test_a_forecast_is_read_off_the_chart_by_keyboard_alone(browser: Any, pages: Pages, texas: Town) -> None:
    with opened(browser, pages) as page:
        story, _ = story_of(texas)
        chart = page.locator('figure[data-chart="forecast"] .chart')
        chart.focus()
        page.keyboard.press("0")  # everything
        page.keyboard.press("End")
        newest = story.forecasts[0].ahead[-1]
        heard = page.locator('figure[data-chart="forecast"] .chart-said').inner_text()
        assert heard.startswith(f"{newest.period}: ")
        assert f"{newest.prediction:,.0f} US$" in heard
        # A step back, and the same number stands beside the cursor and in the table.
        page.keyboard.press("ArrowLeft")
        before = story.forecasts[0].ahead[-2]
        assert (
            f"{before.prediction:,.0f} US$"
            in page.locator('figure[data-chart="forecast"] .chart-tip').inner_text()
        )
        page.locator('figure[data-chart="forecast"] summary').click()
        row = page.locator('figure[data-chart="forecast"] .as-table tbody tr', has_text=before.period)
        assert f"{before.prediction:,.0f}" in row.inner_text()


def test_an_update_leaves_what_is_drawn_opened_and_zoomed(
    browser: Any, pages: Pages, application: Any
) -> None:
    with opened(browser, pages) as page:
        figure = page.locator('figure[data-chart="held-out"]')

        def first_seen() -> str:
            figure.locator(".chart").focus()
            page.keyboard.press("Home")
            return str(figure.locator(".chart-said").inner_text()).partition(":")[0]

        whole = first_seen()
        figure.locator("summary").click()
        figure.locator('button[data-zoom="in"]').click()
        figure.locator(".chart").focus()
        page.keyboard.press("End")
        page.keyboard.press("+")
        zoomed = first_seen()
        before = page.locator("[data-series]").get_attribute("data-at")
        application.state.reading.look_again(FLEET)  # as after a decision
        look = "document.querySelector('[data-series]').dataset.at"
        again = 0
        while page.evaluate(look) == before and again < 20:
            again += 1
            with page.expect_response(lambda answer: answer.url.endswith(CITY)):
                page.evaluate("htmx.ajax('GET', location.href, {target: '#main', swap: 'morph:innerHTML'})")
        assert page.evaluate(look) != before
        page.wait_for_load_state("networkidle")
        assert figure.locator("canvas").count() == 1
        assert page.evaluate("document.querySelector('figure[data-chart=held-out] details').open")
        assert figure.locator(".zoom").is_visible()
        assert first_seen() == zoomed != whole


def test_it_fits_a_phone_follows_the_dark_and_can_be_heard(browser: Any, pages: Pages) -> None:
    for size, theme in ((PHONE, "dark"), (WIDE, "light")):
        with opened(browser, pages, size=size, theme=theme) as page:
            assert page.evaluate("document.documentElement.scrollWidth") <= size[0]
            ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert (max(map(int, re.findall(r"\d+", ground)[:3])) < 60) == (theme == "dark")
            assert serious(page) == []


def test_an_aws_that_does_not_answer_leaves_the_page_as_it_was(
    pages: Pages, texas: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last test of the file: AWS is gone afterwards."""
    monkeypatch.setattr(city_reading, "FRESH_SECONDS", 0.0)
    with pages.person("vera") as viewer:
        assert "AWS can't be looked at" not in viewer.get(f"cities/{FLEET}/{CITY}").text
        texas.aws.stop()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            began = time.monotonic()
            text = viewer.get(f"cities/{FLEET}/{CITY}").text
            assert time.monotonic() - began < 5
            assert "Forecast and what happened" in text
            if "This is as it was at" in text:
                return
    pytest.fail("the page does not say that it is old")
