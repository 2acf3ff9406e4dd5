"""The table of a night's forecasts: its columns, and the one Parquet object per night below ``forecasts/``.

Whoever reads the table finds it by its keys alone, so a night is one object under one key: writing it again replaces it
in one request, and no reader meets rows twice or half a night. ``pyarrow`` makes the bytes; it is imported when a table
is written or read, and is an extra of City Fleet's wheel.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Literal

from city_fleet.errors import ConfigError, DataError, show_value
from city_fleet.naming import Keys
from city_fleet.state.objects import ObjectStore

if TYPE_CHECKING:
    from city_fleet.state.objects import Item

#: The extra of that name of City Fleet's wheel, for pip: ``[parquet]``.
NEED = "pyarrow>=16"
PARQUET = "application/vnd.apache.parquet"
#: In the names of columns: per cent of the intervals that a model of ours answers (``include/scripts/intervals.py``).
LEVELS = (80, 95)
#: What ``status`` says where there is a forecast.
FORECAST = "forecast"

Kind = Literal["string", "timestamp", "int", "double", "boolean"]
Row = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """A column of the table.

    :param kind: its type, as Athena and Hive call it. A timestamp is UTC, in milliseconds.
    :param meaning: for people, and the comment of the column in the Glue catalog.
    """

    name: str
    kind: Kind
    meaning: str


#: In their order. A later version may add some at the end, and takes none away. ``night`` is no column of the file but
#: the partition, which stands in the key.
COLUMNS = (
    Column("fleet", "string", "fleet of the fleet file"),
    Column("environment", "string", "environment of the fleet file"),
    Column("city", "string", "slug of the city"),
    Column("city_name", "string", "name of the city, as the fleet file writes it"),
    Column("status", "string", "forecast, or why there is none: no_model, refused, failed, no_answer"),
    Column("problem", "string", "why there is no forecast, as a sentence; null where there is one"),
    Column("period", "timestamp", "beginning of the period that is forecast; UTC"),
    Column("step", "int", "1 for the period that begins next"),
    Column("prediction", "double", "the forecast, in unit"),
    *(
        Column(
            f"{end}_{level}", "double", f"{end} end of the interval of {level} per cent; null where withheld"
        )
        for level in LEVELS
        for end in ("lower", "upper")
    ),
    Column("intervals_withheld", "string", "why an interval is missing"),
    Column("unit", "string", "what a prediction is in; null where nobody has said it"),
    Column("known_until", "timestamp", "beginning of the newest period whose value was known; UTC"),
    Column(
        "late_periods", "int", "how many newer periods should be known by now; null where that can't be told"
    ),
    Column("warning", "string", "what a reader of the forecast should know, as a sentence"),
    Column(
        "served_by", "string", "slug of the city whose model answered: its own or its parent's; or baseline"
    ),
    Column("by_parent", "boolean", "whether the model of the city's parent answered"),
    Column("target_model", "string", "the artifact that answered, as the endpoint names it"),
    Column("package_version", "int", "its version in the model registry"),
    Column("as_of", "timestamp", "the moment up to which the model may have seen data; UTC"),
    Column("made_at", "timestamp", "when this table was begun; UTC"),
)
_NIGHT = re.compile(r"night=(?P<night>\d{4}-\d{2}-\d{2})/forecasts\.parquet")
_COUNTS = ("cities", "rows", "without")


@dataclass(frozen=True)
class NightTable:
    """A night's table, as it stands in S3.

    :param night: an ISO date.
    :param size_bytes: of the object.
    :param written_at: by S3's clock.
    :param cities: how many it has rows of; ``rows``: how many; ``without``: of how many cities it says why there is no
        forecast. None where the object does not say so.
    """

    night: str
    uri: str
    size_bytes: int
    written_at: datetime
    cities: int | None = None
    rows: int | None = None
    without: int | None = None


def pyarrow(module: str = "pyarrow") -> Any:
    """Return pyarrow, or a module of it.

    :raises ConfigError: it is not installed, with what to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError:
        hint = (
            "Install it where Airflow's tasks and ./fleet run, as the extra [parquet] of City Fleet's wheel or by "
            f"pip install '{NEED}'. Jobs and endpoint do not need it."
        )
        raise ConfigError(
            got="no package pyarrow, which writes and reads Parquet", allowed=NEED, hint=hint
        ) from None


def read_night(text: str) -> str:
    """Read a night, an ISO date.

    :raises ValueError: it is none.
    """
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise ValueError(f"night: got {show_value(text)}; allowed: a day such as 2014-01-01") from None


class TableWriter:
    """Makes the Parquet file of a night from rows that come in batches; holds packed bytes, and one batch of rows."""

    def __init__(self) -> None:
        self._arrow = pyarrow()
        self._sink = self._arrow.BufferOutputStream()
        self._schema = schema()
        self._file = pyarrow("pyarrow.parquet").ParquetWriter(self._sink, self._schema, compression="snappy")

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add rows as one row group; what a row does not say is null.

        :param rows: values by column; timestamps as datetimes with a zone.
        """
        made = list(rows)
        if made:
            columns = {column.name: [row.get(column.name) for row in made] for column in COLUMNS}
            self._file.write_table(self._arrow.Table.from_pydict(columns, schema=self._schema))

    def finish(self) -> bytes:
        """Return the file."""
        self._file.close()
        content: bytes = self._sink.getvalue().to_pybytes()
        return content


def schema() -> Any:
    """Return the columns as a schema of pyarrow."""
    arrow = pyarrow()
    kinds = {
        "string": arrow.string(),
        # In UTC: without a zone pyarrow leaves out what older readers know a timestamp by.
        "timestamp": arrow.timestamp("ms", tz="UTC"),
        "int": arrow.int32(),
        "double": arrow.float64(),
        "boolean": arrow.bool_(),
    }
    return arrow.schema([(column.name, kinds[column.kind]) for column in COLUMNS])


def write(store: ObjectStore, keys: Keys, night: str, body: bytes, counts: Mapping[str, int]) -> str:
    """Put a night's table in the place of whatever is there, and return its URI.

    :param counts: ``cities``, ``rows`` and ``without``, as :class:`NightTable` has them.
    """
    key = keys.forecasts(night)
    store.put(key, body, PARQUET, {name: str(counts[name]) for name in _COUNTS})
    return keys.uri(key)


def nights(store: ObjectStore, keys: Keys) -> list[NightTable]:
    """Return the nights that have a table, the newest first; how many rows each has :func:`counted` says."""
    found = [
        table for item in store.items(keys.forecasts_prefix()) if (table := _table(item, keys)) is not None
    ]
    return sorted(found, key=lambda table: table.night, reverse=True)


def counted(store: ObjectStore, keys: Keys, table: NightTable) -> NightTable:
    """Return a table with what it says of its rows."""
    said = store.metadata_of(keys.forecasts(table.night))
    counts = {name: int(said[name]) for name in _COUNTS if said.get(name, "").isdecimal()}
    return NightTable(table.night, table.uri, table.size_bytes, table.written_at, **counts)


def read(store: ObjectStore, keys: Keys, night: str) -> Iterator[Row]:
    """Yield the rows of a night, in their order.

    :raises DataError: the night has no table, or what is there is none.
    """
    arrow, parquet = pyarrow(), pyarrow("pyarrow.parquet")
    key = keys.forecasts(night)
    stored = store.get(key)
    if stored is None:
        hint = "./fleet forecasts lists the nights that have one."
        raise DataError(file=keys.uri(key), got="no table of forecasts", hint=hint)
    try:
        with parquet.ParquetFile(arrow.BufferReader(stored.body)) as file:
            for batch in file.iter_batches(1000):
                yield from batch.to_pylist()
    except (OSError, ValueError, NotImplementedError) as error:
        said = " ".join(str(error).split())[:200]
        raise DataError(file=keys.uri(key), got=f"a Parquet file that can't be read ({said})") from None


def _table(item: Item, keys: Keys) -> NightTable | None:
    """Return what a listed object is; None for what nobody of ours has written."""
    name = _NIGHT.fullmatch(item.key.removeprefix(keys.forecasts_prefix()))
    return (
        None
        if name is None
        else NightTable(name["night"], keys.uri(item.key), item.size_bytes, item.modified)
    )
