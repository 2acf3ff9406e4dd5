"""Which cities somebody needs: all, none, one, those of one cohort, or of one shard. Standard library only.

The cities of a cohort are kept together, by the cohort's name: whoever runs it needs them all. The hash is stable: a
city stays in its shard while the number of shards stays. Numbers of shards are powers of two, so that a shard of few is
made of whole shards of many.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass


def shard_of(slug: str, shards: int) -> int:
    """Return the shard of a city, or of a cohort by what stands for it (``_cohort_007``), from 0."""
    return zlib.crc32(slug.encode()) % shards


def shards_for(cities: int, per_shard: int, most: int) -> int:
    """Return how many shards so many cities take: a power of two, so that none has many more than ``per_shard``.

    :param most: the largest number of shards there may be, a power of two.
    """
    shards = 1
    while shards < most and cities > per_shard * shards:
        shards *= 2
    return shards


@dataclass(frozen=True)
class Part:
    """Some of a fleet's cities.

    :param index: the shard, from 0, of ``of`` shards.
    :param slug: this city alone, or those of a cohort by what stands for it; an empty text stands for no city.
    """

    index: int = 0
    of: int = 1
    slug: str | None = None

    def takes(self, slug: str, home: str | None = None) -> bool:
        """Tell whether a city belongs to the part.

        :param home: what stands for its cohort; None for a city that is in none.
        """
        if self.slug is not None:
            return self.slug in (slug, home)
        return shard_of(home or slug, self.of) == self.index

    def shards(self, of: int, homes: Mapping[str, str] | None = None) -> list[int]:
        """Return which shards hold the part, where the cities are kept in ``of`` shards.

        :param homes: what stands for the cohort of each city that is in one.
        """
        if self.slug is not None:
            return [shard_of((homes or {}).get(self.slug, self.slug), of)] if self.slug else []
        common = min(of, self.of)
        return [number for number in range(of) if number % common == self.index % common]


EVERY_CITY = Part()
NO_CITY = Part(slug="")
