"""Who may see and do what: Airflow's own permissions of DAGs, and no others.

Who may read no DAG reads none of the pages, files of their layout included (401 for somebody who is not logged in, 403
for somebody who may not). Of a fleet one sees the cities whose DAGs one may read. What changes something needs the
permission that the same thing needs in Airflow, for each city it is about, and must come from these pages themselves:
the session is a cookie, which a browser also sends along with what another site asks for.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from typing import Annotated, Any
from urllib.parse import urlsplit

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api import security
from airflow.configuration import conf
from airflow.models.dag import DagModel
from fastapi import Depends, HTTPException, Request

from city_fleet.outgoing_text import one_line

#: For how long a person who may read many DAGs is not asked about again. A single city is asked about each time.
_REMEMBERED_SECONDS = 30.0
_MOST_REMEMBERED = 200

#: What somebody does → method and part of a DAG, as Airflow's own pages ask for the same.
NEEDS: dict[str, tuple[str, DagAccessEntity | None]] = {
    "approve": ("PUT", DagAccessEntity.HITL_DETAIL),
    "reject": ("PUT", DagAccessEntity.HITL_DETAIL),
    "promote": ("PUT", None),
    "rollback": ("PUT", None),
    "unpin": ("PUT", None),
    "retrain": ("POST", DagAccessEntity.RUN),
}

#: Of every route: whoever may read DAGs.
MAY_READ_DAGS = Depends(security.requires_access_dag("GET"))


class Visitor:
    """A person who is logged in to Airflow.

    :param user: as the auth manager knows the person.
    """

    def __init__(self, user: Any) -> None:
        self._user = user

    @property
    def name(self) -> str:
        """Return the name that the history keeps of what this person does."""
        return one_line(str(self._user.get_name() or self._user.get_id()))

    def sees(self, dag_ids: Collection[str]) -> Collection[str]:
        """Return those of a fleet's DAGs that this person may read.

        :param dag_ids: the same object as long as the fleet is the same: what was found is remembered by it.
        """
        place, now = (str(self._user.get_id()), id(dag_ids)), time.monotonic()
        known = _seen.get(place)
        if known is not None and known[0] is dag_ids and now - known[1] < _REMEMBERED_SECONDS:
            return known[2]
        found = self._allowed("GET", None, dag_ids)
        if len(_seen) >= _MOST_REMEMBERED:
            _seen.clear()
        _seen[place] = (dag_ids, now, found)
        return found

    def reads(self, dag_id: str) -> bool:
        """Tell whether this person may read a DAG."""
        return bool(self._allowed("GET", None, [dag_id]))

    def may(self, action: str, dag_ids: Iterable[str]) -> bool:
        """Tell whether this person may do something about every city of some DAGs.

        :param action: one of :data:`NEEDS`.
        """
        wanted = set(dag_ids)
        method, part = NEEDS[action]
        return wanted == set(self._allowed(method, part, wanted))

    def _allowed(self, method: Any, part: DagAccessEntity | None, dag_ids: Collection[str]) -> set[str]:
        manager, teams = get_auth_manager(), _teams(dag_ids)
        return {
            dag_id
            for dag_id in dag_ids
            if manager.is_authorized_dag(
                method=method,
                access_entity=part,
                details=DagDetails(id=dag_id, team_name=teams.get(dag_id)),
                user=self._user,
            )
        }


# Who → the DAGs that were asked about, when, and which of them the person may read.
_seen: dict[tuple[str, int], tuple[Collection[str], float, Collection[str]]] = {}


def _teams(dag_ids: Collection[str]) -> dict[str, str | None]:
    if not conf.getboolean("core", "multi_team", fallback=False):
        return {}
    found: dict[str, str | None] = DagModel.get_dag_id_to_team_name_mapping(list(dag_ids))
    return found


def _visitor(user: security.GetUserDep) -> Visitor:
    return Visitor(user)


#: A route's parameter: who asks.
Reader = Annotated[Visitor, Depends(_visitor)]


def _from_these_pages(request: Request) -> None:
    """Refuse what another site may have had a browser ask for.

    Who sends a token in a header is no browser that is made to. A browser that knows ``Sec-Fetch-Site`` says where a
    request comes from; others, and all of them on plain HTTP, send ``Origin`` with every POST.

    :raises HTTPException: 403.
    """
    if request.headers.get("authorization", "").lower().startswith("bearer "):
        return
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin", "")
    hosts = {request.headers.get("host", ""), urlsplit(conf.get("api", "base_url", fallback="") or "").netloc}
    here = site == "same-origin" if site else urlsplit(origin).netloc in hosts - {""}
    if not here or request.headers.get("hx-request") != "true":
        raise HTTPException(
            403, "This was not asked for by a page of City Fleet; nothing was done. Open the page in Airflow"
        )


def _editor(request: Request, visitor: Reader) -> Visitor:
    _from_these_pages(request)
    return visitor


#: A route's parameter where something is changed: who asks, from these pages. What the person may, the route asks.
Editor = Annotated[Visitor, Depends(_editor)]
