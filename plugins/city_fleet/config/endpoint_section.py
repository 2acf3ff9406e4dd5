"""The endpoint section of the fleet file, and which of a fleet's endpoints serves a city."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Literal

from pydantic import Field, model_validator

from city_fleet.config.algorithm_section import DEFAULT_ALGORITHM, Algorithm
from city_fleet.config.endpoint_change_section import Deployment
from city_fleet.config.hours_section import Hours
from city_fleet.config.image_table import FRAMEWORKS, managed_images
from city_fleet.config.name_types import (
    AlgorithmName,
    EndpointInstance,
    EndpointName,
    EndpointSlug,
    FolderOrFile,
    ServingImage,
    TrainingImage,
)
from city_fleet.config.scaling_section import Scaling
from city_fleet.config.section import Section, or_refuse
from city_fleet.config.value_types import Flag, Problem, Range
from city_fleet.errors import list_names

#: SageMaker's own limit: containers of one model.
MOST_CONTAINERS = 15
MULTI_MODEL, MULTI_CONTAINER = "multi_model", "multi_container"
#: Stands for the fleet's own endpoint where the name of one of ``endpoints`` may stand.
OWN = ""


class Endpoint(Section):
    """A shared endpoint of the fleet."""

    name: EndpointName | None = None
    """Name of the endpoint; null makes it <fleet>--<environment>, with --<name> for one of endpoints."""
    kind: Literal["multi_model", "multi_container"] = "multi_model"
    """multi_model loads any number of models on demand; multi_container holds up to 15, each in a container."""
    instance_type: EndpointInstance = "ml.m5.large"
    """SageMaker instance type."""
    instance_count: Annotated[int, Range(True, 1, 1000)] = 1
    """Number of instances."""
    image: ServingImage = "managed"
    """Image that serves: managed, own (include/model_server, pushed to the role's account), or an image's URI."""
    model_cache: Flag = True
    """Keep loaded models in memory; false loads a model for every request. Of multi_model alone."""
    scripts: FolderOrFile = "include/scripts"
    """Folder with inference.py."""
    change: Literal["update", "switch"] = "update"
    """update changes the endpoint itself; switch makes another beside it, warms it, and then has it take over."""
    warm_models: Annotated[int, Range(True, 0, 100_000)] = 1000
    """How many champions a switch has the new endpoint answer with first, those that moved last before the others."""
    deployment: Deployment = Deployment()
    """How an update moves the traffic."""
    scaling: Scaling | None = None
    """How the number of instances follows the requests; null keeps it at instance_count."""
    hours: Hours | None = None
    """When it is open; null means always."""

    @model_validator(mode="after")
    def _change(self) -> Endpoint:
        problems = []
        if self.change == "switch" and self.deployment != Deployment():
            allowed = "nothing beside change: switch, which moves all callers at once; or change: update"
            problems.append(Problem("settings of an update", allowed, path=("deployment",)))
        if self.change == "switch" and self.kind == MULTI_CONTAINER:
            allowed = "update with kind multi_container: every model that goes live switches by itself"
            problems.append(Problem("switch", allowed, path=("change",)))
        return or_refuse(self, problems + self._scaling_problems())

    def _scaling_problems(self) -> list[Problem]:
        if self.scaling is None:
            return []
        if self.kind == MULTI_CONTAINER:
            allowed = "null with kind multi_container: every model that goes live makes another endpoint"
            return [Problem("a section", allowed, path=("scaling",))]
        low, high = self.scaling.min_instances, self.scaling.max_instances
        if low <= self.instance_count <= high:
            return []
        allowed = f"a whole number from {low} to {high}, scaling's min_instances and max_instances"
        return [Problem(str(self.instance_count), allowed, path=("instance_count",))]

    @property
    def most_instances(self) -> int:
        """Return how many instances it may have at a time, an update or a switch aside."""
        return self.instance_count if self.scaling is None else self.scaling.max_instances


class NamedEndpoint(Endpoint):
    """One more shared endpoint, for the cities of some algorithms or images."""

    algorithms: tuple[AlgorithmName, ...] = ()
    """It serves the cities that train these algorithms."""
    images: tuple[TrainingImage, ...] = ()
    """It serves the cities whose jobs run in these images."""

    @model_validator(mode="after")
    def _check(self) -> NamedEndpoint:
        if self.algorithms or self.images:
            return self
        allowed = "algorithms or images, or both: whose cities it serves"
        return or_refuse(self, [Problem("neither algorithms nor images", allowed)])


Endpoints = Annotated[dict[EndpointSlug, NamedEndpoint], Field(max_length=20)]


def endpoint_of(algorithm: Algorithm, endpoints: Mapping[str, NamedEndpoint]) -> str:
    """Return which endpoint serves what an algorithm section trains: a name of ``endpoints``, or :data:`OWN`.

    Algorithms go before images: they say more.
    """
    trained = {name for _, name, _ in algorithm.trained()}
    for name, endpoint in endpoints.items():
        if trained & set(endpoint.algorithms):
            return name
    return next((name for name, endpoint in endpoints.items() if algorithm.image in endpoint.images), OWN)


def home_of_model(algorithm: str, image: Callable[[], str], endpoints: Mapping[str, NamedEndpoint]) -> str:
    """Return which endpoint serves a model, whatever its city trains now: a name of ``endpoints``, or :data:`OWN`.

    :param algorithm: that has made it; empty for one of an earlier version, which was XGBoost.
    :param image: returns the URI of the image that it was made in.
    """
    for name, endpoint in endpoints.items():
        if (algorithm or DEFAULT_ALGORITHM) in endpoint.algorithms:
            return name
    if not any(endpoint.images for endpoint in endpoints.values()):
        return OWN
    uri = image()
    return next((name for name, endpoint in endpoints.items() if _made_in(uri, endpoint.images)), OWN)


def _made_in(uri: str, images: Iterable[str]) -> bool:
    """Tell whether an image is one of some images: URIs, or names of managed ones, of any version."""
    repository = uri.partition("/")[2].partition("@")[0].rpartition(":")[0]
    return any(
        uri == each
        or (
            each in FRAMEWORKS and repository in {image.repository for image in managed_images(each).values()}
        )
        for each in images
    )


def candidates_problem(algorithm: Algorithm, endpoints: Mapping[str, NamedEndpoint]) -> Problem | None:
    """Return what is wrong with candidates that different endpoints would serve; None where one serves them all.

    The endpoint is settled before it is known which candidate wins: a model of each must find its code there.
    """
    trained = [name for _, name, _ in algorithm.trained()]
    homes = {
        each: next((name for name, endpoint in endpoints.items() if each in endpoint.algorithms), OWN)
        for each in trained
    }
    if len(set(homes.values())) < 2:
        return None
    where = list_names([f"{each} on {home or 'the one of endpoint'}" for each, home in homes.items()])
    allowed = "candidates that one endpoint serves: move the others into its endpoints.….algorithms"
    return Problem(f"candidates of several endpoints ({where})", allowed, path=("algorithm", "candidates"))


def claims_problems(endpoints: Mapping[str, NamedEndpoint]) -> Iterator[Problem]:
    """Find algorithms and images that two endpoints claim."""
    taken: dict[tuple[str, str], str] = {}
    for name, endpoint in endpoints.items():
        for field, claimed in (("algorithms", endpoint.algorithms), ("images", endpoint.images)):
            for index, each in enumerate(claimed):
                other = taken.setdefault((field, each), name)
                if other != name:
                    path = ("endpoints", name, field, index)
                    yield Problem(f"{each!r}, which endpoints.{other} has already", "each once", path=path)
