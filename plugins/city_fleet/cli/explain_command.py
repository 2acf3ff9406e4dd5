"""Command ``explain``: what counts in a city's model, and why it answers as it does."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from city_fleet.cli.bars import bar, levels, signed_bar
from city_fleet.cli.desk_inputs import DeskInputs, moment_of, refuse_image
from city_fleet.cli.moving import instant
from city_fleet.cli.output import AsJson, say, show, table
from city_fleet.cli.selection import CityName, FleetName, city_named, fleets_named
from city_fleet.cli.try_command import SHARES, AsOf, DataFile, Setting
from city_fleet.errors import DataError, ScriptFailed, display_path
from city_fleet.naming import parse_as_of

if TYPE_CHECKING:
    from city_fleet.config import Fleet
    from city_fleet.plan import CityPlan

Row = Annotated[
    str | None,
    typer.Option(
        "--row",
        metavar="ROW",
        help="What to explain the answer to: a held-out row by its period or example, such as 2015-06; or features by "
        "name, as JSON or a JSON file, - for standard input. The newest held-out row by default.",
    ),
]
VersionNumber = Annotated[
    str | None,
    typer.Option(
        "--version", metavar="VERSION", help="A version of the registry, such as v3; what serves by default."
    ),
]
Picture = Annotated[
    Path | None, typer.Option("--picture", metavar="FILE.svg", help="Draw all of it into a file, too.")
]

_FEATURES_SHOWN, _PARTS_SHOWN = 10, 8
_WIDTH, _HALF, _NAME, _LINE = 24, 12, 26, 40


def explain(
    *,
    city: CityName,
    row: Row = None,
    version: VersionNumber = None,
    settings: Setting = None,
    data: DataFile = None,
    as_of: AsOf = None,
    picture: Picture = None,
    fleet: FleetName = None,
    as_json: AsJson = False,
) -> None:
    """Say what counts in a model, and why it answers as it does.

    It takes the model that serves; where none does, or with --set, one that is trained on this machine as `try` does.
    The city's own scripts make the rows, of the data that a run would have now. Beside one answer it tells how far the
    model was off on the held-out rows, the oldest first, and how it has learned. Nothing is changed.

    Exit codes: 0 done, 1 there is no model, or no such row; 2 wrong usage.

    \b
    Examples:
      ./fleet explain austin
      ./fleet explain austin --row 2015-06
      ./fleet explain austin --row row.json --version v3
      ./fleet explain austin --set max_depth=6 --picture austin.svg
    """
    from city_fleet.config.overridden import overridden, read_changes  # noqa: PLC0415 - reads the file again
    from city_fleet.desk.made_model import version_number  # noqa: PLC0415 - imports botocore

    number = None if version is None else version_number(version)
    if version is not None and number is None:
        raise typer.BadParameter(
            f"--version: got {version!r}; allowed: a number of the registry, such as v3."
        )
    if settings and version is not None:
        raise typer.BadParameter("--set trains a model, --version takes one that is there; give one of them.")
    if picture is not None and picture.suffix.lower() != ".svg":
        raise typer.BadParameter(f"--picture: got {str(picture)!r}; allowed: a name that ends with .svg.")
    item, found = city_named(fleets_named(fleet, as_they_are=True), city)
    changes = read_changes(settings or [])
    changed = overridden(item, found.slug, changes) if changes else item
    moment = instant("--as-of", as_of) if as_of is not None else None
    values, period = _asked(row)
    with tempfile.TemporaryDirectory(prefix="city-fleet-explain-") as folder:
        looked = _Look(changed, found.slug, Path(folder))
        report = looked.explain(
            train=bool(changes), number=number, file=data, moment=moment, row=values, period=period
        )
    if picture is not None:
        from city_fleet.desk.explanation_picture import draw  # noqa: PLC0415 - for a picture alone

        picture.write_text(draw(report), encoding="utf-8")
        report["picture"] = str(picture)
    show(report, _lines(report), as_json)


def _asked(row: str | None) -> tuple[dict[str, Any] | None, str | None]:
    """Tell a row's values from a period.

    :raises DataError: a file or a text is no JSON object.
    """
    if row is None:
        return None, None
    is_file = row == "-" or row.endswith(".json")
    if not is_file and not row.lstrip().startswith("{"):
        return None, row
    where = "standard input" if row == "-" else row if is_file else "--row"
    try:
        text = sys.stdin.read() if row == "-" else Path(row).read_text(encoding="utf-8") if is_file else row
        said = json.loads(text.removeprefix("\ufeff"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(file=where, got=f"what is no JSON ({error})", allowed=_ALLOWED_ROW) from None
    # What `predict --json` prints has the features inside.
    said = said.get("features", said) if isinstance(said, dict) else said
    if not isinstance(said, dict):
        raise DataError(file=where, got=f"JSON of another kind ({type(said).__name__})", allowed=_ALLOWED_ROW)
    return said, None


_ALLOWED_ROW = 'a JSON object, {"inventory_lag_1": 4.2, "sales_lag_1": null}'


class _Look:
    """Explains a city's model in a folder of its own."""

    def __init__(self, fleet: Fleet, slug: str, folder: Path) -> None:
        from city_fleet.plan import plan_city  # noqa: PLC0415

        self._plan: CityPlan = plan_city(fleet, slug)
        self._folder = folder
        refuse_image(self._plan)

    def explain(
        self, *, train: bool, number: int | None, file: Path | None, moment: Any, row: Any, period: str | None
    ) -> dict[str, Any]:
        """Explain a version, what serves, or a model that is trained here."""
        from city_fleet.desk import looking  # noqa: PLC0415 - imports botocore
        from city_fleet.desk.image_python import image_python  # noqa: PLC0415
        from city_fleet.desk.trial import Desk  # noqa: PLC0415

        plan, python = self._plan, image_python()
        inputs = DeskInputs(plan, self._folder)
        if python.note is not None:
            inputs.notes.append(python.note)
        with Desk(plan, python.path, self._folder) as desk:
            made = inputs.version(number) if number is not None else None
            champion = inputs.served()[0] if not train and made is None else None
            if champion is not None:
                made = inputs.made_by(champion)
            found = inputs.data(file)
            as_of = plan.check_as_of(moment) if moment is not None else moment_of(plan, champion)
            if made is not None and moment is None:
                as_of = max(as_of, parse_as_of(made.as_of))
            try:
                tables = desk.prepare(as_of, found)
                if not tables.ready:
                    raise DataError(file=found.name_of(plan.city.slug), got=tables.status["reason"])
                if made is None:
                    desk.train(tables)
                    archive = desk.folder / "packed" / "model.tar.gz"
                    training: Path | None = (
                        desk.folder / "training" / f"city={plan.city.slug}" / "training.json"
                    )
                else:
                    from city_fleet.desk.made_model import write_training  # noqa: PLC0415

                    archive, training = (
                        made.archive,
                        write_training(made, desk.folder / "made" / "training.json"),
                    )
                if period is not None:
                    period = found.own_place(plan.city.slug, period)
                report = looking.explain(desk, tables, archive, training=training, row=row, period=period)
            except ScriptFailed as error:
                for line in (error.log or ()) if error.where is not None else ():
                    say(f"    {line}", err=True)
                text = found.sentence(plan.city.slug, error.message)
                raise ScriptFailed(text, step=error.step, where=error.where, log=error.log) from None
        _name_rows(report, lambda text: found.place(plan.city.slug, text))
        name = made.name if made is not None else "a model trained here"
        return {
            "fleet": plan.fleet.fleet,
            "name": plan.city.shown_name,
            "model": f"{name}, which serves" if champion is not None else name,
            "data": found.name_of(plan.city.slug),
            "notes": inputs.notes,
            **report,
        }


def _name_rows(report: dict[str, Any], place: Callable[[str], str]) -> None:
    """Name the rows of a table as the desk does, by file and line."""
    named = [report["row"], *report["residuals"]["rows"]]
    for each in named:
        if each.get("period") is not None:
            each["period"] = place(each["period"])
    for group in report["residuals"]["groups"]:
        group |= {end: place(group[end]) for end in ("first", "last")}


def _lines(report: Mapping[str, Any]) -> Iterator[str]:
    for note in report["notes"]:
        yield f"note: {note}"
    day = f"{parse_as_of(report['as_of']):%Y-%m-%d}"
    yield f"{report['name']}: {report['model']} ({report['algorithm']}, data until {day})"
    said = report["importances"]
    if said["features"]:
        yield ""
        shown = list(said["features"].items())[:_FEATURES_SHOWN]
        most = shown[0][1] or 1.0
        rows = [[_short(name), f"{share:.0%}", bar(share / most, _WIDTH)] for name, share in shown]
        yield from table(["what it goes by", SHARES.get(said["kind"], "share"), ""], rows)
    yield ""
    yield from _row_lines(report["row"], report["unit"])
    yield ""
    yield from _residual_lines(report["residuals"], report["task"])
    yield from _curve_lines(report["curve"])
    if report.get("picture"):
        yield f"Picture: {display_path(Path(report['picture']))}"


def _row_lines(row: Mapping[str, Any], unit: str) -> Iterator[str]:
    """Yield what each feature adds to an answer."""
    from city_fleet.desk.looking import METHODS  # noqa: PLC0415 - imports botocore

    where = "of the row that was given" if row["period"] is None else f"for {row['period']}"
    ahead = f", {row['step']} ahead" if row.get("step", 1) > 1 else ""
    of_class = f" of {row['class']}" if row["class"] is not None else ""
    actual = f", actual {_amount(row['actual'])}" if row["actual"] is not None else ""
    answer = _amount(row["prediction"]) if row["class"] is None else f"{row['prediction']:.1%}"
    unit = f" {unit}" if unit and row["class"] is None else ""
    yield f"Its answer{of_class} {where}{ahead}: {answer}{unit}{actual}"
    if row["base_prediction"] is not None:
        base = _amount(row["base_prediction"]) if row["class"] is None else f"{row['base_prediction']:.1%}"
        method = METHODS.get(row["method"], row["method"])
        yield f"  an average row gets {base}{unit}; what moves it from there, by {method}:"
    features = row["features"]
    by_amount = bool(features) and "amount" in features[0]
    key = "amount" if by_amount else "contribution"
    most = max((abs(each[key]) for each in features), default=0.0)
    body = [
        [_short(each["name"]), _value(each["value"]), _signed(each[key]), signed_bar(each[key], most, _HALF)]
        for each in features[:_PARTS_SHOWN]
    ]
    if len(features) > _PARTS_SHOWN:
        rest = sum(each[key] for each in features[_PARTS_SHOWN:])
        body.append(
            [f"{len(features) - _PARTS_SHOWN} others", "", _signed(rest), signed_bar(rest, most, _HALF)]
        )
    yield from table(["feature", "value", "adds" if by_amount else f"adds, {row['scale']}", ""], body)


def _residual_lines(found: Mapping[str, Any], task: str) -> Iterator[str]:
    """Yield how far off the model was over the held-out rows, the oldest first."""
    groups = found["groups"]
    if not groups:
        yield f"How far it was off is not known: {found['note']}"
        return
    sizes = [each["mean_absolute"] for each in groups]
    ends = f"from {groups[0]['first']} to {groups[-1]['last']}"
    size = sum(each["mean_absolute"] * each["rows"] for each in groups) / found["of_rows"]
    bars = levels(sizes, _LINE, low=0.0)
    if task != "regression":
        yield f"What the true class's probability lacks to 1 on {found['of_rows']} held-out rows,"
        yield f"{ends}:"
        yield f"  {bars}  mean {size:.1%}"
        return
    yield f"Off on {found['of_rows']} held-out rows, {ends} (actual less predicted):"
    mean = sum(each["mean"] * each["rows"] for each in groups) / found["of_rows"]
    yield f"  {bars}  mean size {_amount(size)}, mean {_amount(mean)}"


def _curve_lines(curve: Mapping[str, Any] | None) -> Iterator[str]:
    if curve is None:
        return
    yield f"How it has learned, {curve['metric']} by {curve['unit']} (best {curve['best']} of {curve['of_rounds']}):"
    ends = [value for name in ("train", "validation") for value in curve.get(name, ()) if value is not None]
    for name in ("train", "validation"):
        losses = curve.get(name)
        if losses:
            known = [each for each in losses if each is not None]
            yield f"  {name:<10}  {levels(losses, _LINE, low=min(ends))}  {known[0]:.4g} to {known[-1]:.4g}"


def _short(name: str) -> str:
    return name if len(name) <= _NAME else f"{name[: _NAME - 1]}…"


def _value(value: Any) -> str:
    if value is None:
        return "missing"
    if isinstance(value, bool):
        return "true" if value else "false"
    return _amount(value) if isinstance(value, int | float) else _short(str(value))


def _amount(value: Any) -> str:
    if not isinstance(value, int | float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _signed(value: float) -> str:
    return f"{value:+,.0f}" if abs(value) >= 1000 else f"{value:+.3g}"
