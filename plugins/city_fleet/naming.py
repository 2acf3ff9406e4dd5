"""Every name City Fleet gives to something: DAG ids, AWS names, S3 keys, target models. Pure, stdlib only.

SageMaker names have at most 63 characters of ``[a-zA-Z0-9](-*[a-zA-Z0-9])*``; a slug's underscores become
hyphens. This module is the only place that knows the limit.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from dataclasses import dataclass
from datetime import date, datetime

from city_fleet import clock

MAX_AWS_NAME_LENGTH = 63
#: Tags of everything in AWS that an installation makes: whose it is.
TAG_FLEET = "city-fleet:fleet"
TAG_ENVIRONMENT = "city-fleet:environment"
#: What the tag of every DAG begins with that says its environment.
ENVIRONMENT_TAG = "environment:"
#: What the ids of DAG runs begin with that arrivals have started, and requests for another moment's data.
ARRIVAL_RUN, AS_OF_RUN = "arrival__", "as_of__"
#: What stands directly below a fleet in a bucket: its raw data, and the folders of a layout without environments.
RESERVED_ENVIRONMENTS = ("code", "history", "live", "models", "raw", "runs", "state")
_SLUG = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*")
_TARGET_MODEL = re.compile(
    r"(?P<city>[a-z0-9]+(?:_[a-z0-9]+)*)/(?P<as_of>\d{8}T\d{6}Z)-(?P<sha>[0-9a-f]{12})\.tar\.gz"
)


def is_slug(text: str) -> bool:
    """Tell whether ``text`` is a valid slug, ``[a-z0-9]+(_[a-z0-9]+)*``."""
    return _SLUG.fullmatch(text) is not None


def slug(name: str) -> str:
    """Return the slug of a raw name: ``"Bryan-College Station"`` is ``"bryan_college_station"``.

    :raises ValueError: the name holds no letter or digit that a slug can keep.
    """
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    result = re.sub(r"[^a-z0-9]+", "_", ascii_name.lower()).strip("_")
    if not result:
        raise ValueError(f"no slug can be made of {name!r}: it holds no letter from a to z and no digit")
    return result


def is_data_file(name: str) -> bool:
    """Tell whether a run reads an object below a city's raw data.

    :param name: its key, or the end of it.
    """
    # As the preprocess job knows them (``include/scripts/raw_records.py``).
    name = name.rsplit("/", 1)[-1]
    return name.lower().endswith((".csv", ".csv.gz", ".parquet")) and not name.startswith((".", "_"))


def digest(value: object, length: int = 10) -> str:
    """Return the first ``length`` hex digits of the SHA-256 of ``value`` as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def aws_name(*parts: str, suffix: str = "") -> str:
    """Return a valid SageMaker name of at most 63 characters for slugs: ``texas-housing--laptop--austin``.

    Two lists of slugs never get one name. A slug's underscores become single hyphens and a slug holds no two of them
    in a row, so the double hyphens between slugs can be told from those within; a name that is too long loses its
    end to a triple hyphen and ten digits of its hash.

    :param parts: slugs.
    :param suffix: kept whole, for a digest.
    """
    full = _joined(*parts)
    end = f"-{suffix}" if suffix else ""
    if len(full + end) <= MAX_AWS_NAME_LENGTH:
        return full + end
    marker = f"---{digest(full)}{end}"
    return full[: MAX_AWS_NAME_LENGTH - len(marker)].rstrip("-") + marker


def _joined(*slugs: str) -> str:
    return "--".join(slug.replace("_", "-") for slug in slugs)


def city_dag_id(fleet: str, city: str) -> str:
    """Return the id of a city's DAG, ``<fleet>.<city>``."""
    return f"{fleet}.{city}"


def fleet_dag_id(fleet: str, purpose: str) -> str:
    """Return the id of a fleet-wide DAG. No slug starts with ``_``, so it never meets a city's."""
    return f"{fleet}._{purpose}"


def cohort_name(number: int) -> str:
    """Return the name of a cohort of cities, ``cohort_007``.

    :param number: from 1.
    """
    return f"cohort_{number:03d}"


def cohort_title(cohort: str) -> str:
    """Write the name of a cohort for people: ``Cohort 7`` of ``cohort_007``."""
    return f"Cohort {int(cohort.rpartition('_')[2])}"


def cohort_number(slug: str, count: int) -> int:
    """Return the number of a city's cohort, from 1, where there are so many: by a hash of its slug alone."""
    return jump_hash(int.from_bytes(hashlib.sha256(slug.encode()).digest()[:8], "big"), count) + 1


def jump_hash(key: int, buckets: int) -> int:
    """Return a key's bucket, from 0: with a bucket more, one key of so many moves, and it moves to the new one.

    Lamping & Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm", 2014.

    :param key: 64 bits.
    :param buckets: at least 1.
    """
    bucket, following = -1, 0
    while following < buckets:
        bucket = following
        key = (key * 2862933555777941757 + 1) & 0xFFFF_FFFF_FFFF_FFFF
        following = int((bucket + 1) * ((1 << 31) / ((key >> 33) + 1)))
    return bucket


def cohort_home(cohort: str) -> str:
    """Return what stands for a cohort where else a city's slug does: ``_cohort_007``, which is no slug."""
    return f"_{cohort}"


def cohort_dag_id(fleet: str, cohort: str) -> str:
    """Return the id of the DAG of a cohort, ``<fleet>._cohort_007``."""
    return fleet_dag_id(fleet, cohort)


def is_of_city(dag_id: str, fleet: str, city: str) -> bool:
    """Tell whether a DAG may have run a city: its own, or that of a cohort, which it may have left since."""
    return dag_id == city_dag_id(fleet, city) or is_of_cohort(dag_id, fleet)


def is_of_cohort(dag_id: str, fleet: str) -> bool:
    """Tell whether a DAG is that of a cohort of a fleet."""
    return re.fullmatch(r"_cohort_\d{3,}", dag_id.removeprefix(f"{fleet}.")) is not None


def job_name(fleet: str, environment: str, city: str, step: str, *, request_digest: str, attempt: int) -> str:
    """Return ``<fleet>--<environment>--<city>-<step>-<digest>-<attempt>``; equal inputs always give an equal name.

    Where that is too long the end of the city goes: it is the digest that tells jobs apart.

    :param request_digest: ten digits over all that makes the job, its installation and city too.
    """
    end = f"-{step.replace('_', '-')}-{request_digest}-{attempt}"
    return _joined(fleet, environment, city)[: MAX_AWS_NAME_LENGTH - len(end)].rstrip("-") + end


def job_prefix(fleet: str, environment: str) -> str:
    """Return what the names of all jobs of an installation begin with, also of those that had to be shortened.

    Other names may begin with it too: ``a--b`` is the beginning of ``a--b-c``. Only tags tell whose a job is.
    """
    # What is left of a name before "-preprocess-<ten digits>-999", the longest end there is.
    return f"{_joined(fleet, environment)}--"[:37].rstrip("-")


def package_group(fleet: str, environment: str, city: str) -> str:
    return aws_name(fleet, environment, city)


def package_groups_part(fleet: str, environment: str) -> str:
    """Return what the names of all package groups of an installation begin with; others may begin with it as well."""
    # What is left of a name before "---<ten digits>".
    return f"{_joined(fleet, environment)}--"[:50].rstrip("-")


def endpoint_name(fleet: str, environment: str) -> str:
    return aws_name(fleet, environment)


def named_endpoint(base: str, name: str) -> str:
    """Return the name of one of a fleet's ``endpoints``: ``texas-housing--laptop--sklearn``.

    :param base: name of the fleet's own.
    :param name: a slug.
    """
    return _with_end(base, f"--{name.replace('_', '-')}")


def endpoint_beside(endpoint: str, content: str) -> str:
    """Return the name of a SageMaker endpoint that is to take over from another one.

    :param endpoint: name of the shared endpoint that it serves for.
    :param content: hex digits of what it serves with.
    """
    return _with_end(endpoint, f"---{content[:10]}")


def _with_end(name: str, end: str) -> str:
    if len(name + end) <= MAX_AWS_NAME_LENGTH:
        return name + end
    marker = f"---{digest(name, 6)}{end}"
    return name[: MAX_AWS_NAME_LENGTH - len(marker)].rstrip("-") + marker


def container_hostname(city: str, artifact_sha256: str) -> str:
    """Return the content-addressed name of a model's container, as sent in TargetContainerHostname.

    Where that is too long the end of the city goes: it is the digest that tells models apart.
    """
    end = f"-{artifact_sha256[:12]}"
    return city.replace("_", "-")[: MAX_AWS_NAME_LENGTH - len(end)].rstrip("-") + end


def arrivals_asset(region: str, queue: str) -> str:
    """Return name and URI of the asset that stands for a queue of arrivals."""
    return f"sqs://{region}/{queue}"


def dead_letter_queue(queue: str) -> str:
    """Return the queue of messages of a queue of arrivals that nothing could be done with."""
    return f"{queue}-failed"


def jobs_pool(environment: str) -> str:
    """Return the Airflow pool of an environment's jobs: a rehearsal takes no slot of production."""
    return f"city_fleet_{environment}"


def fleet_tag(fleet: str) -> str:
    """Return the tag by which Airflow says of which fleet a DAG is."""
    return f"fleet:{fleet}"


def environment_tag(environment: str) -> str:
    """Return the tag by which Airflow says of which environment a DAG is."""
    return f"{ENVIRONMENT_TAG}{environment}"


def run_key(about: str, repetition: int) -> str:
    """Return the 10 hex digits that stand for a run in keys and job names.

    :param about: digest of what the run is about.
    :param repetition: 1 for the first run about it; each that was asked for on purpose counts one more.
    """
    return digest([about, repetition], 10)


def tag_of_run_id(run_id: str) -> str:
    """Return a DAG run's id as a tag's value, of at most 256 characters.

    Airflow allows ``~`` in run ids and AWS does not allow it in tags; ``@`` is the other way round.
    """
    return run_id.replace("~", "@")


def run_id_of_tag(value: str) -> str:
    """Return the DAG run id that :func:`tag_of_run_id` has written."""
    return value.replace("@", "~")


def spread_seconds(fleet: str, city: str, window_seconds: int) -> int:
    """Return a city's own place in a window, 0 to ``window_seconds``: the same every night, even over many cities."""
    return int(digest([fleet, city], 12), 16) % (window_seconds + 1)


def as_of_stamp(as_of: datetime) -> str:
    """Return an as_of as it stands in keys, ``20140101T000000Z``.

    :raises ValueError: the datetime has no time zone.
    """
    try:
        return clock.stamp(as_of)
    except ValueError as error:
        raise ValueError(f"as_of {error}") from None


def parse_as_of(text: str) -> datetime:
    """Read an as_of, as :func:`clock.parse` reads instants.

    :raises ValueError: with the text and what is allowed.
    """
    try:
        return clock.parse(text)
    except ValueError as error:
        raise ValueError(f"as_of: {error}") from None


def target_model(city: str, as_of: datetime, artifact_sha256: str) -> str:
    """Return the content-addressed key of an artifact below the endpoint's prefix, as sent in TargetModel."""
    return f"{city}/{as_of_stamp(as_of)}-{artifact_sha256[:12]}.tar.gz"


def parse_target_model(text: str) -> tuple[str, datetime, str]:
    """Split a target model into city, as_of and the first 12 digits of the artifact's SHA-256.

    :raises ValueError: the text is not a target model.
    """
    match = _TARGET_MODEL.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a target model; allowed: <city>/<as_of>-<12 hex digits>.tar.gz")
    return match["city"], parse_as_of(match["as_of"]), match["sha"]


@dataclass(frozen=True)
class Keys:
    """The S3 layout of one installation of a fleet: keys within its bucket, and their URIs.

    Raw data are the fleet's, read by all its installations; all that an installation writes by itself stands below
    ``<fleet>/<environment>/``. ``live/`` holds the only mutable objects; everything else is written once.

    :param environment: a slug that is none of :data:`RESERVED_ENVIRONMENTS`.
    """

    bucket: str
    fleet: str
    environment: str

    @property
    def prefix(self) -> str:
        """Return the prefix of all that the installation writes."""
        return f"{self.fleet}/{self.environment}/"

    def uri(self, key: str) -> str:
        """Return ``s3://<bucket>/<key>``."""
        return f"s3://{self.bucket}/{key}"

    def raw_prefix(self) -> str:
        """Return the prefix of the fleet's raw data; a city's files are below ``city=<slug>/``."""
        return f"{self.fleet}/raw/"

    def raw(self, city: str) -> str:
        """Return the prefix of a city's raw data files."""
        return f"{self.fleet}/raw/city={city}/"

    def raw_asset(self, city: str) -> str:
        """Return name and URI of the asset that is updated when a city's raw data change.

        Without the slash at the end: Airflow takes it from a URI, and then the name would be another.
        """
        return self.uri(self.raw(city)).removesuffix("/")

    def live_asset(self, city: str) -> str:
        """Return name and URI of the asset that is updated when a city's live pointer moves."""
        return self.uri(self.live(city))

    def code(self, bundle_digest: str) -> str:
        """Return the prefix of one version of the job scripts."""
        return f"{self.prefix}code/{bundle_digest}/"

    def function(self, name: str, code_digest: str) -> str:
        """Return the key of the zip of one version of a Lambda function."""
        return f"{self.prefix}functions/{name}-{code_digest}.zip"

    def template(self, digest: str) -> str:
        """Return the key of a CloudFormation template that is too large for a request."""
        return f"{self.prefix}functions/template-{digest}.json"

    def run(self, city: str, key_of_run: str) -> str:
        """Return the prefix of all that the jobs of a run write."""
        return f"{self.runs_prefix()}{city}/{key_of_run}/"

    def run_facts(self, city: str, key_of_run: str) -> str:
        """Return the key of what a run's first task has fixed for all its tasks."""
        return f"{self.run(city, key_of_run)}run.json"

    def attached_prefix(self, city: str, key_of_run: str) -> str:
        """Return the prefix of the marks of the DAG runs that work on a run, one object each."""
        return f"{self.run(city, key_of_run)}attached/"

    def step(self, city: str, key_of_run: str, step: str) -> str:
        """Return the prefix below which each job of a step writes to a folder of its own name."""
        return f"{self.run(city, key_of_run)}{step}/"

    def decision(self, city: str, key_of_run: str, decision_digest: str) -> str:
        """Return the key of a decision; a second, different decision of the same run gets another key."""
        return f"{self.run(city, key_of_run)}decide/decision-{decision_digest}.json"

    def models_prefix(self) -> str:
        """Return the prefix the shared endpoint serves from."""
        return f"{self.prefix}models/"

    def model(self, target: str) -> str:
        """Return the key of a published artifact."""
        return f"{self.prefix}models/{target}"

    def live_prefix(self) -> str:
        return f"{self.prefix}live/"

    def live(self, city: str) -> str:
        return f"{self.prefix}live/{city}.json"

    def history_prefix(self, city: str) -> str:
        """Return the prefix of the copies of a city's live pointers."""
        return f"{self.prefix}history/{city}/"

    def history(self, city: str, sequence: int) -> str:
        """Return the key of the copy of a live pointer."""
        return f"{self.prefix}history/{city}/{sequence:08d}.json"

    def known_prefix(self, city: str) -> str:
        """Return the prefix of what was known of a city in its runs: what forecasts by its name are made of."""
        return f"{self.prefix}known/{city}/"

    def known(self, city: str, as_of: datetime, sha256: str) -> str:
        """Return the key of what was known of a city at a moment, by the digest of its own bytes."""
        return f"{self.known_prefix(city)}{as_of_stamp(as_of)}-{sha256[:12]}.json"

    def forecasts_prefix(self) -> str:
        """Return the prefix of the tables of forecasts, one night each."""
        return f"{self.prefix}forecasts/"

    def forecasts(self, night: str) -> str:
        """Return the key of a night's forecasts of all cities: of one object, so that no reader meets two tables.

        :param night: an ISO date; in the key as Hive writes a partition.
        """
        return f"{self.forecasts_prefix()}night={night}/forecasts.parquet"

    def capture_prefix(self, city: str = "") -> str:
        """Return the prefix of what was captured of predictions; of one city's, or of all."""
        return f"{self.prefix}capture/" + (f"city={city}/" if city else "")

    def capture(self, city: str, moment: datetime, name: str) -> str:
        """Return the key of lines about predictions of a city that were made on a day.

        :param moment: with a zone; the day is UTC's, and stands in the key as Hive writes a partition.
        :param name: what tells one writer's object from another's.
        """
        stamped = as_of_stamp(moment)
        day = f"{stamped[:4]}-{stamped[4:6]}-{stamped[6:8]}"
        return f"{self.capture_prefix(city)}day={day}/{stamped}-{name}.jsonl"

    def outcomes_prefix(self) -> str:
        """Return the prefix of what callers have said really happened, by ``prediction_id``."""
        return f"{self.prefix}outcomes/"

    def outcomes(self, moment: datetime, name: str) -> str:
        """Return the key of lines of outcomes that came at a moment.

        :param name: what tells one sender's object from another's.
        """
        return f"{self.outcomes_prefix()}{as_of_stamp(moment)}-{name}.jsonl"

    def runs_prefix(self) -> str:
        """Return the prefix of all run folders; a run's is ``<city>/<run key>/`` below it."""
        return f"{self.prefix}runs/"

    def retired(self, city: str) -> str:
        """Return the key of a city's marks: what is about to be retired."""
        return f"{self.prefix}state/retired/{city}.json"

    def retire_cursor(self) -> str:
        """Return the key of the object that says where the next pass of retiring begins."""
        return f"{self.prefix}state/retire.json"

    def city_records(self, city: str) -> str:
        """Return the prefix of a city's run records."""
        return f"{self.prefix}state/runs/{city}/"

    def record(self, city: str, as_of: datetime, key_of_run: str) -> str:
        return f"{self.records_prefix()}{city}/{as_of_stamp(as_of)}-{key_of_run}.json"

    def records_prefix(self) -> str:
        return f"{self.prefix}state/runs/"

    def events_prefix(self) -> str:
        """Return the prefix of the events, one for every run record, in the order in which they were written."""
        return f"{self.prefix}state/events/"

    def index(self) -> str:
        """Return the key of the index folded from run records and live pointers."""
        return f"{self.prefix}state/index/fleet.json.gz"

    def cost_day(self, day: date) -> str:
        """Return the key of what the jobs of the run records of a day have been billed for."""
        return f"{self.prefix}state/costs/{day.isoformat()}.json.gz"

    def budget(self) -> str:
        """Return the key of whether the night may be paid for, and who has allowed it."""
        return f"{self.prefix}state/budget.json"

    def event(self, moment: datetime, record_key: str) -> str:
        """Return the key of the event that says that the record with a key was written at a moment."""
        return f"{self.events_prefix()}{as_of_stamp(moment)}/{record_key.removeprefix(self.records_prefix())}"

    def breaker_marks_prefix(self, as_of: str) -> str:
        """Return the prefix of a night's marks (by its stamp), one for every city whose challenger was judged."""
        return f"{self.prefix}state/breaker/{as_of}/"

    def breaker_mark(self, as_of: str, city: str) -> str:
        """Return the key of what the breaker counts of a city in one night."""
        return f"{self.breaker_marks_prefix(as_of)}{city}.json"

    def night(self, as_of: str) -> str:
        """Return the key of a night that the breaker has stopped."""
        return f"{self.prefix}state/breaker/{as_of}.json"

    def compiled_current(self) -> str:
        """Return the key of what names the fleet file's last good form."""
        return f"{self.prefix}state/compiled/current.json"

    def compiled_manifest(self, digest: str) -> str:
        """Return the key of a form's manifest."""
        return f"{self.prefix}state/compiled/{digest}.json"

    def compiled_shard(self, digest: str) -> str:
        """Return the key of a shard, by the digest of its own bytes: what two forms share is kept once."""
        return f"{self.prefix}state/compiled/shards/{digest}.json"

    def moved(self) -> str:
        """Return the key of what says that nothing of the layout of before awaits being moved."""
        return f"{self.prefix}state/moved.json"

    def reconciled(self) -> str:
        """Return the key of what says when the registry was looked at last."""
        return f"{self.prefix}state/reconciled.json"

    def live_scores(self, city: str) -> str:
        """Return the key of what a city's predictions were worth once the truth was known."""
        return f"{self.prefix}state/scores/{city}.json"

    def monitor(self) -> str:
        """Return the key of what the last look at live scores has found of all cities."""
        return f"{self.prefix}state/monitor.json"

    def challengers(self) -> str:
        """Return the key of the object that says which models are tried beside champions, with how much traffic."""
        return f"{self.prefix}state/challengers.json"

    def shared_endpoints(self) -> str:
        """Return the key of the object that says which SageMaker endpoint serves for each shared endpoint."""
        return f"{self.prefix}state/endpoints.json"


def split_uri(uri: str) -> tuple[str, str]:
    """Split ``s3://<bucket>/<key>`` into bucket and key.

    :raises ValueError: the text is not an S3 URI.
    """
    match = re.fullmatch(r"s3://([^/]+)/(.*)", uri)
    if match is None:
        raise ValueError(f"{uri!r} is not an S3 URI; allowed: s3://<bucket>/<key>")
    return match[1], match[2]
