"""The plan of one city: which steps run, in which order, under which names. Pure: no Airflow, no boto3.

``fleet file → config → plan → job requests → operators → DAG``: a plan holds what is known while DAGs are parsed.
What only a run knows (its as_of, its key) is in :class:`Run`; what only an attempt knows (job names, output URIs)
comes from the upstream task's result.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from city_fleet import clock, naming, raw_places, traffic_rules
from city_fleet.config import City, Fleet, JobSettings
from city_fleet.config.places import scripts_folder
from city_fleet.config.section import Section

PREPROCESS = "preprocess"
TRAIN = "train"
EVALUATE = "evaluate"
DECIDE = "decide"
REGISTER = "register"
GATE = "gate"
APPROVE = "approve"
PUBLISH = "publish"
KEEP_CHAMPION = "keep_champion"
RECORD = "record"
RECORDED = "recorded"
JOB_STEPS = (PREPROCESS, TRAIN, EVALUATE)
#: All three in one job, of a cohort of cities or of one of them.
COHORT = "cohort"

#: Settings of a city that make its model: after a change its model is out of date.
MAKES_THE_MODEL = ("dataset", "algorithm", "entry")
#: Settings of those sections that do not make it: `./fleet ingest` alone uses them, and a job gets the rows themselves.
MAKES_NO_MODEL = ("dataset.source", "dataset.city_column", "dataset.raw")

#: What the single own scripts of a fleet file are called in the folder of scripts.
OWN_SCRIPTS = {
    "preprocess": "preprocess.py",
    "train": "train.py",
    "evaluate": "evaluate.py",
    "features": "features.py",
    "requirements": "requirements.txt",
}

ENDPOINT_PURPOSE = "endpoint"
RECONCILE_PURPOSE = "reconcile"
REAPER_PURPOSE = "reaper"
DIGEST_PURPOSE = "digest"
RETIRE_PURPOSE = "retire"
ARRIVALS_PURPOSE = "arrivals"
CITIES_PURPOSE = "cities"
FORECASTS_PURPOSE = "forecasts"
HOURS_PURPOSE = "hours"
MONITOR_PURPOSE = "monitor"
#: Of the fleet-wide DAGs that every fleet has.
PURPOSES = (ENDPOINT_PURPOSE, RECONCILE_PURPOSE, REAPER_PURPOSE, DIGEST_PURPOSE, RETIRE_PURPOSE)


@dataclass(frozen=True)
class Step:
    """One task of a city's DAG.

    :param upstream: task ids that come directly before it.
    """

    task_id: str
    upstream: tuple[str, ...]


_STEPS = (
    Step(PREPROCESS, ()),
    Step(TRAIN, (PREPROCESS,)),
    Step(EVALUATE, (TRAIN,)),
    Step(DECIDE, (EVALUATE,)),
    Step(REGISTER, (DECIDE,)),
    Step(GATE, (REGISTER,)),
)
_END = (Step(RECORD, (PUBLISH, KEEP_CHAMPION)), Step(RECORDED, (RECORD,)))
_AUTO = (
    Step(PUBLISH, (GATE,)),
    Step(KEEP_CHAMPION, (GATE,)),
    *_END,
)
_MANUAL = (
    Step(APPROVE, (GATE,)),
    Step(PUBLISH, (APPROVE,)),
    Step(KEEP_CHAMPION, (GATE, APPROVE)),
    *_END,
)


def steps(approval: str = "auto") -> tuple[Step, ...]:
    """Return the tasks of a city's DAG, in the order in which they run.

    :param approval: the city's ``approval``; a person is asked only where it is ``manual``.
    """
    return _STEPS + (_MANUAL if approval == "manual" else _AUTO)


@dataclass(frozen=True)
class FixedChampion:
    """The model that served a city when a run began, which the run's own model is judged against.

    :param etag: of the live pointer it was read from.
    :param as_of: stamp of the moment up to which it has seen data.
    """

    target_model: str
    etag: str
    as_of: str


@dataclass(frozen=True)
class FixedParent:
    """The model of a city's parent that served when a run began, which the run's own model is judged against too.

    :param city: slug of the parent.
    """

    city: str
    target_model: str
    as_of: str


@dataclass(frozen=True)
class Run:
    """What the tasks of a DAG run of a city work on, alone or together with other DAG runs about the same.

    :param run_id: of the DAG run.
    :param key: ten hex digits that stand for what the run is about, in keys and job names: see ADR 0018.
    :param as_of: the moment up to which the run may see data, UTC.
    :param force: publish despite gate, order of as_of and pin.
    :param champion: the model that served when the run began; None when none did.
    :param parent: the model of the city's parent that served then; None where it has none, or nothing served.
    """

    run_id: str
    key: str
    as_of: datetime
    force: bool = False
    champion: FixedChampion | None = None
    parent: FixedParent | None = None

    @property
    def stamp(self) -> str:
        return naming.as_of_stamp(self.as_of)


@dataclass(frozen=True)
class CityPlan:
    """Everything about one city that is known without a run.

    :param fleet: the fleet's settings.
    :param city: the city's settings, defaults and overrides merged.
    """

    fleet: Fleet
    city: City

    @property
    def dag_id(self) -> str:
        """Return the id of the DAG that runs the city: its own, or its cohort's."""
        return self.fleet.dag_id_of(self.city.slug)

    @property
    def who(self) -> str:
        """Return whose the jobs are, in names and keys: the city's slug."""
        return self.city.slug

    @property
    def whose(self) -> str:
        """Return what errors about the jobs begin with."""
        return f"City {self.city.slug!r}"

    @property
    def keys(self) -> naming.Keys:
        return self.fleet.keys

    @property
    def raw(self) -> raw_places.RawPlace:
        """Return where the raw data of a run lie, with the folder that names of files stand behind.

        A parent's are those of its cities, below the prefix of them all.
        """
        if self.children:
            return raw_places.own_place(self.keys.bucket, self.keys.raw_prefix())
        return self.fleet.raw_place(self.city)

    @property
    def package_group(self) -> str:
        return naming.package_group(self.fleet.fleet, self.fleet.environment, self.city.slug)

    @property
    def endpoint(self) -> str:
        """Return the name of the shared endpoint that serves the city."""
        return endpoint_name(self.fleet, self.fleet.endpoint_of(self.city))

    @property
    def children(self) -> tuple[str, ...]:
        """Return the cities that the city is the parent of, by slug, sorted; none for most."""
        return self.fleet.children.get(self.city.slug, ())

    @property
    def tries(self) -> bool:
        """Tell whether the city's models are tried before they go live; nobody asks a parent by its own name."""
        return self.city.challenger.share > 0 and not self.children

    @property
    def scripts(self) -> Path:
        """Return the folder of the city's job scripts.

        :raises ConfigError: it has become a link out of the project.
        """
        return scripts_folder(self.city.scripts, self.fleet.path)

    @property
    def has_own_folder(self) -> bool:
        """Return whether the city has a folder of job scripts of its own."""
        return self.city.scripts != self.fleet.defaults.scripts

    @property
    def own_scripts(self) -> dict[str, Path]:
        """Return the city's single own scripts: the name in the folder of scripts → the file.

        :raises ConfigError: one has become a link out of the project.
        """
        return {
            OWN_SCRIPTS[field]: scripts_folder(given, self.fleet.path, f"own_scripts.{field}")
            for field, given in self.city.own_scripts
            if given is not None
        }

    @property
    def delay_seconds(self) -> int:
        """Return how long after a tick of the schedule the city's run starts: as its cohort's, where it is in one."""
        cohort = self.fleet.cohort_of(self.city.slug)
        who = self.city.slug if cohort is None else naming.cohort_home(cohort)
        return naming.spread_seconds(self.fleet.fleet, who, self.city.spread_minutes * 60)

    @property
    def settings_digest(self) -> str:
        """Return 16 hex digits over the settings that make the model: another digest means a model out of date.

        Every field of a section of ``MAKES_THE_MODEL`` counts, a new one too, unless ``MAKES_NO_MODEL`` names it.
        """
        counted: dict[str, Any] = {}
        for name in MAKES_THE_MODEL:
            section = getattr(self.city, name)
            if not isinstance(section, Section):
                counted[name] = section
                continue
            left_out = {field for field in type(section).model_fields if f"{name}.{field}" in MAKES_NO_MODEL}
            counted[name] = section.model_dump(mode="json", exclude=left_out)
        if self.children:
            counted["children"] = list(self.children)
        return naming.digest(counted, 16)

    def last_moment(self, moment: datetime) -> datetime | None:
        """Return the last tick of a schedule that is over at a moment: no data are waited for after it.

        Where the schedule is replayed, it is the last one whose night has come.

        :return: None while the schedule goes on, has no end, or has no tick before its end.
        """
        end = self.city.end_date
        if end is None or moment.astimezone(UTC).date() <= end:
            return None
        return self.city.last_tick(moment)

    def check_as_of(self, as_of: datetime) -> datetime:
        """Return the as_of of a run, if a run may have it.

        :raises ValueError: it lies in the future, whose data are not known yet.
        """
        if as_of > datetime.now(UTC) + clock.CLOCKS_DIFFER:
            got = f"city {self.city.slug!r}: as_of {as_of.isoformat()}"
            raise ValueError(f"{got} lies in the future; allowed: a moment up to now")
        return as_of

    def settings(self, step: str) -> JobSettings:
        """Return instance, volume and time limit of a job step."""
        return self.city.training if step in (TRAIN, COHORT) else self.city.processing

    def about(self, as_of: datetime, raw: str, code: str) -> str:
        """Return a digest of what a run is about: equal for whoever starts it, as long as nothing of it changes.

        Left out is how its jobs run (instances, limits, spot, tags), what is decided after them (gate, approval,
        force), and who started it.

        :param raw: digest of the city's raw data.
        :param code: digest of the job scripts.
        """
        return naming.digest(
            {
                "fleet": self.fleet.fleet,
                "environment": self.fleet.environment,
                "city": self.city.slug,
                "as_of": naming.as_of_stamp(as_of),
                "raw": raw,
                "settings": self.settings_digest,
                "code": code,
            },
            32,
        )


def plan_city(fleet: Fleet, slug: str) -> CityPlan:
    """Return the plan of one city of a fleet.

    :raises KeyError: the fleet has no such city, or its settings are broken.
    """
    return CityPlan(fleet=fleet, city=fleet.cities[slug])


def endpoint_name(fleet: Fleet, name: str = "") -> str:
    """Return the name of a shared endpoint of a fleet: the fleet file's, or ``<fleet>--<environment>[--<name>]``.

    Another SageMaker endpoint may have taken over for it: ``state/shared_endpoints.py`` says which answers.

    :param name: of the fleet's ``endpoints``; "" for its own.
    """
    return fleet.endpoint_name(name)


def capture_rule(fleet: Fleet) -> traffic_rules.CaptureRule:
    """Return which predictions of a fleet are kept, and what of them."""
    found, mask = fleet.capture, {name.lower() for name in fleet.capture.mask}
    targets = {fleet.dataset.target.column, *(city.dataset.target.column for city in fleet.cities.values())}
    return traffic_rules.CaptureRule(
        share=found.share,
        mask=found.mask,
        mask_answers=any(target.lower() in mask for target in targets),
        cities=found.cities,
        flush_seconds=found.flush_seconds,
        kms_key=fleet.kms_key,
    )


def predict_variables(fleet: Fleet, *, embedded: bool = True) -> dict[str, str]:
    """Return the environment variables of a fleet's predict function.

    :param embedded: whether its log is CloudWatch's, which makes metrics of lines in it.
    """
    metrics = embedded and fleet.metrics.enabled
    variables = {
        "CITY_FLEET_BUCKET": fleet.bucket,
        "CITY_FLEET_FLEET": fleet.fleet,
        "CITY_FLEET_ENVIRONMENT": fleet.environment,
        "CITY_FLEET_ENDPOINT": endpoint_name(fleet),
        traffic_rules.METRICS: traffic_rules.EMBEDDED if metrics else "",
        traffic_rules.METRICS_CITIES: ",".join(fleet.metrics.cities),
        traffic_rules.CAPTURE: capture_rule(fleet).text() if fleet.capture.share else "",
    }
    return {name: value for name, value in variables.items() if value}


def forecast_night(fleet: Fleet, at: datetime) -> str:
    """Return of which night a table of forecasts is that is made at a moment: the newest tick of the fleet's schedule.

    :return: an ISO date; the day of the moment where the schedule has no tick yet, or there is none.
    """
    return (fleet.last_tick(at) or at).date().isoformat()


def forecast_cities(fleet: Fleet) -> dict[str, str]:
    """Return the cities that a table of forecasts is about: all that have data of their own, and those whose settings
    are broken now, since a model of theirs may serve.

    :return: slug → name.
    """
    named = {slug: city.shown_name for slug, city in fleet.with_raw_data.items()}
    return {**{slug: slug for slug in fleet.broken}, **named}
