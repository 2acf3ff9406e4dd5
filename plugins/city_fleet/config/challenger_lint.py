"""What ``fleet lint`` finds about trials of models: those that nothing can decide, and those that never begin."""

from __future__ import annotations

from collections.abc import Iterator

from city_fleet.config.mistakes import FieldPath
from city_fleet.config.settings import City, Fleet


def fleet_trials(fleet: Fleet) -> Iterator[tuple[FieldPath, str]]:
    """Warn of a fleet whose runs begin trials, and in which nobody looks after them or knows what really happened."""
    tried = sum(city.challenger.share > 0 for city in fleet.cities.values())
    if not tried:
        return
    what = f"models of {tried} {'cities are' if tried > 1 else 'city are'} tried before they go live"
    if fleet.reaper.schedule is None:
        text = "and no trial is ended, or won, unless somebody runs the reaper: its schedule is null"
        yield ("reaper", "schedule"), f"{what}, {text}"
    if fleet.monitor.schedule is None:
        text = (
            "and nobody notes what really happened: monitor.schedule is null, so a challenger falls back only where it "
            "does not answer"
        )
        yield ("monitor", "schedule"), f"{what}, {text}"


def city_trials(city: City) -> Iterator[tuple[FieldPath, str]]:
    """Warn of a trial that never begins."""
    if city.challenger.shadow and city.challenger.share == 0:
        yield ("challenger", "share"), "no model is tried, whatever shadow says: share is 0"
