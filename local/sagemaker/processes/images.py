"""Which interpreter stands for which container image, and what the image's labels say it can do."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from local.sagemaker.errors import ValidationException
from local.sagemaker.settings import Settings

MULTI_MODEL_LABEL = "com.amazonaws.sagemaker.capabilities.multi-models"
#: AWS's own images that carry the label (AWS documentation, "Supported algorithms, frameworks, and instances for
#: multi-model endpoints"), by repository.
MULTI_MODEL_REPOSITORIES = frozenset(
    {
        "sagemaker-xgboost",
        "sagemaker-scikit-learn",
        "mxnet-inference",
        "pytorch-inference",
        "tensorflow-inference",
        "sagemaker-tritonserver",
        "linear-learner",
        "knn",
        "randomcutforest",
    }
)


class UnknownImage(Exception):
    """No interpreter is registered for an image; the message says which are, and how to register one."""


def find_interpreter(settings: Settings, image_uri: str) -> Path:
    """The interpreter that stands for an image. Account and region of the URI do not matter.

    :param settings: holds the registered images.
    :param image_uri: ``<registry>/<repository>:<tag>``.
    :raises UnknownImage: when there is none.
    """
    name, path = names(image_uri)
    for each in (name, path):
        if each in settings.images:
            return settings.images[each]
    registered = ", ".join(sorted(settings.images)) or "none"
    raise UnknownImage(
        f"Cannot pull the image {image_uri}: the local SageMaker has no interpreter for {name!r}. "
        f"Registered images: {registered}. "
        f"Register one with --image {name}=/path/to/python when you start the server."
    )


def own_train_command(interpreter: Path) -> Path | None:
    """An image's own ``train`` command, which its containers run where a job names no script; None where it has none.

    :param interpreter: stands for the image; the command stands beside it.
    """
    command = interpreter.parent / "train"
    return command if command.is_file() and os.access(command, os.X_OK) else None


def has_train_command(settings: Settings, image_uri: str) -> bool:
    """Whether what stands for an image has a ``train`` command of its own.

    :param settings: holds the registered images.
    :param image_uri: ``<registry>/<repository>:<tag>``.
    """
    try:
        return own_train_command(find_interpreter(settings, image_uri)) is not None
    except UnknownImage:
        return False


def names(image_uri: str) -> tuple[str, str]:
    """What an image may be registered as: the last part of its repository with the tag, or the whole of it.

    :param image_uri: ``<registry>/<repository>:<tag>``.
    """
    return image_uri.rsplit("/", 1)[-1], image_uri.partition("/")[2]


def labels(settings: Settings, image_uri: str) -> dict[str, str]:
    """The Docker labels of an image that matter to SageMaker.

    :param settings: holds the labels of registered images.
    :param image_uri: ``<registry>/<repository>:<tag>``.
    """
    name, path = names(image_uri)
    known = {MULTI_MODEL_LABEL: "true"} if name.partition(":")[0] in MULTI_MODEL_REPOSITORIES else {}
    return known | settings.image_labels.get(name, {}) | settings.image_labels.get(path, {})


def check_labels(settings: Settings, container: dict[str, Any]) -> None:
    """Check that an image can do what a model's container definition asks of it.

    :param container: member of CreateModel.
    :raises ValidationException: in AWS's words, when its labels do not say so.
    """
    if container.get("Mode") != "MultiModel" or "Image" not in container:
        return
    if labels(settings, container["Image"]).get(MULTI_MODEL_LABEL) != "true":
        raise ValidationException(
            f"Your Ecr Image {container['Image']} does not contain required {MULTI_MODEL_LABEL}=true Docker"
            " label(s)."
        )
