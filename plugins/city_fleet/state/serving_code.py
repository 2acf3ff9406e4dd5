"""Which algorithms the serving code of an endpoint has: an artifact of another one is never answered with.

The endpoint's model carries the list in an environment variable of its container, so it is that of the code that really
serves. The endpoint's DAG notes it in S3 as well, where thousands of runs a night look: SageMaker would be asked three
times by each. Clients are passed in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from city_fleet import aws_errors, outgoing_text
from city_fleet.errors import PlatformError, list_names
from city_fleet.naming import Keys
from city_fleet.state import shared_endpoints
from city_fleet.state.objects import ObjectStore

if TYPE_CHECKING:
    from types_boto3_sagemaker import SageMakerClient

log = outgoing_text.logger(__name__)

VARIABLE = "CITY_FLEET_ALGORITHMS"
_FOLDER = "algorithms"
_DIGITS = 8
#: What SageMaker takes as the value of a variable.
_MOST_CHARACTERS = 1024


def algorithms_of(files: Iterable[tuple[str, bytes]]) -> dict[str, str]:
    """Return the algorithms that a bundle of scripts has: name → the first digits of its module's SHA-256.

    :param files: path in the bundle → content.
    """
    found = {}
    for name, content in files:
        path = PurePosixPath(name)
        if str(path.parent) == _FOLDER and path.suffix == ".py" and path.stem != "__init__":
            found[path.stem] = sha256(content).hexdigest()[:_DIGITS]
    return found


def environment(algorithms: Mapping[str, str]) -> dict[str, str]:
    """Return what says of a container which algorithms its code has; nothing where it has none, or too many to say."""
    text = ",".join(f"{name}={digest}" for name, digest in sorted(algorithms.items()))
    return {VARIABLE: text} if 0 < len(text) <= _MOST_CHARACTERS else {}


def served(sagemaker: SageMakerClient, endpoint: str) -> dict[str, str] | None:
    """Return the algorithms that an endpoint's code has: name → digits of its module's SHA-256.

    :return: None where there is no endpoint yet, or its code does not say: another's, or that of an earlier version.
    """
    try:
        config = sagemaker.describe_endpoint(EndpointName=endpoint)["EndpointConfigName"]
        (variant, *_) = sagemaker.describe_endpoint_config(EndpointConfigName=config)["ProductionVariants"]
        model = sagemaker.describe_model(ModelName=variant["ModelName"])
    except ClientError as error:
        if aws_errors.is_missing(error):
            return None
        raise
    (container, *_) = model.get("Containers") or [model.get("PrimaryContainer", {})]
    text = container.get("Environment", {}).get(VARIABLE)
    if text is None:
        return None
    return dict(each.partition("=")[::2] for each in text.split(",") if "=" in each)


def noted(store: ObjectStore, keys: Keys, endpoint: str) -> dict[str, str] | None:
    """Return what was noted of a shared endpoint, as :func:`served` says it; None where nothing was."""
    try:
        found = shared_endpoints.read(store, keys).get(endpoint)
    except PlatformError as error:
        # What the endpoint lacks shows when publishing asks it.
        log.warning("%s", error)
        return None
    algorithms = None if found is None else found.serving.algorithms
    return None if algorithms is None else dict(algorithms)


def lacking(
    algorithms: Iterable[str], served: Mapping[str, str] | None, endpoint: str, dag: str
) -> str | None:
    """Return a sentence about the algorithms that an endpoint's code lacks, and what to do; None where it has them.

    :param algorithms: names of those that models are made by.
    :param served: of :func:`served` or :func:`noted`.
    :param dag: the DAG that brings newer code into service.
    """
    missing = sorted(set(algorithms) - set(served)) if served is not None else []
    if served is None or not missing:
        return None
    what = "algorithm" if len(missing) == 1 else "algorithms"
    return (
        f"The code of endpoint {endpoint!r} lacks the {what} {list_names(missing)}; it has: "
        f"{list_names(sorted(served))}. Run the DAG {dag}: it brings the code of endpoint.scripts into service, which "
        "must hold the algorithm in its folder algorithms/"
    )
