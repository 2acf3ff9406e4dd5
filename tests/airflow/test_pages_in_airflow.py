"""The pages in a real Airflow: its API server, its auth managers, its frame, its DAGs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from city_fleet.config import Fleet, load_fleet
from tests.support import page_nights
from tests.support.api_server import FAB, NOBODY, SIMPLE, ApiServer, running_api_server
from tests.support.fleets import SMALL
from tests.support.local_sagemaker import running_server
from tests.support.page_browser import browsing, person_at
from tests.support.page_server import browser_path
from tests.support.waiting import wait_until

FLEET = SMALL + "cities:\n  austin: {cohort: 10}\n  bay_area: {cohort: 10}\n  waco:\n"
FORM = {"HX-Request": "true", "Sec-Fetch-Site": "same-origin"}


@dataclass
class Place:
    server: ApiServer
    fleet: Fleet
    manager: str


@pytest.fixture(
    scope="module",
    params=[pytest.param(SIMPLE, id="simple"), pytest.param(FAB, id="fab", marks=pytest.mark.long)],
)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("airflow")
    fleets, home = folder / "fleets", folder / "home"
    for each in (fleets, home):
        each.mkdir()
    path = fleets / "small.yaml"
    path.write_text(FLEET)
    fleet = load_fleet(path, environ={})
    base_path = "/airflow" if request.param == SIMPLE else ""
    with running_server(folder) as aws:
        aws.client("s3").create_bucket(Bucket=fleet.bucket)
        page_nights.fill(aws.client("s3"), fleet, nights=3)
        environ = {**aws.variables, "CITY_FLEET_FLEETS": str(fleets)}
        with running_api_server(home, environ, manager=request.param, base_path=base_path) as server:
            yield Place(server, fleet, request.param)


def settled(person: Any, path: str, text: str) -> Any:
    return wait_until(
        lambda: (found := person.get(path)) and text in found.text and found, 60, f"{path} shows {text}"
    )


def test_the_pages_are_there_for_who_may_read_dags(place: Place) -> None:
    with place.server.person(None) as nobody:
        for path in (
            "",
            "fleets/small",
            "static/theme.css",
            "cities/small/waco",
            "registry/small",
            "dags/small.waco",
        ):
            assert nobody.get(path).status_code == 401, path
        assert (
            nobody.post("fleets/small/actions/reject", data={"city": "waco"}, headers=FORM).status_code == 401
        )
    with place.server.person("vera") as vera:
        page = settled(vera, "fleets/small", 'id="city-waco"')
        assert "script-src 'self'" in page.headers["content-security-policy"]
        for action in ("approve", "reject", "promote", "rollback", "unpin", "retrain"):
            form = {"city": "waco", "reason": "x"}
            assert vera.post(f"fleets/small/actions/{action}", data=form, headers=FORM).status_code == 403, (
                action
            )


def test_a_run_is_begun_under_the_persons_name(place: Place) -> None:
    # In one process: each would import Airflow for seconds.
    dags = (
        "from airflow.dag_processing.bundles.manager import DagBundlesManager as M; M().sync_bundles_to_db();"
        "from airflow.__main__ import main; import sys; sys.argv = ['airflow', 'dags', 'reserialize']; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", dags],
        env=dict(place.server.environ),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with place.server.person("ulla") as ulla:
        settled(ulla, "fleets/small", 'id="city-waco"')
        form = {"city": "waco", "reason": "new raw data", "as_of": "2026-01-01", "force": "true"}
        paused = ulla.post("fleets/small/actions/retrain", data=form, headers=FORM)
        assert "its DAG is paused" in paused.text
        api = place.server.root + "api/v2/dags/small.waco"
        together = place.server.root + "api/v2/dags/small._cohort_001"
        headers = {"Authorization": f"Bearer {place.server.token('ulla')}"}
        for dag in (api, together):
            assert ulla.patch(dag, json={"is_paused": False}, headers=headers).status_code == 200
        begun = ulla.post("fleets/small/actions/retrain", data=form, headers=FORM)
        assert "begun" in begun.text, begun.text
        (run,) = ulla.get(f"{api}/dagRuns", headers=headers).json()["dag_runs"]
        assert run["dag_run_id"].startswith("page__")
        assert (run["conf"], run["note"]) == ({"force": True, "as_of": "20260101T000000Z"}, "new raw data")
        assert run["triggering_user_name"] == "ulla"
        # Of cities that share a DAG one run of that begins, about those that were chosen.
        form = {"city": ["austin", "waco"], "reason": "", "as_of": "2026-02-01"}
        begun = ulla.post("fleets/small/actions/retrain", data=form, headers=FORM)
        assert begun.text.count(">begun<") == 2, begun.text
        (run,) = ulla.get(f"{together}/dagRuns", headers=headers).json()["dag_runs"]
        assert run["conf"] == {"as_of": "20260201T000000Z", "cities": ["austin"]}
        assert run["triggering_user_name"] == "ulla"


def searched(window: Any, frame: Any, text: str) -> bool:
    """Type into the search, and tell whether Airflow's address says so a moment later."""
    for typed in ("", text):
        frame.locator("#q").fill(typed)
    window.wait_for_timeout(1500)
    return f"q={text}" in window.url


@pytest.mark.skipif(browser_path() is None, reason="There is no Chromium here: apt-get install chromium")
def test_airflows_frame_shows_them_and_lets_links_out(place: Place) -> None:
    with browsing() as browser, person_at(browser, place.server, "ada") as window:
        window.goto(f"{place.server.root}plugin/city-fleet")
        frame = window.frame_locator("iframe[title='City Fleet']")
        frame.locator("#city-waco").wait_for(timeout=60_000)
        # What is looked for stands in Airflow's own address, and is there after a reload.
        # Airflow may load the frame once more while it learns where it is; what was typed before is gone then.
        wait_until(lambda: searched(window, frame, "waco"), 60, "the search stands in the address")
        window.reload()
        frame = window.frame_locator("iframe[title='City Fleet']")
        frame.locator("#city-waco").wait_for(timeout=60_000)
        assert frame.locator("tbody tr").count() == 1
        # Dark, when Airflow is.
        window.evaluate("localStorage.setItem('theme', 'dark')")
        window.reload()
        window.frame_locator("iframe[title='City Fleet']").locator("html[data-theme=dark]").wait_for(
            state="attached"
        )
        # A link leads out of the frame.
        window.frame_locator("iframe[title='City Fleet']").locator("#city-waco .c-run a").click()
        window.wait_for_url("**/dags/small.waco/runs/**")


def listed(place: Place, name: str) -> Any:
    """Ask for Airflow's list of plugins as its interface does."""
    headers = {"Authorization": f"Bearer {place.server.token(name)}"}
    with place.server.person(None) as client:
        return client.get(f"{place.server.root}api/v2/plugins", headers=headers)


def test_the_plugin_is_listed_with_its_views(place: Place) -> None:
    found = listed(place, "ada").json()["plugins"]
    (ours,) = [each for each in found if each["name"] == "city_fleet"]
    assert {view["name"]: view["destination"] for view in ours["external_views"]} == {
        "City Fleet": "nav",
        "City": "dag",
    }
    assert json.dumps(ours).count("city-fleet/static/icon.svg") == 2
    assert ours["timetables"]
    assert ours["source"]


def test_whoever_may_read_dags_learns_of_the_views_and_of_no_other_plugin(place: Place) -> None:
    views = [each for each in listed(place, "ada").json()["plugins"] if each["name"] == "city_fleet"]
    with place.server.person(None) as nobody:
        assert nobody.get(f"{place.server.root}api/v2/plugins").status_code == 401
    for name in ("vera", "ulla"):
        answer = listed(place, name)
        assert answer.status_code == 200, answer.text
        (ours,) = [each for each in answer.json()["plugins"] if each["name"] == "city_fleet"]
        assert ours["external_views"] == views[0]["external_views"]
        if place.manager == FAB:  # the simple auth manager lets everybody read plugins
            assert answer.json()["total_entries"] == len(answer.json()["plugins"]) == 1
            rest = {key: value for key, value in ours.items() if key not in ("name", "external_views")}
            assert not any(rest.values()), rest
    if place.manager == FAB:
        assert listed(place, NOBODY).status_code == 403
        headers = {"Authorization": f"Bearer {place.server.token('vera')}"}
        with place.server.person(None) as vera:
            errors = vera.get(f"{place.server.root}api/v2/plugins/importErrors", headers=headers)
        assert errors.status_code == 403


@pytest.mark.skipif(browser_path() is None, reason="There is no Chromium here: apt-get install chromium")
def test_a_viewer_finds_them_in_airflows_navigation(place: Place) -> None:
    with browsing() as browser, person_at(browser, place.server, "vera") as window:
        window.goto(place.server.root)
        window.get_by_role("link", name="City Fleet").first.wait_for(timeout=60_000)
        window.get_by_role("link", name="City Fleet").first.click()
        window.frame_locator("iframe[title='City Fleet']").locator("#city-waco").wait_for(timeout=60_000)
        # A link of a cohort's mapped task leads here: the city's page in Airflow's frame.
        base = place.server.root.split("/", 3)[3]
        window.goto(f"{place.server.root}plugin/city-fleet/{base}city-fleet/cities/small/austin")
        frame = window.frame_locator("iframe[title='City Fleet']")
        frame.get_by_role("link", name="Cohort 1").click(timeout=60_000)
        frame.locator("#city-bay_area").wait_for(timeout=60_000)
