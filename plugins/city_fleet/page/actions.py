"""Asking for confirmation and a reason, and doing what was confirmed: for one city or a selection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qs

from fastapi import APIRouter, Depends, HTTPException, Query, Request
from fastapi.responses import Response

from city_fleet.naming import is_slug
from city_fleet.page import deciding, rendering
from city_fleet.page.asked import Asked, AskedFleet, Readings
from city_fleet.page.deciding import MOST_CITIES, Order
from city_fleet.page.permissions import NEEDS, Editor
from city_fleet.page.reading import dag_id_of
from city_fleet.state.author import Author

router = APIRouter()
_MOST_BYTES = 1 << 16
_LONGEST_REASON = 500


@dataclass(frozen=True)
class Words:
    """How an action is called.

    :param title: with ``{}`` for the cities.
    :param what: one or two sentences: what it does, and what it does not.
    :param needs_reason: whether it is refused without one.
    """

    title: str
    verb: str
    what: str
    danger: bool = False
    needs_reason: bool = False


WORDS = {
    "approve": Words(
        "Approve {}",
        "Approve",
        "The version that waits becomes Approved and goes live at once, unless the city is pinned or a better model "
        "has gone live meanwhile.",
    ),
    "reject": Words(
        "Reject {}",
        "Reject",
        "The version that waits becomes Rejected; the model that serves stays.",
        danger=True,
    ),
    "promote": Words(
        "Promote {}",
        "Promote",
        "The version, or the newest where none is named, goes live whatever the gate has decided, once the endpoint "
        "answers with it as it should.",
        danger=True,
        needs_reason=True,
    ),
    "rollback": Words(
        "Roll back {}",
        "Roll back",
        "The model that served before serves again, and is pinned: no new model goes live until it is unpinned.",
        danger=True,
        needs_reason=True,
    ),
    "unpin": Words(
        "Unpin {}",
        "Unpin",
        "The model that serves stays until a new one goes live, which is allowed again from now on.",
    ),
    "retrain": Words(
        "Retrain {}",
        "Retrain",
        "A run of its DAG begins now. What has been paid for with the same data, settings and scripts is not paid for "
        "again.",
    ),
}


def _named(here: Asked, action: str, slugs: Sequence[str], reading: Readings) -> list[str]:
    """Return the cities that an order is about.

    :raises HTTPException: 404, 422 or 403.
    """
    if action not in NEEDS:
        raise HTTPException(404, "There is no such action.")
    found = list(dict.fromkeys(slugs))
    if not found:
        raise HTTPException(422, "No city was named.")
    if len(found) > MOST_CITIES:
        raise HTTPException(422, f"{len(found)} cities were named; at most {MOST_CITIES} at a time.")
    known = {*here.fleet.cities, *here.fleet.broken, *here.look.dag_ids}
    for slug in found:
        if not is_slug(slug) or slug not in known or (here.slugs is not None and slug not in here.slugs):
            raise HTTPException(404, f"Fleet {here.fleet.fleet} has no city {slug!r}.")
    if not here.visitor.may(action, {dag_id_of(here.fleet, slug) for slug in found}):
        raise HTTPException(403, "Your role in Airflow does not allow this.")
    return found


@router.get("/fleets/{fleet}/confirm/{action}")
def confirm(
    request: Request,
    action: str,
    *,
    here: AskedFleet,
    reading: Readings,
    city: Annotated[list[str], Query()],
    version: Annotated[int | None, Query(ge=1)] = None,
    to: str = "",
) -> Response:
    """Ask whether it is meant, and why."""
    slugs = _named(here, action, city, reading)
    rows = [row for slug in slugs if (row := here.look.row(slug)) is not None]
    names = {row.slug: row.status.name for row in rows}
    return rendering.render(
        request,
        "confirm.html",
        title="Confirm",
        fleet=here.fleet.fleet,
        action=action,
        words=WORDS[action],
        slugs=slugs,
        names=names,
        rows=rows,
        version=version,
        to=to,
        visitor=here.visitor.name,
        longest=_LONGEST_REASON,
    )


async def _answers(request: Request) -> dict[str, list[str]]:
    """Return what a form says.

    :raises HTTPException: it is none, or too large.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        raise HTTPException(415, "Send a form.")
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _MOST_BYTES:
            raise HTTPException(413, "This form is too large.")
    return parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MOST_CITIES + 20)


@router.post("/fleets/{fleet}/actions/{action}")
def act(
    request: Request,
    action: str,
    *,
    visitor: Editor,
    here: AskedFleet,
    reading: Readings,
    form: Annotated[dict[str, list[str]], Depends(_answers)],
) -> Response:
    """Do what was confirmed, and say what came of it."""

    def said(name: str) -> str:
        return form.get(name, [""])[0].strip()

    slugs = _named(here, action, form.get("city", []), reading)
    reason = said("reason")[:_LONGEST_REASON]
    if WORDS[action].needs_reason and not reason:
        raise HTTPException(422, "Say why: the history keeps it.")
    version = said("version")
    if version and not (version.isascii() and version.isdigit() and len(version) < 8):
        raise HTTPException(422, "The version is no number.")
    if (version or said("to")) and len(slugs) > 1:
        raise HTTPException(422, "A version is about one city.")
    order = Order(
        action,
        Author(visitor.name, reason),
        version=int(version) if version else None,
        to=said("to"),
        as_of=said("as_of"),
        force=said("force") == "true",
        pin=said("pin") == "true",
    )
    done = deciding.carry_out(reading, here.fleet, slugs, order)
    reading.look_again(here.fleet.fleet)
    return rendering.render(
        request, "done.html", title="Done", done=done, words=WORDS[action], fleet=here.fleet.fleet
    )
