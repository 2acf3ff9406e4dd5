"""Registers with Airflow what City Fleet adds to it, and does nothing else."""

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from city_fleet.orchestration.mistake_listener import MistakeListener
from city_fleet.orchestration.preimport_listener import PreimportListener
from city_fleet.orchestration.run_note_listener import RunNoteListener
from city_fleet.orchestration.task_links import (
    EndpointLink,
    JobLink,
    LogLink,
    OutputLink,
    PackageLink,
    PageLink,
)
from city_fleet.orchestration.timetables import FleetTimetable
from city_fleet.page.lazy_app import URL_PREFIX, LazyApp
from city_fleet.page.own_views import OwnViews


def _pages() -> Any:
    from city_fleet.orchestration.page_sources import make_app  # noqa: PLC0415 - slow to import, and few need it

    return make_app()


class CityFleetPlugin(AirflowPlugin):
    """The timetable of city DAGs, links of their tasks, notes of their runs; the alert for mistakes; the pages."""

    name = "city_fleet"
    timetables = [FleetTimetable]  # noqa: RUF012 - the form Airflow asks for
    listeners = [MistakeListener(), PreimportListener(), RunNoteListener()]  # noqa: RUF012
    operator_extra_links = [  # noqa: RUF012
        JobLink(), LogLink(), PackageLink(), OutputLink(), EndpointLink(), PageLink(),
    ]  # fmt: skip
    fastapi_apps = [{"app": LazyApp(_pages), "url_prefix": URL_PREFIX, "name": "City Fleet"}]  # noqa: RUF012
    fastapi_root_middlewares = [{"middleware": OwnViews, "name": "City Fleet's views"}]  # noqa: RUF012
    # Addresses without a slash at the front: Airflow's pages may be below a base path.
    external_views = [  # noqa: RUF012
        {
            "name": "City Fleet",
            "href": f"{URL_PREFIX[1:]}/",
            "destination": "nav",
            "url_route": "city-fleet",
            "icon": f"{URL_PREFIX[1:]}/static/icon.svg",
        },
        {
            "name": "City",
            "href": f"{URL_PREFIX[1:]}/dags/{{DAG_ID}}",
            "destination": "dag",
            "url_route": "city",
            "icon": f"{URL_PREFIX[1:]}/static/icon.svg",
        },
    ]
