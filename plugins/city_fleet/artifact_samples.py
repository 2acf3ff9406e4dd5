"""Sample rows that an artifact carries, with the predictions that training expected of it.

They make a whole row of features for whoever wants to try a model. Standard library and a boto3 S3 client only.
"""

from __future__ import annotations

import json
import tarfile
import zlib
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from city_fleet.errors import PlatformError, ServingError
from city_fleet.live import LivePointer
from city_fleet.naming import Keys

# Written by include/scripts/model_artifact.py; docs/architecture.md describes the artifact.
_SAMPLES_FILE = "city_fleet/samples.json"
_MAX_BYTES = 1 << 20


@dataclass(frozen=True)
class Sample:
    """One row of the model's validation data.

    :param features: feature name → value, None where it is missing.
    :param prediction: what the model predicted for it right after training, in the target's own unit.
    """

    features: dict[str, float | None]
    prediction: float


def newest_sample(s3: Any, keys: Keys, pointer: LivePointer) -> Sample:
    """Return the newest of the sample rows of a pointer's artifact.

    :raises ServingError: the artifact is not there, or holds no sample that fits the pointer.
    :raises PlatformError: S3 does not answer.
    """
    uri = keys.uri(keys.model(pointer.target_model))
    try:
        body = s3.get_object(Bucket=keys.bucket, Key=keys.model(pointer.target_model))["Body"]
        samples = json.loads(_member(body))
        row, prediction = samples["rows"][-1], float(samples["predictions"][-1])
        features = dict(zip(pointer.features, row, strict=True))
    except ClientError as error:
        raise ServingError(f"{uri}: S3 refuses: {error}", city=pointer.city) from error
    except BotoCoreError as error:
        raise PlatformError(f"{uri}: S3 cannot be asked: {error}", city=pointer.city) from error
    except (
        tarfile.TarError,
        EOFError,
        zlib.error,
        OSError,
        ValueError,
        KeyError,
        IndexError,
        TypeError,
    ) as error:
        raise ServingError(
            f"{uri}: holds no sample rows of the model ({type(error).__name__}: {error}); it was not made by this "
            "version of train.py, or is damaged. Give the features yourself: feature=value or --features FILE.",
            city=pointer.city,
        ) from error
    return Sample(features, prediction)


def _member(body: Any) -> bytes:
    """Return the samples' file out of an archive that comes as a stream; nothing is unpacked to a disk."""
    with tarfile.open(fileobj=body, mode="r|gz") as tar:
        for member in tar:
            if (
                member.name.removeprefix("./") == _SAMPLES_FILE
                and member.isreg()
                and member.size <= _MAX_BYTES
            ):
                content = tar.extractfile(member)
                if content is not None:
                    return content.read()
    raise KeyError(_SAMPLES_FILE)
