"""What ``doctor --aws`` asks a fleet's account about: the quotas and the pool of tonight, and the images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from city_fleet.config import Fleet
from city_fleet.doctor.account_checks import QuotaNeed, Wanted
from city_fleet.doctor.findings import Area, Finding
from city_fleet.errors import ConfigError, display_path
from city_fleet.jobs.images import image_uri, serving_image_uri
from city_fleet.night.measured import MEASURED
from city_fleet.night.night_advice import needs, pool_slots
from city_fleet.night.night_model import Limits, predict
from city_fleet.night.prices import list_prices
from city_fleet.night.service_quotas import ENDPOINT, Quotas, quota_name
from city_fleet.night.workload import of_fleet


@dataclass(frozen=True)
class Asked:
    """What is asked of the account, and of Airflow.

    :param slots: of the pool, so that the night is over in time.
    :param wrong: what is wrong before anybody was asked: an image that the fleet's region does not have.
    """

    wanted: Wanted
    slots: int
    wrong: list[Finding]


def wanted_of(fleet: Fleet, hours: float, principal: str | None) -> Asked:
    """Return what to ask about for a night of a fleet as it is.

    :param hours: in which the night shall be over.
    :param principal: ARN of the role or user that starts the jobs; None for whoever asks.
    """
    work = of_fleet(fleet, MEASURED, cohorts=fleet.members)
    endpoints = [fleet.endpoint_settings(name) for name in fleet.endpoint_names]
    serving = [(each.instance_type, each.instance_count) for each in endpoints]
    # Quotas alone are taken from it, which no price changes: whatever the region, and where no price is known.
    night = predict(work, MEASURED, list_prices(), Limits(), endpoints=serving)
    needed = needs(work, night, MEASURED, within_seconds=hours * 3600, quotas=Quotas(), fleet=fleet)
    always = {quota_name(each.instance_type, ENDPOINT) for each in endpoints}
    quotas = [QuotaNeed(each.name, each.needed, each.code, each.name in always) for each in needed]
    slots = pool_slots(work, MEASURED, {each.name: each.needed for each in needed})
    images, wrong = _images(fleet)
    return Asked(Wanted(quotas, images, principal), slots, wrong)


def _images(fleet: Fleet) -> tuple[list[str], list[Finding]]:
    """Return the URIs of a fleet's images, sorted; and what is wrong where there is none for its region."""
    algorithms = {
        (city.algorithm.image, city.algorithm.version): city.algorithm for city in fleet.cities.values()
    }
    finders: list[Callable[[], str]] = [
        *(partial(serving_image_uri, fleet, name) for name in fleet.endpoint_names),
        *(partial(image_uri, algorithm, fleet.region) for algorithm in algorithms.values()),
    ]
    uris: set[str] = set()
    wrong: dict[str, Finding] = {}
    for find in finders:
        try:
            uris.add(find())
        except ConfigError as error:
            advice = f"./fleet lint {display_path(fleet.path)}"
            wrong[str(error)] = Area(f"account, {fleet.fleet}").fail(str(error), advice)
    return sorted(uris), list(wrong.values())
