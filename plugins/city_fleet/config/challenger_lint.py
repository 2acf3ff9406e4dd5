"""What ``fleet lint`` finds about trials of models: those that nothing can decide, and those that never begin."""

from __future__ import annotations

from collections.abc import Iterator

from city_fleet.config.mistakes import FieldPath
from city_fleet.config.settings import City, Fleet

#: All trials of an installation are one object: of 500 it has 0.8 MB, which each beginning and end writes anew.
MANY_TRIALS = 500


def fleet_trials(fleet: Fleet) -> Iterator[tuple[FieldPath, str]]:
    """Warn of a fleet whose runs begin trials, and in which nobody looks after them or knows what really happened."""
    tried = sum(city.challenger.share > 0 for city in fleet.cities.values())
    if not tried:
        return
    what = f"models of {tried} {'cities are' if tried > 1 else 'city are'} tried before they go live"
    if tried > MANY_TRIALS:
        text = (
            f"and all trials are one object that each beginning and end writes anew: more than {MANY_TRIALS} at a time "
            "have runs wait for each other; set challenger.share for some cities, and for others when those are done"
        )
        yield ("defaults", "challenger", "share"), f"{what}, {text}"
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
