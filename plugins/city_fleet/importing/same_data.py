"""Whether a model answers what its city's dataset asks for: its artifact's own words beside the fleet file. Pure.

A model of other features may be as good; whoever sends rows would be answered with nonsense, or not at all. How rows
are read and judged (limits, held-out periods) may differ: that makes no other question.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from city_fleet.champions.artifact import FORMAT_VERSION
from city_fleet.config import Series, Table
from city_fleet.errors import list_names
from city_fleet.plan import CityPlan

_COLUMN = "column "


def differences(card: Mapping[str, Any], plan: CityPlan) -> list[str]:
    """Return where a model is about something else than its city's dataset, a phrase each; none where it is not.

    :param card: ``model.json`` of its artifact.
    :raises TypeError: it is not as train.py writes it; likewise ``KeyError``, ``AttributeError``.
    """
    dataset = plan.city.dataset
    schema = card.get("schema")
    if card.get("format_version") != FORMAT_VERSION or schema is None:
        # Format 1 knew series alone, and said less of them.
        there: dict[str, Any] = {"kind": "series", "target": card.get("target")}
    else:
        there = {name: schema[name] for name in ("kind", "task", "target")}
        there["cities"] = sorted(schema.get("members") or ())
        if schema.get("layout") is not None:
            there |= _of_layout(schema)
        elif schema["kind"] == "table":
            there["transform"] = schema["transform"]["kind"]
            there |= {f"{_COLUMN}{each['name']}": each["kind"] for each in schema["features"]}
    here: dict[str, Any] = {
        "kind": dataset.kind,
        "task": dataset.task,
        "target": dataset.target.column,
        "cities": sorted(plan.children),
        **(_of_series(dataset) if isinstance(dataset, Series) else _of_table(dataset)),
    }
    if there["kind"] != here["kind"]:
        return [_said("kind", there, here)]
    named = isinstance(dataset, Series) or dataset.columns is not None
    # What one of the two does not say can't be told apart, as a table's columns that the fleet file leaves to the data.
    # Of listed ones a model may take some alone: one that was imported does.
    names = [name for name in there if name in here or (named and name.startswith(_COLUMN))]
    if "frequency" in there:
        names += [name for name in here if name not in there and name.startswith(_COLUMN)]
    return [_said(name, there, here) for name in names if there.get(name) != here.get(name)]


def _said(name: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> str:
    return f"{name} ({_shown(there.get(name))} there, {_shown(here.get(name))} here)"


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple):
        return list_names([str(each) for each in value]) if value else "none"
    return "none" if value is None else str(value)


def _of_layout(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an artifact of a series says of its rows."""
    layout = schema["layout"]
    return {
        "transform": _transform(schema["transform"]["kind"], schema["transform"].get("window")),
        "frequency": layout["frequency"],
        "horizon": layout["horizon"],
        "target lags": list(layout["target_lags"]),
        "calendar": list(layout["calendar"]),
        "holidays": layout.get("holidays") is not None,
        **{f"{_COLUMN}{each['column']}": _column(each) for each in layout["columns"]},
    }


def _of_series(dataset: Series) -> dict[str, Any]:
    """Return the same of a fleet file's section."""
    target = dataset.target
    return {
        "transform": _transform(target.transform, target.window),
        "frequency": str(dataset.grid),
        "horizon": dataset.horizon,
        "target lags": list(target.lags),
        "calendar": list(dataset.calendar),
        "holidays": dataset.holidays is not None,
        **{
            f"{_COLUMN}{each.column}": _column({"lags": each.lags, "known_ahead": each.known_ahead})
            for each in dataset.features
        },
    }


def _of_table(dataset: Table) -> dict[str, Any]:
    columns = {f"{_COLUMN}{each.column}": each.kind for each in dataset.columns or ()}
    return {"transform": dataset.target.transform, **columns}


def _transform(kind: str, window: int | None) -> str:
    return kind if window is None else f"{kind} over {window}"


def _column(said: Mapping[str, Any]) -> str:
    ahead = ", known ahead" if said.get("known_ahead") else ""
    return f"lags {', '.join(map(str, said['lags']))}{ahead}"
