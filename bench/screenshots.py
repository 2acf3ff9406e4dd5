"""Pictures of the pages for the documentation: ``make screenshots`` writes docs/pictures/page-*.png.

The fleet is the Texas example. The fleet's own page shows nights that are made up, one of them bad; the city's and the
cohort's show nights that have run: real jobs, on the local SageMaker. Headless Chromium takes the pictures.
``ARGS="--every --to FOLDER"`` takes also those that the documentation does not use: dark, on a phone, empty, refused.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "pictures"
FLEET = "fleets/texas_housing"
CITY = "cities/texas_housing/austin"
COHORT = "cohorts/texas_housing/cohort_001"
WIDE, PHONE = (1360, 820), (390, 844)
#: The nights of the city: from some years the first of June. Those of the cohort: the last two of them.
NIGHTS = tuple(datetime(year, 6, 1, tzinfo=UTC) for year in range(2009, 2015))
TOGETHER = ("dallas", "tyler", "waco")
#: It is in the cohort and has no data.
NO_DATA = "lubbock"


@dataclass(frozen=True)
class Shot:
    """A picture.

    :param path: of the page, below the first one.
    :param pressed: what is clicked before it is taken.
    :param until: what has to be there by then.
    """

    path: str
    size: tuple[int, int] = WIDE
    theme: str = "light"
    pressed: tuple[str, ...] = ()
    until: str = "tbody tr"
    person: str | None = "ada"
    whole: bool = False


ASKED = "dialog[open] textarea"
DRAWN = "#forecast canvas"
OF_FLEET = {
    "page-fleet": Shot(FLEET),
    "page-fleet-dark": Shot(FLEET, theme="dark"),
    "page-phone": Shot(FLEET, PHONE),
    "page-confirm": Shot(
        f"{FLEET}?group=waiting", (1360, 640), pressed=("#all", "[data-action=approve]"), until=ASKED
    ),
}
OF_CITY = {
    "page-city": Shot(CITY, (1360, 1240), until=DRAWN),
}
MORE_OF_FLEET = {
    "registry": Shot("registry/texas_housing"),
    "registry-dark": Shot("registry/texas_housing", theme="dark"),
    "empty": Shot(f"{FLEET}?q=nowhere", until=".empty"),
    "refused": Shot(FLEET, person=None, until="h1"),
    "no-page": Shot("cities/texas_housing/nowhere", until="h1"),
    "confirm-dark": Shot(
        f"{FLEET}?q=waco", theme="dark", pressed=("#all", "[data-action=retrain]"), until=ASKED
    ),
    "confirm-phone": Shot(
        f"{FLEET}?q=waco", PHONE, pressed=("td.pick input", "[data-action=retrain]"), until=ASKED
    ),
    "phone-dark": Shot(FLEET, PHONE, "dark", whole=True),
}
MORE_OF_CITY = {
    "city-whole": Shot(CITY, until=DRAWN, whole=True),
    "city-dark": Shot(CITY, theme="dark", until=DRAWN, whole=True),
    "city-phone": Shot(CITY, PHONE, until=DRAWN, whole=True),
    "city-of-cohort": Shot("cities/texas_housing/dallas", until=DRAWN, whole=True),
    "city-without-data": Shot(f"cities/texas_housing/{NO_DATA}", until="#runs", whole=True),
    "city-new": Shot("cities/texas_housing/houston", until="#runs", whole=True),
    "cohort": Shot(COHORT),
    "cohort-dark": Shot(COHORT, theme="dark"),
    "cohort-phone": Shot(COHORT, PHONE, whole=True),
    "group": Shot("registry/texas_housing/dallas"),
    "version": Shot("registry/texas_housing/dallas/1", until="dl"),
    "version-phone": Shot("registry/texas_housing/dallas/1", PHONE, until="dl", whole=True),
}


def main() -> int:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, default=PICTURES)
    parser.add_argument(
        "--every", action="store_true", help="take those that the documentation does not use too"
    )
    parser.add_argument("--only", nargs="*", help="names of pictures")
    options = parser.parse_args()

    def wanted(shots: dict[str, Shot], more: dict[str, Shot]) -> dict[str, Shot]:
        found = {**shots, **(more if options.every else {})}
        return {name: shot for name, shot in found.items() if not options.only or name in options.only}

    with tempfile.TemporaryDirectory() as home:
        os.environ |= {
            "AIRFLOW_HOME": home,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
            "AIRFLOW__API_AUTH__JWT_SECRET": "a-secret-of-pictures-that-is-long-enough-for-what-jwt-wants-of-one",
        }
        # Airflow reads its home when it is imported.
        from tests.support.page_server import prepare_airflow  # noqa: PLC0415

        prepare_airflow()
        options.to.mkdir(parents=True, exist_ok=True)
        for shots, place in (
            (wanted(OF_FLEET, MORE_OF_FLEET), nights_made_up),
            (wanted(OF_CITY, MORE_OF_CITY), nights_that_ran),
        ):
            if shots:
                folder = Path(tempfile.mkdtemp(dir=home))
                with place(folder) as pages:
                    take(pages, shots, options.to)
    return 0


@contextmanager
def nights_made_up(folder: Path) -> Iterator[Any]:
    """Serve the pages of all Texas cities; three of them wait for a person."""
    from city_fleet.config import load_fleet  # noqa: PLC0415
    from city_fleet.page.reading import Sources  # noqa: PLC0415
    from city_fleet.page.web_app import make_app  # noqa: PLC0415
    from tests.support import page_nights  # noqa: PLC0415
    from tests.support.factors import Aws  # noqa: PLC0415
    from tests.support.local_sagemaker import running_server  # noqa: PLC0415
    from tests.support.page_server import running_pages  # noqa: PLC0415

    fleet = load_fleet(ROOT / "include" / "fleets" / "texas_housing.yaml", environ={})
    with running_server(folder) as aws:
        s3, sagemaker = aws.client("s3"), aws.client("sagemaker")
        s3.create_bucket(Bucket=fleet.bucket)
        page_nights.fill(s3, fleet, nights=10)
        for city in ("amarillo", "dallas", "waco"):
            page_nights.wait_for_approval(sagemaker, fleet, city, datetime.now(UTC))
        clients = Aws(s3, sagemaker, aws.client("sagemaker-runtime"))
        with running_pages(make_app(Sources(lambda: [fleet], lambda: 1, lambda _: clients))) as pages:
            yield pages


@contextmanager
def nights_that_ran(folder: Path) -> Iterator[Any]:
    """Serve the pages of a few Texas cities that real jobs have trained: one by itself, the others as a cohort."""
    from city_fleet.champions import moves  # noqa: PLC0415
    from city_fleet.orchestration.city_dags import city_dags  # noqa: PLC0415
    from city_fleet.page.reading import Sources  # noqa: PLC0415
    from city_fleet.page.web_app import make_app  # noqa: PLC0415
    from city_fleet.plan import endpoint_name  # noqa: PLC0415
    from city_fleet.state.author import Author  # noqa: PLC0415
    from tests.support.cohort_nights import CohortNight  # noqa: PLC0415
    from tests.support.factors import Aws  # noqa: PLC0415
    from tests.support.nights import Database, town  # noqa: PLC0415
    from tests.support.page_server import running_pages  # noqa: PLC0415

    def some(text: str) -> str:
        head = text[: text.index("\ncities:")]
        names = "  austin: {name: Austin}\n  houston: {name: Houston}\n"
        shared = "".join(f"  {slug}: {{name: {slug.title()}, cohort: 10}}\n" for slug in (*TOGETHER, NO_DATA))
        return f"{head}\ncities:\n{names}{shared}"

    with town(folder, "austin", *TOGETHER, edit=some) as texas:
        database = Database()
        for moment in NIGHTS:
            texas.night(database, "austin", f"scheduled__{moment.isoformat()}", moment).go()
            print("night", moment, file=sys.stderr)
        for moment in NIGHTS[-2:]:
            (dag,) = city_dags(texas.fleets, only="texas_housing._cohort_001")
            CohortNight(database, dag, f"scheduled__{moment.isoformat()}", moment, cities=None).all()
            print("night of the cohort", moment, file=sys.stderr)
        clients = Aws(*(texas.aws.client(name) for name in ("s3", "sagemaker", "sagemaker-runtime")))
        group = texas.plan("dallas").package_group
        dallas = moves.CityContext(clients, texas.fleet.keys, endpoint_name(texas.fleet), group, "dallas")
        moves.rollback(dallas, Author("ann", "its forecasts jump from month to month"))
        with running_pages(make_app(Sources(lambda: [texas.fleet], lambda: 1, lambda _: clients))) as pages:
            yield pages


def take(pages: Any, shots: dict[str, Shot], folder: Path) -> None:
    """Photograph pages."""
    from tests.support.page_browser import browsing, open_page, person_at  # noqa: PLC0415

    with browsing() as browser:
        for name, shot in shots.items():
            with person_at(browser, pages, shot.person, size=shot.size, theme=shot.theme) as window:
                if shot.person is None:  # its scripts are refused too
                    window.goto(pages.url + shot.path)
                else:
                    open_page(window, pages.url + shot.path)
                # The first look at a fleet may take a moment, and the page asks by itself.
                for each in (*shot.pressed, shot.until):
                    window.wait_for_selector(each, timeout=60_000)
                    if each in shot.pressed:
                        window.click(each)
                window.wait_for_timeout(300)  # what moves when it appears has come to rest
                window.screenshot(path=str(folder / f"{name}.png"), full_page=shot.whole)
                print(name, file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
