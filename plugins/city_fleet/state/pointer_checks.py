"""Whether the bytes of a live pointer, or of a copy in the history, can be believed. Pure.

Whoever may write below ``live/`` or ``history/`` must not be able to make one city answer with the model of another,
nor to end those who read it. So every member has its type, the members fit each other, and all of it fits the key under
which it was read.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from city_fleet import naming
from city_fleet.errors import show_value

#: Far above any pointer: a thousand features with long names take 100 KB.
MAX_POINTER_BYTES = 1 << 20
REGRESSION = "regression"
TASKS = (REGRESSION, "binary", "multiclass")
SERIES, TABLE = KINDS = ("series", "table")
INPUT_KINDS = ("number", "boolean", "category", "date")
TARGET_MODEL = "target_model"
TARGET_CONTAINER = "target_container"
_MAX_SEQUENCE = 10**9
#: Periods ahead that a model may predict.
MAX_HORIZON = 100
_ENDPOINT = re.compile(r"(?:[a-zA-Z0-9](?:-*[a-zA-Z0-9]){0,62})?")
_ARN = re.compile(
    r"arn:aws[a-z-]*:sagemaker:[a-z0-9-]+:[0-9]{12}:model-package/(?P<group>[a-zA-Z0-9-]{1,63})/[0-9]{1,9}"
)
_SHA256 = re.compile("[0-9a-f]{64}")
_PLACE = re.compile(
    r"s3://[^/]+/(?P<fleet>[a-z0-9_]+)/(?:(?P<environment>[a-z0-9_]+)/)?"
    r"(?:live/(?P<live>[a-z0-9_]+)|history/(?P<kept>[a-z0-9_]+)/(?P<sequence>[0-9]{8,}))\.json"
)


def parse(body: bytes) -> dict[str, Any]:
    """Return the JSON object that bytes of bounded size hold.

    :raises ValueError: they are larger than any pointer, or no JSON object.
    """
    if len(body) > MAX_POINTER_BYTES:
        raise ValueError(f"it is larger than {MAX_POINTER_BYTES:,} bytes")
    try:
        value = json.loads(body)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError(f"it is {show_value(value)}")
    return value


def check_members(members: Mapping[str, Any]) -> None:
    """Refuse members of another type.

    :raises ValueError: naming the member.
    :raises KeyError: one is missing.
    """
    for name, good in _REQUIRED.items():
        if not good(members[name]):
            raise ValueError(f"{name} is {show_value(members[name])}")
    for name, good in _OPTIONAL.items():
        if name in members and not good(members[name]):
            raise ValueError(f"{name} is {show_value(members[name])}")


def check_metrics(value: object) -> None:
    """Refuse metrics that are no numbers by name.

    :raises ValueError: they are not.
    """
    if not _are_metrics(value):
        raise ValueError(f"metrics is {show_value(value)}")


def check_forecast(value: object) -> None:
    """Refuse what does not say what a forecast by the city's name is made of.

    :raises ValueError: it does not.
    """
    if not _is_forecast(value):
        raise ValueError(f"forecast is {show_value(value)}")


def check_fit(members: Mapping[str, Any], where: str) -> None:
    """Refuse members that do not fit each other, or the key from which they were read.

    :param where: URI of the object.
    :raises ValueError: naming what does not fit.
    """
    city, sha256 = members["city"], members["artifact_sha256"]
    if not naming.is_slug(city):
        raise ValueError(f"city is {show_value(city)}")
    if not _SHA256.fullmatch(sha256):
        raise ValueError(f"artifact_sha256 is {show_value(sha256)}")
    own = naming.target_model(city, naming.parse_as_of(members["as_of"]), sha256)
    if members["target_model"] != own:
        got = show_value(members["target_model"])
        raise ValueError(f"target_model is {got}; city, as_of and artifact_sha256 make {own!r}")
    route = members.get("route", {})
    container = naming.container_hostname(city, sha256)
    if route not in ({}, {TARGET_MODEL: own}, {TARGET_MODEL: own, TARGET_CONTAINER: container}):
        raise ValueError(
            f"route is {show_value(route)}; it may lead to the target model {own!r} and to its container {container!r} "
            "alone"
        )
    _check_inputs(members)
    predecessor = members.get("predecessor")
    if predecessor is not None and naming.parse_target_model(predecessor)[0] != city:
        raise ValueError(f"predecessor is {show_value(predecessor)}, of another city")
    arn = _ARN.fullmatch(members["package_arn"])
    if arn is None:
        raise ValueError(f"package_arn is {show_value(members['package_arn'])}")
    if place := _PLACE.fullmatch(where):
        _check_place(members, arn["group"], place)


def _check_inputs(members: Mapping[str, Any]) -> None:
    """Refuse inputs that are not those of the features: a request is checked by them, and the model has those."""
    names = [each["name"] for each in members.get("inputs", ())]
    needed = list(members["features"]) if members.get("kind") == TABLE else []
    if names != needed:
        raise ValueError(
            f"inputs is {show_value(names)}; a {members.get('kind', SERIES)} has {show_value(needed)}"
        )


def _check_place(members: Mapping[str, Any], group: str, place: re.Match[str]) -> None:
    city = place["live"] or place["kept"]
    if members["city"] != city:
        raise ValueError(f"city is {show_value(members['city'])}, but the key is that of city {city!r}")
    if place["sequence"] and members["sequence"] != int(place["sequence"]):
        raise ValueError(f"sequence is {members['sequence']}, but the key says {int(place['sequence'])}")
    fleet, environment = place["fleet"], place["environment"] or ""
    said = (members.get("fleet") or fleet, members.get("environment") or environment)
    if said != (fleet, environment) and all(said):
        return  # it says itself that it is another installation's, which whoever reads it refuses by that name
    if not _is_group_of(group, fleet, environment, city):
        raise ValueError(
            f"package_arn is of model package group {group!r}, which is not that of city {city!r}"
        )


def _is_group_of(group: str, fleet: str, environment: str, city: str) -> bool:
    """Tell whether a model package group is a city's; also one that was named by an earlier version."""
    if environment and group == naming.package_group(fleet, environment, city):
        return True
    first, last = (slug.replace("_", "-") for slug in (fleet, city))
    if not environment:  # a layout without environments
        return group.startswith(f"{first}-") and (group.endswith(f"-{last}") or len(group) > _UNSHORTENED)
    whole = f"{first}-{environment.replace('_', '-')}-{last}"
    shortened = f"{whole[: naming.MAX_AWS_NAME_LENGTH - 7].rstrip('-')}-{naming.digest(whole, 6)}"
    return group == (whole if len(whole) <= naming.MAX_AWS_NAME_LENGTH else shortened)


# A name of an earlier version that had to be shortened keeps at least so many characters.
_UNSHORTENED = naming.MAX_AWS_NAME_LENGTH - 8


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_text_or_none(value: object) -> bool:
    return value is None or isinstance(value, str)


def _is_sequence(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value < _MAX_SEQUENCE


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _is_endpoint(value: object) -> bool:
    return isinstance(value, str) and _ENDPOINT.fullmatch(value) is not None


def _are_inputs(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(each, dict)
        and set(each) == {"name", "kind"}
        and _is_text(each["name"])
        and each["kind"] in INPUT_KINDS
        for each in value
    )


def _is_forecast(value: object) -> bool:
    """Tell whether a value says what a forecast by the city's name is made of; empty, it says that there is none."""
    if value == {}:
        return True
    if not isinstance(value, dict):
        return False
    if set(value) - {"known_ahead"} != {"frequency", "horizon", "unit", "columns"}:
        return False
    horizon = value["horizon"]
    return (
        _is_text(value["frequency"])
        and isinstance(horizon, int)
        and not isinstance(horizon, bool)
        and 1 <= horizon <= MAX_HORIZON
        and _is_text_or_none(value["unit"])
        and _are_texts(value["columns"])
        and ("known_ahead" not in value or _are_texts(value["known_ahead"]))
        and bool(value["columns"])
    )


def _are_metrics(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_metric, value.values()))


def _is_metric(value: object) -> bool:
    if value is None:
        return True
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


_Check = Callable[[object], bool]
_TEXTS = ("city", "target_model", "package_arn", "as_of", "artifact_sha256", "published_at", "published_by")
_REQUIRED: dict[str, _Check] = {
    **dict.fromkeys(_TEXTS, _is_text),
    "sequence": _is_sequence,
    "metrics": _are_metrics,
    "features": _are_texts,
}
_OPTIONAL: dict[str, _Check] = {
    **dict.fromkeys(("move", "moved_at", "moved_by", "reason", "fleet", "environment"), _is_text),
    **dict.fromkeys(
        ("predecessor", "settings_digest", "code_digest", "data_until", "known_until"), _is_text_or_none
    ),
    "reasons": _are_texts,
    "restores": lambda value: value is None or _is_sequence(value),
    "refit": lambda value: value is None or isinstance(value, bool),
    "pinned": lambda value: isinstance(value, bool),
    "endpoint": _is_endpoint,
    "route": lambda value: isinstance(value, dict) and all(map(_is_text, value.values())),
    "task": lambda value: value in TASKS,
    "kind": lambda value: value in KINDS,
    "inputs": _are_inputs,
    "forecast": _is_forecast,
}
