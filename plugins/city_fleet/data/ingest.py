"""Upload of raw data: one file with a city column becomes one object per city in the bucket.

The values stay as they are written in the file, column for column; an object is put only when its content
differs from what is there, so that doing it twice does nothing and S3's ETags tell what changed. The new file takes
the place of those that an earlier ingest wrote, whatever their names. They go after the new one is there: who dies in
between leaves rows that two files hold, which a run counts once, and the next ingest clears up.
"""

from __future__ import annotations

import getpass
import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import aws_errors, naming
from city_fleet.config import Fleet
from city_fleet.config.series import Series
from city_fleet.config.table import Table
from city_fleet.data.losses import Refusal, contradicting, fewer, renamed
from city_fleet.data.own_columns import own_columns
from city_fleet.data.raw_files import RawFile, known_folder, known_name, notes, raw_files, read_records
from city_fleet.data.records import RecordReader
from city_fleet.data.source_rows import stem
from city_fleet.data.source_split import Rows, find_source, only_city, split_by_city
from city_fleet.errors import (
    CityFleetError,
    ConfigError,
    DataError,
    PlatformError,
    UnknownName,
    display_path,
    list_names,
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
PARALLEL_CITIES = 16
#: A table without a time, all of it: of the files of one name a run takes the last that was known.
WHOLE_TABLE = "rows.csv"


@dataclass(frozen=True)
class CityUpload:
    """What became of one city's rows.

    :param rows: data rows, without the header.
    :param status: ``uploaded`` or ``unchanged``.
    :param removed: names of older files that this one took the place of.
    :param kept: names of the other data files that stay, because somebody else put them there, or with ``append``.
    """

    city: str
    name: str
    rows: int
    key: str
    status: str
    removed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


@dataclass(frozen=True)
class Permissions:
    """What a person allows an ingest to do.

    :param append: add the file, and leave every other file.
    :param replace_all: remove also the data files that somebody else has put there.
    :param unknown: rows under a name that looks like a city's may be left out.
    :param fewer_rows: rows that are in S3 and not in the file may go.
    """

    append: bool = False
    replace_all: bool = False
    unknown: bool = False
    fewer_rows: bool = False


NOTHING_SPECIAL = Permissions()


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
    :param refused: cities of which nothing was replaced, and why; somebody has to look.
    """

    fleet: str
    source: str
    bucket: str
    cities: tuple[CityUpload, ...]
    unknown: tuple[UnmatchedName, ...]
    without_rows: tuple[str, ...]
    refused: tuple[Refusal, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def ingest(
    fleet: Fleet,
    s3: S3Client,
    *,
    source: str | Path | None = None,
    cities: Iterable[str] = (),
    create_bucket: bool = False,
    allow: Permissions = NOTHING_SPECIAL,
    known: datetime | None = None,
) -> IngestReport:
    """Split a data set by city and put each city's rows to ``<fleet>/raw/city=<slug>/<file name>``.

    The file takes the place of what earlier ingests wrote for the city. Rows of a table without a time say of
    themselves not when they were known: their file goes into a folder of its own, ``known=<as_of>/``, and those of
    earlier ingests stay, for runs as of an earlier day. A city that would lose rows is refused, and
    the others go on.

    :param fleet: the fleet; its ``dataset`` says which columns there must be.
    :param source: the file; by default the fleet file's ``dataset.source``.
    :param cities: slugs to upload; all by default.
    :param create_bucket: create the bucket when it is missing.
    :param allow: what a person has allowed.
    :param known: of a table without a time: since when its rows are known; now by default.
    :raises UnknownName: a slug that the fleet does not have.
    :raises ConfigError: no source is given and the fleet file names none.
    :raises DataError: the file is missing, has no rows, lacks columns or holds a malformed row.
    :raises PlatformError: S3 refused or could not be reached.
    """
    wanted = _wanted(fleet, cities)
    path = find_source(fleet, source)
    rows, header = split_by_city(fleet, path, only_city(fleet, wanted))
    by_slug, unknown = _assign(fleet, rows, display_path(path))
    names = {slug: city.name for slug, city in fleet.with_raw_data.items() if slug in wanted}
    nobodys = {each.name: rows[each.name] for each in unknown}
    held = (
        {}
        if allow.unknown
        else renamed(names, by_slug, nobodys, fleet.dataset.city_column or "", _by_period(fleet))
    )
    columns = RecordReader(fleet.dataset, header, own_columns(fleet)).columns
    dated = isinstance(fleet.dataset, Table) and fleet.dataset.time is None
    since = (known or datetime.now(UTC)) if dated else None
    job = _Upload(fleet, ObjectStore(s3, fleet.bucket), path, header, columns, allow, since)
    with _aws_errors(fleet):
        _ensure_bucket(fleet, s3, create_bucket)
        with ThreadPoolExecutor(PARALLEL_CITIES) as pool:
            cities_to_do = [slug for slug in sorted(names) if slug not in held]
            done = list(pool.map(lambda slug: job.city(slug, by_slug.get(slug)), cities_to_do))
    refused = [*held.values(), *(each for each in done if isinstance(each, Refusal))]
    return IngestReport(
        fleet=fleet.fleet,
        source=display_path(path),
        bucket=fleet.bucket,
        cities=tuple(each for each in done if isinstance(each, CityUpload)),
        unknown=unknown,
        without_rows=tuple(sorted(slug for slug in names if slug not in by_slug)),
        refused=tuple(sorted(refused, key=lambda each: each.city)),
    )


def _wanted(fleet: Fleet, cities: Iterable[str]) -> set[str]:
    known = {*fleet.cities, *fleet.broken}
    wanted = set(cities)
    for slug in sorted(wanted):
        if slug not in known:
            raise UnknownName("city", slug, known, f"fleet {fleet.fleet!r} ({display_path(fleet.path)})")
        if slug in fleet.broken:
            raise fleet.broken[slug]
        if slug in fleet.children:
            whose = list_names(fleet.children[slug])
            raise CityFleetError(
                f"city {slug!r} is the parent of {whose}, and has no raw data of its own: ingest theirs."
            )
    elsewhere = {
        slug for slug in known if slug in fleet.cities and fleet.cities[slug].dataset.raw is not None
    }
    named = sorted(wanted & elsewhere) if wanted else sorted(elsewhere) if elsewhere == known else []
    if named:
        raise ConfigError(
            file=display_path(fleet.path),
            city=named[0],
            field="dataset.raw",
            got=show_value(fleet.cities[named[0]].dataset.raw),
            allowed="null for a city whose rows are ingested: this one's are read in place, and nothing is uploaded",
            hint=f"Its next run reads {fleet.raw_place(named[0]).shown}; ./fleet data {named[0]} lists them.",
        )
    return (wanted or known) - elsewhere


def _assign(
    fleet: Fleet, rows: dict[str, Rows], source: str
) -> tuple[dict[str, Rows], tuple[UnmatchedName, ...]]:
    """Find each raw name's city: by the city's ``name``, or by slug when the fleet file gives it no name."""
    by_name = {city.name: slug for slug, city in fleet.with_raw_data.items()}
    owners: dict[str, str] = {}
    unknown = []
    for name, part in rows.items():
        made = _slug(name)
        city = fleet.with_raw_data.get(made)
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
    head = Rows()
    head.add(header)
    return bytes(head.content + rows.content)


@dataclass(frozen=True)
class _Upload:
    """One ingest's work for each of its cities.

    :param columns: the columns whose values the fleet uses.
    :param known: since when the rows are known, of a table without a time; else None.
    """

    fleet: Fleet
    store: ObjectStore
    path: Path
    header: list[str]
    columns: tuple[str, ...]
    allow: Permissions
    known: datetime | None

    def city(self, slug: str, rows: Rows | None) -> CityUpload | Refusal | None:
        """Put a city's file and remove what it takes the place of.

        :param rows: None for a city that the file has no rows of.
        """
        # Listed before anything is put: of two ingests at once neither removes what the other has just written.
        files = [file for file in raw_files(self.fleet, self.store, slug) if file.is_data]
        name, versions = self._name, []
        if self.known is not None:
            versions = [file for file in files if known_name(file.name) == name]
            name = f"{known_folder(self.known)}/{name}"
        history = [file.key for file in versions]  # a run as of an earlier day reads them
        goes = [
            file
            for file in files
            if file.key not in history
            and (file.name == name or (self._replaces(file) and not self.allow.append))
        ]
        loss = [*goes, *versions[-1:]]
        refusal = self._refusal(slug, rows, loss, [file for file in files if file not in (*goes, *versions)])
        if refusal is not None or rows is None:
            return refusal
        same = versions[-1] if versions else next((file for file in files if file.name == name), None)
        key, status = self._put(self.fleet.keys.raw(slug) + name, rows, same)
        older = [file for file in goes if file is not same]
        removed = tuple(file.name for file in older if self.store.delete(file.key, file.etag))
        kept = tuple(file.name for file in files if file not in goes and file.key != key)
        return CityUpload(slug, self.fleet.cities[slug].name, rows.count, key, status, removed, kept)

    @property
    def _name(self) -> str:
        """The name of a city's file: that of the source; of dated ones always the same, so that the last counts."""
        return WHOLE_TABLE if self.known is not None and not self.allow.append else f"{stem(self.path)}.csv"

    def _replaces(self, file: RawFile) -> bool:
        return file.by_ingest or self.allow.replace_all

    def _refusal(
        self, slug: str, rows: Rows | None, goes: list[RawFile], stays: list[RawFile]
    ) -> Refusal | None:
        source = display_path(self.path)
        loss = goes if rows is not None or not self.allow.append else []
        if loss and not self.allow.fewer_rows:
            count, last = self._periods(loss)
            found = fewer(
                slug, source, rows, count, last, [file.name for file in loss], _by_period(self.fleet)
            )
            if found is not None:
                return found
        # Of a table a later file's row takes the place of an earlier one's, so that two may differ.
        for file in stays if rows is not None and _one_row_each(self.fleet) else []:
            read = read_records(self.fleet, self.store, file)
            if read is not None and rows is not None:
                clash = contradicting(slug, source, rows.records, self.columns, file.name, read[1])
                if clash is not None:
                    return clash
        return None

    def _periods(self, files: list[RawFile]) -> tuple[int, str]:
        """Return how many periods some files hold together, and the newest."""
        if len(files) == 1 and files[0].periods is not None:
            return files[0].periods, files[0].last or ""
        periods: set[str] = set()
        for file in files:
            read = read_records(self.fleet, self.store, file)
            periods |= set(read[1]) if read else set()
        return len(periods), max(periods, default="")

    def _put(self, key: str, rows: Rows, there: RawFile | None) -> tuple[str, str]:
        """Put a file unless the one that is there says the same.

        :return: the key of the file that does, and what became of it.
        """
        body = _body(self.header, rows)
        if len(body) > MAX_OBJECT_BYTES:
            raise DataError(
                file=key, got=f"{len(body)} bytes", allowed=f"at most {MAX_OBJECT_BYTES} per city"
            )
        md5 = hashlib.md5(body, usedforsecurity=False).hexdigest()
        if there is not None and there.by_ingest and (there.md5 or there.etag.strip('"')) == md5:
            return there.key, UNCHANGED
        periods = rows.records if _by_period(self.fleet) else ()
        noted = notes(self.path.name, _author(), rows.count, periods, names=len(rows.records), md5=md5)
        self.store.put(key, body, "text/csv", noted)
        return key, UPLOADED


def _by_period(fleet: Fleet) -> bool:
    return isinstance(fleet.dataset, Series)


def _one_row_each(fleet: Fleet) -> bool:
    """Tell whether two rows of one period contradict each other when they differ."""
    dataset = fleet.dataset
    return isinstance(dataset, Series) and dataset.aggregate is None and dataset.duplicates == "error"


def _author() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):
        return "unknown"


def _ensure_bucket(fleet: Fleet, s3: S3Client, create: bool) -> None:
    try:
        s3.head_bucket(Bucket=fleet.bucket)
        return
    except ClientError as error:
        if aws_errors.is_denied(error) and not create:
            return  # who may write below raw/ alone is told nothing about the bucket; what is written next tells
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
