"""The fleet file as frozen models: every field with its type, default and limits.

Sections hold no defaults that depend on each other; what spans two fields is checked in the section's own
validator, what spans two sections in :func:`city_problems`. docs/fleet-file.md explains each field.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, PrivateAttr, model_validator

from city_fleet import raw_places, ticks
from city_fleet.config.algorithm_section import Algorithm
from city_fleet.config.budget_section import Budget
from city_fleet.config.challenger_section import TrialOfRuns
from city_fleet.config.dataset import Dataset
from city_fleet.config.digest_section import Digest
from city_fleet.config.endpoint_section import (
    MULTI_CONTAINER,
    OWN,
    Endpoint,
    Endpoints,
    candidates_problem,
    claims_problems,
    endpoint_of,
)
from city_fleet.config.events_section import Events
from city_fleet.config.forecasts_section import ForecastTables
from city_fleet.config.gate_section import Approval, Breaker, Gate, Reconcile
from city_fleet.config.gate_section import problems as gate_problems
from city_fleet.config.installations_section import Installation
from city_fleet.config.last_good import LastGood
from city_fleet.config.list_section import CityList
from city_fleet.config.monitor_section import Decay, Monitor
from city_fleet.config.name_types import (
    Bucket,
    CitySlug,
    Environment,
    FleetSlug,
    FolderOrFile,
    InstallationName,
    KmsKey,
    PoolName,
    ProcessingInstance,
    RawName,
    Region,
    Role,
    Tag,
    TrainingInstance,
)
from city_fleet.config.network_section import Network
from city_fleet.config.places import replay_since
from city_fleet.config.section import Section, or_refuse
from city_fleet.config.traffic_section import Capture, TrafficMetrics
from city_fleet.config.value_types import (
    Day,
    FirstDay,
    Flag,
    Problem,
    Range,
    Schedule,
    refuse,
)
from city_fleet.errors import ConfigError, show_value
from city_fleet.naming import (
    Keys,
    city_dag_id,
    cohort_dag_id,
    endpoint_name,
    jobs_pool,
    named_endpoint,
    slug,
)

PROCESSING_MAX_SECONDS = 777_600
TRAINING_MAX_SECONDS = 2_419_200
MAX_VOLUME_GB = 16_384


class OwnScripts(Section):
    """Single files that take the place of those of the scripts folder, or stand beside them."""

    preprocess: FolderOrFile | None = None
    """A preprocess.py of its own, as a path below the project's root."""
    train: FolderOrFile | None = None
    """A train.py of its own."""
    evaluate: FolderOrFile | None = None
    """An evaluate.py of its own."""
    features: FolderOrFile | None = None
    """A features.py, which preprocess.py calls."""
    requirements: FolderOrFile | None = None
    """A requirements.txt whose every line is pinned by == and --hash; installed in the jobs before they start."""


class JobSettings(Section):
    """Where a processing job (preprocess, evaluate) runs."""

    instance_type: ProcessingInstance = "ml.t3.medium"
    """SageMaker instance type."""
    volume_size_gb: Annotated[int, Range(True, 1, MAX_VOLUME_GB)] = 5
    """Disk of the job, in GB."""
    max_runtime_seconds: Annotated[int, Range(True, 60, PROCESSING_MAX_SECONDS)] = 900
    """SageMaker stops the job after this time."""


class TrainingSettings(JobSettings):
    """Where the training job runs."""

    instance_type: TrainingInstance = "ml.m5.large"
    """SageMaker instance type."""
    max_runtime_seconds: Annotated[int, Range(True, 60, TRAINING_MAX_SECONDS)] = 900
    """SageMaker stops the job after this time; that of a cohort 6 seconds later for each city but one."""
    spot: Flag = False
    """Train on spare capacity: cheaper, may wait or be interrupted."""
    max_wait_seconds: Annotated[int, Range(True, 60, TRAINING_MAX_SECONDS)] | None = None
    """With spot: longest time for waiting and running together; at least max_runtime_seconds."""
    on_demand_fallback: Flag = False
    """With spot: when there was not enough spare capacity in time, train on demand at the full price."""
    keep_alive_seconds: Annotated[int, Range(True, 1, 3600)] | None = None
    """Keep the instance for the next job so long (SageMaker's warm pool), and pay for it; not with spot; null: no."""

    @model_validator(mode="after")
    def _check(self) -> TrainingSettings:
        if self.spot and (self.max_wait_seconds is None or self.max_wait_seconds < self.max_runtime_seconds):
            allowed = f"at least max_runtime_seconds ({self.max_runtime_seconds}), because spot is true"
            raise refuse(Problem(show_value(self.max_wait_seconds), allowed, path=("max_wait_seconds",)))
        if self.spot and self.keep_alive_seconds is not None:
            allowed = "null, because spot is true: SageMaker keeps no spare capacity"
            raise refuse(Problem(show_value(self.keep_alive_seconds), allowed, path=("keep_alive_seconds",)))
        return self


class Pools(Section):
    """Airflow pools of the tasks."""

    jobs: PoolName | None = None
    """Pool of the tasks that start a SageMaker job and wait (with include_deferred); null: city_fleet_<environment>."""


class Reaper(Section):
    """Stopping jobs that no task waits for any more."""

    schedule: Schedule = "*/15 * * * *"
    """When to look, as a cron expression or preset, UTC; null for never."""
    grace_minutes: Annotated[int, Range(True, 1, 1440)] = 15
    """Age a job must have before it can count as an orphan."""


class Retire(Section):
    """Deleting models, runs and versions that nothing needs any more."""

    schedule: Schedule = "0 12 * * 0"
    """When to look, as a cron expression or preset, UTC; null for never."""
    keep_newest: Annotated[int, Range(True, 1, 10_000)] = 5
    """Models of a city that stay because they are the newest, by as_of."""
    keep_predecessors: Annotated[int, Range(True, 1, 10_000)] = 3
    """Models of a city that stay because a rollback could return to them."""
    grace_days: Annotated[int, Range(True, 1, 3650)] = 14
    """How long nothing must have needed something before it is deleted."""
    delete_packages: Flag = True
    """Delete the versions of deleted models from the registry too; false keeps them, without their artifacts."""


class Defaults(Section):
    """Settings of every city; each key may be overridden per city."""

    algorithm: Algorithm = Algorithm()
    """The image, and what is trained in it."""
    scripts: FolderOrFile = "include/scripts"
    """Folder with preprocess.py, train.py and evaluate.py."""
    own_scripts: OwnScripts = OwnScripts()
    """Single files that take the place of those of the scripts folder, or stand beside them."""
    entry: Literal["script", "none"] = "script"
    """What the training job starts: train.py of the scripts, or none: the image's own train command."""
    processing: JobSettings = JobSettings()
    """Where preprocess and evaluate run."""
    training: TrainingSettings = TrainingSettings()
    """Where training runs."""
    gate: Gate = Gate()
    """The rule by which a new model goes live."""
    approval: Approval = "auto"
    """Who lets a model go live that the gate promotes: the run itself, or a person."""
    approval_expires_hours: Annotated[int, Range(True, 1, 8760)] = 72
    """How long a model waits for a person; then it counts as rejected."""
    challenger: TrialOfRuns = TrialOfRuns()
    """Whether a model that may go live is tried beside the champion first."""
    decay: Decay = Decay()
    """From when on a model counts as no longer right, and what is done then."""
    retries: Annotated[int, Range(True, 0, 20)] = 2
    """Times Airflow tries a failed task again."""
    retry_delay_seconds: Annotated[int, Range(True, 0, 86_400)] = 60
    """Pause before a task is tried again; each further one is up to twice as long, half an hour at most."""
    waiter_delay_seconds: Annotated[int, Range(True, 1, 3600)] = 30
    """Pause between two looks at a running job, or at a model that waits for a person."""
    capacity_wait_seconds: Annotated[int, Range(True, 0, 604_800)] = 21_600
    """How long a task waits out throttling, missing capacity or an outage of AWS, without using up a retry."""
    stale_after_hours: Annotated[int, Range(True, 1, 8760)] = 12
    """Time after a tick of the schedule by which its model should serve; later on the city counts as stale."""
    parent: CitySlug | None = None
    """A city whose model, pooled over its cities, answers for one that has no model of its own that may."""
    stale_after: Annotated[int, Range(True, 1, 10_000)] | None = None
    """Periods that the known data may be newer than a model's before the parent answers; null: holdout_periods."""
    cohort: Annotated[int, Range(True, 2, 1000)] | None = None
    """About so many cities share one training job and one DAG; null: a DAG and three jobs of the city's own."""


class _Shared(Section):
    """What a fleet sets and a city may set again."""

    owner: Tag = "airflow"
    """Owner of the DAGs."""
    tags: tuple[Tag, ...] = ()
    """Tags of the DAGs."""
    schedule: Schedule = "@daily"
    """Cron expression, preset, or null for no schedule."""
    spread_minutes: Annotated[int, Range(True, 0, 1439)] = 0
    """Each city starts at its own minute of this window after a tick of the schedule, the same every time."""
    start_date: FirstDay
    """First day of the schedule, UTC."""
    end_date: Day | None = None
    """Last day of the schedule, UTC; null (or 9999-12-31) for none."""
    dataset: Dataset
    """What the raw data look like and what is made of them."""

    @property
    def replay(self) -> ticks.Replay | None:
        """Return how this installation replays the schedule; None where it does not, as in production."""
        return ticks.replay(self.schedule, replay_since(), first_day=self.start_date, last_day=self.end_date)

    def last_tick(self, at: datetime) -> datetime | None:
        """Return the newest tick of the schedule whose run has its turn at a moment; None where there is none."""
        if (replayed := self.replay) is not None:
            return replayed.due(at)
        return ticks.last_tick(self.schedule, at, first_day=self.start_date, last_day=self.end_date)

    def is_due_in(self, since: datetime, until: datetime) -> bool:
        """Tell whether the schedule has a tick after a moment whose run starts before the end of another."""
        tick = self.last_tick(until - timedelta(minutes=self.spread_minutes))
        return tick is not None and tick > since


class City(_Shared, Defaults):
    """All settings of one city: the fleet's, the defaults and the city's own overrides merged."""

    slug: CitySlug
    """The city in every id, name and key."""
    name: RawName
    """The city's name in the raw data."""

    @property
    def stale_periods(self) -> int | None:
        """Return by how many periods what is known may be newer than the model's data; None without a parent."""
        if self.parent is None or self.dataset.kind != "series":
            return None
        return self.stale_after or self.dataset.holdout_periods

    @property
    def code_name(self) -> str:
        """Return what stands for the city's job scripts: the folder, with the single own ones if it has any."""
        own = [f"{name}={given}" for name, given in self.own_scripts if given is not None]
        return " ".join([self.scripts, *own])

    _written_name: str | None = PrivateAttr(default=None)

    @property
    def shown_name(self) -> str:
        """Return the name for people: as the fleet file writes it, without what its ``${NAME}`` stand for."""
        return self._written_name or self.name

    def write_name(self, written: str | None) -> None:
        """Keep how the fleet file writes the name, where that differs from the name itself."""
        self._written_name = written


class FleetSettings(_Shared):
    """Everything in a fleet file but its cities."""

    fleet: FleetSlug
    """Slug of the fleet: prefix of all its DAG ids, names and keys."""
    environment: Environment = "laptop"
    """Which installation this is, e.g. laptop, staging, production; part of keys and AWS names."""
    bucket: Bucket
    """S3 bucket of the fleet."""
    role: Role
    """IAM role that jobs and endpoint run under."""
    region: Region = "us-east-1"
    """AWS region."""
    kms_key: KmsKey | None = None
    """KMS key of all that is written to S3 and of volumes of jobs and endpoint; null: the bucket's, and AWS's own."""
    network: Network | None = None
    """The VPC that jobs and endpoint run in; null: SageMaker's own network, with a way into the internet."""
    defaults: Defaults = Defaults()
    """Settings of every city."""
    endpoint: Endpoint = Endpoint()
    """The shared endpoint: of all cities, but for those that one of endpoints serves."""
    endpoints: Endpoints = Field(default={})
    """More shared endpoints, by name, each for the cities of some algorithms or images."""
    pools: Pools = Pools()
    """Airflow pools of the tasks."""
    reaper: Reaper = Reaper()
    """Stopping jobs that no task waits for any more."""
    digest: Digest = Digest()
    """The morning's message about the night's runs."""
    tracker: Literal["mlflow"] | None = None
    """Where runs are told of, too: mlflow, the server of the Airflow connection city_fleet_mlflow; null: nowhere."""
    retire: Retire = Retire()
    """Deleting models, runs and versions that nothing needs any more."""
    breaker: Breaker = Breaker()
    """When a night's models wait for a person."""
    budget: Budget | None = None
    """What jobs may cost before a person is asked; null: any amount, and nobody is."""
    reconcile: Reconcile = Reconcile()
    """Carrying out what people have decided in the registry."""
    events: Events = Events()
    """Retraining a city when its raw data change."""
    city_list: CityList = CityList()
    """Where the list of cities that cities.from names is pulled from."""
    forecasts: ForecastTables = ForecastTables()
    """Each night's forecasts of all cities as one table, for whoever reads them without an endpoint."""
    metrics: TrafficMetrics = TrafficMetrics()
    """CloudWatch metrics of predictions, which the predict function writes into its log."""
    capture: Capture = Capture()
    """A sample of predictions with what was asked, as JSON lines in the bucket."""
    monitor: Monitor = Monitor()
    """Looking whether the models that serve are still right."""
    installations: dict[InstallationName, Installation] = Field(
        default={}, json_schema_extra={"additionalProperties": False}
    )
    """Other installations of the fleet by name, which models can be carried from."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.dataset.kind != "series":
            why = f"because dataset.kind is {self.dataset.kind}: a row of a table has no next period"
            for name, given, allowed in (
                ("schedule", self.forecasts.schedule, "null"),
                ("catalog", self.forecasts.catalog or None, "false"),
            ):
                if given is not None:
                    raise refuse(Problem(show_value(given), f"{allowed}, {why}", path=("forecasts", name)))
            if self.monitor.schedule is not None and self.capture.share == 0:
                got = show_value(self.monitor.schedule)
                allowed = (
                    f"null, or capture.share above 0, because dataset.kind is {self.dataset.kind}: what is looked at "
                    "are captured predictions and their outcomes"
                )
                raise refuse(Problem(got, allowed, path=("monitor", "schedule")))
        return self

    @model_validator(mode="after")
    def _check_endpoints(self) -> FleetSettings:
        return or_refuse(self, [*claims_problems(self.endpoints), *self._endpoints_of_one_name()])

    def endpoint_name(self, name: str = OWN) -> str:
        """Return what one of the fleet's shared endpoints is called.

        :param name: of ``endpoints``, or "" for the fleet's own.
        """
        own = self.endpoint.name or endpoint_name(self.fleet, self.environment)
        return own if name == OWN else self.endpoints[name].name or named_endpoint(own, name)

    def _endpoints_of_one_name(self) -> Iterator[Problem]:
        taken = {self.endpoint_name(): "endpoint"}
        for name in self.endpoints:
            called = self.endpoint_name(name)
            other = taken.setdefault(called, f"endpoints.{name}")
            if other != f"endpoints.{name}":
                got = f"{called!r}, which {other} is called already"
                yield Problem(got, "a name of its own for each endpoint", path=("endpoints", name, "name"))


class Fleet(FleetSettings):
    """A fleet file that can be used: its settings and its cities.

    Frozen; models are shared between cities that override nothing, so nothing may be changed in place.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    path: Path
    """The fleet file."""
    cities: dict[str, City]
    """The cities without a mistake, by slug, sorted."""
    broken: dict[str, ConfigError]
    """The first mistake of each city that has one, by slug (or what comes nearest to one), sorted."""
    errors: tuple[ConfigError, ...] = ()
    """Every mistake of every broken city, by line."""
    children: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """The cities of each parent, by slug, also of those that are not in ``cities`` because nobody needs them here."""
    members: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """The cities of each cohort, by the cohort's name, also of those that are not in ``cities``."""
    last_good: LastGood | None = None
    """Set where the fleet file can't be used, and these are the settings of before."""

    @property
    def keys(self) -> Keys:
        """Return where this installation of the fleet keeps its objects."""
        return Keys(self.bucket, self.fleet, self.environment)

    def cities_of_owner(self, name: str) -> list[str]:
        """Return the cities that have an owner of this name, or a tag; sorted by slug."""
        return [slug for slug, city in self.cities.items() if name == city.owner or name in city.tags]

    @property
    def owners(self) -> list[str]:
        """Return the owners of the cities and their tags, sorted."""
        cities = self.cities.values()
        return sorted({city.owner for city in cities} | {tag for city in cities for tag in city.tags})

    def raw_elsewhere(self) -> dict[str, dict[str, str]]:
        """Return the templates by which raw data are read in place, with what they alone don't tell of their cities.

        :return: template → name in the data → slug, of the cities whose slug is not made of their name; of a template
            that is one city's, the empty name.
        """
        found: dict[str, dict[str, str]] = {}
        for city in self.cities.values():
            template = city.dataset.raw
            if template is None:
                continue
            names = found.setdefault(template, {})
            if "{" not in template:
                names[""] = city.slug
            elif "{name}" in template and _slug_of(city.name) != city.slug:
                names[city.name] = city.slug
        return found

    def raw_place(self, city: City | str) -> raw_places.RawPlace:
        """Return where a city's raw data lie.

        :param city: its settings, or its slug; one that is not in the fleet file has the fleet's own prefix.
        """
        known = self.cities.get(city) if isinstance(city, str) else city
        if known is None or known.dataset.raw is None:
            return raw_places.own_place(
                self.bucket, self.keys.raw(city if isinstance(city, str) else city.slug)
            )
        return raw_places.place_of(known.dataset.raw, known.slug, known.name)

    @property
    def with_raw_data(self) -> dict[str, City]:
        """Return the cities that have raw data of their own: all but the parents."""
        return {slug: city for slug, city in self.cities.items() if slug not in self.children}

    def endpoint_of(self, city: City) -> str:
        """Return which endpoint serves a city: a name of ``endpoints``, or "" for the fleet's own."""
        return endpoint_of(city.algorithm, self.endpoints)

    def endpoint_settings(self, name: str = OWN) -> Endpoint:
        """Return the settings of one of the fleet's endpoints.

        :param name: of ``endpoints``, or "" for the fleet's own.
        """
        return self.endpoint if name == OWN else self.endpoints[name]

    @property
    def endpoint_names(self) -> tuple[str, ...]:
        """Return the names of all endpoints, the fleet's own, "", first."""
        return (OWN, *self.endpoints)

    @cached_property
    def _cohort_of(self) -> dict[str, str]:
        return {slug: name for name, slugs in self.members.items() for slug in slugs}

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy, which reckons anew what follows from its own fields."""
        copy = super().model_copy(update=update, deep=deep)
        copy.__dict__.pop("_cohort_of", None)
        return copy

    def cohort_of(self, slug: str) -> str | None:
        """Return the name of the cohort that a city is in; None for one with a DAG and jobs of its own."""
        return self._cohort_of.get(slug)

    def dag_id_of(self, slug: str) -> str:
        """Return the id of the DAG that runs a city: its cohort's, or its own."""
        cohort = self.cohort_of(slug)
        return city_dag_id(self.fleet, slug) if cohort is None else cohort_dag_id(self.fleet, cohort)

    @property
    def jobs_pool(self) -> str:
        """Return the Airflow pool of the tasks that start a job and wait for it."""
        return self.pools.jobs or jobs_pool(self.environment)


def _slug_of(name: str) -> str | None:
    try:
        return slug(name)
    except ValueError:
        return None


def city_problems(city: City, settings: FleetSettings | None = None) -> list[Problem]:
    """Return the problems between sections of one city, with paths relative to the city.

    :param settings: the fleet's; None where they are wrong themselves.
    """
    problems = []
    network = settings.network if settings is not None else None
    if settings is not None and settings.endpoints:
        split = candidates_problem(city.algorithm, settings.endpoints)
        problems += [split] if split is not None else []
    if settings is not None and city.challenger.share > 0:
        name = endpoint_of(city.algorithm, settings.endpoints)
        kind = (settings.endpoint if name == OWN else settings.endpoints[name]).kind
        if kind == MULTI_CONTAINER:
            allowed = "0, because its models get a container of their own, and what is tried is loaded by an endpoint"
            problems.append(Problem(show_value(city.challenger.share), allowed, path=("challenger", "share")))
    if network is not None and network.isolate_processing and city.own_scripts.requirements is not None:
        allowed = "null where network.isolate_processing is true: without a network nothing can be installed"
        got = show_value(city.own_scripts.requirements)
        problems.append(Problem(got, allowed, path=("own_scripts", "requirements")))
    if city.end_date is not None and city.end_date < city.start_date:
        allowed = f"a date from start_date ({city.start_date}) on, or null"
        problems.append(Problem(show_value(city.end_date), allowed, path=("end_date",)))
    if city.dataset.kind == "series" and city.gate.minimum_rows > city.dataset.holdout_periods:
        most = (
            city.dataset.holdout_periods
        )  # where the data allow no second block, and of an earlier champion
        allowed = f"at most dataset.holdout_periods ({most}), else nothing ever goes live"
        problems.append(Problem(str(city.gate.minimum_rows), allowed, path=("gate", "minimum_rows")))
    max_age = city.gate.data.max_age
    if max_age is not None and city.dataset.kind == "table" and city.dataset.time is None:
        allowed = "null, or a dataset.time: without one nobody can say how old the data are"
        problems.append(Problem(str(max_age), allowed, path=("gate", "data", "max_age")))
    return problems + gate_problems(city.gate, city.dataset.task)
