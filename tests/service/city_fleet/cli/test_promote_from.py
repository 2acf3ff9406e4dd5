"""./fleet promote --from: versions carried from one installation to another, on a real server and a real endpoint."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from city_fleet import naming
from city_fleet.champions.planned_city import PlannedCity
from city_fleet.champions.promotion import Choice
from city_fleet.config import Fleet, load_fleet
from city_fleet.desk.data_at_hand import from_source
from city_fleet.desk.trial import Desk, Trial
from city_fleet.importing import import_run
from city_fleet.importing.carry import Order, carry
from city_fleet.importing.elsewhere import Elsewhere
from city_fleet.jobs.code_bundle import CodeBundle
from city_fleet.plan import endpoint_name, plan_city
from city_fleet.serving import endpoint_requests, endpoint_state
from city_fleet.state import live, registry, shared_endpoints
from city_fleet.state.author import Author
from city_fleet.state.objects import ObjectStore
from city_fleet.state.outcomes import Outcome
from city_fleet.state.shared_endpoints import ServingEndpoint
from tests.support.aws_calls import client
from tests.support.command_line import Done, fleet
from tests.support.factors import Aws
from tests.support.fleets import TEXAS
from tests.support.iam_policies import Policy
from tests.support.local_sagemaker import LocalSageMaker
from tests.support.paths import IMAGE_PYTHON, ROOT
from tests.support.waiting import wait_until

OLD, NEW = "old-account", "city-fleet"
INSTALLATIONS = """installations:
  staging: {environment: staging, bucket: old-account}
  itself: {environment: production}
  by_role: {environment: staging, bucket: old-account, profile: reader,
            role_arn: "arn:aws:iam::123456789012:role/reader"}
"""
CITIES = "cities:\n  austin: {name: Austin}\n  dallas: {name: Dallas}\n"


@dataclass(frozen=True)
class Bench:
    """A fleet in two installations, of which the second has an endpoint.

    :param there: the fleet file of staging; ``here`` that of production.
    :param trials: as_of → a model of Austin's that the desk has made and judged.
    """

    aws: LocalSageMaker
    there: Path
    here: Path
    trials: dict[str, Trial]

    @property
    def clients(self) -> Aws:
        return Aws(*map(self.aws.client, ("s3", "sagemaker", "sagemaker-runtime")))

    def run(self, *arguments: str, path: Path | None = None, **environ: str) -> Done:
        return fleet(
            *arguments,
            *("--fleet", str(path or self.here)),
            **environ,
            AWS_ENDPOINT_URL=self.aws.url,
            AWS_ACCESS_KEY_ID="local",
            AWS_SECRET_ACCESS_KEY="local",
            AWS_DEFAULT_REGION="us-east-1",
        )

    def carry(self, *arguments: str, code: int = 0, path: Path | None = None) -> list[dict[str, Any]]:
        done = self.run("promote", "--from", "staging", "--by", "ann", "--json", *arguments, path=path)
        assert done.returncode == code, done.stdout + done.stderr
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return found

    def pointer(self, city: str, path: Path | None = None) -> live.LivePointer | None:
        found = live.read(self.clients.s3, load_fleet(path or self.here, {}).keys, city)
        return found and found.pointer

    def keys(self, bucket: str) -> set[tuple[str, str]]:
        pages = self.aws.client("s3").get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return {(item["Key"], item["ETag"]) for page in pages for item in page.get("Contents", [])}

    def object(self, uri: str) -> Any:
        bucket, key = naming.split_uri(uri)
        return json.loads(self.aws.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read())

    def other(self, name: str, *changes: tuple[str, str]) -> Path:
        """Write the fleet file of another installation, without an endpoint, that differs from this one."""
        text = self.here.read_text(encoding="utf-8").replace(
            "environment: production", f"environment: {name}", 1
        )
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        path = self.here.with_name(f"{name}.yaml")
        path.write_text(text, encoding="utf-8")
        return path

    def refused(self, *arguments: str, path: Path | None = None, source: str = "staging") -> str:
        """Return what is said of a version that is not carried; nothing is written anywhere."""
        before = self.keys(OLD), self.keys(NEW)
        done = self.run("promote", "--from", source, "austin", "--by", "ann", *arguments, path=path)
        assert (done.returncode, done.stdout) == (2 if source == "stagin" else 1, "")
        assert (self.keys(OLD), self.keys(NEW)) == before
        return done.stderr

    def make(self, as_of: str) -> import_run.Imported:
        """Make a model serve Austin in staging, as a run there would."""
        plan = plan_city(load_fleet(self.there, {}), "austin")
        place = PlannedCity.of(self.clients, plan)
        origin = {"kind": "desk", "model": "trial", "file": as_of, "sha256": as_of * 8, "libraries": {}}
        return import_run.finish(place, import_run.of_trial(plan, self.trials[as_of], origin), Author("ben"))


def endpoint_of(found: Fleet, aws: LocalSageMaker) -> None:
    """Bring an installation's endpoint into service."""
    s3, sagemaker = aws.client("s3"), aws.client("sagemaker")
    bundle = CodeBundle.of(plan_city(found, "austin"))
    bundle.ensure_uploaded(s3, found.keys)
    model = endpoint_state.wanted_model(found, bundle)
    sagemaker.create_model(**model)
    config = endpoint_requests.endpoint_config_request(found, model_name=model["ModelName"])
    sagemaker.create_endpoint_config(**config)
    name = config["EndpointConfigName"]
    sagemaker.create_endpoint(**endpoint_requests.endpoint_request(found, endpoint_config_name=name))


@pytest.fixture(scope="module")
def bench(aws: LocalSageMaker, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("carried")
    aws.client("s3").create_bucket(Bucket=OLD)
    text = TEXAS.read_text(encoding="utf-8").replace("fleet: texas_housing", "fleet: carried_texas")
    head = text[: text.index("\ncities:")]
    for name, bucket, more in (("staging", OLD, ""), ("production", NEW, INSTALLATIONS)):
        own = head.replace("${CITY_FLEET_ENVIRONMENT:-laptop}", name)
        own = own.replace("${CITY_FLEET_BUCKET:-city-fleet}", bucket)
        (folder / f"{name}.yaml").write_text(f"{own}\n{more}{CITIES}", encoding="utf-8")
    bench = Bench(aws, folder / "staging.yaml", folder / "production.yaml", {})
    found = [load_fleet(path, {}) for path in (bench.there, bench.here)]
    for each in found:
        endpoint_of(each, aws)
    for as_of in ("20140101", "20150101"):
        place = folder / as_of
        (place / "raw").mkdir(parents=True)
        plan = plan_city(found[0], "austin")
        with Desk(plan, IMAGE_PYTHON, place) as desk:
            data = from_source(found[0], place / "raw", ("austin",))
            bench.trials[as_of] = desk.trial(datetime.strptime(as_of, "%Y%m%d").replace(tzinfo=UTC), data)
    for each in found:
        name = endpoint_name(each)
        status = aws.client("sagemaker").describe_endpoint
        wait_until(lambda: status(EndpointName=name)["EndpointStatus"] == "InService", 60, "it is in service")  # noqa: B023
    return bench


def test_a_version_is_carried_with_its_lineage_and_once(bench: Bench) -> None:
    made = bench.make("20140101")
    assert made.outcome == "live"
    before, empty = bench.keys(OLD), bench.keys(NEW)
    (tried,) = bench.carry("austin", "--dry-run")
    assert (tried["outcome"], tried["version"], tried["decision"]["promote"]) == ("planned", None, True)
    assert bench.keys(NEW) == empty
    austin, dallas = bench.carry("--all", "--reason", "moved")
    assert (austin["outcome"], austin["version"], austin["notes"]) == ("live", 1, [])
    assert (dallas["outcome"], dallas["error"]) == ("unchanged", None)
    assert "has no model that serves city 'dallas'" in dallas["reasons"][0]
    assert bench.keys(OLD) == before
    here, there = bench.pointer("austin"), bench.pointer("austin", bench.there)
    assert here is not None
    assert there is not None
    assert (here.artifact_sha256, here.as_of) == (there.artifact_sha256, there.as_of)
    assert (here.settings_digest, here.code_digest) == (there.settings_digest, there.code_digest)
    assert (here.moved_by, here.reason) == ("ann", "version 1 of installation staging; moved")
    package = registry.read(bench.clients.sagemaker, here.package_arn)
    assert package.status == "Approved"
    assert package.metadata["origin"] == "version 1 of installation staging"
    assert package.metadata["origin_package"] == made.package_arn
    record = bench.object(austin["record_uri"])
    assert (
        record["origin"] | {"by": "ann", "reason": "moved", "package_arn": made.package_arn}
        == record["origin"]
    )
    kept = bench.object(
        package.metadata["evaluation_uri"].replace("evaluation.json", "evaluation_there.json")
    )
    assert kept == bench.trials["20140101"].report
    assert bench.object(package.metadata["manifest_uri"])["inputs"]
    keys = bench.keys(NEW)
    assert any("/production/known/austin/20140101T000000Z-" in key for key, _ in keys), (
        "forecasts by its name go on"
    )
    assert "version 1 of installation staging; moved" in bench.run("history", "austin").stdout
    (again,) = bench.carry("austin")
    assert (again["outcome"], again["version"]) == ("unchanged", 1)
    assert again["reasons"] == [f"it is here already as version 1, and live since {here.moved_at}"]
    assert bench.keys(NEW) == keys
    assert (
        "austin: unchanged: version 1 of staging: it is here already"
        in bench.run("promote", "--from", "staging", "austin", "dallas", "--by", "ann").stdout
    )


def test_it_is_judged_against_the_champion_here_and_an_older_one_needs_force(bench: Bench) -> None:
    assert bench.make("20150101").version == 2
    (newer,) = bench.carry("austin", "--version", "2")
    champion = newer["decision"]["metrics"]["champion"]
    assert newer["outcome"] == "live"
    # The champion's own words about the rows that judged it, and the endpoint's answers for newer ones.
    assert 0 < champion["mape"] < 0.1
    before = bench.pointer("austin")
    (older,) = bench.carry("austin", "--version", "1", code=1)
    assert older["outcome"] == "superseded"
    assert bench.pointer("austin") == before
    (forced,) = bench.carry("austin", "--version", "1", "--force", "--pin")
    assert (forced["outcome"], forced["version"]) == ("live", 1)
    pinned = bench.pointer("austin")
    assert pinned is not None
    assert pinned.pinned
    held = bench.run("promote", "--from", "staging", "austin", "--as-of", "2015-01-01", "--by", "ann")
    assert held.returncode == 1
    assert "austin: version 2 of staging is version 2 here: held." in held.stdout
    assert f"{pinned.target_model} is pinned here by ann, and stays" in held.stdout
    assert bench.pointer("austin") == pinned
    assert len(registry.versions(bench.clients.sagemaker, "carried-texas--production--austin")) == 2


def test_a_person_is_asked_where_this_installation_says_so(bench: Bench) -> None:
    path = bench.other("review", ("defaults:", "defaults:\n  approval: manual"))
    (first,) = bench.carry("austin", path=path)
    assert (first["outcome"], first["version"], first["target_model"]) == ("pending", 1, None)
    (again,) = bench.carry("austin", path=path)
    assert again["reasons"] == ["it is here already as version 1, which awaits approval"]
    assert bench.run("reject", "austin", "--by", "ben", "--reason", "not yet", path=path).returncode == 0
    (after,) = bench.carry("austin", path=path, code=1)
    assert (after["outcome"], after["version"]) == ("held", 1)
    assert "rejected by ben: not yet" in after["reasons"][0]


def test_what_is_refused_says_why_and_leaves_nothing(bench: Bench) -> None:
    assert (
        "has no installation 'stagin'; it has: by_role, itself, staging. Did you mean 'staging'?"
        in bench.refused(source="stagin")
    )
    assert (
        "installation 'itself' is this one itself, environment 'production' in city-fleet"
        in bench.refused(source="itself")
    )
    assert "has no version '9'; it has: 1, 2" in bench.refused("--version", "9")
    path = bench.other(
        "other_data", ("calendar: [", "calendar: [quarter_of_year, "), ("horizon: 3", "horizon: 2")
    )
    said = bench.refused(path=path)
    assert (
        "is a model of another dataset than the city's in this fleet file: horizon (3 there, 2 here)" in said
    )
    assert "calendar (" in said
    path = bench.other("other_code")
    found = load_fleet(path, {})
    store, serves = ObjectStore(bench.clients.s3, NEW), endpoint_name(found)
    other = ServingEndpoint(name=serves, algorithms={"baseline": "1a2b3c4d"})
    shared_endpoints.note(store, found.keys, serves, other)
    said = bench.refused(path=path)
    assert "lacks the algorithm xgboost; it has: baseline. Run the DAG carried_texas._endpoint" in said
    # What judged it there was changed since; so was its artifact; a person there does not want it.
    pointer = bench.pointer("austin", bench.there)
    assert pointer is not None
    there = registry.read(bench.clients.sagemaker, pointer.package_arn)
    old, fresh = ObjectStore(bench.clients.s3, OLD), bench.other("fresh")
    for uri, says in (
        (
            there.metadata["evaluation_uri"].replace("evaluation.json", "holdout.json"),
            "was changed after the gate",
        ),
        (
            there.metadata["manifest_uri"].replace("manifest", "status"),
            "nobody can say what its data were like",
        ),
    ):
        key = naming.split_uri(uri)[1]
        kept = old.get(key)
        assert kept is not None
        if "holdout" in key:
            old.put(key, kept.body.replace(b"1", b"2"))
        else:
            bench.clients.s3.delete_object(Bucket=OLD, Key=key)
        said = bench.refused(path=fresh)
        assert "Installation staging can't show what judged version 2: " in said
        assert says in said
        old.put(key, kept.body)
    keys = [
        naming.split_uri(there.artifact_uri)[1],
        load_fleet(bench.there, {}).keys.model(pointer.target_model),
    ]
    bodies = [old.get(key) for key in keys]
    for key in keys:
        old.put(key, b"another")
    assert "it was registered with" in bench.refused(path=fresh)
    for key, body in zip(keys, bodies, strict=True):
        assert body is not None
        old.put(key, body.body)
    name = {
        "ModelPackageArn": there.arn,
        "ModelApprovalStatus": "Rejected",
        "ApprovalDescription": "too high",
    }
    bench.clients.sagemaker.update_model_package(**name)
    assert "Version 2 is Rejected in installation staging: too high." in bench.refused(path=fresh)
    bench.clients.sagemaker.update_model_package(**{**name, "ModelApprovalStatus": "Approved"})


def test_who_reads_needs_the_readers_policy_alone(bench: Bench) -> None:
    found = load_fleet(bench.there, {})
    places = {
        "FLEET": found.fleet,
        "ENVIRONMENT": "staging",
        "BUCKET": OLD,
        "NAMES": "carried-texas--staging",
    }
    policy = Policy(ROOT / "docs" / "policies" / "reader.json", **places)
    asked: set[str] = set()

    def strict(service: str) -> Any:
        made = client(bench.aws, service)

        def check(params: dict[str, Any], model: Any, **_: Any) -> None:
            asked.add(model.name)
            assert not list(policy.denied(service, model.name, params))

        made.meta.events.register("provide-client-params", check)
        return made

    reader = Elsewhere("staging", found.keys, Aws(*map(strict, ("s3", "sagemaker", "sagemaker-runtime"))))
    place = PlannedCity.of(bench.clients, plan_city(load_fleet(bench.other("read"), {}), "austin"))
    for choice in (Choice(), Choice(version=1)):
        carried = carry(place, reader, Order(choice, dry_run=True), Author("ann"))
        assert carried.outcome == Outcome.PLANNED
    assert asked == {"GetObject", "DescribeModelPackage", "ListModelPackages"}


def test_another_account_is_read_with_its_profile_and_role(bench: Bench, tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text(
        "[profile reader]\nregion = us-east-1\naws_access_key_id = a\naws_secret_access_key = b\n"
    )
    arguments = ("promote", "--from", "by_role", "austin", "--dry-run", "--by", "ann")
    done = bench.run(*arguments, path=bench.other("by_role"), AWS_CONFIG_FILE=str(config))
    assert done.returncode == 0, done.stderr
    assert "version 2 of by_role would be registered here" in done.stdout
    done = bench.run(*arguments, path=bench.other("by_role"), AWS_CONFIG_FILE=str(tmp_path / "none"))
    assert done.returncode == 1
    assert "The config profile (reader) could not be found" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["--from", "staging"],
        ["--from", "staging", "austin", "--all"],
        ["austin", "dallas", "--reason", "x"],
        ["austin", "--force", "--reason", "x"],
        ["--all", "--reason", "x"],
    ],
)
def test_what_does_not_go_together(bench: Bench, arguments: list[str]) -> None:
    assert bench.run("promote", *arguments).returncode == 2
