"""A model gets a container of its own on a shared endpoint of many, before the live pointer moves to it.

:func:`bring_up` finds the container, or has a SageMaker endpoint made beside the one that serves, and says where the
model answers there; :func:`take_over` then makes it the one that serves. Clients are passed in. Each call looks first
and repeats harmlessly: names follow from content, and what is being made is noted before it is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from city_fleet import aws_errors, clock, naming, outgoing_text
from city_fleet.champions import container_requests, container_steps
from city_fleet.champions.container_requests import EndpointRequests, Housed
from city_fleet.errors import Busy, CityFleetError, EndpointUnderWay, PublishError
from city_fleet.plan import ENDPOINT_PURPOSE
from city_fleet.state import live, registry, shared_endpoints
from city_fleet.state.context import CityContext
from city_fleet.state.live_pointer import ServedModel
from city_fleet.state.model_address import Address
from city_fleet.state.pointer_checks import TARGET_CONTAINER
from city_fleet.state.shared_endpoints import ServingEndpoint, SharedEndpoint

log = outgoing_text.logger(__name__)

_IN_SERVICE = "InService"
#: SageMaker takes no other request about an endpoint meanwhile.
_UNDER_WAY = ("Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting")


def route_of(model: ServedModel) -> dict[str, str]:
    """Return the route of a model that has a container of its own."""
    return {TARGET_CONTAINER: naming.container_hostname(model.city, model.artifact_sha256)}


def bring_up(city: CityContext, model: ServedModel) -> Address:
    """Return where a model answers in a container of its own.

    :raises EndpointUnderWay: an endpoint with the container is being made; asking again goes on.
    :raises EndpointClosed: the shared endpoint is outside of its hours.
    :raises PublishError: the endpoint's containers were never described, there is no room, or SageMaker can't make it.
    """
    shared = model.endpoint or city.endpoint
    said = shared_endpoints.read(city.objects, city.keys).get(shared)
    if said is None or not said.template:
        dag = naming.fleet_dag_id(city.keys.fleet, ENDPOINT_PURPOSE)
        raise PublishError(
            f"city {city.slug!r}: nobody has said yet what the containers of endpoint {shared!r} are made with. Run "
            f"the DAG {dag}, which does, then try again",
            city=city.slug,
        )
    said.refuse_closed(shared)
    there = _holder(city, said, model.container)
    if there is not None:
        return Address(there, model.target_model, model.container)
    mine = _housed(city, said, model)
    serving = list(_live(city, shared, said))
    now = clock.utc_now()

    def step(before: SharedEndpoint | None) -> SharedEndpoint | None:
        if before is None:
            return None
        return container_steps.announced(
            before, mine, serving, lambda models: _made(city, shared, before, models)[1], now
        )

    after = shared_endpoints.change(city.objects, city.keys, shared, step)
    if after is None or after.making is None:
        raise Busy(f"What serves for endpoint {shared!r} is being changed by others")
    making = after.making
    _ensure(city, shared, after, making)
    if model.container not in making.containers:
        _serve(city, shared, making.name)
        raise EndpointUnderWay(
            f"city {city.slug!r}: endpoint {making.name!r} was made for other models; this one comes into the next"
        )
    return Address(making.name, model.target_model, model.container)


def take_over(city: CityContext, model: ServedModel, at: Address) -> None:
    """Make the endpoint on which a model has answered the one that serves, if it does not yet.

    :param at: of :func:`bring_up`.
    :raises Busy: another one is being made by now; bringing the model up again goes on there.
    """
    _serve(city, model.endpoint or city.endpoint, at.endpoint)


def make_anew(city: CityContext, shared: str) -> ServingEndpoint | None:
    """Have what serves on a shared endpoint made as its template says now: other code, image, or instances.

    :param city: any of the fleet, for clients and keys.
    :return: what serves then; None where no model does.
    :raises EndpointUnderWay: an endpoint is being made; asking again goes on.
    :raises PublishError: SageMaker can't make it.
    """
    said = shared_endpoints.read(city.objects, city.keys).get(shared)
    if said is None:
        return None
    models = container_steps.chosen(_live(city, shared, said), None, ())
    if not models:
        return None
    _, wanted = _made(city, shared, said, models)
    making = said.making
    if making is None and said.serving.name == wanted.name:
        return said.serving
    if making is None:
        making = wanted
        _change_known(city, shared, lambda before: before.begun(wanted))
    _ensure(city, shared, said, making)
    _serve(city, shared, making.name)
    if making.name != wanted.name:
        raise EndpointUnderWay(
            f"Endpoint {making.name} was made for a model that goes live; the next is begun"
        )
    return wanted


def _holder(city: CityContext, said: SharedEndpoint, container: str) -> str | None:
    """Return the SageMaker endpoint in service that has a container, the newest; None where none has."""
    for each in (said.serving, *said.replaced):
        if container in each.containers and not each.leaving:
            found = _described(partial(city.aws.sagemaker.describe_endpoint, EndpointName=each.name))
            if found is not None and found["EndpointStatus"] == _IN_SERVICE:
                return each.name
    return None


def _housed(city: CityContext, said: SharedEndpoint, model: ServedModel) -> Housed:
    """Return a model with the image of its container: the template's for all, or that which it was registered with.

    :raises PublishError: nobody knows it.
    """
    image = str(said.template.get("image") or "")
    for each in (said.serving, *said.replaced):
        image = image or each.images.get(model.container, "")
    if not image:
        package = registry.describe(city.aws.sagemaker, model.package_arn)
        image = package.image if package is not None else ""
    if not image:
        raise PublishError(
            f"city {model.city!r}: {model.package_arn} does not say in which image {model.target_model} was made; set "
            "image of the endpoint in the fleet file, and run the fleet's _endpoint DAG",
            city=model.city,
        )
    return Housed(model.container, model.target_model, image)


def _live(city: CityContext, shared: str, said: SharedEndpoint) -> Iterator[Housed]:
    """Yield the models that serve on a shared endpoint, each in a container.

    Whatever serves there came by an endpoint that is known, and none is forgotten while a live pointer needs it.
    """
    known = [said.serving, *said.replaced, *([said.making] if said.making else [])]
    slugs = {naming.parse_target_model(target)[0] for each in known for target in each.containers.values()}
    for slug in sorted(slugs):
        try:
            found = live.read(city.aws.s3, city.keys, slug)
        except CityFleetError as error:
            log.warning("City %r is left out of the new endpoint, and stays where it is: %s", slug, error)
            continue
        if found is None or not found.pointer.container:
            continue
        if (found.pointer.endpoint or city.endpoint) == shared:
            yield _housed(city, said, found.pointer)


def _made(
    city: CityContext, shared: str, said: SharedEndpoint, models: Mapping[str, Housed]
) -> tuple[EndpointRequests, ServingEndpoint]:
    requests = container_requests.requests_of(said.template, city.keys, shared, models)
    algorithms = said.template.get("algorithms")
    return requests, container_requests.serving_of(requests, models, algorithms, clock.now_iso())


def _models_of(making: ServingEndpoint) -> dict[str, Housed]:
    return {
        name: Housed(name, target, making.images.get(name, "")) for name, target in making.containers.items()
    }


def _serve(city: CityContext, shared: str, endpoint: str) -> None:
    """Note that an endpoint that is in service serves from now on.

    :raises Busy: another one is being made by now.
    """
    now = clock.utc_now()

    def step(before: SharedEndpoint | None) -> SharedEndpoint | None:
        after = None if before is None else container_steps.taken_over(before, endpoint, now)
        if after is None:
            raise Busy(f"Endpoint {endpoint} is no longer the one that is to serve for {shared!r}")
        return after

    shared_endpoints.change(city.objects, city.keys, shared, step)


def _ensure(city: CityContext, shared: str, said: SharedEndpoint, making: ServingEndpoint) -> None:
    """Create what is missing of an endpoint that is being made.

    :raises EndpointUnderWay: it is not in service yet.
    :raises PublishError: it has failed.
    """
    sagemaker, name = city.aws.sagemaker, making.name
    requests, _ = _made(city, shared, said, _models_of(making))
    if requests.name != name:
        # Its containers are to be made with something else by now: it is given up, and the next look begins anew.
        now = clock.utc_now()
        _change_known(city, shared, lambda before: container_steps.failed(before, name, now))
        raise EndpointUnderWay(
            f"Endpoint {name} was begun with other settings; one with the new ones is begun"
        )
    found = _described(lambda: sagemaker.describe_endpoint(EndpointName=name))
    if found is None:
        model: Any = requests.model
        config: Any = requests.config
        endpoint: Any = requests.endpoint
        _create(
            lambda: sagemaker.describe_model(ModelName=model["ModelName"]),
            lambda: sagemaker.create_model(**model),
        )
        _create(
            lambda: sagemaker.describe_endpoint_config(EndpointConfigName=requests.config_name),
            lambda: sagemaker.create_endpoint_config(**config),
        )
        _create(
            lambda: sagemaker.describe_endpoint(EndpointName=name),
            lambda: sagemaker.create_endpoint(**endpoint),
        )
        log.info("Endpoint %s is being made with %d containers", name, len(model["Containers"]))
        raise EndpointUnderWay(
            f"Endpoint {name} is being made beside the one that serves, which takes minutes"
        )
    status = found["EndpointStatus"]
    if status == _IN_SERVICE:
        return
    if status in _UNDER_WAY:
        raise EndpointUnderWay(
            f"Endpoint {name}, beside the one that serves, is {status}, which takes minutes"
        )
    now = clock.utc_now()
    # A failed endpoint answers nobody. Deleting it first: its name is that of the next try.
    sagemaker.delete_endpoint(EndpointName=name)
    _change_known(city, shared, lambda before: container_steps.failed(before, name, now).without([name]))
    reason = str(found.get("FailureReason") or "it gives no reason").rstrip(".")
    raise PublishError(
        f"endpoint {name!r} with {len(requests.model['Containers'])} containers is {status}; what served stays. "
        f"SageMaker says: {reason}. See the log group /aws/sagemaker/Endpoints/{name}; the next try makes it anew"
    )


def _change_known(
    city: CityContext, shared: str, changed: Callable[[SharedEndpoint], SharedEndpoint]
) -> None:
    """Change what is said of a shared endpoint, where anything is."""
    shared_endpoints.change(
        city.objects, city.keys, shared, lambda before: None if before is None else changed(before)
    )


def _create(describe: Callable[[], Any], create: Callable[[], Any]) -> None:
    """Create something, unless it is there, or another was faster."""
    if _described(describe) is not None:
        return
    try:
        create()
    except ClientError:
        if _described(describe) is None:
            raise


def _described(describe: Callable[[], Any]) -> dict[str, Any] | None:
    try:
        return dict(describe())
    except ClientError as error:
        if aws_errors.is_missing(error):
            return None
        raise
