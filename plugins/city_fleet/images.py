"""Container images by name and version, as the SageMaker SDK's own table knows them."""

from __future__ import annotations

from functools import cache

from city_fleet.config import Algorithm


def image_uri(algorithm: Algorithm, region: str) -> str:
    """Return the ECR URI of an algorithm's image.

    :param algorithm: ``image`` is a full URI (it holds a ``/``), or a framework's name such as ``xgboost`` that is
        looked up with ``version``.
    """
    if "/" in algorithm.image:
        return algorithm.image
    return _retrieve(algorithm.image, algorithm.version, region)


@cache
def _retrieve(framework: str, version: str, region: str) -> str:
    # Importing the SDK takes a second: never at the top of a module that is imported while DAGs are parsed.
    from sagemaker.core import image_uris  # noqa: PLC0415

    return str(image_uris.retrieve(framework, region, version=version))
