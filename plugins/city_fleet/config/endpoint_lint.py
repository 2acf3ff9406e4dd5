"""What ``fleet lint`` finds about the shared endpoints of a fleet file that loads. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from city_fleet.config.endpoint_section import MOST_CONTAINERS, MULTI_CONTAINER, OWN, Endpoint
from city_fleet.config.mistakes import FieldPath
from city_fleet.config.settings import Fleet
from city_fleet.config.value_types import Problem


def sections(fleet: Fleet) -> list[tuple[FieldPath, Endpoint]]:
    """Return the sections that describe the fleet's endpoints, its own first, each with its path."""
    return [(_path(name), fleet.endpoint_settings(name)) for name in fleet.endpoint_names]


def endpoint_warnings(fleet: Fleet) -> Iterator[tuple[FieldPath, str]]:
    """Warn of endpoints that nobody needs, and of what their kind costs."""
    served = _cities(fleet)
    for name in fleet.endpoint_names:
        settings, where = fleet.endpoint_settings(name), _path(name)
        if not settings.model_cache:
            text = "every request loads its model anew, which takes many times longer"
            if settings.kind == MULTI_CONTAINER:
                text = "it is of kind multi_model alone: a container of its own keeps its model in memory"
            yield (*where, "model_cache"), text
        called, own = fleet.endpoint_name(name), fleet.endpoint_name()
        if name != OWN and not called.startswith(f"{own}--"):
            text = f"the policies of docs/policies allow endpoints whose names begin with {own}--, and this is {called}"
            yield (*where, "name"), f"{text}; call it so, or add it to those of callers and Airflow"
        if not fleet.cities:
            continue
        if name != OWN and not served[name]:
            text = (
                "no city trains its algorithms or in its images: it serves nothing, and costs its instances"
            )
            yield where, text
        if settings.kind == MULTI_CONTAINER and served[name]:
            text = (
                "every model that goes live has another endpoint of "
                f"{settings.instance_count} {settings.instance_type} made beside this one, which takes minutes; both "
                "are paid for until the old one is deleted, and all containers share one instance's memory"
            )
            yield (*where, "kind"), text


def crowded(fleet: Fleet) -> Iterator[Problem]:
    """Find endpoints with more cities than they have containers for."""
    served = _cities(fleet)
    for name in fleet.endpoint_names:
        if fleet.endpoint_settings(name).kind == MULTI_CONTAINER and served[name] > MOST_CONTAINERS:
            allowed = f"multi_model, or at most {MOST_CONTAINERS} cities: each has a container of its own"
            path = (*_path(name), "kind")
            yield Problem(f"multi_container for {served[name]} cities", allowed, path=path)


def _cities(fleet: Fleet) -> Counter[str]:
    return Counter(fleet.endpoint_of(city) for city in fleet.cities.values())


def _path(name: str) -> FieldPath:
    return ("endpoints", name) if name else ("endpoint",)
