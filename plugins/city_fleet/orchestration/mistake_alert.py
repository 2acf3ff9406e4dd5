"""Tells the notifiers of a fleet's digest that its fleet file holds new mistakes. A process of its own.

``mistake_listener`` starts it. What was told is kept on this machine, so that each mistake is told once, also by a DAG
processor that starts anew; it is forgotten when the file is right again.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from city_fleet import outgoing_text
from city_fleet.config import Fleet
from city_fleet.config.current_form import folder_of
from city_fleet.config.places import fleets_folder
from city_fleet.config.usable_fleets import usable_fleets
from city_fleet.errors import FleetFileError
from city_fleet.orchestration import unbuilt_dags
from city_fleet.orchestration.broken_dags import storable

_SECONDS = 300  # for all notifiers together
_TOLD = "told.json"
_log = outgoing_text.logger(__name__)


def mistakes_of(loaded: Fleet | FleetFileError) -> list[str]:
    """Return every mistake that a fleet file holds now, and why DAGs of its fleet can't be built."""
    good = loaded.last_good if isinstance(loaded, Fleet) else None
    errors = good.error.errors if good is not None else loaded.errors
    found = [storable(str(error)) for error in errors]
    if isinstance(loaded, Fleet):
        unbuilt = unbuilt_dags.reported()
        found += [reason for dag_id, reason in unbuilt.items() if dag_id.startswith(f"{loaded.fleet}.")]
    return found


def forget(path: Path) -> None:
    """Forget what was told of a fleet file, which is right again."""
    try:
        (folder_of(path) / _TOLD).unlink(missing_ok=True)
    except OSError as error:
        _log.debug("%s", error)


def tell(folder: Path) -> int:
    """Tell each fleet's notifiers of the mistakes that were not told before.

    :param folder: of the fleet files.
    :return: how many messages were sent.
    """
    from city_fleet.orchestration.fleet_tasks.digest_operators import send  # noqa: PLC0415 - imports the provider
    from city_fleet.orchestration.shared_forms import shared_form  # noqa: PLC0415

    sent = 0
    for loaded in usable_fleets(folder, fetch=shared_form):
        mistakes = mistakes_of(loaded)
        if not isinstance(loaded, Fleet):
            _log.warning("No notifier is known, since the file never was right: %s", loaded)
            continue
        told = folder_of(loaded.path) / _TOLD
        new = [mistake for mistake in mistakes if mistake not in _read(told)]
        if not new:
            continue
        for each in loaded.digest.notifiers:
            try:
                send(each.notifier, each.arguments, _message(loaded, new))
                sent += 1
            except Exception:
                _log.exception("%s can't be told of the mistakes in %s", each.notifier, loaded.path)
        _write(told, mistakes)
    return sent


def _message(fleet: Fleet, new: Sequence[str]) -> dict[str, Any]:
    """Return the message, with all that the templates of a digest's notifier may name."""
    number = "1 mistake" if len(new) == 1 else f"{len(new)} mistakes"
    goes_on = (
        f"The fleet goes on by the last good form of {fleet.last_good.made_at}."
        if fleet.last_good is not None
        else "Cities with a mistake do not run; the others do."
    )
    return {
        "subject": f"{fleet.fleet} ({fleet.environment}): {number} in the fleet file",
        "night": "",
        "counts": defaultdict(int),
        "text": "\n".join([*new[:20], *(["…"] if len(new) > 20 else []), goes_on]),
    }


def _read(told: Path) -> list[Any]:
    try:
        found = json.loads(told.read_bytes())
    except (OSError, ValueError):
        return []
    return found if isinstance(found, list) else []


def _write(told: Path, mistakes: list[str]) -> None:
    try:
        told.parent.mkdir(parents=True, exist_ok=True)
        told.write_text(json.dumps(mistakes), encoding="utf-8")
    except OSError as error:
        _log.warning("The same mistakes may be told again: %s", error)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    signal.alarm(_SECONDS)
    tell(fleets_folder())
