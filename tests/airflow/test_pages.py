"""The pages over HTTP, with Airflow's own login and permissions: who sees what, and what is shown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from botocore.exceptions import EndpointConnectionError

from city_fleet.config import Fleet, load_fleet
from city_fleet.page.reading import PATIENCE_SECONDS, Sources
from city_fleet.page.web_app import POLICY, make_app
from tests.support import page_nights
from tests.support.factors import Aws
from tests.support.fleets import SMALL
from tests.support.local_sagemaker import LocalSageMaker, running_server
from tests.support.page_server import Pages, prepare_airflow, running_pages
from tests.support.waiting import wait_until

CITIES = ("austin", "bay_area", "fort_worth", "waco")
#: Those that share a DAG; the others have one of their own.
TOGETHER = CITIES[:2]
FLEET = SMALL + "cities:\n"
FLEET += "".join(f"  {slug}: {{{'cohort: 10' if slug in TOGETHER else ''}}}\n" for slug in CITIES)
FORM = {"HX-Request": "true", "Sec-Fetch-Site": "same-origin"}


@dataclass
class Place:
    pages: Pages
    fleet: Fleet
    aws: LocalSageMaker
    app: Any


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    prepare_airflow()
    folder = tmp_path_factory.mktemp("pages")
    path = folder / "small.yaml"
    path.write_text(FLEET)
    fleet = load_fleet(path, environ={})
    with running_server(folder) as aws:
        s3, sagemaker = aws.client("s3"), aws.client("sagemaker")
        s3.create_bucket(Bucket=fleet.bucket)
        page_nights.fill(s3, fleet, nights=4)
        page_nights.wait_for_approval(sagemaker, fleet, "waco", datetime(2026, 1, 1, tzinfo=UTC))
        clients = Aws(s3, sagemaker, aws.client("sagemaker-runtime"))
        app = make_app(Sources(lambda: [fleet], lambda: 1, lambda _: clients))
        with running_pages(app) as pages:
            yield Place(pages, fleet, aws, app)


def settled(person: httpx.Client, path: str, text: str = "up to date") -> httpx.Response:
    """Return the page once the first look is over."""
    return wait_until(
        lambda: (found := person.get(path)) and text in found.text and found, 60, f"{path} shows {text}"
    )


def paths_of(app: Any) -> list[tuple[str, str]]:
    """Every route with its methods, filled in."""
    values = {"fleet": "small", "slug": "waco", "version": "1", "action": "approve", "dag_id": "small.waco"}
    values |= {"name": "theme.css", "cohort": "cohort_001"}
    return [
        (method, re.sub(r"{(\w+)(?::\w+)?}", lambda found: values[found[1]], route.path)[1:])
        for route in app.routes
        for method in route.methods
    ]


def test_nobody_sees_or_does_anything_without_a_login(place: Place) -> None:
    routes = paths_of(place.app)
    assert len(routes) >= 9
    with place.pages.person(None) as nobody:
        for method, path in routes:
            answer = nobody.request(method, path, headers=FORM)
            assert answer.status_code == 401, (method, path, answer.status_code)
            assert "Austin" not in answer.text
        assert "Log in to Airflow" in nobody.get("fleets/small").text
        forged = httpx.Client(base_url=place.pages.url, cookies={"_token": "x.y.z"})
        assert forged.get("fleets/small").status_code in (401, 403)


def test_a_viewer_reads_everything_and_changes_nothing(place: Place) -> None:
    with place.pages.person("vera") as vera:
        settled(vera, "fleets/small")
        for method, path in paths_of(place.app):
            if method == "GET" and "/confirm/" not in path:
                assert vera.get(path).status_code == 200, path
        page = vera.get("fleets/small").text
        assert 'id="selection"' not in page
        for action in ("approve", "reject", "promote", "rollback", "unpin", "retrain"):
            ask = vera.get(f"fleets/small/confirm/{action}?city=waco", headers=FORM)
            do = vera.post(
                f"fleets/small/actions/{action}", data={"city": "waco", "reason": "x"}, headers=FORM
            )
            assert (ask.status_code, do.status_code) == (403, 403), action
            assert "Your role in Airflow does not allow this" in do.text
    waiting = place.aws.client("sagemaker").list_model_packages(ModelPackageGroupName="small--laptop--waco")
    assert waiting["ModelPackageSummaryList"][0]["ModelApprovalStatus"] == "PendingManualApproval"


def test_what_another_site_has_a_browser_ask_for_is_refused(place: Place, subtests: pytest.Subtests) -> None:
    cases = {
        "another site": {"HX-Request": "true", "Sec-Fetch-Site": "cross-site"},
        "a site of the same domain": {"HX-Request": "true", "Sec-Fetch-Site": "same-site"},
        "another origin, of a browser that says no more": {
            "HX-Request": "true",
            "Origin": "https://evil.example",
        },
        "a form that no script has sent": {"Sec-Fetch-Site": "same-origin"},
        "nothing said": {},
        "an origin that is hidden": {"HX-Request": "true", "Origin": "null"},
    }
    with place.pages.person("ulla") as ulla:
        settled(ulla, "fleets/small")
        for name, headers in cases.items():
            with subtests.test(name):
                answer = ulla.post("fleets/small/actions/reject", data={"city": "waco"}, headers=headers)
                assert answer.status_code == 403
                assert "not asked for by a page" in answer.text
        with subtests.test("an action is no page"):
            assert ulla.get("fleets/small/actions/reject?city=waco").status_code == 405
        with subtests.test("of this origin, and not allowed anyway"):
            origin = place.pages.url.rstrip("/").removesuffix("/city-fleet")
            form = {"city": "austin", "reason": ""}
            headers = {"HX-Request": "true", "Origin": origin}
            answer = ulla.post("fleets/small/actions/rollback", data=form, headers=headers)
            assert (answer.status_code, "Say why" in answer.text) == (422, True)


def test_orders_that_make_no_sense_are_refused(place: Place, subtests: pytest.Subtests) -> None:
    cases: list[tuple[str, Any, int, str]] = [
        ("approve", {"reason": "x"}, 422, "No city was named"),
        ("approve", {"city": "nowhere"}, 404, "has no city"),
        ("approve", {"city": "../waco"}, 404, "has no city"),
        ("explode", {"city": "waco"}, 404, "no such action"),
        ("approve", {"city": ["waco", "austin"], "version": "1"}, 422, "about one city"),
        ("approve", {"city": "waco", "version": "²"}, 422, "no number"),
        ("promote", {"city": "waco", "version": "1"}, 422, "Say why"),
    ]
    with place.pages.person("olaf") as olaf:
        settled(olaf, "fleets/small")
        for action, form, status, text in cases:
            with subtests.test(f"{action} {form}"):
                answer = olaf.post(f"fleets/small/actions/{action}", data=form, headers=FORM)
                assert (answer.status_code, text in answer.text) == (status, True), answer.text
        with subtests.test("too large"):
            answer = olaf.post("fleets/small/actions/reject", data={"reason": "x" * 70_000}, headers=FORM)
            assert answer.status_code == 413
        with subtests.test("no form"):
            answer = olaf.post("fleets/small/actions/reject", json={"city": "waco"}, headers=FORM)
            assert answer.status_code == 415


def test_the_page_shows_the_night_and_its_causes(place: Place) -> None:
    with place.pages.person("vera") as vera:
        page = settled(vera, "fleets/small")
        assert page.headers["content-security-policy"] == POLICY
        assert "unsafe" not in POLICY
        assert page.headers["cache-control"] == "no-store"
        text = page.text
        assert "1</b> waiting for approval" in text
        links = re.findall(r'href="(\?group=[\w.]+)"', text)
        assert "?group=live" in links
        narrowed = vera.get(f"fleets/small{links[0]}").text
        assert narrowed.count('<tr id="city-') == 1
        assert 'id="city-waco"' in narrowed
        # What htmx asks for is the part alone.
        part = vera.get("fleets/small?q=fort", headers={"HX-Request": "true"}).text
        assert "<html" not in part
        assert re.findall(r'<tr id="city-(\w+)"', part) == ["fort_worth"]


def test_cities_that_share_a_dag_have_a_page_together(place: Place) -> None:
    with place.pages.person("vera") as vera:
        whole = settled(vera, "fleets/small").text
        page = vera.get("dags/small._cohort_001").text
        assert "<h1>Cohort 1</h1>" in page
        assert tuple(sorted(re.findall(r'<tr id="city-(\w+)"', page))) == TOGETHER
        assert "2 cities share one DAG" in page
        for slug in TOGETHER:
            assert f'href="../../cities/small/{slug}"' in page
            city = settled(vera, f"cities/small/{slug}", "Cohort 1").text
            assert 'href="../../cohorts/small/cohort_001"' in city
        assert "Cohort" not in vera.get("cities/small/waco").text
        # What is counted above the table and column by column is about these cities alone, and so is the search.
        for text, count in ((whole, len(CITIES)), (page, len(TOGETHER))):
            nights = [
                sum(map(int, re.findall(r"(\d+) (?!\d)[a-z]", night)))
                for night in re.findall(r"<title>\d{4}-\d\d-\d\d: (.*?)</title>", text)
            ]
            assert nights == [count] * 4
        assert 'hx-get="../../cohorts/small/cohort_001"' in page
        found = vera.get("cohorts/small/cohort_001?q=a&sort=-city").text
        assert re.findall(r'<tr id="city-(\w+)"', found) == ["bay_area", "austin"]
        assert 'id="city-' not in vera.get("cohorts/small/cohort_001?q=waco").text
        assert vera.get("cohorts/small/cohort_002").status_code == 404


def test_what_others_wrote_is_text(place: Place) -> None:
    bad = '"><script>alert(1)</script>'
    with place.pages.person("vera") as vera:
        settled(vera, "fleets/small")
        for path in (
            "fleets/small?q=",
            "registry/small?q=",
            "fleets/",
            "cities/small/",
            "fleets/small?group=",
        ):
            text = vera.get(path + bad).text
            assert "<script>alert" not in text, path
    fleet, s3 = place.fleet, place.aws.client("s3")
    ended = page_nights.Ended("bay_area", datetime.now(UTC), "failed", bad, 0.1, 0.1, None)
    record = page_nights.record_of(fleet, ended, 9)
    page_nights.run_records.write(s3, fleet.keys, record, as_of=ended.as_of, key_of_run="0" * 10)
    with place.pages.person("vera") as vera:
        text = settled(vera, "fleets/small", "&gt;&lt;script&gt;alert(1)").text
        assert "<script>alert" not in text


def test_what_is_there_below_a_base_path_leads_nowhere_else(place: Place) -> None:
    with running_pages(place.app, "/airflow") as below, below.person("vera") as vera:
        assert vera.get("").url.path == "/airflow/city-fleet/fleets/small"
        pages = (
            "fleets/small",
            "registry/small",
            "registry/small/waco",
            "registry/small/waco/1",
            "cities/small/waco",
            "cohorts/small/cohort_001",
        )
        for path in pages:
            page = settled(vera, path, "austin" if "cohort" in path else "waco")
            for address in re.findall(r'(?:href|src|hx-get)="([^"]+)"', page.text):
                url = page.url.join(address.replace("&amp;", "&"))
                assert url.host != "127.0.0.1" or url.path.startswith(("/airflow/", "/_local")), address
                if "/static/" in url.path:
                    assert vera.get(url).status_code == 200
        assert vera.get("dags/small.waco").url.path == "/airflow/city-fleet/cities/small/waco"
        assert vera.get("dags/small._cohort_001").url.path == "/airflow/city-fleet/cohorts/small/cohort_001"
        assert vera.get("dags/small._cohort_002").url.path == "/airflow/city-fleet/fleets/small"
        assert vera.get("dags/small._digest").url.path == "/airflow/city-fleet/fleets/small"
        assert vera.get("dags/of_others").status_code == 404


def test_a_target_model_leads_to_what_made_it(place: Place) -> None:
    with place.pages.person("vera") as vera:
        settled(vera, "registry/small", "small--laptop--waco")
        page = vera.get("registry/small/waco/1").text
        (target,) = set(re.findall(r"waco/20260101T000000Z-[0-9a-f]{12}\.tar\.gz", page))
        found = vera.get(f"registry/small?q={target}")
        assert found.url.path.endswith("/registry/small/waco/1")
        assert "waits" in found.text
        assert vera.get("registry/small/waco/77").status_code == 404
        assert "has no version 77" in vera.get("registry/small/waco/77").text


class Silent:
    """AWS that does not answer."""

    def __getattr__(self, name: str) -> Any:
        def refuse(*_: Any, **__: Any) -> Any:
            raise EndpointConnectionError(endpoint_url="https://s3.example")

        return refuse

    def get_paginator(self, _: str) -> Any:
        return Silent()


def test_what_was_seen_stays_when_aws_goes_away(place: Place, tmp_path: Path) -> None:
    real = Aws(place.aws.client("s3"), place.aws.client("sagemaker"), None)
    gone = Aws(Silent(), Silent(), Silent())
    clients = Switch(real)
    app = make_app(Sources(lambda: [place.fleet], lambda: 1, lambda _: clients))
    with running_pages(app) as pages, pages.person("vera") as vera:
        settled(vera, "fleets/small")
        clients.now = gone
        app.state.reading.look_again("small")
        page = settled(vera, "fleets/small", "AWS can't be looked at")
        assert "This is as it was at 20" in page.text
        assert page.text.count('<tr id="city-') == len(CITIES)
        began = datetime.now(UTC)
        lost = vera.get("registry/small/waco")
        assert lost.status_code == 503
        assert "SageMaker can&#39;t be asked" in lost.text
        assert (datetime.now(UTC) - began).total_seconds() < PATIENCE_SECONDS + 8
        clients.now = real
        app.state.reading.look_again("small")
        wait_until(lambda: "be looked at" not in vera.get("fleets/small").text, 30, "the page is well again")


@dataclass
class Switch:
    """Clients that are others from one moment to the next."""

    now: Aws

    def __getattr__(self, name: str) -> Any:
        return getattr(self.now, name)


def test_a_fleet_that_was_never_seen_says_why(place: Place) -> None:
    gone = Aws(Silent(), Silent(), Silent())
    app = make_app(Sources(lambda: [place.fleet], lambda: 1, lambda _: gone))
    with running_pages(app) as pages, pages.person("vera") as vera:
        page = settled(vera, "fleets/small", "AWS can't be looked at")
        assert page.status_code == 200
        assert "Nothing was seen of this fleet yet" in page.text
    app = make_app(Sources(list, lambda: 1, lambda _: gone))
    with running_pages(app) as pages, pages.person("vera") as vera:
        assert "There is no fleet yet" in vera.get("").text
        assert vera.get("fleets/small").status_code == 404
