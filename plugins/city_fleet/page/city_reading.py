"""What the pages show of single cities: read when somebody looks, kept for a while, shown with its age.

A story is some hundred small objects of S3. Whoever asks gets what was read last; where that is older than a few
seconds, another reading begins behind it. Nobody waits longer than two seconds, also where AWS does not answer at all.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import clock, naming, outgoing_text
from city_fleet.config import Fleet
from city_fleet.config.places import fleets_folder
from city_fleet.errors import CityFleetError
from city_fleet.night.prices import prices_to_show
from city_fleet.page.reading import PATIENCE_SECONDS, STALE, Reading
from city_fleet.views import city_sources, city_story
from city_fleet.views.city_story import CityStory

_log = outgoing_text.logger(__name__)
FRESH_SECONDS = 15.0
#: How long one reading may take; what has not come by then is missing from it.
_DEADLINE_SECONDS = 20.0
#: Stories that are kept: those that were looked at last.
_MOST = 64


@dataclass(frozen=True)
class Told:
    """What is known of a city.

    :param story: None while the first reading is under way, or as long as none succeeds.
    :param problem: why the last reading failed; None where it did not.
    """

    story: CityStory | None = None
    problem: str | None = None

    @property
    def is_stale(self) -> bool:
        return self.story is not None and clock.utc_now() - self.story.at > STALE


@dataclass
class _Kept:
    """A story and its readings.

    :param changes: how often something of the fleet had been changed from these pages when the last one began.
    """

    told: Told
    due: float = 0.0
    under_way: Future[None] | None = None
    changes: int = 0


class Stories:
    """The stories that were told last, for all requests of a process."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="city-story-page")

    def of(self, fleet: Fleet, slug: str) -> Told:
        """Return what was read last of a city. Waits two seconds at most, where that is old or nothing."""
        place, changes = (fleet.fleet, slug), self._reading.changes(fleet.fleet)
        with self._lock:
            kept = self._kept.setdefault(place, _Kept(Told()))
            self._kept.move_to_end(place)
            while len(self._kept) > _MOST:
                self._kept.popitem(last=False)
            busy = kept.under_way is not None and not kept.under_way.done()
            changed = kept.changes != changes
            if changed or (not busy and time.monotonic() >= kept.due):
                kept.due, kept.changes = time.monotonic() + FRESH_SECONDS, changes
                kept.under_way = self._pool.submit(self._read, fleet, slug, kept)
            under_way = kept.under_way
        if (changed or kept.told.story is None or kept.told.is_stale) and under_way is not None:
            wait([under_way], timeout=PATIENCE_SECONDS)
        return kept.told

    def _read(self, fleet: Fleet, slug: str, kept: _Kept) -> None:
        try:
            clients = self._reading.clients(fleet)
            group = naming.package_group(fleet.fleet, fleet.environment, slug)
            found = city_sources.read(
                clients.s3, clients.sagemaker, fleet.keys, slug, group=group, seconds=_DEADLINE_SECONDS
            )
            prices = prices_to_show(fleet.region, fleets_folder())
            told = Told(city_story.tell(fleet, slug, found, prices=prices.instance_hour))
            if found.nothing_came and kept.told.story is not None:
                # AWS is away: what was seen before is worth more than an empty page.
                told = replace(kept.told, problem="; ".join(found.problems))
        except (ClientError, BotoCoreError, CityFleetError, OSError, ValueError) as error:
            _log.warning("City %s of %s can't be looked at: %s", slug, fleet.fleet, error)
            told = replace(kept.told, problem=outgoing_text.one_line(str(error)))
        kept.told = told
