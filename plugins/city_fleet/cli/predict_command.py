"""Command ``predict``: a prediction of a city's live model, of a row of features or of the periods that come next."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from city_fleet.cli.history_file import read_history
from city_fleet.cli.output import AsJson, show, table
from city_fleet.cli.selection import CityName, FleetName, as_slugs, cities_fleet, fleets_named
from city_fleet.config import Fleet
from city_fleet.errors import BadRequest, DataError, PlatformError, PredictError
from city_fleet.plan import endpoint_name

if TYPE_CHECKING:
    from city_fleet.prediction.live_cache import LivePointers
    from city_fleet.prediction.predict import Predictor

_CLASSES_SHOWN = 10


def predict(
    *,
    city: CityName,
    values: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FEATURE=VALUE",
            help="Features; a missing value is empty or null. Without any: a forecast of what comes next.",
        ),
    ] = None,
    horizon: Annotated[
        int | None,
        typer.Option("--horizon", metavar="N", min=1, help="Of a forecast: N periods ahead, and no more."),
    ] = None,
    history_file: Annotated[
        str | None,
        typer.Option(
            "--history",
            metavar="FILE",
            help="Of a forecast: newer actual values, a CSV or JSON file of rows with period and the columns.",
        ),
    ] = None,
    ahead_file: Annotated[
        str | None,
        typer.Option(
            "--ahead",
            metavar="FILE",
            help="Of a forecast: values of the coming periods, of columns that are known ahead; a file like --history.",
        ),
    ] = None,
    features_file: Annotated[
        str | None,
        typer.Option(
            "--features", metavar="FILE", help="JSON file of features by name; - is standard input."
        ),
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(
            "--top-k", metavar="K", min=1, help="Of a classification: the K most probable classes alone."
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

    With the city's name alone it forecasts the periods that come next, from what the newest run has known. --history
    adds actual values that are newer, --ahead what is planned for the coming periods (dataset.features[].known_ahead).

    A prediction of a row needs a value, or null, for every feature of the model. --example takes the newest complete
    row of the model's artifact, says of which period it is, and writes both questions to paste: by name, and by
    features. FEATURE=VALUE replaces values of it, to see what would change. --features also reads what --json printed.
    A table's model takes text, true or false and dates as well, as its features are.

    \b
    Examples:
      ./fleet predict austin
      ./fleet predict "Fort Worth" --horizon 2 --history newer.csv
      ./fleet predict austin --ahead promotions.csv
      ./fleet predict austin --example
      ./fleet predict austin --example inventory_lag_1=8.4
      ./fleet predict austin --example --json > row.json
      ./fleet predict austin --features row.json inventory_lag_1=null
      ./fleet predict austin sqft=1200 type=Condo pool=true listed=2015-07-31 --top-k 3
    """
    if example and features_file is not None:
        raise typer.BadParameter("--example and --features both give a whole row; take one of them.")
    given = dict(_assignment(text) for text in values or [])
    row = {} if features_file is None else _read(features_file)
    by_name = not (given or example or features_file is not None)
    if not by_name and (horizon, history_file, ahead_file) != (None, None, None):
        raise typer.BadParameter(
            "--horizon, --history and --ahead are of a forecast, which takes no features."
        )
    fleets = fleets_named(fleet)
    (city,) = as_slugs(fleets, [city])
    history = None if history_file is None else read_history(history_file)
    ahead = None if ahead_file is None else read_history(ahead_file, "ahead")
    asked = _Asked(row, given, top_k, example, by_name, horizon, history, ahead)
    report = _ask(cities_fleet(city, fleets), city, asked)
    show(report, _forecast_lines(report) if "forecasts" in report else _lines(report, given), as_json)


@dataclass(frozen=True)
class _Asked:
    """What was asked for.

    :param row: features from a file.
    :param given: features from the command line, as text: they replace others.
    :param example: start from the artifact's newest sample.
    :param by_name: no features at all: what comes next, ``horizon`` periods ahead, from ``history`` and ``ahead`` too.
    """

    row: dict[str, Any]
    given: dict[str, str]
    top_k: int | None
    example: bool
    by_name: bool
    horizon: int | None
    history: list[dict[str, Any]] | None
    ahead: list[dict[str, Any]] | None


def _ask(fleet: Fleet, city: str, asked: _Asked) -> dict[str, Any]:
    """Return the prediction as data: a forecast; or that of a row with its features and, for an unchanged example, what
    training predicted."""
    from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - slow to import, and other commands need none

    from city_fleet.prediction.deadline import Deadline  # noqa: PLC0415
    from city_fleet.prediction.endpoint_cache import Endpoints  # noqa: PLC0415
    from city_fleet.prediction.feature_row import value_of_text  # noqa: PLC0415
    from city_fleet.prediction.known_cache import KnownCopies  # noqa: PLC0415
    from city_fleet.prediction.live_cache import LivePointers  # noqa: PLC0415
    from city_fleet.prediction.predict import DEADLINE_SECONDS, Predictor, clients  # noqa: PLC0415
    from city_fleet.serving.artifact_samples import newest_sample  # noqa: PLC0415

    keys = fleet.keys
    try:
        s3, runtime = clients(region=fleet.region)
    except BotoCoreError as error:
        raise PlatformError(f"AWS could not be reached: {error}") from error
    endpoints = Endpoints(s3, keys, endpoint_name(fleet))
    predictor = Predictor(LivePointers(s3, keys), runtime, endpoints, known=KnownCopies(s3, keys))
    if asked.by_name:
        try:
            # Not of a live pointer alone: a city's parent may answer for it.
            return predictor.forecast(city, asked.horizon, asked.history, ahead=asked.ahead).to_dict()
        except BadRequest as error:
            if _can_be_asked_by_name(predictor.pointers, city):
                raise
            raise replace(error, message=f"{error} {_hint(city)}") from error
    pointer = predictor.pointers.get(city, Deadline(DEADLINE_SECONDS))
    kinds = {each["name"]: each["kind"] for each in pointer.inputs}
    sample = newest_sample(s3, keys, pointer) if asked.example else None
    own = {name: value_of_text(text, kinds.get(name, "number")) for name, text in asked.given.items()}
    row: dict[str, Any] = {**(sample.features if sample is not None else {}), **asked.row, **own}
    try:
        report = {**predictor.predict(city, row, top_k=asked.top_k).to_dict(), "features": row}
    except BadRequest as error:
        if asked.example or all(mistake["problem"] != "missing" for mistake in error.mistakes):
            raise
        raise replace(error, message=f"{error} {_hint(city)}") from error
    if sample is not None:
        report["period"] = sample.period
        if row == sample.features:
            report["expected"] = sample.prediction
        report["requests"] = {"by_features": {"city": city, "features": row}}
        if pointer.forecast:
            report |= _next(predictor, city)
            report["requests"]["by_name"] = {"city": city, "horizon": 1}
    return report


def _next(predictor: Predictor, city: str) -> dict[str, Any]:
    """Return what a question by the city's name gets now, or why it needs more than the name."""
    try:
        (step, *_) = predictor.forecast(city, 1).to_dict()["forecasts"]
    except PredictError as error:
        return {"next": None, "next_needs": error.message}
    return {"next": {"period": step["period"], "prediction": step["prediction"]}}


def _can_be_asked_by_name(pointers: LivePointers, city: str) -> bool:
    from city_fleet.prediction.deadline import Deadline  # noqa: PLC0415
    from city_fleet.prediction.predict import DEADLINE_SECONDS  # noqa: PLC0415

    try:
        return bool(pointers.get(city, Deadline(DEADLINE_SECONDS)).forecast)
    except PredictError:
        return True  # its parent was asked


def _hint(city: str) -> str:
    return f"A whole row to start from: ./fleet predict {city} --example"


def _assignment(text: str) -> tuple[str, str]:
    """Read FEATURE=VALUE."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise typer.BadParameter(f"got {text!r}; allowed: FEATURE=VALUE, for example inventory_lag_1=4.2")
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
        ("prediction", _shown(report["label"] if "label" in report else report["prediction"])),
        ("model", report["target_model"] + (f" (version {version})" if version is not None else "")),
        ("as of", report["as_of"]),
        ("latency", f"{report['latency_ms']:g} ms"),
    ]
    if "expected" in report:
        lines.insert(1, ("training said", _expected(report["expected"])))
    if report.get("period"):
        lines.insert(1, ("of", f"{report['period']}, the newest row that the model brings"))
    classes = _classes(report)
    lines[1:1] = [("" if number else "probability", each) for number, each in enumerate(classes)]
    for name, value in lines:
        yield f"{name:<13}  {value}"
    yield "features"
    width = max(map(len, report["features"]))
    for name, value in report["features"].items():
        mark = "  (yours)" if name in given else ""
        yield f"  {name:<{width}}  {'missing' if value is None else _shown(value)}{mark}"
    yield from _requests(report)


def _requests(report: dict[str, Any]) -> Iterator[str]:
    """Yield an example as questions to paste, and the period that each is of."""
    requests = report.get("requests")
    if requests is None:
        return
    yield "to paste, as body of POST /predict or event of the function"
    coming = report.get("next")
    if coming is not None:
        yield f"by name, the next period ({coming['period']}: {_amount(coming['prediction'])})"
    elif "by_name" in requests:
        yield f"by name, the next period (now it says: {report['next_needs']})"
    if "by_name" in requests:
        yield f"  {json.dumps(requests['by_name'], ensure_ascii=False)}"
    yield f"by features{', of ' + report['period'] if report.get('period') else ''}"
    yield f"  {json.dumps(requests['by_features'], ensure_ascii=False)}"


def _forecast_lines(report: dict[str, Any]) -> Iterator[str]:
    unit = f" ({report['unit']})" if report["unit"] else ""
    steps = report["forecasts"]
    levels = [level for level in steps[0]["intervals"] if any(each["intervals"].get(level) for each in steps)]
    yield from table(
        ("period", f"forecast{unit}", *(f"{level} % between" for level in levels)),
        [
            (
                each["period"],
                _amount(each["prediction"]),
                *(_between(each["intervals"].get(level)) for level in levels),
            )
            for each in steps
        ],
    )
    version = report["package_version"]
    late = report["late_periods"]
    age = "" if late is None else ", as new as can be expected" if late == 0 else ""
    for name, value in (
        ("data until", f"{report['known_until']}{age}"),
        *([("served by", _served_by(report))] if report["served_by"] != report["city"] else []),
        ("model", report["target_model"] + (f" (version {version})" if version is not None else "")),
        ("as of", report["as_of"]),
        ("latency", f"{report['latency_ms']:g} ms"),
    ):
        yield f"{name:<10}  {value}"
    if report["intervals_withheld"]:
        yield f"not said: {report['intervals_withheld']}."
    if "warning" in report:
        yield f"warning: {report['warning']}."


def _served_by(report: dict[str, Any]) -> str:
    """Return who stands in for the city's own model."""
    if report["served_by"] == "baseline":
        return "baseline: no model was better on the city's held-out rows"
    return f"{report['served_by']}, its parent"


def _between(interval: list[float] | None) -> str:
    return "" if interval is None else f"{_amount(interval[0])} and {_amount(interval[1])}"


def _amount(value: float) -> str:
    """Return a forecast with six digits, which is more than anybody knows of the future, and commas."""
    return f"{value:,.0f}" if abs(value) >= 1e5 else f"{value:.6g}"


def _classes(report: dict[str, Any]) -> list[str]:
    """Return the most probable classes, one a line; of many the first ones."""
    ranked = report.get("top_k")
    if ranked is None:
        found = report.get("probabilities") or {}
        ranked = [
            {"label": name, "probability": found[name]}
            for name in sorted(found, key=lambda each: -found[each])
        ]
    lines = [f"{each['probability']:7.2%}  {each['label']}" for each in ranked[:_CLASSES_SHOWN]]
    more = len(ranked) - len(lines)
    return [*lines, f"{more} more classes: --json has all"] if more else lines


def _expected(value: Any) -> str:
    return _shown(max(value, key=lambda name: value[name]) if isinstance(value, dict) else value)


def _shown(value: float | str | bool) -> str:
    """Return a value; a number with at most ten digits, more than any model is exact to."""
    if isinstance(value, bool):
        return str(value).lower()
    return value if isinstance(value, str) else f"{value:.10g}"
