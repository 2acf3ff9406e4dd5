"""What the plugin adds to Airflow's web server asks for a permission: a plugin's routes are open unless they do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from airflow.api_fastapi.auth.managers.models.resource_details import AccessView
from airflow.api_fastapi.core_api import security
from airflow.plugins_manager import AirflowPlugin
from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from city_fleet.page.own_views import OwnViews
from city_fleet_plugin import CityFleetPlugin

#: All of a plugin that City Fleet uses. By HTTP the pages alone are reached.
USED = {
    "timetables",
    "listeners",
    "operator_extra_links",
    "fastapi_apps",
    "fastapi_root_middlewares",
    "external_views",
}


def open_routes(app: Any, above: str = "") -> Iterator[str]:
    """Yield the routes of an app, mounted ones too, that ask for none of Airflow's permissions."""
    for route in app.routes:
        path = above + getattr(route, "path", "?")
        if isinstance(route, Mount) and route.routes:
            yield from open_routes(route, path)
        elif not (isinstance(route, APIRoute) and asks_for_a_permission(route.dependant)):
            yield path


def asks_for_a_permission(dependant: Any) -> bool:
    """Tell whether one of a route's dependencies is Airflow's: who is asking, and whether that person may."""
    call = dependant.call
    here = getattr(call, "__module__", "") == security.__name__
    return (here and call.__qualname__.startswith("requires_access")) or any(
        map(asks_for_a_permission, dependant.dependencies)
    )


def apps_of(plugin: type[AirflowPlugin]) -> Iterator[tuple[str, Any]]:
    for each in plugin.fastapi_apps:
        yield each.get("url_prefix", ""), each["app"]


def test_no_route_of_the_plugin_is_open() -> None:
    apps = list(apps_of(CityFleetPlugin))
    assert sum(len(app.routes) for _, app in apps) > 8
    assert [path for prefix, app in apps for path in open_routes(app, prefix)] == []
    # Flask's views pass none of Airflow's permissions of FastAPI: there is none to look at.
    for name in ("flask_blueprints", "appbuilder_views"):
        assert getattr(CityFleetPlugin, name) == []
    # The one middleware answers nothing by itself: it asks one of the routes above (test_own_views.py).
    assert [each["middleware"] for each in CityFleetPlugin.fastapi_root_middlewares] == [OwnViews]


def test_the_plugin_adds_nothing_that_docs_security_does_not_name() -> None:
    added = {
        name
        for name, value in vars(CityFleetPlugin).items()
        if not name.startswith("_") and isinstance(value, list) and value
    }
    assert added == USED


def guarded() -> list[Any]:
    return [Depends(security.requires_access_view(AccessView.PLUGINS))]


def test_a_later_route_without_a_permission_is_noticed(subtests: pytest.Subtests) -> None:
    """The first function is worth something only if it finds one."""

    def page() -> str:
        return ""

    quiet: dict[str, Any] = {"openapi_url": None}
    with subtests.test("the whole app is guarded"):
        app = FastAPI(dependencies=guarded(), **quiet)
        app.get("/")(page)
        assert list(open_routes(app)) == []
    with subtests.test("a description of the API is a page too"):
        app = FastAPI(dependencies=guarded())
        assert "/openapi.json" in list(open_routes(app))
    with subtests.test("one of two routes"):
        app = FastAPI(**quiet)
        app.get("/guarded", dependencies=guarded())(page)
        app.post("/open")(page)
        assert list(open_routes(app, "/x")) == ["/x/open"]
    with subtests.test("a router, a mounted app, Starlette's own routes"):
        app, router, below = FastAPI(**quiet), APIRouter(), FastAPI(**quiet)
        router.get("/r")(page)
        below.get("/b")(page)
        app.include_router(router)
        app.mount("/m", below)
        app.router.routes.append(Route("/s", lambda request: PlainTextResponse("")))
        assert sorted(open_routes(app)) == ["/m/b", "/r", "/s"]
    with subtests.test("to ask who it is, is no permission"):
        app = FastAPI(dependencies=[Depends(security.get_user)], **quiet)
        app.get("/")(page)
        assert list(open_routes(app)) == ["/"]
