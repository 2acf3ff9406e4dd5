"""Moves an installation out of the layout of before: copies objects, registers versions anew, moves live pointers last.

What is there stays as it is, so whoever reads the old layout goes on. Everything is written once under its new name,
and what is there already is passed by: this may die at any moment, and is repeated. Only when every city is through
does a mark say so (``state/old_layout.py``), and until then nothing else writes. Clients are passed in.

Not moved: the index and its events, which are built anew from run records; marks of retiring, whose grace period starts
again; and when the registry was looked at last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from city_fleet.champions import layout_inventory, layout_versions
from city_fleet.champions.layout_rewrite import Rewrite
from city_fleet.errors import CityFleetError, PointerMoved
from city_fleet.naming import Keys
from city_fleet.state import old_layout
from city_fleet.state.context import Clients
from city_fleet.state.objects import ObjectStore, json_of

PARALLEL_CITIES = 8
_JSON = ".json"


@dataclass(frozen=True)
class CityMoved:
    """What was moved of a city, or would be.

    :param objects: objects copied by this call, ``versions``: versions of the registry that have their new name now.
    :param live: target model that serves, None where none of this installation's does.
    :param others: objects of another environment, which stay; ``unknown``: of runs that nothing names, which stay too.
    :param problem: why the city could not be moved; the others were.
    """

    city: str
    objects: int = 0
    versions: int = 0
    live: str | None = None
    others: int = 0
    unknown: int = 0
    problem: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def run(aws: Clients, keys: Keys, cities: Sequence[str], *, dry_run: bool) -> Iterator[CityMoved]:
    """Move cities, several at a time, and keep at the end that nothing awaits being moved.

    :param dry_run: look, and change nothing.
    """
    store, problems, total = ObjectStore(aws.s3, keys.bucket), 0, 0
    with ThreadPoolExecutor(PARALLEL_CITIES) as pool:
        if not dry_run:
            _copy_shared(store, keys, pool.map)
        for moved in pool.map(partial(_one, aws, keys, dry_run=dry_run), cities):
            problems += moved.problem is not None
            total += moved.live is not None
            yield moved
    if not dry_run and not problems:
        old_layout.keep_moved(store, keys, {"cities": len(cities), "live_pointers": total})


def _one(aws: Clients, keys: Keys, city: str, *, dry_run: bool) -> CityMoved:
    try:
        return move_city(aws, keys, city, dry_run=dry_run)
    except CityFleetError as error:
        return CityMoved(city, problem=str(error))
    except (ClientError, BotoCoreError) as error:
        return CityMoved(city, problem=f"AWS failed: {error}")


def move_city(aws: Clients, keys: Keys, city: str, *, dry_run: bool) -> CityMoved:
    """Move one city. Repeating it is harmless.

    :raises PointerMoved: the new live pointer was written by somebody else in the same moment.
    """
    store = ObjectStore(aws.s3, keys.bucket)
    old = layout_inventory.look(store, aws.sagemaker, keys, city)
    rewrite = Rewrite(keys, city)
    there = _there(store, keys, city)
    copies = [
        key for key in (*old.models, *old.runs, *old.records, *old.history) if rewrite.key(key) not in there
    ]
    stored = store.get(old.live) if old.live else None
    live = str(json_of(stored.body)["target_model"]) if stored else None
    report = CityMoved(city, len(copies), len(old.versions), live, len(old.others), len(old.unknown))
    if dry_run:
        return report
    early = {*old.models, *old.runs}
    for key in copies:
        if key in early:
            _copy(store, rewrite, key)
    # What names versions comes after them: only then are their new ARNs known.
    rewrite = Rewrite(keys, city, layout_versions.move(aws.sagemaker, keys, old))
    for key in copies:
        if key not in early:
            _copy(store, rewrite, key, stamped=True)
    if old.live and stored:
        _move_live(store, rewrite, old.live, stored.body)
    return report


def _there(store: ObjectStore, keys: Keys, city: str) -> set[str]:
    """Return the keys that a city has in the layout of today."""
    folders = ("models", "runs", "history", "state/runs")
    return {item.key for folder in folders for item in store.items(f"{keys.prefix}{folder}/{city}/")}


def _copy(store: ObjectStore, rewrite: Rewrite, key: str, *, stamped: bool = False) -> None:
    """Copy an object to its new key; JSON with the URIs and ARNs of today."""
    found = store.get(key) if key.endswith(_JSON) else None
    if found is None:
        store.copy(key, rewrite.key(key))
    else:
        store.create(rewrite.key(key), rewrite.document(found.body, stamped=stamped))


def _move_live(store: ObjectStore, rewrite: Rewrite, key: str, body: bytes) -> None:
    """Write the new live pointer, unless one is there that is as far: a run may have moved the old one since.

    :raises PointerMoved: somebody else wrote it in the same moment.
    """
    to = rewrite.key(key)
    there = store.get(to)
    if there is not None and json_of(there.body)["sequence"] >= json_of(body)["sequence"]:
        return
    if store.replace(to, rewrite.document(body, stamped=True), there.etag if there else None) is None:
        raise PointerMoved(f"{store.uri(to)}: was written by somebody else meanwhile; run the command again")


def _copy_shared(store: ObjectStore, keys: Keys, each: Callable[..., Any]) -> None:
    """Copy what belongs to no city: job scripts, by content; and nights that the breaker watches."""
    rewrite = Rewrite(keys, "")

    def copy(key: str) -> None:
        night = key.count("/") == 3 and key.endswith(_JSON)  # <fleet>/state/breaker/<as_of>.json
        if night:
            _copy(store, rewrite, key, stamped=True)
        else:
            store.copy(key, rewrite.key(key))

    for folder in ("code", "state/breaker"):
        there = {item.key for item in store.items(f"{keys.prefix}{folder}/")}
        listed = [item.key for item in store.items(old_layout.old_prefix(keys, folder))]
        list(each(copy, [key for key in listed if rewrite.key(key) not in there]))
