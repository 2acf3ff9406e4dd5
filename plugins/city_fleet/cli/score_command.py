"""Command ``score``: predictions of a whole file of rows, by the live model of one city or of each row's own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from city_fleet.cli.aws import aws_errors, client
from city_fleet.cli.output import AsJson, print_json, say
from city_fleet.cli.selection import FleetName, as_slugs, cities_fleet, fleets_named, only_fleet, slug_finder
from city_fleet.config import Fleet
from city_fleet.errors import DataError, PredictError, list_names
from city_fleet.outgoing_text import one_line
from city_fleet.plan import endpoint_name

if TYPE_CHECKING:
    from city_fleet.cli.scored_input import ScoredInput
    from city_fleet.prediction.row_batches import RowAnswer, RowScorer
    from city_fleet.state.live_pointer import LivePointer

#: Rows that are in memory, with their answers.
_WINDOW = 4000
_MOST_CLASSES = 50  # as in prediction/row_batches, which imports botocore
_TOLD_EVERY = 100_000
_SHOWN = 5


def score(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="CITY FILE",
            help="A city and a file of rows; with --all the file alone.",
            show_default=False,
        ),
    ],
    *,
    every: Annotated[
        bool, typer.Option("--all", help="Each row is of the city that its column --city-column names.")
    ] = False,
    city_column: Annotated[
        str, typer.Option("--city-column", metavar="NAME", help="With --all: the column of slugs or names.")
    ] = "city",
    out: Annotated[
        str, typer.Option("--out", metavar="FILE", help="Where the predictions go; - is standard output.")
    ] = "-",
    input_form: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORM",
            help="What FILE holds: csv, parquet or jsonl; by default what its name says.",
        ),
    ] = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Write the file's own columns too, in front of the predictions.")
    ] = False,
    top_k: Annotated[
        int | None,
        typer.Option(
            "--top-k",
            metavar="K",
            min=1,
            max=_MOST_CLASSES,
            help="Of a classification: a column with the K most probable classes.",
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Hold the columns against the models' features, and predict nothing."),
    ] = False,
    fleet: FleetName = None,
    as_json: AsJson = False,
) -> None:
    """Predict every row of a file by the model that serves.

    FILE is CSV, Parquet or JSON lines with a column for each feature of the model; cells may be empty. The output has a
    row for each of them, in their order: prediction, of a classification label and probability, and which model
    answered. A row that is refused keeps its place and says why in the column error; then the exit code is 1.

    Rows are read, sent and written in batches, so a file may be larger than memory. An output file appears when it is
    whole. Parquet needs the package pyarrow. With --json a summary is printed, and the rows go to --out.

    \b
    Examples:
      ./fleet score edwards houses.csv --fleet house_sales
      ./fleet score edwards houses.csv --dry-run
      ./fleet score "College Creek" houses.parquet --out scored.parquet --keep
      ./fleet score --all sales.csv --city-column neighbourhood --fleet house_sales --out scored.csv
      ./fleet score edwards - --format jsonl > scored.csv
    """
    wanted = 1 if every else 2
    if len(arguments) != wanted:
        what = (
            "FILE alone, for --all takes the city of each row"
            if every
            else "CITY and FILE, or --all and FILE"
        )
        raise typer.BadParameter(f"got {len(arguments)} arguments; allowed: {what}.")
    file = arguments[-1]
    form, out_form = _form(file, input_form), _out_form(out)
    if as_json and out == "-" and not dry_run:
        raise typer.BadParameter(
            "--json prints a summary on standard output: say with --out where the rows go."
        )
    fleets = fleets_named(fleet)
    if every:
        item, city = only_fleet(fleets, "--all needs"), None
    else:
        (city,) = as_slugs(fleets, arguments[:1])
        item = cities_fleet(city, fleets)
    task = _Task(item, city, file, form, city_column, keep, top_k)
    with aws_errors():
        if dry_run:
            report, right = _look(task)
            if as_json:
                print_json(report)
            else:
                for line in _look_lines(report):
                    say(line)
            raise typer.Exit(0 if right else 1)
        report = _score(task, out, out_form)
    if as_json:
        print_json(report)
    else:
        for line in _lines(report):
            say(line, err=True)
    raise typer.Exit(1 if report["refused"] else 0)


@dataclass(frozen=True)
class _Task:
    """What is asked for.

    :param city: its slug; None where each row names its own.
    """

    fleet: Fleet
    city: str | None
    file: str
    form: str
    city_column: str
    keep: bool
    top_k: int | None


class _Cities:
    """The cities of rows, and what their models take."""

    def __init__(self, task: _Task, scorer: RowScorer) -> None:
        self._task = task
        self._scorer = scorer
        self._find: Callable[[str], str] = slug_finder([task.fleet])
        self._slugs: dict[str, str] = {}
        self._kinds: dict[str, dict[str, str]] = {}

    def slug(self, row: dict[str, Any]) -> str:
        """Return the slug of a row's city; of an empty cell the empty text, which is no city."""
        if self._task.city is not None:
            return self._task.city
        name = row.get(self._task.city_column)
        text = "" if name is None else str(name).strip()
        if text not in self._slugs:
            self._slugs[text] = self._find(text)
        return self._slugs[text]

    def kinds(self, slug: str) -> dict[str, str]:
        """Return feature → kind of a city's model; nothing where no model answers: whoever scores says why."""
        if slug not in self._kinds:
            try:
                self._kinds[slug] = feature_kinds(self._scorer.pointer(slug))
            except PredictError:
                return {}
        return self._kinds[slug]


def feature_kinds(pointer: LivePointer) -> dict[str, str]:
    """Return feature → kind of a model, in its order."""
    kinds = {each["name"]: each["kind"] for each in pointer.inputs}
    return {name: kinds.get(name, "number") for name in pointer.features}


def _form(file: str, given: str | None) -> str:
    from city_fleet.cli.scored_input import ALLOWED, FORMS, form_of  # noqa: PLC0415

    if given is not None and given not in FORMS:
        raise typer.BadParameter(f"--format: got {given!r}; allowed: {', '.join(FORMS)}.")
    found = form_of(file, given)
    if found is None:
        raise typer.BadParameter(
            f"FILE: got {file!r}; allowed: {ALLOWED}. --format says it for any other name."
        )
    return found


def _out_form(out: str) -> str:
    from city_fleet.cli.scored_input import form_of  # noqa: PLC0415

    found = form_of(out, None)
    if found is None or out.lower().endswith(".gz"):
        raise typer.BadParameter(
            f"--out: got {out!r}; allowed: a name that ends in .csv, .parquet or .jsonl, or -."
        )
    return found


def _scorer(task: _Task) -> RowScorer:
    from city_fleet.prediction.endpoint_cache import Endpoints  # noqa: PLC0415 - imports botocore
    from city_fleet.prediction.live_cache import LivePointers  # noqa: PLC0415 - imports botocore
    from city_fleet.prediction.predict import S3_READ_SECONDS, client_config  # noqa: PLC0415
    from city_fleet.prediction.row_batches import BATCH_SECONDS, RowScorer  # noqa: PLC0415

    s3 = client(task.fleet, "s3", client_config(S3_READ_SECONDS))
    runtime = client(task.fleet, "sagemaker-runtime", client_config(BATCH_SECONDS))
    endpoints = Endpoints(s3, task.fleet.keys, endpoint_name(task.fleet))
    return RowScorer(LivePointers(s3, task.fleet.keys), runtime, endpoints, task.top_k or 1)


def _score(task: _Task, out: str, out_form: str) -> dict[str, Any]:
    """Score the file.

    :return: how many rows there were, how many were refused and the first of them, and which models answered.
    """
    from city_fleet.cli.scored_input import missing_columns, opened  # noqa: PLC0415
    from city_fleet.cli.scored_output import writing  # noqa: PLC0415

    scorer = _scorer(task)
    cities = _Cities(task, scorer)
    features = list(feature_kinds(scorer.pointer(task.city))) if task.city is not None else []
    needed = features or [task.city_column]
    count, refused = 0, 0
    first: list[dict[str, Any]] = []
    models: dict[str, int] = {}
    with opened(task.file, task.form, needed) as given:
        if task.city is not None and (
            error := missing_columns(given.columns, features, given.name, task.city)
        ):
            raise error
        _check_city_column(task, given)
        columns = _columns(task, given)
        with writing(out, out_form, columns) as writer:
            while window := list(islice(given.rows, _WINDOW)):
                answered = list(_answered(window, cities, scorer, given))
                writer.write([_row(task, columns, *each) for each in answered])
                for number, _, answer in answered:
                    models[answer.target_model or ""] = models.get(answer.target_model or "", 0) + 1
                    if answer.error is not None:
                        refused += 1
                        first += [{"row": number, "city": answer.city, "error": answer.error}] * (
                            len(first) < _SHOWN
                        )
                before, count = count, count + len(window)
                if count // _TOLD_EVERY > before // _TOLD_EVERY:
                    say(f"{count:,} rows have been scored", err=True)
            if not count:
                raise DataError(file=given.name, got="no rows below the names of the columns")
    models.pop("", None)
    return {
        "fleet": task.fleet.fleet,
        "rows": count,
        "refused": refused,
        "first_refused": first,
        "models": models,
        "out": out,
    }


def _answered(
    window: list[tuple[int, Any]], cities: _Cities, scorer: RowScorer, given: ScoredInput
) -> Iterator[tuple[int, dict[str, Any], RowAnswer]]:
    """Yield the number of each row, the row itself and what became of it."""
    from city_fleet.cli.scored_input import features_of  # noqa: PLC0415
    from city_fleet.prediction.row_batches import RowAnswer  # noqa: PLC0415

    asked = []
    for _, row in window:
        if not isinstance(row, str):
            slug = cities.slug(row)
            asked.append((slug, features_of(row, cities.kinds(slug), is_text=given.is_text)))
    answers = iter(scorer.score(asked))
    for number, row in window:
        if isinstance(row, str):  # why it is none
            yield number, {}, RowAnswer("", error=row)
        else:
            yield number, row, next(answers)


def _check_city_column(task: _Task, given: ScoredInput) -> None:
    if task.city is None and task.city_column not in given.columns:
        raise DataError(
            file=given.name,
            got=f"no column {task.city_column!r}; it has: {list_names(given.columns)}",
            hint="--city-column names the column with the city of each row.",
        )


def _columns(task: _Task, given: ScoredInput) -> dict[str, Any]:
    """Return the output's columns, with what Parquet needs to know of each.

    :raises DataError: a column that is to be kept is called like one of ours.
    """
    from city_fleet.cli.scored_output import ANSWERS  # noqa: PLC0415

    ours = {name: kind for name, kind in ANSWERS.items() if name != "top_k" or task.top_k is not None}
    if not task.keep:
        return dict(ours)
    kept: dict[str, Any] = {name: given.kinds.get(name, "string") for name in given.columns}
    if task.city is None and task.city_column == "city":
        kept.pop("city")  # ours says the same by its slug
    if both := [name for name in kept if name in ours]:
        hint = (
            "Rename it, or leave --keep out: the column row says which row of the file each prediction is of."
        )
        raise DataError(
            file=given.name, column=both[0], got="a column of that name, which --keep can't keep", hint=hint
        )
    return {**kept, **ours}


def _row(
    task: _Task, columns: dict[str, Any], number: int, row: dict[str, Any], answer: RowAnswer
) -> dict[str, Any]:
    top_k = None if answer.top_k is None else json.dumps(list(answer.top_k), ensure_ascii=False)
    own = {
        "row": number,
        "city": answer.city,
        "prediction": answer.prediction,
        "label": answer.label,
        "probability": answer.probability,
        "top_k": top_k,
        "target_model": answer.target_model,
        "package_version": answer.package_version,
        "as_of": answer.as_of,
        "error": None if answer.error is None else one_line(answer.error),
    }
    return {name: own[name] if name in own else _kept(row.get(name), columns[name]) for name in columns}


def _kept(value: Any, kind: Any) -> Any:
    """Return a value of the input; what JSON lines have of other types than text is written as JSON."""
    return (
        value
        if value is None or kind != "string" or isinstance(value, str)
        else json.dumps(value, default=str)
    )


def _look(task: _Task) -> tuple[dict[str, Any], bool]:
    """Hold the file's columns against the features of the models that its rows are for.

    :return: what was found, and whether all is right.
    """
    from city_fleet.cli.scored_input import missing_columns, opened  # noqa: PLC0415

    scorer = _scorer(task)
    cities = _Cities(task, scorer)
    needed = list(feature_kinds(scorer.pointer(task.city))) if task.city is not None else [task.city_column]
    rows = 0
    found: dict[str, int] = {}
    with opened(task.file, task.form, needed) as given:
        _check_city_column(task, given)
        for _, row in given.rows:
            rows += 1
            if not isinstance(row, str):
                slug = cities.slug(row)
                found[slug] = found.get(slug, 0) + 1
    looked = []
    for slug, count in sorted(found.items()):
        one: dict[str, Any] = {
            "city": slug,
            "rows": count,
            "target_model": None,
            "problem": None,
            "unused": [],
        }
        try:
            pointer = scorer.pointer(slug)
        except PredictError as error:
            one["problem"] = str(error)
        else:
            error_ = missing_columns(given.columns, pointer.features, given.name, slug)
            unused = [each for each in given.columns if each not in pointer.features]
            one |= {
                "target_model": pointer.target_model,
                "problem": None if error_ is None else str(error_),
                "unused": [each for each in unused if task.city is not None or each != task.city_column],
            }
        looked.append(one)
    report = {"fleet": task.fleet.fleet, "file": given.name, "rows": rows, "cities": looked}
    return report, rows > 0 and all(each["problem"] is None for each in looked)


def _look_lines(report: dict[str, Any]) -> Iterator[str]:
    right = sum(each["problem"] is None for each in report["cities"])
    yield f"{report['file']}: {report['rows']:,} rows; nothing was predicted"
    for each in report["cities"]:
        if each["problem"] is not None:
            yield f"{each['city']}: {each['problem']}"
        elif len(report["cities"]) <= _SHOWN:
            yield f"{each['city']}: {each['rows']:,} rows fit {each['target_model']}"
            if each["unused"]:
                yield f"  columns that it does not take: {list_names(each['unused'])}"
    if len(report["cities"]) > _SHOWN:
        yield f"{right} of {len(report['cities'])} cities have all features"


def _lines(report: dict[str, Any]) -> Iterator[str]:
    models = report["models"]
    which = next(iter(models)) if len(models) == 1 else f"{len(models)} models"
    yield f"{report['rows'] - report['refused']:,} of {report['rows']:,} rows have a prediction, by {which}"
    for each in report["first_refused"]:
        yield f"row {each['row']}: {each['error']}"
    if report["refused"] > len(report["first_refused"]):
        yield f"… and {report['refused'] - len(report['first_refused']):,} more; column error has each"
