"""The doctor's look at the predict function: does it count and keep predictions as the fleet file says, and does the
bucket take what it keeps? Nothing is changed.

A fleet file that keeps none and names no city of its own for metrics is asked nothing about. Clients are passed in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from city_fleet import aws_errors, naming, traffic_rules
from city_fleet.config import Fleet
from city_fleet.doctor.findings import Area, Finding
from city_fleet.plan import predict_variables
from city_fleet.traffic_rules import CaptureRule

_LOOKED_BACK = timedelta(days=1)
NAMESPACE, CAPTURE_ERRORS = "CityFleet", "CaptureErrors"


def is_asked(fleet: Fleet) -> bool:
    """Tell whether the fleet file asks for more than what a function counts by itself."""
    return fleet.capture.share > 0 or bool(fleet.metrics.enabled and fleet.metrics.cities)


def function(area: Area, fleet: Fleet, functions: Any) -> Iterator[Finding]:
    """Hold the deployed function's variables against the fleet file.

    :param functions: boto3's ``lambda``.
    :raises ClientError: it can't be looked at.
    """
    name = naming.aws_name(fleet.fleet, fleet.environment, "predict")
    deploy = f"./fleet deploy --fleet {fleet.fleet}"
    try:
        found = functions.get_function_configuration(FunctionName=name)
    except ClientError as error:
        if not aws_errors.is_missing(error):
            raise
        asks = [
            what
            for what, is_set in (
                ("capture.share", fleet.capture.share > 0),
                ("metrics.cities", fleet.metrics.cities),
            )
            if is_set
        ]
        what = f"there is no function {name}: the fleet file sets {' and '.join(asks)}, and nobody in AWS does it"
        yield area.warn(what, f"{deploy} makes it; `make serve` counts and keeps by itself")
        return
    have, want = found.get("Environment", {}).get("Variables", {}), predict_variables(fleet)
    wrong = [*_capture(area, name, have, want, deploy), *_metrics(area, name, have, want, deploy)]
    yield from wrong or [area.ok(f"function {name} counts and keeps predictions as the fleet file says")]


def refused(area: Area, fleet: Fleet, cloudwatch: Any, now: datetime) -> Iterator[Finding]:
    """Ask CloudWatch whether writes of captured predictions have failed of late.

    :param cloudwatch: boto3's client.
    :raises ClientError: it can't be asked.
    """
    if not (fleet.capture.share > 0 and fleet.metrics.enabled):
        return  # nobody counts them
    answer = cloudwatch.get_metric_statistics(
        Namespace=NAMESPACE,
        MetricName=CAPTURE_ERRORS,
        Dimensions=[
            {"Name": "Fleet", "Value": fleet.fleet},
            {"Name": "Environment", "Value": fleet.environment},
        ],
        StartTime=now - _LOOKED_BACK,
        EndTime=now,
        Period=3600,
        Statistics=["Sum"],
    )
    failed = int(sum(each.get("Sum", 0) for each in answer["Datapoints"]))
    if failed:
        log = f"/aws/lambda/{naming.aws_name(fleet.fleet, fleet.environment, 'predict')}"
        yield area.fail(
            f"{failed:,} writes of captured predictions failed or found no room in the last day",
            f"The log {log} says why; ./fleet deploy --fleet {fleet.fleet} gives the function's role s3:PutObject",
        )


def _capture(
    area: Area, name: str, have: Mapping[str, str], want: Mapping[str, str], deploy: str
) -> Iterator[Finding]:
    wanted = traffic_rules.parse_capture(want.get(traffic_rules.CAPTURE, ""))
    try:
        kept = traffic_rules.parse_capture(have.get(traffic_rules.CAPTURE, ""))
    except ValueError as error:
        yield area.fail(f"function {name} can't start: {traffic_rules.CAPTURE}: {error}", deploy)
        return
    if kept == wanted:
        return
    if kept is None:
        share = wanted.share if wanted else 0
        yield area.warn(
            f"function {name} keeps no predictions, the fleet file has capture.share {share:g}", deploy
        )
    elif wanted is None:
        what = f"function {name} keeps predictions (share {kept.share:g}), the fleet file has capture.share 0"
        yield area.warn(what, deploy)
    elif shown := _shown(kept, wanted):
        yield area.fail(f"function {name} keeps what the fleet file masks: {', '.join(shown)}", deploy)
    else:
        differ = [
            f"{each.name} {_text(getattr(kept, each.name))} instead of {_text(getattr(wanted, each.name))}"
            for each in fields(CaptureRule)
            if getattr(kept, each.name) != getattr(wanted, each.name)
        ]
        yield area.warn(
            f"function {name} keeps predictions otherwise than capture says: {'; '.join(differ)}", deploy
        )


def _shown(kept: CaptureRule, wanted: CaptureRule) -> list[str]:
    """Return what is kept that should be hidden."""
    columns = sorted(set(wanted.mask) - set(kept.mask))
    return [
        *columns,
        *(["the answers"] if wanted.mask_answers and not kept.mask_answers and not columns else []),
    ]


def _metrics(
    area: Area, name: str, have: Mapping[str, str], want: Mapping[str, str], deploy: str
) -> Iterator[Finding]:
    on, wanted_on = (each.get(traffic_rules.METRICS, traffic_rules.OFF) for each in (have, want))
    if on != wanted_on:
        does = {traffic_rules.EMBEDDED: "counts predictions", traffic_rules.OFF: "counts no predictions"}
        what = (
            f"function {name} {does.get(on, 'counts nobody knows what')}, the fleet file wants it otherwise"
        )
        yield area.warn(what, deploy)
        return
    of, wanted_of = (
        set(traffic_rules.names(each.get(traffic_rules.METRICS_CITIES, ""))) for each in (have, want)
    )
    if of != wanted_of:
        text = f"{_text(tuple(sorted(of)))} instead of {_text(tuple(sorted(wanted_of)))}"
        yield area.warn(f"function {name} has metrics of its own for {text}, as metrics.cities says", deploy)


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else f"{value}"
