"""The kinds of names in a fleet file: slugs, columns, tags, paths and AWS names, with AWS's own limits."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from typing import Annotated, Any

from pydantic import AfterValidator, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from city_fleet import raw_places
from city_fleet.config.image_table import (
    FRAMEWORKS,
    SCRIPTS_NEED,
    known_regions,
    managed_images,
    python_text,
    usable_versions,
)
from city_fleet.config.value_types import Problem, refuse
from city_fleet.errors import list_names, nearest_match, show_value
from city_fleet.naming import RESERVED_ENVIRONMENTS, slug

PROCESSING_INSTANCE = ("CreateProcessingJob", "ProcessingResources", "ClusterConfig", "InstanceType")
TRAINING_INSTANCE = ("CreateTrainingJob", "ResourceConfig", "InstanceType")
ENDPOINT_INSTANCE = ("CreateEndpointConfig", "ProductionVariants", "[]", "InstanceType")


@dataclass(frozen=True)
class Text:
    """Text that a pattern matches as a whole; a refusal says what is allowed.

    :param pattern: Python's and JSON Schema's common regular expressions.
    :param allowed: the pattern in words.
    :param max_length: in characters.
    :param nearest: makes a proposal of a text that was refused.
    """

    pattern: str
    allowed: str
    max_length: int = 256
    nearest: Callable[[str], str | None] | None = None

    def check(self, value: object) -> str:
        """Return the value if it is allowed.

        :raises PydanticCustomError: what is wrong with it, see :func:`~city_fleet.config.value_types.refuse`.
        """
        if isinstance(value, str):
            if len(value) > self.max_length:
                raise refuse(Problem(f"{len(value)} characters", self.allowed))
            if re.fullmatch(self.pattern, value):
                return value
            near = self.nearest(value) if self.nearest else None
            raise refuse(Problem(show_value(value), self.allowed, nearest=near))
        number = isinstance(value, int | float | date) and not isinstance(value, bool)
        hint = "Put it in quotes to make it text." if number else None
        raise refuse(Problem(show_value(value), self.allowed, hint=hint))

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.check)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {
            "type": "string",
            "pattern": f"^{self.pattern}$",
            "maxLength": self.max_length,
            "patternErrorMessage": self.allowed,  # what yaml-language-server shows
        }


class KnownRegion(Text):
    """A region in which there is an image that runs the job scripts."""

    def check(self, value: object) -> str:
        text = super().check(value)
        regions = known_regions()
        if text not in regions:
            allowed = f"a region that has the managed XGBoost image: {list_names(regions)}"
            raise refuse(Problem(show_value(text), allowed, nearest=nearest_match(text, regions)))
        return text


def version_problem(framework: str, version: str) -> Problem | None:
    """Return what is wrong with a version of a managed image; None where its Python runs the job scripts."""
    images, usable = managed_images(framework), usable_versions(framework)
    if version in usable:
        return None
    path = ("version",)
    there = f"the image of {framework} {', '.join(usable)}, whose Python runs the job scripts"
    if version not in images:
        got = f"{show_value(version)}, a version that does not exist"
        return Problem(got, there, nearest=nearest_match(version, usable) or usable[-1], path=path)
    got = f"{show_value(version)}, an image with {python_text(images[version].python)}"
    needs = f"the scripts need {python_text(SCRIPTS_NEED)} or newer"
    return Problem(got, f"{there} ({needs})", nearest=usable[-1], path=path)


@functools.lru_cache(maxsize=8)
def known_instance_types(operation: str, *path: str) -> tuple[str, ...]:
    """Return the instance types the installed botocore knows for a field of a SageMaker request.

    Slow on the first call (botocore reads its service model), so it is for error messages and ``fleet lint``.
    """
    import botocore.session  # noqa: PLC0415 - too slow for every parse of a DAG file

    model = botocore.session.get_session().get_service_model("sagemaker")
    shape = model.operation_model(operation).input_shape
    for member in path:
        shape = shape.member if member == "[]" else shape.members[member]
    return tuple(shape.enum)


def _slug(max_length: int) -> Text:
    def nearest(text: str) -> str | None:
        try:
            return slug(text)[:max_length].rstrip("_")
        except ValueError:
            return None

    words = f"lower-case letters and digits, words joined by one underscore, at most {max_length} characters"
    return Text(r"[a-z0-9]+(_[a-z0-9]+)*", words, max_length, nearest)


_INSTANCE = Text(
    r"ml\.[a-z][a-z0-9-]*\.(nano|micro|small|medium|large|xlarge|[0-9]{1,3}xlarge|metal)",
    "a SageMaker instance type such as ml.m5.large",
)


def _instance(*field: str) -> Text:
    return replace(_INSTANCE, nearest=lambda text: nearest_match(text, known_instance_types(*field)))


def _raw_template(value: str) -> str:
    allowed = raw_places.problem_of(value)
    if allowed is not None:
        raise refuse(Problem(show_value(value), allowed))
    return value


# No control characters, and not spaces alone.
_PRINTABLE = r"(?=.*\S)[^\x00-\x1f\x7f]+"

FleetSlug = Annotated[str, _slug(32)]
# The DAG of a city has the tag city:<slug>, and Airflow takes tags of at most 100 characters.
EndpointSlug = Annotated[str, _slug(24)]
CITY_SLUG = _slug(95)
CitySlug = Annotated[str, CITY_SLUG]
RawName = Annotated[str, Text(_PRINTABLE, "the city's name in the raw data: 1 to 256 characters of text")]
RawText = Annotated[str, Text(_PRINTABLE, "a value as the raw data write it: 1 to 256 characters of text")]
Column = Annotated[
    str, Text(_PRINTABLE, "the name of a column of the raw data: 1 to 128 characters of text", 128)
]
TimeFormat = Annotated[str, Text(r"[^\x00-\x1f]*%[^\x00-\x1f]+", "a strptime format such as %Y-%m-%d", 64)]
Unit = Annotated[str, Text(r"[^\x00-\x1f]+", "a unit as people write it, for example US$", 40)]
Country = Annotated[str, Text(r"[A-Z]{2}", "a country's two letters as in ISO 3166, for example US", 2)]
Subdivision = Annotated[
    str,
    Text(r"[A-Za-z0-9][A-Za-z0-9 ._-]*", "the code of a part of the country, for example TX of the US", 40),
]
FolderOrFile = Annotated[str, Text(_PRINTABLE, "a path below the project's root, as text", 1024)]
RawTemplate = Annotated[str, Text(_PRINTABLE, raw_places.ALLOWED, 1024), AfterValidator(_raw_template)]
Tag = Annotated[
    str,
    Text(
        r"(?=.*\S)[\w \-.:/=+@]+",
        "1 to 100 letters, digits, spaces and _ . : / = + - @ (AWS tag values)",
        100,
    ),
]
#: Whose cities a digest is about: what `owner` or `tags` of cities say.
Whose = Annotated[
    str,
    Text(
        r"(?=.*\S)[\w \-.:/=+@]+",
        "the owner of cities, or one of their tags: 1 to 100 letters, digits, spaces and _ . : / = + - @",
        100,
    ),
]
Environment = Annotated[
    str,
    Text(
        rf"(?!({'|'.join(RESERVED_ENVIRONMENTS)})$)[a-z0-9]+(_[a-z0-9]+)*",
        "lower-case letters and digits, words joined by one underscore, at most 32 characters, and not "
        f"{', '.join(RESERVED_ENVIRONMENTS)}, which stand beside it in the bucket",
        32,
        lambda text: slug(text)[:32] if re.search("[a-zA-Z0-9]", text) else None,
    ),
]
Bucket = Annotated[
    str,
    Text(
        r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]",
        "the name of an S3 bucket: 3 to 63 lower-case letters, digits, hyphens and dots, without s3://",
    ),
]
Role = Annotated[
    str,
    Text(
        r"arn:aws[a-z-]*:iam::[0-9]{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+",
        "the ARN of an IAM role such as arn:aws:iam::123456789012:role/city-fleet",
        2048,
    ),
]
InstallationName = Annotated[
    str,
    replace(
        _slug(32),
        allowed="the name of an installation: lower-case letters and digits, words joined by _, at most 32 characters",
    ),
]
Profile = Annotated[
    str,
    Text(
        r"[^\s\x00-\x1f\x7f\[\]]+", "the name of a profile of AWS's configuration, such as old_account", 128
    ),
]
KmsKey = Annotated[
    str,
    Text(
        r"arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[a-zA-Z0-9-]{1,64}",
        "the ARN of a KMS key such as arn:aws:kms:us-east-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab "
        "(an alias or a bare id is not taken by every service), or null",
        256,
    ),
]
Subnet = Annotated[
    str, Text(r"subnet-[0-9a-f]{8,17}", "the id of a subnet such as subnet-0123456789abcdef0", 32)
]
SecurityGroup = Annotated[
    str, Text(r"sg-[0-9a-f]{8,17}", "the id of a security group such as sg-0123456789abcdef0", 32)
]
Region = Annotated[str, KnownRegion(r"[a-z]{2}(-[a-z]+)+-[0-9]{1,2}", "an AWS region such as us-east-1")]
Version = Annotated[
    str, Text(r"[0-9]+\.[0-9]+-[0-9]+", 'the version of the managed image, such as "3.2-0" of xgboost')
]
EndpointName = Annotated[
    str,
    Text(
        r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}",
        "1 to 63 letters, digits and hyphens, or null for <fleet>--<environment>",
        63,
        lambda text: re.sub("[^a-zA-Z0-9]+", "-", text).strip("-") or None,
    ),
]
_ECR_URI = (
    r"[0-9]{12}\.dkr\.ecr\.[a-z0-9-]+\.amazonaws\.com(\.cn)?/"
    r"[a-z0-9][a-z0-9._/-]*(:[\w.-]+|@sha256:[0-9a-f]{64})"
)
AlgorithmName = Annotated[
    str,
    Text(
        r"[a-z][a-z0-9_]*",
        "the name of an algorithm: lower-case letters, digits and _, as its module is called",
        64,
        lambda text: re.sub("[^a-z0-9]+", "_", text.lower()).strip("_0123456789") or None,
    ),
]
TrainingImage = Annotated[
    str,
    Text(
        rf"({'|'.join(FRAMEWORKS)}|{_ECR_URI})",
        f"{', '.join(FRAMEWORKS)}, or the URI of an image in ECR such as "
        "123456789012.dkr.ecr.us-east-1.amazonaws.com/my-training:1",
        255,
        lambda text: nearest_match(text, FRAMEWORKS),
    ),
]
ServingImage = Annotated[
    str,
    Text(
        rf"(managed|own|{_ECR_URI})",
        "managed, own, or the URI of an image in ECR such as "
        "123456789012.dkr.ecr.us-east-1.amazonaws.com/city-fleet-model-server:1",
        255,
    ),
]
AlarmName = Annotated[
    str, Text(r"[ -~]*[!-~][ -~]*", "the name of a CloudWatch alarm: 1 to 255 characters of ASCII text", 255)
]
QueueName = Annotated[
    str,
    Text(
        r"[A-Za-z0-9_-]{1,73}",
        "the name of a standard SQS queue: 1 to 73 letters, digits, _ and -; no URL, no ARN, no FIFO queue",
        73,
        lambda text: re.sub("[^A-Za-z0-9_-]+", "-", re.split("[:/]", text)[-1].removesuffix(".fifo")) or None,
    ),
]
PoolName = Annotated[str, Text(r"[\w.-]+", "the name of an Airflow pool: letters, digits, _ . -")]
ClassPath = Annotated[
    str,
    Text(
        r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+",
        "the import path of a class, such as airflow.providers.amazon.aws.notifications.sns.SnsNotifier",
    ),
]
#: What the three below have in common; the JSON Schema calls them by this name.
InstanceType = Annotated[str, _INSTANCE]
ProcessingInstance = Annotated[str, _instance(*PROCESSING_INSTANCE)]
TrainingInstance = Annotated[str, _instance(*TRAINING_INSTANCE)]
EndpointInstance = Annotated[str, _instance(*ENDPOINT_INSTANCE)]
