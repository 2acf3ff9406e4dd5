"""The routes of all pages, in one place: a module of pages adds its router here."""

from __future__ import annotations

from fastapi import APIRouter

from city_fleet.page import actions, city_page, fleet_page, plugin_list, registry_page


def routers() -> list[APIRouter]:
    """Return the routers of the application."""
    return [fleet_page.router, actions.router, city_page.router, registry_page.router, plugin_list.router]
