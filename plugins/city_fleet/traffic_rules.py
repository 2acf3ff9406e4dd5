"""Which predictions are counted and which are kept, as a function's environment variables say it. Pure.

The fleet file has it as ``metrics`` and ``capture``; whoever deploys a function turns those into variables, and the
function reads them. Standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

METRICS, METRICS_CITIES, CAPTURE = "CITY_FLEET_METRICS", "CITY_FLEET_METRICS_CITIES", "CITY_FLEET_CAPTURE"
#: Values of METRICS: lines in CloudWatch's embedded metric format, or none.
EMBEDDED, OFF = "embedded", "off"
#: Of all names of a list together: all variables of a function may have 4 KB.
MOST_CHARACTERS = 1000


@dataclass(frozen=True)
class CaptureRule:
    """Which predictions are kept, and what of them.

    :param share: of them, 0 to 1.
    :param mask: columns whose values are left out.
    :param mask_answers: whether the target is one of them.
    :param cities: slugs; empty for all.
    :param flush_seconds: how long predictions wait in memory for others to be written with.
    :param kms_key: its ARN; None for the bucket's default.
    """

    share: float
    mask: tuple[str, ...] = ()
    mask_answers: bool = False
    cities: tuple[str, ...] = ()
    flush_seconds: int = 60
    kms_key: str | None = None

    def text(self) -> str:
        """Return the rule as a variable's value, without what is as by default."""
        said = {each.name: getattr(self, each.name) for each in fields(self)}
        default = asdict(CaptureRule(share=-1))
        return json.dumps({name: value for name, value in said.items() if value != default[name]})


def parse_capture(text: str) -> CaptureRule | None:
    """Read a variable's value.

    :return: None where nothing is kept.
    :raises ValueError: with what was got and what is allowed.
    """
    if not text:
        return None
    allowed = 'a JSON object with share from 0 to 1, such as {"share": 0.1}'
    try:
        said: dict[str, Any] = json.loads(text)
        given: dict[str, Any] = {
            name: tuple(each) if isinstance(each, list) else each for name, each in said.items()
        }
        rule = CaptureRule(**given)
        good = (
            _is_number(rule.share, 0, 1)
            and _is_number(rule.flush_seconds, 1, 3600)
            and _are_names(rule.mask)
            and _are_names(rule.cities)
            and isinstance(rule.mask_answers, bool)
            and isinstance(rule.kms_key, str | None)
        )
    except (ValueError, TypeError, AttributeError, RecursionError):
        good = False
    if not good:
        raise ValueError(f"got {text[:100]!r}; allowed: {allowed}")
    return rule if rule.share > 0 else None


def names(text: str) -> tuple[str, ...]:
    """Read a variable's names, joined by commas."""
    return tuple(name.strip() for name in text.split(",") if name.strip())


def read_metrics(
    environment: Mapping[str, str], is_city: Callable[[str], bool]
) -> tuple[bool, tuple[str, ...]]:
    """Return whether a function writes metrics, and of which cities it does so each on its own.

    :raises ValueError: with what was got and what is allowed.
    """
    value = environment.get(METRICS, "").strip() or OFF
    if value not in (EMBEDDED, OFF):
        raise ValueError(f"{METRICS}: got {value[:100]!r}; allowed: {EMBEDDED} or {OFF}.")
    cities = names(environment.get(METRICS_CITIES, ""))
    wrong = [city for city in cities if not is_city(city)]
    if wrong:
        raise ValueError(f"{METRICS_CITIES}: got {wrong[0][:100]!r}; allowed: slugs joined by commas.")
    return value == EMBEDDED, cities


def _is_number(value: Any, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _are_names(value: Any) -> bool:
    return isinstance(value, tuple) and all(isinstance(name, str) for name in value)
