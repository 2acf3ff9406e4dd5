"""What served when: a city's live pointer and the copies of those before it, as a list for people. S3 is passed in."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from city_fleet.errors import BrokenPointer, PublishError
from city_fleet.naming import Keys
from city_fleet.state import live
from city_fleet.state.live_pointer import Broken, LivePointer, Versioned

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_READERS = 16


@dataclass(frozen=True)
class Served:
    """A stretch of time in which one state of the live pointer served.

    :param state: the pointer; None when its copy can't be read.
    :param until: when the next move ended it, ISO 8601 in UTC; None for what serves now, for the end of a city that
        was removed, and where the next state can't be read.
    :param live: whether it serves now.
    :param error: why the copy can't be read.
    """

    sequence: int
    state: LivePointer | None
    until: str | None
    live: bool
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class History:
    """What a city has served.

    :param states: oldest first; the last one serves now if its ``live`` is true.
    :param older: how many older states there are beyond the limit.
    :param problem: what is wrong with the live pointer; None when nothing is.
    """

    city: str
    states: tuple[Served, ...]
    older: int = 0
    problem: str | None = None


def history(s3: S3Client, keys: Keys, city: str, limit: int | None = None) -> History:
    """Return what served a city when, moved by whom and why.

    :param limit: only so many of the newest states; all by default.
    """
    found = live.read_or_broken(s3, keys, city)
    current = found.pointer if isinstance(found, Versioned) else None
    sequences = live.kept_sequences(s3, keys, city)
    kept = [sequence for sequence in sequences if current is None or sequence != current.sequence]
    shown = kept if limit is None else kept[max(0, len(kept) - limit + (current is not None)) :]
    with ThreadPoolExecutor(_READERS) as pool:
        states = list(pool.map(lambda sequence: _read(s3, keys, city, sequence), shown))
    if current is not None:
        states.append((current.sequence, current, None))
    states.sort(key=lambda state: state[0])
    last = states[-1][1] if states else None
    removed = found is None and last is not None and last.move == live.REMOVE
    problem = None if removed else _problem(found, sequences)
    if problem is not None:
        problem += f"; `./fleet rebuild {city}` restores it"
    served = []
    for position, (sequence, state, error) in enumerate(states):
        is_live = state is not None and state is current
        follower = states[position + 1][1] if position + 1 < len(states) else None
        until = follower.moved_at if follower is not None and not is_live else None
        served.append(Served(sequence, state, until, is_live, error))
    return History(city, tuple(served), len(kept) - len(shown), problem)


def _problem(found: Versioned | Broken | None, sequences: list[int]) -> str | None:
    newest = max(sequences, default=0)
    if isinstance(found, Broken):
        return str(found.error)
    if found is None:
        return "the live pointer is missing" if sequences else None
    if newest > found.pointer.sequence:
        return f"the live pointer has sequence {found.pointer.sequence}, but the history goes up to {newest}"
    return None


def _read(s3: S3Client, keys: Keys, city: str, sequence: int) -> tuple[int, LivePointer | None, str | None]:
    try:
        return sequence, live.read_kept(s3, keys, city, sequence), None
    except (BrokenPointer, PublishError) as error:
        return sequence, None, str(error)
