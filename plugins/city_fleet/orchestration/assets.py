"""The assets by which a fleet's DAGs and those of others tell each other what has changed, see docs/events.md."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, AssetAlias
from airflow.sdk.execution_time.context import InletEventsAccessor

from city_fleet import naming
from city_fleet.config import Fleet
from city_fleet.naming import Keys
from city_fleet.state.live_pointer import LivePointer

if TYPE_CHECKING:
    from airflow.sdk import Context

#: Type of a run that an asset has started, as Airflow names it.
ASSET_TRIGGERED = "asset_triggered"
#: Member of the extra of an event of raw data: the moment up to which the run may see data.
AS_OF = "as_of"


def raw_data(keys: Keys, city: str) -> Asset:
    """Return the asset that is updated when a city's raw data change."""
    uri = keys.raw_asset(city)
    return Asset(name=uri, uri=uri)


def raw_alias(fleet: Fleet) -> AssetAlias:
    """Return what stands for the raw data of all cities, as an outlet of the task that updates some of them.

    The outlets of a task are all updated when it succeeds; of an alias, those alone that the task names.
    """
    return AssetAlias(f"{fleet.fleet}.{fleet.environment}.raw")


def live_alias(fleet: Fleet) -> AssetAlias:
    """Return what stands for the live pointers of all cities, as an outlet of a task that may move some."""
    return AssetAlias(f"{fleet.fleet}.{fleet.environment}.live")


def tell_changed(context: Context, fleet: Fleet, city: str, as_of: str, messages: int) -> None:
    """Have Airflow update the asset of a city's raw data, when and if the task succeeds.

    :param as_of: stamp of the moment up to which the run may see data.
    :param messages: how many have said so.
    """
    extra = {AS_OF: as_of, "messages": messages}
    context["outlet_events"][raw_alias(fleet)].add(raw_data(fleet.keys, city), extra=extra)


def tell_moved(context: Context, fleet: Fleet, pointer: LivePointer) -> None:
    """Have Airflow update the asset of a city's live pointer, when and if the task succeeds."""
    uri = fleet.keys.live_asset(pointer.city)
    extra = {"target_model": pointer.target_model, "sequence": pointer.sequence, "as_of": pointer.as_of}
    context["outlet_events"][live_alias(fleet)].add(Asset(name=uri, uri=uri), extra=extra)


def newest_event(keys: Keys, city: str) -> datetime | None:
    """Return when the newest event of a city's raw data came; None where there is none."""
    uri = keys.raw_asset(city)
    events = InletEventsAccessor(asset_name=uri, asset_uri=uri).ascending(False).limit(1)
    return next((event.timestamp for event in events), None)


def newest_moment(keys: Keys, city: str) -> datetime | None:
    """Return the moment that the newest event of a city's raw data is about; None where there is no event.

    Not that of the events which have started the run: Airflow (3.3.2) leaves out those that came while the run waited
    for the one before it, and gives it the moment of the first.

    :raises ValueError: the event says something that is no moment.
    """
    uri = keys.raw_asset(city)
    for event in InletEventsAccessor(asset_name=uri, asset_uri=uri).ascending(False).limit(1):
        said: Any = event.extra.get(AS_OF)
        if said is None:
            return event.timestamp
        return naming.parse_as_of(str(said))
    return None
