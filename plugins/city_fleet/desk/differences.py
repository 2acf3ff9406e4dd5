"""Where two models differ in how they were made: settings, raw data, code. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

#: What names an entry of a list of settings.
_NAMES = ("algorithm", "column", "name")
#: Stands where a setting is not there.
ABSENT = None


@dataclass(frozen=True)
class Difference:
    """A setting, or a file, that differs.

    :param first: its value, or digest, of the first model; None where it has none.
    """

    name: str
    first: Any
    second: Any

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "first": self.first, "second": self.second}


def of_settings(
    first: Mapping[str, Any] | None, second: Mapping[str, Any] | None
) -> tuple[Difference, ...] | None:
    """Compare two entries of ``settings.json``, setting by setting; None where one is not known.

    Names are paths: ``dataset.target.lags``, ``candidates.xgboost.hyperparameters.max_depth``.
    """
    return None if first is None or second is None else _of(dict(_flat(first)), dict(_flat(second)))


def of_files(
    first: Mapping[str, str] | None, second: Mapping[str, str] | None
) -> tuple[Difference, ...] | None:
    """Compare files by their digests; None where one side's are not known."""
    return None if first is None or second is None else _of(first, second)


def _of(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[Difference, ...]:
    names = dict.fromkeys((*first, *second))
    pairs = ((name, first.get(name, ABSENT), second.get(name, ABSENT)) for name in names)
    return tuple(Difference(*each) for each in pairs if each[1] != each[2])


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield settings with their paths. A list is one setting, unless its entries have names."""
    if isinstance(value, list) and value and all(isinstance(each, Mapping) for each in value):
        for key in _NAMES:
            named = {str(each[key]): each for each in value if key in each}
            if len(named) == len(value):
                value = {
                    name: {inner: item for inner, item in each.items() if inner != key} or True
                    for name, each in named.items()
                }
                break
    if isinstance(value, Mapping) and value:
        for name, each in value.items():
            yield from _flat(each, f"{path}.{name}" if path else str(name))
    elif path:
        yield path, value
