"""Upload of raw data: one CSV with a city column becomes one object per city in the bucket.

The values stay as they are written in the file, column for column; an object is put only when its content
differs from what is there, so that doing it twice does nothing and S3's ETags tell what changed.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import aws_errors, naming
from city_fleet.config import Fleet
from city_fleet.data.raw_data import Rows, find_source, split_by_city
from city_fleet.errors import (
    ConfigError,
    DataError,
    PlatformError,
    UnknownName,
    display_path,
    nearest_match,
    show_value,
)
from city_fleet.state.objects import ObjectStore

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

UPLOADED = "uploaded"
UNCHANGED = "unchanged"
# S3 makes the ETag of an object put in one part its MD5; a larger object would need several parts.
MAX_OBJECT_BYTES = 5 * 1024**3


@dataclass(frozen=True)
class CityUpload:
    """What became of one city's rows.

    :param rows: data rows, without the header.
    :param status: ``uploaded`` or ``unchanged``.
    """

    city: str
    name: str
    rows: int
    key: str
    status: str


@dataclass(frozen=True)
class UnmatchedName:
    """A name in the data that no city of the fleet file has.

    :param nearest: the city whose name comes nearest, if one is near.
    """

    name: str
    rows: int
    nearest: str | None


@dataclass(frozen=True)
class IngestReport:
    """What one ingest did.

    :param cities: cities with rows, by slug.
    :param unknown: names in the data that are not in the fleet file, sorted.
    :param without_rows: slugs of cities that have no rows in the data, sorted.
    """

    fleet: str
    source: str
    bucket: str
    cities: tuple[CityUpload, ...]
    unknown: tuple[UnmatchedName, ...]
    without_rows: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def ingest(
    fleet: Fleet,
    s3: S3Client,
    *,
    source: str | Path | None = None,
    cities: Iterable[str] = (),
    create_bucket: bool = False,
) -> IngestReport:
    """Split a data set by city and put each city's rows to ``<fleet>/raw/city=<slug>/<file name>``.

    :param fleet: the fleet; its ``dataset`` says which columns there must be.
    :param source: the CSV; by default the fleet file's ``dataset.source``.
    :param cities: slugs to upload; all by default.
    :param create_bucket: create the bucket when it is missing.
    :raises UnknownName: a slug that the fleet does not have.
    :raises ConfigError: no source is given and the fleet file names none.
    :raises DataError: the file is missing, has no rows, lacks columns or holds a malformed row.
    :raises PlatformError: S3 refused or could not be reached.
    """
    wanted = _wanted(fleet, cities)
    path = find_source(fleet, source)
    rows, header = split_by_city(fleet, path)
    by_slug, unknown = _assign(fleet, rows, display_path(path))
    with _aws_errors(fleet):
        _ensure_bucket(fleet, s3, create_bucket)
        uploads = tuple(
            _upload(fleet, s3, slug, f"{path.stem}.csv", _body(header, by_slug[slug]), by_slug[slug].count)
            for slug in sorted(by_slug)
            if slug in wanted
        )
    return IngestReport(
        fleet=fleet.fleet,
        source=display_path(path),
        bucket=fleet.bucket,
        cities=uploads,
        unknown=unknown,
        without_rows=tuple(sorted(slug for slug in wanted if slug in fleet.cities and slug not in by_slug)),
    )


def _wanted(fleet: Fleet, cities: Iterable[str]) -> set[str]:
    known = {*fleet.cities, *fleet.broken}
    wanted = set(cities)
    for slug in sorted(wanted):
        if slug not in known:
            raise UnknownName("city", slug, known, f"fleet {fleet.fleet!r} ({display_path(fleet.path)})")
        if slug in fleet.broken:
            raise fleet.broken[slug]
    return wanted or known


def _assign(
    fleet: Fleet, rows: dict[str, Rows], source: str
) -> tuple[dict[str, Rows], tuple[UnmatchedName, ...]]:
    """Find each raw name's city: by the city's ``name``, or by slug when the fleet file gives it no name."""
    by_name = {city.name: slug for slug, city in fleet.cities.items()}
    owners: dict[str, str] = {}
    unknown = []
    for name, part in rows.items():
        made = _slug(name)
        city = fleet.cities.get(made)
        slug = by_name.get(name) or (made if city is not None and city.name == city.slug else None)
        if slug is None:
            if made not in fleet.broken:
                unknown.append(UnmatchedName(name, part.count, nearest_match(name, by_name)))
        elif slug in owners:
            raise DataError(
                file=source,
                column=fleet.dataset.city_column,
                got=f"{show_value(owners[slug])} and {show_value(name)}, which both are city {slug!r}",
                allowed="one spelling per city",
                hint=f"Write one of them throughout, or give city {slug!r} its name in the fleet file.",
            )
        else:
            owners[slug] = name
    assigned = {slug: rows[name] for slug, name in owners.items()}
    return assigned, tuple(sorted(unknown, key=lambda city: city.name))


def _slug(name: str) -> str:
    try:
        return naming.slug(name)
    except ValueError:
        return ""


def _body(header: list[str], rows: Rows) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(header)
    return (text.getvalue() + rows.buffer.getvalue()).encode()


def _upload(fleet: Fleet, s3: S3Client, slug: str, file_name: str, body: bytes, rows: int) -> CityUpload:  # noqa: PLR0917
    key = naming.Keys(fleet.bucket, fleet.fleet).raw(slug) + file_name
    if len(body) > MAX_OBJECT_BYTES:
        raise DataError(file=key, got=f"{len(body)} bytes", allowed=f"at most {MAX_OBJECT_BYTES} per city")
    md5 = hashlib.md5(body, usedforsecurity=False).hexdigest()
    store = ObjectStore(s3, fleet.bucket)
    unchanged = (store.etag_of(key) or "").strip('"') == md5
    if not unchanged:
        store.put(key, body, "text/csv")
    return CityUpload(slug, fleet.cities[slug].name, rows, key, UNCHANGED if unchanged else UPLOADED)


def _ensure_bucket(fleet: Fleet, s3: S3Client, create: bool) -> None:
    try:
        s3.head_bucket(Bucket=fleet.bucket)
        return
    except ClientError as error:
        if not aws_errors.is_missing(error) and not aws_errors.is_no_bucket(error):
            raise
    if not create:
        raise ConfigError(
            file=display_path(fleet.path),
            field="bucket",
            got=f"{fleet.bucket!r}, a bucket that does not exist",
            allowed="an existing S3 bucket",
            hint="Create it, or add --create-bucket.",
        )
    # S3 refuses us-east-1, and no other region, as a LocationConstraint.
    extra: dict[str, Any] = {}
    if fleet.region != "us-east-1":
        extra = {"CreateBucketConfiguration": {"LocationConstraint": fleet.region}}
    s3.create_bucket(Bucket=fleet.bucket, **extra)


@contextmanager
def _aws_errors(fleet: Fleet) -> Iterator[None]:
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise PlatformError(
            f"{display_path(fleet.path)}, bucket {fleet.bucket!r}: {aws_errors.sentence(error, 'S3')}",
            bucket=fleet.bucket,
            **aws_errors.facts(error),
        ) from None
