"""What was read of the cities that were asked for last, in bounded memory. Safe to use from many threads."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Generic, TypeVar

Value = TypeVar("Value")


class CityCache(Generic[Value]):
    """Something of each city; of more cities than it may hold, the one that was kept first goes.

    :param most: how many cities it holds.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._values: OrderedDict[str, Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, city: str) -> Value | None:
        """Return what is kept of a city; None where nothing is."""
        with self._lock:
            return self._values.get(city)

    def keep(self, city: str, value: Value | None) -> None:
        """Keep something of a city in the place of what was kept; None forgets the city."""
        with self._lock:
            self._values.pop(city, None)
            if value is not None:
                self._values[city] = value
            while len(self._values) > self._most:
                self._values.popitem(last=False)
