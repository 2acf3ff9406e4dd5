"""Airflow's list of plugins, as whoever may read DAGs and not plugins gets it: City Fleet's views and no more."""

from __future__ import annotations

from airflow import plugins_manager
from airflow.api_fastapi.core_api.datamodels.plugins import PluginCollectionResponse, PluginResponse
from fastapi import APIRouter

router = APIRouter()
_NAME = "city_fleet"


@router.get("/plugins.json")
def own_views() -> PluginCollectionResponse:
    """Return the views alone: what else a plugin adds, and where it lies, is told to who may read plugins."""
    found = []
    for info in plugins_manager.get_plugin_info():
        if info["name"] == _NAME:
            empty = {name: "" if name == "source" else [] for name in info}
            views = {"name": _NAME, "external_views": info["external_views"]}
            found.append(PluginResponse.model_validate(empty | views))
    return PluginCollectionResponse(plugins=found, total_entries=len(found))
