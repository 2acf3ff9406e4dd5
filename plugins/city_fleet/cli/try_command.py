"""Command ``try``: a city's three steps on this machine, beside the model that serves."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from city_fleet.cli.moving import instant
from city_fleet.cli.output import AsJson, say, show, table
from city_fleet.cli.selection import CityName, FleetName, city_named, fleets_named
from city_fleet.cli.try_notebook import write_notebook
from city_fleet.errors import DataError, ScriptFailed, display_path
from city_fleet.metrics import METRICS, METRICS_OF, default_metric
from city_fleet.metrics import show as show_metric
from city_fleet.naming import parse_as_of

if TYPE_CHECKING:
    from city_fleet.desk.trial import Trial
    from city_fleet.plan import CityPlan

Setting = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Another hyperparameter, or setting by its path, such as dataset.horizon=1; repeatable.",
    ),
]
DataFile = Annotated[
    Path | None,
    typer.Option("--data", metavar="FILE", help="Raw data in place of those that a run would have."),
]
AsOf = Annotated[
    str | None,
    typer.Option(
        "--as-of",
        metavar="DATE",
        help="Train on what was known then; now, or the end of the data, if not given.",
    ),
]
Keep = Annotated[
    Path | None,
    typer.Option(
        "--keep", metavar="FOLDER", help="Keep tables, model and reports there: a folder that is empty."
    ),
]
Notebook = Annotated[
    Path | None,
    typer.Option(
        "--notebook",
        metavar="FILE.ipynb",
        help="Run nothing here: write a notebook of the steps, and what it works on beside it.",
    ),
]

#: What importances are shares of, by their kind.
SHARES = {
    "gain": "share of gain",
    "coefficient": "share of coefficients",
    "permutation": "share of what shuffling costs",
}
_FEATURES_SHOWN = 8
_ROWS_SHOWN = 5
#: Members of a held-out row that a person needs not: its features, and what the gate reads.
_INNER = ("values", "served", "block", "raw")
_ANSWERS = ("actual", "predicted")
_HIDDEN = ("known_until", "naive", "interval", "intervals")


def try_(
    *,
    city: CityName,
    settings: Setting = None,
    data: DataFile = None,
    as_of: AsOf = None,
    keep: Keep = None,
    notebook: Notebook = None,
    fleet: FleetName = None,
    as_json: AsJson = False,
) -> None:
    """Train a city's model here, beside the one that serves.

    The city's own scripts prepare, train and judge, as its jobs would: of the same data the model has the same bytes.
    Nothing goes live and nothing is stored but what --keep names. Without --data the rows are those of the fleet's
    bucket, or of dataset.source where there are none.

    Exit codes: 0 the gate would let it go live, or would hold it; 1 there is no model; 2 wrong usage.

    \b
    Examples:
      ./fleet try austin
      ./fleet try austin --set max_depth=6 --set eta=0.1
      ./fleet try austin --set algorithm.name=knn
      ./fleet try austin --data newer.csv --as-of 2015-08-01
      ./fleet try austin --keep austin-trial
      ./fleet try austin --notebook austin.ipynb
    """
    from city_fleet.config.overridden import as_yaml, overridden, read_changes  # noqa: PLC0415 - reads the file again

    item, found = city_named(fleets_named(fleet, as_they_are=True), city)
    changes = read_changes(settings or [])
    changed = overridden(item, found.slug, changes) if changes else item
    moment = instant("--as-of", as_of) if as_of is not None else None
    if notebook is not None:
        if keep is not None:
            raise typer.BadParameter("--keep keeps what came of a trial; --notebook runs none.")
        write_notebook(_plan_of(changed, found.slug), notebook, moment, data, as_json)
        return
    with ExitStack() as until:
        folder = _folder(keep, until)
        tried = _try(_plan_of(changed, found.slug), folder, moment, data)
        report = _report(tried, keep, as_yaml(found.slug, item, changes) if changes else None)
        show(report, _lines(tried, report), as_json)
    if tried.trial.report is None:
        raise typer.Exit(1)


@dataclass(frozen=True)
class Tried:
    """A trial, and what it was about.

    :param data: where the raw data come from, for people.
    :param worst: the held-out rows that the model misses most, without the values of their features.
    :param notes: what could not be had, for people.
    """

    plan: CityPlan
    trial: Trial
    data: str
    worst: tuple[Mapping[str, Any], ...]
    champion: str | None
    notes: tuple[str, ...]


def _plan_of(fleet: Any, slug: str) -> CityPlan:
    from city_fleet.plan import plan_city  # noqa: PLC0415

    return plan_city(fleet, slug)


def _folder(keep: Path | None, until: ExitStack) -> Path:
    """:raises DataError: the folder to keep it in holds something."""
    if keep is None:
        return Path(until.enter_context(tempfile.TemporaryDirectory(prefix="city-fleet-try-")))
    if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise DataError(
            file=str(keep), got="a folder that holds something", allowed="a new or an empty folder"
        )
    keep.mkdir(parents=True, exist_ok=True)
    return keep.resolve()


def _try(plan: CityPlan, folder: Path, as_of: datetime | None, file: Path | None) -> Tried:
    from city_fleet.cli.desk_inputs import DeskInputs, moment_of, refuse_image  # noqa: PLC0415 - imports botocore
    from city_fleet.desk.image_python import image_python  # noqa: PLC0415 - for the desk alone
    from city_fleet.desk.trial import Desk  # noqa: PLC0415

    refuse_image(plan)
    if as_of is not None:
        try:
            plan.check_as_of(as_of)
        except ValueError as error:
            raise typer.BadParameter(f"--as-of: {error}.") from None
    python = image_python()
    inputs = DeskInputs(plan, folder)
    if python.note is not None:
        inputs.notes.append(python.note)
    with Desk(plan, python.path, folder) as desk:
        champion, parent = inputs.served()
        data = inputs.data(file)
        moment = as_of if as_of is not None else moment_of(plan, champion)
        try:
            trial = desk.trial(moment, data, champion, parent)
        except ScriptFailed as error:
            for line in error.log or ():
                say(f"    {line}", err=True)
            raise
    target = None if champion is None else champion.target_model
    slug = plan.city.slug
    worst = tuple(_worst(trial, lambda text: data.place(slug, text)))
    return Tried(plan, trial, data.name_of(slug), worst, target, tuple(inputs.notes))


def _report(tried: Tried, keep: Path | None, snippet: str | None) -> dict[str, Any]:
    """Return what came of it as data."""
    trial, plan = tried.trial, tried.plan
    decision = trial.decision
    return {
        "fleet": plan.fleet.fleet,
        "city": plan.city.slug,
        "as_of": trial.as_of,
        "data": tried.data,
        "data_until": None if decision is None else decision.data_until,
        "status": trial.status["status"],
        "reason": trial.status["reason"] or None,
        "algorithm": None if trial.training is None else trial.training.get("algorithm"),
        "champion": tried.champion,
        "decision": None if decision is None else decision.to_dict(),
        "rows": None if trial.report is None else trial.report.get("rows"),
        "importances": _importances(trial),
        "importance_kind": _kind_and_shares(trial)[0] if _importances(trial) else None,
        "worst_rows": list(tried.worst),
        "artifact_sha256": None if trial.report is None else trial.report.get("artifact_sha256"),
        "seconds": {name: round(seconds, 2) for name, seconds in trial.seconds.items()},
        "kept": None if keep is None else str(keep),
        "settings": snippet,
        "notes": list(tried.notes),
    }


def _importances(trial: Trial) -> dict[str, float]:
    """Return feature → its share of what the model goes by, the greatest first; nothing where it does not say."""
    found = _kind_and_shares(trial)[1]
    given = {name: float(share) for name, share in found.items()} if isinstance(found, Mapping) else {}
    whole = sum(given.values()) or 1.0
    return {name: share / whole for name, share in sorted(given.items(), key=lambda each: -each[1])}


def _kind_and_shares(trial: Trial) -> tuple[str, Any]:
    """Return what the shares are of, and them; scripts of before say it in training.json, and of gains alone."""
    said = (trial.report or {}).get("importances")
    if isinstance(said, Mapping):
        return str(said.get("kind")), said.get("features")
    return "gain", (trial.training or {}).get("importance_gain")


def _worst(trial: Trial, place: Callable[[str], str]) -> Iterator[Mapping[str, Any]]:
    """Yield the held-out rows that the model misses most.

    :param place: says where a row of a table stands.
    """
    rows = (trial.holdout or {}).get("rows") or []
    for row in sorted(rows, key=_miss, reverse=True)[:_ROWS_SHOWN]:
        shown = {name: value for name, value in row.items() if name not in _INNER}
        if isinstance(period := shown.get("period"), str):
            shown["period"] = place(period)
        yield shown


def _miss(row: Mapping[str, Any]) -> float:
    """Return how far off a row's answer is: in the target's unit, or what the true class's probability lacks to 1."""
    actual, predicted = row["actual"], row["predicted"]
    if isinstance(predicted, Mapping):
        return 1.0 - float(predicted.get(str(actual), 0.0))
    return abs(float(predicted) - float(actual))


def _lines(tried: Tried, report: Mapping[str, Any]) -> Iterator[str]:
    """Yield what came of it for people."""
    trial, city = tried.trial, tried.plan.city
    head = f"{city.shown_name} as of {parse_as_of(trial.as_of):%Y-%m-%d}"
    for note in tried.notes:
        yield f"note: {note}"
    if trial.decision is None or trial.report is None:
        yield f"{head}: no model. {report['reason']}"
        return
    verdict = "would go live" if trial.decision.promote else "would be held"
    yield f"{head}: the new model {verdict} ({report['algorithm']})"
    yield from (f"  {reason}" for reason in trial.decision.reasons)
    yield from (f"  warning: {warning}" for warning in trial.decision.warnings)
    yield ""
    yield from _metric_lines(tried, trial.report)
    if report["importances"]:
        yield ""
        shown = list(report["importances"].items())[:_FEATURES_SHOWN]
        most = shown[0][1] or 1.0
        rows = [[name, f"{share:.0%}", "█" * max(1, round(20 * share / most))] for name, share in shown]
        share = SHARES.get(_kind_and_shares(trial)[0], "share")
        yield from table(["what it goes by", share, ""], rows)
    if report["worst_rows"]:
        yield ""
        yield from _worst_lines(report["worst_rows"])
    if report["settings"]:
        yield ""
        yield f"To keep these settings, in {display_path(tried.plan.fleet.path)}:"
        yield from (f"  {line}" for line in report["settings"].splitlines())
    yield ""
    seconds = ", ".join(f"{name} {took:.1f}" for name, took in report["seconds"].items())
    yield f"{report['rows']} held-out rows of {tried.data}; {sum(trial.seconds.values()):.1f} s ({seconds})"
    if report["kept"]:
        yield f"Tables, model and reports: {display_path(Path(report['kept']))}"


def _metric_lines(tried: Tried, report: Mapping[str, Any]) -> Iterator[str]:
    names = METRICS_OF[report["task"]]
    chosen = tried.plan.city.gate.metric or default_metric(report["task"])
    order = [chosen, *(name for name in names if name != chosen)]
    measured = {"this trial": report["challenger"]}
    if report.get("champion"):
        measured[f"{tried.champion or 'champion'} (live)"] = report["champion"]
    measured |= report["baselines"]
    shown = [name for name in order if any(_number(each.get(name)) is not None for each in measured.values())]
    rows = [[who, *(_shown(name, each.get(name)) for name in shown)] for who, each in measured.items()]
    yield from table([f"on {report['rows']} held-out rows", *(METRICS[name].title for name in shown)], rows)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _shown(name: str, value: Any) -> str:
    number = _number(value)
    return "-" if number is None else show_metric(name, number)


def _plain(value: Any) -> str:
    number = float(value)
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}"


def _worst_lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    named = [name for name in rows[0] if name not in (*_ANSWERS, *_HIDDEN)]
    titles = ["row" if name == "period" and ":" in str(rows[0][name]) else name for name in named]
    body = []
    for row in rows:
        predicted, off = row["predicted"], _miss(row)
        if isinstance(predicted, Mapping):
            best = max(predicted, key=lambda name: predicted[name])
            answer = [str(row["actual"]), f"{best} ({predicted[best]:.0%})", f"{off:.0%}"]
        else:
            answer = [_plain(row["actual"]), _plain(predicted), _plain(off)]
        body.append([*(str(row.get(name)) for name in named), *answer])
    titles[:1] = [f"misses most: {titles[0]}"] if titles else []
    yield from table([*titles, "actual", "predicted", "off by"], body)
