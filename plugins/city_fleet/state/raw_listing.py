"""Lists a city's raw data, wherever they lie. Reads only: what is elsewhere is somebody else's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from city_fleet import aws_errors
from city_fleet.errors import PlatformError
from city_fleet.raw_places import RawPlace
from city_fleet.state.objects import Item, ObjectStore

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


def raw_items(s3: S3Client, place: RawPlace, limit: int | None = None) -> list[Item]:
    """Return the objects below a city's prefix, sorted by key; a request per 1,000 and spelling of its name.

    :param limit: the first ones only, at most 1,000.
    :raises PlatformError: a bucket elsewhere can't be listed, or two spellings of the city's name have files.
    """
    store = ObjectStore(s3, place.bucket)
    found: dict[str, list[Item]] = {}
    try:
        for prefix in place.prefixes:
            found[prefix] = [item for item in store.items(prefix, limit=limit) if not item.key.endswith("/")]
    except ClientError as error:
        if place.own or not (aws_errors.is_denied(error) or aws_errors.is_no_bucket(error)):
            raise
        what = (
            "there is no such bucket"
            if aws_errors.is_no_bucket(error)
            else "these credentials may not list it"
        )
        raise PlatformError(
            f"{place.shown}: {what} ({aws_errors.code_of(error)}); dataset.raw leads there. Correct it in the fleet "
            "file, or let the owner of the bucket allow s3:ListBucket and s3:GetObject (docs/security.md)"
        ) from error
    filled = [prefix for prefix, items in found.items() if items]
    if len(filled) > 1:
        raise PlatformError(
            f"s3://{place.bucket}/: the city's raw data lie below {' and '.join(filled)}; allowed: one spelling of its "
            "name. Move the files together, or give the city another name in the fleet file"
        )
    return found[filled[0]] if filled else []
