"""The doctor's checks of AWS: credentials, role, bucket, raw data and endpoint of a fleet. They change nothing.

Clients are passed in.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote

from botocore.exceptions import BotoCoreError, ClientError

from city_fleet import aws_errors, clock, naming
from city_fleet.config import Fleet
from city_fleet.config.endpoint_section import MULTI_CONTAINER
from city_fleet.doctor import account_checks, traffic_checks, trial_checks
from city_fleet.doctor.findings import Area, Finding
from city_fleet.doctor.serving_checks import scaling, serving
from city_fleet.errors import PlatformError, list_names
from city_fleet.plan import ENDPOINT_PURPOSE, endpoint_name
from city_fleet.state import installation, old_layout, serving_code, shared_endpoints
from city_fleet.state.objects import ObjectStore
from city_fleet.state.raw_listing import raw_items

_PARALLEL_CITIES = 16

SAGEMAKER = "sagemaker.amazonaws.com"
#: Makes a boto3 client of a service's name.
MakeClient = Callable[[str], Any]
Step = Callable[[Area, Fleet, MakeClient, str], Iterator[Finding]]


def check(
    fleet: Fleet,
    client: MakeClient,
    endpoint_configs: Mapping[str, str] = MappingProxyType({}),
    wanted: account_checks.Wanted | None = None,
) -> list[Finding]:
    """Check what a fleet needs in AWS.

    :param endpoint_configs: name of the configuration that the fleet file describes, by the endpoint's name in it, ""
        for the fleet's own; without those that are not known.
    :param wanted: what its account is asked about, too; None for nothing.
    """
    area = Area(f"AWS, {fleet.fleet}")
    try:
        identity = client("sts").get_caller_identity()
    except (ClientError, BotoCoreError) as error:
        return [_nobody(area, error)]
    found = [area.ok(f"asks as {identity['Arn']}")]
    if wanted is not None:
        headers = identity["ResponseMetadata"].get("HTTPHeaders", {})
        found.append(account_checks.clock(area, headers, datetime.now(UTC)))
    steps: dict[str, Step] = {
        "role": _role,
        "bucket": _bucket,
        "raw data": _raw_data,
        "layout": _layout,
        "endpoint": partial(_endpoints, wanted=endpoint_configs),
        "live pointers": _serving,
        "trials": _trials,
    }
    if traffic_checks.is_asked(fleet):
        steps |= {"predict function": _predict_function, "CloudWatch metrics": _capture_errors}
    for what, step in steps.items():
        try:
            found += step(area, fleet, client, identity["Account"])
        except ClientError as error:
            if aws_errors.is_denied(error):
                advice = f"Allow {error.operation_name} to the user or role that runs the doctor, or run it as another"
                found.append(area.warn(f"the {what} can't be looked at: {_said(error)}", advice))
            else:
                found.append(area.fail(f"the {what} can't be looked at: {_said(error)}", "See the message"))
        except BotoCoreError as error:
            advice = "Look at the network and the region"
            found.append(area.fail(f"AWS does not answer: {_said(error)}", advice))
    if wanted is not None:
        found += account_checks.check(fleet, client, identity["Arn"], wanted)
    return found


def _nobody(area: Area, error: ClientError | BotoCoreError) -> Finding:
    """Say why AWS does not know who asks."""
    advice = "Set AWS credentials (aws configure, AWS_PROFILE), or start the local stack: make up"
    if isinstance(error, ClientError) and aws_errors.is_skewed(error):
        headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
        judged = account_checks.clock(area, headers, datetime.now(UTC))
        advice = judged.advice or "Set this machine's clock: sudo timedatectl set-ntp true"
        return area.fail(f"AWS refuses this machine's clock: {_said(error)}", advice)
    if isinstance(error, ClientError) and aws_errors.is_expired(error):
        advice = "Get new ones: aws sso login, or assume the role again"
        return area.fail(f"the AWS credentials have expired: {_said(error)}", advice)
    return area.fail(f"AWS does not know who asks: {_said(error)}", advice)


def _role(area: Area, fleet: Fleet, client: MakeClient, account: str) -> Iterator[Finding]:
    name = fleet.role.rsplit("/", 1)[1]
    theirs = fleet.role.split(":")[4]
    if theirs != account:
        advice = "Set role in the fleet file to one of this account, or use credentials of the other"
        yield area.fail(f"role {fleet.role} is of account {theirs}, the credentials are of {account}", advice)
        return
    try:
        role = client("iam").get_role(RoleName=name)["Role"]
    except ClientError as error:
        if not aws_errors.is_missing(error):
            raise
        advice = (
            f"./fleet deploy --fleet {fleet.fleet} makes it; or name another one in the fleet file (role)"
        )
        yield area.fail(f"there is no role {name}", advice)
        return
    if _trusts_sagemaker(role.get("AssumeRolePolicyDocument")):
        yield area.ok(f"role {name} exists and SageMaker may assume it")
    else:
        advice = f"Add {SAGEMAKER} to the role's trust policy with sts:AssumeRole"
        yield area.fail(f"SageMaker may not assume role {name}", advice)


def _trusts_sagemaker(document: Any) -> bool:
    if isinstance(document, str):
        document = json.loads(unquote(document))
    statements = (document or {}).get("Statement", [])
    for statement in [statements] if isinstance(statements, dict) else statements:
        principal = statement.get("Principal")
        services = principal.get("Service", []) if isinstance(principal, dict) else []
        if (
            statement.get("Effect") == "Allow"
            and SAGEMAKER in _listed(services)
            and {"sts:AssumeRole", "sts:*", "*"} & set(_listed(statement.get("Action", [])))
        ):
            return True
    return False


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _bucket(area: Area, fleet: Fleet, client: MakeClient, account: str) -> Iterator[Finding]:
    try:
        headers = client("s3").head_bucket(Bucket=fleet.bucket)["ResponseMetadata"]["HTTPHeaders"]
    except ClientError as error:
        if aws_errors.is_missing(error) or aws_errors.is_no_bucket(error):
            advice = f"./fleet ingest --fleet {fleet.fleet} --create-bucket creates and fills it"
            yield area.fail(f"there is no bucket {fleet.bucket}", advice)
            return
        if aws_errors.is_denied(error):
            advice = "Bucket names are shared by all accounts: take another one, or allow s3:ListBucket"
            what = f"bucket {fleet.bucket} belongs to another account, or is closed to these credentials"
            yield area.fail(what, advice)
            return
        raise
    region = headers.get("x-amz-bucket-region", fleet.region)
    if region != fleet.region:
        advice = "SageMaker wants both in one region: set region in the fleet file, or take another bucket"
        yield area.fail(f"bucket {fleet.bucket} is in {region}, the fleet in {fleet.region}", advice)
    else:
        yield area.ok(f"bucket {fleet.bucket} is there")


def _raw_data(area: Area, fleet: Fleet, client: MakeClient, account: str) -> Iterator[Finding]:
    prefix = fleet.keys.raw_prefix()
    elsewhere = {slug for slug, city in fleet.cities.items() if city.dataset.raw is not None}
    yield from _raw_elsewhere(area, fleet, client, sorted(elsewhere))
    if elsewhere and elsewhere == set(fleet.cities):
        return
    try:
        folders = ObjectStore(client("s3"), fleet.bucket).folders(prefix)
        there = {folder.removeprefix("city=") for folder in folders}
    except ClientError as error:
        if aws_errors.is_no_bucket(error):
            return  # said already
        raise
    cities = set(fleet.with_raw_data) - elsewhere
    for parent in sorted(there & set(fleet.children)):
        advice = f"move them to the city they are of, or delete them: {prefix}city={parent}/"
        yield area.warn(f"{parent} is a parent, whose runs read its cities' raw data and not its own", advice)
    without = sorted(cities - there)
    if without:
        advice = f"./fleet ingest --fleet {fleet.fleet}, or put files below {prefix}city=<slug>/"
        what = f"{len(without)} of {len(cities)} cities have no raw data: {list_names(without)}"
        yield area.warn(what, advice)
    else:
        yield area.ok(f"all {len(cities)} cities have raw data")


def _raw_elsewhere(area: Area, fleet: Fleet, client: MakeClient, cities: list[str]) -> Iterator[Finding]:
    """Look for the raw data of cities that are read in place: one request each."""
    if not cities:
        return
    s3 = client("s3")

    def look(slug: str) -> str | None:
        """Return what is wrong, an empty text where there is nothing at all."""
        try:
            return None if raw_items(s3, fleet.raw_place(slug), limit=1) else ""
        except PlatformError as error:
            return str(error)

    with ThreadPoolExecutor(_PARALLEL_CITIES) as pool:
        said = dict(zip(cities, pool.map(look, cities), strict=True))
    wrong = {text: slug for slug, text in said.items() if text}
    for text in sorted(wrong):
        what, _, advice = text.partition("; ")
        yield area.fail(f"city {wrong[text]}: {what}", advice[:1].upper() + advice[1:])
    without = [slug for slug, text in said.items() if text == ""]
    if without:
        place = fleet.raw_place(without[0])
        what = f"{len(without)} of {len(cities)} cities have no files where dataset.raw leads: {list_names(without)}"
        yield area.warn(what, f"Look below {place.shown}: is the name of the city spelled so there?")
    if not wrong and not without:
        yield area.ok(f"all {len(cities)} cities that are read in place have raw data")


def _layout(area: Area, fleet: Fleet, client: MakeClient, account: str) -> Iterator[Finding]:
    try:
        left = old_layout.left_over(client("s3"), fleet.keys)
    except ClientError as error:
        if aws_errors.is_no_bucket(error):
            return  # said already
        raise
    if left is not None:
        advice = f"./fleet migrate --fleet {fleet.fleet} moves it; until then nothing of the fleet runs"
        yield area.fail(f"{left} was left by an earlier version and awaits being moved", advice)


def _serving(area: Area, fleet: Fleet, client: MakeClient, account: str) -> Iterator[Finding]:
    try:
        yield from serving(area, fleet, client("s3"))
    except ClientError as error:
        if not aws_errors.is_no_bucket(error):  # said already
            raise


def _predict_function(area: Area, fleet: Fleet, client: MakeClient, account: str) -> Iterator[Finding]:
    return traffic_checks.function(area, fleet, client("lambda"))


def _capture_errors(area: Area, fleet: Fleet, client: MakeClient, account: str) -> Iterator[Finding]:
    return traffic_checks.refused(area, fleet, client("cloudwatch"), clock.utc_now())


def _trials(area: Area, fleet: Fleet, client: MakeClient, account: str) -> Iterator[Finding]:
    try:
        yield from trial_checks.trials(area, fleet, client("s3"))
    except ClientError as error:
        if not aws_errors.is_no_bucket(error):  # said already
            raise


def _endpoints(
    area: Area, fleet: Fleet, client: MakeClient, account: str, wanted: Mapping[str, str]
) -> Iterator[Finding]:
    try:
        shared = shared_endpoints.read(ObjectStore(client("s3"), fleet.bucket), fleet.keys)
    except ClientError as error:
        if not aws_errors.is_no_bucket(error):  # said already
            raise
        shared = {}
    except PlatformError as error:
        yield area.fail(str(error), f"Run the DAG {naming.fleet_dag_id(fleet.fleet, ENDPOINT_PURPOSE)}")
        shared = {}
    for name in fleet.endpoint_names:
        called = endpoint_name(fleet, name)
        said = shared.get(called)
        if said is not None and said.closed is not None and said.closed.seconds_left(clock.utc_now()) > 0:
            yield area.ok(said.closed.sentence(called).replace("Endpoint", "endpoint", 1))
            continue
        if fleet.endpoint_settings(name).kind != MULTI_CONTAINER:
            # One that has taken over is made with what the fleet file says, too.
            at = called if said is None else said.answering()
            yield from _endpoint(area, fleet, client, which=name, name=at, wanted=wanted.get(name))
        elif said is None or not said.template:
            run = f"Run the DAG {naming.fleet_dag_id(fleet.fleet, ENDPOINT_PURPOSE)}"
            yield area.fail(f"nobody has said what the containers of endpoint {called} are made with", run)
        elif not said.serving.containers:
            yield area.ok(f"endpoint {called} waits for its first model, which brings its container up")
        else:
            yield from _endpoint(area, fleet, client, which=name, name=said.serving.name, wanted=None)


def _endpoint(
    area: Area, fleet: Fleet, client: MakeClient, *, which: str, name: str, wanted: str | None
) -> Iterator[Finding]:
    """Check an endpoint.

    :param which: name of ``endpoints``, or "" for the fleet's own.
    :param name: the SageMaker endpoint that answers for it.
    :param wanted: name of the configuration that the fleet file describes; None = not known.
    """
    run = f"Run the DAG {naming.fleet_dag_id(fleet.fleet, ENDPOINT_PURPOSE)}"
    with contextlib.suppress(ClientError, PlatformError):  # the bucket has a finding of its own
        shared = shared_endpoints.read(ObjectStore(client("s3"), fleet.bucket), fleet.keys)
        name = shared_endpoints.answering(shared, name)
    try:
        found = client("sagemaker").describe_endpoint(EndpointName=name)
    except ClientError as error:
        if not aws_errors.is_missing(error):
            raise
        yield area.fail(f"there is no endpoint {name}", run)
        return
    status, reason = found["EndpointStatus"], _reason(found)
    if status == "Failed":
        yield area.fail(f"endpoint {name} has failed{reason}", f"{run}: it creates the endpoint anew")
    elif status == "UpdateRollbackFailed":
        advice = f"Mend the cause, then: {run}; if SageMaker takes no update, delete the endpoint first"
        yield area.fail(f"endpoint {name} serves with two configurations at once{reason}", advice)
    elif status != "InService":
        yield area.warn(f"endpoint {name} is {status}", "Wait until it is InService")
    elif wanted is None or found["EndpointConfigName"] == wanted:
        yield area.ok(f"endpoint {name} is in service")
    elif reason:
        what = f"endpoint {name} serves with {found['EndpointConfigName']}, an update was rolled back{reason}"
        yield area.fail(what, f"Mend the cause, then: {run}, which brings {wanted} into service")
    else:
        what = f"endpoint {name} serves with {found['EndpointConfigName']}, the fleet file describes {wanted}"
        yield area.warn(what, f"{run}: it updates the endpoint")
    yield from scaling(
        area, fleet.endpoint_settings(which).scaling, client("application-autoscaling"), name, run
    )
    served = [city for city in fleet.cities.values() if fleet.endpoint_of(city) == which]
    trained = {each for city in served for _, each, _ in city.algorithm.trained()}
    dag = naming.fleet_dag_id(fleet.fleet, ENDPOINT_PURPOSE)
    wrong = serving_code.lacking(trained, serving_code.served(client("sagemaker"), name), name, dag)
    if wrong is not None:
        lacks, _, advice = wrong.partition(". ")
        yield area.fail(lacks, advice)
    said = installation.of_tags(installation.tags_of(client("sagemaker"), found["EndpointArn"]))
    whose = installation.other(fleet.keys, said)
    if whose is not None:
        advice = "Set endpoint.name in the fleet file to a name that is free, or take it out there"
        yield area.fail(f"endpoint {name} belongs to {whose}", advice)


def _reason(found: Mapping[str, Any]) -> str:
    said = str(found.get("FailureReason") or "").rstrip(".")
    return f": {said}" if said else ""


def _said(error: ClientError | BotoCoreError) -> str:
    if isinstance(error, ClientError):
        return f"{aws_errors.code_of(error)}: {aws_errors.message_of(error)}".rstrip(": ")
    return str(error).rstrip(".")
