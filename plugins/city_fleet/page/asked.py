"""What a page's address is about: the fleet that it names, as far as the person who asks may see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, HTTPException, Request

from city_fleet.config import Fleet
from city_fleet.errors import FleetFileError
from city_fleet.page.permissions import Reader, Visitor
from city_fleet.page.reading import Look, Reading, dag_id_of


@dataclass(frozen=True)
class Asked:
    """A fleet as one person sees it.

    :param slugs: of the cities whose DAGs the person may read; None for all of them.
    """

    look: Look
    visitor: Visitor
    slugs: frozenset[str] | None

    @property
    def fleet(self) -> Fleet:
        return self.look.fleet


def reading_of(request: Request) -> Reading:
    found: Reading = request.app.state.reading
    return found


#: A route's parameter: what was seen of all fleets.
Readings = Annotated[Reading, Depends(reading_of)]


def names_of(reading: Reading, visitor: Visitor) -> list[str]:
    """Return the fleets of which a person may see a city, the largest first: most people came for that one."""
    found = [each for each in reading.fleets() if isinstance(each, Fleet)]
    return [
        each.fleet
        for each in sorted(found, key=lambda each: (-len(each.cities), each.fleet))
        if any(visitor.reads(dag_id_of(each, slug)) for slug in sorted(each.cities)[:1])
        or visitor.sees(reading.all_dag_ids(each))
    ]


def file_problems(reading: Reading) -> list[str]:
    """Return what is wrong with the fleet files, a sentence for each that can't be used or holds mistakes."""
    found = []
    for each in reading.fleets():
        if isinstance(each, FleetFileError):
            found.append(f"{each.file} can't be used: `./fleet lint` lists its mistakes.")
        elif each.last_good is not None:
            found.append(f"{each.fleet}: {each.last_good.sentence}")
    return found


def asked_fleet(fleet: str, reading: Readings, visitor: Reader) -> Asked:
    """Return the fleet that a path names.

    :raises HTTPException: 404, where no fleet file has it or the person may see none of its cities.
    """
    look = reading.look(fleet)
    if look is None:
        raise HTTPException(404, f"No fleet file has a fleet {fleet!r}.")
    dag_ids = reading.all_dag_ids(look.fleet)
    seen = visitor.sees(dag_ids)
    if dag_ids and not seen:
        raise HTTPException(404, f"No fleet file has a fleet {fleet!r}.")
    slugs = None if len(seen) == len(dag_ids) else frozenset(reading.slugs_of(look.fleet, seen))
    return Asked(look, visitor, slugs)


#: A route's parameter: the fleet that its path names by ``{fleet}``.
AskedFleet = Annotated[Asked, Depends(asked_fleet)]
