"""Takes the SageMaker endpoint of a shared endpoint away when it closes, and makes it again ahead of its opening.

Its configuration and its models stay: their names are known, so making it again is one request. That it is closed is
noted in ``state/endpoints.json`` before it is deleted, and taken back when it is in service again: whoever dies in
between is followed by the next look. Clients are passed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from city_fleet import aws_errors, naming
from city_fleet.config import Fleet
from city_fleet.config.hours_section import Hours
from city_fleet.errors import EndpointUnderWay, PublishError
from city_fleet.plan import ENDPOINT_PURPOSE, endpoint_name
from city_fleet.serving import endpoint_requests, endpoint_state, office_hours
from city_fleet.serving.office_hours import Do
from city_fleet.state import shared_endpoints
from city_fleet.state.objects import ObjectStore
from city_fleet.state.shared_endpoints import ServingEndpoint, SharedEndpoint

if TYPE_CHECKING:
    from types_boto3_sagemaker import SageMakerClient


@dataclass(frozen=True)
class Looked:
    """What a look at a shared endpoint came to.

    :param did: what was done.
    :param sentence: about it, for the log.
    """

    did: Do
    sentence: str


def _nothing_more(_: str) -> None:
    pass


def look(
    sagemaker: SageMakerClient,
    store: ObjectStore,
    fleet: Fleet,
    endpoint: str,
    now: datetime,
    *,
    ready: Callable[[str], None] = _nothing_more,
) -> Looked:
    """Do what a shared endpoint's hours ask for now. Repeating it is harmless.

    :param endpoint: a name of ``endpoints``, or "" for the fleet's own.
    :param ready: called with the name of a SageMaker endpoint that is in service again, before callers are told.
    :raises OtherInstallation: another installation has made the SageMaker endpoint.
    :raises PublishError: it was made again, and has failed.
    """
    at = _Place(sagemaker, store, fleet, endpoint)
    hours = fleet.endpoint_settings(endpoint).hours
    said = at.said()
    serves = ServingEndpoint(name=at.name) if said is None else said.serving
    found = at.described(serves.name)
    did = office_hours.to_do(hours, said, None if found is None else found["EndpointStatus"], now)
    if found is not None and did is not Do.NOTHING:
        endpoint_state.refuse_other(sagemaker, fleet, found)
    sentence = f"Endpoint {at.name!r} is as its hours say"
    if did is Do.CLOSE and hours is not None and found is not None:
        sentence = _close(at, hours, found, now)
    elif did is Do.DELETE:
        sentence = _delete(at, serves.name)
    elif did is Do.CREATE:
        _create(at, serves)
        sentence = f"Endpoint {serves.name} is being made again; it opens when it is in service"
    elif did is Do.OPEN:
        ready(serves.name)
        shared_endpoints.open_again(store, fleet.keys, at.name)
        sentence = f"Endpoint {serves.name} is in service: {at.name!r} is open"
    elif did is Do.MEND:
        raise PublishError(_failed(at, found or {}))
    elif did is Do.WAIT:
        what = f"is {found['EndpointStatus']}" if found else "is not there"
        making = f", and {said.making.name} is being made" if said is not None and said.making else ""
        sentence = f"Endpoint {serves.name} {what}{making}; the next look goes on"
    if hours is not None and said is not None and said.closed is not None and did in (Do.NOTHING, Do.WAIT):
        # The hours may have been changed while it is closed.
        at.change(lambda before: _said_again(before, hours, now))
    return Looked(did, sentence)


def put_back(sagemaker: SageMakerClient, store: ObjectStore, fleet: Fleet, endpoint: str) -> None:
    """Open a shared endpoint that is closed, whatever its hours say, until they close it next.

    :param endpoint: a name of ``endpoints``, or "" for the fleet's own.
    :raises EndpointUnderWay: it is being made; asking again goes on.
    :raises PublishError: it has failed.
    """
    at = _Place(sagemaker, store, fleet, endpoint)
    said = at.said()
    if said is None or said.closed is None:
        return
    found = at.described(said.serving.name)
    status = None if found is None else found["EndpointStatus"]
    if status == "Failed" and found is not None:
        endpoint_state.refuse_other(sagemaker, fleet, found)
        # It serves nothing, and the next try makes it anew.
        sagemaker.delete_endpoint(EndpointName=said.serving.name)
        raise PublishError(_failed(at, found))
    if status is None:
        _create(at, said.serving)
    if status != "InService":
        raise EndpointUnderWay(
            f"Endpoint {said.serving.name}, which was closed, is {status or 'being made again'}"
        )
    shared_endpoints.open_again(store, fleet.keys, at.name)


@dataclass(frozen=True)
class _Place:
    """Where a shared endpoint is."""

    sagemaker: SageMakerClient
    store: ObjectStore
    fleet: Fleet
    endpoint: str

    @property
    def name(self) -> str:
        return endpoint_name(self.fleet, self.endpoint)

    def said(self) -> SharedEndpoint | None:
        return shared_endpoints.read(self.store, self.fleet.keys).get(self.name)

    def described(self, name: str) -> dict[str, Any] | None:
        try:
            return dict(self.sagemaker.describe_endpoint(EndpointName=name))
        except ClientError as error:
            if aws_errors.is_missing(error):
                return None
            raise

    def change(self, changed: Callable[[SharedEndpoint], SharedEndpoint]) -> SharedEndpoint | None:
        """Change what is noted of it, where anything is."""
        return shared_endpoints.change(
            self.store, self.fleet.keys, self.name, lambda said: None if said is None else changed(said)
        )


def _close(at: _Place, hours: Hours, found: Mapping[str, Any], now: datetime) -> str:
    """Note that an endpoint is closed; what it is made of is noted with it."""
    name, config = found["EndpointName"], found["EndpointConfigName"]

    def noted(before: SharedEndpoint | None) -> SharedEndpoint:
        said = before or SharedEndpoint(serving=ServingEndpoint(name=name, since=now.isoformat()))
        # Another one may have taken over, or be about to, since it was looked at.
        if said.serving.name != name or said.making is not None or office_hours.is_wanted(hours, said, now):
            return said
        closed = office_hours.closed(hours, said.closed, now)
        return replace(said, serving=replace(said.serving, config=config), closed=closed)

    after = shared_endpoints.change(at.store, at.fleet.keys, at.name, noted)
    if after is None or after.closed is None:
        return f"Endpoint {name} is being changed by others; the next look goes on"
    return f"{after.closed.sentence(at.name)}; {name} is deleted when every caller knows"


def _delete(at: _Place, name: str) -> str:
    closed = at.change(lambda before: before)
    if closed is None or closed.closed is None or closed.making is not None or closed.serving.name != name:
        return f"Endpoint {name} is being changed by others; the next look goes on"
    noted = closed.closed
    try:
        at.sagemaker.delete_endpoint(EndpointName=name)
    except ClientError as error:
        if not aws_errors.is_missing(error):
            raise
    # Somebody may have opened it in this very moment: the next look then makes it again.
    at.change(lambda before: replace(before, closed=before.closed or noted))
    return f"{noted.sentence(at.name)}; {name} is being deleted, and its configuration and models stay"


def _create(at: _Place, serves: ServingEndpoint) -> None:
    """Make an endpoint again, of what it was made of.

    :raises PublishError: nobody knows of what, or it is gone.
    """
    dag = naming.fleet_dag_id(at.fleet.fleet, ENDPOINT_PURPOSE)
    request: Any = {
        "EndpointName": serves.name,
        "EndpointConfigName": serves.config,
        "Tags": endpoint_requests.tags_of(at.fleet),
    }
    try:
        at.sagemaker.describe_endpoint_config(EndpointConfigName=serves.config)
        at.sagemaker.create_endpoint(**request)
    except ClientError as error:
        if at.described(serves.name) is not None:
            return  # another was faster
        if aws_errors.is_missing(error):
            raise PublishError(
                f"endpoint {serves.name!r} can't be made again: its configuration {serves.config!r} is gone. Run the "
                f"DAG {dag}, which makes both as the fleet file says"
            ) from error
        raise


def _failed(at: _Place, found: Mapping[str, Any]) -> str:
    reason = str(found.get("FailureReason") or "it gives no reason").rstrip(".")
    dag = naming.fleet_dag_id(at.fleet.fleet, ENDPOINT_PURPOSE)
    return (
        f"endpoint {at.name!r} does not open: {found['EndpointName']} is {found['EndpointStatus']}. SageMaker says: "
        f"{reason}. Mend the cause, then run the DAG {dag}, which makes it anew"
    )


def _said_again(before: SharedEndpoint, hours: Hours, now: datetime) -> SharedEndpoint:
    """Return the state that says when it opens by the hours of now; the same one while that has not changed."""
    if before.closed is None or office_hours.is_wanted(hours, before, now):
        return before
    return replace(before, closed=office_hours.closed(hours, before.closed, now))
