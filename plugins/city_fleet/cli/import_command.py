"""Command ``import``: a model that was trained elsewhere becomes a version of a city."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from city_fleet.cli.aws import aws_errors
from city_fleet.cli.moving import By, DryRun, FleetClients, author
from city_fleet.cli.output import AsJson, show
from city_fleet.cli.selection import CityName, FleetName, city_named, fleets_named
from city_fleet.errors import ScriptFailed

if TYPE_CHECKING:
    from city_fleet.desk.trial import Trial
    from city_fleet.importing.converter import ForeignModel
    from city_fleet.importing.import_run import Imported
    from city_fleet.plan import CityPlan
    from city_fleet.state.author import Author

ModelFile = Annotated[Path, typer.Argument(metavar="FILE", help="The model.")]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="NAME",
        help="What the file is: xgboost, onnx, skops or artifact. It says so itself by default.",
    ),
]
Features = Annotated[
    str | None,
    typer.Option(
        "--features",
        metavar="A,B,…",
        help="Which of the city's features its inputs are, in its order, where it does not say; or a JSON list.",
    ),
]
Predicts = Annotated[
    str,
    typer.Option(
        "--predicts",
        metavar="WHAT",
        help="The target in its own unit (target), or what dataset.target_transform makes of it (label).",
    ),
]
Why = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, kept in history and registry.")]
Pin = Annotated[bool, typer.Option("--pin", help="If it goes live, keep it live until ./fleet unpin.")]


def import_(
    *,
    city: CityName,
    file: ModelFile,
    format_: Format = None,
    features: Features = None,
    predicts: Predicts = "target",
    reason: Why = "trained elsewhere",
    pin: Pin = False,
    fleet: FleetName = None,
    by: By = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Take a model that was trained elsewhere.

    XGBoost's .json and .ubj, ONNX, scikit-learn through skops, or an artifact of this project. It is read by a process
    of its own, turned into plain arrays, and compared with its own library on 1,000 rows. Then it goes the way of every
    model: judged on the city's held-out rows by the gate, registered, approved by a person where the city asks for
    that, and published. The next run may replace it by the same gate, unless it is pinned.

    Exit codes: 0 live, or waiting for approval, or (--dry-run) judged; 1 refused, or held by the gate; 2 wrong usage.

    \b
    Examples:
      ./fleet import austin model.json --dry-run
      ./fleet import austin forest.skops --reason "the analysts' forest" --by ann
      ./fleet import austin net.onnx --features median_lag_1,sales_lag_1,month_of_year_sin
      ./fleet import austin ../staging/model.tar.gz --pin
    """
    from city_fleet.importing.converter import FORMATS, PREDICTS, ForeignModel  # noqa: PLC0415 - imports the jobs' code
    from city_fleet.plan import plan_city  # noqa: PLC0415

    if format_ is not None and format_ not in FORMATS:
        raise typer.BadParameter(f"--format: got {format_!r}; allowed: {', '.join(FORMATS)}.")
    if predicts not in PREDICTS:
        raise typer.BadParameter(f"--predicts: got {predicts!r}; allowed: {', '.join(PREDICTS)}.")
    if not reason.strip():
        raise typer.BadParameter("--reason: it is empty; say why, the history keeps it.")
    who = author(by, reason)
    item, found = city_named(fleets_named(fleet), city)
    clients = FleetClients(item)
    if not dry_run:  # which works without AWS as well
        clients.refuse_old_layout()
    model = ForeignModel(file, format_, _names(features), predicts)
    with tempfile.TemporaryDirectory(prefix="city-fleet-import-") as folder:
        done = _import(plan_city(item, found.slug), model, Path(folder), clients, who, dry_run=dry_run)
        if pin and done.imported is not None and done.imported.outcome == "live":
            _pin(clients, found.slug, done.imported.version, who)
    report = _report(done, model)
    show(report, _lines(done, report), as_json)
    if not done.good:
        raise typer.Exit(1)


@dataclass(frozen=True)
class Done:
    """An import, and what came of it.

    :param imported: None where nothing was to be changed, or there is too little data.
    """

    plan: CityPlan
    trial: Trial
    origin: Mapping[str, Any]
    notes: tuple[str, ...]
    imported: Imported | None = None

    @property
    def good(self) -> bool:
        """Tell whether it would be a model that serves, or may become one."""
        if self.imported is None:
            return self.trial.decision is not None
        return self.imported.outcome in ("live", "on_trial", "pending")


def _import(
    plan: CityPlan, model: ForeignModel, folder: Path, clients: FleetClients, who: Author, *, dry_run: bool
) -> Done:
    from city_fleet.champions.planned_city import PlannedCity  # noqa: PLC0415 - imports botocore
    from city_fleet.cli.desk_inputs import DeskInputs, moment_of, refuse_image  # noqa: PLC0415
    from city_fleet.desk.image_python import image_python  # noqa: PLC0415
    from city_fleet.desk.trial import Desk  # noqa: PLC0415
    from city_fleet.importing import converter, import_run  # noqa: PLC0415

    refuse_image(plan)
    python, inputs = image_python(), DeskInputs(plan, folder)
    if python.note is not None:
        inputs.notes.append(python.note)
    place = PlannedCity.of(clients, plan)
    with Desk(plan, python.path, folder) as desk:
        champion, parent = inputs.served()
        prepared = desk.prepare(moment_of(plan, champion), inputs.data(None))
        if not prepared.ready:
            raise ScriptFailed(f"{plan.city.shown_name}: no model can be judged: {prepared.status['reason']}")
        made = converter.convert(converter.import_python(), folder / "code", model, plan.city.slug, folder)
        if not dry_run:
            with aws_errors():
                import_run.refuse_lacking_code(place, str(made.report["algorithm"]))
        trial = desk.judge(import_run.with_training(prepared, made.report), champion, parent)
    origin = {**made.report["origin"], "predicts": model.predicts, "by": who.by, "reason": who.note}
    notes = (*inputs.notes, *made.report["notes"])
    if dry_run:
        return Done(plan, trial, origin, notes)
    with aws_errors():
        brought = import_run.of_trial(plan, trial, origin)
        return Done(plan, trial, origin, notes, import_run.finish(place, brought, who))


def _pin(clients: FleetClients, city: str, version: int, who: Author) -> None:
    from city_fleet.champions import promotion  # noqa: PLC0415 - imports botocore

    with aws_errors():
        promotion.promote(clients.city(city), who, promotion.Choice(version), pin=True)


def _names(features: str | None) -> list[str] | None:
    """:raises typer.BadParameter: they are no list of names."""
    if features is None:
        return None
    names: Any = [name.strip() for name in features.split(",")]
    if features.lstrip().startswith("["):
        with suppress(ValueError):
            names = json.loads(features)
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise typer.BadParameter(
            '--features: allowed: names with commas between them, or a JSON list such as \'["a", "b,c"]\'.'
        )
    return names


def _report(done: Done, model: ForeignModel) -> dict[str, Any]:
    """Return what came of it as data."""
    trial, imported = done.trial, done.imported
    return {
        "fleet": done.plan.fleet.fleet,
        "city": done.plan.city.slug,
        "file": str(model.path),
        "as_of": trial.as_of,
        "algorithm": (trial.training or {}).get("algorithm"),
        "origin": dict(done.origin),
        "decision": None if trial.decision is None else trial.decision.to_dict(),
        "rows": None if trial.report is None else trial.report.get("rows"),
        "artifact_sha256": None if trial.report is None else trial.report.get("artifact_sha256"),
        "outcome": "planned" if imported is None else imported.outcome,
        "reasons": [] if imported is None else list(imported.reasons),
        "version": None if imported is None else imported.version,
        "package_arn": None if imported is None else imported.package_arn,
        "target_model": None if imported is None else imported.target_model,
        "record_uri": None if imported is None else imported.record_uri,
        "notes": list(done.notes),
    }


def _lines(done: Done, report: Mapping[str, Any]) -> Iterator[str]:
    """Yield what came of it for people."""
    trial, city, compared = done.trial, done.plan.city, done.origin["compared"]
    for note in done.notes:
        yield f"note: {note}"
    libraries = ", ".join(f"{name} {version}" for name, version in done.origin["libraries"].items())
    yield f"{done.origin['file']}: {done.origin['model']}{f' ({libraries})' if libraries else ''}"
    yield (
        f"  as algorithm {report['algorithm']} it answers like its own library on {compared['rows']} rows, "
        f"{compared['own_rows']} of them the city's (largest difference {compared['largest_difference']:.1g})"
    )
    if trial.decision is not None:
        verdict = "would let it go live" if trial.decision.promote else "holds it"
        yield f"{city.shown_name}: the gate {verdict}, on {report['rows']} held-out rows"
        yield from (f"  {reason}" for reason in trial.decision.reasons)
        yield from (f"  warning: {warning}" for warning in trial.decision.warnings)
    if done.imported is None:
        yield "Nothing was changed (--dry-run)."
        return
    yield f"Version {report['version']}: {report['outcome']}."
    yield from (f"  {reason}" for reason in report["reasons"])
    if report["outcome"] == "pending":
        yield f"  It waits for a person: ./fleet approve {city.slug}, or ./fleet reject {city.slug}."
    if report["target_model"]:
        yield f"  {report['target_model']} serves {city.shown_name} now."
