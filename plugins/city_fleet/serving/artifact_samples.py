"""A complete row of features to try a model with: one of the samples that its artifact carries.

A boto3 S3 client is passed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from city_fleet.champions import artifact
from city_fleet.champions.artifact import Known, Value
from city_fleet.errors import ArtifactError, PlatformError, ServingError
from city_fleet.naming import Keys
from city_fleet.state.live import LivePointer

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


@dataclass(frozen=True)
class Sample:
    """One row of the model's validation data.

    :param features: feature name → value, None where it is missing.
    :param prediction: what the model predicted for it right after training: in the target's own unit, or by class.
    :param period: of a series: its period, as an ISO date; None where the artifact does not say.
    """

    features: dict[str, Value]
    prediction: Known
    period: str | None = None


def newest_sample(s3: S3Client, keys: Keys, pointer: LivePointer) -> Sample:
    """Return the newest of the sample rows of a pointer's artifact.

    :raises ServingError: the artifact is not there, is not the pointer's, or holds no sample that fits the pointer.
    :raises PlatformError: S3 does not answer.
    """
    key = keys.model(pointer.target_model)
    try:
        found = artifact.fetch(s3, keys.bucket, key, pointer.artifact_sha256)
    except ClientError as error:
        raise ServingError(f"{keys.uri(key)}: S3 refuses: {error}", city=pointer.city) from error
    except BotoCoreError as error:
        raise PlatformError(f"{keys.uri(key)}: S3 cannot be asked: {error}", city=pointer.city) from error
    except ArtifactError as error:
        cure = "Give the features yourself: feature=value or --features FILE."
        raise ServingError(f"{error}, so there is no example. {cure}", city=pointer.city) from error
    if found.features != pointer.features:
        mine, named = ", ".join(found.features), ", ".join(pointer.features)
        text = f"{keys.uri(key)}: is a model of the features {mine}, but the live pointer names {named}"
        raise ServingError(text, city=pointer.city)
    period = found.periods[-1] if found.periods else None
    return Sample(dict(zip(found.features, found.rows[-1], strict=True)), found.predictions[-1], period)
