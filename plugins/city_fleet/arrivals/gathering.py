"""What has arrived together: a burst of messages that becomes one event. Pure, standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from city_fleet import clock
from city_fleet.arrivals.messages import Arrival

#: An event is a row in Airflow's database: a burst of more messages is told in parts. One of SQS is about 600 bytes.
MAX_MESSAGES = 100
MAX_CITIES = 10_000


@dataclass(frozen=True)
class Received:
    """A message that was received and not deleted.

    :param receipt: the handle by which it is deleted.
    :param cities: slugs, or :data:`~city_fleet.arrivals.messages.EVERY_CITY`.
    :param as_of: stamp of the moment up to which the runs may see data; None for the moment of the run.
    """

    receipt: str
    cities: tuple[str, ...]
    as_of: str | None = None

    @classmethod
    def of(cls, receipt: str, arrivals: list[Arrival]) -> Received:
        moment = next((arrival.as_of for arrival in arrivals if arrival.as_of is not None), None)
        cities = dict.fromkeys(arrival.city for arrival in arrivals)
        return cls(receipt, tuple(cities), None if moment is None else clock.stamp(moment))

    def to_dict(self) -> dict[str, Any]:
        return {"receipt": self.receipt, "cities": list(self.cities), "as_of": self.as_of}

    @classmethod
    def from_dict(cls, value: Any) -> Received:
        """Read what :meth:`to_dict` has written.

        :raises ValueError: it is something else.
        """
        try:
            receipt, cities, as_of = value["receipt"], tuple(value["cities"]), value["as_of"]
        except (KeyError, TypeError) as error:
            raise ValueError(f"no received message: {error}") from None
        if not all(isinstance(text, str) for text in (receipt, *cities, as_of or "")):
            raise ValueError("no received message: its members are no text")
        return cls(receipt, cities, as_of)


@dataclass
class Burst:
    """Messages that come within a while of each other. Times are seconds of one monotonic clock.

    :param quiet_seconds: it has ended when nothing has come for so long.
    :param longest_seconds: it ends after this time, whatever still comes.
    """

    quiet_seconds: float
    longest_seconds: float
    _received: dict[str, Received] = field(default_factory=dict)
    _first: float = 0.0
    _last: float = 0.0

    def __len__(self) -> int:
        return len(self._received)

    def add(self, message_id: str, received: Received, now: float) -> None:
        """Take a message in; one that SQS has delivered again takes the place of itself."""
        if not self._received:
            self._first = now
        self._received[message_id] = received
        self._last = now

    @property
    def is_full(self) -> bool:
        cities = sum(len(received.cities) for received in self._received.values())
        return len(self) >= MAX_MESSAGES or cities >= MAX_CITIES

    def seconds_left(self, now: float) -> float | None:
        """Return how long until it ends if nothing more comes; None while nothing has come."""
        if not self._received:
            return None
        end = min(self._last + self.quiet_seconds, self._first + self.longest_seconds)
        return 0.0 if self.is_full else max(0.0, end - now)

    def receipts(self) -> list[str]:
        return [received.receipt for received in self._received.values()]

    def take(self) -> list[Received]:
        """Return its messages in the order in which they came, and begin the next one."""
        taken, self._received = list(self._received.values()), {}
        return taken
