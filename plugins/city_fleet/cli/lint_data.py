"""What ``./fleet lint --data`` finds: a fleet's settings against the data that are at hand, city by city.

The first step of a run is done at the desk, by the fleet's own scripts: see :mod:`city_fleet.data.dry_run`. What it
says is put together here, and what the gate would say of such data.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from city_fleet.cli.output import count_cities
from city_fleet.config import City, Fleet
from city_fleet.config.series import Series
from city_fleet.errors import ConfigError, DataError, PlatformError, list_names
from city_fleet.metrics import default_metric
from city_fleet.plan import PREPROCESS, Run, plan_city

if TYPE_CHECKING:
    from city_fleet.desk.data_at_hand import DataAtHand
    from city_fleet.desk.dry_run import Prepared

ERROR, WARNING = "error", "warning"
#: Kind of a finding → what a group of them is called, in the order in which they are shown.
KINDS = {
    "unreadable": "can't be read or prepared: the run would fail",
    "no_rows": "no data at hand",
    "too_little": "too little data: the run would end without a model",
    "held": "data that the gate would hold a model for",
    "zeros": "zeros under a metric that is a share of the target",
    "ahead": "values that every question for a forecast will have to bring",
    "settings": "settings that these data leave no use for",
    "late": "newest data older than they could be",
}
_CITIES_SHOWN = 5
_PERCENTAGE = "mape"


@dataclass(frozen=True)
class Found:
    """Something about the data.

    :param kind: one of :data:`KINDS`.
    :param severity: :data:`ERROR` where a run would fail.
    :param city: its slug; None where it is about all of them.
    :param file: where the data come from.
    :param field: of the fleet file.
    :param text: what was got, and what to do, without the city.
    """

    kind: str
    severity: str
    city: str | None
    file: str
    field: str
    text: str


@dataclass(frozen=True)
class DataReport:
    """What the data of a fleet come to.

    :param source: where they come from.
    :param ready: cities that would get a model, as far as data decide.
    """

    source: str
    as_of: str
    cities: int
    ready: int
    findings: tuple[Found, ...]

    @property
    def errors(self) -> int:
        return sum(each.severity == ERROR for each in self.findings)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def lines(self) -> Iterator[str]:
        """Yield the findings by kind; what is said of several cities alike is said once."""
        yield (
            f"{self.source}: {self.ready} of {count_cities(self.cities)} would be trained, as of {self.as_of[:10]}."
        )
        for kind, title in KINDS.items():
            found = [each for each in self.findings if each.kind == kind]
            if not found:
                continue
            cities = {each.city for each in found if each.city is not None}
            yield f"{title} ({count_cities(len(cities))}):" if cities else f"{title}:"
            alike: dict[tuple[str, str, str, str], list[str]] = {}
            for each in found:
                key = (each.severity, each.file, each.field, each.text)
                alike.setdefault(key, []).extend([each.city] if each.city else [])
            for (severity, file, field, text), slugs in alike.items():
                named = f", {_named(slugs)}" if slugs else ""
                yield f"  {severity}: {file}{named}, field '{field}': {text}"


def check_data(fleet: Fleet, cities: Collection[str] = (), *, as_of: datetime | None = None) -> DataReport:
    """Prepare the cities' data as a run of this moment would, and say what it would come to.

    :param cities: slugs; all by default. A parent has no data of its own: its cities' are looked at.
    :param as_of: the moment; now by default.
    """
    moment = as_of or datetime.now(UTC)
    asked = {child for slug in cities for child in fleet.children.get(slug, (slug,))}
    wanted = sorted(asked or fleet.with_raw_data)
    with tempfile.TemporaryDirectory(prefix="city-fleet-lint-") as folder:
        try:
            at_hand = _at_hand(fleet, Path(folder), wanted)
        except DataError as error:
            found = Found("unreadable", ERROR, None, error.file or "", "dataset", _without_file(error))
            return DataReport(error.file or "", moment.isoformat(), len(wanted), 0, (found,))
        findings: list[Found] = []
        names: dict[str, None] = {}
        ready = 0
        for number, (data, slugs) in enumerate(at_hand):
            names |= dict.fromkeys(data.name_of(slug) for slug in slugs)
            findings += [
                Found("no_rows", WARNING, slug, data.name_of(slug), "cities", _NO_ROWS)
                for slug in slugs
                if slug not in data.cities
            ]
            there, more = _of_all(fleet, data, moment, Path(folder) / f"work-{number}")
            ready += there
            findings += more
    return DataReport(list_names(names), moment.isoformat(), len(wanted), ready, tuple(findings))


def _of_all(fleet: Fleet, data: DataAtHand, as_of: datetime, work: Path) -> tuple[int, list[Found]]:
    """Prepare the cities whose data are there.

    :return: how many would get a model, and what is to be said.
    """
    ready = 0
    findings: list[Found] = []
    groups: dict[str, list[str]] = {}
    for slug in sorted(data.cities):
        groups.setdefault(fleet.cities[slug].code_name, []).append(slug)
    for number, slugs in enumerate(groups.values()):
        try:
            prepared = _prepare(fleet, slugs, as_of, data, work / str(number))
        except (PlatformError, ConfigError) as error:
            field, why = getattr(error, "field", None) or "scripts", str(error)
            findings += [Found("unreadable", ERROR, slug, data.name_of(slug), field, why) for slug in slugs]
            continue
        for slug, each in prepared.items():
            ready += each.status["status"] == "ready"
            findings += _of_city(fleet.cities[slug], each, data)
    return ready, findings


_NO_ROWS = "got no row of the city; write its name as the data write it, or ingest them"


def _at_hand(fleet: Fleet, folder: Path, wanted: Collection[str]) -> list[tuple[DataAtHand, list[str]]]:
    """Get the data from where a run would have them, and the cities that they are for.

    :return: those out of the file of ``dataset.source`` where the fleet has one, then those that lie in buckets.
    """
    from city_fleet.desk.data_at_hand import from_source  # noqa: PLC0415 - for this option alone

    found: list[tuple[DataAtHand, list[str]]] = []
    split = fleet.dataset.source is not None
    ingested = [slug for slug in wanted if split and fleet.cities[slug].dataset.raw is None]
    if ingested:
        (folder / "source").mkdir()
        found.append((from_source(fleet, folder / "source", ingested), ingested))
    stored = [slug for slug in wanted if slug not in ingested]
    if stored:
        (folder / "buckets").mkdir()
        found.append((_out_of_buckets(fleet, folder / "buckets", stored), stored))
    return found


def _out_of_buckets(fleet: Fleet, folder: Path, wanted: Collection[str]) -> DataAtHand:
    from city_fleet.cli.aws import aws_errors, client  # noqa: PLC0415
    from city_fleet.desk.data_at_hand import from_bucket  # noqa: PLC0415

    with aws_errors():
        return from_bucket(fleet, client(fleet, "s3"), folder, wanted)


def _prepare(
    fleet: Fleet, slugs: list[str], as_of: datetime, data: DataAtHand, work: Path
) -> dict[str, Prepared]:
    from city_fleet.desk.dry_run import prepare  # noqa: PLC0415
    from city_fleet.jobs.code_bundle import CodeBundle  # noqa: PLC0415
    from city_fleet.jobs.job_files import settings  # noqa: PLC0415

    run = Run("lint", "0" * 10, as_of)
    plans = [plan_city(fleet, slug) for slug in slugs]
    parts = [settings(plan, run, PREPROCESS, data.files[plan.city.slug]) for plan in plans]
    whole = {
        **parts[0],
        "raw_uri": data.raw_uri,
        "cities": [city for part in parts for city in part["cities"]],
    }
    return prepare(CodeBundle.of(plans[0]).files, whole, data.folder, work)


def _of_city(city: City, prepared: Prepared, data: DataAtHand) -> Iterator[Found]:
    """Yield what is to be said of a city's data."""
    from city_fleet.champions.data_checks import check  # noqa: PLC0415

    status, reason = prepared.status, data.sentence(city.slug, str(prepared.status["reason"]))

    def found(kind: str, field: str, text: str, severity: str = WARNING) -> Found:
        return Found(kind, severity, city.slug, data.name_of(city.slug), field, text)

    if status["status"] == "failed":
        yield found(
            "unreadable",
            "dataset",
            reason.removeprefix(f"{data.name}, "),
            ERROR,
        )
        return
    periods = status.get("periods")
    if status["status"] != "ready":
        field = "dataset.minimum_periods" if isinstance(city.dataset, Series) else "dataset.minimum_rows"
        yield found("too_little", field, reason)
    if isinstance(periods, Mapping) and isinstance(city.dataset, Series):
        yield from (found("settings", field, text) for field, text in _useless(city.dataset, periods, status))
        yield from (found("ahead", "dataset.features", text) for text in _unplanned(city.dataset, prepared))
    said = check(status, {"drift": {}, "category_drift": {}}, city.gate.data)
    if status["status"] == "ready":
        yield from (found("held", "gate.data", _ended(text)) for text in said.against)
    yield from (found("late", "dataset.available_after", _ended(text)) for text in said.warnings)
    metric = city.gate.metric or default_metric(city.dataset.task)
    if prepared.zeros and _PERCENTAGE in (metric, *city.gate.limits):
        share = prepared.zeros / prepared.rows
        text = (
            f"the target is 0 in {prepared.zeros} of {prepared.rows} rows ({share:.1%}), which {_PERCENTAGE} leaves "
            "out; set gate.metric to wape or mae if zeros are ordinary."
        )
        yield found("zeros", "gate.metric", text)


def _unplanned(dataset: Series, prepared: Prepared) -> Iterator[str]:
    """Yield columns that are known ahead, and that the data do not know as far ahead as a forecast reaches."""
    for feature in dataset.features:
        there = prepared.planned.get(feature.column, 0)
        if feature.known_ahead and there < dataset.horizon:
            yield (
                f"'{feature.column}' is known_ahead, and the data hold it of {there} {dataset.grid.noun}s behind the "
                f"newest known one, where a forecast reaches {dataset.horizon}: add rows of the coming ones with an "
                f"empty '{dataset.target.column}', or hand it over with each question (ahead)."
            )


def _useless(
    dataset: Series, periods: Mapping[str, Any], status: Mapping[str, Any]
) -> Iterator[tuple[str, str]]:
    """Yield settings that reach further back than the data, and columns that hold nothing."""
    there, unit = int(periods.get("on_grid") or 0), dataset.grid.noun
    if not there:
        return
    window = dataset.target.window
    if window is not None and window // 2 > there:
        yield (
            "dataset.target.window",
            f"got {window} {unit}s, and the data reach over {there}; take a shorter one.",
        )
    lags = [("dataset.target.lags", dataset.target.column, dataset.target.lags)]
    lags += [("dataset.features", feature.column, feature.lags) for feature in dataset.features]
    for field, column, given in lags:
        if too_long := [lag for lag in given if lag >= there]:
            text = (
                f"got lag {list_names(map(str, too_long))} of '{column}', and the data reach over {there} {unit}s: it "
                "is missing in every row; leave it out."
            )
            yield field, text
    shares = status.get("missing_share")
    for column, share in shares.items() if isinstance(shares, Mapping) else ():
        if share == 1 and column != dataset.target.column:
            yield (
                "dataset.features",
                f"column '{column}' has no value at all; leave it out, or look at the export.",
            )


def _ended(text: str) -> str:
    return text if text.endswith((".", "?")) else f"{text}."


def _without_file(error: DataError) -> str:
    return str(error).removeprefix(f"{error.file}").lstrip(":, ")


def _named(slugs: list[str]) -> str:
    if len(slugs) == 1:
        return f"city '{slugs[0]}'"
    more = f" and {len(slugs) - _CITIES_SHOWN} more" if len(slugs) > _CITIES_SHOWN else ""
    return f"{len(slugs)} cities ({', '.join(slugs[:_CITIES_SHOWN])}{more})"
