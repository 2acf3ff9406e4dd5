"""Deletes the SageMaker endpoints that another one has replaced, with what only they were made of.

An endpoint is marked in ``state/endpoints.json`` before it is deleted and taken out of it afterwards: what is
interrupted in between is found again, and an endpoint that is marked takes over no more. One that holds models in
containers is deleted at the look after the one that has marked it: a live pointer that was on its way back to one of
them is seen by then, and takes the mark away. Clients are passed in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from city_fleet import aws_errors
from city_fleet.errors import PublishError
from city_fleet.naming import Keys
from city_fleet.serving import endpoint_change, replaced_endpoints
from city_fleet.state import installation, shared_endpoints
from city_fleet.state.objects import ObjectStore
from city_fleet.state.shared_endpoints import ServingEndpoint, SharedEndpoint

if TYPE_CHECKING:
    from types_boto3_sagemaker import SageMakerClient


@dataclass
class Swept:
    """What became of endpoints that nothing needs any more.

    :param deleted: names of those that are gone, or about to be.
    :param left: sentences about those that are left to a later look.
    :param problems: sentences about errors that will not go away by themselves.
    """

    deleted: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def sweep(
    sagemaker: SageMakerClient,
    store: ObjectStore,
    keys: Keys,
    own: str,
    now: datetime,
    *,
    dry_run: bool = False,
) -> Swept:
    """Delete the endpoints of an installation that were replaced, and those that nobody goes on making.

    :param own: name of the fleet's own shared endpoint.
    :param dry_run: say what would be deleted, and change nothing.
    """
    swept = Swept()
    for name, said in sorted(shared_endpoints.read(store, keys).items()):
        at = _Place(sagemaker, store, keys, name)
        try:
            needed = _needed(at, own, said)
        except PublishError as error:
            swept.problems.append(f"{name}: nobody knows which models its endpoints answer for: {error}")
            continue
        if not dry_run:
            _keep(at, said, needed)
        for old in endpoint_change.to_delete(said, now, needed):
            if dry_run:
                swept.deleted.append(old.name)
                continue
            try:
                why = _delete(at, old, now, needed)
            except ClientError as error:
                if aws_errors.is_passing(error):
                    raise
                swept.problems.append(f"{old.name}: {aws_errors.message_of(error)}")
                continue
            if why is None:
                swept.deleted.append(old.name)
            elif why:
                swept.left.append(f"{old.name}: {why}")
    return swept


@dataclass(frozen=True)
class _Place:
    """Where a shared endpoint is."""

    sagemaker: SageMakerClient
    store: ObjectStore
    keys: Keys
    name: str

    def change(self, changed: Callable[[SharedEndpoint], SharedEndpoint]) -> SharedEndpoint | None:
        """Change what is noted of it, where anything is."""
        return shared_endpoints.change(
            self.store, self.keys, self.name, lambda said: None if said is None else changed(said)
        )


def _needed(at: _Place, own: str, said: SharedEndpoint) -> frozenset[str]:
    """Return the names of the endpoints that hold models of live pointers, where any are held in containers."""
    if not any(each.containers for each in (said.serving, *said.replaced)):
        return frozenset()
    served = replaced_endpoints.served_on(at.store.client, at.keys, at.name, own, said)
    return replaced_endpoints.needed(said, served)


def _keep(at: _Place, said: SharedEndpoint, needed: frozenset[str]) -> None:
    """Take the mark away from endpoints that a live pointer has returned to since, and that are there still."""
    for old in said.replaced:
        if not (old.leaving and old.name in needed):
            continue
        found = _described(partial(at.sagemaker.describe_endpoint, EndpointName=old.name))
        if found is not None and found["EndpointStatus"] == "InService":
            at.change(partial(SharedEndpoint.with_leaving, name=old.name, leaving=False))


def _delete(at: _Place, old: ServingEndpoint, now: datetime, needed: frozenset[str]) -> str | None:
    """Delete an endpoint.

    :param needed: names of those that hold models of live pointers.
    :return: why it is left to a later look; None where it was deleted, empty where it was gone or is needed again.
    """
    sagemaker, keys = at.sagemaker, at.keys
    found = _described(lambda: sagemaker.describe_endpoint(EndpointName=old.name))
    if found is not None:
        status = found["EndpointStatus"]
        # One that is on its way out may be gone before its tags could be read.
        whose = (
            installation.other(
                keys, installation.of_tags(installation.tags_of(sagemaker, found["EndpointArn"]))
            )
            if status != "Deleting"
            else None
        )
        if whose is not None:
            return f"its tags say that it belongs to {whose}"
        if status in (*endpoint_change.UNDER_WAY, "Deleting"):
            return f"it is {status}"

    said = at.change(lambda before: endpoint_change.marked(before, old.name, now, needed))
    if said is None or not any(each.name == old.name and each.leaving for each in said.replaced):
        return ""
    if old.containers and not old.leaving:
        return "it holds models in containers; it is marked now, and deleted at the next look if none is live again"
    if found is not None:
        # Gone in some minutes; what it was made of may go after it.
        _gone(lambda: sagemaker.delete_endpoint(EndpointName=old.name))
        return None
    if old.config:
        _delete_parts(sagemaker, said, old)
    at.change(lambda before: before.without([old.name]))
    return ""


def _delete_parts(sagemaker: SageMakerClient, said: SharedEndpoint, old: ServingEndpoint) -> None:
    """Delete the configuration and the models of an endpoint that no other one of the shared endpoint serves with."""
    others = [said.serving, *said.replaced, *([said.making] if said.making else [])]
    kept = {each.config for each in others if each.name != old.name}
    if old.config in kept:
        return
    models = _models(sagemaker, old.config)
    for other in kept:
        models -= _models(sagemaker, other)
    _gone(lambda: sagemaker.delete_endpoint_config(EndpointConfigName=old.config))
    for model in sorted(models):
        _delete_model(sagemaker, model)


def _delete_model(sagemaker: SageMakerClient, name: str) -> None:
    _gone(lambda: sagemaker.delete_model(ModelName=name))


def _models(sagemaker: SageMakerClient, config: str) -> set[str]:
    found = (
        _described(lambda: sagemaker.describe_endpoint_config(EndpointConfigName=config)) if config else None
    )
    return set() if found is None else {str(each["ModelName"]) for each in found["ProductionVariants"]}


def _described(describe: Callable[[], Any]) -> dict[str, Any] | None:
    try:
        return dict(describe())
    except ClientError as error:
        if aws_errors.is_missing(error):
            return None
        raise


def _gone(delete: Callable[[], Any]) -> None:
    try:
        delete()
    except ClientError as error:
        if not aws_errors.is_missing(error):
            raise
