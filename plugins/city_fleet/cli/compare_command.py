"""Command ``compare``: two models of a city side by side."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from city_fleet.cli.desk_inputs import DeskInputs, refuse_image
from city_fleet.cli.moving import instant
from city_fleet.cli.output import AsJson, show, table
from city_fleet.cli.selection import CityName, FleetName, city_named, fleets_named
from city_fleet.cli.try_command import AsOf, DataFile
from city_fleet.errors import ConfigError, DataError, ScriptFailed
from city_fleet.metrics import METRICS, METRICS_OF, default_metric
from city_fleet.metrics import show as show_metric
from city_fleet.naming import parse_as_of

if TYPE_CHECKING:
    from datetime import datetime

    from city_fleet.desk.made_model import MadeModel
    from city_fleet.desk.trial import Desk
    from city_fleet.plan import CityPlan

_WHICH = (
    "A version of the registry, such as v3; live, for what serves; or a folder that `try --keep` has left."
)
First = Annotated[str, typer.Argument(metavar="FIRST", help=_WHICH, show_default=False)]
Second = Annotated[str, typer.Argument(metavar="SECOND", help="The other one, likewise.", show_default=False)]

_ROWS_SHOWN, _LONGEST = 5, 28
_SIDES = ("first", "second")
#: As sure as the gate wants to be that a model beats a baseline.
SURE = 0.9


def compare(
    *,
    city: CityName,
    first: First,
    second: Second,
    data: DataFile = None,
    as_of: AsOf = None,
    fleet: FleetName = None,
    as_json: AsJson = False,
) -> None:
    """Hold two models of a city against each other.

    It says which settings, raw data files and scripts differ, and how good each was on its own held-out rows. Then both
    answer the same rows here, of the data that a run would have now, with the gate's paired test, and what comes next.
    Nothing is changed.

    Exit codes: 0 done, 1 one of them is not there, 2 wrong usage.

    \b
    Examples:
      ./fleet compare austin v3 v4
      ./fleet compare austin live austin-trial
      ./fleet compare austin live v7 --data newer.csv --json
    """
    from city_fleet.desk.image_python import image_python  # noqa: PLC0415 - imports botocore
    from city_fleet.desk.trial import Desk  # noqa: PLC0415
    from city_fleet.plan import plan_city  # noqa: PLC0415

    item, found = city_named(fleets_named(fleet, as_they_are=True), city)
    moment = instant("--as-of", as_of) if as_of is not None else None
    plan = plan_city(item, found.slug)
    refuse_image(plan)
    with tempfile.TemporaryDirectory(prefix="city-fleet-compare-") as folder:
        inputs = DeskInputs(plan, Path(folder))
        sides = [inputs.model(each) for each in (first, second)]
        python = image_python()
        if python.note is not None:
            inputs.notes.append(python.note)
        with Desk(plan, python.path, Path(folder)) as desk:
            measured = _measured(desk, sides, inputs, data, moment)
        report = _report(plan, sides, inputs, measured)
    show(report, _lines(report), as_json)


def _measured(
    desk: Desk, sides: Sequence[MadeModel], inputs: DeskInputs, file: Path | None, moment: datetime | None
) -> dict[str, Any] | None:
    """Have both answer the same rows; None with a note where these can't be had."""
    try:
        return _on_same_rows(desk, sides, inputs, file, moment)
    except (DataError, ScriptFailed, ConfigError) as error:
        if file is not None or moment is not None:
            raise
        inputs.notes.append(f"they can't be asked for the same rows: {error}")
        return None


def _on_same_rows(
    desk: Desk, sides: Sequence[MadeModel], inputs: DeskInputs, file: Path | None, moment: datetime | None
) -> dict[str, Any]:
    from city_fleet.cli.desk_inputs import moment_of  # noqa: PLC0415
    from city_fleet.desk import looking  # noqa: PLC0415

    plan, slug = desk.plan, desk.plan.city.slug
    found = inputs.data(file)
    at = plan.check_as_of(moment) if moment is not None else moment_of(plan, None)
    if moment is None:
        at = max(at, *(parse_as_of(each.as_of) for each in sides))
    tables = desk.prepare(at, found)
    if not tables.ready:
        raise DataError(file=found.name_of(slug), got=tables.status["reason"])
    report = looking.compare(desk, tables, sides[0].archive, sides[1].archive)
    for row in report["apart"]:
        row["period"] = found.place(slug, row["period"])
    return {**report, "data": found.name_of(slug)}


def _report(
    plan: CityPlan, sides: Sequence[MadeModel], inputs: DeskInputs, measured: dict[str, Any] | None
) -> dict[str, Any]:
    from city_fleet.desk import differences  # noqa: PLC0415

    first, second = sides
    found = {
        "settings": differences.of_settings(first.settings, second.settings),
        "raw": differences.of_files(first.raw, second.raw),
        "code": differences.of_files(first.code, second.code),
    }
    task = plan.city.dataset.task
    metric = plan.city.gate.metric or default_metric(task)
    return {
        "fleet": plan.fleet.fleet,
        "city": plan.city.slug,
        "name": plan.city.shown_name,
        "task": task,
        "metric": metric,
        "models": {side: _side(made) for side, made in zip(_SIDES, sides, strict=True)},
        "differences": {
            name: None if each is None else [item.to_json() for item in each] for name, each in found.items()
        },
        "same_rows": measured,
        "better": None if measured is None else _better(measured, metric),
        "notes": inputs.notes,
    }


def _side(made: MadeModel) -> dict[str, Any]:
    report = made.report or {}
    measured = report.get("challenger")
    return {
        "name": made.name,
        "as_of": made.as_of,
        "algorithm": report.get("algorithm") or (made.training or {}).get("algorithm"),
        "rows": report.get("rows"),
        "metrics": measured if isinstance(measured, Mapping) else None,
        "sha256": report.get("artifact_sha256"),
    }


def _better(measured: Mapping[str, Any], metric: str) -> dict[str, Any] | None:
    """Say which is better on the same rows, and how sure that is; None where no test can say so."""
    from city_fleet.champions.paired_test import Paired  # noqa: PLC0415

    tested = Paired.of(measured["paired"], metric)
    if tested is None:
        return None
    sure = tested.confidence()  # that the first's losses are smaller
    side = "first" if sure >= 0.5 else "second"
    return {"side": side, "confidence": max(sure, 1 - sure), "origins": tested.origins}


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    for note in report["notes"]:
        yield f"note: {note}"
    models = report["models"]
    names = [models[side]["name"] for side in _SIDES]
    yield f"{report['name']}: {names[0]} and {names[1]}"
    yield from table(
        ["", *map(_short, names)],
        [
            ["data until", *(f"{parse_as_of(models[side]['as_of']):%Y-%m-%d}" for side in _SIDES)],
            ["algorithm", *(str(models[side]["algorithm"] or "?") for side in _SIDES)],
            ["SHA-256", *(str(models[side]["sha256"] or "?")[:12] for side in _SIDES)],
        ],
    )
    yield ""
    yield from _difference_lines(report["differences"], names)
    yield ""
    own = {_short(models[side]["name"]): (models[side]["rows"], models[side]["metrics"]) for side in _SIDES}
    yield from _metric_lines("each on its own held-out rows", report, own)
    same = report["same_rows"]
    if same is not None:
        yield ""
        yield from _same_lines(report, same, names)


def _difference_lines(found: Mapping[str, Any], names: Sequence[str]) -> Iterator[str]:
    settings = found["settings"]
    if settings is None:
        yield "settings: of one of them they are not known any more"
    elif settings:
        rows = [
            [
                _short(each["name"].replace(".hyperparameters.", "."), 44),
                *(_setting(each[side]) for side in _SIDES),
            ]
            for each in settings
        ]
        yield from table(["settings that differ", *map(_short, names)], rows)
    else:
        yield "settings: the same"
    for name, what in (("raw", "raw data"), ("code", "scripts")):
        files = found[name]
        if files is None:
            yield f"{what}: of one of them they are not known any more"
        elif not files:
            yield f"{what}: the same"
        else:
            yield f"{what} that differ:"
            yield from (f"  {each['name']}{_only(each, names)}" for each in files)


def _only(each: Mapping[str, Any], names: Sequence[str]) -> str:
    for side, name in zip(_SIDES, names, strict=True):
        if each[side] is None:
            return f" (not of {name})"
    return ""


def _metric_lines(
    title: str, report: Mapping[str, Any], measured: Mapping[str, tuple[Any, Any]]
) -> Iterator[str]:
    order = [report["metric"], *(name for name in METRICS_OF[report["task"]] if name != report["metric"])]
    shown = [
        name
        for name in order
        if any(
            isinstance(values, Mapping) and values.get(name) is not None for _, values in measured.values()
        )
    ]
    rows = []
    for who, (count, values) in measured.items():
        cells = [
            "-"
            if not isinstance(values, Mapping) or values.get(name) is None
            else show_metric(name, values[name])
            for name in shown
        ]
        rows.append([who, str(count if count is not None else "?"), *cells])
    yield from table([title, "rows", *(METRICS[name].title for name in shown)], rows)


def _same_lines(report: Mapping[str, Any], same: Mapping[str, Any], names: Sequence[str]) -> Iterator[str]:
    for name, model in zip(names, same["models"], strict=True):
        if model["problem"]:
            yield f"{name} can't be held against these rows: {model['problem']}"
    if same["metrics"] is not None:
        both = {
            _short(name): (same["rows"], same["metrics"][side])
            for side, name in zip(_SIDES, names, strict=True)
        }
        yield from _metric_lines("both on the same held-out rows", report, both)
        better = report["better"]
        if better is not None:
            name = names[_SIDES.index(better["side"])]
            sure = f"{better['confidence']:.0%} sure (paired test over {better['origins']} origins)"
            if better["confidence"] >= SURE:
                yield f"{name} is the better one, {sure}"
            else:
                yield f"neither is the better one beyond chance: {name}'s errors are smaller, {sure}"
    if same["apart"]:
        yield ""
        yield from _apart_lines(same["apart"], names, report["task"])
    yield from _next_lines(same["next"], names)
    yield ""
    yield f"rows of {same['data']}"


def _apart_lines(rows: Sequence[Mapping[str, Any]], names: Sequence[str], task: str) -> Iterator[str]:
    cell = _amount if task == "regression" else "{:.1%}".format
    with_step = "step" in rows[0]
    body = [
        [
            str(row["period"]),
            *([str(row["step"])] if with_step else []),
            _amount(row["actual"]),
            *(cell(row[side]) for side in _SIDES),
        ]
        for row in rows[:_ROWS_SHOWN]
    ]
    head = ["where they differ most", *(["step"] if with_step else []), "actual", *map(_short, names)]
    yield from table(head, body)


def _next_lines(sides: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Iterator[str]:
    if not sides:
        return
    yield ""
    for name, side in zip(names, sides, strict=True):
        if side["problem"]:
            yield f"{name} can't be asked what comes next: {side['problem']}"
    found = [{each["period"]: each["prediction"] for each in side["forecasts"]} for side in sides]
    periods = sorted({*found[0], *found[1]})
    if periods:
        body = [
            [day, *(_amount(each[day]) if day in each else "-" for each in found), _apart(found, day)]
            for day in periods
        ]
        yield from table(["what comes next", *map(_short, names), "apart"], body)


def _apart(found: Sequence[Mapping[str, float]], day: str) -> str:
    if day not in found[0] or day not in found[1] or not found[0][day]:
        return ""
    return f"{found[1][day] / found[0][day] - 1:+.1%}"


def _setting(value: Any) -> str:
    text = "-" if value is None else json.dumps(value, ensure_ascii=False)
    return _short(text)


def _short(text: str, longest: int = _LONGEST) -> str:
    """Shorten a name; of a path its end says the most."""
    return text if len(text) <= longest else f"…{text[1 - longest :]}"


def _amount(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
