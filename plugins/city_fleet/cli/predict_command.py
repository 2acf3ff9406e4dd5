"""Command ``predict``: a prediction of a city's live model."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from city_fleet.cli.output import AsJson, show
from city_fleet.cli.selection import CityName, FleetName, fleets_named
from city_fleet.config import Fleet
from city_fleet.errors import AmbiguousCity, BadRequest, DataError, PlatformError, UnknownName
from city_fleet.plan import endpoint_name


def predict(
    *,
    city: CityName,
    values: Annotated[
        list[str] | None,
        typer.Argument(metavar="FEATURE=VALUE", help="Features; a missing value is empty or null."),
    ] = None,
    features_file: Annotated[
        str | None,
        typer.Option(
            "--features", metavar="FILE", help="JSON file of features by name; - is standard input."
        ),
    ] = None,
    example: Annotated[
        bool,
        typer.Option("--example", help="Start from the newest sample row in the model's artifact."),
    ] = False,
    fleet: FleetName = None,
    as_json: AsJson = False,
) -> None:
    """Ask a city's live model for a prediction.

    It does what the Lambda function does for applications: read the live pointer, then invoke the endpoint.

    A prediction needs a value, or null, for every feature of the model. --example takes a complete row from the model's
    artifact; FEATURE=VALUE replaces values of it, to see what would change. --features also reads what --json printed.

    \b
    Examples:
      ./fleet predict austin --example
      ./fleet predict austin --example inventory_lag_1=8.4
      ./fleet predict austin --example --json > row.json
      ./fleet predict austin --features row.json inventory_lag_1=null
    """
    if example and features_file is not None:
        raise typer.BadParameter("--example and --features both give a whole row; take one of them.")
    given = dict(_value(text) for text in values or [])
    row = given if features_file is None else {**_read(features_file), **given}
    report = _ask(_fleet_of(city, fleets_named(fleet)), city, row, example)
    show(report, _lines(report, given), as_json)


def _ask(fleet: Fleet, city: str, row: dict[str, Any], example: bool) -> dict[str, Any]:
    """Return the prediction as data, with its features and, for an unchanged example, what training predicted."""
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - slow to import, and other commands need none

    from city_fleet.prediction.deadline import Deadline  # noqa: PLC0415
    from city_fleet.prediction.live_cache import LivePointers  # noqa: PLC0415
    from city_fleet.prediction.predict import DEADLINE_SECONDS, Predictor, clients  # noqa: PLC0415
    from city_fleet.serving.artifact_samples import newest_sample  # noqa: PLC0415

    keys = fleet.keys
    try:
        s3, runtime = clients(region=fleet.region)
    except BotoCoreError as error:
        raise PlatformError(f"AWS could not be reached: {error}") from error
    predictor = Predictor(LivePointers(s3, keys), runtime, endpoint_name(fleet))
    sample = None
    if example:
        sample = newest_sample(s3, keys, predictor.pointers.get(city, Deadline(DEADLINE_SECONDS)))
        row = {**sample.features, **row}
    try:
        report = {**predictor.predict(city, row).to_dict(), "features": row}
    except BadRequest as error:
        if example or all(mistake["problem"] != "missing" for mistake in error.mistakes):
            raise
        hint = f"A whole row to start from: ./fleet predict {city} --example"
        raise replace(error, message=f"{error} {hint}") from error
    if sample is not None and row == sample.features:
        report["expected"] = sample.prediction
    return report


def _fleet_of(city: str, fleets: list[Fleet]) -> Fleet:
    """Return the fleet that a city belongs to.

    :raises CityFleetError: it belongs to none of several, or to more than one.
    """
    if len(fleets) == 1:
        return fleets[0]  # a city that has left its fleet file may still be served: the pointer decides
    found = [fleet for fleet in fleets if city in fleet.cities or city in fleet.broken]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UnknownName(
            "city", city, {slug for fleet in fleets for slug in fleet.cities}, "The fleets together"
        )
    names = ", ".join(fleet.fleet for fleet in found)
    raise AmbiguousCity(
        f"city {city!r} is in the fleets {names}; say which with --fleet.", city=city, fleets=names
    )


def _value(text: str) -> tuple[str, float | str | None]:
    """Read FEATURE=VALUE; a value that is not a number stays text, and the prediction refuses it."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise typer.BadParameter(f"got {text!r}; allowed: FEATURE=VALUE, for example inventory_lag_1=4.2")
    if value.strip().lower() in ("", "null"):
        return name, None
    try:
        return name, float(value)
    except ValueError:
        return name, value


def _read(file: str) -> dict[str, Any]:
    """Read features from a JSON file, which may also be what ``--json`` printed.

    :raises DataError: it can't be read, or is not a JSON object.
    """
    allowed = 'a JSON object, {"inventory_lag_1": 4.2, "sales_lag_1": null}'
    where = "standard input" if file == "-" else file
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        document = json.loads(text.removeprefix("\ufeff"), object_pairs_hook=_unique)
    except OSError as error:
        raise DataError(file=where, got=str(error.strerror), allowed="a readable file") from error
    except (ValueError, RecursionError) as error:
        raise DataError(file=where, got=f"text that is not JSON ({error})", allowed=allowed) from error
    if isinstance(document, dict) and isinstance(document.get("features"), dict):
        document = document["features"]
    if not isinstance(document, dict):
        raise DataError(file=where, got=f"JSON that is a {type(document).__name__}", allowed=allowed)
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object of JSON, which may name each member once, as the endpoint and the Lambda want it."""
    value: dict[str, Any] = {}
    for name, member in pairs:
        if name in value:
            raise ValueError(f"{name[:50]!r} is there twice in one object")
        value[name] = member
    return value


def _lines(report: dict[str, Any], given: dict[str, Any]) -> Iterator[str]:
    version = report["package_version"]
    lines = [
        ("prediction", _number(report["prediction"])),
        ("model", report["target_model"] + (f" (version {version})" if version is not None else "")),
        ("as of", report["as_of"]),
        ("latency", f"{report['latency_ms']:g} ms"),
    ]
    if "expected" in report:
        lines.insert(1, ("training said", _number(report["expected"])))
    for name, value in lines:
        yield f"{name:<13}  {value}"
    yield "features"
    width = max(map(len, report["features"]))
    for name, value in report["features"].items():
        mark = "  (yours)" if name in given else ""
        yield f"  {name:<{width}}  {'missing' if value is None else _number(value)}{mark}"


def _number(value: float) -> str:
    """Return a number with at most ten digits, more than any model is exact to."""
    return f"{value:.10g}"
