"""Which interpreter stands for which container image."""

from __future__ import annotations

from pathlib import Path

from local_sagemaker.settings import Settings


class UnknownImage(Exception):
    """No interpreter is registered for an image; the message says which are, and how to register one."""


def find_interpreter(settings: Settings, image_uri: str) -> Path:
    """The interpreter that stands for an image. Account and region of the URI do not matter.

    :param settings: holds the registered images.
    :param image_uri: ``<registry>/<repository>:<tag>``.
    :raises UnknownImage: when there is none.
    """
    name = image_uri.rsplit("/", 1)[-1]
    if name in settings.images:
        return settings.images[name]
    # A repository may have several parts: the longest one registered wins.
    path = image_uri.partition("/")[2]
    if path in settings.images:
        return settings.images[path]
    registered = ", ".join(sorted(settings.images)) or "none"
    raise UnknownImage(
        f"Cannot pull the image {image_uri}: the local SageMaker has no interpreter for {name!r}. "
        f"Registered images: {registered}. "
        f"Register one with --image {name}=/path/to/python when you start the server."
    )
